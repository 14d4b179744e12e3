//! Redis for tests: one server, a primary with replicas and sentinels, or a cluster of three
//! masters with a replica each.

use std::{
    iter,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::servers::{FakeClock, Scratch, Server, free_port, program, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

/// A `redis-server` process, which stops when this value is dropped.
#[derive(Debug)]
pub struct Redis {
    programs: Programs,
    folder: Scratch,
    port: u16,
    options: Vec<String>,
    password: Option<String>,
    /// The file with its configuration, if it has more than its options.
    file: Option<PathBuf>,
    clock: Option<FakeClock>,
    server: Option<Server>,
}

/// How to start a server. By default it keeps nothing on disk and requires no password.
#[derive(Clone, Copy, Debug, Default)]
pub struct RedisOptions<'a> {
    /// `always`, `everysec` or `no`: uses an append-only file that is synced this often.
    pub append: Option<&'a str>,
    pub password: Option<&'a str>,
    /// Further arguments of `redis-server`.
    pub more: &'a [&'a str],
}

#[derive(Clone, Debug)]
struct Programs {
    server: PathBuf,
    cli: PathBuf,
}

impl Programs {
    fn find() -> Self {
        Self {
            server: program(["redis-server", "valkey-server"]),
            cli: program(["redis-cli", "valkey-cli"]),
        }
    }
}

impl Redis {
    pub fn start() -> Self {
        Self::start_with(RedisOptions::default())
    }

    pub fn start_with(options: RedisOptions<'_>) -> Self {
        let programs = Programs::find();
        let mut redis = Self::prepare(programs, free_port(), options);
        redis.restart();
        redis
    }

    /// Starts a replica of this server, with its data.
    pub fn start_replica(&self) -> Self {
        let options =
            RedisOptions { password: self.password.as_deref(), ..RedisOptions::default() };
        let mut replica = Self::prepare(self.programs.clone(), free_port(), options);
        replica.options.extend(["--repl-diskless-sync-delay", "0"].map(Into::into));
        replica.restart();
        replica.follow(self);
        replica
    }

    /// Makes this server a replica of another, and waits until it has the other's data.
    pub fn follow(&self, primary: &Self) {
        let port = primary.port.to_string();
        assert_eq!(self.command(&["REPLICAOF", "127.0.0.1", &port]).trim(), "OK");
        wait_until("a replica's first copy", LIMIT, || {
            self.command(&["INFO", "replication"]).contains("master_link_status:up")
        });
    }

    /// Starts a server whose clock can be set.
    pub fn start_with_clock() -> Self {
        let mut redis = Self::prepare(Programs::find(), free_port(), RedisOptions::default());
        redis.clock = Some(FakeClock::new(redis.folder.path()));
        redis.restart();
        redis
    }

    /// Sets the clock to this many seconds ahead of the machine's.
    pub fn set_clock(&self, offset: i64) {
        self.clock.as_ref().expect("the server was started with a clock").set(offset);
    }

    fn prepare(programs: Programs, port: u16, options: RedisOptions<'_>) -> Self {
        let (append, sync) = options.append.map_or(("no", "no"), |sync| ("yes", sync));
        let mut arguments: Vec<String> =
            ["--appendonly", append, "--appendfsync", sync, "--save", ""].map(Into::into).into();
        if let Some(password) = options.password {
            arguments.extend(["--requirepass", password, "--masterauth", password].map(Into::into));
        }
        arguments.extend(options.more.iter().copied().map(Into::into));
        Self {
            programs,
            folder: Scratch::new("redis"),
            port,
            options: arguments,
            password: options.password.map(Into::into),
            file: None,
            clock: None,
            server: None,
        }
    }

    /// Returns the URL, without a password.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub fn url_with(&self, user: &str, password: &str) -> String {
        format!("redis://{user}:{password}@127.0.0.1:{}/", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Restarts it on its port with the data that it kept, and waits until it has loaded them.
    pub fn restart(&mut self) {
        self.launch();
        self.wait_until_ready();
    }

    fn launch(&mut self) {
        assert!(self.server.is_none(), "it runs");
        let mut command = Command::new(&self.programs.server);
        if let Some(clock) = &self.clock {
            clock.show_to(&mut command);
        }
        command
            .args(&self.file)
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .arg("--dir")
            .arg(self.folder.path())
            .args(&self.options)
            .stdout(Stdio::null());
        self.server = Some(Server::start(&mut command));
    }

    fn wait_until_ready(&self) {
        // Compares the process id, because another server may have taken the port.
        let id = format!("process_id:{}\r", self.server.as_ref().unwrap().id());
        wait_until("redis-server's start", LIMIT, || {
            let info = self.command(&["INFO"]);
            info.contains(&id) && info.contains("\nloading:0\r")
        });
    }

    /// Stops it in order.
    pub fn stop(&mut self) {
        self.server.take().expect("it runs").stop("TERM");
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&mut self) {
        self.server.take().expect("it runs").kill();
    }

    /// Stops its process with SIGSTOP: it keeps its connections, and answers nothing until it is
    /// resumed.
    pub fn pause(&self) {
        self.server.as_ref().expect("it runs").signal("STOP");
    }

    pub fn resume(&self) {
        self.server.as_ref().expect("it runs").signal("CONT");
    }

    /// Returns the output of `redis-cli` for a command, including an error of the server; empty if
    /// the server does not run.
    pub fn command(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.programs.cli);
        if let Some(password) = &self.password {
            command.env("REDISCLI_AUTH", password);
        }
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]).args(arguments);
        let output = command.stderr(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// A primary, two replicas, and three sentinels with a quorum of two.
#[derive(Debug)]
pub struct RedisSentinels {
    pub servers: Vec<Redis>,
    sentinels: Vec<Redis>,
}

impl RedisSentinels {
    /// The name of the primary in the sentinels' configuration.
    pub const NAME: &str = "sessions";

    pub fn start(primary: Redis) -> Self {
        let servers = vec![primary.start_replica(), primary.start_replica(), primary];
        let mut sentinels: Vec<Redis> = (0..3)
            .map(|_| {
                let programs = servers[0].programs.clone();
                Redis::prepare(programs, free_port(), RedisOptions::default())
            })
            .collect();
        for sentinel in &mut sentinels {
            // Sentinels write their state into their configuration file.
            let file = sentinel.folder.path().join("sentinel.conf");
            let name = Self::NAME;
            let port = servers[2].port;
            let password = servers[2].password.as_ref();
            let password = password.map(|text| format!("sentinel auth-pass {name} {text}\n"));
            let lines = format!(
                "sentinel monitor {name} 127.0.0.1 {port} 2\nsentinel down-after-milliseconds {name} 500\n\
                 sentinel failover-timeout {name} 5000\n{}",
                password.unwrap_or_default()
            );
            std::fs::write(&file, lines).unwrap();
            sentinel.options = vec!["--sentinel".into()];
            sentinel.file = Some(file);
            sentinel.launch();
        }
        let all = Self { servers, sentinels };
        wait_until("the sentinels' start", LIMIT, || {
            all.sentinels.iter().all(|sentinel| {
                let info = sentinel.command(&["INFO", "sentinel"]);
                info.contains("status=ok") && info.contains("slaves=2,sentinels=3")
            })
        });
        all
    }

    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(Redis::url).collect()
    }

    /// Returns the number of the server that all sentinels name, if that server agrees.
    pub fn primary(&self) -> Option<usize> {
        let primary = self.named()?;
        self.servers[primary].command(&["ROLE"]).starts_with("master").then_some(primary)
    }

    fn named(&self) -> Option<usize> {
        let mut all = self.sentinels.iter().map(|sentinel| {
            let address = sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Self::NAME]);
            let port: u16 = address.lines().nth(1)?.parse().ok()?;
            self.servers.iter().position(|server| server.port == port)
        });
        let first = all.next()??;
        all.all(|other| other == Some(first)).then_some(first)
    }

    /// Waits until another server than `old` is the primary. Returns its number. The old one may
    /// answer nothing.
    pub fn wait_for_failover(&self, old: usize) -> usize {
        let mut new = None;
        wait_until("a failover", LIMIT, || {
            let is_other = self.named().is_some_and(|named| named != old);
            new = is_other.then(|| self.primary()).flatten();
            new.is_some()
        });
        new.unwrap()
    }

    /// Waits until the primary has both replicas.
    pub fn wait_until_whole(&self) {
        wait_until("all replicas", LIMIT, || {
            self.primary().is_some_and(|primary| {
                let info = self.servers[primary].command(&["INFO", "replication"]);
                info.matches("state=online").count() == 2
            })
        });
    }

    /// Stops all servers with SIGSTOP.
    pub fn pause(&self) {
        self.servers.iter().chain(&self.sentinels).for_each(Redis::pause);
    }

    pub fn kill(&mut self) {
        self.servers.iter_mut().chain(&mut self.sentinels).for_each(Redis::kill);
    }

    /// Makes the sentinels promote a replica, although the primary runs.
    pub fn fail_over(&self) {
        let answer = self.sentinels[0].command(&["SENTINEL", "FAILOVER", Self::NAME]);
        assert_eq!(answer.trim(), "OK");
    }
}

/// Three masters with a replica each, all with the default of `cluster-require-full-coverage`.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

impl RedisCluster {
    pub fn start() -> Self {
        let programs = Programs::find();
        let options = RedisOptions {
            more: &[
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                "1000",
                "--cluster-replica-validity-factor",
                "0",
                "--repl-diskless-sync-delay",
                "0",
            ],
            ..RedisOptions::default()
        };
        let prepared = || Redis::prepare(programs.clone(), free_port(), options);
        let mut nodes: Vec<Redis> = iter::repeat_with(prepared).take(6).collect();
        nodes.iter_mut().for_each(Redis::launch);
        nodes.iter().for_each(Redis::wait_until_ready);

        let addresses = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        let mut create = Command::new(&programs.cli);
        create.args(["--cluster", "create"]).args(addresses);
        create.args(["--cluster-replicas", "1", "--cluster-yes"]);
        let output = create.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let cluster = Self { nodes };
        wait_until("the cluster's start", LIMIT, || {
            (0..6).all(|node| {
                let info = cluster.command(node, &["CLUSTER", "INFO"]);
                let replication = cluster.command(node, &["INFO", "replication"]);
                info.contains("cluster_state:ok")
                    && info.contains("cluster_known_nodes:6")
                    && (replication.contains("master_link_status:up")
                        || replication.contains("state=online"))
            })
        });
        cluster
    }

    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// Returns the URLs of all nodes.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::url).collect()
    }

    /// Runs [`Redis::command`] on the node with this number, 0 to 5.
    pub fn command(&self, node: usize, arguments: &[&str]) -> String {
        self.nodes[node].command(arguments)
    }

    pub fn slot_of(&self, key: &str) -> u16 {
        self.command(self.any(), &["CLUSTER", "KEYSLOT", key]).trim().parse().unwrap()
    }

    /// Returns the number of the master that has a slot, if all running nodes agree on it.
    pub fn owner_of(&self, slot: u16) -> Option<usize> {
        let mut owners = self.running().map(|node| {
            let nodes = self.command(node, &["CLUSTER", "NODES"]);
            nodes.lines().find_map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                let [_, address, flags, _, _, _, _, _, slots @ ..] = &*words else { return None };
                let owns = slots.iter().any(|range| {
                    let (first, last) = range.split_once('-').unwrap_or((range, range));
                    // An entry in brackets is a slot that moves, and still belongs to its old
                    // master.
                    let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse()) else {
                        return false;
                    };
                    (first..=last).contains(&slot)
                });
                let is_master = flags.contains("master") && !flags.contains("fail");
                let address = address.split_once('@').unwrap().0;
                let port = address.rsplit_once(':').unwrap().1.parse().ok();
                (owns && is_master).then_some(port).flatten()
            })
        });
        let owner: u16 = owners.next()??;
        if owners.any(|other| other != Some(owner)) {
            return None;
        }
        self.nodes.iter().position(|node| node.port == owner)
    }

    /// Kills all nodes.
    pub fn kill(&mut self) {
        self.nodes.iter_mut().for_each(Redis::kill);
    }

    /// Kills the master of a slot. Returns its number.
    pub fn kill_master(&mut self, slot: u16) -> usize {
        let node = self.owner_of(slot).unwrap();
        self.nodes[node].kill();
        node
    }

    /// Waits until all nodes agree that another has taken over a slot from a killed one.
    pub fn wait_for_failover(&self, slot: u16) {
        wait_until("a failover", LIMIT, || {
            self.owner_of(slot).is_some_and(|node| self.nodes[node].server.is_some())
                && self.running().all(|node| {
                    self.command(node, &["CLUSTER", "INFO"]).contains("cluster_state:ok")
                })
        });
    }

    /// Restarts a node that was killed, and waits until it is a replica of the one that took over.
    pub fn restart(&mut self, node: usize) {
        self.nodes[node].restart();
        wait_until("a node's return", LIMIT, || {
            self.command(node, &["INFO", "replication"]).contains("master_link_status:up")
        });
    }

    /// Moves a slot with its keys to another master, as `redis-cli --cluster reshard` does.
    pub fn move_slot(&self, slot: u16, to: usize) {
        let from = self.open_slot(slot, to);
        while self.move_keys(slot, from, to, 10) {}
        self.close_slot(slot, from, to);
    }

    /// The first step of [`move_slot`](Self::move_slot): announces the move. Returns the master
    /// that has the slot.
    pub fn open_slot(&self, slot: u16, to: usize) -> usize {
        let from = self.owner_of(slot).unwrap();
        let slot = slot.to_string();
        self.ok(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.id(from)]);
        self.ok(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.id(to)]);
        from
    }

    /// The second step: moves up to `count` keys. Returns whether there were any.
    pub fn move_keys(&self, slot: u16, from: usize, to: usize, count: usize) -> bool {
        let (slot, count) = (slot.to_string(), count.to_string());
        let keys = self.command(from, &["CLUSTER", "GETKEYSINSLOT", &slot, &count]);
        let keys: Vec<&str> = keys.lines().filter(|key| !key.is_empty()).collect();
        let Some(_) = keys.first() else { return false };
        let port = self.nodes[to].port.to_string();
        let migrate = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        self.ok(from, &[&migrate, &*keys].concat());
        true
    }

    /// The last step: assigns the slot to its new master.
    pub fn close_slot(&self, slot: u16, from: usize, to: usize) {
        let (name, id) = (slot.to_string(), self.id(to));
        for node in [to, from] {
            self.ok(node, &["CLUSTER", "SETSLOT", &name, "NODE", &id]);
        }
        wait_until("the end of a slot's move", LIMIT, || self.owner_of(slot) == Some(to));
    }

    fn id(&self, node: usize) -> String {
        self.command(node, &["CLUSTER", "MYID"]).trim().to_owned()
    }

    fn ok(&self, node: usize, arguments: &[&str]) {
        let answer = self.command(node, arguments);
        assert_eq!(answer.trim(), "OK", "{arguments:?}");
    }

    fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|&node| self.nodes[node].server.is_some())
    }

    fn any(&self) -> usize {
        self.running().next().unwrap()
    }
}
