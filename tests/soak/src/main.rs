//! The workload of the simulation over real stores, and over auth servers: a world, a store,
//! seconds and a file for the history in; a report out, and an error for each rule that was broken.
//!
//! `soak direct STORE SECONDS LOG`, `soak http PROGRAM STORE SECONDS LOG`, `soak check LOG`

mod director;
mod http;
mod live;
mod report;
mod servers;
mod stores;

use std::{
    env,
    error::Error,
    fs::{self, File},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;
use kippu::session::rotation::AheadPolicy;
use kippu_simulation::{
    chaos::Stage,
    log::{Line, Log, Micros, Settings},
    network::Network,
    server::Policy,
    time::Time,
    workload::{self, Plan, Recorder, World, lines},
};
use kippu_test_support::{mysql, postgres, proxy, redis, servers as support};
use tokio::{runtime::Runtime, sync::RwLock};

use self::{
    http::Http,
    live::{Ending, Live},
    servers::{AuthServers, Direct, Servers},
    stores::{DEADLINE, Scene},
    support::Scratch,
};

const SECOND: Micros = 1_000_000;

/// How many servers there are.
const SERVERS: u32 = 2;

/// The number of the host of a store, whose clock is never set.
const STORE: u32 = 10;

/// A run of so many seconds has the lifetimes of a long one.
const LONG_FROM: u64 = 120;

/// The servers of a run.
enum Kind {
    /// In this process.
    Direct,
    /// Auth servers, of this program.
    Http(PathBuf),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let is_well = match *arguments {
        ["direct", store, seconds, log] => run(&Kind::Direct, store, seconds, Path::new(log)),
        ["http", program, store, seconds, log] => {
            run(&Kind::Http(program.into()), store, seconds, Path::new(log))
        }
        ["check", log] => {
            Log::read(Path::new(log)).map(|log| report::print(&log)).map_err(Into::into)
        }
        _ => Err(
            "soak direct STORE SECONDS LOG, soak http PROGRAM STORE SECONDS LOG, or soak check LOG"
                .into(),
        ),
    };
    match is_well {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The policy of the servers: in a run of seconds, everything is to happen all the same.
fn policy(store: &str, is_short: bool) -> Policy {
    let [access, grace, idle, absolute] =
        if is_short { [2, 1, 3, 7] } else { [8, 2, 20, 90] }.map(Duration::from_secs);
    Policy {
        access,
        grace,
        idle,
        absolute,
        // A cluster is asked for the sessions that have ended tag by tag.
        max_lag: Duration::from_secs(if store == "cluster" { 5 } else { 1 }),
        max_sessions: Some(2),
        checks_logins: true,
        ahead: AheadPolicy::Heal,
        sweep_every: Duration::from_secs(2),
        flaw: None,
    }
}

fn run(kind: &Kind, store: &str, seconds: &str, path: &Path) -> Result<bool, Box<dyn Error>> {
    let seconds: u64 = seconds.parse()?;
    let is_short = seconds < LONG_FROM;
    let (mut policy, seed) = (policy(store, is_short), fastrand::u64(..));
    let mut rng = Rng::with_seed(seed);
    let (runtime, folder) = (Runtime::new()?, Scratch::new("soak"));
    let is_direct = matches!(kind, Kind::Direct);
    if rng.bool() {
        policy.ahead = AheadPolicy::Refuse;
    }
    // The processes that share a file are on one host, and the store goes by its clock.
    let is_file = store == "sqlite" && !is_direct;
    let count = usize::try_from(SERVERS)?;
    let mut its_store = stores::start(store, folder.path(), count, &runtime)
        .ok_or("the stores are sqlite, postgres, redis, sentinel, cluster and mysql")?;
    let time = Live::new(runtime.handle().clone(), rng.fork());
    let (recorder, accounts) = (Recorder::default(), Arc::new(RwLock::new(())));
    let plan = plan(seconds, &policy, is_direct);
    let heart = Scratch::new("soak");
    let heart_beats = live::beat(&time, &recorder, File::create(heart.path().join("beat"))?);
    let scene = |servers, rng| Scene {
        servers,
        rng,
        time: &time,
        recorder: &recorder,
        runtime: &runtime,
        accounts: Arc::clone(&accounts),
        grace: policy.grace,
        is_short,
    };
    let urls = (0..SERVERS).map(|server| its_store.url(server)).collect();
    let mut is_well = true;
    match kind {
        Kind::Direct => {
            let (open, handle) = (its_store.open(), runtime.handle());
            let mut direct = Direct::start(urls, open, &time, handle, &recorder, &policy);
            let servers = direct.servers.clone();
            let stage = Stage {
                time: time.clone(),
                servers: servers.clone(),
                store_clocks: Vec::new(),
                recorder: recorder.clone(),
            };
            let calm = plan.until.saturating_sub(5 * SECOND);
            time.spawn(Live::FOREVER, stage.clone().set_clocks(calm));
            time.spawn(Live::FOREVER, stage.clone().rotate_keys(calm));
            // The store ends and begins them itself where it is in their process.
            if store != "sqlite" {
                time.spawn(Live::FOREVER, stage.crash_servers(calm));
            }
            let servers = Arc::new(servers);
            let network = Network { time: time.clone(), servers };
            let world = begin(network, &recorder, &plan);
            director::direct(&mut *its_store, scene(&mut direct, rng), plan.until);
            runtime.block_on(world.end());
            let clocks = direct.servers.iter().flat_map(|server| server.clock.steps());
            clocks.for_each(|step| recorder.note(Line::Stepped(step)));
        }
        Kind::Http(program) => {
            let program = program.canonicalize()?;
            let folder = folder.path();
            let mut servers =
                AuthServers::start(&program, folder, urls, is_file, &policy, &recorder);
            let http = Http::new(&time, servers.addresses(), &accounts);
            let world = begin(http, &recorder, &plan);
            director::direct(&mut *its_store, scene(&mut servers, rng), plan.until);
            runtime.block_on(world.end());
            if !servers.are_running() {
                println!("BROKEN: a server has ended by itself");
                is_well = false;
            }
            servers.hear(&recorder);
            let logged = servers.log_text();
            recorder.search(&logged, &[]);
            is_well &= report::tells_no_token("the servers' logs", &logged);
        }
    }
    drop(heart_beats);
    runtime.shutdown_timeout(Duration::from_secs(5));
    let mut log = recorder.take();
    log.settings = Settings {
        store: format!("{store}, {}", if is_direct { "direct" } else { "http" }),
        seed,
        began: time.began(),
        store_hosts: if is_file { Vec::new() } else { vec![STORE] },
        is_sparse: is_short,
        rotates_keys: true,
        ..policy.settings(DEADLINE)
    };
    let text = lines(&log).join("\n");
    fs::write(path, &text)?;
    println!("the history is in {}", path.display());
    Ok(report::print(&log) & report::tells_no_token("the history", &text) & is_well)
}

fn plan(seconds: u64, policy: &Policy, is_direct: bool) -> Plan {
    Plan {
        users: u32::try_from(seconds / 2).map_or(40, |users| users.clamp(6, 40)),
        devices: 3,
        until: seconds * SECOND,
        pause: if seconds < LONG_FROM { SECOND / 5 } else { 2 * SECOND },
        login_pause: if is_direct { 0 } else { 36 * SECOND },
        policy: policy.clone(),
        has_administrator: is_direct,
        has_leavers: true,
        has_terms: true,
        // The auth server has no route for them.
        has_lifetimes: is_direct,
        has_reauthentication: true,
    }
}

/// Starts the clients.
fn begin<W: World>(world: W, recorder: &Recorder, plan: &Plan) -> Ending<W> {
    let world = Ending::new(world);
    workload::run(&world, recorder, plan);
    world
}
