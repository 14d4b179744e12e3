//! A store that fails on request, before or after a step, for tests of code that calls stores.

use alloc::{sync::Arc, vec::Vec};
use core::{mem, time::Duration};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::session::{
    id::SessionId,
    record::{RevokeReason, SessionRecord},
    rotation::{RotateOutcome, RotateRequest},
    store::{
        EndedCursor, EndedPage, InsertOutcome, InsertRequest, ListRequest, RefreshStore,
        StoreError, StoreErrorKind,
    },
    time::UnixMillis,
};

/// A store that fails on request.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), kippu::session::StoreError> {
/// use kippu::session::{
///     MemoryStore, RefreshStore, SessionId, StoreErrorKind,
///     conformance::{Fault, Faulty, Method},
/// };
///
/// let store = Faulty::new(MemoryStore::new(10));
/// store.fail(Method::Load, Fault::Before);
/// let id = SessionId::from_bytes([0; 16]);
/// let error = store.load(&id).await.unwrap_err();
/// assert_eq!(error.kind(), StoreErrorKind::Unavailable);
/// assert_eq!(store.load(&id).await?, None);
/// assert_eq!(store.take_calls(), [Method::Load, Method::Load]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Faulty<S> {
    store: Mutex<Arc<S>>,
    notes: Mutex<Notes>,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The call does not fail. The next requested fault applies to a later call.
    None,
    /// Nothing is stored, and the call returns [`StoreErrorKind::Unavailable`].
    Before,
    /// The step is stored, and its answer is lost: the caller sees the same error as for
    /// [`Fault::Before`].
    After,
    /// The step is stored, its answer is lost, and the driver sends the step again.
    Repeated,
    /// The step is stored, and its answer comes after this delay.
    Late(Duration),
}

/// A method of [`RefreshStore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "they are the methods of their names")]
#[non_exhaustive]
pub enum Method {
    Insert,
    Load,
    Rotate,
    Revoke,
    RevokeSubject,
    List,
    PurgeExpired,
    EndedAfter,
    TrimEnded,
}

#[derive(Debug, Default)]
struct Notes {
    calls: Vec<Method>,
    faults: Vec<(Method, Fault)>,
    outage: Option<StoreErrorKind>,
    misread: Option<fn(&mut SessionRecord)>,
}

impl<S> Faulty<S> {
    /// Wraps `store`. At first every call succeeds.
    pub fn new(store: S) -> Self {
        Self { store: Mutex::new(Arc::new(store)), notes: Mutex::default() }
    }

    /// Makes the next call of `method` fail. A further request applies to the call after that.
    pub fn fail(&self, method: Method, fault: Fault) {
        lock(&self.notes).faults.push((method, fault));
    }

    /// Makes every call fail before it stores anything, until `None` ends the outage.
    pub fn outage(&self, kind: Option<StoreErrorKind>) {
        lock(&self.notes).outage = kind;
    }

    /// Makes the next [`load`](RefreshStore::load) that finds a session return the record after
    /// `change`. The stored record stays unchanged.
    pub fn misread(&self, change: fn(&mut SessionRecord)) {
        lock(&self.notes).misread = Some(change);
    }

    /// Replaces the wrapped store, like an operator who restores a backup.
    pub fn restore(&self, store: S) {
        *lock(&self.store) = Arc::new(store);
    }

    /// Returns the calls since the last call of this method, in their order, including those that
    /// failed.
    pub fn take_calls(&self) -> Vec<Method> {
        mem::take(&mut lock(&self.notes).calls)
    }

    /// Returns the wrapped store.
    pub fn inner(&self) -> Arc<S> {
        Arc::clone(&lock(&self.store))
    }

    /// Records a call, and returns how it fails.
    fn call(&self, method: Method) -> Result<Fault, StoreError> {
        let mut notes = lock(&self.notes);
        notes.calls.push(method);
        if let Some(kind) = notes.outage {
            return Err(error(kind));
        }
        let next = notes.faults.iter().position(|(failing, _)| *failing == method);
        Ok(next.map_or(Fault::None, |next| notes.faults.remove(next).1))
    }

    async fn step<T, F>(&self, method: Method, step: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        match self.call(method)? {
            Fault::None => step().await,
            Fault::Before => Err(error(StoreErrorKind::Unavailable)),
            Fault::After => {
                step().await?;
                Err(error(StoreErrorKind::Unavailable))
            }
            Fault::Repeated => {
                step().await?;
                step().await
            }
            Fault::Late(delay) => {
                let answer = step().await;
                tokio::time::sleep(delay).await;
                answer
            }
        }
    }
}

fn error(kind: StoreErrorKind) -> StoreError {
    StoreError::new(kind, "a fault that the test requested")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: RefreshStore> RefreshStore for Faulty<S> {
    async fn insert(&self, request: &InsertRequest) -> Result<InsertOutcome, StoreError> {
        let store = self.inner();
        self.step(Method::Insert, || store.insert(request)).await
    }

    async fn load(&self, id: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
        let store = self.inner();
        let mut found = self.step(Method::Load, || store.load(id)).await?;
        if let Some(record) = &mut found {
            if let Some(change) = lock(&self.notes).misread.take() {
                change(record);
            }
        }
        Ok(found)
    }

    async fn rotate(&self, request: &RotateRequest) -> Result<RotateOutcome, StoreError> {
        let store = self.inner();
        self.step(Method::Rotate, || store.rotate(request)).await
    }

    async fn revoke(
        &self,
        id: &SessionId,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        let store = self.inner();
        self.step(Method::Revoke, || store.revoke(id, reason, now)).await
    }

    async fn revoke_subject(
        &self,
        subject: &str,
        keep: Option<&SessionId>,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<u64, StoreError> {
        let store = self.inner();
        let step = || store.revoke_subject(subject, keep, reason, now);
        self.step(Method::RevokeSubject, step).await
    }

    async fn list(&self, request: &ListRequest) -> Result<Vec<SessionRecord>, StoreError> {
        let store = self.inner();
        self.step(Method::List, || store.list(request)).await
    }

    async fn purge_expired(&self, now: UnixMillis, limit: u32) -> Result<u64, StoreError> {
        let store = self.inner();
        self.step(Method::PurgeExpired, || store.purge_expired(now, limit)).await
    }

    async fn ended_after(&self, cursor: &EndedCursor) -> Result<EndedPage, StoreError> {
        let store = self.inner();
        self.step(Method::EndedAfter, || store.ended_after(cursor)).await
    }

    async fn trim_ended(&self, kept_for: Duration) -> Result<u64, StoreError> {
        let store = self.inner();
        self.step(Method::TrimEnded, || store.trim_ended(kept_for)).await
    }
}
