//! Runs seeds and says which of them break a rule.
//!
//! `kippu-simulation [--seconds N]`, `--seed S [--flaw NAME] [--log FILE]`, `--known`,
//! `--exhaustive DEPTH`

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant, SystemTime},
};

use kippu_simulation::{
    database::Replication,
    exhaustive::{Act, Explored, Scope, explore},
    flaw::Flaw,
    log::FaultKind,
    run::{Run, faults, simulate},
    workload::lines,
};
use lexopt::prelude::*;

/// The seeds that each run begins with.
const FIXED: u64 = 200;

/// The most seeds that are tried for a flaw.
const TRIES: u64 = 5_000;

/// What to do.
enum Job {
    For(Duration),
    One { seed: u64, flaw: Option<Flaw>, log: Option<PathBuf> },
    Known,
    Exhaustive { depth: usize },
}

fn job() -> Result<Job, Box<dyn Error>> {
    let (mut seed, mut flaw, mut log) = (None, None, None);
    let mut job = Job::For(Duration::from_secs(60));
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("seconds") => job = Job::For(Duration::from_secs(parser.value()?.parse()?)),
            Long("seed") => seed = Some(parser.value()?.parse()?),
            Long("flaw") => {
                let name = parser.value()?.string()?;
                flaw = Some(Flaw::named(&name).ok_or("--known lists the names of the flaws")?);
            }
            Long("log") => log = Some(PathBuf::from(parser.value()?)),
            Long("known") => job = Job::Known,
            Long("exhaustive") => job = Job::Exhaustive { depth: parser.value()?.parse()? },
            _ => return Err(arg.unexpected().into()),
        }
    }
    Ok(seed.map_or(job, |seed| Job::One { seed, flaw, log }))
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let is_right = match job()? {
        Job::For(time) => many(time),
        Job::One { seed, flaw, log } => {
            let run = simulate(seed, flaw);
            if let Some(log) = log {
                fs::write(log, lines(&run.log).join("\n"))?;
            }
            let Run { digest, steps, log, .. } = &run;
            println!(
                "seed {seed}: {} requests, {steps} steps, history {digest:016x}",
                log.requests.len()
            );
            told(seed, flaw, &run)
        }
        Job::Known => known(),
        Job::Exhaustive { depth } => exhaustive(depth),
    };
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints what a run breaks.
fn told(seed: u64, flaw: Option<Flaw>, run: &Run) -> bool {
    for (rule, found) in &run.breaches {
        println!("seed {seed} breaks {rule}: {} times", found.len());
        found.iter().take(3).for_each(|one| println!("    {one}"));
    }
    if !run.breaches.is_empty() {
        let named = Flaw::ALL.iter().find(|(one, ..)| Some(*one) == flaw);
        let flaw = named.map(|(_, name, _)| format!(" --flaw {name}")).unwrap_or_default();
        println!(
            "again: cargo run --release -p kippu-simulation -- --seed {seed}{flaw} --log history.jsonl"
        );
    }
    run.breaches.is_empty()
}

/// The fixed seeds, then fresh ones until the time has passed.
fn many(time: Duration) -> bool {
    let begun = Instant::now();
    let fresh = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    // Each second has a million.
    let seeds = (0..FIXED).chain((0..).map(|number| fresh * 1_000_000 + number));
    let (mut runs, mut bad, mut steps, mut requests) = (0_u64, 0_u64, 0, 0);
    let mut kinds: BTreeMap<FaultKind, usize> = BTreeMap::new();
    for seed in seeds {
        if begun.elapsed() >= time {
            break;
        }
        let run = simulate(seed, None);
        runs += 1;
        steps += run.steps;
        requests += run.log.requests.len();
        for (kind, count) in faults(&run.log) {
            *kinds.entry(kind).or_default() += count;
        }
        bad += u64::from(!told(seed, None, &run));
    }
    let kinds = kinds.iter().map(|(kind, count)| format!("{kind:?} {count}"));
    let kinds = kinds.collect::<Vec<_>>().join(", ");
    println!(
        "SUMMARY simulated: {runs} runs in {} s, fresh seeds from {}: {requests} requests, {steps} steps; \
         faults: {kinds}; {bad} runs break a rule",
        begun.elapsed().as_secs(),
        fresh * 1_000_000
    );
    bad == 0
}

/// Every order of a small scope, up to so many choices.
fn exhaustive(depth: usize) -> bool {
    let (mut is_right, mut all) = (true, (0, 0));
    for act in [Act::Refresh, Act::Logout] {
        for replication in [Replication::Sync, Replication::Async] {
            let begun = Instant::now();
            let scope = Scope { act, replication, flaw: None, depth };
            let Explored { states, runs, longest, breach } = explore(&scope);
            println!(
                "{act:?}, {replication:?}: {states} states, {runs} orders of up to {longest} choices, {:.1} s",
                begun.elapsed().as_secs_f64()
            );
            all = (all.0 + states, all.1 + runs);
            if let Some((order, breaches)) = breach {
                println!("the order {order:?} breaks {breaches:#?}");
                is_right = false;
            }
        }
    }
    let (states, orders) = all;
    println!(
        "SUMMARY exhaustive: {states} states in {orders} orders, with {depth} free choices; {}",
        if is_right { "no order breaks a rule" } else { "an order breaks a rule" }
    );
    is_right
}

/// How many seeds it takes to find each of the faults that are known.
fn known() -> bool {
    let (mut found_all, mut most) = (0, 0);
    for (flaw, name, _) in Flaw::ALL {
        let begun = Instant::now();
        let found = (0..TRIES).find_map(|seed| {
            let run = simulate(seed, Some(flaw));
            flaw.is_found_in(&run.breaches).map(|rule| (seed, rule))
        });
        let seconds = begun.elapsed().as_secs_f64();
        match &found {
            Some((seed, rule)) => {
                println!("{name}: after {} runs and {seconds:.1} s, by {rule}", seed + 1);
            }
            None => println!("{name}: not in {TRIES} runs, {seconds:.1} s"),
        }
        found_all += usize::from(found.is_some());
        most = most.max(found.map_or(TRIES, |(seed, _)| seed + 1));
    }
    println!(
        "SUMMARY known: {found_all} of {} faults found, in up to {most} runs",
        Flaw::ALL.len()
    );
    found_all == Flaw::ALL.len()
}
