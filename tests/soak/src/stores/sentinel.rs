//! Redis with two replicas and three sentinels, which promote a replica by themselves. Replication
//! is asynchronous: the new primary may lack the last changes that were acknowledged.

use std::time::Duration;

use kippu::session::BoxStore;
use kippu_redis::RedisStore;
use kippu_simulation::log::{Fault, FaultKind, Micros};
use redis::sentinel::{SentinelClient, SentinelServerType};

use super::{Open, Scene, Store, redis::ok, size};
use crate::{
    redis::{Redis, RedisOptions, RedisSentinels},
    support::wait_until,
};

pub(super) struct Sentinel(RedisSentinels);

const SCHEME: &str = "redis-sentinel://";

/// How far a replica may be behind.
const BEHIND: Micros = 2_000_000;

impl Sentinel {
    pub(super) fn start() -> Self {
        let options = RedisOptions { append: Some("always"), ..RedisOptions::default() };
        let sentinel = Self(RedisSentinels::start(Redis::start_with(options)));
        sentinel.guard();
        sentinel
    }

    /// Has each server answer nothing, once it is a primary without a replica that was there two
    /// seconds ago. So two of them are primaries at once for no longer than that.
    fn guard(&self) {
        for server in &self.0.servers {
            ok(server, &["CONFIG", "SET", "min-replicas-max-lag", "2"]);
            ok(server, &["CONFIG", "SET", "min-replicas-to-write", "1"]);
        }
    }

    fn primary(&self) -> usize {
        self.0.primary().expect("the sentinels know the primary")
    }

    /// No longer than the sentinels wait before they promote another. Writes that are paused stop
    /// the sentinels' pings, too.
    fn stall(&self, scene: &mut Scene<'_>) -> Fault {
        let (from, primary) = (scene.now(), &self.0.servers[self.primary()]);
        primary.pause();
        let stopped = scene.now();
        scene.wait(0.1..0.3);
        let still = (stopped, scene.now());
        primary.resume();
        scene.fault(FaultKind::Stall, "the primary stood still", from, Some(still), None)
    }

    /// The primary dies. Or it goes on beside the one that takes over: it had stood still, or the
    /// sentinels were asked for another. It takes changes until it finds itself without replicas,
    /// and loses them. Nothing holds of what either was asked meanwhile, and all of it again
    /// afterwards.
    fn fail_over(&mut self, kind: FaultKind, scene: &mut Scene<'_>) -> Fault {
        let accounts = scene.runtime.block_on(scene.accounts.clone().write_owned());
        let (from, old) = (scene.now(), self.primary());
        let is_split = kind != FaultKind::Kill;
        let stands_still = is_split && scene.rng.bool();
        let what = match (is_split, stands_still) {
            (false, _) => "the primary was lost",
            (true, true) => "the primary stood still, and went on",
            (true, false) => "the sentinels chose another primary",
        };
        match (is_split, stands_still) {
            (false, _) => self.0.servers[old].kill(),
            (true, true) => self.0.servers[old].pause(),
            (true, false) => self.0.fail_over(),
        }
        let mut lost = (from.saturating_sub(BEHIND), scene.now());
        self.0.wait_for_failover(old);
        if stands_still {
            self.0.servers[old].resume();
        }
        if is_split {
            wait_until("the end of the old primary", Duration::from_secs(30), || {
                let info = self.0.servers[old].command(&["INFO", "replication"]);
                info.contains("role:slave") || info.contains("min_slaves_good_slaves:0")
            });
            lost.1 = scene.now();
        }
        drop(accounts);
        let to = scene.now();
        if !is_split {
            scene.wait(0.0..2.0);
            self.0.servers[old].restart();
        }
        self.0.wait_until_whole();
        self.guard();
        Fault { span: (from, to), is_split, ..scene.fault(kind, what, from, None, Some(lost)) }
    }
}

impl Store for Sentinel {
    fn url(&self, _server: u32) -> String {
        let urls = self.0.urls().into_iter();
        let hosts = urls.map(|url| url.replace("redis://", "").replace('/', ""));
        let hosts = hosts.collect::<Vec<_>>().join(",");
        format!("{SCHEME}{hosts}/{}", RedisSentinels::NAME)
    }

    fn open(&self) -> Open {
        |url| {
            let (hosts, name) = url.trim_start_matches(SCHEME).split_once('/').expect("a name");
            let hosts = hosts.split(',').map(|host| format!("redis://{host}/")).collect();
            let master = SentinelServerType::Master;
            let client = SentinelClient::build(hosts, name.to_owned(), None, master);
            let client = client.expect("the URLs of the sentinels are right");
            Box::pin(async move {
                BoxStore::new(RedisStore::sentinel(client).await.expect("Redis can be reached"))
            })
        }
    }

    fn files(&self) -> u64 {
        size(self.0.servers[self.primary()].folder())
    }

    fn kinds(&self) -> Vec<FaultKind> {
        vec![FaultKind::Failover, FaultKind::Kill, FaultKind::Stall]
    }

    fn suffer(&mut self, kind: FaultKind, scene: &mut Scene<'_>) -> Fault {
        match kind {
            FaultKind::Stall => self.stall(scene),
            kind => self.fail_over(kind, scene),
        }
    }
}
