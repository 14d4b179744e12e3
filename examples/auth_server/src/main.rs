//! An application with logins. Serves a page and its API on one address, until a signal stops it.
//!
//! The first line on the standard output is the URL; the log goes to the standard error, one JSON
//! object a line.
//!
//! `cargo run --release -p kippu-auth-server`. README.md explains how to run
//! it behind a proxy, its limits, and how to operate it.

// Tests fail by panicking.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used))]

mod accounts;
mod api;
mod app;
mod assets;
mod audit;
mod body;
mod counted;
mod email;
mod explain;
mod hashing;
mod import;
mod keys;
mod limits;
mod login;
mod logs;
mod options;
mod passwords;
mod private_file;
mod proxies;
mod ready;
mod refusal;
mod serve;
mod stop;
mod storage;

use std::{error::Error, io::Write, process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use kippu_sqlx::SqliteStore;
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    task::AbortHandle,
    time::{sleep, timeout},
};
use tracing::{error, info, warn};

use self::{
    accounts::Accounts,
    app::App,
    hashing::Hashing,
    keys::{KeyLocation, Keys},
    logs::Log,
    options::{Command, Options},
    passwords::Passwords,
    serve::Entrance,
    stop::Signals,
    storage::{Location, Storage},
};

/// How long requests in flight may take after the signal to stop.
const LAST_REQUESTS: Duration = Duration::from_secs(6);

/// How long closing the store may take then. With the log, a stop takes at most nine seconds:
/// Docker kills a container after ten.
const CLOSING: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let mut options = Options::parse();
    let log = logs::start(&options.log);
    let ended = match options.command.take() {
        Some(Command::Import(import)) => block_on(import::run(import, &options.store))
            .inspect_err(|error| eprintln!("error: {}", logs::with_sources(&**error))),
        None => block_on(run(options)).inspect_err(|error| {
            error!(error = logs::with_sources(&**error), "the server does not run");
        }),
    };
    log.close();
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn block_on(work: impl Future<Output = Result<(), Box<dyn Error>>>) -> Result<(), Box<dyn Error>> {
    let runtime = Runtime::new()?;
    let ended = runtime.block_on(work);
    // Dropping the runtime would wait for its blocking threads, for example for a name server.
    runtime.shutdown_background();
    ended
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let mut signals = Signals::new()?;
    let server = tokio::select! {
        server = Server::start(options) => server?,
        () = signals.next() => {
            info!("stopped during the start");
            return Ok(());
        }
    };
    tokio::select! {
        () = server.entrance.accept() => {}
        () = signals.next() => {}
    }
    info!(within = (LAST_REQUESTS + CLOSING + Log::CLOSING).as_secs(), "stopping");
    tokio::select! {
        () = server.stop() => info!("stopped"),
        () = signals.next() => return Err("stopped at once, by a second signal".into()),
    }
    Ok(())
}

/// The running parts, which [`Server::stop`] ends.
struct Server {
    entrance: Entrance,
    purge: AbortHandle,
    following: AbortHandle,
    sqlite: Option<SqliteStore>,
    accounts: Accounts,
}

impl Server {
    async fn start(options: Options) -> Result<Self, Box<dyn Error>> {
        let location: Location = options.store.parse()?;
        let key_files = || location.key_files().map(KeyLocation::Files);
        let keys = match options.keys.clone().or_else(key_files) {
            Some(location) => Keys::load(&location, options.key_times()).await?,
            None => Keys::generate()?,
        };
        let Storage { sessions, accounts, sqlite } = Storage::open(&location).await?;
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let url = options.url.clone().unwrap_or_else(|| format!("http://{address}"));
        let passwords = Passwords::new(Hashing::new(options.hashes_at_once)?).await?;
        if let Some(cost) = accounts.highest_bcrypt_cost().await? {
            passwords.expect_bcrypt(cost);
        }
        let policy = options.policy();
        let app = App::new(&url, keys, policy, sessions, accounts.clone(), passwords)?;
        let ended = app.ended.clone();
        let purge = Arc::clone(&app.sessions).purge_task(options.purge_every(), sleep);
        let purge = tokio::spawn(purge).abort_handle();
        let router = app.router(options.connections.request_timeouts());
        let proxies = options.proxies.into();
        let entrance = Entrance::new(listener, router, proxies, &options.connections);
        if let Err(error) = writeln!(std::io::stdout(), "{url}") {
            warn!(%error, "the URL cannot be printed");
        }
        let following = tokio::spawn(ended.run(sleep)).abort_handle();
        info!(url, %address, store = location.kind(), "listening");
        Ok(Self { entrance, purge, following, sqlite, accounts })
    }

    /// Stops within [`LAST_REQUESTS`] and [`CLOSING`], whatever the clients and the store do.
    async fn stop(self) {
        self.entrance.close(LAST_REQUESTS).await;
        self.purge.abort();
        self.following.abort();
        let closed = timeout(CLOSING, async {
            if let Some(store) = &self.sqlite {
                SqliteStore::close(store).await;
            }
            self.accounts.close().await;
        });
        if closed.await.is_err() {
            warn!("the store was not closed in time");
        }
    }
}
