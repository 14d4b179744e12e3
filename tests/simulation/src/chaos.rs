//! Injects faults: a task for the servers, one for the clocks and one that rotates keys, in each
//! world that has the servers in its process; and a task for the simulated database, and one for
//! its network. Each fault is a line of the history, with the times in which the database changed
//! nothing, and what it lost.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    database::{Database, Hold, LONGEST_COMMIT},
    executor::Machine,
    hosts::HostClock,
    log::{Fault, FaultKind, Line, Micros, Span},
    server::Server,
    time::Time,
    workload::Recorder,
};

const SECOND: Micros = 1_000_000;

/// Everything that something can happen to.
#[derive(Clone)]
pub struct Stage<T = Machine> {
    pub time: T,
    pub servers: Vec<Arc<Server<T>>>,
    /// Of the nodes of the database, where they can be set.
    pub store_clocks: Vec<HostClock<T>>,
    pub recorder: Recorder,
}

impl Stage {
    /// Stalls, kills and replaces the primary: those of the three that happen in the run.
    pub async fn trouble_database(self, database: Database, kinds: [bool; 3], until: Micros) {
        let [stalls, kills, failovers] = kinds;
        loop {
            self.rest(6 * SECOND).await;
            if self.is_over(until) {
                return;
            }
            match self.time.random(4) {
                0 | 1 if stalls => self.stall(&database).await,
                2 if kills => self.kill(&database).await,
                3 if failovers => self.fail_over(&database).await,
                _ => {}
            }
        }
    }

    /// Longer than the grace or shorter, longer than the deadline or shorter.
    async fn stall(&self, database: &Database) {
        let time = SECOND / 10 + self.time.random(8 * SECOND);
        let (hold, what) = match self.time.random(3) {
            0 => (Hold::Changes, "changes wait"),
            1 => (Hold::Commits, "commits wait"),
            _ => (Hold::Everything, "the primary stands still"),
        };
        let from = self.time.now();
        let to = from + time;
        database.hold(hold, to);
        self.time.sleep(time).await;
        let still = (from + LONGEST_COMMIT, to);
        let still = (still.0 < to).then_some(still);
        self.note(FaultKind::Stall, what, (from, to), still, None);
    }

    async fn kill(&self, database: &Database) {
        let from = self.time.now();
        database.kill_primary();
        self.rest(3 * SECOND).await;
        database.restart();
        let span = (from, self.time.now());
        self.note(FaultKind::Kill, "the primary died, and came back", span, Some(span), None);
    }

    /// The primary is demoted, or dies; the standby takes over; the old one can be read again, and
    /// follows the new one later.
    async fn fail_over(&self, database: &Database) {
        let from = self.time.now();
        let dies = self.time.happens(40);
        database.demote(dies);
        self.time.sleep(self.time.random(2 * SECOND)).await;
        let lost = database.promote();
        let to = self.time.now();
        let what = match (dies, &lost) {
            (true, None) => "the primary died, and the standby took over",
            (true, Some(_)) => {
                "the primary died, and the standby took over without its last changes"
            }
            (false, None) => "the primary was demoted, and the standby took over",
            (false, Some(_)) => {
                "the primary was demoted, and the standby took over without its last changes"
            }
        };
        let lost = lost.map(|lost| (lost.first, from));
        self.note(FaultKind::Failover, what, (from, to), Some((from, to)), lost);
        self.rest(2 * SECOND).await;
        // Readable, with old data.
        database.restart();
        self.rest(6 * SECOND).await;
        database.rejoin();
    }

    /// Slows the way of a server to the database, or loses answers on it.
    pub async fn trouble_network(self, database: Database, until: Micros) {
        loop {
            self.rest(8 * SECOND).await;
            if self.is_over(until) {
                return;
            }
            let Some(server) = self.any_server() else { return };
            let (from, time) = (self.time.now(), self.time.random(6 * SECOND));
            let to = from + time;
            if self.time.happens(60) {
                let most = SECOND / 5 + self.time.random(3 * SECOND);
                database.set_link(server.number, |link| link.slow = (to, most));
                let span = (from, to + most + SECOND / 10);
                let what = "a server's way to the database is slow";
                self.note(FaultKind::Network, what, span, None, None);
            } else {
                let percent = 30 + self.time.random(71);
                database.set_link(server.number, |link| link.lossy = (to, percent));
                let what = "answers of the database are lost";
                self.note(FaultKind::Network, what, (from, to), None, None);
            }
            self.time.sleep(time).await;
        }
    }
}

impl<T: Time> Stage<T> {
    fn is_over(&self, until: Micros) -> bool {
        self.time.now() >= until
    }

    async fn rest(&self, most: Micros) {
        self.time.sleep(SECOND / 5 + self.time.random(most)).await;
    }

    fn any_server(&self) -> Option<&Arc<Server<T>>> {
        self.time.any(&self.servers)
    }

    fn note(
        &self,
        kind: FaultKind,
        what: &str,
        span: Span,
        still: Option<Span>,
        lost: Option<Span>,
    ) {
        let fault = Fault { still, lost, ..Fault::new(kind, what, span) };
        self.recorder.note(Line::Fault(fault));
    }

    /// Kills servers, each of which begins again.
    pub async fn crash_servers(self, until: Micros) {
        loop {
            self.rest(20 * SECOND).await;
            if self.is_over(until) {
                return;
            }
            let Some(server) = self.any_server() else { return };
            let from = self.time.now();
            server.crash();
            self.time.sleep(self.time.random(2 * SECOND)).await;
            let _ = server.start();
            let span = (from, self.time.now());
            self.note(FaultKind::Kill, "a server died, and began again", span, None, None);
        }
    }

    /// Sets clocks back and forward, and stops them.
    pub async fn set_clocks(self, until: Micros) {
        const OFFSETS: [i64; 9] = [0, 0, 1, -1, 4, -25, 40, -3_600, 315_360_000];
        loop {
            self.rest(12 * SECOND).await;
            if self.is_over(until) {
                return;
            }
            let Some(server) = self.any_server() else { return };
            match self.time.random(8) {
                0 => {
                    server.clock.stop();
                    self.time.sleep(self.time.random(10 * SECOND)).await;
                    server.clock.go_on();
                }
                // A database may not trim its log early: its clock is not off by an hour.
                1 => {
                    let clock = self.time.any(&self.store_clocks);
                    let offset = i64::try_from(self.time.random(600)).unwrap_or(0) - 300;
                    if let Some(clock) = clock {
                        clock.set(offset);
                    }
                }
                _ => {
                    server.clock.set(self.time.any(&OFFSETS).copied().unwrap_or_default());
                }
            }
        }
    }

    /// Each server gets the next key before the first one signs with it; after that, one is behind
    /// the other.
    ///
    /// The one before is retired: as late as a careful operator does it, or earlier.
    pub async fn rotate_keys(self, until: Micros) {
        let mut retired = BTreeMap::new();
        for next in 2..=u8::MAX {
            self.rest(20 * SECOND).await;
            for server in &self.servers {
                self.time.sleep(self.time.random(SECOND)).await;
                server.set_keys(next - 1, next, &retired);
            }
            let good_for = 5 + self.time.random(30);
            let now = (self.time.began() + self.time.now()) / SECOND;
            retired.insert(next - 1, now + good_for);
            for server in &self.servers {
                self.time.sleep(self.time.random(4 * SECOND)).await;
                server.set_keys(next, next, &retired);
            }
            if self.is_over(until) {
                return;
            }
        }
    }
}

impl<T> std::fmt::Debug for Stage<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage").field("servers", &self.servers).finish_non_exhaustive()
    }
}
