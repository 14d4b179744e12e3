//! The rules of a rotation: a record and a request in, an outcome and at most one change out. The
//! code has no clock and no I/O, so that every store makes the same decision.

use alloc::string::String;
use core::time::Duration;

pub use super::record::{Change, MAX_GENERATION};
use super::{
    data::SessionData,
    id::SessionId,
    record::{RevokeReason, SessionRecord},
    time::UnixMillis,
};

/// A request to rotate a session, because one of its refresh tokens was presented.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RotateRequest {
    /// The session of the token.
    pub id: SessionId,
    /// The generation of the token. The tag of the token proves it.
    pub generation: u64,
    /// The `kid` of the refresh key that makes a successor.
    pub kid: String,
    /// When the token was presented. Expiry and grace are measured at this time.
    pub now: UnixMillis,
    /// Whether the caller has read the record after the token was presented, and the token was the
    /// current one at that time. A rotation since then has overtaken this request, so the token is
    /// *replayed* and never *reused*, however long the store stalls. The field has no effect if the
    /// grace is zero.
    pub was_current: bool,
    /// How long after `now` the record is changed: the time that the application took to authorize,
    /// and the time that the store took to reach the record ([`after`](Self::after)). The rotation
    /// takes place at [`rotated_at`](Self::rotated_at), and its grace and its idle lifetime begin
    /// then.
    pub waited: Duration,
    /// How long after a rotation the previous token still gets the same successor. With zero it
    /// never does.
    pub grace: Duration,
    /// How long the session lives unless it is refreshed again, if its record has no [idle
    /// lifetime](SessionRecord::idle_lifetime).
    pub idle_lifetime: Duration,
    /// What to do with a generation that the store does not know yet.
    pub ahead: AheadPolicy,
    /// The time at which the user authenticated again, for a
    /// [reauthentication](super::Sessions::reauthenticate). No token was presented then: the
    /// generation is the one that the caller has read. If another request has rotated the session
    /// within the grace, before that read or after it, the outcome is
    /// [`Reauthenticated`](RotateOutcome::Reauthenticated). Otherwise a generation that is not the
    /// current one gives [`Overtaken`](RotateOutcome::Overtaken).
    pub auth_time: Option<UnixMillis>,
    /// The [data](SessionRecord::data) that a rotation or a reauthentication stores. `None` leaves
    /// the data of the session unchanged.
    pub data: Option<SessionData>,
}

/// What to do with an authentic token of a generation that the store does not know yet. The store
/// has lost commits: in a failover to a replica that lagged, or through a restored backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AheadPolicy {
    /// Trusts the token: the store catches up with it, and the session continues. The default.
    #[default]
    Heal,
    /// Refuses the token and leaves the session unchanged. The user has to log in again.
    Refuse,
}

/// The outcome of a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RotateOutcome {
    /// The token was the current one, and this request has used it up. No other request did.
    Rotated(Successor),
    /// The token is the predecessor of the current one, within the grace. The current token is
    /// returned as its successor, and nothing was changed.
    Replayed(Successor),
    /// The token was ahead of the store, and the store has caught up with it
    /// ([`AheadPolicy::Heal`]).
    Healed {
        /// The generation after the token's.
        successor: Successor,
        /// The number of generations that the store had lost.
        lost: u64,
    },
    /// The token is ahead of the store and was refused ([`AheadPolicy::Refuse`]). Nothing was
    /// changed.
    Ahead {
        /// The number of generations that the store has lost.
        lost: u64,
    },
    /// The new [`auth_time`](RotateRequest::auth_time) and data were stored. Another request has
    /// rotated the session within the grace, and this request gets the same token.
    Reauthenticated(Successor),
    /// Other requests have rotated the session since the caller read it, so the new
    /// [`auth_time`](RotateRequest::auth_time) was not stored. Nothing was changed: read the
    /// session again.
    Overtaken,
    /// The token was used up before. This request has revoked the session.
    Reused,
    /// The session was revoked before.
    Revoked(RevokeReason),
    /// The session has expired.
    Expired,
    /// The session is not in the store.
    Unknown,
}

/// The data from which the next token of a session is made, apart from the session's id.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Successor {
    /// The generation.
    pub generation: u64,
    /// The `kid` of the refresh key that makes the token.
    pub kid: String,
    /// The end of the session, unless it is refreshed again.
    pub expires_at: UnixMillis,
}

/// An outcome, and the change to the record that has to be durable before the outcome is returned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// The outcome to return.
    pub outcome: RotateOutcome,
    /// The change to store first.
    pub change: Option<Change>,
}

impl Successor {
    /// Returns the token of `generation`, made with the key `kid`, in a session that ends at
    /// `expires_at` unless it is refreshed again.
    pub fn new(generation: u64, kid: impl Into<String>, expires_at: UnixMillis) -> Self {
        Self { generation, kid: kid.into(), expires_at }
    }
}

impl RotateRequest {
    /// Returns a request for a token of `generation` that is presented at `now`. The store has not
    /// been asked yet, and heals what it has lost ([`AheadPolicy::Heal`]).
    pub fn new(
        id: SessionId,
        generation: u64,
        kid: impl Into<String>,
        now: UnixMillis,
        grace: Duration,
        idle_lifetime: Duration,
    ) -> Self {
        Self {
            id,
            generation,
            kid: kid.into(),
            now,
            was_current: false,
            waited: Duration::ZERO,
            grace,
            idle_lifetime,
            ahead: AheadPolicy::default(),
            auth_time: None,
            data: None,
        }
    }

    /// Returns the same request for a store that changes the record `stall` after it was asked,
    /// because it waited for a lock, a connection or a queue. A store measures the wait with its
    /// own clock once it holds the record, and decides by the returned request. The grace then
    /// begins with the change and not with the presentation.
    #[must_use]
    pub fn after(&self, stall: Duration) -> Self {
        Self { waited: self.waited.saturating_add(stall), ..self.clone() }
    }

    /// Returns the time of a rotation: `now` and the time that the request has waited since.
    pub fn rotated_at(&self) -> UnixMillis {
        self.now.saturating_add(self.waited)
    }

    /// Returns the end of the session if it is refreshed now.
    pub fn end_of(&self, record: &SessionRecord) -> UnixMillis {
        let idle_lifetime = record.idle_lifetime.unwrap_or(self.idle_lifetime);
        self.rotated_at().saturating_add(idle_lifetime).min(record.absolute_expires_at)
    }

    /// Decides the request. The rules are checked in this order.
    pub fn decide(&self, record: &SessionRecord) -> Decision {
        // A session that has ended stays ended, even within the grace (R4).
        if let Some(revoked) = record.revoked {
            return unchanged(RotateOutcome::Revoked(revoked.reason));
        }
        // Expiry is decided here, whether or not a purge runs (R7).
        // A token of the last generation has no successor, so it is treated as expired.
        if record.is_expired(self.now) || self.generation >= MAX_GENERATION {
            return unchanged(RotateOutcome::Expired);
        }
        if let Some(auth_time) = self.auth_time.filter(|_| self.finds_a_new_token(record)) {
            let outcome = RotateOutcome::Reauthenticated(current(record));
            let change = Change::Reauthenticate { auth_time, data: self.data.clone() };
            return Decision { outcome, change: Some(change) };
        }
        if self.generation == record.generation {
            let successor = self.successor(record);
            return self.advance(RotateOutcome::Rotated(successor.clone()), successor);
        }
        // No client has presented a token, so no token was reused.
        if self.auth_time.is_some() {
            return unchanged(RotateOutcome::Overtaken);
        }
        // The store has lost a generation that the token proves (R6).
        if let Some(lost @ 1..) = self.generation.checked_sub(record.generation) {
            if self.ahead == AheadPolicy::Refuse {
                return unchanged(RotateOutcome::Ahead { lost });
            }
            let successor = self.successor(record);
            return self
                .advance(RotateOutcome::Healed { successor: successor.clone(), lost }, successor);
        }
        // A retry after a lost response, or the losers of a race (R1, R2).
        if self.generation + 1 == record.generation && self.is_within_grace(record) {
            return unchanged(RotateOutcome::Replayed(current(record)));
        }
        // Two parties have tokens of this session, and the server cannot tell which of them is the
        // thief (R3).
        let change = Change::Revoke { at: self.now, reason: RevokeReason::Reuse };
        Decision { outcome: RotateOutcome::Reused, change: Some(change) }
    }

    /// Returns whether a reauthentication is concurrent with the rotation that made the current
    /// token, that is, within its grace. Two tabs of a browser may share the cookie of the refresh
    /// token, and the browser keeps the one of the last response.
    fn finds_a_new_token(&self, record: &SessionRecord) -> bool {
        match record.generation.checked_sub(self.generation) {
            // The token of generation 0 comes from the login and not from a rotation: a
            // reauthentication uses it up.
            Some(0) => record.generation > 0 && self.is_early(record),
            Some(1) => self.is_within_grace(record),
            _ => false,
        }
    }

    /// Returns whether the request is within the grace. A request that was overtaken always is,
    /// whatever the times, unless the grace is zero: its token was presented before the rotation
    /// was committed (R2).
    fn is_within_grace(&self, record: &SessionRecord) -> bool {
        self.is_early(record) || (self.was_current && !self.grace.is_zero())
    }

    /// Returns whether the request is within the grace by its time. A clock behind the one that
    /// recorded the rotation counts as if no time had passed (R8).
    fn is_early(&self, record: &SessionRecord) -> bool {
        !self.grace.is_zero() && self.now.saturating_since(record.rotated_at) <= self.grace
    }

    fn successor(&self, record: &SessionRecord) -> Successor {
        Successor {
            // Does not overflow: `decide` refuses `MAX_GENERATION` first.
            generation: self.generation + 1,
            kid: self.kid.clone(),
            expires_at: self.end_of(record),
        }
    }

    fn advance(&self, outcome: RotateOutcome, to: Successor) -> Decision {
        let Successor { generation, kid, expires_at } = to;
        let rotated_at = self.rotated_at();
        let (auth_time, data) = (self.auth_time, self.data.clone());
        let change = Change::Advance { generation, kid, rotated_at, expires_at, auth_time, data };
        Decision { outcome, change: Some(change) }
    }
}

/// Returns the current token of a session, as the successor of its predecessor.
fn current(record: &SessionRecord) -> Successor {
    Successor::new(record.generation, &*record.kid, record.expires_at)
}

fn unchanged(outcome: RotateOutcome) -> Decision {
    Decision { outcome, change: None }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;
    use crate::session::record::Revoked;

    fn record(generation: u64, rotated_at: i64, expires_at: i64) -> SessionRecord {
        let (id, start) = (SessionId::from_bytes([7; 16]), UnixMillis::new(0));
        SessionRecord {
            generation,
            rotated_at: UnixMillis::new(rotated_at),
            expires_at: UnixMillis::new(expires_at),
            ..SessionRecord::new(id, "alice", "web", "old", start, UnixMillis::new(1000))
        }
    }

    fn request(generation: u64, now: i64, grace: u64, ahead: AheadPolicy) -> RotateRequest {
        RotateRequest {
            id: SessionId::from_bytes([7; 16]),
            generation,
            kid: "new".to_string(),
            now: UnixMillis::new(now),
            was_current: false,
            waited: Duration::ZERO,
            grace: Duration::from_millis(grace),
            idle_lifetime: Duration::from_millis(300),
            ahead,
            auth_time: None,
            data: None,
        }
    }

    /// The rules as a table, written independently. Returns the name of the outcome.
    fn by_the_table(record: &SessionRecord, request: &RotateRequest) -> &'static str {
        let (now, ahead) = (request.now.get(), request.ahead);
        let end = record.expires_at.get().min(record.absolute_expires_at.get());
        let age = (now - record.rotated_at.get()).max(0);
        let grace = i64::try_from(request.grace.as_millis()).unwrap();
        let is_early = grace > 0 && age <= grace;
        let behind = i128::from(record.generation) - i128::from(request.generation);
        match (record.revoked.is_some(), now >= end, behind) {
            (true, _, _) => "revoked",
            (_, true, _) => "expired",
            (_, _, 0 | 1) if is_early && request.auth_time.is_some() && record.generation > 0 => {
                "reauthenticated"
            }
            (_, _, 0) => "rotated",
            _ if request.auth_time.is_some() => "overtaken",
            (_, _, ..0) if ahead == AheadPolicy::Heal => "healed",
            (_, _, ..0) => "ahead",
            (_, _, 1) if is_early => "replayed",
            _ => "reused",
        }
    }

    fn name(outcome: &RotateOutcome) -> &'static str {
        match outcome {
            RotateOutcome::Rotated(_) => "rotated",
            RotateOutcome::Replayed(_) => "replayed",
            RotateOutcome::Healed { .. } => "healed",
            RotateOutcome::Ahead { .. } => "ahead",
            RotateOutcome::Reauthenticated(_) => "reauthenticated",
            RotateOutcome::Overtaken => "overtaken",
            RotateOutcome::Reused => "reused",
            RotateOutcome::Revoked(_) => "revoked",
            RotateOutcome::Expired => "expired",
            RotateOutcome::Unknown => "unknown",
        }
    }

    /// Checks the properties of every decision, whatever the request.
    fn check(record: &SessionRecord, request: &RotateRequest) -> &'static str {
        let Decision { outcome, change } = request.decide(record);
        let mut after = record.clone();
        if let Some(change) = change.clone() {
            after.apply(change);
        }
        let name = name(&outcome);
        // The fields that never change.
        assert_eq!(after.absolute_expires_at, record.absolute_expires_at);
        assert_eq!(after.created_at, record.created_at);
        match outcome {
            RotateOutcome::Rotated(successor) | RotateOutcome::Healed { successor, .. } => {
                assert_eq!(successor.generation, request.generation + 1);
                assert_eq!(successor.kid, request.kid);
                assert!(successor.expires_at <= record.absolute_expires_at);
                let Successor { generation, kid, expires_at } = successor;
                assert_eq!(after.auth_time, request.auth_time.unwrap_or(record.auth_time));
                assert_eq!((after.generation, &after.kid), (generation, &kid));
                assert_eq!(
                    (after.expires_at, after.rotated_at),
                    (expires_at, request.rotated_at())
                );
                assert_eq!(after.revoked, None);
            }
            RotateOutcome::Replayed(successor) => {
                assert_eq!(change, None);
                assert_eq!(successor.generation, request.generation + 1);
                assert_eq!(
                    (successor.generation, &successor.kid),
                    (record.generation, &record.kid)
                );
                assert_eq!(successor.expires_at, record.expires_at);
            }
            RotateOutcome::Reauthenticated(successor) => {
                assert_eq!(successor, current(record));
                // No lifetime is extended.
                let auth_time = request.auth_time.unwrap();
                let data = request.data.clone().unwrap_or_else(|| record.data.clone());
                assert_eq!(after, SessionRecord { auth_time, data, ..record.clone() });
            }
            RotateOutcome::Reused => {
                let revoked = Revoked { at: request.now, reason: RevokeReason::Reuse };
                assert_eq!(after, SessionRecord { revoked: Some(revoked), ..record.clone() });
            }
            _ => assert_eq!(change, None),
        }
        name
    }

    /// Every combination of values around every limit.
    #[test]
    fn the_rules_are_those_of_the_table() {
        let mut seen = alloc::collections::BTreeMap::new();
        for stored in 0..4 {
            for presented in 0..5 {
                for now in [-3600, 99, 100, 101, 109, 110, 111, 399, 400, 401, 999, 1000, 1001] {
                    for (grace, expires_at) in [(0, 400), (10, 400), (10, 1000), (2000, 2000)] {
                        for ahead in [AheadPolicy::Heal, AheadPolicy::Refuse] {
                            for (is_revoked, auth_time) in
                                [(false, None), (true, None), (false, Some(7)), (true, Some(7))]
                            {
                                let mut record = record(stored, 100, expires_at);
                                record.revoked = is_revoked.then_some(Revoked {
                                    at: UnixMillis::new(100),
                                    reason: RevokeReason::Logout,
                                });
                                let mut request = request(presented, now, grace, ahead);
                                request.auth_time = auth_time.map(UnixMillis::new);
                                let found = check(&record, &request);
                                let wanted = by_the_table(&record, &request);
                                assert_eq!(found, wanted, "{record:?} {request:?}");
                                *seen.entry(found).or_insert(0) += 1;
                            }
                        }
                    }
                }
            }
        }
        assert_eq!(seen.len(), 9, "{seen:?}");
    }

    /// However long the application takes to authorize, a retry has the whole grace after it, and a
    /// session that was live when its token was presented is rotated.
    #[test]
    fn grace_and_idle_lifetime_begin_with_the_rotation() {
        let mut record = record(0, 0, 100);
        let mut first = request(0, 99, 10, AheadPolicy::Heal);
        first.waited = Duration::from_millis(50);
        record.apply(first.decide(&record).change.unwrap());
        assert_eq!(
            (record.rotated_at, record.expires_at),
            (UnixMillis::new(149), UnixMillis::new(449))
        );
        // One request came before the rotation, the other at the end of the grace.
        for now in [140, 159] {
            let retry = request(0, now, 10, AheadPolicy::Heal).decide(&record).outcome;
            assert!(matches!(retry, RotateOutcome::Replayed(_)), "{retry:?}");
        }
        assert_eq!(
            request(0, 160, 10, AheadPolicy::Heal).decide(&record).outcome,
            RotateOutcome::Reused
        );
        first.waited = Duration::MAX;
        first.generation = 1;
        assert!(check(&record, &first) == "rotated");
    }

    /// The token was the current one when the record was read. If another rotation committed in
    /// between, the request is a retry and not a reuse.
    #[test]
    fn a_request_that_was_overtaken_is_replayed_after_the_grace() {
        let record = record(1, 100, 1000);
        let late = request(0, 900, 10, AheadPolicy::Heal);
        assert_eq!(late.decide(&record).outcome, RotateOutcome::Reused);
        let overtaken = RotateRequest { was_current: true, ..late };
        assert!(matches!(overtaken.decide(&record).outcome, RotateOutcome::Replayed(_)));
        // Two generations back: a successor of the token has been presented, so it is a reuse.
        let older = RotateRequest { was_current: true, ..request(0, 900, 10, AheadPolicy::Heal) };
        let record = SessionRecord { generation: 2, ..record };
        assert_eq!(older.decide(&record).outcome, RotateOutcome::Reused);
        // Without a grace there is no replay.
        let strict = RotateRequest { was_current: true, ..request(1, 100, 0, AheadPolicy::Heal) };
        assert_eq!(strict.decide(&record).outcome, RotateOutcome::Reused);
    }

    /// The store stalls for longer than the grace: the rotation takes place when the record is
    /// changed.
    #[test]
    fn the_grace_begins_when_the_store_changes_the_record() {
        let mut record = record(0, 0, 1000);
        let stalled = request(0, 100, 10, AheadPolicy::Heal).after(Duration::from_millis(500));
        record.apply(stalled.decide(&record).change.unwrap());
        assert_eq!(record.rotated_at, UnixMillis::new(600));
        for (now, is_replayed) in [(101, true), (600, true), (610, true), (611, false)] {
            let outcome = request(0, now, 10, AheadPolicy::Heal).decide(&record).outcome;
            assert_eq!(matches!(outcome, RotateOutcome::Replayed(_)), is_replayed, "{now}");
        }
        assert_eq!(stalled.after(Duration::MAX).waited, Duration::MAX);
    }

    /// The idle lifetime of the session overrides that of the request, and the absolute end limits
    /// both.
    #[test]
    fn the_idle_lifetime_of_the_session_overrides_that_of_the_request() {
        for (own, wanted) in [(None, 400), (Some(50), 150), (Some(700), 800), (Some(901), 1000)] {
            let idle_lifetime = own.map(Duration::from_millis);
            let mut record = SessionRecord { idle_lifetime, ..record(0, 0, 200) };
            let request = request(0, 100, 10, AheadPolicy::Heal);
            assert_eq!(request.end_of(&record), UnixMillis::new(wanted));
            record.apply(request.decide(&record).change.unwrap());
            assert_eq!(record.expires_at, UnixMillis::new(wanted));
        }
    }

    /// Only a rotation changes them (R2).
    #[test]
    fn a_replay_changes_neither_data_nor_auth_time() {
        let data = |byte| Some(SessionData::new([byte]).unwrap());
        let mut record = record(0, 0, 1000);
        let renewal = RotateRequest { data: data(1), ..request(0, 100, 10, AheadPolicy::Heal) };
        record.apply(renewal.decide(&record).change.unwrap());
        assert_eq!((Some(&record.data), record.auth_time.get()), (data(1).as_ref(), 0));
        let replay = RotateRequest { data: data(2), ..request(0, 105, 10, AheadPolicy::Heal) };
        assert_eq!(replay.decide(&record).change, None);
        let at = UnixMillis::new(111);
        let proof = RotateRequest { auth_time: Some(at), ..request(1, 111, 10, AheadPolicy::Heal) };
        record.apply(proof.decide(&record).change.unwrap());
        assert_eq!((record.auth_time, record.generation), (at, 2));
        assert_eq!(Some(record.data), data(1));
    }

    /// No client has presented a token, so a reuse is impossible. One rotation in between is that
    /// of a concurrent request, however long its commit took.
    #[test]
    fn a_reauthentication_that_was_overtaken_revokes_nothing() {
        let record = record(3, 100, 1000);
        for (generation, grace, was_current, wanted) in [
            (0, 1000, true, "overtaken"),
            (1, 1000, true, "overtaken"),
            (2, 0, true, "overtaken"),
            (2, 10, false, "overtaken"),
            (2, 10, true, "reauthenticated"),
            (2, 1000, false, "reauthenticated"),
            (4, 1000, true, "overtaken"),
            (100, 1000, true, "overtaken"),
        ] {
            let proof = RotateRequest {
                auth_time: Some(UnixMillis::new(205)),
                was_current,
                ..request(generation, 205, grace, AheadPolicy::Heal)
            };
            assert_eq!(check(&record, &proof), wanted, "{generation} {grace} {was_current}");
        }
    }

    /// The driver repeats a step whose answer was lost.
    #[test]
    fn a_reauthentication_that_is_repeated_changes_nothing_more() {
        for (generation, now) in [(0, 0), (1, 105), (1, 111)] {
            let mut record = record(generation, 100, 1000);
            let proof = RotateRequest {
                auth_time: Some(UnixMillis::new(now)),
                data: Some(SessionData::new([1]).unwrap()),
                was_current: true,
                ..request(generation, now, 10, AheadPolicy::Heal)
            };
            record.apply(proof.decide(&record).change.unwrap());
            let once = record.clone();
            let Decision { outcome, change } = proof.decide(&record);
            assert_eq!(outcome, RotateOutcome::Reauthenticated(current(&once)));
            record.apply(change.unwrap());
            assert_eq!(record, once);
        }
    }

    #[test]
    fn the_last_generation_has_no_successor() {
        assert_eq!(MAX_GENERATION, 9_007_199_254_740_991);
        let record = SessionRecord { generation: MAX_GENERATION, ..record(0, 0, 1000) };
        for generation in [MAX_GENERATION, u64::MAX] {
            let decision = request(generation, 1, 10, AheadPolicy::Heal).decide(&record);
            assert_eq!(decision.outcome, RotateOutcome::Expired);
        }
        let last = request(MAX_GENERATION - 1, 1, 10, AheadPolicy::Heal).decide(&record);
        assert!(matches!(last.outcome, RotateOutcome::Replayed(_)));
    }

    proptest! {
        /// No number causes a panic or wraps.
        #[test]
        fn no_record_causes_a_panic(
            (stored, presented) in any::<(u64, u64)>(),
            (rotated_at, expires_at, now) in any::<(i64, i64, i64)>(),
            (grace, ahead) in any::<(u64, bool)>(),
        ) {
            let ahead = if ahead { AheadPolicy::Heal } else { AheadPolicy::Refuse };
            check(&record(stored, rotated_at, expires_at), &request(presented, now, grace, ahead));
        }

        /// Whatever tokens are presented in whatever order, as the clock advances: a generation is
        /// rotated at most once, and after a reuse no token is granted.
        #[test]
        fn a_generation_has_one_rotation(
            steps in proptest::collection::vec((0_u64..4, 0_i64..20), 0..60),
        ) {
            let mut record = record(0, 0, 300);
            let (mut now, mut rotated, mut is_over) = (0, alloc::vec::Vec::new(), false);
            for (back, wait) in steps {
                now += wait;
                let generation = record.generation.saturating_sub(back);
                let request = request(generation, now, 10, AheadPolicy::Heal);
                let Decision { outcome, change } = request.decide(&record);
                if let Some(change) = change {
                    record.apply(change);
                }
                match outcome {
                    RotateOutcome::Rotated(_) => {
                        prop_assert!(!is_over && !rotated.contains(&generation));
                        rotated.push(generation);
                    }
                    RotateOutcome::Replayed(successor) => {
                        prop_assert!(!is_over && rotated.last() == Some(&generation));
                        prop_assert_eq!(successor.generation, generation + 1);
                    }
                    RotateOutcome::Reused => is_over = true,
                    RotateOutcome::Revoked(_) => prop_assert!(is_over),
                    RotateOutcome::Expired => {}
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}
