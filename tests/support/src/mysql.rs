//! MariaDB for tests: a server that a test can stop, kill, restart, and make a replica of another.

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
/// Its users are `root`, which may do anything and needs no password, and [`APP`](Self::APP). Like
/// the user of an application, `APP` may use every database, but not write to a replica. The
/// settings are the defaults, except that the binary log is on and also contains the changes that a
/// replica receives.
#[derive(Debug)]
pub struct MySql {
    folder: Scratch,
    port: u16,
    settings: Vec<&'static str>,
    server: Option<Server>,
}

impl MySql {
    pub const APP: &str = "app";
    /// The password of [`APP`](Self::APP).
    pub const PASSWORD: &str = "correct-horse";

    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with further settings: `--name=value`.
    pub fn start_with(settings: &[&'static str]) -> Self {
        let mut server = Self {
            folder: Scratch::new("mysql"),
            port: free_port(),
            settings: settings.to_vec(),
            server: None,
        };
        server.create();
        server.restart();
        server
    }

    /// Starts a replica of this server. It has all of its data, and rejects writes of applications.
    pub fn replica(&self) -> Self {
        let replica = Self::start_with(&["--read-only=1"]);
        replica.follow(self);
        replica
    }

    /// Makes it follow `primary`, and waits until it has the same data. A server that was a primary
    /// itself must not have changes that `primary` lacks.
    pub fn follow(&self, primary: &Self) {
        self.sql(&format!(
            "STOP SLAVE; SET GLOBAL gtid_slave_pos = @@gtid_current_pos; \
             CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = 'root', \
             MASTER_PASSWORD = '', MASTER_CONNECT_RETRY = 1, MASTER_USE_GTID = slave_pos; START SLAVE",
            primary.port
        ));
        self.catch_up(primary);
    }

    /// Waits until it has the changes of `primary`.
    pub fn catch_up(&self, primary: &Self) {
        let position = primary.sql("SELECT @@gtid_binlog_pos");
        let reached = self.sql(&format!("SELECT MASTER_GTID_WAIT('{}', 60)", position.trim()));
        assert_eq!(reached.trim(), "0", "{}", self.sql("SHOW SLAVE STATUS\\G"));
    }

    /// Waits until a replica without a primary has applied all changes that it has received.
    pub fn apply_all(&self) {
        self.sql("STOP SLAVE IO_THREAD");
        wait_until("applying the relay log", LIMIT, || {
            self.sql("SHOW SLAVE STATUS\\G").contains("has read all relay log")
        });
    }

    /// Makes a replica the primary.
    pub fn promote(&self) {
        self.sql("STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = 0");
    }

    /// Stops its process with SIGSTOP: connections stay open, and get no answers.
    pub fn pause(&self) {
        self.server.iter().for_each(|server| server.signal("STOP"));
    }

    /// Resumes its process.
    pub fn resume(&self) {
        self.server.iter().for_each(|server| server.signal("CONT"));
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns a URL for the application's user.
    pub fn url_of(&self, database: &str) -> String {
        self.url_for(Self::APP, Some(Self::PASSWORD), database)
    }

    pub fn url_for(&self, user: &str, password: Option<&str>, database: &str) -> String {
        let password = password.map(|password| format!(":{password}")).unwrap_or_default();
        format!("mysql://{user}{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// Creates an empty database. Returns its name.
    pub fn database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.sql(&format!("CREATE DATABASE {name}"));
        name
    }

    /// Runs statements as `root`, with the client that belongs to the server. Returns the output.
    pub fn sql(&self, statements: &str) -> String {
        let output = self.client(statements).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{statements}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn client(&self, statements: &str) -> Command {
        let mut command = Command::new(program(&["mariadb"]));
        command.args(["--no-defaults", "--user=root", "--host=127.0.0.1", "--skip-column-names"]);
        command.args([&format!("--port={}", self.port), "--batch", "--execute", statements]);
        command
    }

    /// Stops it in order.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.stop("TERM");
        }
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill();
        }
    }

    /// Sets the options for the next start, in addition to the defaults.
    pub fn set(&mut self, settings: &[&'static str]) {
        self.settings = settings.to_vec();
    }

    /// Starts it if it does not run, and waits until it accepts connections.
    pub fn restart(&mut self) {
        let start = Instant::now();
        while self.server.is_none() {
            let mut server = self.spawn();
            // Another program may use its port for a moment.
            let mut is_running = true;
            wait_until("the start of MariaDB", LIMIT, || {
                is_running = server.is_running();
                let mut client = self.client("SELECT 1");
                client.stdout(Stdio::null()).stderr(Stdio::null());
                !is_running || client.status().unwrap().success()
            });
            if is_running {
                self.server = Some(server);
            }
            assert!(start.elapsed() < LIMIT, "MariaDB does not start: {}", self.log());
        }
    }

    fn create(&mut self) {
        if is_root() {
            let mut command = Command::new("chown");
            command.arg("mysql:mysql").arg(self.folder.path());
            assert!(command.status().unwrap().success(), "{command:?}");
        }
        let mut command = self.command(&program(&["mariadb-install-db"]));
        command.args(["--no-defaults", "--auth-root-authentication-method=normal"]);
        command.args(["--skip-test-db", "--skip-name-resolve"]);
        command.arg(format!("--datadir={}", self.data().display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(self.log_file());
        assert!(command.status().unwrap().success(), "{command:?}: {}", self.log());
        self.restart();
        // Not in the binary log, so that a server that also has these users can become a replica.
        self.sql(&format!(
            "SET sql_log_bin = 0; CREATE USER {app}@'127.0.0.1' IDENTIFIED BY '{password}'; \
             GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, LOCK TABLES ON *.* TO {app}@'127.0.0.1'",
            app = Self::APP,
            password = Self::PASSWORD,
        ));
    }

    fn spawn(&self) -> Server {
        let mut command = self.command(&program(&["mariadbd", "/usr/sbin/mariadbd"]));
        let path = |name| self.folder.path().join(name).display().to_string();
        command.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"]);
        command.arg(format!("--datadir={}", path("data")));
        command.arg(format!("--socket={}", path("socket")));
        command.arg(format!("--pid-file={}", path("pid")));
        command.args([&format!("--port={}", self.port), &format!("--server-id={}", self.port)]);
        command.args([
            "--log-bin=binlog",
            "--log-slave-updates=1",
            "--innodb-buffer-pool-size=64M",
        ]);
        command.args(&self.settings);
        command.stdin(Stdio::null()).stdout(self.log_file()).stderr(self.log_file());
        Server::start(&mut command)
    }

    /// Returns a command that runs in the server's folder, as the user that Debian creates for it.
    fn command(&self, program: &Path) -> Command {
        // MariaDB does not run as root.
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=mysql", "--regid=mysql", "--clear-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        // Servers that share a folder for temporary tables would use each other's files.
        command.current_dir(self.folder.path()).env("TMPDIR", self.folder.path());
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_file(&self) -> File {
        let path = self.folder.path().join("log");
        File::options().create(true).append(true).open(path).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn program(names: &[&str]) -> PathBuf {
    find_program(names.iter().copied()).expect("MariaDB is installed: scripts/test installs it")
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
