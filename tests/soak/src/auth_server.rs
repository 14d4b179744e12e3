//! The auth server as a process, with a clock that can be set. It is killed by its process id.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    servers::{FakeClock, Scratch, Server, free_port, wait_until},
    users::{MAX_SESSIONS, Pace},
};

pub(crate) struct AuthServer {
    program: PathBuf,
    folder: Scratch,
    pub(crate) address: SocketAddr,
    arguments: Vec<String>,
    clock: FakeClock,
    process: Option<Server>,
}

impl AuthServer {
    /// Not started yet.
    pub(crate) fn new(program: &Path, pace: Pace) -> Self {
        let folder = Scratch::new("soak");
        let clock = FakeClock::new(folder.path());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let arguments = [
            ("--listen", address.to_string()),
            ("--url", "http://auth.example".to_owned()),
            ("--keys", "keys".to_owned()),
            ("--access-lifetime", pace.access_lifetime.to_string()),
            ("--grace", pace.grace.to_string()),
            ("--idle-lifetime", pace.idle_lifetime.to_string()),
            ("--session-lifetime", pace.session_lifetime.to_string()),
            ("--max-sessions", MAX_SESSIONS.to_string()),
            // No user authenticates again.
            ("--recent", pace.session_lifetime.to_string()),
            ("--purge-every", "2".to_owned()),
        ];
        let arguments = arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        // So that no fault excuses an access token that is accepted too late.
        let arguments = arguments.chain(["--refuse-when-stale".to_owned()]).collect();
        Self { program: program.to_owned(), folder, address, arguments, clock, process: None }
    }

    /// The server's working directory.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Sets where sessions and accounts are kept.
    pub(crate) fn keep_in(&mut self, store: &str) {
        self.arguments.extend(["--store".to_owned(), store.to_owned()]);
    }

    /// Starts it, and waits until it takes connections.
    pub(crate) fn start(&mut self) {
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
        self.process = Some(server);
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Asks it to stop, as `kill` does, and waits until it has.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop("TERM");
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Server::is_running)
    }

    /// Sets its clock, so many seconds ahead of the machine's.
    pub(crate) fn set_clock(&self, offset: i64) {
        self.clock.set(offset);
    }

    /// Bytes of memory that it has.
    pub(crate) fn memory(&self) -> Option<u64> {
        let id = self.process.as_ref()?.id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    pub(crate) fn log_text(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }
}
