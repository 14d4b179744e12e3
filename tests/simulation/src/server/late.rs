//! A follower of the ended sessions with a fault that is known: it is fresh from the end of its
//! reading on, though what ended while that was on its way is not in it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kippu::{
    DecodeError,
    session::{BoxStore, RefreshStore, SessionId, store::EndedCursor},
};
use parking_lot::Mutex;

use crate::{executor::micros, log::Micros, time::Time};

pub(super) struct LateFollower<T> {
    time: T,
    store: BoxStore,
    max_lag: Micros,
    ids: Mutex<BTreeSet<SessionId>>,
    fresh_until: AtomicU64,
}

impl<T: Time> LateFollower<T> {
    pub(super) fn new(time: &T, store: BoxStore, max_lag: Duration) -> Self {
        Self {
            time: time.clone(),
            store,
            max_lag: micros(max_lag),
            ids: Mutex::default(),
            fresh_until: AtomicU64::new(0),
        }
    }

    pub(super) async fn run(self: Arc<Self>) {
        let mut cursor = EndedCursor::default();
        loop {
            if let Ok(page) = self.store.ended_after(&cursor).await {
                let is_last = page.is_last;
                self.ids.lock().extend(page.ids);
                cursor = page.next;
                if is_last {
                    self.fresh_until.store(self.time.now() + self.max_lag, Ordering::Relaxed);
                }
            }
            self.time.sleep(self.max_lag / 10).await;
        }
    }

    pub(super) fn check(&self, id: &SessionId) -> Result<(), DecodeError> {
        if self.ids.lock().contains(id) {
            return Err(DecodeError::SessionEnded);
        }
        if self.time.now() > self.fresh_until.load(Ordering::Relaxed) {
            return Err(DecodeError::EndedUnknown { reason: "the store was not read lately" });
        }
        Ok(())
    }
}
