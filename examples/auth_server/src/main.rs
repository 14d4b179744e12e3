//! An application with logins: options in, a page and its API on one address out, until it is told to stop.
//!
//! The first line on the standard output is the URL; the log goes to the standard error, one JSON object a line.
//!
//! `cargo run --release --manifest-path examples/auth_server/Cargo.toml`

mod accounts;
mod api;
mod app;
mod assets;
mod audit;
mod body;
mod email;
mod explain;
mod import;
mod keys;
mod limits;
mod login;
mod logs;
mod passwords;
mod private_file;
mod refusal;
mod storage;

use std::{error::Error, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use kippu::session::{BoxStore, Sessions, SqliteStore};
use tokio::net::TcpListener;
use tracing::{error, info, warn};

use self::{
    app::{App, Lifetimes},
    keys::Keys,
    storage::{Location, Storage},
};

/// A server with logins by kippu, and a page that shows its tokens at work.
#[derive(Parser)]
#[command(name = "auth_server")]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// The address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The URL that users reach it by, where a proxy with TLS stands before it; else that of its address
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Where sessions and accounts are kept: memory, sqlite:PATH, postgres://… or redis://…
    // A text, since what is wrong with it is told without the password in it.
    #[arg(
        long,
        value_name = "STORE",
        default_value = "sqlite:auth_server.db",
        env = "AUTH_SERVER_STORE",
        hide_env_values = true,
        global = true
    )]
    store: String,
    /// The keys are in this and .access.jwk, and in this and .refresh.jwk, which are made when they are missing. Without it
    /// they are beside the SQLite file; for other databases in this folder; for the store in memory nowhere
    #[arg(long, value_name = "PATH")]
    keys: Option<PathBuf>,
    /// How long an access token is accepted: so short that its end can be watched
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    access_lifetime: u64,
    /// How long after a refresh its token can be presented again
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    grace: u64,
    /// How long a session lives without a refresh
    #[arg(long, value_name = "SECONDS", default_value_t = Sessions::<BoxStore>::DEFAULT_IDLE_LIFETIME.as_secs())]
    idle_lifetime: u64,
    /// How long a session lives at most
    #[arg(long, value_name = "SECONDS", default_value_t = Sessions::<BoxStore>::DEFAULT_ABSOLUTE_LIFETIME.as_secs())]
    session_lifetime: u64,
    /// How often sessions that are over are removed
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    purge_every: u64,
    /// What is logged: a level, or levels by target, as in info,sqlx=warn
    #[arg(long, value_name = "FILTER", default_value = "info,sqlx=warn", global = true)]
    log: logs::Filter,
}

/// A command that runs instead of the server.
#[derive(Subcommand)]
enum Command {
    Import(import::Options),
}

/// How long requests under way may take after the server was told to stop.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// How many sessions that are over are removed at once.
const PURGED_AT_ONCE: u32 = 10_000;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    logs::start(&options.log);
    if let Some(Command::Import(import)) = options.command {
        return match import::run(import, &options.store).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {}", logs::with_sources(&*error));
                ExitCode::FAILURE
            }
        };
    }
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(error = logs::with_sources(&*error), "the server does not run");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let location: Location = options.store.parse()?;
    let keys = match options.keys.or_else(|| location.key_files()) {
        Some(path) => Keys::load(&path)?,
        None => Keys::generate()?,
    };
    let Storage { sessions, accounts, sqlite } = Storage::open(&location).await?;
    let listener = TcpListener::bind(options.listen).await?;
    let url = match options.url {
        Some(url) => url,
        None => format!("http://{}", listener.local_addr()?),
    };
    let lifetimes = Lifetimes {
        access: Duration::from_secs(options.access_lifetime),
        grace: Duration::from_secs(options.grace),
        idle: Duration::from_secs(options.idle_lifetime),
        session: Duration::from_secs(options.session_lifetime),
    };
    let app = App::new(&url, keys, lifetimes, sessions, accounts.clone())?;
    if let Some(cost) = accounts.highest_bcrypt_cost().await? {
        app.passwords.expect_bcrypt(cost);
    }
    println!("{url}");
    info!(store = location.kind(), "listening");

    let purge = tokio::spawn(purge(app.clone(), Duration::from_secs(options.purge_every)));
    let router = app.router().into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async {
        told_to_stop().await;
        info!("stopping");
    });
    tokio::select! {
        end = async { serving.await } => end?,
        () = async { told_to_stop().await; tokio::time::sleep(LAST_REQUESTS).await } => {
            warn!("some requests were not answered in time");
        }
    }
    purge.abort();
    if let Some(store) = sqlite {
        SqliteStore::close(&store).await;
    }
    accounts.close().await;
    info!("stopped");
    Ok(())
}

async fn purge(app: App, pause: Duration) {
    loop {
        match app.sessions.purge_expired(PURGED_AT_ONCE).await {
            Ok(0) => {}
            Ok(removed) => info!(removed, "sessions that were over"),
            Err(error) => warn!(error = logs::with_sources(&error), "sessions cannot be purged"),
        }
        tokio::time::sleep(pause).await;
    }
}

/// SIGINT, which is Ctrl-C, or SIGTERM.
async fn told_to_stop() {
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminated = async {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<Option<()>>();
    tokio::select! {
        () = interrupted => {}
        _ = terminated => {}
    }
}
