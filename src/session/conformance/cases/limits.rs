//! A limit of live sessions of a subject, and long lists in pages.

use alloc::{format, vec::Vec};
use core::time::Duration;

use crate::session::{
    conformance::{
        report::{Book, Case},
        stage::{
            Answer, Complaint, GRACE, HOUR, IDLE, MILLI, Stage, Step, Verdict, ended, ensure, same,
        },
    },
    id::SessionId,
    record::{RevokeReason, Revoked, SessionRecord},
    store::{
        EndedCursor, InsertOutcome, InsertRequest, ListCursor, ListRequest, RefreshStore,
        SessionLimit,
    },
};

const EVICTS: Case = Case(
    "limit/evicts_the_oldest",
    "R20",
    "revoke, with RevokeReason::Limit and at the new session's created_at, the sessions that InsertRequest::decide names, in the \
     step that inserts",
);
const REFUSES: Case = Case(
    "limit/can_refuse",
    "R20",
    "answer LimitReached if SessionLimit::evicts is false, and insert and revoke nothing",
);
const LIVE: Case = Case(
    "limit/counts_the_live_alone",
    "R20",
    "count the sessions that are live at the new session's created_at: not revoked, and before both of their ends",
);
const DUPLICATE: Case = Case(
    "limit/a_repeated_id_evicts_nothing",
    "R20",
    "look for the id first: an insert that a driver repeats answers Duplicate, and makes no room a second time",
);
const LOGGED: Case = Case(
    "limit/logs_what_it_evicts",
    "R19",
    "write the id of each evicted session into the log of ended sessions, in the same step",
);
const AT_ONCE: Case = Case(
    "limit/holds_for_logins_at_once",
    "R20",
    "make the logins of a subject wait for each other before they count: take a lock on the subject before the snapshot for \
     the count, and hold it until the insert is committed",
);
const PAGES: Case = Case(
    "list/has_pages",
    "C4",
    "list up to `limit` sessions after `after`, by created_at and, at the same time, by id; compare ids byte by byte",
);

/// The number of concurrent logins.
const LOGINS: usize = 64;

pub(super) async fn run<S: RefreshStore>(stage: &Stage<S>, book: &mut Book) {
    book.case(EVICTS, evicts_the_oldest(stage)).await;
    book.case(REFUSES, can_refuse(stage)).await;
    book.case(LIVE, counts_the_live_alone(stage)).await;
    book.case(DUPLICATE, a_repeated_id(stage)).await;
    book.case(LOGGED, logs_what_it_evicts(stage)).await;
    book.case(AT_ONCE, logins_at_once(stage)).await;
    book.case(PAGES, has_pages(stage)).await;
}

/// Returns a session of `subject` that begins `millis` milliseconds later.
fn later<S: RefreshStore>(stage: &Stage<S>, subject: &str, millis: u32) -> Verdict<SessionRecord> {
    let at = stage.at(MILLI * millis);
    Ok(SessionRecord { created_at: at, rotated_at: at, auth_time: at, ..stage.session(subject)? })
}

/// Inserts sessions of one subject, each a millisecond after the previous one.
async fn logged_in<S: RefreshStore>(
    stage: &Stage<S>,
    sessions: u32,
) -> Verdict<Vec<SessionRecord>> {
    let subject = stage.subject()?;
    let mut added = Vec::new();
    for millis in 0..sessions {
        let session = later(stage, &subject, millis)?;
        stage.add(&session).await?;
        added.push(session);
    }
    Ok(added)
}

fn evicted(session: &mut SessionRecord, by: &SessionRecord) -> SessionId {
    session.revoked = Some(Revoked { at: by.created_at, reason: RevokeReason::Limit });
    session.id
}

async fn evicts_the_oldest<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    // The older ones are inserted last, and two have the same time.
    let mut sessions = logged_in(stage, 4).await?;
    let [first, ..] = &*sessions else { return Ok(()) };
    let subject = first.subject.clone();
    let twin = later(stage, &subject, 3)?;
    stage.add(&twin).await?;
    sessions.push(twin);
    let other = stage.logged_in().await?;
    sessions.sort_by_key(|session| (session.created_at, session.id));
    for (max, millis, evicts) in [(6, 10, 0), (5, 11, 2), (2, 12, 4), (1, 13, 2)] {
        let session = later(stage, &subject, millis)?;
        let live = sessions.iter_mut().filter(|session| session.revoked.is_none());
        let wanted = live.take(evicts).map(|oldest| evicted(oldest, &session)).collect();
        let request = InsertRequest::new(session.clone()).limit(SessionLimit::evict_oldest(max));
        let outcome = stage.insert_within(&request).await?;
        let what = format!("insert within {max} sessions");
        same(&what, &outcome, &InsertOutcome::Inserted { evicted: wanted })?;
        sessions.push(session);
        for session in &sessions {
            stage.holds(&what, session).await?;
        }
    }
    stage.holds("a session of another subject", &other).await
}

async fn can_refuse<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let sessions = logged_in(stage, 2).await?;
    let [first, ..] = &*sessions else { return Ok(()) };
    let new = later(stage, &first.subject, 5)?;
    for max in [1, 2] {
        let request = InsertRequest::new(new.clone()).limit(SessionLimit::refuse(max));
        let outcome = stage.insert_within(&request).await?;
        same(format!("insert within {max} sessions"), &outcome, &InsertOutcome::LimitReached)?;
        stage.lacks("a session that was refused", &new.id).await?;
        for session in &sessions {
            stage.holds("a session that has its place", session).await?;
        }
    }
    let request = InsertRequest::new(new.clone()).limit(SessionLimit::refuse(3));
    let outcome = stage.insert_within(&request).await?;
    same("insert within 3 sessions", &outcome, &InsertOutcome::INSERTED)?;
    stage.holds("a session that was inserted", &new).await
}

async fn counts_the_live_alone<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut sessions = logged_in(stage, 3).await?;
    let [revoked, _, _] = &mut *sessions else { return Ok(()) };
    let at = stage.at(MILLI);
    stage.revoke(&revoked.id, RevokeReason::Logout, at).await?;
    revoked.revoked = Some(Revoked { at, reason: RevokeReason::Logout });
    // Live in the last millisecond, and expired a millisecond later: one by its idle end, one by
    // its absolute end.
    let end = stage.at(HOUR);
    let subject = revoked.subject.clone();
    let idle = SessionRecord { expires_at: end, ..stage.session(&subject)? };
    let old =
        SessionRecord { absolute_expires_at: end, expires_at: end, ..stage.session(&subject)? };
    for session in [idle, old] {
        stage.add(&session).await?;
        sessions.push(session);
    }
    for (before, wanted) in
        [(MILLI, InsertOutcome::LimitReached), (Duration::ZERO, InsertOutcome::INSERTED)]
    {
        let now = stage.at(HOUR.saturating_sub(before));
        let new = SessionRecord { created_at: now, rotated_at: now, ..stage.session(&subject)? };
        let request = InsertRequest::new(new).limit(SessionLimit::refuse(3));
        same(format!("insert at {now}"), &stage.insert_within(&request).await?, &wanted)?;
    }
    for session in &sessions {
        stage.holds("a session that has its place, or has ended", session).await?;
    }
    Ok(())
}

async fn a_repeated_id<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let sessions = logged_in(stage, 3).await?;
    let [first, .., last] = &*sessions else { return Ok(()) };
    for session in [first, last] {
        for limit in [SessionLimit::evict_oldest(1), SessionLimit::refuse(1)] {
            let request = InsertRequest::new(session.clone()).limit(limit);
            let outcome = stage.insert_within(&request).await?;
            same("insert of an id that is there", &outcome, &InsertOutcome::Duplicate)?;
        }
    }
    for session in &sessions {
        stage.holds("a session after a repeated insert", session).await?;
    }
    Ok(())
}

async fn logs_what_it_evicts<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let sessions = logged_in(stage, 3).await?;
    let [first, second, third] = &*sessions else { return Ok(()) };
    let (_, cursor) = ended(&**stage.next(), EndedCursor::default()).await?;
    let new = later(stage, &first.subject, 5)?;
    let request = InsertRequest::new(new.clone()).limit(SessionLimit::evict_oldest(2));
    stage.insert_within(&request).await?;
    let (ids, _) = ended(&**stage.next(), cursor).await?;
    for (session, is_ended) in [(first, true), (second, true), (third, false), (&new, false)] {
        let found = ids.contains(&session.id);
        same(format!("whether {:?} is in the log", session.id), &found, &is_ended)?;
    }
    Ok(())
}

async fn logins_at_once<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    for limit in [SessionLimit::evict_oldest(5), SessionLimit::refuse(5)] {
        let subject = stage.subject()?;
        let mut steps = Vec::new();
        for _ in 0..LOGINS {
            let session = stage.session(&subject)?;
            steps.push(Step::Insert(InsertRequest::new(session).limit(limit)));
        }
        let (_, cursor) = ended(&**stage.next(), EndedCursor::default()).await?;
        let mut inserted = 0;
        let mut evicted = Vec::new();
        for answer in stage.race(&steps).await? {
            match answer {
                Answer::Insert(InsertOutcome::Inserted { evicted: mut ids }) => {
                    inserted += 1;
                    evicted.append(&mut ids);
                }
                Answer::Insert(InsertOutcome::LimitReached) if !limit.evicts() => {}
                answer => {
                    return Err(Complaint(format!("{LOGINS} logins within {limit:?}: {answer:?}")));
                }
            }
        }
        let live = stage.list(&subject, stage.now).await?;
        same(format!("live sessions after {LOGINS} logins within {limit:?}"), &live.len(), &5)?;
        let wanted = if limit.evicts() { LOGINS } else { 5 };
        same(format!("logins that were let in within {limit:?}"), &inserted, &wanted)?;
        evicted.sort_unstable();
        evicted.dedup();
        same("sessions that were reported as evicted", &evicted.len(), &(inserted - 5))?;
        let (ids, _) = ended(&**stage.next(), cursor).await?;
        ensure(evicted.iter().all(|id| ids.contains(id)), || {
            "a session that made room is not in the log of ended sessions".into()
        })?;
    }
    Ok(())
}

async fn has_pages<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut sessions = logged_in(stage, 4).await?;
    let [first, ..] = &*sessions else { return Ok(()) };
    let subject = first.subject.clone();
    for millis in [0, 2, 2, 2] {
        let session = later(stage, &subject, millis)?;
        stage.add(&session).await?;
        sessions.push(session);
    }
    let gone = later(stage, &subject, 1)?;
    stage.add(&gone).await?;
    stage.revoke(&gone.id, RevokeReason::Logout, stage.at(GRACE)).await?;
    sessions.sort_by_key(ListCursor::of);
    let now = stage.at(IDLE.saturating_sub(MILLI));
    for limit in [1, 2, 3, 7, 8, 9, u32::MAX] {
        let mut request = ListRequest { limit, ..ListRequest::new(&*subject, now) };
        let size = usize::try_from(limit).unwrap_or(usize::MAX);
        for wanted in sessions.chunks(size) {
            let page = stage.page(&request).await?;
            same(format!("{request:?}"), &*page, wanted)?;
            request.after = page.last().map(ListCursor::of);
        }
        same(format!("{request:?}"), &*stage.page(&request).await?, &[])?;
    }
    // The position after a session stays valid when the session has ended.
    let after = Some(ListCursor::of(&gone));
    let request = ListRequest { after, ..ListRequest::new(&*subject, now) };
    let wanted = sessions.iter().filter(|session| ListCursor::of(session) > ListCursor::of(&gone));
    let wanted: Vec<_> = wanted.cloned().collect();
    same(format!("{request:?}"), &stage.page(&request).await?, &wanted)?;
    let none = ListRequest { limit: 0, ..ListRequest::new(&*subject, now) };
    same("a page of none", &*stage.page(&none).await?, &[])
}
