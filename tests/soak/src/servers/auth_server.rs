//! Auth servers as processes, over one store, each with a clock that can be set. They are killed by
//! their process ids.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use fastrand::Rng;
use kippu::session::rotation::AheadPolicy;
use kippu_simulation::{
    log::{Fault, FaultKind, Keys, Line, Micros, Said, Stepped},
    server::Policy,
    time::Time,
    workload::Recorder,
};

use serde_json::{Value, json};

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
    keys: KeyFolder,
}

struct Process {
    /// For its log, and for its clock.
    own: Scratch,
    store: String,
    address: SocketAddr,
    clock: FakeClock,
    running: Option<Server>,
}

/// The kinds of keys. Servers read that of the audit log at their start alone.
const KINDS: [&str; 3] = ["access", "refresh", "audit"];

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
        recorder: &Recorder,
    ) -> Self {
        let arguments = [
            ("--url", URL.to_owned()),
            ("--keys", "dir:keys".to_owned()),
            ("--reload-keys-every", "1".to_owned()),
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
        let arguments = arguments.chain(["--refuse-when-stale".to_owned()]);
        let refuses_ahead = policy.ahead == AheadPolicy::Refuse;
        let arguments =
            arguments.chain(refuses_ahead.then(|| "--refuse-ahead".to_owned())).collect();
        let processes = stores.into_iter().map(|store| {
            let own = Scratch::new("soak");
            let clock = FakeClock::new(own.path());
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
            Process { own, store, address, clock, running: None }
        });
        let processes = processes.collect();
        let (program, folder) = (program.to_owned(), folder.to_owned());
        let keys = KeyFolder::new(&folder);
        let mut servers = Self { program, arguments, folder, processes, share_clock, keys };
        servers.start();
        servers.note_keys(recorder, 0, 0);
        servers
    }

    /// Takes the next step of a rotation of keys, and waits until all servers have the keys.
    fn rotate_keys(&mut self, time: &Live, recorder: &Recorder) {
        let from = time.now();
        self.keys.step();
        let ids = self.keys.refresh_ids();
        wait_until("the reload of the keys", Duration::from_secs(30), || {
            self.processes.iter().all(|process| process.refresh_keys() == ids)
        });
        self.note_keys(recorder, from, time.now());
    }

    /// Writes into the history which refresh keys all servers have.
    fn note_keys(&self, recorder: &Recorder, from: Micros, to: Micros) {
        let retired: Vec<_> = self.keys.retired().map(|key| (key, 0)).collect();
        for host in (0..).take(self.processes.len()) {
            let (signing, retired) = (self.keys.signing, retired.clone());
            recorder.note(Line::Keys(Keys { host, from, to, signing, retired }));
        }
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
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            let text = |name: &str| line[name].as_str().map(str::to_owned);
            if line["target"] == "kippu::session" {
                let session = text("session").map(|id| recorder.session(&id)).unwrap_or_default();
                let message = text("message").unwrap_or_default();
                recorder.note(Line::Said(Said { session, message, reason: text("reason") }));
            }
        }
    }
}

/// The keys of the servers, in files.
struct KeyFolder {
    folder: PathBuf,
    /// The numbers of the keys: the first that is there, the one that signs, and the last.
    first: u64,
    signing: u64,
    last: u64,
}

impl KeyFolder {
    /// With one key of each kind.
    fn new(folder: &Path) -> Self {
        let folder = folder.join("keys");
        for kind in KINDS {
            fs::create_dir_all(folder.join(kind)).expect("a folder can be made");
        }
        let mut keys = Self { folder, first: 1, signing: 1, last: 0 };
        keys.add();
        keys
    }

    /// A key is added, then it signs, then the refresh key before it is retired.
    fn step(&mut self) {
        if self.last == self.signing && self.first == self.signing {
            self.add();
        } else if self.last > self.signing {
            self.signing = self.last;
            self.name_signing();
        } else {
            let old = self.folder.join(format!("refresh/refresh-{}.json", self.first));
            fs::remove_file(old).expect("the key is there");
            self.first += 1;
        }
    }

    fn add(&mut self) {
        self.last += 1;
        for kind in KINDS {
            let secret = BASE64_URL_SAFE_NO_PAD.encode(fastrand::u128(..).to_le_bytes().repeat(2));
            let key = json!({ "kty": "oct", "alg": "HS256", "k": secret }).to_string();
            self.write(&format!("{kind}/{kind}-{}.json", self.last), &key);
        }
        self.name_signing();
    }

    fn name_signing(&self) {
        for kind in KINDS {
            self.write(&format!("{kind}/signing"), &format!("{kind}-{}", self.signing));
        }
    }

    /// In one step, even if a server reads it at the same moment.
    fn write(&self, name: &str, text: &str) {
        let hidden = self.folder.join(".new");
        fs::write(&hidden, text).expect("a key can be written");
        let only_mine = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&hidden, only_mine).expect("a key can be hidden");
        fs::rename(hidden, self.folder.join(name)).expect("a key can be put in its place");
    }

    fn retired(&self) -> impl Iterator<Item = u64> {
        1..self.first
    }

    /// As a server logs them: the key that signs first.
    fn refresh_ids(&self) -> Vec<String> {
        let others = (self.first..=self.last).filter(|key| *key != self.signing);
        [self.signing].into_iter().chain(others).map(|key| format!("refresh-{key}")).collect()
    }
}

impl Process {
    /// The ids of the refresh keys that it has logged last.
    fn refresh_keys(&self) -> Vec<String> {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines = log.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut of_keys = lines.filter(|line| line["kind"] == "refresh");
        let ids = of_keys.find_map(|line| line["kids"].as_str().map(str::to_owned));
        ids.unwrap_or_default().split(", ").map(str::to_owned).collect()
    }

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
        let choice = rng.u8(..3);
        if choice == 1 {
            self.rotate_keys(time, recorder);
        } else if choice == 0 {
            let Some(server) = &process.running else { return };
            server.signal("STOP");
            // No longer than a request may take besides the steps of its store.
            thread::sleep(Duration::from_millis(rng.u64(200..1_400)));
            server.signal("CONT");
            let span = (from, time.now());
            let fault = Fault::new(FaultKind::Stall, "a server stood still", span);
            recorder.note(Line::Fault(fault));
        } else {
            let offset = OFFSETS[rng.usize(..OFFSETS.len())];
            let hosts = if self.share_clock { 0..self.processes.len() } else { host..host + 1 };
            self.processes[hosts.clone()].iter().for_each(|process| process.clock.set(offset));
            let to = time.now();
            for host in hosts.filter_map(|host| u32::try_from(host).ok()) {
                recorder.note(Line::Stepped(Stepped { host, from, to, offset }));
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
