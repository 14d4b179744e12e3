//! PostgreSQL for tests: a server that a test can stop, kill and restart.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use crate::servers::{Scratch, Server, find_program, free_port, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

/// A server, which stops when this value is dropped.
///
/// Its superuser is `postgres`, which needs no password. The role [`GUARDED`](Self::GUARDED), once
/// a test has created it, needs one. The settings are the defaults: `fsync` and
/// `synchronous_commit` are on.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    folder: Scratch,
    port: u16,
    settings: Vec<&'static str>,
    server: Option<Server>,
}

impl Postgres {
    pub const GUARDED: &str = "guarded";

    pub fn start() -> Self {
        let programs =
            folder_of_programs().expect("PostgreSQL is installed: scripts/test installs it");
        let mut postgres = Self {
            programs,
            folder: Scratch::new("postgres"),
            port: free_port(),
            settings: Vec::new(),
            server: None,
        };
        postgres.create();
        postgres.restart();
        postgres
    }

    /// Starts a standby, which streams from this server.
    pub fn standby(&self) -> Self {
        let mut standby = Self {
            programs: self.programs.clone(),
            folder: Scratch::new("postgres"),
            port: free_port(),
            settings: Vec::new(),
            server: None,
        };
        standby.give_away();
        standby.follow(self);
        standby
    }

    /// Makes it a standby of `primary` at its own address, like an old primary that comes back
    /// after a failover.
    pub fn follow(&mut self, primary: &Self) {
        self.crash();
        let _ = fs::remove_dir_all(self.folder());
        let mut command = self.command("pg_basebackup");
        command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &primary.port.to_string()]);
        command.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--pgdata"]);
        command.arg(self.folder());
        assert!(command.status().unwrap().success(), "{command:?}");
        self.restart();
    }

    /// Makes a standby the primary.
    pub fn promote(&self) {
        let mut command = self.command("pg_ctl");
        command.args(["promote", "--wait", "--silent", "--pgdata"]).arg(self.folder());
        assert!(command.status().unwrap().success(), "{command:?}");
    }

    /// Stops all its processes with SIGSTOP: connections stay open, and get no answers.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Resumes its processes.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let Some(server) = &self.server else { return };
        // The first process starts all others. It is stopped first, so that it cannot start another
        // one.
        let first = server.id().to_string();
        let kill = |ids: &[&str]| Command::new("kill").args(["-s", signal]).args(ids).status();
        assert!(kill(&[&first]).unwrap().success());
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).unwrap();
        // One of them may have ended meanwhile.
        let _ = kill(&children.split_whitespace().collect::<Vec<_>>()).unwrap();
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of the database that always exists.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    pub fn url_of(&self, database: &str) -> String {
        self.url_for("postgres", None, database)
    }

    pub fn url_for(&self, user: &str, password: Option<&str>, database: &str) -> String {
        let password = password.map(|password| format!(":{password}")).unwrap_or_default();
        // Without sslmode, the driver would first ask for TLS.
        format!("postgres://{user}{password}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// Creates a database. Returns its URL.
    pub fn database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut command = self.command("createdb");
        command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &self.port.to_string(), &name]);
        assert!(command.status().unwrap().success(), "{command:?}");
        self.url_of(&name)
    }

    /// Returns the folder of the data.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Stops it in order: it closes connections and writes everything.
    pub fn stop(&mut self) {
        self.end("INT");
    }

    /// Crashes it with all its processes: the next start recovers from its log.
    pub fn crash(&mut self) {
        self.end("QUIT");
    }

    /// Kills its first process as `kill -9` does. The other processes notice that themselves, and
    /// the next start waits for them.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill();
        }
    }

    /// Starts it if it does not run, and waits until it accepts connections.
    pub fn restart(&mut self) {
        let start = Instant::now();
        while self.server.is_none() {
            let mut server = self.spawn();
            // Another program may use its port for a moment.
            let mut is_running = true;
            wait_until("the start of PostgreSQL", LIMIT, || {
                is_running = server.is_running();
                !is_running || self.is_ready(server.id())
            });
            if is_running {
                self.server = Some(server);
            }
            assert!(start.elapsed() < LIMIT, "PostgreSQL does not start: {}", self.log());
        }
    }

    fn end(&mut self, signal: &str) {
        if let Some(mut server) = self.server.take() {
            server.stop(signal);
        }
    }

    /// Gives its folder to the user that it runs as.
    fn give_away(&self) {
        if is_root() {
            let mut command = Command::new("chown");
            command.arg("postgres:postgres").arg(self.folder.path());
            assert!(command.status().unwrap().success(), "{command:?}");
        }
    }

    fn create(&self) {
        self.give_away();
        let mut command = self.command("initdb");
        command.args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8"]);
        command.args(["--no-locale", "--pgdata"]).arg(self.folder()).stdout(Stdio::null());
        assert!(command.status().unwrap().success(), "{command:?}");
        // The first matching line applies.
        let rules = format!(
            "host all {} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n\
             host replication all 127.0.0.1/32 trust\n",
            Self::GUARDED
        );
        fs::write(self.folder().join("pg_hba.conf"), rules).unwrap();
    }

    /// Sets the options for the next start, in addition to the defaults.
    pub fn set(&mut self, settings: &[&'static str]) {
        self.settings = settings.to_vec();
    }

    fn spawn(&self) -> Server {
        let log = File::options().create(true).append(true).open(self.log_file()).unwrap();
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.folder()).args(["-p", &self.port.to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Server::start(&mut command)
    }

    /// Returns a command that runs in the server's folder, as the same user.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let program = self.programs.join(program);
        // PostgreSQL does not run as root.
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.folder.path());
        command
    }

    /// Returns whether the server is ready, which it writes into the eighth line of a file. The
    /// first line is its process id.
    fn is_ready(&self, id: u32) -> bool {
        let file = fs::read_to_string(self.folder().join("postmaster.pid")).unwrap_or_default();
        let mut lines = file.lines().map(str::trim);
        lines.next() == Some(&id.to_string()) && matches!(lines.nth(6), Some("ready" | "standby"))
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // If it were killed, its other processes would run for a while.
        self.crash();
    }
}

/// Returns the folder of `PATH`, or the newest of the versions that Debian installs side by side.
fn folder_of_programs() -> Option<PathBuf> {
    let mut folders: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .collect();
    folders.sort();
    // `PATH` may have links to some of the programs.
    let linked = find_program(["initdb"]).and_then(|program| program.canonicalize().ok());
    folders.extend(linked.and_then(|program| program.parent().map(Path::to_owned)));
    folders.reverse();
    let programs = ["initdb", "postgres", "createdb"];
    folders.into_iter().find(|folder| programs.iter().all(|name| folder.join(name).is_file()))
}

#[cfg(unix)]
fn is_root() -> bool {
    // The owner of the process's entry in /proc, if there is one.
    use std::os::unix::fs::MetadataExt;

    fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}
