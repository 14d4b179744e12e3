//! What becomes of a session when one of its refresh tokens is presented: a record and a request in, an outcome
//! and at most one change out. Pure: no clock, no I/O, so that every store decides alike.

use alloc::string::String;
use core::time::Duration;

pub use super::record::{Change, MAX_GENERATION};
use super::{
    data::SessionData,
    id::SessionId,
    record::{RevokeReason, SessionRecord},
    time::UnixMillis,
};

/// A refresh token is presented: what its session is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RotateRequest {
    /// The session that the token names.
    pub id: SessionId,
    /// The generation that the token names, which is authentic.
    pub generation: u64,
    /// The `kid` of the refresh key that a successor is made with.
    pub kid: String,
    /// When the token was presented, by which expiry and grace are judged.
    pub now: UnixMillis,
    /// Whether the caller has read the record after the token was presented, and the token was the current one then.
    /// Whatever rotated the session since has overtaken this request, so that the token is *replayed* and never
    /// *reused*, however long the store stalls. It means nothing where the grace is zero.
    pub was_current: bool,
    /// How much later than `now` the record is changed: the time that the application took to authorize, and the time
    /// that the store took to reach the record ([`after`](Self::after)). The rotation is made, and its grace and its
    /// idle lifetime begin, at [`rotated_at`](Self::rotated_at).
    pub waited: Duration,
    /// How long after a rotation the previous token still gets the same successor; zero: not at all.
    pub grace: Duration,
    /// How long the session lives unless it is used again, where its record
    /// [says nothing else](SessionRecord::idle_lifetime).
    pub idle_lifetime: Duration,
    /// What to do with a generation that the store has not seen.
    pub ahead: AheadPolicy,
    /// The time at which the user authenticated again, for a [reauthentication](super::Sessions::reauthenticate). Then no token
    /// was presented: the generation is the one that the caller has read. Within the grace of a rotation that another request
    /// has made, before that reading or after it, the outcome is [`Reauthenticated`](RotateOutcome::Reauthenticated). Any other
    /// generation than the current one is [`Overtaken`](RotateOutcome::Overtaken).
    pub auth_time: Option<UnixMillis>,
    /// The [data](SessionRecord::data) that a rotation or a reauthentication stores; none leaves the data of the session as
    /// they are.
    pub data: Option<SessionData>,
}

/// What to do with an authentic token of a generation that the store does not know yet. It lost commits: a failover
/// to a replica that lagged, or a backup that was restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AheadPolicy {
    /// Believe the token: the store catches up with it, and the session goes on. The default.
    #[default]
    Heal,
    /// Refuse the token and leave the session as it is; the user logs in again.
    Refuse,
}

/// What became of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RotateOutcome {
    /// The token was the current one and has been used up; this request alone did it.
    Rotated(Successor),
    /// The token is the one before the current one, within the grace: the current one is its successor. Nothing
    /// was changed.
    Replayed(Successor),
    /// The token was ahead of the store, which has caught up ([`AheadPolicy::Heal`]).
    Healed {
        /// The generation after the token's.
        successor: Successor,
        /// How many generations the store had lost.
        lost: u64,
    },
    /// The token is ahead of the store by `lost` generations and was refused ([`AheadPolicy::Refuse`]). Nothing
    /// was changed.
    Ahead {
        /// How many generations the store had lost.
        lost: u64,
    },
    /// The new [`auth_time`](RotateRequest::auth_time) and data were stored. Another request has rotated the session within the
    /// grace, and this one is given the same token.
    Reauthenticated(Successor),
    /// Other requests have rotated the session since the caller read it, so that the new
    /// [`auth_time`](RotateRequest::auth_time) was not stored. Nothing was changed: read the session again.
    Overtaken,
    /// The token was used up before: the session has been revoked, by this request.
    Reused,
    /// The session had been revoked before.
    Revoked(RevokeReason),
    /// The session is over.
    Expired,
    /// There is no such session.
    Unknown,
}

/// What the next token of a session is made from, besides the session's id.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Successor {
    /// Its generation.
    pub generation: u64,
    /// The `kid` of the refresh key that it is made with.
    pub kid: String,
    /// The end of the session, unless it is used again.
    pub expires_at: UnixMillis,
}

/// An outcome, and the change to the record that has to be durable before the outcome is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// What to answer.
    pub outcome: RotateOutcome,
    /// What to store first.
    pub change: Option<Change>,
}

impl Successor {
    /// The token of `generation`, made with the key `kid`, in a session that ends at `expires_at`
    /// unless it is used again.
    pub fn new(generation: u64, kid: impl Into<String>, expires_at: UnixMillis) -> Self {
        Self { generation, kid: kid.into(), expires_at }
    }
}

impl RotateRequest {
    /// A token of `generation` is presented at `now`; the store has not been asked yet, and heals
    /// what it has lost ([`AheadPolicy::Heal`]).
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

    /// The same request, whose record the store changes `stall` after it was asked: it waited for a lock, a
    /// connection or a queue. A store measures this by its own clock when it holds the record, and decides by
    /// the request that this returns, so that the grace begins with the change and not with the presentation.
    #[must_use]
    pub fn after(&self, stall: Duration) -> Self {
        Self { waited: self.waited.saturating_add(stall), ..self.clone() }
    }

    /// When a rotation is made: `now`, and what the request has waited since.
    pub fn rotated_at(&self) -> UnixMillis {
        self.now.saturating_add(self.waited)
    }

    /// The end of this session when it is used now.
    pub fn end_of(&self, record: &SessionRecord) -> UnixMillis {
        let idle_lifetime = record.idle_lifetime.unwrap_or(self.idle_lifetime);
        self.rotated_at().saturating_add(idle_lifetime).min(record.absolute_expires_at)
    }

    /// The rules, in the order in which they hold.
    pub fn decide(&self, record: &SessionRecord) -> Decision {
        // What is over stays over, grace or not: R4.
        if let Some(revoked) = record.revoked {
            return unchanged(RotateOutcome::Revoked(revoked.reason));
        }
        // Decided here, whether or not anyone sweeps: R7.
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
        // No client has presented a token, so that none was reused.
        if self.auth_time.is_some() {
            return unchanged(RotateOutcome::Overtaken);
        }
        // The store has lost what the token proves to have been: R6.
        if let Some(lost @ 1..) = self.generation.checked_sub(record.generation) {
            if self.ahead == AheadPolicy::Refuse {
                return unchanged(RotateOutcome::Ahead { lost });
            }
            let successor = self.successor(record);
            return self
                .advance(RotateOutcome::Healed { successor: successor.clone(), lost }, successor);
        }
        // A retry after a lost answer, or the losers of a race: R1, R2.
        if self.generation + 1 == record.generation && self.is_within_grace(record) {
            return unchanged(RotateOutcome::Replayed(current(record)));
        }
        // Two parties hold tokens of this session, and nobody can tell which of them is the thief: R3.
        let change = Change::Revoke { at: self.now, reason: RevokeReason::Reuse };
        Decision { outcome: RotateOutcome::Reused, change: Some(change) }
    }

    /// Whether a reauthentication comes at the same time as the rotation that made the current token: within its grace. Two tabs
    /// of a browser may share the cookie of the refresh token, and the browser keeps that of the answer which comes last.
    fn finds_a_new_token(&self, record: &SessionRecord) -> bool {
        match record.generation.checked_sub(self.generation) {
            // The token of the login is not one that a rotation made: it is used up.
            Some(0) => record.generation > 0 && self.is_early(record),
            Some(1) => self.is_within_grace(record),
            _ => false,
        }
    }

    /// A request that was overtaken is within the grace whatever the times say: its token was presented before the rotation
    /// was committed (R2).
    fn is_within_grace(&self, record: &SessionRecord) -> bool {
        self.is_early(record) || (self.was_current && !self.grace.is_zero())
    }

    /// A clock behind the one that noted the rotation counts as no time passed: R8.
    fn is_early(&self, record: &SessionRecord) -> bool {
        !self.grace.is_zero() && self.now.saturating_since(record.rotated_at) <= self.grace
    }

    fn successor(&self, record: &SessionRecord) -> Successor {
        Successor {
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

/// The current token of a session, as the successor of the one before.
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

    /// The rules once more, as a table: of each the name, in the place of its outcome.
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

    /// What holds of every decision, whatever was asked.
    fn check(record: &SessionRecord, request: &RotateRequest) -> &'static str {
        let Decision { outcome, change } = request.decide(record);
        let mut after = record.clone();
        if let Some(change) = change.clone() {
            after.apply(change);
        }
        let name = name(&outcome);
        // What never moves.
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
                // Nothing is prolonged.
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

    /// Every case there is, around every edge.
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

    /// However long the application takes to authorize, a retry has the whole grace after it; and what was live when
    /// it was presented is rotated.
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
        // One that came before the rotation, and one at the end of the grace.
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

    /// The token was the current one when the record was read: a rotation that came in between, and took its time to
    /// commit, makes a retry of it and no reuse.
    #[test]
    fn a_request_that_was_overtaken_is_replayed_after_the_grace() {
        let record = record(1, 100, 1000);
        let late = request(0, 900, 10, AheadPolicy::Heal);
        assert_eq!(late.decide(&record).outcome, RotateOutcome::Reused);
        let overtaken = RotateRequest { was_current: true, ..late };
        assert!(matches!(overtaken.decide(&record).outcome, RotateOutcome::Replayed(_)));
        // Of two generations before, one was presented after a successor of it was.
        let older = RotateRequest { was_current: true, ..request(0, 900, 10, AheadPolicy::Heal) };
        let record = SessionRecord { generation: 2, ..record };
        assert_eq!(older.decide(&record).outcome, RotateOutcome::Reused);
        // No grace, no replay.
        let strict = RotateRequest { was_current: true, ..request(1, 100, 0, AheadPolicy::Heal) };
        assert_eq!(strict.decide(&record).outcome, RotateOutcome::Reused);
    }

    /// A store that stalls for longer than the grace: the rotation is made when the record is changed.
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

    /// A session's own idle lifetime goes before that of the request, and its absolute end before both.
    #[test]
    fn the_end_is_that_of_the_session() {
        for (own, wanted) in [(None, 400), (Some(50), 150), (Some(700), 800), (Some(901), 1000)] {
            let idle_lifetime = own.map(Duration::from_millis);
            let mut record = SessionRecord { idle_lifetime, ..record(0, 0, 200) };
            let request = request(0, 100, 10, AheadPolicy::Heal);
            assert_eq!(request.end_of(&record), UnixMillis::new(wanted));
            record.apply(request.decide(&record).change.unwrap());
            assert_eq!(record.expires_at, UnixMillis::new(wanted));
        }
    }

    /// Only a rotation moves them: R2.
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

    /// No client has presented a token, so that a reuse is impossible. One rotation that came in between is that of a request
    /// at the same time, however long its commit took.
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

    /// A step that its driver sends again, because the answer to the first one got lost.
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
        /// No number panics or wraps.
        #[test]
        fn any_record_is_answered(
            (stored, presented) in any::<(u64, u64)>(),
            (rotated_at, expires_at, now) in any::<(i64, i64, i64)>(),
            (grace, ahead) in any::<(u64, bool)>(),
        ) {
            let ahead = if ahead { AheadPolicy::Heal } else { AheadPolicy::Refuse };
            check(&record(stored, rotated_at, expires_at), &request(presented, now, grace, ahead));
        }

        /// Whatever tokens are presented in whatever order, as the clock goes: a generation is rotated once at most, and
        /// after a reuse nothing is granted.
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
