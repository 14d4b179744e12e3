//! The trait of a session store: its atomic steps, and its errors.

mod boxed;
mod ended;
mod memory;
mod request;
#[cfg(feature = "conformance")]
#[doc = include_str!("store/writing.md")]
pub mod writing {}

/// The synchronisation primitives of the store in memory. `tests/interleavings` replaces them by
/// those of loom.
mod sync {
    pub(super) use core::sync::atomic::{AtomicUsize, Ordering};
    pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};
}

use alloc::{boxed::Box, vec::Vec};
use core::{error::Error, fmt, future::Future, time::Duration};

use super::{
    id::SessionId,
    record::{RevokeReason, SessionRecord},
    rotation::{Change, RotateOutcome, RotateRequest},
    time::UnixMillis,
};
use crate::debug::debug_by_message;

pub use self::{
    boxed::BoxStore,
    ended::{EndedCursor, EndedPage},
    memory::MemoryStore,
    request::{
        InsertOutcome, InsertRequest, ListCursor, ListCursorError, ListRequest, Room, SessionLimit,
    },
};

/// A store of sessions.
///
/// Each method is one atomic step. It happens completely or not at all, as if no other step ran at
/// the same time, on this handle or any other handle of the same data, in this process or another.
/// Once a change is answered with `Ok`, it is durable to the degree that the store's documentation
/// promises.
///
/// A missing session is an outcome; `Err` is a failure of the store. After an `Err` the step may
/// nevertheless have happened. Callers repeat it, and every step can be repeated.
///
/// A read sees every step that was answered before the read began. It never comes from a replica
/// that lags, a primary that was demoted, or a cache. A store that detects such a server closes the
/// connection and returns [`StoreErrorKind::Unavailable`].
///
/// Every step ends within a deadline, which the operator can set. After the deadline it returns
/// [`StoreErrorKind::Unavailable`]; the step may have happened, or may happen later.
///
/// Times are parameters of the call. A store reads its own clock for only three purposes: how long
/// it stalled before it changed a record ([`RotateRequest::after`]), which sessions
/// [`purge_expired`](Self::purge_expired) may remove, and how long an id has been in the log of
/// ended sessions ([`trim_ended`](Self::trim_ended)). The caller that reads a record decides
/// whether the session has ended; the removal of a record never decides it.
///
/// A store never sees a token, nor anything from which a token could be made.
///
/// To implement a store, write `async fn` as in the example `custom_store`, and run the tests of
/// the feature `conformance`. With that feature, the module `writing` explains how to write an SQL
/// store. The futures have to be `Send`.
pub trait RefreshStore: Send + Sync + 'static {
    /// Adds a session. Its id has the [shard](SessionId::shard) of its subject. If the id already
    /// exists, the step changes nothing.
    ///
    /// If the request has a [limit](InsertRequest::limit), the step counts the subject's sessions
    /// that are [live](SessionRecord::is_live) at the new session's `created_at`. It adds the new
    /// one only if, with it, their number is within the limit. Otherwise it refuses the new
    /// session, or first revokes ([`RevokeReason::Limit`]) as many as necessary, in the order of
    /// their logins, and of their ids for logins at the same time. Concurrent logins never use the
    /// same free place.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    fn insert(
        &self,
        request: &InsertRequest,
    ) -> impl Future<Output = Result<InsertOutcome, StoreError>> + Send;

    /// Returns the session with this id, whether or not it has ended, or `None` if it is not in the
    /// store.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    fn load(
        &self,
        id: &SessionId,
    ) -> impl Future<Output = Result<Option<SessionRecord>, StoreError>> + Send;

    /// Presents a generation of a session. The step reads the record,
    /// [decides](RotateRequest::decide), and stores the change; no other step comes in between. It
    /// never restores a record that has been removed.
    ///
    /// A store that waited before it held the record decides by the request
    /// [after](RotateRequest::after) that wait.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    fn rotate(
        &self,
        request: &RotateRequest,
    ) -> impl Future<Output = Result<RotateOutcome, StoreError>> + Send;

    /// Revokes the session with this id: after the answer, no [`rotate`](Self::rotate) succeeds. A
    /// session that is already revoked keeps its first reason. A session that has expired is
    /// revoked, too. Returns whether there was a session to revoke.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    fn revoke(
        &self,
        id: &SessionId,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Revokes all sessions of a subject except `keep`, in one step. A concurrent rotation is
    /// revoked with the rest. Returns the number of sessions that were revoked.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    fn revoke_subject(
        &self,
        subject: &str,
        keep: Option<&SessionId>,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Returns the sessions of a subject that are [live](SessionRecord::is_live) at the request's
    /// `now`, in the order of their logins, and of their ids for logins at the same time. The list
    /// begins after [`after`](ListRequest::after) and has at most [`limit`](ListRequest::limit)
    /// sessions.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    fn list(
        &self,
        request: &ListRequest,
    ) -> impl Future<Output = Result<Vec<SessionRecord>, StoreError>> + Send;

    /// Removes up to `limit` sessions that [have expired](SessionRecord::is_expired) both at `now`
    /// and by the store's own clock, revoked or not, and no others. A caller whose clock is ahead
    /// therefore removes no live session. Returns the number of removed sessions. It is below
    /// `limit` if no more are left, or if the deadline passed before the end of a large store.
    ///
    /// A call continues where the previous one stopped, also after an error, so that every part of
    /// a store is purged even if another part is large or cannot be read.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    fn purge_expired(
        &self,
        now: UnixMillis,
        limit: u32,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Returns the ids of the sessions that were revoked after `cursor` was made, from the store's
    /// log of ended sessions.
    ///
    /// The step that revokes a session also writes its id into this log: [`revoke`](Self::revoke),
    /// even for an id that is not in the store, [`revoke_subject`](Self::revoke_subject), a
    /// [`rotate`](Self::rotate) that finds a reuse, and an [`insert`](Self::insert) that makes
    /// room. The log is separate from the sessions, so that an id stays in it when its session is
    /// purged.
    ///
    /// Every revocation that was answered before this call began is in the pages from `cursor` to
    /// the [last](EndedPage::is_last), whichever handle or process made it, and whatever the clocks
    /// show. The pages contain no id that was not revoked. If a cursor comes from another server,
    /// or from data that a backup has replaced, the store cannot interpret it. It then begins at
    /// the start of the log and repeats ids.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    fn ended_after(
        &self,
        cursor: &EndedCursor,
    ) -> impl Future<Output = Result<EndedPage, StoreError>> + Send;

    /// Removes the ids that have been in the log of ended sessions for longer than `kept_for`, by
    /// the store's own clock, and returns their number. If the deadline passes first, some of these
    /// ids remain. The step never makes a cursor invalid.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    fn trim_ended(
        &self,
        kept_for: Duration,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;
}

/// A store that can read and compare-and-swap a record, but cannot do more in one step.
/// [`rotate_by_swapping`] implements [`RefreshStore::rotate`] with it.
pub trait CompareAndSwap: RefreshStore {
    /// Stores `change` if the record is still as it was `seen`: present, not revoked, and of the
    /// same generation. Returns whether the change was stored.
    ///
    /// It writes only the fields that the change names. A store that writes whole records also has
    /// to compare `auth_time` and `data`, because a [reauthentication](Change::Reauthenticate) may
    /// change only these.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    fn swap(
        &self,
        seen: &SessionRecord,
        change: &Change,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// Rotates by reading, deciding and swapping, and repeats this if another request came in between.
///
/// # Errors
/// The errors of the store, and [`StoreErrorKind::Contention`] after 8 attempts. Each attempt fails
/// only if another request has rotated or ended the session, which is rare within one grace.
pub async fn rotate_by_swapping(
    store: &impl CompareAndSwap,
    request: &RotateRequest,
) -> Result<RotateOutcome, StoreError> {
    for _ in 0..8 {
        let Some(record) = store.load(&request.id).await? else {
            return Ok(RotateOutcome::Unknown);
        };
        let decision = request.decide(&record);
        match &decision.change {
            // Another request came first. The next round decides by what it has stored.
            Some(change) if !store.swap(&record, change).await? => {}
            _ => return Ok(decision.outcome),
        }
    }
    Err(StoreError::new(StoreErrorKind::Contention, "the session changed with every try"))
}

/// A failure of a store. It names no session and no token.
pub struct StoreError {
    kind: StoreErrorKind,
    /// If there is none, the driver's text is the message.
    message: Option<Box<str>>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

debug_by_message!(StoreError);

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.message, &self.source) {
            (Some(message), _) => write!(f, "{}: {message}", self.kind),
            (None, Some(source)) => write!(f, "{}: {source}", self.kind),
            (None, None) => write!(f, "{}", self.kind),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source: &(dyn Error + 'static) = self.source.as_deref()?;
        // Without a message, `Display` prints the source, so that only its causes are left.
        if self.message.is_some() { Some(source) } else { source.source() }
    }
}

/// The kind of a failure. It determines what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store cannot be reached or did not answer. The step may have happened. Try again within
    /// the grace.
    Unavailable,
    /// Too many requests change the same data at once. Try again.
    Contention,
    /// The store is not set up correctly: a wrong connection string, a table that is missing or has
    /// another schema, or a missing permission. The operator has to correct it.
    Misconfigured,
    /// The stored data cannot be what kippu stored. The operator has to investigate.
    Corrupt,
}

impl StoreErrorKind {
    /// Returns whether the same call may succeed a moment later.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Unavailable | Self::Contention)
    }
}

impl fmt::Display for StoreErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unavailable => "the session store is not available",
            Self::Contention => "the session store is contended",
            Self::Misconfigured => "the session store is not set up",
            Self::Corrupt => "the session store is corrupt",
        })
    }
}

impl StoreError {
    /// Returns a failure that `message` describes: what is wrong, and what to do. The message must
    /// not contain a secret or an id.
    pub fn new(kind: StoreErrorKind, message: impl Into<Box<str>>) -> Self {
        Self { kind, message: Some(message.into()), source: None }
    }

    /// Returns a failure that a driver reported.
    pub fn from_driver(
        kind: StoreErrorKind,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { kind, message: None, source: Some(source.into()) }
    }

    /// Replaces the message: what is wrong, and what to do. The driver's error stays the source.
    #[must_use]
    pub fn with_message(self, message: impl Into<Box<str>>) -> Self {
        Self { message: Some(message.into()), ..self }
    }

    /// Returns the kind of the failure.
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn the_message_of_a_store_error_has_its_kind_and_the_fault() {
        for (kind, is_transient, text) in [
            (StoreErrorKind::Unavailable, true, "the session store is not available: gone"),
            (StoreErrorKind::Contention, true, "the session store is contended: gone"),
            (StoreErrorKind::Misconfigured, false, "the session store is not set up: gone"),
            (StoreErrorKind::Corrupt, false, "the session store is corrupt: gone"),
        ] {
            let error = StoreError::from_driver(kind, "code 7");
            assert_eq!(error.to_string(), text.replace("gone", "code 7"));
            assert!(error.source().is_none(), "the message has it already");
            let error = error.with_message("gone");
            assert_eq!(alloc::format!("{error:?}"), alloc::format!("{text}: code 7"));
            assert_eq!((error.kind(), &*error.to_string()), (kind, text));
            assert_eq!(error.source().unwrap().to_string(), "code 7");
            assert_eq!(kind.is_transient(), is_transient, "{kind}");
        }
    }
}
