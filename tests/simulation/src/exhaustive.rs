//! A small scope, whole: two servers, two clients that share a token, one session, one failover.
//! Each order of the steps of clients, servers, network and database is tried, up to a depth; a
//! state that was seen before is not looked into again.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use kippu::session::rotation::AheadPolicy;

use crate::{
    checker::Breaches,
    database::{Database, Replication},
    executor::{Choices, Machine},
    flaw::Flaw,
    hosts::HostClock,
    log::{Fault, FaultKind, Line, Log, Micros},
    network::Network,
    run::{NODES, finished, fnv, settings},
    server::{Accounts, Policy, Server},
    store::SimulatedStore,
    time::Time,
    workload::{Client, Recorder, Tokens},
};

/// Long after everything.
const END: Micros = 1_000_000_000;

/// The action of the second client, after the refresh with which both begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Refresh,
    Logout,
}

/// A scope.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    pub act: Act,
    pub replication: Replication,
    pub flaw: Option<Flaw>,
    /// How many choices an order may have: behind them the first task that can go on does.
    pub depth: usize,
}

/// The states and orders that were tried.
#[derive(Debug, Default)]
pub struct Explored {
    /// States of database, tasks and history that differ.
    pub states: usize,
    /// Orders that were run to their end.
    pub runs: usize,
    /// The most choices that an order had.
    pub longest: usize,
    /// The first order that breaks a rule, and what it breaks.
    pub breach: Option<(Vec<usize>, Breaches)>,
}

/// Tries all orders of a scope.
pub fn explore(scope: &Scope) -> Explored {
    let mut explored = Explored::default();
    let mut seen = BTreeSet::new();
    let mut left: Vec<Vec<usize>> = vec![Vec::new()];
    while let Some(script) = left.pop() {
        let from = script.len();
        let Order { states, counts, chosen, log } = run(scope, script);
        explored.runs += 1;
        explored.longest = explored.longest.max(counts.len());
        let run = finished(log, 0);
        if !run.breaches.is_empty() {
            explored.breach = Some((chosen, run.breaches));
            break;
        }
        for (place, (state, count)) in states.iter().zip(&counts).enumerate().skip(from) {
            // The orders that follow a known state were tried from there.
            if !seen.insert(*state) || place >= scope.depth {
                break;
            }
            let before = chosen.get(..place).unwrap_or_default();
            left.extend((1..*count).map(|choice| [before, &[choice]].concat()));
        }
    }
    explored.states = seen.len();
    explored
}

/// One order, run to its end.
struct Order {
    /// Before each choice.
    states: Vec<u64>,
    counts: Vec<usize>,
    chosen: Vec<usize>,
    log: Log,
}

fn run(scope: &Scope, script: Vec<usize>) -> Order {
    let mut chosen = script.clone();
    let machine = Machine::new(Choices::Scripted { script, taken: Vec::new() });
    let recorder = Recorder::default();
    let clocks = NODES.map(|host| HostClock::new(&machine, host, 0));
    let database = Database::new(&machine, scope.replication, clocks, scope.flaw);
    let policy = Policy {
        access: Duration::from_secs(600),
        grace: Duration::from_secs(10),
        idle: Duration::from_secs(3_600),
        absolute: Duration::from_secs(36_000),
        max_lag: Duration::from_secs(1),
        max_sessions: None,
        checks_logins: false,
        ahead: AheadPolicy::Heal,
        sweep_every: Duration::from_secs(60),
        flaw: scope.flaw,
    };
    let accounts = Accounts::default();
    let servers = [0, 1].map(|number| {
        let clock = HostClock::new(&machine, number, 0);
        let connect = SimulatedStore::connections(number, &machine, &database, scope.flaw);
        let server = Server::new(number, &machine, clock, connect, &recorder, &accounts, &policy);
        assert!(server.start(), "the policy is safe");
        Arc::new(server)
    });
    let world = |server: usize| Network {
        time: machine.clone(),
        servers: Arc::new(servers.iter().skip(server).take(1).cloned().collect()),
    };
    let clients = [0, 1].map(|server| Client::new(&world(server), &recorder, 0));
    let [first, second] = clients;
    let (parts, act) = ((machine.clone(), database.clone(), recorder.clone()), scope.act);
    machine.spawn(Machine::FOREVER, async move {
        let Some(tokens) = first.login().await.tokens else { return };
        parts.1.catch_up();
        let machine = parts.0.clone();
        machine.spawn_as(0, Machine::FOREVER, one(first, tokens.clone()));
        machine.spawn_as(1, Machine::FOREVER, other(second, tokens, act));
        machine.spawn_as(2, Machine::FOREVER, fail_over(parts));
    });
    let mut states = Vec::new();
    loop {
        let state = digest(&machine, &database, &recorder);
        let before = machine.choices().len();
        if !machine.step(END) {
            break;
        }
        if machine.choices().len() > before {
            states.push(state);
        }
    }
    let counts = machine.choices();
    chosen.resize(counts.len(), 0);
    machine.clear();
    let settings = settings(0, machine.began(), &policy, false);
    let log = Log { settings, ..recorder.take() };
    Order { states, counts, chosen, log }
}

/// Refreshes, and goes on with what it got.
async fn one(client: Client<Network>, tokens: Tokens) {
    if let Some(next) = client.refresh(&tokens).await.tokens {
        client.world.time.turn().await;
        client.refresh(&next).await;
    }
}

async fn other(client: Client<Network>, tokens: Tokens, act: Act) {
    match act {
        Act::Refresh => drop(client.refresh(&tokens).await),
        Act::Logout => {
            client.logout(&tokens).await;
            // So that the refresh is sent after the answer.
            client.world.time.turn().await;
            client.refresh(&tokens).await;
        }
    }
}

/// The primary is demoted, and can be read; the standby takes over.
async fn fail_over((machine, database, recorder): (Machine, Database, Recorder)) {
    machine.turn().await;
    let from = machine.now();
    database.demote(false);
    machine.mark(u32::MAX, || "demoted".to_owned());
    machine.turn().await;
    machine.mark(u32::MAX, || "promoted".to_owned());
    let lost = database.promote().map(|lost| (lost.first, from));
    let span = (from, machine.now());
    let what = "the primary was demoted, and the standby took over";
    let fault = Fault::new(FaultKind::Failover, what, span);
    recorder.note(Line::Fault(Fault { still: Some(span), lost, ..fault }));
}

/// Returns a digest of the state that decides how an order continues, and of the history that the
/// checker will read.
fn digest(machine: &Machine, database: &Database, recorder: &Recorder) -> u64 {
    let names = |id: &kippu::session::SessionId| recorder.session(&id.to_string());
    let text = [database.digest(names), machine.progress()].join(" ");
    fnv(text.bytes())
}
