//! The memory store of kippu, which loses commits and fails on demand.

use std::sync::{Arc, Mutex, PoisonError};

use kippu::session::{
    MemoryStore, RefreshStore, RevokeReason, SessionId, SessionRecord, StoreError, StoreErrorKind,
    UnixMillis,
    rotation::{RotateOutcome, RotateRequest},
    store::InsertOutcome,
};

/// A memory store that can be made to fail, and set back. A clone is another handle of it.
#[derive(Clone, Debug)]
pub struct LossyStore {
    current: Arc<Mutex<Arc<MemoryStore>>>,
    fault: Arc<Mutex<Option<Fault>>>,
    capacity: usize,
}

/// That the next call of a method fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which method.
    pub call: Call,
    /// Whether the step is made all the same, and only its answer is lost.
    pub is_made: bool,
}

/// The methods that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `load`
    Load,
    /// `rotate`
    Rotate,
    /// `revoke`
    Revoke,
    /// `revoke_subject`
    RevokeSubject,
}

impl LossyStore {
    /// An empty store.
    pub fn new(capacity: usize) -> Self {
        let current = Arc::new(Mutex::new(Arc::new(MemoryStore::new(capacity))));
        Self { current, fault: Arc::default(), capacity }
    }

    /// Has the next call fail.
    pub fn arm(&self, fault: Fault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    /// Has nothing but `records` from here on.
    pub async fn restore(&self, records: &[SessionRecord]) {
        let store = MemoryStore::new(self.capacity);
        for record in records {
            let inserted = store.insert(record).await.expect("a memory store has no faults");
            assert_eq!(inserted, InsertOutcome::Inserted);
        }
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(store);
    }

    /// The store beneath, which does not fail.
    pub fn current(&self) -> Arc<MemoryStore> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes one step, or says that it was not made.
    async fn step<T>(
        &self,
        call: Call,
        step: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let mut fault = None;
        {
            let mut armed = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
            if armed.is_some_and(|armed| armed.call == call) {
                fault = armed.take();
            }
        }
        let lost = || StoreError::new(StoreErrorKind::Unavailable, "out of order");
        match fault {
            Some(Fault { is_made: false, .. }) => Err(lost()),
            Some(Fault { is_made: true, .. }) => step.await.and_then(|_| Err(lost())),
            None => step.await,
        }
    }
}

impl RefreshStore for LossyStore {
    async fn insert(&self, session: &SessionRecord) -> Result<InsertOutcome, StoreError> {
        self.current().insert(session).await
    }

    async fn load(&self, id: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
        let store = self.current();
        self.step(Call::Load, store.load(id)).await
    }

    async fn rotate(&self, request: &RotateRequest) -> Result<RotateOutcome, StoreError> {
        let store = self.current();
        self.step(Call::Rotate, store.rotate(request)).await
    }

    async fn revoke(
        &self,
        id: &SessionId,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        let store = self.current();
        self.step(Call::Revoke, store.revoke(id, reason, now)).await
    }

    async fn revoke_subject(
        &self,
        subject: &str,
        keep: Option<&SessionId>,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<u64, StoreError> {
        let store = self.current();
        self.step(Call::RevokeSubject, store.revoke_subject(subject, keep, reason, now)).await
    }

    async fn list(&self, subject: &str, now: UnixMillis) -> Result<Vec<SessionRecord>, StoreError> {
        self.current().list(subject, now).await
    }

    async fn purge_expired(&self, now: UnixMillis, limit: u32) -> Result<u64, StoreError> {
        self.current().purge_expired(now, limit).await
    }
}
