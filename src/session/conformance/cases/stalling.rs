//! A store that is blocked: the grace begins when the record is changed, not when the token was
//! presented.

use alloc::{format, sync::Arc, vec::Vec};
use core::time::Duration;

use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::session::{
    conformance::{
        Harness, Stall,
        report::{Book, Case},
        stage::{Complaint, MILLI, Stage, Step, Verdict, as_stalled, ensure, same, same_record},
    },
    record::RevokeReason,
    rotation::{RotateOutcome, RotateRequest, Successor},
    store::{InsertRequest, ListRequest, RefreshStore},
};

const COMMIT: Case = Case(
    "stall/the_grace_begins_with_the_change",
    "R2",
    "measure how long rotate waits before it holds the record, and decide by RotateRequest::after that wait",
);
const OVERTAKEN: Case = Case(
    "stall/an_overtaken_token_is_replayed",
    "R1",
    "replay all requests that waited while one of them rotated: decide by the request with its was_current",
);

const DEADLINE: Case = Case(
    "stall/every_step_ends_in_time",
    "R18",
    "give every step a deadline that includes a wait for a connection or a lock, and answer Unavailable when it passes",
);

/// How long the store is blocked, and a grace that ends earlier. A task may begin late by the
/// difference.
const STALL: Duration = Duration::from_millis(200);
const GRACE: Duration = Duration::from_millis(100);
/// How much later than its deadline a step may end, on a machine that has other work.
const LATE: Duration = Duration::from_secs(2);

pub(super) async fn run<H: Harness>(harness: &H, stage: &Stage<H::Store>, book: &mut Book) {
    match harness.stall().await {
        Some(stall) => {
            stall.end().await;
            book.case(COMMIT, begins_with_the_change(harness, stage)).await;
            book.case(OVERTAKEN, overtaken(harness, stage)).await;
            book.case(DEADLINE, ends_in_time(harness, stage)).await;
        }
        None => {
            for case in [COMMIT, OVERTAKEN, DEADLINE] {
                book.not_run(case, "the store cannot be held up");
            }
        }
    }
}

/// Presents the same token `count` times at once while the store is blocked for [`STALL`]. Returns
/// the answers, and the longest time that one of them took.
async fn presented_while_stalled<H: Harness>(
    harness: &H,
    stage: &Stage<H::Store>,
    request: &RotateRequest,
    count: usize,
) -> Verdict<(Vec<RotateOutcome>, Duration)> {
    let stall = held_up(harness).await?;
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let (store, request) = (Arc::clone(stage.next()), request.clone());
        tasks.spawn(async move { store.rotate(&request).await });
    }
    sleep(STALL).await;
    let early = tasks.try_join_next();
    stall.end().await;
    let is_held_up = early.is_none();
    ensure(is_held_up, || "a rotation was answered while the harness held the store up".into())?;
    let mut outcomes = Vec::new();
    while let Some(done) = tasks.join_next().await {
        let done = done.map_err(|error| Complaint(format!("a task: {error}")))?;
        let fault = |error| Complaint(format!("rotate, held up for {STALL:?}, failed: {error}"));
        outcomes.push(done.map_err(fault)?);
    }
    Ok((outcomes, begun.elapsed()))
}

async fn begins_with_the_change<H: Harness>(harness: &H, stage: &Stage<H::Store>) -> Verdict {
    let mut session = stage.logged_in().await?;
    let first = RotateRequest { grace: GRACE, ..stage.request(&session, 0) };
    let (outcomes, longest) = presented_while_stalled(harness, stage, &first, 1).await?;
    let stored = stage.load(&session.id).await?;
    let stalled = as_stalled(&first, &session, stored.as_ref(), longest);
    if let Some(change) = stalled.decide(&session).change {
        session.apply(change);
    }
    same_record("a session that was rotated after a stall", stored.as_ref(), &session)?;
    let next =
        Successor { generation: 1, kid: session.kid.clone(), expires_at: session.expires_at };
    same("a rotation that was held up", &*outcomes, &[RotateOutcome::Rotated(next.clone())])?;
    // Presented while the first request was blocked, long after the grace counted from its
    // presentation had passed; then at the end of the real grace.
    let replayed = RotateOutcome::Replayed(next);
    let at = |after| RotateRequest { now: stage.at(after), ..first.clone() };
    stage.presented(&mut session, &at(STALL.saturating_sub(MILLI)), &replayed).await?;
    let end = session.rotated_at.saturating_add(GRACE);
    let retry = RotateRequest { now: end, ..first.clone() };
    stage.presented(&mut session, &retry, &replayed).await?;
    // And not later: a stall is never longer than the step took.
    let late = RotateRequest { now: stage.at(longest + GRACE + MILLI * 2), ..first };
    stage.presented(&mut session, &late, &RotateOutcome::Reused).await
}

async fn overtaken<H: Harness>(harness: &H, stage: &Stage<H::Store>) -> Verdict {
    let session = stage.logged_in().await?;
    let request = RotateRequest { grace: MILLI, ..stage.request(&session, 0) };
    let (outcomes, _) = presented_while_stalled(harness, stage, &request, 8).await?;
    let rotated = outcomes.iter().filter(|outcome| matches!(outcome, RotateOutcome::Rotated(_)));
    let replayed = outcomes.iter().filter(|outcome| matches!(outcome, RotateOutcome::Replayed(_)));
    ensure((rotated.count(), replayed.count()) == (1, 7), || {
        format!("of eight that presented one token during a stall: {outcomes:?}")
    })?;
    // Long after the grace: first a request that had read the record before the rotation, then one
    // that had not.
    let late = RotateRequest { now: stage.at(STALL * 100), ..request };
    let mut session = stage.load(&session.id).await?.unwrap_or(session);
    let before = RotateRequest { was_current: true, ..late.clone() };
    let outcome = stage.present(&mut session, &before).await?;
    ensure(matches!(outcome, RotateOutcome::Replayed(_)), || {
        format!("a token that was current when the record was read: {outcome:?}")
    })?;
    stage.presented(&mut session, &late, &RotateOutcome::Reused).await?;
    let revoked = session.revoked.map(|revoked| revoked.reason);
    same("the revocation after a reuse", &revoked, &Some(RevokeReason::Reuse))
}

async fn held_up(harness: &impl Harness) -> Verdict<Stall> {
    let cannot = || Complaint("the harness could not hold the store up again".into());
    harness.stall().await.ok_or_else(cannot)
}

/// A step that does not wait for the block is answered. Any other fails as transient, and may
/// happen later.
async fn ends_in_time<H: Harness>(harness: &H, stage: &Stage<H::Store>) -> Verdict {
    let session = stage.logged_in().await?;
    let other = stage.session(&session.subject)?;
    let (subject, reason, now) = (&session.subject, RevokeReason::Logout, stage.now);
    let steps = [
        Step::Insert(InsertRequest::new(other)),
        Step::Load(session.id),
        Step::Rotate(stage.request(&session, 0)),
        Step::Revoke(session.id, reason, now),
        Step::RevokeSubject(subject.clone(), None, reason, now),
        Step::List(ListRequest::new(subject.clone(), now)),
        // A limit of 0, so that no session of others is removed.
        Step::Purge(now, 0),
    ];
    let stall = held_up(harness).await?;
    let mut tasks = JoinSet::new();
    for step in steps {
        let (store, longest) = (Arc::clone(stage.next()), stage.deadline + LATE);
        tasks.spawn(async move {
            let name = step.name();
            match timeout(longest, step.take(&*store)).await {
                Err(_) => {
                    Err(Complaint(format!("{name} did not end within {longest:?} of a stall")))
                }
                Ok(Err(error)) if !error.kind().is_transient() => {
                    Err(Complaint(format!("{name}, which was held up, failed for good: {error}")))
                }
                Ok(_) => Ok(()),
            }
        });
    }
    let verdicts = tasks.join_all().await;
    stall.end().await;
    verdicts.into_iter().collect()
}
