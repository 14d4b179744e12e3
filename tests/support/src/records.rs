//! A session and requests for it, for the tests of one store.

use std::time::Duration;

use kippu::session::{
    SessionId, SessionRecord, StoreError, StoreErrorKind, UnixMillis, rotation::RotateRequest,
};

pub const LOGIN: UnixMillis = UnixMillis::new(1_764_000_000_000);

pub fn after(seconds: u64) -> UnixMillis {
    LOGIN.saturating_add(Duration::from_secs(seconds))
}

/// Returns a session with a login now, which is idle after an hour and ends after a day.
pub fn session(subject: &str) -> SessionRecord {
    let id = SessionId::generate(subject).unwrap();
    let mut session = SessionRecord::new(id, subject, "web", "k1", LOGIN, after(86_400));
    session.label = Some("Firefox auf dem Fernseher 📺".to_owned());
    session.expires_at = after(3600);
    session
}

pub fn request(session: &SessionRecord, generation: u64, now: UnixMillis) -> RotateRequest {
    let (grace, idle_lifetime) = (Duration::from_secs(30), Duration::from_secs(3600));
    RotateRequest::new(session.id, generation, "k2", now, grace, idle_lifetime)
}

/// Returns `value` after `change`. Code outside the crate cannot write these records as literals.
pub fn changed<T>(mut value: T, change: impl FnOnce(&mut T)) -> T {
    change(&mut value);
    value
}

pub fn kind<T>(result: Result<T, StoreError>) -> Option<StoreErrorKind> {
    result.err().map(|error| error.kind())
}
