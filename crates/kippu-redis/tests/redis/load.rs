//! Rotates sessions in Redis while a test interferes with the servers.
#![allow(dead_code, reason = "not every test file needs all of it")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use kippu::session::{RefreshStore, StoreErrorKind, rotation::RotateOutcome, store::InsertRequest};
use kippu_redis::RedisStore;
use redis::aio::ConnectionLike;
use tokio::{task::JoinSet, time::timeout};

use super::records::{LOGIN, request, session};

const LIMIT: Duration = Duration::from_secs(60);

/// Sessions that are rotated continuously, each by a task, until the test finishes the load.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    rotations: Arc<AtomicU64>,
    faults: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Starts the load. With `may_lose`, the server may lose commits that it has acknowledged.
    pub(crate) async fn start<C: ConnectionLike + Clone + Send + Sync + 'static>(
        store: &RedisStore<C>,
        count: u64,
        may_lose: bool,
    ) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            rotations: Arc::default(),
            faults: Arc::default(),
            tasks: JoinSet::new(),
        };
        for number in 0..count {
            let record = session(&format!("under load {number}"));
            store.insert(&InsertRequest::new(record.clone())).await.unwrap();
            let (store, stop) = (store.clone(), load.stop.clone());
            let (rotations, faults) = (load.rotations.clone(), load.faults.clone());
            load.tasks.spawn(async move {
                let (mut generation, mut is_in_doubt) = (0, false);
                while !stop.load(Ordering::Relaxed) {
                    match store.rotate(&request(&record, generation, LOGIN)).await {
                        // Replayed: the rotation happened, and its answer was lost.
                        Ok(RotateOutcome::Rotated(next) | RotateOutcome::Replayed(next)) => {
                            assert_eq!(next.generation, generation + 1);
                        }
                        Ok(RotateOutcome::Healed { successor, .. }) if may_lose => {
                            assert_eq!(successor.generation, generation + 1);
                        }
                        Ok(other) => panic!("{other:?} instead of generation {generation}"),
                        Err(error) => {
                            assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
                            faults.fetch_add(1, Ordering::Relaxed);
                            is_in_doubt = true;
                            tokio::time::sleep(Duration::from_millis(5)).await;
                            continue;
                        }
                    }
                    (generation, is_in_doubt) = (generation + 1, false);
                    rotations.fetch_add(1, Ordering::Relaxed);
                }
                // Every acknowledged rotation is in the store. One without an answer may be.
                let kept = store.load(&record.id).await.unwrap().unwrap();
                let possible = generation..=generation + u64::from(is_in_doubt);
                assert!(possible.contains(&kept.generation), "{kept:?} at {generation}");
                assert_eq!(kept.revoked, None);
            });
        }
        load.wait_for(count * 20).await;
        load
    }

    async fn wait_until(&mut self, what: &str, mut is_true: impl FnMut(&Self) -> bool) {
        let wait = async {
            while !is_true(self) {
                while let Some(ended) = self.tasks.try_join_next() {
                    ended.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LIMIT, wait).await.expect(what);
    }

    /// Waits for `more` rotations.
    pub(crate) async fn wait_for(&mut self, more: u64) {
        let target = self.rotations.load(Ordering::Relaxed) + more;
        let reached = |load: &Self| load.rotations.load(Ordering::Relaxed) >= target;
        self.wait_until("further rotations", reached).await;
    }

    pub(crate) async fn wait_for_fault(&mut self) {
        let before = self.faults.load(Ordering::Relaxed);
        self.wait_until("a fault", |load| load.faults.load(Ordering::Relaxed) > before).await;
    }

    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    pub(crate) async fn finish(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}
