//! Lost answers: every step can be repeated, and the repetition loses nothing.

use alloc::{format, sync::Arc};

use crate::session::{
    conformance::{
        faulty::{Fault, Faulty, Method},
        report::{Book, Case},
        stage::{Complaint, GRACE, RACE, Stage, Verdict, as_stalled, ensure, same, same_record},
    },
    record::{RevokeReason, Revoked, SessionRecord},
    rotation::{RotateOutcome, RotateRequest, Successor},
    store::{InsertOutcome, InsertRequest, RefreshStore, StoreError},
};

const ROTATION: Case = Case(
    "faults/a_lost_rotation_is_replayed",
    "R12",
    "commit a rotation before answering it, so that a retry within the grace finds it and gets the same successor",
);
const REUSE: Case = Case(
    "faults/a_lost_reuse_stays_revoked",
    "R3",
    "commit the revocation before answering Reused: if the answer is lost, the session is revoked nevertheless",
);
const STEPS: Case = Case(
    "faults/every_step_can_be_repeated",
    "R12",
    "answer a repeated insert with Duplicate, and a repeated revocation with nothing to revoke; neither is an error",
);

pub(super) async fn run<S: RefreshStore>(stage: &Stage<S>, book: &mut Book) {
    book.case(ROTATION, lost_rotation(stage)).await;
    book.case(REUSE, lost_reuse(stage)).await;
    book.case(STEPS, repeated_steps(stage)).await;
}

fn faulty<S: RefreshStore>(stage: &Stage<S>) -> Faulty<Arc<S>> {
    Faulty::new(stage.next().clone())
}

fn is_lost<T>(what: &str, answer: &Result<T, StoreError>) -> Verdict {
    ensure(answer.is_err(), || format!("{what} was answered, which the suite had prevented"))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn fault(error: StoreError) -> Complaint {
    Complaint(format!("a repeated step failed: {error}"))
}

async fn lost_rotation<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let store = faulty(stage);
    let mut session = stage.logged_in().await?;
    for generation in 0..3 {
        let request = stage.request(&session, generation);
        // The step did not reach the store: the retry rotates, and its answer is lost.
        store.fail(Method::Rotate, Fault::Before);
        is_lost("a rotation", &store.rotate(&request).await)?;
        stage.holds("a session whose rotation did not get there", &session).await?;
        store.fail(Method::Rotate, Fault::After);
        is_lost("a rotation", &store.rotate(&request).await)?;
        let stored = stage.load(&session.id).await?;
        let stalled = as_stalled(&request, &session, stored.as_ref(), RACE);
        if let Some(change) = stalled.decide(&session).change {
            session.apply(change);
        }
        same_record("a session whose rotation got there", stored.as_ref(), &session)?;
        let now = session.rotated_at.saturating_add(GRACE);
        let retry = RotateRequest { now, kid: "other".into(), ..request };
        let SessionRecord { generation, kid, expires_at, .. } = session.clone();
        let replayed = RotateOutcome::Replayed(Successor { generation, kid, expires_at });
        same("the retry", &store.rotate(&retry).await.map_err(fault)?, &replayed)?;
        // The same through another handle, as after a restart.
        stage.presented(&mut session, &retry, &replayed).await?;
    }
    Ok(())
}

async fn lost_reuse<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let store = faulty(stage);
    let mut session = stage.logged_in().await?;
    for generation in [0, 1] {
        stage.use_token(&mut session, generation).await?;
    }
    let request = stage.request(&session, 0);
    store.fail(Method::Rotate, Fault::After);
    is_lost("a reuse", &store.rotate(&request).await)?;
    session.revoked = Some(Revoked { at: request.now, reason: RevokeReason::Reuse });
    stage.holds("a session that was reused", &session).await?;
    let revoked = RotateOutcome::Revoked(RevokeReason::Reuse);
    same("the retry", &store.rotate(&request).await.map_err(fault)?, &revoked)
}

async fn repeated_steps<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let store = faulty(stage);
    let mut session = stage.session(&stage.subject()?)?;
    store.fail(Method::Insert, Fault::After);
    is_lost("an insert", &store.insert(&InsertRequest::new(session.clone())).await)?;
    let again = store.insert(&InsertRequest::new(session.clone())).await.map_err(fault)?;
    same("the insert, again", &again, &InsertOutcome::Duplicate)?;
    stage.holds("a session that was inserted twice", &session).await?;

    let (at, reason) = (stage.at(GRACE), RevokeReason::Logout);
    store.fail(Method::Revoke, Fault::After);
    is_lost("a revocation", &store.revoke(&session.id, reason, at).await)?;
    let again = store.revoke(&session.id, reason, at).await.map_err(fault)?;
    same("the revocation, again", &again, &false)?;
    let SessionRecord { subject, .. } = &session;
    store.fail(Method::RevokeSubject, Fault::After);
    is_lost("revoke_subject", &store.revoke_subject(subject, None, reason, at).await)?;
    let again = store.revoke_subject(subject, None, reason, at).await.map_err(fault)?;
    same("revoke_subject, again", &again, &0)?;
    session.revoked = Some(Revoked { at, reason });
    stage.holds("a session that was revoked twice", &session).await
}
