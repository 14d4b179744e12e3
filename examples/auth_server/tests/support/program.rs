//! The auth server as a process.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    client::{Connection, Reply, fresh_source},
    servers::{Scratch, wait_until},
};

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A running server. It ends when this does.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
    log: PathBuf,
}

/// The program under test. `KIPPU_AUTH_SERVER` names another build to compare with.
pub(crate) fn path() -> OsString {
    env::var_os("KIPPU_AUTH_SERVER").unwrap_or_else(|| env!("CARGO_BIN_EXE_auth_server").into())
}

/// Returns the body of a registration or a login.
pub(crate) fn credentials(email: &str, password: &str) -> String {
    json!({ "email": email, "password": password }).to_string()
}

impl Program {
    /// Starts one on a free port, whose log is a file in `folder`.
    pub(crate) fn start(folder: &Scratch, store: &str, options: &[&str]) -> Self {
        let mut command = Command::new(path());
        command.args(["--listen", "127.0.0.1:0", "--store", store]).args(options);
        Self::spawn(folder, &mut command)
    }

    /// Starts what `command` says, with its log in `folder`.
    pub(crate) fn spawn(folder: &Scratch, command: &mut Command) -> Self {
        let log = folder.path().join("log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        Self::spawn_with_log(folder, command, log, file.into())
    }

    pub(crate) fn spawn_with_log(
        folder: &Scratch,
        command: &mut Command,
        log: PathBuf,
        stderr: Stdio,
    ) -> Self {
        let command = command.current_dir(folder.path()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let address = url.trim_end().strip_prefix("http://").and_then(|text| text.parse().ok());
        let mut server = Self { child, address: SocketAddr::from(([0; 4], 0)), log };
        assert!(!url.is_empty(), "the server does not start: {}", server.log());
        server.address = address.unwrap_or_else(|| {
            // It printed the URL that users have.
            server.wait_for_log("\"listening\"");
            let log = server.log();
            let line = log.lines().find(|line| line.contains("\"listening\"")).unwrap();
            let line: Value = serde_json::from_str(line).unwrap();
            line["address"].as_str().unwrap().parse().unwrap()
        });
        server
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until this text is in the log, which is written after the answer.
    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_until(&format!("{text:?} in the log"), Duration::from_secs(30), || {
            self.log().contains(text)
        });
    }

    /// Asks on a new connection, from an address that was not used before.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<Reply> {
        Connection::from(fresh_source(), self.address)?.ask(method, path, headers, body)
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], "").unwrap()
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Reply {
        self.ask("POST", path, &[("content-type", "application/json")], body).unwrap()
    }

    pub(crate) fn register(&self, email: &str) {
        let answer = self.post("/register", &credentials(email, PASSWORD));
        assert_eq!(answer.status(), 201, "{}", answer.body);
    }

    /// The access token of a login.
    pub(crate) fn log_in(&self, email: &str) -> String {
        let answer = self.post("/login", &credentials(email, PASSWORD));
        assert_eq!(answer.status(), 200, "{}", answer.body);
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        send_signal(self.id(), name);
    }

    /// Waits until it has ended.
    pub(crate) fn end(&mut self, limit: Duration) -> ExitStatus {
        wait_until("the end of the server", limit, || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap()
    }

    /// The bytes of memory that it has now, and the most that it has had.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
        };
        (bytes("VmRSS:"), bytes("VmHWM:"))
    }

    /// The processor time that it has used.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        // The twelfth and thirteenth field after the name, in hundredths of a second.
        let (_, numbers) = stat.rsplit_once(") ").unwrap();
        let ticks = numbers.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }
}

/// Sends a signal to a process that this test started.
pub(crate) fn send_signal(id: u32, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &id.to_string()]).status().unwrap().success());
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
