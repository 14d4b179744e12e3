//! A soak of the auth server: the program of the server, a store, seconds and a file for the log
//! in; a report out, and an error for each rule that was broken.
//!
//! `soak run PROGRAM sqlite|postgres|redis|mysql SECONDS LOG`, `soak check LOG`

mod auth_server;
mod client;
mod director;
mod report;
mod stores;
mod users;

use std::{
    env,
    error::Error,
    net::Ipv4Addr,
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use fastrand::Rng;
use kippu_simulation::log::{Line, Log, Said, Settings, Who};
use kippu_test_support::{mysql, postgres, proxy, redis, servers};
use tokio::{
    runtime::Runtime,
    sync::{RwLock, Semaphore},
};

use self::{
    auth_server::AuthServer,
    client::{Client, Recorder},
    stores::{DEADLINE, Scene},
    users::{MAX_SESSIONS, PASSWORD, Pace, User, email},
};

const LONG: Pace = Pace {
    pause: 2.0,
    grace: 2,
    access_lifetime: 8,
    idle_lifetime: 20,
    session_lifetime: 90,
    is_short: false,
};
/// For a run of seconds, in which everything is to happen all the same.
const SHORT: Pace = Pace {
    pause: 0.2,
    grace: 1,
    access_lifetime: 2,
    idle_lifetime: 3,
    session_lifetime: 7,
    is_short: true,
};
const LONG_FROM: u64 = 120;

/// How long a request may take, besides the deadline of the store, in seconds: passwords are
/// hashed, and there may be many who wait.
const MARGIN: u64 = 2;

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
    let runtime = Runtime::new()?;
    let mut server = AuthServer::new(&program.canonicalize()?, pace);
    let mut store_of_server = stores::start(store, &server, &runtime)
        .ok_or("the stores are sqlite, postgres, redis and mysql")?;
    server.keep_in(&store_of_server.url());
    server.start();
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
        max_sessions: Some(MAX_SESSIONS),
        deadline: DEADLINE,
        margin: MARGIN,
        ..Settings::default()
    }));
    let mut rng = Rng::with_seed(seed);

    let clients: Vec<Client> = (0..count).map(|user| client(&server, &recorder, user)).collect();
    runtime.block_on(register(&clients))?;
    let until = Instant::now() + Duration::from_secs(seconds);
    let (logins, accounts) = (Arc::new(Semaphore::new(2)), Arc::new(RwLock::new(())));
    let users: Vec<_> = clients
        .into_iter()
        .map(|client| {
            let (rng, logins, accounts) = (rng.fork(), Arc::clone(&logins), Arc::clone(&accounts));
            runtime.spawn(User { client, rng, pace, until, logins, accounts }.run())
        })
        .collect();
    let scene = Scene {
        server: &mut server,
        rng: &mut rng,
        recorder: &recorder,
        runtime: &runtime,
        accounts,
        pace,
    };
    director::direct(&mut *store_of_server, scene, until, seconds);
    runtime.block_on(async {
        for user in users {
            user.await?;
        }
        Ok::<_, tokio::task::JoinError>(())
    })?;
    // Thieves end by themselves.
    runtime.shutdown_timeout(Duration::from_secs(5));
    let is_running = server.is_running();
    let said = server.log_text();
    said.lines().filter_map(heard).for_each(|said| recorder.write(&Line::Said(said)));
    recorder.flush()?;

    let is_silent = report::tells_no_token("the server's log", &said)
        & report::tells_no_token("the log of the run", &std::fs::read_to_string(path)?);
    if !is_running {
        println!("BROKEN: the server has ended by itself");
    }
    Ok(report::print(&Log::read(path)?) & is_silent & is_running)
}

fn client(server: &AuthServer, recorder: &Arc<Recorder>, user: u32) -> Client {
    let [_, _, high, low] = user.to_be_bytes();
    Client {
        recorder: Arc::clone(recorder),
        server: server.address,
        user,
        address: Ipv4Addr::new(127, 1, high, low),
        who: Who::Owner,
        keeps_others: false,
    }
}

async fn register(clients: &[Client]) -> Result<(), Box<dyn Error>> {
    for client in clients {
        // The server may be busy.
        for tries in 1.. {
            match client.register(&email(client.user), PASSWORD).await {
                Some(201) => break,
                Some(503) if tries < 10 => {}
                status => return Err(format!("a user cannot be registered: {status:?}").into()),
            }
        }
    }
    Ok(())
}

/// The event of a session that a line of the server's log has, if it has one.
fn heard(line: &str) -> Option<Said> {
    // A line may be cut where the server was killed.
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| line[name].as_str().map(str::to_owned);
    (line["target"] == "kippu::session").then(|| Said {
        session: text("session").unwrap_or_default(),
        message: text("message").unwrap_or_default(),
        reason: text("reason"),
    })
}
