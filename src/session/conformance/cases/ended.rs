//! The log of ended sessions: it is complete, has no other ids, and can be read from any position.

use alloc::{sync::Arc, vec::Vec};
use core::time::Duration;

use tokio::{
    task::{JoinSet, yield_now},
    time::sleep,
};

use crate::session::{
    conformance::{
        report::{Book, Case},
        stage::{Complaint, DAY, GRACE, HOUR, MILLI, Stage, Verdict, YEAR, ended, ensure, same},
    },
    id::SessionId,
    record::RevokeReason,
    rotation::{RotateOutcome, RotateRequest},
    store::{EndedCursor, RefreshStore},
};

const EVERY: Case = Case(
    "ended/has_every_revocation",
    "R19",
    "write the id into the log in the step that revokes: revoke, revoke_subject and the reuse that rotate finds, and no other id",
);
const UNKNOWN: Case = Case(
    "ended/has_unknown_ids",
    "R19",
    "log an id that revoke does not find: its session may have been purged while its access token is valid",
);
const PURGED: Case = Case(
    "ended/outlives_the_session",
    "R19",
    "keep the log separate from the sessions: a purge of the session leaves its id in the log",
);
const TRIMMED: Case = Case(
    "ended/is_trimmed_by_its_age",
    "R19",
    "trim by the store's own clock, and use no number twice: an earlier cursor stays valid for later entries",
);
const CURSOR: Case = Case(
    "ended/begins_again_at_a_foreign_cursor",
    "R19",
    "begin at the start for a cursor that the store has not made, or that another incarnation of its data has made",
);
const RACE: Case = Case(
    "ended/misses_none_in_a_race",
    "R19",
    "order the log by what readers see, not by a time or a number that is drawn before the commit",
);

pub(super) async fn run<S: RefreshStore>(stage: &Stage<S>, book: &mut Book) {
    book.case(EVERY, has_every_revocation(stage)).await;
    book.case(UNKNOWN, has_unknown_ids(stage)).await;
    if stage.keeps {
        book.alone(stage, PURGED, outlives_the_session(stage)).await;
    } else {
        book.not_run(PURGED, "the store removes sessions by itself");
    }
    book.case(CURSOR, begins_again(stage)).await;
    book.case(RACE, misses_none(stage)).await;
    book.alone(stage, TRIMMED, is_trimmed(stage)).await;
}

/// Returns the end of the log.
async fn end<S: RefreshStore>(stage: &Stage<S>) -> Verdict<EndedCursor> {
    Ok(ended(&**stage.next(), EndedCursor::default()).await?.1)
}

/// Returns those of `ids` that were added to the log after the cursor, and moves the cursor to the
/// end.
async fn come<S: RefreshStore>(
    stage: &Stage<S>,
    cursor: &mut EndedCursor,
    ids: &[SessionId],
) -> Verdict<Vec<SessionId>> {
    let (come, next) = ended(&**stage.next(), cursor.clone()).await?;
    *cursor = next;
    Ok(ids.iter().filter(|id| come.contains(id)).copied().collect())
}

async fn has_every_revocation<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut cursor = end(stage).await?;
    let (one, expired, live) =
        (stage.logged_in().await?, stage.logged_in().await?, stage.logged_in().await?);
    let mut reused = stage.logged_in().await?;
    for generation in 0..2 {
        stage.use_token(&mut reused, generation).await?;
    }
    let subject = stage.subject()?;
    let (first, second, kept) =
        (stage.session(&subject)?, stage.session(&subject)?, stage.session(&subject)?);
    for session in [&first, &second, &kept] {
        stage.add(session).await?;
    }
    let all = [&one, &expired, &reused, &first, &second, &live, &kept].map(|session| session.id);
    let [one, expired, reused_id, first, second, ..] = all;
    same("the log before anything is revoked", &*come(stage, &mut cursor, &all).await?, &[])?;

    stage.revoke(&one, RevokeReason::Logout, stage.now).await?;
    same("the log after revoke", &*come(stage, &mut cursor, &all).await?, &[one])?;
    stage.revoke(&expired, RevokeReason::Logout, stage.at(YEAR)).await?;
    same(
        "the log after revoke of an expired session",
        &*come(stage, &mut cursor, &all).await?,
        &[expired],
    )?;
    let late = RotateRequest { now: stage.at(GRACE + DAY / 2), ..stage.request(&reused, 0) };
    same("the reuse of a token", &stage.rotate(&late).await?, &RotateOutcome::Reused)?;
    same("the log after a reuse", &*come(stage, &mut cursor, &all).await?, &[reused_id])?;
    stage.revoke_subject(&subject, Some(&kept.id), RevokeReason::LogoutAll, stage.now).await?;
    same(
        "the log after revoke_subject",
        &*come(stage, &mut cursor, &all).await?,
        &[first, second],
    )?;
    same("the log after nothing more", &*come(stage, &mut cursor, &all).await?, &[])?;
    // A verifier that starts late reads the whole log.
    let mut cursor = EndedCursor::default();
    let wanted = [one, expired, reused_id, first, second];
    same("the log from its beginning", &*come(stage, &mut cursor, &all).await?, &wanted)
}

async fn has_unknown_ids<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut cursor = end(stage).await?;
    let id = stage.session(&stage.subject()?)?.id;
    stage.revoke(&id, RevokeReason::Logout, stage.now).await?;
    same("the log after revoke of an unknown id", &*come(stage, &mut cursor, &[id]).await?, &[id])
}

async fn outlives_the_session<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut session = stage.session(&stage.subject()?)?;
    (session.expires_at, session.absolute_expires_at) = (stage.at(MILLI), stage.at(MILLI));
    stage.add(&session).await?;
    let mut cursor = end(stage).await?;
    stage.revoke(&session.id, RevokeReason::Logout, stage.now).await?;
    stage.purge(stage.at(HOUR), 1000).await?;
    stage.lacks("a session that was purged", &session.id).await?;
    let come = come(stage, &mut cursor, &[session.id]).await?;
    same("the log after the purge of the session", &*come, &[session.id])
}

async fn is_trimmed<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut cursor = end(stage).await?;
    let (first, second) = (stage.logged_in().await?.id, stage.logged_in().await?.id);
    let all = [first, second];
    stage.revoke(&first, RevokeReason::Logout, stage.at(YEAR)).await?;
    stage.trim(HOUR).await?;
    let mut beginning = EndedCursor::default();
    let kept = come(stage, &mut beginning, &all).await?;
    same("the log after what is older than an hour was removed", &*kept, &[first])?;
    same("the log", &*come(stage, &mut cursor, &all).await?, &[first])?;
    // Longer than a tick of any clock.
    sleep(Duration::from_millis(50)).await;
    let removed = stage.trim(MILLI).await?;
    ensure(removed > 0, || "trim_ended removed nothing, though an id was older".into())?;
    let mut beginning = EndedCursor::default();
    same("the log after it was trimmed", &*come(stage, &mut beginning, &all).await?, &[])?;
    stage.revoke(&second, RevokeReason::Logout, stage.now).await?;
    for mut cursor in [cursor, beginning, EndedCursor::default()] {
        let come = come(stage, &mut cursor, &all).await?;
        same("the log after it was trimmed and another session ended", &*come, &[second])?;
    }
    Ok(())
}

async fn begins_again<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let id = stage.logged_in().await?.id;
    stage.revoke(&id, RevokeReason::Logout, stage.now).await?;
    let made = end(stage).await?;
    let changed: Vec<u8> = made.as_bytes().iter().map(|byte| byte ^ 0xff).collect();
    for bytes in [&b"?"[..], &[0xff; 64], &changed] {
        let mut cursor = EndedCursor::new(bytes);
        let come = come(stage, &mut cursor, &[id]).await?;
        same("the log from a cursor that the store has not made", &*come, &[id])?;
    }
    Ok(())
}

/// Each task finds its session in the log after the answer, and so does a reader that follows the
/// log meanwhile.
async fn misses_none<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    for _ in 0..stage.rounds {
        let start = end(stage).await?;
        let mut tasks = JoinSet::new();
        let mut all = Vec::new();
        for _ in 0..16 {
            let id = stage.logged_in().await?.id;
            all.push(id);
            let (store, start, now) = (Arc::clone(stage.next()), start.clone(), stage.now);
            tasks.spawn(async move {
                let revoked = store.revoke(&id, RevokeReason::Logout, now).await;
                revoked.map_err(|error| Complaint(alloc::format!("revoke failed: {error}")))?;
                let (come, _) = ended(&*store, start).await?;
                ensure(come.contains(&id), || "a session that was revoked is not in the log".into())
            });
        }
        let mut cursor = start;
        let mut found = Vec::new();
        while !tasks.is_empty() {
            while let Some(done) = tasks.try_join_next() {
                done.map_err(|error| Complaint(alloc::format!("a race: {error}")))??;
            }
            found.extend(come(stage, &mut cursor, &all).await?);
            // A store in memory never waits, so the other tasks need a chance to run.
            yield_now().await;
        }
        found.extend(come(stage, &mut cursor, &all).await?);
        let missed = all.iter().filter(|id| !found.contains(id)).count();
        same("sessions that a reader of the log has missed", &missed, &0)?;
    }
    Ok(())
}
