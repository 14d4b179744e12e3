//! Concurrent steps through several handles. The answers and the stored records have to be those of
//! some order in which the steps follow each other.

mod tally;

use alloc::{format, vec::Vec};
use core::{slice, time::Duration};

use self::tally::Tally;
use super::{
    report::{Book, Case},
    stage::{
        Answer, Complaint, GRACE, HOUR, MILLI, RACE, Stage, Step, Verdict, as_stalled, ensure,
        same, same_record,
    },
};
use crate::session::{
    record::{RevokeReason, Revoked, SessionRecord},
    rotation::{RotateOutcome, RotateRequest, Successor},
    store::{InsertOutcome, InsertRequest, RefreshStore},
};

const ONE_WINNER: Case = Case(
    "races/one_rotation_wins",
    "R1",
    "read, decide and write in one atomic step: one statement, a lock from the read to the commit, or compare and swap",
);
const ONE_HEALS: Case = Case(
    "races/one_heals",
    "R6",
    "like races/one_rotation_wins: heal a token ahead of the store once, and replay it from then on",
);
const REVOKE: Case = Case(
    "races/no_rotation_undoes_a_revocation",
    "R10",
    "write only if the session is still not revoked; a rotation must not store a record that was read earlier",
);
const PROOF: Case = Case(
    "races/no_rotation_undoes_a_proof",
    "R1",
    "write only the fields that the change names, or compare auth_time too: Change::Reauthenticate leaves the generation",
);
const REVOKE_SUBJECT: Case = Case(
    "races/revoke_subject_gets_all",
    "R10",
    "find, revoke and count in one step; a concurrent rotation is revoked with the rest, before it or after",
);
const LOGIN: Case = Case(
    "races/revoke_subject_and_logins",
    "R10",
    "a login at the same time is either revoked and counted, or live and listed",
);
const REUSE: Case = Case(
    "races/one_reuse",
    "R3",
    "a reuse ends the session, whatever rotates at the same time, and is answered Reused once",
);
const PURGE: Case = Case(
    "races/purge_and_rotations",
    "R11",
    "purge: decide and delete in one statement, so that a session that was just used stays; rotate: update, never upsert",
);
const PURGERS: Case = Case(
    "races/two_purgers",
    "C6",
    "two concurrent purges neither count a session twice nor wait for each other forever (SKIP LOCKED, small batches)",
);
const INSERT: Case = Case(
    "races/one_insert",
    "C2",
    "let a primary key or a set-if-absent decide which of two inserts of one id is first",
);

pub(super) async fn run<S: RefreshStore>(stage: &Stage<S>, book: &mut Book) {
    book.case(ONE_WINNER, one_rotation_wins(stage)).await;
    book.case(ONE_HEALS, one_heals(stage)).await;
    book.case(REVOKE, rotate_and_revoke(stage)).await;
    book.case(PROOF, rotate_and_reauthenticate(stage)).await;
    book.case(REVOKE_SUBJECT, rotate_and_revoke_subject(stage)).await;
    book.case(LOGIN, login_and_revoke_subject(stage)).await;
    book.case(REUSE, reuse_and_rotate(stage)).await;
    if stage.keeps {
        book.alone(stage, PURGE, purge_and_rotate(stage)).await;
        book.alone(stage, PURGERS, two_purgers(stage)).await;
    } else {
        for case in [PURGE, PURGERS] {
            book.not_run(case, "the store removes sessions by itself");
        }
    }
    book.case(INSERT, insert_twice(stage)).await;
}

/// The number of requests that present the same token at once.
const PRESENTERS: u32 = 64;

/// Makes presentations of one generation, at slightly different times, like servers with different
/// clocks, and with different keys.
fn presentations<S: RefreshStore>(
    stage: &Stage<S>,
    session: &SessionRecord,
    generation: u64,
    count: u32,
) -> impl Iterator<Item = Step> {
    (0..count).map(move |index| {
        Step::Rotate(RotateRequest {
            now: stage.at(MILLI * index),
            kid: format!("key {index}"),
            ..stage.request(session, generation)
        })
    })
}

/// Returns the record as it is stored now.
async fn stored<S: RefreshStore>(
    stage: &Stage<S>,
    session: &SessionRecord,
) -> Verdict<SessionRecord> {
    let found = stage.load(&session.id).await?;
    found.ok_or_else(|| Complaint(format!("after a race the session is gone: {session:?}")))
}

async fn one_rotation_wins<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut session = stage.logged_in().await?;
    for generation in 0..u64::from(stage.rounds) {
        let steps: Vec<_> = presentations(stage, &session, generation, PRESENTERS).collect();
        let tally = Tally::of(&steps, &stage.race(&steps).await?);
        let after = stored(stage, &session).await?;
        tally.one_went_on(&tally.rotated, &session, &after)?;
        let losers = usize::try_from(PRESENTERS - 1).unwrap_or(usize::MAX);
        ensure(tally.replayed.len() == losers, || {
            format!("{PRESENTERS} presentations of one token: {}", tally.counts())
        })?;
        same("the revocation after a race of retries", &after.revoked, &None)?;
        session = after;
    }
    Ok(())
}

async fn one_heals<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut session = stage.logged_in().await?;
    for round in 1..=u64::from(stage.rounds) {
        let ahead = session.generation + round;
        let steps: Vec<_> = presentations(stage, &session, ahead, 16).collect();
        let tally = Tally::of(&steps, &stage.race(&steps).await?);
        let after = stored(stage, &session).await?;
        tally.one_went_on(&tally.healed, &session, &after)?;
        ensure(tally.replayed.len() == 15 && after.revoked.is_none(), || {
            format!("16 presentations of a token that is ahead: {}", tally.counts())
        })?;
        session = after;
    }
    Ok(())
}

async fn rotate_and_revoke<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    for _ in 0..stage.rounds {
        let session = stage.logged_in().await?;
        let (at, reason) = (stage.at(HOUR), RevokeReason::Logout);
        let mut steps: Vec<_> = presentations(stage, &session, 0, 16).collect();
        // Among the rotations, so that some steps come before the first revocation and some after
        // it.
        for place in [3, 8, 13] {
            steps.insert(place, Step::Revoke(session.id, reason, at));
        }
        let answers = stage.race(&steps).await?;
        let tally = Tally::of(&steps, &answers);
        let after = stored(stage, &session).await?;
        same("the revocation after the race", &after.revoked, &Some(Revoked { at, reason }))?;
        let first = answers.iter().filter(|answer| **answer == Answer::Revoke(true)).count();
        same("how many of three revocations were the first", &first, &1)?;
        tally.only_revoked_for(reason)?;
        same("reuses, where there was none", &tally.reused, &0)?;
        tally.one_went_on_at_most(&session, &after)?;
        let late = stage.rotate(&stage.request(&session, after.generation)).await?;
        same("rotate after the race", &late, &RotateOutcome::Revoked(reason))?;
    }
    Ok(())
}

/// A token that was just made is presented, while the user of its session authenticates again. Each
/// session has only one reauthentication: a second one would hide that the first was undone.
async fn rotate_and_reauthenticate<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let auth_time = Some(stage.at(HOUR));
    for _ in 0..stage.rounds {
        let mut sessions = Vec::new();
        let mut steps = Vec::new();
        for _ in 0..8 {
            let mut session = stage.logged_in().await?;
            stage.use_token(&mut session, 0).await?;
            let proof = RotateRequest { auth_time, ..stage.request(&session, 1) };
            steps.extend(presentations(stage, &session, 1, 3));
            steps.insert(steps.len() - 2, Step::Rotate(proof));
            sessions.push(session);
        }
        let answers = stage.race(&steps).await?;
        for ((session, steps), answers) in
            sessions.into_iter().zip(steps.chunks(4)).zip(answers.chunks(4))
        {
            let after = stored(stage, &session).await?;
            same("the proof after the race", &Some(after.auth_time), &auth_time)?;
            // The rotation came before or after the reauthentication. The result is the same.
            let before = SessionRecord { auth_time: after.auth_time, ..session };
            let tally = Tally::of(steps, answers);
            tally.one_went_on(&tally.rotated, &before, &after)?;
            let kept = [&before, &after].map(|session| {
                let SessionRecord { generation, kid, expires_at, .. } = session.clone();
                let current = Successor { generation, kid, expires_at };
                Answer::Rotate(RotateOutcome::Reauthenticated(current))
            });
            let is_kept = answers.iter().any(|answer| kept.contains(answer));
            ensure(is_kept && tally.replayed.len() == 2, || {
                format!("three presentations of a token, and a proof within the grace: {answers:?}")
            })?;
        }
    }
    Ok(())
}

/// Returns the sum of all counts.
fn counted(answers: &[Answer]) -> u64 {
    answers.iter().map(|answer| if let Answer::Count(count) = answer { *count } else { 0 }).sum()
}

async fn rotate_and_revoke_subject<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    for _ in 0..stage.rounds {
        let subject = stage.subject()?;
        let (at, reason) = (stage.at(HOUR), RevokeReason::LogoutAll);
        let mut sessions = Vec::new();
        let mut steps = Vec::new();
        for _ in 0..3 {
            let session = stage.session(&subject)?;
            stage.add(&session).await?;
            steps.extend(presentations(stage, &session, 0, 8));
            sessions.push(session);
        }
        for place in [4, 16] {
            steps.insert(place, Step::RevokeSubject(subject.clone(), None, reason, at));
        }
        let answers = stage.race(&steps).await?;
        same("how many of three sessions two logouts have counted", &counted(&answers), &3)?;
        for session in &sessions {
            let after = stored(stage, session).await?;
            same("the revocation after the race", &after.revoked, &Some(Revoked { at, reason }))?;
            let own = |(step, _): &(Step, Answer)| matches!(step, Step::Rotate(request) if request.id == session.id);
            let (steps, answers): (Vec<_>, Vec<_>) =
                steps.iter().cloned().zip(answers.iter().cloned()).filter(own).unzip();
            let tally = Tally::of(&steps, &answers);
            tally.only_revoked_for(reason)?;
            same("reuses, where there was none", &tally.reused, &0)?;
            tally.one_went_on_at_most(session, &after)?;
        }
        same("the list after the race", &*stage.list(&subject, stage.now).await?, &[])?;
    }
    Ok(())
}

async fn login_and_revoke_subject<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    for _ in 0..stage.rounds {
        let subject = stage.subject()?;
        let (at, reason) = (stage.now, RevokeReason::LogoutAll);
        let mut steps = Vec::new();
        for _ in 0..4 {
            steps.push(Step::Insert(InsertRequest::new(stage.session(&subject)?)));
            steps.push(Step::RevokeSubject(subject.clone(), None, reason, at));
        }
        let counted = counted(&stage.race(&steps).await?);
        let mut live = Vec::new();
        let mut revoked = 0;
        for step in &steps {
            let Step::Insert(InsertRequest { session, .. }) = step else { continue };
            let after = stored(stage, session).await?;
            let ended = SessionRecord { revoked: Some(Revoked { at, reason }), ..session.clone() };
            // A login comes before a logout or after it. It is never half of both.
            ensure(after == *session || after == ended, || {
                format!("a login became something else: {after:?}")
            })?;
            if after.revoked.is_some() {
                revoked += 1;
            } else {
                live.push(after);
            }
        }
        same("how many sessions were counted as revoked", &counted, &revoked)?;
        live.sort_by_key(|session| session.id);
        same("the list after the race", &stage.list(&subject, stage.now).await?, &live)?;
        let left = u64::try_from(live.len()).unwrap_or(u64::MAX);
        let count = stage.revoke_subject(&subject, None, reason, at).await?;
        same("revoke_subject after the race", &count, &left)?;
    }
    Ok(())
}

async fn reuse_and_rotate<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    for _ in 0..stage.rounds {
        let mut session = stage.logged_in().await?;
        for generation in [0, 1] {
            stage.use_token(&mut session, generation).await?;
        }
        let current = presentations(stage, &session, 2, 8);
        let old = presentations(stage, &session, 0, 8);
        let steps: Vec<_> = current.zip(old).flat_map(|(one, other)| [one, other]).collect();
        let tally = Tally::of(&steps, &stage.race(&steps).await?);
        let after = stored(stage, &session).await?;
        let reason = after.revoked.map(|revoked| revoked.reason);
        same("the revocation after a reuse", &reason, &Some(RevokeReason::Reuse))?;
        tally.only_revoked_for(RevokeReason::Reuse)?;
        // The first old token revokes the session. The others find it revoked.
        same("how many of 16 were answered Reused", &tally.reused, &1)?;
        tally.one_went_on_at_most(&session, &after)?;
    }
    Ok(())
}

/// Each session has ended for the purges, and is live for the requests that present its token.
async fn purge_and_rotate<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let end = stage.at(HOUR);
    for _ in 0..stage.rounds {
        let mut sessions = Vec::new();
        let mut steps = Vec::new();
        for _ in 0..8 {
            let session = SessionRecord { expires_at: end, ..stage.session(&stage.subject()?)? };
            stage.add(&session).await?;
            steps.push(Step::Rotate(stage.request(&session, 0)));
            sessions.push(session);
        }
        for place in [2, 6] {
            steps.insert(place, Step::Purge(end, 1000));
        }
        let answers = stage.race(&steps).await?;
        let mut gone = 0;
        for (step, answer) in steps.iter().zip(&answers) {
            let Step::Rotate(request) = step else { continue };
            let Some(session) = sessions.iter_mut().find(|session| session.id == request.id) else {
                continue;
            };
            let stored = stage.load(&session.id).await?;
            let decision = as_stalled(request, session, stored.as_ref(), RACE).decide(session);
            if *answer == Answer::Rotate(decision.outcome) {
                if let Some(change) = decision.change {
                    session.apply(change);
                }
                same_record("a session that has rotated in time", stored.as_ref(), session)?;
            } else {
                same("rotate, against a purge", answer, &Answer::Rotate(RotateOutcome::Unknown))?;
                same("a session that was purged", &stored, &None)?;
                gone += 1;
            }
        }
        same("how many sessions were counted as purged", &counted(&answers), &gone)?;
    }
    Ok(())
}

async fn two_purgers<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let end = stage.at(HOUR);
    for _ in 0..stage.rounds {
        let mut over = Vec::new();
        for _ in 0..12 {
            let session = SessionRecord { expires_at: end, ..stage.session(&stage.subject()?)? };
            stage.add(&session).await?;
            over.push(session);
        }
        let mut live = stage.logged_in().await?;
        let mut steps = alloc::vec![Step::Purge(end, 8); 2];
        steps.push(Step::Rotate(stage.request(&live, 0)));
        let answers = stage.race(&steps).await?;
        let mut counted = counted(&answers);
        ensure(counted <= 12, || format!("12 sessions were over, and {counted} counted"))?;
        let stored = stage.load(&live.id).await?;
        let request = as_stalled(&stage.request(&live, 0), &live, stored.as_ref(), RACE);
        if let Some(change) = request.decide(&live).change {
            live.apply(change);
        }
        same_record("a live session that rotated beside purgers", stored.as_ref(), &live)?;
        // The sessions that each purge left to the other.
        counted += stage.purge(end, 1000).await?;
        // Two purges may choose the same session, but only one of them removes it.
        same("how many of 12 sessions were counted as purged", &counted, &12)?;
        for session in &over {
            stage.lacks("a session that was purged", &session.id).await?;
        }
    }
    Ok(())
}

async fn insert_twice<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    for _ in 0..stage.rounds {
        let session = stage.session(&stage.subject()?)?;
        let steps: Vec<_> = (0..8)
            .map(|index| {
                let rotated_at = stage.at(GRACE + Duration::from_millis(index));
                // Different records with one id, so that the stored one shows which request was the
                // first.
                let label = Some(format!("insert {index}"));
                let session = SessionRecord { label, rotated_at, ..session.clone() };
                Step::Insert(InsertRequest::new(session))
            })
            .collect();
        let answers = stage.race(&steps).await?;
        let first = Answer::Insert(InsertOutcome::INSERTED);
        let mut winners = steps.iter().zip(&answers).filter(|(_, answer)| **answer == first);
        let (Some((Step::Insert(winner), _)), None) = (winners.next(), winners.next()) else {
            return Err(Complaint(format!("8 inserts of one id: {answers:?}")));
        };
        let second = Answer::Insert(InsertOutcome::Duplicate);
        let losers = answers.iter().filter(|answer| **answer == second).count();
        same("how many of 8 inserts were duplicates", &losers, &7)?;
        let winner = &winner.session;
        stage.holds("the session of the first insert", winner).await?;
        same(
            "the list",
            &*stage.list(&session.subject, stage.now).await?,
            slice::from_ref(winner),
        )?;
    }
    Ok(())
}
