//! Auth servers as processes, over one store, each with a clock that can be set. They are killed by
//! their process ids.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use fastrand::Rng;
use kippu_simulation::{
    log::{Fault, FaultKind, Said, Stepped},
    server::Policy,
    time::Time,
    workload::Recorder,
};

use super::Servers;
use crate::{
    http::URL,
    live::Live,
    support::{FakeClock, Scratch, Server, free_port, wait_until},
};

pub(crate) struct AuthServers {
    program: PathBuf,
    arguments: Vec<String>,
    /// The working directory of all of them.
    folder: PathBuf,
    processes: Vec<Process>,
    /// Whether all are on one host.
    share_clock: bool,
}

struct Process {
    /// For its log, and for its clock.
    own: Scratch,
    store: String,
    address: SocketAddr,
    clock: FakeClock,
    running: Option<Server>,
}

/// The settings of a clock, in seconds ahead of the machine's.
const OFFSETS: [i64; 6] = [-3600, 315_360_000, 3, -3, 0, 0];

impl AuthServers {
    /// Each finds its store at one of these URLs. They run.
    pub(crate) fn start(
        program: &Path,
        folder: &Path,
        stores: Vec<String>,
        share_clock: bool,
        policy: &Policy,
    ) -> Self {
        let arguments = [
            ("--url", URL.to_owned()),
            ("--keys", "keys".to_owned()),
            ("--access-lifetime", policy.access.as_secs().to_string()),
            ("--grace", policy.grace.as_secs().to_string()),
            ("--idle-lifetime", policy.idle.as_secs().to_string()),
            ("--session-lifetime", policy.absolute.as_secs().to_string()),
            ("--max-sessions", policy.max_sessions.unwrap_or(u32::MAX).to_string()),
            // No logout everywhere asks for the password again.
            ("--recent", policy.absolute.as_secs().to_string()),
            ("--purge-every", policy.sweep_every.as_secs().to_string()),
        ];
        let arguments = arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        // So that no fault excuses an access token that is accepted too late.
        let arguments = arguments.chain(["--refuse-when-stale".to_owned()]).collect();
        let processes = stores.into_iter().map(|store| {
            let own = Scratch::new("soak");
            let clock = FakeClock::new(own.path());
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
            Process { own, store, address, clock, running: None }
        });
        let processes = processes.collect();
        let (program, folder) = (program.to_owned(), folder.to_owned());
        let mut servers = Self { program, arguments, folder, processes, share_clock };
        servers.start();
        servers
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.processes.iter().map(|process| process.address).collect()
    }

    pub(crate) fn log_text(&self) -> String {
        let logs = self.processes.iter().map(|process| fs::read_to_string(process.log()));
        logs.map(Result::unwrap_or_default).collect()
    }

    /// The events of the sessions in the logs of the servers.
    pub(crate) fn hear(&self, recorder: &Recorder) {
        for line in self.log_text().lines() {
            // A line may be cut where the server was killed.
            let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            let text = |name: &str| line[name].as_str().map(str::to_owned);
            if line["target"] == "kippu::session" {
                let session = text("session").map(|id| recorder.session(&id)).unwrap_or_default();
                let message = text("message").unwrap_or_default();
                recorder.said(Said { session, message, reason: text("reason") });
            }
        }
    }
}

impl Process {
    fn log(&self) -> PathBuf {
        self.own.path().join("server.log")
    }

    /// Waits until it takes connections.
    fn start(&mut self, program: &Path, folder: &Path, arguments: &[String]) {
        let log = File::options().create(true).append(true).open(self.log());
        let mut server = Server::start(
            self.clock
                .show_to(&mut Command::new(program))
                .current_dir(folder)
                .args(arguments)
                .args(["--listen", &self.address.to_string(), "--store", &self.store])
                .stdout(Stdio::null())
                .stderr(log.expect("the server's log can be opened")),
        );
        wait_until("the start of the auth server", Duration::from_secs(60), || {
            let log = self.log();
            assert!(server.is_running(), "the auth server does not start: {}", log.display());
            TcpStream::connect(self.address).is_ok()
        });
        self.running = Some(server);
    }
}

impl Servers for AuthServers {
    fn end(&mut self, is_kill: bool) {
        for process in &mut self.processes {
            if let Some(mut server) = process.running.take().filter(|_| !is_kill) {
                server.stop("TERM");
            }
        }
    }

    fn start(&mut self) {
        for process in &mut self.processes {
            process.start(&self.program, &self.folder, &self.arguments);
        }
    }

    fn suffer(&mut self, rng: &mut Rng, time: &Live, recorder: &Recorder) {
        let host = rng.usize(..self.processes.len());
        let process = &self.processes[host];
        let from = time.now();
        if rng.u8(..3) == 0 {
            let Some(server) = &process.running else { return };
            server.signal("STOP");
            // No longer than a request may take besides the steps of its store.
            thread::sleep(Duration::from_millis(rng.u64(200..1_400)));
            server.signal("CONT");
            let (span, what) = ((from, time.now()), "a server stood still".to_owned());
            recorder.fault(Fault { kind: FaultKind::Stall, what, span, still: None, lost: None });
        } else {
            let offset = OFFSETS[rng.usize(..OFFSETS.len())];
            let hosts = if self.share_clock { 0..self.processes.len() } else { host..host + 1 };
            self.processes[hosts.clone()].iter().for_each(|process| process.clock.set(offset));
            let to = time.now();
            for host in hosts.filter_map(|host| u32::try_from(host).ok()) {
                recorder.stepped(Stepped { host, from, to, offset });
            }
        }
    }

    fn are_running(&mut self) -> bool {
        let mut all = self.processes.iter_mut();
        all.all(|process| process.running.as_mut().is_some_and(Server::is_running))
    }

    fn memory(&self) -> Option<u64> {
        let ids = self.processes.iter().map(|process| process.running.as_ref().map(Server::id));
        ids.map(|id| memory(id?)).sum()
    }
}

fn memory(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
