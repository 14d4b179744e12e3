//! What becomes of a session when one of its refresh tokens is presented: a record and a request in, an outcome
//! and at most one change out. Pure: no clock, no I/O, so that every store decides alike.

use alloc::string::String;
use core::time::Duration;

pub use super::record::Change;
use super::{
    id::SessionId,
    record::{RevokeReason, SessionRecord},
    time::UnixMillis,
};

/// The last generation of a session: 2^53 - 1, which stores whose numbers are doubles still hold exactly. A
/// session that rotates a thousand times a second gets there in 285,000 years.
pub const MAX_GENERATION: u64 = (1 << 53) - 1;

/// A refresh token is presented: what its session is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotateRequest {
    /// The session that the token names.
    pub id: SessionId,
    /// The generation that the token names, which is authentic.
    pub generation: u64,
    /// The `kid` of the refresh key that a successor is made with.
    pub kid: String,
    /// The time of the request.
    pub now: UnixMillis,
    /// How long after a rotation the previous token still gets the same successor; zero: not at all.
    pub grace: Duration,
    /// How long the session lives unless it is used again.
    pub idle_lifetime: Duration,
    /// What to do with a generation that the store has not seen.
    pub ahead: AheadPolicy,
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
pub struct Decision {
    /// What to answer.
    pub outcome: RotateOutcome,
    /// What to store first.
    pub change: Option<Change>,
}

impl RotateRequest {
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
        if self.generation == record.generation {
            let successor = self.successor(record);
            return self.advance(RotateOutcome::Rotated(successor.clone()), successor);
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
            return unchanged(RotateOutcome::Replayed(Successor {
                generation: record.generation,
                kid: record.kid.clone(),
                expires_at: record.expires_at,
            }));
        }
        // Two parties hold tokens of this session, and nobody can tell which of them is the thief: R3.
        let change = Change::Revoke { at: self.now, reason: RevokeReason::Reuse };
        Decision { outcome: RotateOutcome::Reused, change: Some(change) }
    }

    /// A clock behind the one that noted the rotation counts as no time passed: R8.
    fn is_within_grace(&self, record: &SessionRecord) -> bool {
        !self.grace.is_zero() && self.now.saturating_since(record.rotated_at) <= self.grace
    }

    fn successor(&self, record: &SessionRecord) -> Successor {
        Successor {
            generation: self.generation + 1,
            kid: self.kid.clone(),
            expires_at: self.now.saturating_add(self.idle_lifetime).min(record.absolute_expires_at),
        }
    }

    fn advance(&self, outcome: RotateOutcome, to: Successor) -> Decision {
        let Successor { generation, kid, expires_at } = to;
        let change = Change::Advance { generation, kid, rotated_at: self.now, expires_at };
        Decision { outcome, change: Some(change) }
    }
}

fn unchanged(outcome: RotateOutcome) -> Decision {
    Decision { outcome, change: None }
}
