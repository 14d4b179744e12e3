//! The outcomes of the rotations of a race, and checks of whether they are possible.

use alloc::{format, string::String, vec::Vec};

use crate::session::{
    conformance::stage::{
        Answer, Complaint, RACE, Step, Verdict, as_stalled, ensure, same, same_record,
    },
    record::{RevokeReason, SessionRecord},
    rotation::{RotateOutcome, RotateRequest, Successor},
};

/// The outcomes of the rotations of a race, by kind.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// With the request that rotated.
    pub(super) rotated: Vec<(RotateRequest, Successor)>,
    pub(super) healed: Vec<(RotateRequest, Successor)>,
    pub(super) replayed: Vec<Successor>,
    pub(super) revoked: Vec<RevokeReason>,
    pub(super) reused: usize,
    others: Vec<RotateOutcome>,
}

impl Tally {
    pub(super) fn of(steps: &[Step], answers: &[Answer]) -> Self {
        let mut tally = Self::default();
        for (step, answer) in steps.iter().zip(answers) {
            let (Step::Rotate(request), Answer::Rotate(outcome)) = (step, answer) else { continue };
            match outcome.clone() {
                RotateOutcome::Rotated(next) => tally.rotated.push((request.clone(), next)),
                RotateOutcome::Healed { successor, .. } => {
                    tally.healed.push((request.clone(), successor));
                }
                RotateOutcome::Replayed(next) => tally.replayed.push(next),
                RotateOutcome::Revoked(reason) => tally.revoked.push(reason),
                RotateOutcome::Reused => tally.reused += 1,
                other => tally.others.push(other),
            }
        }
        tally
    }

    pub(super) fn counts(&self) -> String {
        format!(
            "{} rotated, {} healed, {} replayed, {} revoked, {} reused, others: {:?}",
            self.rotated.len(),
            self.healed.len(),
            self.replayed.len(),
            self.revoked.len(),
            self.reused,
            self.others
        )
    }

    /// Returns an error unless exactly one of these rotated, the record is as that request decided,
    /// and all replays have the same successor.
    pub(super) fn one_went_on(
        &self,
        went_on: &[(RotateRequest, Successor)],
        before: &SessionRecord,
        after: &SessionRecord,
    ) -> Verdict {
        let [(request, next)] = went_on else {
            return Err(Complaint(format!("one had to win, and there were {}", self.counts())));
        };
        let mut wanted = before.clone();
        let request = as_stalled(request, before, Some(after), RACE);
        if let Some(change) = request.decide(before).change {
            wanted.apply(change);
        }
        wanted.revoked = after.revoked;
        same_record("the record after the race", Some(after), &wanted)?;
        let SessionRecord { generation, kid, expires_at, .. } = wanted;
        let wanted = Successor { generation, kid, expires_at };
        same("the winner's successor", next, &wanted)?;
        for replayed in &self.replayed {
            same("a loser's successor", replayed, &wanted)?;
        }
        Ok(())
    }

    /// Accepts what [`one_went_on`](Self::one_went_on) accepts, and also that none rotated and
    /// nothing changed.
    pub(super) fn one_went_on_at_most(
        &self,
        before: &SessionRecord,
        after: &SessionRecord,
    ) -> Verdict {
        if !self.rotated.is_empty() {
            return self.one_went_on(&self.rotated, before, after);
        }
        let mut wanted = before.clone();
        wanted.revoked = after.revoked;
        same_record("the record after none rotated", Some(after), &wanted)?;
        same("replays, when none rotated", &self.replayed.len(), &0)
    }

    /// Returns an error if there were outcomes that this race cannot have.
    pub(super) fn only_revoked_for(&self, reason: RevokeReason) -> Verdict {
        let strange = !self.others.is_empty()
            || !self.healed.is_empty()
            || self.revoked.iter().any(|other| *other != reason);
        ensure(!strange, || {
            format!("all were to be rotated, replayed or {reason:?}; {}", self.counts())
        })
    }
}
