//! Ending sessions: one, all of a subject, all but one; and listing those that are left.

use alloc::{format, vec::Vec};

use crate::session::{
    conformance::{
        report::{Book, Case},
        stage::{DAY, GRACE, HOUR, MILLI, Stage, Verdict, same},
    },
    id::SessionId,
    record::{RevokeReason, Revoked, SessionRecord},
    rotation::{RotateOutcome, RotateRequest},
    store::RefreshStore,
    time::UnixMillis,
};

const REVOKES: Case = Case(
    "revoke/ends_the_session",
    "R10",
    "store the time and the reason, and change nothing else; answer true if there was a session to revoke",
);
const FIRST: Case = Case(
    "revoke/keeps_the_first_reason",
    "R10",
    "revoke only a session that is not revoked (WHERE revoked_at IS NULL); answer false the second time, and keep time and reason",
);
const EXPIRED: Case = Case(
    "revoke/ends_what_is_expired",
    "R10",
    "revoke a session even if it has expired, as long as it is stored: the clock may be corrected",
);
const UNKNOWN: Case = Case(
    "revoke/unknown_stays_unknown",
    "R11",
    "answer false for an id that is not stored, and create nothing: no tombstone that load would find",
);
const ALL: Case = Case(
    "revoke_subject/ends_all",
    "R10",
    "end every session of the subject, whichever handle inserted it, and answer their number",
);
const KEEP: Case = Case(
    "revoke_subject/keeps_the_one_to_keep",
    "R10",
    "leave the session of `keep` unchanged; a session of another subject keeps nothing",
);
const ALREADY: Case = Case(
    "revoke_subject/keeps_first_reasons",
    "R10",
    "neither change nor count a session that is already revoked; include one that has expired and is still stored",
);
const LIST: Case = Case(
    "list/only_live_in_order",
    "C4",
    "list the sessions for which SessionRecord::is_live is true, by created_at and then by the id's bytes, as unsigned numbers",
);
const MANY: Case = Case(
    "list/has_no_last_page",
    "C4",
    "list and revoke all sessions of a subject, however many: follow cursors to their end, and set no maximum",
);

pub(super) async fn run<S: RefreshStore>(stage: &Stage<S>, book: &mut Book) {
    book.case(REVOKES, ends_the_session(stage)).await;
    book.case(FIRST, keeps_the_first_reason(stage)).await;
    book.case(EXPIRED, ends_what_is_expired(stage)).await;
    book.case(UNKNOWN, unknown_stays_unknown(stage)).await;
    book.case(ALL, ends_all(stage)).await;
    book.case(KEEP, keeps_the_one_to_keep(stage)).await;
    book.case(ALREADY, keeps_first_reasons(stage)).await;
    book.case(LIST, lists_live_in_order(stage)).await;
    book.case(MANY, has_no_last_page(stage)).await;
}

/// Returns an error unless the session is unchanged except for the revocation, and its tokens are
/// refused.
async fn is_revoked<S: RefreshStore>(
    stage: &Stage<S>,
    session: &mut SessionRecord,
    revoked: Revoked,
) -> Verdict {
    session.revoked = Some(revoked);
    stage.holds("a session that was revoked", session).await?;
    let wanted = RotateOutcome::Revoked(revoked.reason);
    for generation in [session.generation, session.generation.saturating_sub(1)] {
        let request = RotateRequest { now: revoked.at, ..stage.request(session, generation) };
        stage.presented(session, &request, &wanted).await?;
    }
    Ok(())
}

async fn ends_the_session<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    for (reason, rotations) in RevokeReason::ALL.iter().copied().zip([0, 1, 2, 3]) {
        let mut session = stage.logged_in().await?;
        for generation in 0..rotations {
            stage.use_token(&mut session, generation).await?;
        }
        let at = stage.at(GRACE + MILLI);
        same("revoke", &stage.revoke(&session.id, reason, at).await?, &true)?;
        is_revoked(stage, &mut session, Revoked { at, reason }).await?;
        let listed = stage.list(&session.subject, at).await?;
        same("the list of a subject whose session was revoked", &*listed, &[])?;
    }
    Ok(())
}

async fn keeps_the_first_reason<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut session = stage.logged_in().await?;
    let (at, reason) = (stage.at(GRACE), RevokeReason::Denied);
    same("revoke", &stage.revoke(&session.id, reason, at).await?, &true)?;
    for (other, later) in [(reason, at), (RevokeReason::Logout, stage.at(HOUR))] {
        let again = stage.revoke(&session.id, other, later).await?;
        same("revoke of what is revoked", &again, &false)?;
        is_revoked(stage, &mut session, Revoked { at, reason }).await?;
    }
    // The same on a clock that has stepped back.
    same("revoke", &stage.revoke(&session.id, RevokeReason::LogoutAll, stage.now).await?, &false)?;
    is_revoked(stage, &mut session, Revoked { at, reason }).await
}

async fn ends_what_is_expired<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let session = stage.logged_in().await?;
    for (end, of) in [(session.expires_at, "idle"), (session.absolute_expires_at, "absolute")] {
        let mut session = stage.logged_in().await?;
        let revoked = stage.revoke(&session.id, RevokeReason::Logout, end).await?;
        same(format_args!("revoke after the {of} end"), &revoked, &true)?;
        session.revoked = Some(Revoked { at: end, reason: RevokeReason::Logout });
        stage.holds("a session that was revoked after it had expired", &session).await?;
    }
    Ok(())
}

async fn unknown_stays_unknown<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let session = stage.session(&stage.subject()?)?;
    let SessionRecord { id, subject, .. } = &session;
    for _ in 0..2 {
        let revoked = stage.revoke(id, RevokeReason::Logout, stage.now).await?;
        same("revoke of an unknown id", &revoked, &false)?;
        stage.lacks("after revoke of an unknown id", id).await?;
        let count =
            stage.revoke_subject(subject, Some(id), RevokeReason::LogoutAll, stage.now).await?;
        same("revoke_subject of an unknown subject", &count, &0)?;
    }
    // The id and the subject are not marked: a later insert succeeds.
    stage.add(&session).await?;
    stage.holds("a session that was inserted after all that", &session).await
}

/// Inserts sessions of one subject, each through the next handle.
async fn sessions<S: RefreshStore>(
    stage: &Stage<S>,
    subject: &str,
    count: usize,
) -> Verdict<Vec<SessionRecord>> {
    let mut sessions = Vec::with_capacity(count);
    for _ in 0..count {
        let session = stage.session(subject)?;
        stage.add(&session).await?;
        sessions.push(session);
    }
    Ok(sessions)
}

const LOGOUT_ALL: RevokeReason = RevokeReason::LogoutAll;

async fn ends_all<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let subject = stage.subject()?;
    let mut ours = sessions(stage, &subject, 5).await?;
    let others = sessions(stage, &stage.subject()?, 2).await?;
    if let Some(session) = ours.first_mut() {
        stage.use_token(session, 0).await?;
    }
    let at = stage.at(GRACE);
    same("revoke_subject", &stage.revoke_subject(&subject, None, LOGOUT_ALL, at).await?, &5)?;
    for session in &mut ours {
        is_revoked(stage, session, Revoked { at, reason: LOGOUT_ALL }).await?;
    }
    same("the list after revoke_subject", &*stage.list(&subject, at).await?, &[])?;
    for session in &others {
        stage.holds("a session of another subject, after revoke_subject", session).await?;
    }
    let again = stage.revoke_subject(&subject, None, RevokeReason::Denied, stage.at(HOUR)).await?;
    same("revoke_subject, again", &again, &0)?;
    for session in &mut ours {
        is_revoked(stage, session, Revoked { at, reason: LOGOUT_ALL }).await?;
    }
    // A user who logs in afterwards has a live session.
    let new = sessions(stage, &subject, 1).await?;
    same("the list after a new login", &stage.list(&subject, at).await?, &new)
}

async fn keeps_the_one_to_keep<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let subject = stage.subject()?;
    let mut ours = sessions(stage, &subject, 3).await?;
    let foreign = sessions(stage, &stage.subject()?, 1).await?;
    let (at, reason) = (stage.at(GRACE), LOGOUT_ALL);
    let (Some(mut kept), Some(foreign)) = (ours.pop(), foreign.first()) else { return Ok(()) };
    let count = stage.revoke_subject(&subject, Some(&kept.id), reason, at).await?;
    same("revoke_subject, keeping one of three", &count, &2)?;
    stage.holds("the session to keep", &kept).await?;
    same("the list of what was kept", &*stage.list(&subject, at).await?, &[kept.clone()])?;
    for session in &mut ours {
        is_revoked(stage, session, Revoked { at, reason }).await?;
    }
    let request = stage.request(&kept, 0);
    stage.present(&mut kept, &request).await?;
    let count = stage.revoke_subject(&subject, Some(&kept.id), reason, at).await?;
    same("revoke_subject, keeping the only one", &count, &0)?;
    let count = stage.revoke_subject(&subject, Some(&foreign.id), reason, at).await?;
    same("revoke_subject, keeping another's session", &count, &1)?;
    is_revoked(stage, &mut kept, Revoked { at, reason }).await?;
    stage.holds("a session of another subject, after revoke_subject", foreign).await
}

async fn keeps_first_reasons<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let subject = stage.subject()?;
    let mut ours = sessions(stage, &subject, 2).await?;
    let (at, reason) = (stage.at(GRACE), RevokeReason::Denied);
    if let Some(session) = ours.first_mut() {
        stage.revoke(&session.id, reason, at).await?;
        session.revoked = Some(Revoked { at, reason });
    }
    // The second session has expired.
    let late = stage.at(DAY * 2);
    let count = stage.revoke_subject(&subject, None, LOGOUT_ALL, late).await?;
    same("revoke_subject, one revoked before and one expired", &count, &1)?;
    if let Some(session) = ours.last_mut() {
        session.revoked = Some(Revoked { at: late, reason: LOGOUT_ALL });
    }
    for session in &ours {
        stage.holds("after revoke_subject", session).await?;
    }
    Ok(())
}

async fn lists_live_in_order<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let subject = stage.subject()?;
    let now = stage.at(HOUR);
    let mut live = Vec::new();
    // The inserts are not in the order of the logins. Many have the same time, so that their ids
    // decide.
    for hours in [3, 1, 2, 0, 1, 1, 1, 1, 1, 1, 1, 1] {
        let created_at = stage.at(HOUR * hours);
        let session = SessionRecord {
            created_at,
            rotated_at: created_at,
            label: Some(format!("after {hours} h")),
            ..stage.session(&subject)?
        };
        stage.add(&session).await?;
        live.push(session);
    }
    // A rotation does not change the position of a session.
    for session in live.iter_mut().take(3) {
        let request = RotateRequest { now, ..stage.request(session, 0) };
        stage.present(session, &request).await?;
    }
    let revoked = sessions(stage, &subject, 2).await?;
    for SessionRecord { id, .. } in &revoked {
        stage.revoke(id, RevokeReason::Logout, now).await?;
    }
    let over = SessionRecord { expires_at: now, ..stage.session(&subject)? };
    let sooner =
        SessionRecord { absolute_expires_at: now, expires_at: now, ..stage.session(&subject)? };
    for session in [over, sooner] {
        stage.add(&session).await?;
    }
    let order =
        |session: &SessionRecord| -> (UnixMillis, SessionId) { (session.created_at, session.id) };
    live.sort_by_key(order);
    same("the list", &stage.list(&subject, now).await?, &live)
}

async fn has_no_last_page<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let subject = stage.subject()?;
    let mut ours = sessions(stage, &subject, 120).await?;
    ours.sort_by_key(|session| session.id);
    let listed = stage.list(&subject, stage.now).await?;
    same("how many of 120 sessions are listed", &listed.len(), &ours.len())?;
    same("the list of 120 sessions", &listed, &ours)?;
    let count = stage.revoke_subject(&subject, None, LOGOUT_ALL, stage.now).await?;
    same("revoke_subject of 120 sessions", &count, &120)?;
    same("the list after it", &*stage.list(&subject, stage.now).await?, &[])
}
