//! Purges: they remove only sessions that have ended, as many as requested, and permanently.

use alloc::vec::Vec;
use core::time::Duration;

use crate::session::{
    conformance::{
        report::{Book, Case},
        stage::{DAY, GRACE, HOUR, MILLI, Stage, Verdict, YEAR, same},
    },
    record::{RevokeReason, Revoked, SessionRecord},
    rotation::{RotateOutcome, RotateRequest},
    store::RefreshStore,
    time::UnixMillis,
};

const LIVE: Case = Case(
    "purge/live_sessions_stay",
    "C6",
    "remove only sessions for which SessionRecord::is_expired is true; decide and delete in one statement",
);
const OVER: Case = Case(
    "purge/removes_what_is_over",
    "C6",
    "remove the sessions that have reached either end, at that very millisecond, and answer their number",
);
const REVOKED: Case = Case(
    "purge/revoked_sessions_stay_until_they_are_over",
    "C6",
    "do not remove a revoked session before it has expired: the revocation has to be stored as long as a token may be presented",
);
const LIMIT: Case = Case(
    "purge/keeps_to_the_limit",
    "C6",
    "remove as many as the limit if there are as many, never more, and fewer only if no more are left",
);
const GONE: Case = Case(
    "purge/gone_is_gone",
    "R11",
    "remove the session from every index, and let no later step restore it: rotate and revoke find nothing",
);

const AHEAD: Case = Case(
    "purge/a_clock_ahead_removes_nothing_live",
    "C6",
    "compare the ends with the database's own clock, too (now(), TIME): one server with a wrong clock must not end the sessions of all",
);

const WHY_NOT: &str = "the store removes sessions by itself";

pub(super) async fn run<S: RefreshStore>(stage: &Stage<S>, book: &mut Book) {
    book.case(LIVE, live_sessions_stay(stage)).await;
    if stage.keeps {
        book.alone(stage, OVER, removes_what_is_over(stage)).await;
        book.alone(stage, REVOKED, revoked_sessions(stage)).await;
        book.alone(stage, LIMIT, keeps_to_the_limit(stage)).await;
        book.alone(stage, GONE, gone_is_gone(stage)).await;
    } else {
        for case in [OVER, REVOKED, LIMIT, GONE] {
            book.not_run(case, WHY_NOT);
        }
    }
    if stage.shares_the_clock {
        book.not_run(AHEAD, "the store has no clock but the caller's");
    } else {
        book.alone(stage, AHEAD, a_clock_ahead(stage)).await;
    }
}

/// Inserts a session that ends at `end`.
async fn ending<S: RefreshStore>(stage: &Stage<S>, end: UnixMillis) -> Verdict<SessionRecord> {
    let session = SessionRecord { expires_at: end, ..stage.session(&stage.subject()?)? };
    stage.add(&session).await?;
    Ok(session)
}

async fn live_sessions_stay<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    // At the start of the sessions, so that no session of others is removed that its server would
    // not remove.
    let mut live = alloc::vec![
        ending(stage, stage.at(HOUR + MILLI)).await?,
        ending(stage, stage.at(HOUR * 2)).await?,
        stage.logged_in().await?,
    ];
    // One that has rotated, and one that begins later than now, on a clock that is ahead.
    let mut rotated = stage.logged_in().await?;
    stage.use_token(&mut rotated, 0).await?;
    live.push(rotated);
    let created_at = stage.at(DAY);
    let ahead = SessionRecord {
        created_at,
        rotated_at: created_at,
        expires_at: stage.at(DAY * 2),
        ..stage.session(&stage.subject()?)?
    };
    stage.add(&ahead).await?;
    live.push(ahead);
    let times: &[UnixMillis] =
        if stage.keeps { &[stage.now, stage.at(HOUR), UnixMillis::MIN] } else { &[stage.now] };
    for now in times {
        stage.purge(*now, u32::MAX).await?;
        for session in &live {
            stage.holds("a live session, after purge_expired", session).await?;
        }
    }
    Ok(())
}

/// Sessions of the present, and a caller whose clock says that they ended long ago. By the right
/// clock they end later.
async fn a_clock_ahead<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let now = UnixMillis::now();
    let real = |idle: Duration, absolute: Duration| -> Verdict<SessionRecord> {
        let (expires_at, absolute_expires_at) =
            (now.saturating_add(idle), now.saturating_add(absolute));
        let session = stage.session(&stage.subject()?)?;
        Ok(SessionRecord {
            created_at: now,
            rotated_at: now,
            expires_at,
            absolute_expires_at,
            ..session
        })
    };
    let live = [real(HOUR, HOUR * 2)?, real(DAY, DAY)?];
    for session in &live {
        stage.add(session).await?;
    }
    for ahead in [HOUR * 2, DAY * 100, YEAR * 10] {
        stage.purge(now.saturating_add(ahead), 1000).await?;
        for session in &live {
            let what = alloc::format!("a live session, after a purge by a clock {ahead:?} ahead");
            stage.holds(what, session).await?;
        }
    }
    Ok(())
}

async fn removes_what_is_over<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let end = stage.at(HOUR);
    let idle = ending(stage, end).await?;
    let absolute = SessionRecord { absolute_expires_at: end, ..idle.clone() };
    let absolute = SessionRecord { id: stage.session(&absolute.subject)?.id, ..absolute };
    stage.add(&absolute).await?;
    let before = UnixMillis::new(end.get() - 1);
    same("purge_expired a millisecond before the end", &stage.purge(before, 1000).await?, &0)?;
    stage.holds("a session, a millisecond before its end", &idle).await?;
    stage.holds("a session, a millisecond before its absolute end", &absolute).await?;
    same("purge_expired at the end of two", &stage.purge(end, 1000).await?, &2)?;
    stage.lacks("a session that was purged", &idle.id).await?;
    stage.lacks("a session that was purged", &absolute.id).await?;
    same("purge_expired when nothing is left", &stage.purge(end, 1000).await?, &0)?;
    // At the end that a rotation has set, and not before.
    let mut used = stage.logged_in().await?;
    let request = RotateRequest { now: end, ..stage.request(&used, 0) };
    stage.present(&mut used, &request).await?;
    same("purge_expired at the first end", &stage.purge(stage.at(DAY), 1000).await?, &0)?;
    stage.holds("a session that was used, at its first end", &used).await?;
    same("purge_expired at the second", &stage.purge(used.expires_at, 1000).await?, &1)?;
    stage.lacks("a session that was used and has expired", &used.id).await
}

async fn revoked_sessions<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut session = stage.logged_in().await?;
    let (at, reason) = (stage.at(GRACE), RevokeReason::Logout);
    stage.revoke(&session.id, reason, at).await?;
    session.revoked = Some(Revoked { at, reason });
    for now in [at, stage.at(HOUR)] {
        same("purge_expired of a revoked session", &stage.purge(now, 1000).await?, &0)?;
        stage.holds("a revoked session that has not expired", &session).await?;
    }
    same("purge_expired at its end", &stage.purge(session.expires_at, 1000).await?, &1)?;
    stage.lacks("a revoked session that has expired", &session.id).await
}

async fn keeps_to_the_limit<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let end = stage.at(HOUR);
    let mut over = Vec::new();
    // Each session has a different subject, so that they are spread over the whole store.
    for _ in 0..12 {
        over.push(ending(stage, end).await?);
    }
    let live = stage.logged_in().await?;
    for (limit, wanted, left) in
        [(0, 0, 12), (1, 1, 11), (5, 5, 6), (5, 5, 1), (5, 1, 0), (5, 0, 0)]
    {
        let removed = stage.purge(end, limit).await?;
        same(format_args!("purge_expired of up to {limit}, to leave {left}"), &removed, &wanted)?;
        let mut found = 0;
        for session in &over {
            found += usize::from(stage.load(&session.id).await?.is_some());
        }
        same(format_args!("how many are left after up to {limit}"), &found, &left)?;
    }
    stage.holds("a live session, after purge_expired", &live).await
}

async fn gone_is_gone<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut session = stage.logged_in().await?;
    stage.use_token(&mut session, 0).await?;
    // Every handle has read it.
    for _ in stage.handles() {
        stage.holds("a session", &session).await?;
    }
    same("purge_expired", &stage.purge(session.expires_at, 1000).await?, &1)?;
    for _ in stage.handles() {
        for generation in [0, 1, 2] {
            let outcome = stage.rotate(&stage.request(&session, generation)).await?;
            same("rotate of a session that was purged", &outcome, &RotateOutcome::Unknown)?;
        }
        let revoked = stage.revoke(&session.id, RevokeReason::Logout, stage.now).await?;
        same("revoke of a session that was purged", &revoked, &false)?;
        let reason = RevokeReason::LogoutAll;
        let count = stage.revoke_subject(&session.subject, None, reason, stage.now).await?;
        same("revoke_subject, when its session was purged", &count, &0)?;
        let listed = stage.list(&session.subject, stage.now).await?;
        same("the list, when its session was purged", &*listed, &[])?;
        stage.lacks("a session that was purged", &session.id).await?;
    }
    // The id is free again.
    stage.add(&session).await?;
    stage.holds("a session that was inserted again", &session).await
}
