//! Presenting tokens one after the other: rotated, replayed, reused, ahead.

use alloc::{format, vec::Vec};
use core::time::Duration;

use crate::session::{
    conformance::{
        report::{Book, Case},
        stage::{Complaint, GRACE, HOUR, IDLE, MILLI, Stage, Verdict, ensure, same},
    },
    data::SessionData,
    record::{RevokeReason, SessionRecord},
    rotation::{AheadPolicy, MAX_GENERATION, RotateOutcome, RotateRequest, Successor},
    store::RefreshStore,
    time::UnixMillis,
};

const ADVANCES: Case = Case(
    "rotate/advances",
    "R1",
    "store the change that RotateRequest::decide returns, all of it and nothing else, and answer its outcome",
);
const WAITED: Case = Case(
    "rotate/begins_after_the_wait",
    "R2",
    "measure expiry and grace at `now`, and store RotateRequest::rotated_at and what depends on it: the client must not pay for the application's wait",
);
const REPLAYS: Case = Case(
    "rotate/replays_within_the_grace",
    "R2",
    "answer Replayed up to and including the last millisecond of the grace, and no longer",
);
const WRITES_NOTHING: Case = Case(
    "rotate/a_replay_writes_nothing",
    "R2",
    "write nothing on a replay: neither rotated_at nor expires_at nor kid may change, or a thief could keep the grace open",
);
const NO_GRACE: Case = Case(
    "rotate/a_grace_of_zero_is_none",
    "R2",
    "compare times in milliseconds; a grace of zero replays nothing, and one below a millisecond lasts until its end",
);
const REUSE: Case = Case(
    "rotate/reuse_revokes",
    "R3",
    "commit the revocation before answering Reused; the caller turns Reused into an error, which must not roll it back",
);
const GRANDPARENT: Case = Case(
    "rotate/a_grandparent_is_reuse",
    "R3",
    "replay only the generation just before the current one; any older one is a reuse, however recent the rotation",
);
const REVOKED: Case = Case(
    "rotate/revoked_stays_revoked",
    "R4",
    "check the revocation before anything else: a revoked session neither rotates nor replays, and keeps its reason",
);
const EXPIRED: Case = Case(
    "rotate/expired_never_replays",
    "R4",
    "check the expiry before the generations: an expired session answers Expired to every generation, unchanged",
);
const HEALS: Case = Case(
    "rotate/ahead_heals",
    "R6",
    "with AheadPolicy::Heal, continue from the generation of the token, which is authentic, and not from the stored one",
);
const REFUSES: Case = Case(
    "rotate/ahead_can_be_refused",
    "R6",
    "with AheadPolicy::Refuse, answer how many generations were lost, and change nothing",
);
const LAST: Case = Case(
    "rotate/ends_at_the_last_generation",
    "R6",
    "compare generations as unsigned 64-bit numbers, before they are narrowed; from MAX_GENERATION on, answer Expired",
);
const UNKNOWN: Case = Case(
    "rotate/unknown_stays_unknown",
    "R11",
    "update only an existing session (UPDATE, not upsert; XX, not a plain set): a rotation never creates a session",
);
const KID: Case = Case(
    "rotate/a_replay_has_the_stored_kid",
    "R13",
    "answer a replay with the kid of the row, not with that of the request: the key may have changed in between",
);

const OWN_LIFETIME: Case = Case(
    "rotate/by_the_idle_lifetime_of_the_session",
    "R7",
    "take the end of a rotated session from RotateRequest::end_of: the session's own idle lifetime overrides that of the request, \
     and the absolute end limits both",
);
const DATA: Case = Case(
    "rotate/replaces_the_data",
    "R2",
    "store the data of the request with the rotation; keep the stored data if the request has none, and on a replay",
);
const PROOF: Case = Case(
    "rotate/notes_a_new_proof",
    "R1",
    "store auth_time with the rotation if the request has one, and keep the stored one otherwise",
);
const PROOF_KEEPS: Case = Case(
    "rotate/a_proof_within_the_grace_keeps_the_token",
    "R1",
    "store only auth_time and data if RotateRequest::decide returns Change::Reauthenticate: a concurrent refresh has got the \
     current token, and a browser may keep the answer of either",
);
const PROOF_REPLAYS: Case = Case(
    "rotate/a_proof_is_replayed_within_the_grace",
    "R2",
    "replay a token that a request with auth_time has used up like any other: a concurrent refresh may present it",
);
const OVERTAKEN: Case = Case(
    "rotate/an_overtaken_proof_revokes_nothing",
    "R3",
    "answer Overtaken to a request with auth_time whose generation is too old, or ahead: no client has presented a token",
);

pub(super) async fn run<S: RefreshStore>(stage: &Stage<S>, book: &mut Book) {
    book.case(ADVANCES, advances(stage)).await;
    book.case(WAITED, begins_after_the_wait(stage)).await;
    book.case(REPLAYS, replays_within_the_grace(stage)).await;
    book.case(WRITES_NOTHING, a_replay_writes_nothing(stage)).await;
    book.case(NO_GRACE, no_grace(stage)).await;
    book.case(REUSE, reuse_revokes(stage)).await;
    book.case(GRANDPARENT, grandparent(stage)).await;
    book.case(REVOKED, revoked_stays_revoked(stage)).await;
    book.case(EXPIRED, expired_never_replays(stage)).await;
    book.case(HEALS, ahead_heals(stage)).await;
    book.case(REFUSES, ahead_refused(stage)).await;
    book.case(LAST, ends_at_the_last_generation(stage)).await;
    book.case(UNKNOWN, unknown_stays_unknown(stage)).await;
    book.case(KID, replays_the_kid(stage)).await;
    book.case(OWN_LIFETIME, own_idle_lifetime(stage)).await;
    book.case(DATA, replaces_the_data(stage)).await;
    book.case(PROOF, notes_a_new_proof(stage)).await;
    book.case(PROOF_KEEPS, a_proof_keeps_the_token(stage)).await;
    book.case(PROOF_REPLAYS, a_proof_is_replayed(stage)).await;
    book.case(OVERTAKEN, an_overtaken_proof(stage)).await;
}

/// Returns the current token of the record as a successor.
fn successor(session: &SessionRecord) -> Successor {
    let SessionRecord { generation, kid, expires_at, .. } = session.clone();
    Successor { generation, kid, expires_at }
}

/// Returns a session that has rotated `generations` times, each time at its start.
async fn rotated<S: RefreshStore>(stage: &Stage<S>, generations: u64) -> Verdict<SessionRecord> {
    let mut session = stage.logged_in().await?;
    for generation in 0..generations {
        stage.use_token(&mut session, generation).await?;
    }
    same("the generation after so many rotations", &session.generation, &generations)?;
    Ok(session)
}

async fn advances<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut session = stage.logged_in().await?;
    for (generation, kid) in ["first", "second", "third"].into_iter().enumerate() {
        let generation = u64::try_from(generation).unwrap_or_default();
        let now = session.rotated_at.saturating_add(HOUR + MILLI);
        let request = RotateRequest { kid: kid.into(), now, ..stage.request(&session, generation) };
        let outcome = stage.present(&mut session, &request).await?;
        // Counted from the change, which a stall of the store delays.
        let expires_at = session.rotated_at.saturating_add(IDLE);
        let next = Successor { generation: generation + 1, kid: kid.into(), expires_at };
        same("a rotation", &outcome, &RotateOutcome::Rotated(next))?;
    }
    Ok(())
}

async fn begins_after_the_wait<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut session = stage.logged_in().await?;
    // In its last millisecond. The session has expired by the time that the store is asked.
    let (now, waited) = (stage.at(IDLE.saturating_sub(MILLI)), GRACE * 3);
    let request = RotateRequest { now, waited, ..stage.request(&session, 0) };
    let outcome = stage.present(&mut session, &request).await?;
    let (generation, kid, at) = (1, request.kid.clone(), session.rotated_at);
    let next = Successor { generation, kid, expires_at: at.saturating_add(IDLE) };
    same("a rotation that waited", &outcome, &RotateOutcome::Rotated(next.clone()))?;
    let retry = RotateRequest { now: at.saturating_add(GRACE), waited, ..request };
    stage.presented(&mut session, &retry, &RotateOutcome::Replayed(next)).await
}

async fn replays_within_the_grace<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    for grace in [MILLI, GRACE, GRACE + Duration::from_millis(999), HOUR] {
        let mut session = rotated(stage, 1).await?;
        let rotated_at = session.rotated_at;
        let after = |after: Duration| RotateRequest {
            now: rotated_at.saturating_add(after),
            grace,
            ..stage.request(&session, 0)
        };
        let requests = [after(Duration::ZERO), after(grace.saturating_sub(MILLI)), after(grace)];
        let late = after(grace + MILLI);
        for request in requests {
            let replayed = RotateOutcome::Replayed(successor(&session));
            stage.presented(&mut session, &request, &replayed).await?;
        }
        stage.presented(&mut session, &late, &RotateOutcome::Reused).await?;
    }
    Ok(())
}

async fn a_replay_writes_nothing<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut session = rotated(stage, 1).await?;
    let before = session.clone();
    for millis in [1, 5000, 9999, 10_000] {
        let now = before.rotated_at.saturating_add(Duration::from_millis(millis));
        let idle_lifetime = IDLE * 2;
        let request = RotateRequest { now, idle_lifetime, ..stage.request(&session, 0) };
        stage.present(&mut session, &request).await?;
        stage.holds("after a replay", &before).await?;
    }
    // 20 s after the rotation, and 10 s after the last replay.
    let now = before.rotated_at.saturating_add(GRACE * 2);
    let request = RotateRequest { now, ..stage.request(&session, 0) };
    stage.presented(&mut session, &request, &RotateOutcome::Reused).await
}

async fn no_grace<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut session = rotated(stage, 1).await?;
    let request = RotateRequest { grace: Duration::ZERO, ..stage.request(&session, 0) };
    stage.presented(&mut session, &request, &RotateOutcome::Reused).await?;

    let mut session = rotated(stage, 1).await?;
    let request = RotateRequest { grace: MILLI / 2, ..stage.request(&session, 0) };
    let replayed = RotateOutcome::Replayed(successor(&session));
    stage.presented(&mut session, &request, &replayed).await?;
    let late = RotateRequest { now: session.rotated_at.saturating_add(MILLI), ..request };
    stage.presented(&mut session, &late, &RotateOutcome::Reused).await
}

async fn reuse_revokes<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut session = rotated(stage, 1).await?;
    let late = RotateRequest { now: stage.at(HOUR), ..stage.request(&session, 0) };
    stage.presented(&mut session, &late, &RotateOutcome::Reused).await?;
    // Both the token of the thief and that of the victim.
    let revoked = RotateOutcome::Revoked(RevokeReason::Reuse);
    for generation in [0, 1, 0] {
        let request = RotateRequest { generation, ..late.clone() };
        stage.presented(&mut session, &request, &revoked).await?;
    }
    let listed = stage.list(&session.subject, late.now).await?;
    same("the list of a subject whose session was reused", &*listed, &[])
}

async fn grandparent<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    for (generations, old) in [(2, 0), (3, 1), (5, 0)] {
        let mut session = rotated(stage, generations).await?;
        let request = stage.request(&session, old);
        stage.presented(&mut session, &request, &RotateOutcome::Reused).await?;
    }
    Ok(())
}

async fn revoked_stays_revoked<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    for &reason in RevokeReason::ALL {
        let session = rotated(stage, 2).await?;
        let at = stage.at(MILLI);
        stage.revoke(&session.id, reason, at).await?;
        let revoked = stage.load(&session.id).await?;
        let mut session = revoked.unwrap_or(session);
        for generation in [2, 1, 0, 3, u64::MAX] {
            for now in [stage.now, at, stage.at(GRACE), session.absolute_expires_at] {
                let request = RotateRequest { now, ..stage.request(&session, generation) };
                stage.presented(&mut session, &request, &RotateOutcome::Revoked(reason)).await?;
            }
        }
    }
    Ok(())
}

async fn expired_never_replays<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut session = rotated(stage, 2).await?;
    // The grace is long enough for a replay, if the session had not expired.
    for generation in [2, 1, 0, 3, u64::MAX] {
        let now = session.expires_at;
        let request = RotateRequest { now, grace: IDLE * 2, ..stage.request(&session, generation) };
        stage.presented(&mut session, &request, &RotateOutcome::Expired).await?;
    }
    // The session was not revoked meanwhile: with a corrected clock it continues.
    let outcome = stage.use_token(&mut session, 2).await?;
    ensure(matches!(outcome, RotateOutcome::Rotated(_)), || {
        alloc::format!("a session that was presented too late, and then in time: {outcome:?}")
    })
}

async fn ahead_heals<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    for lost in [1, 2, 1000, (1 << 40) + 1] {
        let mut session = rotated(stage, 1).await?;
        let request = RotateRequest {
            now: stage.at(HOUR),
            kid: "healed".into(),
            ..stage.request(&session, 1 + lost)
        };
        let outcome = stage.present(&mut session, &request).await?;
        let expires_at = session.rotated_at.saturating_add(IDLE);
        let next = Successor { generation: 2 + lost, kid: "healed".into(), expires_at };
        let healed = RotateOutcome::Healed { successor: next.clone(), lost };
        same("a token that is ahead", &outcome, &healed)?;
        // A retry first, and then the thief.
        stage.presented(&mut session, &request, &RotateOutcome::Replayed(next)).await?;
        let request = RotateRequest { generation: 1, ..request };
        stage.presented(&mut session, &request, &RotateOutcome::Reused).await?;
    }
    Ok(())
}

async fn ahead_refused<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut session = rotated(stage, 1).await?;
    for lost in [1, 2, 1000, MAX_GENERATION - 2] {
        let request = RotateRequest {
            now: stage.at(HOUR),
            ahead: AheadPolicy::Refuse,
            ..stage.request(&session, 1 + lost)
        };
        stage.presented(&mut session, &request, &RotateOutcome::Ahead { lost }).await?;
    }
    stage.use_token(&mut session, 1).await?;
    same("the generation after a token ahead was refused", &session.generation, &2)
}

async fn ends_at_the_last_generation<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut session =
        SessionRecord { generation: MAX_GENERATION - 1, ..stage.session(&stage.subject()?)? };
    stage.add(&session).await?;
    stage.use_token(&mut session, MAX_GENERATION - 1).await?;
    same("the generation after the last but one", &session.generation, &MAX_GENERATION)?;
    let request = stage.request(&session, MAX_GENERATION - 1);
    let replayed = RotateOutcome::Replayed(successor(&session));
    stage.presented(&mut session, &request, &replayed).await?;
    for ahead in [AheadPolicy::Heal, AheadPolicy::Refuse] {
        for generation in [MAX_GENERATION, MAX_GENERATION + 1, 1 << 63, u64::MAX] {
            let request = RotateRequest { ahead, ..stage.request(&session, generation) };
            stage.presented(&mut session, &request, &RotateOutcome::Expired).await?;
        }
    }
    // The same for a new session: a generation that is far ahead is refused.
    let mut session = stage.logged_in().await?;
    for generation in [u64::MAX, 1 << 63, MAX_GENERATION] {
        let request = stage.request(&session, generation);
        stage.presented(&mut session, &request, &RotateOutcome::Expired).await?;
    }
    let outcome = stage.use_token(&mut session, MAX_GENERATION - 1).await?;
    ensure(matches!(outcome, RotateOutcome::Healed { .. }), || {
        alloc::format!("the last generation that can be healed: {outcome:?}")
    })
}

async fn unknown_stays_unknown<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let session = stage.session(&stage.subject()?)?;
    for generation in [0, 1, MAX_GENERATION, u64::MAX] {
        let outcome = stage.rotate(&stage.request(&session, generation)).await?;
        same("rotate of an unknown id", &outcome, &RotateOutcome::Unknown)?;
        stage.lacks("after rotate of an unknown id", &session.id).await?;
    }
    Ok(())
}

async fn replays_the_kid<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut session = stage.logged_in().await?;
    let request = |kid: &str| RotateRequest { kid: kid.into(), ..stage.request(&session, 0) };
    let (current, next) = (request("current"), request("next"));
    stage.present(&mut session, &current).await?;
    same("the kid after a rotation", &*session.kid, "current")?;
    let replayed = RotateOutcome::Replayed(successor(&session));
    stage.presented(&mut session, &next, &replayed).await
}

async fn own_idle_lifetime<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    for own in [MILLI, HOUR, IDLE * 2, IDLE * 100] {
        let subject = stage.subject()?;
        let mut session = SessionRecord { idle_lifetime: Some(own), ..stage.session(&subject)? };
        stage.add(&session).await?;
        // Its other fields do not matter: the record is live for longer than this.
        stage.use_token(&mut session, 0).await?;
        let wanted = session.rotated_at.saturating_add(own).min(session.absolute_expires_at);
        same("the end of a session with a separate idle lifetime", &session.expires_at, &wanted)?;
    }
    Ok(())
}

fn data(bytes: &[u8]) -> Verdict<SessionData> {
    SessionData::new(bytes).map_err(|error| Complaint(format!("{error}")))
}

async fn replaces_the_data<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut session = stage.logged_in().await?;
    let all: Vec<u8> = (0..=u8::MAX).cycle().take(SessionData::MAX_LEN).collect();
    for (generation, bytes) in (0..).zip([&all[..], b"", b"{}", b"\0"]) {
        let data = Some(data(bytes)?);
        let request = RotateRequest { data, ..stage.request(&session, generation) };
        stage.present(&mut session, &request).await?;
        same("the data", &session.data.as_bytes(), &bytes)?;
    }
    stage.use_token(&mut session, 4).await?;
    same("the data after a rotation that has none", &session.data.as_bytes(), &&b"\0"[..])?;
    let request = RotateRequest { data: Some(data(b"no")?), ..stage.request(&session, 4) };
    let replayed = RotateOutcome::Replayed(successor(&session));
    stage.presented(&mut session, &request, &replayed).await?;
    let request = RotateRequest { data: Some(data(b"no")?), ..stage.request(&session, 1) };
    stage.presented(&mut session, &request, &RotateOutcome::Reused).await
}

async fn notes_a_new_proof<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut session = stage.logged_in().await?;
    stage.use_token(&mut session, 0).await?;
    same("the proof after a rotation", &session.auth_time, &stage.now)?;
    let at = stage.at(HOUR);
    let request = RotateRequest { auth_time: Some(at), now: at, ..stage.request(&session, 1) };
    stage.present(&mut session, &request).await?;
    same("the proof", &session.auth_time, &at)?;
    let request = RotateRequest { now: stage.at(HOUR * 2), ..stage.request(&session, 2) };
    stage.present(&mut session, &request).await?;
    same("the proof after a rotation", &session.auth_time, &at)
}

/// Returns a session whose user has authenticated again at the end of the grace of its first
/// rotation, and that time. The session was read after the rotation, before it, and once more by a
/// driver that repeats the step.
async fn proved<S: RefreshStore>(stage: &Stage<S>) -> Verdict<(SessionRecord, UnixMillis)> {
    let mut session = rotated(stage, 1).await?;
    let kept = RotateOutcome::Reauthenticated(successor(&session));
    let at = session.rotated_at.saturating_add(GRACE);
    for (generation, bytes) in [(1, b"pwd"), (0, b"otp"), (0, b"otp")] {
        let data = Some(data(bytes)?);
        let kid = "other".into();
        let request = stage.request(&session, generation);
        let request = RotateRequest { now: at, auth_time: Some(at), data, kid, ..request };
        stage.presented(&mut session, &request, &kept).await?;
        same("the proof", &session.auth_time, &at)?;
    }
    Ok((session, at))
}

async fn a_proof_keeps_the_token<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    // The previous token is replayed for as long as without the reauthentication.
    let (mut session, at) = proved(stage).await?;
    let retry = RotateRequest { now: at, ..stage.request(&session, 0) };
    let replayed = RotateOutcome::Replayed(successor(&session));
    stage.presented(&mut session, &retry, &replayed).await?;
    let now = at.saturating_add(MILLI);
    let late = RotateRequest { now, ..retry };
    stage.presented(&mut session, &late, &RotateOutcome::Reused).await?;

    // After the grace, and right after a login, a reauthentication uses the token up.
    let (session, at) = proved(stage).await?;
    for (mut session, now) in
        [(session, at.saturating_add(MILLI)), (stage.logged_in().await?, stage.now)]
    {
        let generation = session.generation;
        let request = stage.request(&session, generation);
        let request = RotateRequest { now, auth_time: Some(now), ..request };
        stage.present(&mut session, &request).await?;
        same("the generation after a proof", &session.generation, &(generation + 1))?;
    }
    Ok(())
}

async fn a_proof_is_replayed<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut session = stage.logged_in().await?;
    let now = stage.at(HOUR);
    let request = RotateRequest { now, auth_time: Some(now), ..stage.request(&session, 0) };
    stage.present(&mut session, &request).await?;
    let end = session.rotated_at.saturating_add(GRACE);
    let retry = RotateRequest { now: end, ..stage.request(&session, 0) };
    let replayed = RotateOutcome::Replayed(successor(&session));
    stage.presented(&mut session, &retry, &replayed).await?;
    same("the proof after a replay", &session.auth_time, &now)?;
    let late = RotateRequest { now: end.saturating_add(MILLI), ..retry };
    stage.presented(&mut session, &late, &RotateOutcome::Reused).await
}

async fn an_overtaken_proof<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut session = rotated(stage, 4).await?;
    let late = session.rotated_at.saturating_add(GRACE + MILLI);
    for (generation, now, was_current) in [
        (0, stage.now, true),
        (2, stage.now, true),
        (3, late, false),
        (5, stage.now, true),
        (100, stage.now, true),
    ] {
        let request = stage.request(&session, generation);
        let request = RotateRequest { now, was_current, auth_time: Some(now), ..request };
        stage.presented(&mut session, &request, &RotateOutcome::Overtaken).await?;
    }
    // Overtaken by one rotation, which was committed long after it was made.
    let request = stage.request(&session, 3);
    let request = RotateRequest { now: late, was_current: true, auth_time: Some(late), ..request };
    let kept = RotateOutcome::Reauthenticated(successor(&session));
    stage.presented(&mut session, &request, &kept).await
}
