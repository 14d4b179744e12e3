//! Where sessions are kept: the steps that a store has to take in one piece, and the errors of stores.

mod boxed;
mod ended;
mod memory;
mod request;
#[cfg(feature = "conformance")]
#[doc = include_str!("store/writing.md")]
pub mod writing {}

/// What the store in memory shares between threads; `tests/interleavings` gives it loom's in their place.
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

/// A place for sessions.
///
/// Each method is one atomic step: it happens wholly or not at all, as if no other ran at the same time, on this
/// handle or any other of the same data, in this process or another. Once a change is answered with `Ok` it stays,
/// to the degree that the store's documentation promises.
///
/// That something is not there is an outcome; `Err` is a fault of the store. After an `Err` the step may
/// nevertheless have happened: callers repeat it, and every step can be repeated.
///
/// Reads see all that was answered before they began: no replica that lags, no primary that was demoted, no cache. A
/// store that finds itself at such a server closes the connection and answers [`StoreErrorKind::Unavailable`].
///
/// Every step ends within a deadline, which the operator can set; afterwards it answers
/// [`StoreErrorKind::Unavailable`], and may have happened or happen later.
///
/// Times come with the call. A store reads its own clock for three things alone: how long it stalled before it
/// changed a record ([`RotateRequest::after`]), what [`purge_expired`](Self::purge_expired) may remove, and how long an id
/// has been in the log of ended sessions ([`trim_ended`](Self::trim_ended)). When a session ends is decided by the caller that reads the record, never by the store's having removed it.
///
/// A store never sees a token, and nothing that one could be made from.
///
/// Implementers write `async fn`, as the example `custom_store` does, and run the tests of the feature
/// `conformance` on what they wrote; with that feature, the module `writing` has the way to an SQL store. The futures have to be
/// `Send`.
pub trait RefreshStore: Send + Sync + 'static {
    /// Adds a session, whose id is of its subject's [shard](SessionId::shard). It never changes one that has this id.
    ///
    /// Where the request has a [limit](InsertRequest::limit), the step counts the subject's sessions that are
    /// [live](SessionRecord::is_live) at the new one's `created_at`, and adds the new one only if they are not more than the
    /// limit then, itself among them. Else it refuses, or first revokes ([`RevokeReason::Limit`]) so many as have no room:
    /// those of the earliest login, and of one time by id. However many logins run at once, no two of them
    /// count the same room.
    ///
    /// # Errors
    /// [`StoreError`] when the store is at fault.
    fn insert(
        &self,
        request: &InsertRequest,
    ) -> impl Future<Output = Result<InsertOutcome, StoreError>> + Send;

    /// The session of this id, whether it is over or not; none when there is none.
    ///
    /// # Errors
    /// [`StoreError`] when the store is at fault.
    fn load(
        &self,
        id: &SessionId,
    ) -> impl Future<Output = Result<Option<SessionRecord>, StoreError>> + Send;

    /// Presents a generation of a session: reads the record, takes the [decision](RotateRequest::decide), and
    /// stores its change, with nothing in between. It never brings back a record that is gone.
    ///
    /// A store that waited before it held the record decides by the request [after](RotateRequest::after) that wait.
    ///
    /// # Errors
    /// [`StoreError`] when the store is at fault.
    fn rotate(
        &self,
        request: &RotateRequest,
    ) -> impl Future<Output = Result<RotateOutcome, StoreError>> + Send;

    /// Ends the session of this id: from the answer on, no [`rotate`](Self::rotate) succeeds. A session that is
    /// revoked keeps its first reason; whether it is over by its age makes no difference. Says whether there was one
    /// to revoke.
    ///
    /// # Errors
    /// [`StoreError`] when the store is at fault.
    fn revoke(
        &self,
        id: &SessionId,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// As [`revoke`](Self::revoke), for all sessions of a subject but `keep`, in one step: a rotation under way is
    /// revoked with the rest. Says how many there were to revoke.
    ///
    /// # Errors
    /// [`StoreError`] when the store is at fault.
    fn revoke_subject(
        &self,
        subject: &str,
        keep: Option<&SessionId>,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// The sessions of a subject that are [live](SessionRecord::is_live) at the request's `now`, by the time of their login,
    /// and of one time by id: those behind [`after`](ListRequest::after), up to [`limit`](ListRequest::limit) of them.
    ///
    /// # Errors
    /// [`StoreError`] when the store is at fault.
    fn list(
        &self,
        request: &ListRequest,
    ) -> impl Future<Output = Result<Vec<SessionRecord>, StoreError>> + Send;

    /// Removes up to `limit` sessions that [have ended](SessionRecord::is_expired) both at `now` and by the store's own
    /// clock, revoked or not, and no other: a caller whose clock is ahead removes no live session. Returns how many it
    /// removed: fewer than `limit` when none is left, or when its deadline came before the end of a large store.
    ///
    /// A call goes on where the one before it stopped, after an error too, so that no part of a store stays unpurged because
    /// another part is large or cannot be read.
    ///
    /// # Errors
    /// [`StoreError`] when the store is at fault.
    fn purge_expired(
        &self,
        now: UnixMillis,
        limit: u32,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// The ids of the sessions that were revoked after `cursor` was made, from the store's log of ended sessions.
    ///
    /// The step that revokes a session writes its id into this log: [`revoke`](Self::revoke), also for an id that is not
    /// there, [`revoke_subject`](Self::revoke_subject), a [`rotate`](Self::rotate) that finds a reuse, and an
    /// [`insert`](Self::insert) that makes room. The log is apart
    /// from the sessions, so that an id stays in it when its session is purged.
    ///
    /// Whatever was answered before this call began is in the pages from `cursor` to the
    /// [last](EndedPage::is_last), whichever handle or process revoked it, and whatever the clocks say. No id comes that was not
    /// revoked. A store that cannot tell what a cursor stands for begins again, and so repeats ids: the cursor is of another
    /// server, or of data that a backup has replaced since.
    ///
    /// # Errors
    /// [`StoreError`] when the store is at fault.
    fn ended_after(
        &self,
        cursor: &EndedCursor,
    ) -> impl Future<Output = Result<EndedPage, StoreError>> + Send;

    /// Removes the ids that have been in the log of ended sessions for longer than `kept_for` by the store's own clock, and
    /// returns how many it removed; fewer than there are, when its deadline came first. It never makes a cursor useless.
    ///
    /// # Errors
    /// [`StoreError`] when the store is at fault.
    fn trim_ended(
        &self,
        kept_for: Duration,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;
}

/// A store that reads and swaps, and can say no more in one step. [`rotate_by_swapping`] makes a
/// [`RefreshStore::rotate`] of that.
pub trait CompareAndSwap: RefreshStore {
    /// Stores `change` if the record still is as it was `seen`: there, not revoked, and of the same generation.
    /// Says whether it did.
    ///
    /// It writes the fields that the change names and no others. A store that writes whole records compares
    /// `auth_time` and `data` too: a [reauthentication](Change::Reauthenticate) may move them alone.
    ///
    /// # Errors
    /// [`StoreError`] when the store is at fault.
    fn swap(
        &self,
        seen: &SessionRecord,
        change: &Change,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// Rotates by reading, deciding and swapping, until nobody was in between.
///
/// # Errors
/// The store's, and [`StoreErrorKind::Contention`] after 8 times: each time somebody else has advanced or
/// ended the session, of which one grace has few.
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
            Some(change) if !store.swap(&record, change).await? => {}
            _ => return Ok(decision.outcome),
        }
    }
    Err(StoreError::new(StoreErrorKind::Contention, "the session changed with every try"))
}

/// A fault of a store. It names no session and no token.
pub struct StoreError {
    kind: StoreErrorKind,
    /// Without one, what the driver says is the message.
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
        if self.message.is_some() { Some(source) } else { source.source() }
    }
}

/// What sort of fault it is, and so what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store cannot be reached, or did not answer; the step may have happened. Try again, within
    /// the grace.
    Unavailable,
    /// Too many want the same at once. Try again.
    Contention,
    /// The store is not set up for this: a connection string that is wrong, a table that is missing or another's, a
    /// permission. Somebody has to act.
    Misconfigured,
    /// What is stored cannot be what was stored. Somebody has to look.
    Corrupt,
}

impl StoreErrorKind {
    /// Whether the same call may succeed a moment later.
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
    /// A fault that `message` describes: what is wrong, and what to do about it. No secret, no id.
    pub fn new(kind: StoreErrorKind, message: impl Into<Box<str>>) -> Self {
        Self { kind, message: Some(message.into()), source: None }
    }

    /// A fault that a driver reported.
    pub fn from_driver(
        kind: StoreErrorKind,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { kind, message: None, source: Some(source.into()) }
    }

    /// This fault, under another message: what is wrong in words that say what to do.
    #[must_use]
    pub fn with_message(self, message: impl Into<Box<str>>) -> Self {
        Self { message: Some(message.into()), ..self }
    }

    /// What sort of fault it is.
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_fault_says_of_what_sort_it_is_and_what_is_wrong() {
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
