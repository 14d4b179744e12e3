//! Redis with two replicas and three sentinels, which promote a replica by themselves. Replication
//! is asynchronous: the new primary may lack the last changes that were acknowledged.

use kippu::session::BoxStore;
use kippu_redis::RedisStore;
use kippu_simulation::log::{Fault, FaultKind, Micros};
use redis::sentinel::{SentinelClient, SentinelServerType};

use super::{Opener, Scene, Store, opener, redis::ok, size};
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

    fn stall(&self, scene: &mut Scene<'_>) -> Fault {
        let (from, primary) = (scene.now(), &self.0.servers[self.primary()]);
        ok(primary, &["CLIENT", "PAUSE", "60000", "WRITE"]);
        let still = scene.wait_out_the_grace();
        ok(primary, &["CLIENT", "UNPAUSE"]);
        scene.fault(FaultKind::Stall, "writes were paused", from, Some(still), None)
    }

    /// The primary dies, or stands still until another has taken over, or hands over. It comes back
    /// as what it was, and is demoted.
    fn fail_over(&mut self, kind: FaultKind, scene: &mut Scene<'_>) -> Fault {
        let accounts = scene.runtime.block_on(scene.accounts.clone().write_owned());
        let (from, old) = (scene.now(), self.primary());
        let way = if kind == FaultKind::Kill { 0 } else { scene.rng.u8(1..3) };
        match way {
            0 => self.0.servers[old].kill(),
            1 => self.0.servers[old].pause(),
            _ => self.0.fail_over(),
        }
        self.0.wait_for_failover(old);
        scene.wait(0.0..2.0);
        match way {
            0 => self.0.servers[old].restart(),
            1 => self.0.servers[old].resume(),
            _ => {}
        }
        // Until then the old one may take changes.
        self.0.wait_until_whole();
        let lost = Some((from.saturating_sub(BEHIND), scene.now()));
        drop(accounts);
        let what = ["the primary was lost", "the primary stood still", "the primary handed over"];
        scene.fault(kind, what[usize::from(way)], from, None, lost)
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
