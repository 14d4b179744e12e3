//! A Redis Cluster: three masters with a replica each, which take over by themselves. Replication
//! is asynchronous, as in [`sentinel`](super::sentinel).

use kippu::session::BoxStore;
use kippu_redis::RedisStore;
use kippu_simulation::log::{Fault, FaultKind, Micros};
use redis::cluster::ClusterClient;

use super::{Open, Scene, Store, redis::ok, size};
use crate::redis::RedisCluster;

pub(super) struct Cluster(RedisCluster);

/// How far a replica may be behind.
const BEHIND: Micros = 2_000_000;

/// Each master has some of so many.
const SLOTS: u16 = 16_384;

impl Cluster {
    pub(super) fn start() -> Self {
        Self(RedisCluster::start())
    }

    /// The slot, and the number of its master.
    fn any_master(&self, scene: &mut Scene<'_>) -> (u16, usize) {
        let slot = scene.rng.u16(..SLOTS);
        (slot, self.0.owner_of(slot).expect("each slot has a master"))
    }

    /// One master of three takes no writes.
    fn stall(&self, scene: &mut Scene<'_>) -> Fault {
        let (from, (_, master)) = (scene.now(), self.any_master(scene));
        let master = &self.0.nodes()[master];
        ok(master, &["CLIENT", "PAUSE", "60000", "WRITE"]);
        scene.wait_out_the_grace();
        ok(master, &["CLIENT", "UNPAUSE"]);
        scene.fault(FaultKind::Stall, "the writes of a master were paused", from, None, None)
    }

    /// A master dies. It comes back as a replica of the one that has taken over.
    fn fail_over(&mut self, scene: &mut Scene<'_>) -> Fault {
        let (from, (slot, _)) = (scene.now(), self.any_master(scene));
        let old = self.0.kill_master(slot);
        let lost = Some((from.saturating_sub(BEHIND), scene.now()));
        self.0.wait_for_failover(slot);
        scene.wait(0.0..2.0);
        self.0.restart(old);
        scene.fault(FaultKind::Failover, "a master was lost", from, None, lost)
    }
}

impl Store for Cluster {
    /// The auth server takes no cluster.
    fn url(&self, _server: u32) -> String {
        self.0.urls().join(",")
    }

    fn open(&self) -> Open {
        |urls| {
            let client = ClusterClient::new(urls.split(',').collect::<Vec<_>>());
            let client = client.expect("the URLs of the nodes are right");
            Box::pin(async move {
                BoxStore::new(RedisStore::cluster(client).await.expect("Redis can be reached"))
            })
        }
    }

    fn files(&self) -> u64 {
        self.0.nodes().iter().map(|node| size(node.folder())).sum()
    }

    fn kinds(&self) -> Vec<FaultKind> {
        vec![FaultKind::Failover, FaultKind::Stall]
    }

    fn suffer(&mut self, kind: FaultKind, scene: &mut Scene<'_>) -> Fault {
        match kind {
            FaultKind::Stall => self.stall(scene),
            _ => self.fail_over(scene),
        }
    }
}
