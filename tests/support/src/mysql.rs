//! MariaDB for tests: a server that a test may stop, kill and start again, and make a replica of another.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use crate::servers::{Scratch, Server, find_program, free_port, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

/// A server. It ends when this does.
///
/// Its users are `root`, who may do anything and needs no password, and [`APP`](Self::APP), who may use every database but not
/// write to a replica, as an application's user is. Its settings are the defaults, but for the binary log, which is on, and has
/// what a replica gets too.
#[derive(Debug)]
pub struct MySql {
    folder: Scratch,
    port: u16,
    settings: Vec<&'static str>,
    server: Option<Server>,
}

impl MySql {
    pub const APP: &str = "app";
    /// Of [`APP`](Self::APP).
    pub const PASSWORD: &str = "correct-horse";

    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With further settings: `--name=value`.
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

    /// A replica of this server, of which it has all, and which takes no writes of applications.
    pub fn replica(&self) -> Self {
        let replica = Self::start_with(&["--read-only=1"]);
        replica.follow(self);
        replica
    }

    /// Makes it follow `primary`, and waits until it has what that one has. A server that was a primary itself must have nothing that
    /// `primary` lacks.
    pub fn follow(&self, primary: &Self) {
        self.sql(&format!(
            "STOP SLAVE; SET GLOBAL gtid_slave_pos = @@gtid_current_pos; \
             CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = 'root', \
             MASTER_PASSWORD = '', MASTER_CONNECT_RETRY = 1, MASTER_USE_GTID = slave_pos; START SLAVE",
            primary.port
        ));
        self.catch_up(primary);
    }

    /// Waits until it has what `primary` has.
    pub fn catch_up(&self, primary: &Self) {
        let position = primary.sql("SELECT @@gtid_binlog_pos");
        let reached = self.sql(&format!("SELECT MASTER_GTID_WAIT('{}', 60)", position.trim()));
        assert_eq!(reached.trim(), "0", "{}", self.sql("SHOW SLAVE STATUS\\G"));
    }

    /// Waits until a replica whose primary is gone has done all that it has received.
    pub fn apply_all(&self) {
        self.sql("STOP SLAVE IO_THREAD");
        wait_until("the end of the relay log", LIMIT, || {
            self.sql("SHOW SLAVE STATUS\\G").contains("has read all relay log")
        });
    }

    /// Makes a replica the primary.
    pub fn promote(&self) {
        self.sql("STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = 0");
    }

    /// Stops it where it is: connections stay open, and nothing is answered.
    pub fn pause(&self) {
        self.server.iter().for_each(|server| server.signal("STOP"));
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.server.iter().for_each(|server| server.signal("CONT"));
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// As the application's user.
    pub fn url_of(&self, database: &str) -> String {
        self.url_for(Self::APP, Some(Self::PASSWORD), database)
    }

    pub fn url_for(&self, user: &str, password: Option<&str>, database: &str) -> String {
        let password = password.map(|password| format!(":{password}")).unwrap_or_default();
        format!("mysql://{user}{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// The name of a new database, which is empty.
    pub fn database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.sql(&format!("CREATE DATABASE {name}"));
        name
    }

    /// The answer to `root`, by the client that comes with the server.
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

    /// Ends it in order.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.stop("TERM");
        }
    }

    /// As `kill -9` does it.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill();
        }
    }

    /// Sets the options of the next start, besides the defaults.
    pub fn set(&mut self, settings: &[&'static str]) {
        self.settings = settings.to_vec();
    }

    /// Starts it if it does not run, and waits until it takes connections.
    pub fn restart(&mut self) {
        let start = Instant::now();
        while self.server.is_none() {
            let mut server = self.spawn();
            // Another program may have its port for a moment.
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
        // Not in the binary log, so that a replica can be made of a server that has them too.
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

    /// A program that works in its folder, as the user that Debian makes for it.
    fn command(&self, program: &Path) -> Command {
        // MariaDB runs as anybody but root.
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=mysql", "--regid=mysql", "--clear-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        // Servers that share a folder for temporary tables take each other's.
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
    find_program(names.iter().copied()).expect("MariaDB is installed, as scripts/test does")
}

#[cfg(unix)]
fn is_root() -> bool {
    // The owner of the process's entry in /proc, where there is one.
    use std::os::unix::fs::MetadataExt;

    fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}
