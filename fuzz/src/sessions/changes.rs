//! Checks that a step changes in the store only what its answer and its events report.

use std::collections::BTreeMap;

use kippu::session::{
    EventKind, RevokeReason, SessionId, SessionRecord, TokenResponse, UnixMillis,
};
use kippu_simulation::log::Settings;

/// The sessions that the store has.
pub(super) type Records = BTreeMap<SessionId, SessionRecord>;

/// The answer and the events of a step.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// When its token was presented.
    pub(super) presented: i64,
    /// Its events.
    pub(super) events: Vec<(EventKind, Option<SessionId>)>,
    /// All events of a request that was refused.
    pub(super) refusal: Option<Vec<EventKind>>,
    /// How many sessions it says it has ended.
    pub(super) ended: Option<u64>,
    /// Whether its token names no session.
    pub(super) is_unknown: bool,
    /// Whether an answer of the store was lost, so that the step cannot know what it has changed.
    pub(super) is_in_doubt: bool,
}

/// The lifetimes, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetimes {
    pub(super) access: i64,
    pub(super) idle: i64,
    pub(super) absolute: i64,
    pub(super) grace: i64,
}

/// The end of a session (R7).
pub(super) fn end(record: &SessionRecord) -> i64 {
    record.expires_at.min(record.absolute_expires_at).get()
}

impl Lifetimes {
    pub(super) fn of(settings: &Settings) -> Self {
        let millis = |seconds: u64| i64::try_from(seconds * 1000).expect("a lifetime");
        Self {
            access: millis(settings.access_lifetime),
            idle: millis(settings.idle_lifetime),
            absolute: millis(settings.session_lifetime),
            grace: millis(settings.grace),
        }
    }

    /// Checks what a response says about its tokens. Returns when the access token was issued, and
    /// when it expires, in whole seconds.
    pub(super) fn of_response(
        self,
        response: &TokenResponse,
        record: &SessionRecord,
        presented: i64,
    ) -> (i64, i64) {
        let whole_seconds = |millis: i64| millis.div_euclid(1000) * 1000;
        let left = |end: i64, from: i64| u128::try_from((end - from).max(0)).expect("not negative");
        let issued = whole_seconds(presented);
        // R7: never longer than the rest of the session.
        let access_end = presented + self.access;
        let expires = whole_seconds(access_end.min(record.absolute_expires_at.get()));
        assert_eq!(response.expires_in.as_millis(), left(expires, issued));
        assert_eq!(response.refresh_expires_in.as_millis(), left(end(record), presented));
        (issued, expires)
    }

    /// Checks the changes of a step that ended at `now`.
    pub(super) fn check(self, before: &Records, after: &Records, told: &Told, now: i64) {
        for (id, record) in before {
            assert!(after.contains_key(id) || end(record) <= now, "{record:?} was removed");
        }
        let mut ended = Vec::new();
        for (id, record) in after {
            let Some(old) = before.get(id) else {
                self.check_new(record, told, now);
                continue;
            };
            if record == old {
                continue;
            }
            let mut wanted = old.clone();
            if let (Some(revoked), None) = (record.revoked, old.revoked) {
                assert!([now, told.presented].contains(&revoked.at.get()), "{record:?}");
                ended.push(revoked.reason.as_str());
                wanted.revoked = record.revoked;
            } else if record.generation == old.generation {
                // R1: the token that a rotation has just made is not used up.
                assert!(told.has(*id, |kind| kind == EventKind::Reauthenticated), "{record:?}");
                wanted.auth_time = UnixMillis::new(now);
            } else {
                self.rotate(&mut wanted, record, told, now);
            }
            assert_eq!(*record, wanted);
        }
        if told.is_in_doubt {
            return;
        }
        let mut reasons = Vec::new();
        for (kind, id) in &told.events {
            let of = |records: &Records| id.and_then(|id| records.get(&id).cloned());
            let generation = |records| of(records).map(|record| record.generation);
            match *kind {
                EventKind::Rotated | EventKind::Healed { .. } => {
                    assert_ne!(generation(before), generation(after));
                }
                EventKind::Revoked { reason, sessions } => {
                    reasons.extend((0..sessions).map(|_| reason.as_str()));
                }
                EventKind::ReuseDetected => reasons.push(RevokeReason::Reuse.as_str()),
                // Another step may have ended the session while the application was asked.
                EventKind::Denied if of(before).is_some_and(|it| it.revoked.is_none()) => {
                    reasons.push(RevokeReason::Denied.as_str());
                }
                _ => {}
            }
        }
        ended.sort_unstable();
        reasons.sort_unstable();
        assert_eq!(ended, reasons, "the reasons in the store, and those that the events report");
        let kinds: Vec<_> = told.events.iter().map(|(kind, _)| *kind).collect();
        if let Some(events) = &told.refusal {
            assert_eq!(kinds, *events);
        }
        if let Some(ended) = told.ended {
            let sessions = kinds.iter().map(|kind| match kind {
                EventKind::Revoked { sessions, .. } => *sessions,
                _ => 0,
            });
            assert_eq!(sessions.sum::<u64>(), ended);
        }
    }

    /// Checks a session that was not there before.
    fn check_new(self, record: &SessionRecord, told: &Told, now: i64) {
        assert!(told.has(record.id, |kind| kind == EventKind::LoggedIn), "{record:?}");
        let SessionRecord { created_at, rotated_at, auth_time, expires_at, .. } = record;
        assert_eq!([created_at, rotated_at, auth_time].map(|time| time.get()), [now; 3]);
        let absolute_end = record.absolute_expires_at.get();
        assert_eq!((record.generation, absolute_end), (0, now + self.absolute));
        assert_eq!(expires_at.get(), (now + self.idle).min(absolute_end));
        assert_eq!(record.revoked, None);
    }

    /// Makes the change of a rotation. The answer shows the generation and the key, which the
    /// checker compares with those of the rules.
    fn rotate(self, wanted: &mut SessionRecord, record: &SessionRecord, told: &Told, now: i64) {
        let is_reauthenticated = told.has(record.id, |kind| kind == EventKind::Reauthenticated);
        let is_rotated = told
            .has(record.id, |kind| matches!(kind, EventKind::Rotated | EventKind::Healed { .. }));
        assert!(is_rotated || is_reauthenticated, "{record:?}");
        wanted.generation = record.generation;
        wanted.kid.clone_from(&record.kid);
        // R8: a clock that was set back since the presentation shortens nothing.
        wanted.rotated_at = UnixMillis::new(now.max(told.presented));
        let idle_end = wanted.rotated_at.get() + self.idle;
        wanted.expires_at = UnixMillis::new(idle_end).min(wanted.absolute_expires_at);
        if is_reauthenticated && (!told.is_in_doubt || record.auth_time.get() == now) {
            wanted.auth_time = UnixMillis::new(now);
        }
    }
}

impl Told {
    /// Whether the step has reported such an event of a session, or may have lost it.
    fn has(&self, id: SessionId, is_one: impl Fn(EventKind) -> bool) -> bool {
        self.is_in_doubt || self.events.iter().any(|(kind, of)| *of == Some(id) && is_one(*kind))
    }
}
