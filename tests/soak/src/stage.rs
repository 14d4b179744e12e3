//! The auth server and its store, on free loopback ports and in temporary folders; what is killed is killed by its own
//! process id.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    postgres::Postgres,
    redis::{Redis, RedisOptions},
    servers::{FakeClock, Scratch, Server, free_port, wait_until},
    users::Pace,
};

enum Store {
    /// In the server: it is the server that is killed.
    Sqlite,
    Postgres(Postgres),
    Redis(Redis),
}

pub(crate) struct Stage {
    program: PathBuf,
    folder: Scratch,
    pub(crate) address: SocketAddr,
    arguments: Vec<String>,
    store: Store,
    server: Option<Server>,
    clock: FakeClock,
}

impl Stage {
    /// None of a store that is not known, or where something is not installed.
    pub(crate) fn set(program: &Path, store: &str, pace: Pace) -> Option<Self> {
        let folder = Scratch::new("soak");
        let clock = FakeClock::new(folder.path())?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let (store, url) = match store {
            "sqlite" => (Store::Sqlite, "sqlite:sessions.db".to_owned()),
            "postgres" => {
                let mut postgres = Postgres::start()?;
                // A run of minutes must not wait a minute for what removes dead rows.
                postgres.stop();
                postgres.set(&["autovacuum_naptime=5s"]);
                postgres.restart();
                let url = postgres.url();
                (Store::Postgres(postgres), url)
            }
            "redis" => {
                // With `always`, what is acknowledged is kept. The file is rewritten when it is twice as large.
                let more = ["--auto-aof-rewrite-min-size", "1mb"];
                let options =
                    RedisOptions { append: Some("always"), more: &more, ..Default::default() };
                let redis = Redis::start_with(options)?;
                let url = redis.url();
                (Store::Redis(redis), url)
            }
            _ => return None,
        };
        let arguments = [
            ("--listen", address.to_string()),
            ("--url", "http://auth.example".to_owned()),
            ("--store", url),
            ("--keys", "keys".to_owned()),
            ("--access-lifetime", pace.access_lifetime.to_string()),
            ("--grace", pace.grace.to_string()),
            ("--idle-lifetime", pace.idle_lifetime.to_string()),
            ("--session-lifetime", pace.session_lifetime.to_string()),
            ("--purge-every", "2".to_owned()),
        ];
        let arguments = arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        let program = program.to_owned();
        let mut stage = Self {
            program,
            folder,
            address,
            arguments: arguments.collect(),
            store,
            server: None,
            clock,
        };
        stage.start_server();
        Some(stage)
    }

    fn start_server(&mut self) {
        let log = File::options().create(true).append(true).open(self.log());
        let mut server = Server::start(
            self.clock
                .show_to(&mut Command::new(&self.program))
                .current_dir(self.folder.path())
                .args(&self.arguments)
                .stdout(Stdio::null())
                .stderr(log.expect("the server's log can be opened")),
        );
        wait_until("the start of the auth server", Duration::from_secs(60), || {
            assert!(server.is_running(), "the auth server does not start: {:?}", self.log_text());
            TcpStream::connect(self.address).is_ok()
        });
        self.server = Some(server);
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    pub(crate) fn log_text(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Kills the store, or the server that it is in. Says which.
    pub(crate) fn kill(&mut self) -> &'static str {
        match &mut self.store {
            Store::Sqlite => {
                self.server = None;
                "the server"
            }
            Store::Postgres(postgres) => {
                postgres.kill();
                "PostgreSQL"
            }
            Store::Redis(redis) => {
                redis.kill();
                "Redis"
            }
        }
    }

    pub(crate) fn bring_back(&mut self) {
        match &mut self.store {
            Store::Sqlite => self.start_server(),
            Store::Postgres(postgres) => postgres.restart(),
            Store::Redis(redis) => redis.restart(),
        }
    }

    /// Sets the server's clock, so many seconds ahead of the machine's.
    pub(crate) fn set_clock(&self, offset: i64) {
        self.clock.set(offset);
    }

    pub(crate) fn server_runs(&mut self) -> bool {
        self.server.as_mut().is_some_and(Server::is_running)
    }

    /// Bytes of memory that the server has.
    pub(crate) fn memory(&self) -> Option<u64> {
        let id = self.server.as_ref()?.id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
    }

    /// Bytes of the store's files.
    pub(crate) fn files(&self) -> u64 {
        match &self.store {
            Store::Sqlite => ["", "-wal", "-shm"]
                .iter()
                .map(|end| size(&self.folder.path().join(format!("sessions.db{end}"))))
                .sum(),
            // Its log is recycled, and grows up to what the server is set to.
            Store::Postgres(postgres) => size(&postgres.folder().join("base")),
            Store::Redis(redis) => size(redis.folder()),
        }
    }
}

/// Of a file, or of all in a folder. What goes meanwhile has none.
fn size(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| size(&entry.path())).sum()
}
