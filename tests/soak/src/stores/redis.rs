//! Redis: a primary and a replica, behind addresses that move from one to the other. Replication
//! is asynchronous: the new primary may lack the last changes that were acknowledged.

use std::{mem, time::Duration};

use kippu::session::BoxStore;
use kippu_redis::RedisStore;
use kippu_simulation::log::{Fault, FaultKind};
use tokio::runtime::Runtime;

use super::{Open, Scene, Store, address::Addresses, size};
use crate::{
    redis::{Redis, RedisOptions},
    support::wait_until,
};

pub(super) struct RedisPair {
    primary: Redis,
    replica: Redis,
    addresses: Addresses,
}

impl RedisPair {
    pub(super) fn start(runtime: &Runtime, servers: usize) -> Self {
        // With `always`, what is acknowledged is kept. The file is rewritten when it is twice as
        // large.
        let more = ["--auto-aof-rewrite-min-size", "1mb", "--repl-diskless-sync-delay", "0"];
        let options = RedisOptions { append: Some("always"), more: &more, ..Default::default() };
        let (primary, replica) = (Redis::start_with(options), Redis::start_with(options));
        replica.follow(&primary);
        let addresses = Addresses::start(runtime, primary.port(), servers);
        let pair = Self { primary, replica, addresses };
        pair.wait_for_replica();
        pair
    }

    /// Has the primary refuse to write without a replica that was there two seconds ago. So it
    /// loses less, not nothing: it acknowledges what the replica has not got yet.
    fn wait_for_replica(&self) {
        wait_until("a replica", Duration::from_secs(30), || {
            self.replica.command(&["INFO", "replication"]).contains("master_link_status:up")
        });
        ok(&self.primary, &["CONFIG", "SET", "min-replicas-max-lag", "2"]);
        ok(&self.primary, &["CONFIG", "SET", "min-replicas-to-write", "1"]);
    }

    fn kill(&mut self, scene: &mut Scene<'_>) -> Fault {
        let from = scene.now();
        self.primary.kill();
        let gone = scene.now();
        scene.wait(0.0..2.0);
        let still = Some((gone, scene.now()));
        self.primary.restart();
        self.wait_for_replica();
        scene.fault(FaultKind::Kill, "Redis was killed", from, still, None)
    }

    fn stall(&self, scene: &mut Scene<'_>) -> Fault {
        let from = scene.now();
        let (what, still) = match scene.rng.u8(..3) {
            0 => {
                ok(&self.primary, &["CLIENT", "PAUSE", "60000", "WRITE"]);
                let still = scene.wait_out_the_grace();
                ok(&self.primary, &["CLIENT", "UNPAUSE"]);
                ("writes were paused", Some(still))
            }
            1 => {
                self.primary.pause();
                let still = scene.wait_out_the_grace();
                self.primary.resume();
                ("the primary was stopped", Some(still))
            }
            _ => {
                self.replica.pause();
                scene.wait(4.0..6.0);
                self.replica.resume();
                self.wait_for_replica();
                ("the replica was stopped", None)
            }
        };
        scene.fault(FaultKind::Stall, what, from, still, None)
    }

    /// Redis has no room for more.
    fn fill(&self, scene: &mut Scene<'_>) -> Fault {
        let from = scene.now();
        ok(&self.primary, &["CONFIG", "SET", "maxmemory", "1mb"]);
        scene.wait_out_the_grace();
        ok(&self.primary, &["CONFIG", "SET", "maxmemory", "0"]);
        scene.fault(FaultKind::Full, "the memory was full", from, None, None)
    }

    /// The replica is the new primary from one moment on, and the old one is written to for a while
    /// longer: all of that is lost. Then the old one is killed, or it follows the new one, with the
    /// connections that it has.
    fn fail_over(&mut self, scene: &mut Scene<'_>) -> Fault {
        let accounts = scene.runtime.block_on(scene.accounts.clone().write_owned());
        let from = scene.now();
        ok(&self.replica, &["CONFIG", "SET", "min-replicas-to-write", "0"]);
        if scene.rng.bool() {
            // Else the old one refuses to write as soon as the replica has left it.
            ok(&self.primary, &["CONFIG", "SET", "min-replicas-to-write", "0"]);
        }
        ok(&self.replica, &["REPLICAOF", "NO", "ONE"]);
        mem::swap(&mut self.primary, &mut self.replica);
        scene.wait(0.1..0.8);
        let is_crash = scene.rng.bool();
        if is_crash {
            self.replica.kill();
        } else {
            self.replica.follow(&self.primary);
        }
        let lost = Some((from, scene.now()));
        scene.wait(0.0..2.0);
        self.addresses.switch(self.primary.port(), scene);
        let to = scene.now();
        drop(accounts);
        if is_crash {
            self.replica.restart();
            self.replica.follow(&self.primary);
        }
        self.wait_for_replica();
        let what = if is_crash { "the primary was lost" } else { "the primary was demoted" };
        Fault { span: (from, to), ..scene.fault(FaultKind::Failover, what, from, None, lost) }
    }
}

pub(super) fn ok(redis: &Redis, command: &[&str]) {
    assert_eq!(redis.command(command).trim(), "OK", "{command:?}");
}

impl Store for RedisPair {
    fn url(&self, server: u32) -> String {
        format!("redis://127.0.0.1:{}/", self.addresses.port(server))
    }

    fn open(&self) -> Open {
        |url| {
            let client = redis::Client::open(url).expect("the URL is right");
            Box::pin(async move {
                BoxStore::new(RedisStore::connect(client).await.expect("Redis can be reached"))
            })
        }
    }

    fn files(&self) -> u64 {
        size(self.primary.folder())
    }

    fn kinds(&self) -> Vec<FaultKind> {
        use FaultKind::{Failover, Full, Kill, Network, Stall};
        vec![Stall, Kill, Failover, Network, Full]
    }

    fn suffer(&mut self, kind: FaultKind, scene: &mut Scene<'_>) -> Fault {
        match kind {
            FaultKind::Kill => self.kill(scene),
            FaultKind::Stall => self.stall(scene),
            FaultKind::Network => self.addresses.suffer(scene),
            FaultKind::Full => self.fill(scene),
            _ => self.fail_over(scene),
        }
    }
}
