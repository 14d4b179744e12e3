//! Logins: short access tokens that servers verify without a database, and the refresh token that gets new ones.

#[cfg(feature = "conformance")]
pub mod conformance;
mod id;
mod record;
pub mod rotation;
pub mod store;
mod time;

pub use self::{
    id::{SessionId, SessionIdError},
    record::{RevokeReason, Revoked, SessionRecord},
    store::{BoxStore, MemoryStore, RefreshStore, StoreError, StoreErrorKind},
    time::UnixMillis,
};
