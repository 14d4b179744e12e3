//! A model of a replicated database: a primary that takes changes, a standby that follows it, and
//! what goes wrong with both. It keeps records and a log of ended sessions, and takes each step of
//! a store in parts: the request arrives, the change is decided under a lock, it is committed, the
//! answer is on its way.

mod data;
mod step;

use std::{collections::BTreeMap, fmt, mem, sync::Arc, task::Waker};

use parking_lot::Mutex;

use self::data::{Data, Write};
pub use self::step::{Fault, LONGEST_COMMIT, Operation, Outcome};
use crate::{executor::Machine, flaw::Flaw, hosts::HostClock, log::Micros, time::Time};

/// The role of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Primary,
    /// It follows the primary, and can be read.
    Standby,
    /// It was the primary. It can be read, and follows no other node.
    Demoted,
}

/// When a change is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replication {
    /// Once the standby has it.
    Sync,
    /// Once the primary has it. The standby gets it later.
    Async,
}

/// The times until which steps on a node wait.
#[derive(Clone, Copy, Debug, Default)]
struct Holds {
    /// Changes wait before they are decided.
    changes: Micros,
    /// Changes wait between decision and commit.
    commits: Micros,
    /// Everything waits.
    everything: Micros,
}

struct Node {
    role: Role,
    is_up: bool,
    /// Which of its lives it is in: what was under way in an earlier one is lost.
    life: u64,
    data: Data,
    holds: Holds,
    clock: HostClock,
    /// How much of the primary's log a standby has applied.
    applied: usize,
}

struct State {
    nodes: Vec<Node>,
    replication: Replication,
    /// The writes of the primary since it took over, with the times of their commits.
    log: Vec<(Micros, Vec<Write>)>,
    /// Of the primary: it changes with each promotion.
    timeline: u64,
    /// The shards that a step holds.
    locked: BTreeMap<u16, u64>,
    last_lock: u64,
    /// The steps that wait for a lock.
    waiting: Vec<Waker>,
    /// Of each host.
    links: BTreeMap<u32, Link>,
    flaw: Option<Flaw>,
}

/// The network between a host and the database.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    /// Until when each way takes longer, and how long at most.
    pub slow: (Micros, Micros),
    /// Until when answers are lost, and how many in a hundred.
    pub lossy: (Micros, u64),
}

/// The database. A clone is another handle.
#[derive(Clone)]
pub struct Database {
    machine: Machine,
    state: Arc<Mutex<State>>,
}

/// The commits that a failover has lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    pub first: Micros,
    pub changes: usize,
}

impl Database {
    /// A primary and a standby, with these clocks.
    pub fn new(
        machine: &Machine,
        replication: Replication,
        clocks: [HostClock; 2],
        flaw: Option<Flaw>,
    ) -> Self {
        let nodes = clocks.into_iter().zip([Role::Primary, Role::Standby]);
        let nodes = nodes.map(|(clock, role)| Node {
            role,
            is_up: true,
            life: 0,
            data: Data::default(),
            holds: Holds::default(),
            clock,
            applied: 0,
        });
        let state = State {
            nodes: nodes.collect(),
            replication,
            log: Vec::new(),
            timeline: 1,
            locked: BTreeMap::new(),
            last_lock: 0,
            waiting: Vec::new(),
            links: BTreeMap::new(),
            flaw,
        };
        Self { machine: machine.clone(), state: Arc::new(Mutex::new(state)) }
    }

    pub fn link(&self, host: u32) -> Link {
        self.state.lock().links.get(&host).copied().unwrap_or_default()
    }

    pub fn set_link(&self, host: u32, change: impl FnOnce(&mut Link)) {
        change(self.state.lock().links.entry(host).or_default());
    }

    pub fn replication(&self) -> Replication {
        self.state.lock().replication
    }

    /// The node that a new connection finds, if there is one.
    pub fn primary(&self) -> Option<usize> {
        let state = self.state.lock();
        let mut nodes = state.nodes.iter();
        nodes.position(|node| node.role == Role::Primary && node.is_up)
    }

    /// Lets the standby apply what the primary has committed, `lag` later each time.
    pub async fn replicate(self, lag: Micros) {
        loop {
            let lag = self.machine.between(lag / 4, lag);
            self.machine.pass(lag).await;
            self.state.lock().catch_up();
        }
    }

    /// The standby applies what there is, at once.
    pub fn catch_up(&self) {
        self.state.lock().catch_up();
    }

    /// Holds the changes of the primary, its commits, or everything.
    pub fn hold(&self, hold: Hold, until: Micros) {
        let mut state = self.state.lock();
        let Some(primary) = state.primary_node() else { return };
        match hold {
            Hold::Changes => primary.holds.changes = until,
            Hold::Commits => primary.holds.commits = until,
            Hold::Everything => primary.holds.everything = until,
        }
    }

    /// The primary dies. Its commits are still there when it comes back.
    pub fn kill_primary(&self) {
        let mut state = self.state.lock();
        if let Some(primary) = state.primary_node() {
            primary.die();
        }
        drop(state);
        self.unlock_all();
    }

    /// Drops all locks: those of a primary that died.
    fn unlock_all(&self) {
        let waiting = {
            let mut state = self.state.lock();
            state.locked.clear();
            mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The node that died comes back.
    pub fn restart(&self) {
        let mut state = self.state.lock();
        for node in &mut state.nodes {
            node.is_up = true;
        }
    }

    /// The primary is no longer one: it takes no more changes. It is demoted, or dies.
    pub fn demote(&self, dies: bool) {
        let mut state = self.state.lock();
        if let Some(primary) = state.primary_node() {
            primary.life += 1;
            primary.role = Role::Demoted;
            if dies {
                primary.die();
            }
        }
        drop(state);
        self.unlock_all();
    }

    /// The standby becomes the primary, with what it has. Returns the commits that it does not
    /// have.
    pub fn promote(&self) -> Option<Lost> {
        let mut state = self.state.lock();
        let applied = state.nodes.iter().find(|node| node.role == Role::Standby)?.applied;
        let lost = state.log.get(applied..).unwrap_or_default();
        let lost = lost.first().map(|(at, _)| Lost { first: *at, changes: lost.len() });
        state.log.clear();
        state.timeline += 1;
        let timeline = state.timeline;
        let standby = state.nodes.iter_mut().find(|node| node.role == Role::Standby)?;
        standby.role = Role::Primary;
        standby.data.begin(timeline);
        lost
    }

    /// The old primary follows the new one from now on, with a copy of its data.
    pub fn rejoin(&self) {
        let mut state = self.state.lock();
        let applied = state.log.len();
        let Some(data) = state.primary_node().map(|primary| primary.data.clone()) else { return };
        for node in state.nodes.iter_mut().filter(|node| node.role == Role::Demoted) {
            node.data = data.clone();
            (node.role, node.is_up, node.applied) = (Role::Standby, true, applied);
        }
    }

    /// A digest of all that it holds.
    pub fn digest(&self, names: impl Fn(&kippu::session::SessionId) -> String) -> String {
        let state = self.state.lock();
        let nodes = state.nodes.iter().map(|node| {
            let Node { role, is_up, life, data, applied, .. } = node;
            format!("{role:?} {is_up} {life} {applied} {}", data.digest(&names))
        });
        let nodes: Vec<_> = nodes.collect();
        let locked: Vec<_> = state.locked.keys().collect();
        format!("{} {} {} {locked:?}", state.timeline, state.log.len(), nodes.join("|"))
    }
}

/// Which steps wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    Changes,
    Commits,
    Everything,
}

impl State {
    fn primary_node(&mut self) -> Option<&mut Node> {
        self.nodes.iter_mut().find(|node| node.role == Role::Primary)
    }

    fn catch_up(&mut self) {
        let Self { nodes, log, .. } = self;
        for standby in nodes.iter_mut().filter(|node| node.role == Role::Standby) {
            for (_, writes) in log.get(standby.applied..).unwrap_or_default() {
                for write in writes {
                    standby.data.apply(write);
                }
            }
            standby.applied = log.len();
        }
    }
}

impl Node {
    fn die(&mut self) {
        (self.is_up, self.holds) = (false, Holds::default());
        self.life += 1;
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("primary", &self.primary()).finish_non_exhaustive()
    }
}
