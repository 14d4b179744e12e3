//! Redis with two replicas and three sentinels, which promote a replica by themselves. Replication
//! is asynchronous: the new primary may lack the last changes that were acknowledged.

use kippu::session::BoxStore;
use kippu_redis::RedisStore;
use kippu_simulation::log::{Fault, FaultKind, Micros};
use redis::sentinel::{SentinelClient, SentinelServerType};

use super::{Opener, Scene, Store, opener, size};
use crate::redis::{Redis, RedisOptions, RedisSentinels};

pub(super) struct Sentinel(RedisSentinels);

/// How far a replica may be behind.
const BEHIND: Micros = 2_000_000;

impl Sentinel {
    pub(super) fn start() -> Self {
        let options = RedisOptions { append: Some("always"), ..RedisOptions::default() };
        Self(RedisSentinels::start(Redis::start_with(options)))
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

    /// The primary dies, at once or after it has stood still until another has taken over, and
    /// comes back as what it was. If it went on beside the other, both would take changes, and
    /// nothing would hold of those that the old one answered.
    fn fail_over(&mut self, kind: FaultKind, scene: &mut Scene<'_>) -> Fault {
        let accounts = scene.runtime.block_on(scene.accounts.clone().write_owned());
        let (from, old, is_kill) = (scene.now(), self.primary(), kind == FaultKind::Kill);
        if is_kill {
            self.0.servers[old].kill();
        } else {
            self.0.servers[old].pause();
        }
        let lost = Some((from.saturating_sub(BEHIND), scene.now()));
        self.0.wait_for_failover(old);
        if !is_kill {
            self.0.servers[old].kill();
        }
        drop(accounts);
        let to = scene.now();
        scene.wait(0.0..2.0);
        self.0.servers[old].restart();
        self.0.wait_until_whole();
        let what = if is_kill { "the primary was lost" } else { "the primary stood still" };
        Fault { span: (from, to), ..scene.fault(kind, what, from, None, lost) }
    }
}

impl Store for Sentinel {
    fn url(&self, _server: u32) -> String {
        let urls = self.0.urls().into_iter();
        let hosts = urls.map(|url| url.replace("redis://", "").replace('/', ""));
        let hosts = hosts.collect::<Vec<_>>().join(",");
        format!("redis-sentinel://{hosts}/{}", RedisSentinels::NAME)
    }

    fn opener(&self) -> Opener {
        let urls = self.0.urls();
        opener(move |_| {
            let (urls, name) = (urls.clone(), RedisSentinels::NAME.to_owned());
            async move {
                let client = SentinelClient::build(urls, name, None, SentinelServerType::Master);
                let client = client.expect("the URLs of the sentinels are right");
                BoxStore::new(RedisStore::sentinel(client).await.expect("Redis can be reached"))
            }
        })
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
