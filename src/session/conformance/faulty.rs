//! A store that fails when told to, before a step or after it, for tests of those who call stores.

use alloc::vec::Vec;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::session::{
    id::SessionId,
    record::{RevokeReason, SessionRecord},
    rotation::{RotateOutcome, RotateRequest},
    store::{InsertOutcome, RefreshStore, StoreError, StoreErrorKind},
    time::UnixMillis,
};

/// A store that fails when it is told to.
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
/// assert_eq!(store.calls(Method::Load), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Faulty<S> {
    store: S,
    notes: Mutex<Notes>,
}

/// When a call fails: always with [`StoreErrorKind::Unavailable`], so that the caller cannot tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing has happened.
    Before,
    /// The step was taken, and its answer got lost.
    After,
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
}

#[derive(Debug, Default)]
struct Notes {
    calls: Vec<Method>,
    faults: Vec<(Method, Fault)>,
}

impl<S> Faulty<S> {
    /// `store`, which does not fail yet.
    pub const fn new(store: S) -> Self {
        Self { store, notes: Mutex::new(Notes { calls: Vec::new(), faults: Vec::new() }) }
    }

    /// The next call of `method` fails. Said several times, as many calls fail, in this order.
    pub fn fail(&self, method: Method, fault: Fault) {
        self.notes().faults.push((method, fault));
    }

    /// How often `method` was called, those calls among them that failed.
    pub fn calls(&self, method: Method) -> usize {
        self.notes().calls.iter().filter(|called| **called == method).count()
    }

    /// The store within.
    pub const fn inner(&self) -> &S {
        &self.store
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call, and says how it is to fail.
    fn call(&self, method: Method) -> Option<Fault> {
        let mut notes = self.notes();
        notes.calls.push(method);
        let next = notes.faults.iter().position(|(failing, _)| *failing == method)?;
        Some(notes.faults.remove(next).1)
    }

    async fn step<T>(
        &self,
        method: Method,
        step: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let error = || StoreError::new(StoreErrorKind::Unavailable, "a fault, as it was asked for");
        match self.call(method) {
            None => step.await,
            Some(Fault::Before) => Err(error()),
            Some(Fault::After) => {
                step.await?;
                Err(error())
            }
        }
    }
}

impl<S: RefreshStore> RefreshStore for Faulty<S> {
    async fn insert(&self, session: &SessionRecord) -> Result<InsertOutcome, StoreError> {
        self.step(Method::Insert, self.store.insert(session)).await
    }

    async fn load(&self, id: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
        self.step(Method::Load, self.store.load(id)).await
    }

    async fn rotate(&self, request: &RotateRequest) -> Result<RotateOutcome, StoreError> {
        self.step(Method::Rotate, self.store.rotate(request)).await
    }

    async fn revoke(
        &self,
        id: &SessionId,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        self.step(Method::Revoke, self.store.revoke(id, reason, now)).await
    }

    async fn revoke_subject(
        &self,
        subject: &str,
        keep: Option<&SessionId>,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<u64, StoreError> {
        let step = self.store.revoke_subject(subject, keep, reason, now);
        self.step(Method::RevokeSubject, step).await
    }

    async fn list(&self, subject: &str, now: UnixMillis) -> Result<Vec<SessionRecord>, StoreError> {
        self.step(Method::List, self.store.list(subject, now)).await
    }

    async fn purge_expired(&self, now: UnixMillis, limit: u32) -> Result<u64, StoreError> {
        self.step(Method::PurgeExpired, self.store.purge_expired(now, limit)).await
    }
}
