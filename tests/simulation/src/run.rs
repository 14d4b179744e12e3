//! One run: a seed in, its history and what the checker finds out.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use fastrand::Rng;
use kippu::session::rotation::AheadPolicy;
use parking_lot::Mutex;

use crate::{
    chaos::Stage,
    checker::{self, Breaches},
    database::{Database, LONGEST_COMMIT, Replication},
    executor::{Choices, Machine, micros},
    flaw::Flaw,
    hosts::HostClock,
    log::{FaultKind, Log, Margins, Micros, Settings},
    network::Network,
    server::{Accounts, Policy, Server, spellings_of_keys},
    store::{DEADLINE, SimulatedStore},
    time::Time,
    workload::{self, Plan, Recorder, lines},
};

const SECOND: Micros = 1_000_000;

/// How long the clients of a run go on.
const LENGTH: Micros = 60 * SECOND;

/// Until everything is answered that was asked.
const REST: Micros = 30 * SECOND;

/// The hosts of the database, which come behind those of the servers.
pub(crate) const NODES: [u32; 2] = [10, 11];

/// A run, with the rules that it breaks.
#[derive(Debug)]
pub struct Run {
    pub log: Log,
    pub breaches: Breaches,
    /// How often a task went on.
    pub steps: u64,
    /// Of the history.
    pub digest: u64,
}

/// Runs a seed.
pub fn simulate(seed: u64, flaw: Option<Flaw>) -> Run {
    let mut rng = Rng::with_seed(seed);
    let machine = Machine::new(Choices::Random(rng.fork()));
    let recorder = Recorder::default();
    let has_clocks = rng.u8(..100) < 40;
    let is_skewed = rng.u8(..100) < 30;
    let skew = |rng: &mut Rng| {
        const SKEWS: [i64; 7] = [0, 0, 2, -2, 15, 3_600, -3_600];
        if is_skewed { SKEWS[rng.usize(..SKEWS.len())] } else { 0 }
    };
    let node_clocks = NODES.map(|host| HostClock::new(&machine, host, 0));
    let replication = if rng.u8(..100) < 60 { Replication::Sync } else { Replication::Async };
    let database = Database::new(&machine, replication, node_clocks.clone(), flaw);
    let [access, grace, idle, absolute] = lifetimes(&mut rng).map(Duration::from_secs);
    let policy = Policy {
        access,
        grace,
        idle,
        absolute,
        max_lag: Duration::from_secs(1),
        max_sessions: [None, Some(1), Some(2), Some(2), Some(3)][rng.usize(..5)],
        checks_logins: rng.u8(..100) < 70,
        ahead: if rng.u8(..100) < 80 { AheadPolicy::Heal } else { AheadPolicy::Refuse },
        sweep_every: Duration::from_secs(rng.u64(2..8)),
        flaw,
    };
    let accounts = Accounts::default();
    let servers = (0..rng.u32(2..=3)).map(|number| {
        let clock = HostClock::new(&machine, number, skew(&mut rng));
        let connect = SimulatedStore::connections(number, &machine, &database, flaw);
        Arc::new(Server::new(number, &machine, clock, connect, &recorder, &accounts, &policy))
    });
    let servers: Vec<_> = servers.collect();
    let logged = Logged::default();
    let writer = logged.clone();
    let all = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
    let all = all.without_time().with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(all);
    if !servers.iter().all(|server| server.start()) {
        machine.clear();
        let settings = settings(seed, machine.began(), &policy, false);
        return finished(Log { settings, ..recorder.take() }, 0);
    }
    if replication == Replication::Async {
        let lag = SECOND / 50 + rng.u64(..2 * SECOND);
        machine.spawn(Machine::FOREVER, database.clone().replicate(lag));
    }
    let world = Network { time: machine.clone(), servers: Arc::new(servers.clone()) };
    let plan = Plan {
        users: rng.u32(1..=3),
        devices: rng.u64(1..=3),
        until: LENGTH,
        pause: SECOND / 10 + rng.u64(..SECOND),
        login_pause: 0,
        policy: policy.clone(),
        has_administrator: rng.bool(),
        has_leavers: rng.bool(),
        has_terms: rng.u8(..100) < 30,
        has_reauthentication: rng.u8(..100) < 50,
        has_lifetimes: true,
    };
    workload::run(&world, &recorder, &plan);
    let stage = Stage {
        time: machine.clone(),
        servers: servers.clone(),
        store_clocks: node_clocks.to_vec(),
        recorder: recorder.clone(),
    };
    let until = LENGTH - 10 * SECOND;
    let kinds = [70, 60, 60].map(|percent| rng.u8(..100) < percent);
    if kinds.contains(&true) {
        machine.spawn(
            Machine::FOREVER,
            stage.clone().trouble_database(database.clone(), kinds, until),
        );
    }
    if rng.u8(..100) < 60 {
        machine.spawn(Machine::FOREVER, stage.clone().trouble_network(database, until));
    }
    if rng.u8(..100) < 40 {
        machine.spawn(Machine::FOREVER, stage.clone().crash_servers(until));
    }
    if has_clocks {
        machine.spawn(Machine::FOREVER, stage.clone().set_clocks(until));
    }
    let rotates_keys = rng.bool();
    if rotates_keys {
        machine.spawn(Machine::FOREVER, stage.rotate_keys(until));
    }
    machine.run(LENGTH + REST);
    for running in servers.iter().filter_map(|server| server.up()) {
        tracing::info!("{running:?}");
    }
    recorder.search(&String::from_utf8_lossy(&logged.0.lock()), &spellings_of_keys());
    let clocks = servers.iter().map(|server| &server.clock).chain(&node_clocks);
    let stepped = clocks.flat_map(HostClock::steps).collect();
    machine.clear();
    let settings = settings(seed, machine.began(), &policy, rotates_keys);
    let log = Log { settings, stepped, ..recorder.take() };
    finished(log, machine.steps())
}

/// The lifetimes of access token, grace, idle session and session, in seconds. Now and then they
/// are any, of which most cannot be safe.
fn lifetimes(rng: &mut Rng) -> [u64; 4] {
    if rng.u8(..100) < 90 {
        return [8, 2, 20, 50];
    }
    let mut one_of = |choices: [u64; 4]| choices[rng.usize(..choices.len())];
    [one_of([0, 1, 4, 8]), one_of([0, 1, 2, 8]), one_of([1, 4, 8, 20]), one_of([4, 8, 20, 50])]
}

/// The lines that the servers have logged.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Checks a history.
pub(crate) fn finished(log: Log, steps: u64) -> Run {
    let digest = digest(&log);
    Run { breaches: checker::check(&log), log, steps, digest }
}

pub(crate) fn settings(seed: u64, began: Micros, policy: &Policy, rotates_keys: bool) -> Settings {
    Settings {
        store: "simulated".to_owned(),
        seed,
        began,
        store_hosts: NODES.to_vec(),
        rotates_keys,
        is_sparse: true,
        margins: Margins {
            slack: 5_000,
            // A step of a store that waits, and is answered or given up.
            sweep: 4 * SECOND,
            soon: 8 * SECOND,
            // The steps that waited take their turns at a lock, and each may take as long as the
            // longest commit.
            backlog: 5 * LONGEST_COMMIT,
            max_lag: micros(policy.max_lag),
            is_exact: false,
        },
        ..policy.settings(DEADLINE / SECOND)
    }
}

fn digest(log: &Log) -> u64 {
    fnv(lines(log).iter().flat_map(|line| line.bytes()))
}

/// FNV-1a: the same bytes, the same number, with every compiler.
pub(crate) fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// How many faults of which kind a run had.
pub fn faults(log: &Log) -> BTreeMap<FaultKind, usize> {
    let mut count = BTreeMap::new();
    for fault in &log.faults {
        *count.entry(fault.kind).or_default() += 1;
    }
    count
}
