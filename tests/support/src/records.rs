//! A login, and what is asked of it, for the tests of one store.

use std::time::Duration;

use kippu::session::{
    SessionId, SessionRecord, StoreError, StoreErrorKind, UnixMillis,
    rotation::{AheadPolicy, RotateRequest},
};

pub const LOGIN: UnixMillis = UnixMillis::new(1_764_000_000_000);

pub fn after(seconds: u64) -> UnixMillis {
    LOGIN.saturating_add(Duration::from_secs(seconds))
}

/// A login now, idle after an hour, over after a day.
pub fn session(subject: &str) -> SessionRecord {
    SessionRecord {
        id: SessionId::generate(subject).unwrap(),
        subject: subject.to_owned(),
        client: "web".to_owned(),
        label: Some("Firefox auf dem Fernseher 📺".to_owned()),
        created_at: LOGIN,
        absolute_expires_at: after(86_400),
        generation: 0,
        kid: "k1".to_owned(),
        rotated_at: LOGIN,
        expires_at: after(3600),
        revoked: None,
    }
}

pub fn request(session: &SessionRecord, generation: u64, now: UnixMillis) -> RotateRequest {
    RotateRequest {
        id: session.id,
        generation,
        kid: "k2".to_owned(),
        now,
        was_current: false,
        waited: Duration::ZERO,
        grace: Duration::from_secs(30),
        idle_lifetime: Duration::from_secs(3600),
        ahead: AheadPolicy::Heal,
    }
}

pub fn kind<T>(result: Result<T, StoreError>) -> Option<StoreErrorKind> {
    result.err().map(|error| error.kind())
}
