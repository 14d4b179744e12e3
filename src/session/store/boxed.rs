//! A store behind a pointer: its type is chosen at run time, or several parts of a program share
//! it.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{fmt, future::Future, pin::Pin, time::Duration};

use super::{
    EndedCursor, EndedPage, InsertOutcome, InsertRequest, ListRequest, RefreshStore, StoreError,
};
use crate::session::{
    id::SessionId,
    record::{RevokeReason, SessionRecord},
    rotation::{RotateOutcome, RotateRequest},
    time::UnixMillis,
};

/// A store whose type is chosen at run time.
///
/// ```
/// use kippu::session::{BoxStore, MemoryStore};
///
/// let store = match std::env::var("SESSIONS") {
///     // Ok(path) => BoxStore::new(SqliteStore::open(path).await?),
///     _ => BoxStore::new(MemoryStore::new(100_000)),
/// };
/// ```
pub struct BoxStore(Box<dyn DynStore>);

impl BoxStore {
    /// Erases the type of `store`.
    pub fn new(store: impl RefreshStore) -> Self {
        Self(Box::new(store))
    }
}

impl fmt::Debug for BoxStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxStore").finish_non_exhaustive()
    }
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// [`RefreshStore`] with boxed futures, so that its type can be erased.
trait DynStore: Send + Sync + 'static {
    fn insert<'a>(&'a self, request: &'a InsertRequest) -> Answer<'a, InsertOutcome>;

    fn load<'a>(&'a self, id: &'a SessionId) -> Answer<'a, Option<SessionRecord>>;

    fn rotate<'a>(&'a self, request: &'a RotateRequest) -> Answer<'a, RotateOutcome>;

    fn revoke<'a>(
        &'a self,
        id: &'a SessionId,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Answer<'a, bool>;

    fn revoke_subject<'a>(
        &'a self,
        subject: &'a str,
        keep: Option<&'a SessionId>,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Answer<'a, u64>;

    fn list<'a>(&'a self, request: &'a ListRequest) -> Answer<'a, Vec<SessionRecord>>;

    fn purge_expired(&self, now: UnixMillis, limit: u32) -> Answer<'_, u64>;

    fn ended_after<'a>(&'a self, cursor: &'a EndedCursor) -> Answer<'a, EndedPage>;

    fn trim_ended(&self, kept_for: Duration) -> Answer<'_, u64>;
}

impl<S: RefreshStore> DynStore for S {
    fn insert<'a>(&'a self, request: &'a InsertRequest) -> Answer<'a, InsertOutcome> {
        Box::pin(RefreshStore::insert(self, request))
    }

    fn load<'a>(&'a self, id: &'a SessionId) -> Answer<'a, Option<SessionRecord>> {
        Box::pin(RefreshStore::load(self, id))
    }

    fn rotate<'a>(&'a self, request: &'a RotateRequest) -> Answer<'a, RotateOutcome> {
        Box::pin(RefreshStore::rotate(self, request))
    }

    fn revoke<'a>(
        &'a self,
        id: &'a SessionId,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Answer<'a, bool> {
        Box::pin(RefreshStore::revoke(self, id, reason, now))
    }

    fn revoke_subject<'a>(
        &'a self,
        subject: &'a str,
        keep: Option<&'a SessionId>,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Answer<'a, u64> {
        Box::pin(RefreshStore::revoke_subject(self, subject, keep, reason, now))
    }

    fn list<'a>(&'a self, request: &'a ListRequest) -> Answer<'a, Vec<SessionRecord>> {
        Box::pin(RefreshStore::list(self, request))
    }

    fn purge_expired(&self, now: UnixMillis, limit: u32) -> Answer<'_, u64> {
        Box::pin(RefreshStore::purge_expired(self, now, limit))
    }

    fn ended_after<'a>(&'a self, cursor: &'a EndedCursor) -> Answer<'a, EndedPage> {
        Box::pin(RefreshStore::ended_after(self, cursor))
    }

    fn trim_ended(&self, kept_for: Duration) -> Answer<'_, u64> {
        Box::pin(RefreshStore::trim_ended(self, kept_for))
    }
}

/// Implements the store for a pointer by calling the store that it points to.
macro_rules! pointer {
    ([$($generics:tt)*] $pointer:ty, $self:ident => $trait:ident::_($pointee:expr)) => {
    impl<$($generics)*> RefreshStore for $pointer {
        async fn insert(&$self, request: &InsertRequest) -> Result<InsertOutcome, StoreError> {
            $trait::insert($pointee, request).await
        }

        async fn load(&$self, id: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
            $trait::load($pointee, id).await
        }

        async fn rotate(&$self, request: &RotateRequest) -> Result<RotateOutcome, StoreError> {
            $trait::rotate($pointee, request).await
        }

        async fn revoke(
            &$self,
            id: &SessionId,
            reason: RevokeReason,
            now: UnixMillis,
        ) -> Result<bool, StoreError> {
            $trait::revoke($pointee, id, reason, now).await
        }

        async fn revoke_subject(
            &$self,
            subject: &str,
            keep: Option<&SessionId>,
            reason: RevokeReason,
            now: UnixMillis,
        ) -> Result<u64, StoreError> {
            $trait::revoke_subject($pointee, subject, keep, reason, now).await
        }

        async fn list(&$self, request: &ListRequest) -> Result<Vec<SessionRecord>, StoreError> {
            $trait::list($pointee, request).await
        }

        async fn purge_expired(&$self, now: UnixMillis, limit: u32) -> Result<u64, StoreError> {
            $trait::purge_expired($pointee, now, limit).await
        }

        async fn ended_after(&$self, cursor: &EndedCursor) -> Result<EndedPage, StoreError> {
            $trait::ended_after($pointee, cursor).await
        }

        async fn trim_ended(&$self, kept_for: Duration) -> Result<u64, StoreError> {
            $trait::trim_ended($pointee, kept_for).await
        }
    }
    };
}

pointer!([] BoxStore, self => DynStore::_(&*self.0));
pointer!([S: RefreshStore] Arc<S>, self => RefreshStore::_(&**self));

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::session::store::MemoryStore;

    #[test]
    fn debug_does_not_print_the_boxed_store() {
        assert_eq!(format!("{:?}", BoxStore::new(MemoryStore::new(1))), "BoxStore { .. }");
    }
}
