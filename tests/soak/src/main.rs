//! A soak of the auth server: the program of the server, a store, seconds and a file for the log in; a report out, and an
//! error for each rule that was broken. In the second half of the run the server's clock is set, back and forth.
//!
//! `soak run PROGRAM sqlite|postgres|redis SECONDS LOG`, `soak check LOG`

mod client;
#[path = "../../support/postgres.rs"]
#[allow(clippy::pedantic, reason = "shared")]
mod postgres;
#[path = "../../support/redis.rs"]
#[allow(clippy::pedantic, reason = "shared")]
mod redis;
mod report;
#[path = "../../support/servers.rs"]
#[allow(clippy::pedantic, reason = "shared")]
mod servers;
mod stage;
mod users;

use std::{
    env,
    error::Error,
    net::Ipv4Addr,
    path::Path,
    process::ExitCode,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use kippu_soak::log::{Killed, Line, Log, Said, Sample, Settings, Stepped, Who};
use tokio::sync::Semaphore;

use self::{
    client::{Client, Recorder},
    stage::Stage,
    users::{PASSWORD, Pace, User, email},
};

const LONG: Pace =
    Pace { pause: 2.0, grace: 5, access_lifetime: 8, idle_lifetime: 20, session_lifetime: 90 };
/// For a run of seconds, in which everything is to happen all the same.
const SHORT: Pace =
    Pace { pause: 0.2, grace: 1, access_lifetime: 2, idle_lifetime: 3, session_lifetime: 7 };
const LONG_FROM: u64 = 120;

/// What the server's clock is set to, in seconds ahead of the machine's: back an hour, forward by ten years, back and back.
const OFFSETS: [i64; 5] = [-3600, 315_360_000, 3, -3, 0];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let is_well = match *arguments {
        ["run", program, store, seconds, log] => {
            run(Path::new(program), store, seconds, Path::new(log))
        }
        ["check", log] => {
            Log::read(Path::new(log)).map(|log| report::print(&log)).map_err(Into::into)
        }
        _ => Err("soak run PROGRAM STORE SECONDS LOG, or soak check LOG".into()),
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

fn run(program: &Path, store: &str, seconds: &str, path: &Path) -> Result<bool, Box<dyn Error>> {
    let seconds: u64 = seconds.parse()?;
    let pace = if seconds < LONG_FROM { SHORT } else { LONG };
    let count = u32::try_from((seconds * 4).clamp(8, 200))?;
    let mut stage = Stage::set(&program.canonicalize()?, store, pace)
        .ok_or("no such store, or no libfaketime, on this machine")?;
    let recorder = Arc::new(Recorder::create(path)?);
    let seed = fastrand::u64(..);
    recorder.write(&Line::Settings(Settings {
        store: store.to_owned(),
        seed,
        began: recorder.began(),
        access_lifetime: pace.access_lifetime,
        grace: pace.grace,
        idle_lifetime: pace.idle_lifetime,
        session_lifetime: pace.session_lifetime,
    }));
    let mut rng = Rng::with_seed(seed);

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let clients: Vec<Client> = (0..count).map(|user| client(&stage, &recorder, user)).collect();
    runtime.block_on(register(&clients))?;
    let until = Instant::now() + Duration::from_secs(seconds);
    let logins = Arc::new(Semaphore::new(2));
    let users: Vec<_> = clients
        .into_iter()
        .map(|client| User { client, rng: rng.fork(), pace, until, logins: Arc::clone(&logins) })
        .map(|user| runtime.spawn(user.run()))
        .collect();
    direct(&mut stage, &recorder, &mut rng, until, seconds);
    runtime.block_on(async {
        for user in users {
            user.await?;
        }
        Ok::<_, tokio::task::JoinError>(())
    })?;
    // Thieves end by themselves.
    runtime.shutdown_timeout(Duration::from_secs(5));
    let is_running = stage.server_runs();
    let said = stage.log_text();
    said.lines().filter_map(heard).for_each(|said| recorder.write(&Line::Said(said)));
    recorder.flush()?;

    let is_silent = report::tells_no_token("the server's log", &said)
        & report::tells_no_token("the log of the run", &std::fs::read_to_string(path)?);
    if !is_running {
        println!("BROKEN: the server has ended by itself");
    }
    Ok(report::print(&Log::read(path)?) & is_silent & is_running)
}

fn client(stage: &Stage, recorder: &Arc<Recorder>, user: u32) -> Client {
    let [_, _, high, low] = user.to_be_bytes();
    Client {
        recorder: Arc::clone(recorder),
        server: stage.address,
        user,
        address: Ipv4Addr::new(127, 1, high, low),
        who: Who::Owner,
    }
}

async fn register(clients: &[Client]) -> Result<(), Box<dyn Error>> {
    for client in clients {
        let status = client.register(&email(client.user), PASSWORD).await;
        if status != Some(201) {
            return Err(format!("a user cannot be registered: {status:?}").into());
        }
    }
    Ok(())
}

/// Takes a sample every second, kills at random, and in the second half sets the server's clock.
fn direct(stage: &mut Stage, recorder: &Recorder, rng: &mut Rng, until: Instant, seconds: u64) {
    let gap = Duration::from_secs(seconds.min(60)).div_f64(3.0);
    let next = |rng: &mut Rng| Instant::now() + gap.mul_f64(0.5 + rng.f64());
    let mut kill_at = next(rng);
    let mut step_at = Instant::now() + Duration::from_secs(seconds) / 2;
    let mut offsets = OFFSETS.into_iter().cycle();
    while Instant::now() < until {
        if let Some(memory) = stage.memory() {
            let sample = Sample { at: recorder.now(), memory, files: stage.files() };
            recorder.write(&Line::Sample(sample));
        }
        if Instant::now() >= kill_at {
            let at = recorder.now();
            let what = stage.kill().to_owned();
            thread::sleep(Duration::from_secs_f64(2.0 * rng.f64()));
            stage.bring_back();
            recorder.write(&Line::Killed(Killed { at, back: recorder.now(), what }));
            kill_at = next(rng);
        }
        if Instant::now() >= step_at {
            let from = recorder.now();
            let offset = offsets.next().expect("it never ends");
            stage.set_clock(offset);
            recorder.write(&Line::Stepped(Stepped { from, to: recorder.now(), offset }));
            step_at = next(rng);
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// What the server told of a session, if a line of its log is about one.
fn heard(line: &str) -> Option<Said> {
    // A line may be cut where the server was killed.
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| line[name].as_str().map(str::to_owned);
    (line["target"] == "kippu::session").then(|| Said {
        session: text("session").unwrap_or_default(),
        message: text("message").unwrap_or_default(),
    })
}
