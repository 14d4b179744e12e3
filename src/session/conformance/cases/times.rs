//! Expiry to the millisecond, and clock steps.

use core::{slice, time::Duration};

use crate::session::{
    conformance::{
        report::{Book, Case},
        stage::{ABSOLUTE, DAY, GRACE, HOUR, IDLE, MILLI, Stage, Verdict, YEAR, ensure, same},
    },
    record::SessionRecord,
    rotation::{RotateOutcome, RotateRequest},
    store::RefreshStore,
    time::UnixMillis,
};

const EXACT: Case = Case(
    "times/are_kept_to_the_millisecond",
    "R7",
    "store times as 64-bit integers of milliseconds: no seconds, no floats, no timestamps of a database",
);
const IDLE_END: Case = Case(
    "times/idle_expiry_is_decided_at_use",
    "R7",
    "compare now with expires_at in rotate and list: the session has ended at that millisecond, whether or not a purge runs",
);
const ABSOLUTE_END: Case = Case(
    "times/the_absolute_end_never_moves",
    "R7",
    "never write absolute_expires_at after the insert, and never store an expires_at after it",
);
const OUTLIVES: Case = Case(
    "times/use_outlives_the_first_idle_expiry",
    "R7",
    "change expires_at with every rotation, together with whatever removes the session by itself (a TTL)",
);
const STEPS: Case = Case(
    "times/clock_steps_prolong_nothing",
    "R8",
    "take the time from the call; treat a clock behind rotated_at as if no time had passed, and store the decision unchanged",
);
const EXTREMES: Case = Case(
    "times/extremes",
    "R8",
    "use saturating arithmetic on i64 milliseconds and on Durations: UnixMillis::saturating_add and saturating_since",
);

pub(super) async fn run<S: RefreshStore>(stage: &Stage<S>, book: &mut Book) {
    book.case(EXACT, kept_to_the_millisecond(stage)).await;
    book.case(IDLE_END, idle_expiry(stage)).await;
    book.case(ABSOLUTE_END, absolute_end(stage)).await;
    book.case(OUTLIVES, outlives_the_first_expiry(stage)).await;
    book.case(STEPS, clock_steps(stage)).await;
    book.case(EXTREMES, extremes(stage)).await;
}

async fn kept_to_the_millisecond<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let past = [UnixMillis::MIN.get(), -1001, -1, 0, 1, 999, 1_700_000_000_001];
    let future = [i64::from(u32::MAX) * 1000 + 1, UnixMillis::MAX.get() - 1, UnixMillis::MAX.get()];
    let times: &[i64] = if stage.keeps { &past } else { &[] };
    for end in times.iter().chain(&future) {
        let end = UnixMillis::new(*end);
        let session = SessionRecord {
            created_at: UnixMillis::new(end.get().saturating_sub(3)),
            rotated_at: UnixMillis::new(end.get().saturating_sub(2)),
            expires_at: UnixMillis::new(end.get().saturating_sub(1)),
            absolute_expires_at: end,
            ..stage.session(&stage.subject()?)?
        };
        stage.add(&session).await?;
        stage.holds("a session that was inserted", &session).await?;
    }
    let mut session = stage.logged_in().await?;
    for (generation, millis) in [(0, 1001), (1, 2999), (2, 3000)] {
        let now = stage.at(Duration::from_millis(millis));
        let request = RotateRequest { now, ..stage.request(&session, generation) };
        stage.present(&mut session, &request).await?;
    }
    Ok(())
}

/// Checks that the session is live a millisecond before `end`, and has ended from then on.
async fn ends_at<S: RefreshStore>(
    stage: &Stage<S>,
    session: &mut SessionRecord,
    end: UnixMillis,
) -> Verdict {
    let before = UnixMillis::new(end.get() - 1);
    for now in [end, end.saturating_add(MILLI), end.saturating_add(DAY * 365)] {
        let request = RotateRequest { now, ..stage.request(session, session.generation) };
        stage.presented(session, &request, &RotateOutcome::Expired).await?;
        let listed = stage.list(&session.subject, now).await?;
        same("the list of a subject whose session has expired", &*listed, &[])?;
    }
    let listed = stage.list(&session.subject, before).await?;
    same("the list a millisecond before the end", &*listed, slice::from_ref(session))?;
    let request = RotateRequest { now: before, ..stage.request(session, session.generation) };
    let outcome = stage.present(session, &request).await?;
    ensure(matches!(outcome, RotateOutcome::Rotated(_)), || {
        alloc::format!("rotate a millisecond before the end: {outcome:?}")
    })
}

async fn idle_expiry<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut session = stage.logged_in().await?;
    let end = session.expires_at;
    ends_at(stage, &mut session, end).await?;
    // The same with a short idle lifetime that a rotation has set.
    let idle_lifetime = Duration::from_millis(1500);
    let now = session.rotated_at;
    let request = RotateRequest { now, idle_lifetime, ..stage.request(&session, 1) };
    stage.present(&mut session, &request).await?;
    let end = session.expires_at;
    let wanted = session.rotated_at.saturating_add(idle_lifetime);
    same("expires_at after a rotation", &end, &wanted)?;
    ends_at(stage, &mut session, end).await
}

async fn absolute_end<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut session = stage.logged_in().await?;
    let end = session.absolute_expires_at;
    let idle_lifetime = DAY * 10;
    // Refreshed every nine days, the last time a day before the end.
    for (generation, days) in (0..).zip([0, 9, 18, 27, 29]) {
        let now = stage.at(DAY * days);
        let request = RotateRequest { now, idle_lifetime, ..stage.request(&session, generation) };
        let outcome = stage.present(&mut session, &request).await?;
        ensure(matches!(outcome, RotateOutcome::Rotated(_)), || {
            alloc::format!("rotate before the absolute end: {outcome:?}")
        })?;
    }
    same("expires_at of a session that was used to the end", &session.expires_at, &end)?;
    same("absolute_expires_at at the end", &session.absolute_expires_at, &stage.at(ABSOLUTE))?;
    ends_at(stage, &mut session, end).await
}

async fn outlives_the_first_expiry<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut session = stage.logged_in().await?;
    let first = session.expires_at;
    let request = RotateRequest { now: stage.at(HOUR), ..stage.request(&session, 0) };
    stage.present(&mut session, &request).await?;
    if stage.keeps {
        stage.purge(first, 1000).await?;
    }
    stage.holds("a session that was used, at its first expiry", &session).await?;
    let listed = stage.list(&session.subject, first).await?;
    same("the list at the first expiry", &*listed, &[session.clone()])?;
    let request = RotateRequest { now: first, ..stage.request(&session, 1) };
    let outcome = stage.present(&mut session, &request).await?;
    ensure(matches!(outcome, RotateOutcome::Rotated(_)), || {
        alloc::format!("rotate at the first expiry: {outcome:?}")
    })
}

async fn clock_steps<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    // The session began long enough ago for the clock to step back.
    let now = stage.at(HOUR * 2);
    let back = stage.at(HOUR);
    let mut session = stage.logged_in().await?;
    let at = |now: UnixMillis, generation: u64, session: &SessionRecord| RotateRequest {
        now,
        ..stage.request(session, generation)
    };
    let request = at(now, 0, &session);
    stage.present(&mut session, &request).await?;

    // Back: a retry is still a retry, a rotation gives an earlier end, and an old token is still
    // old.
    let before = session.clone();
    let request = at(back, 0, &session);
    let outcome = stage.present(&mut session, &request).await?;
    ensure(matches!(outcome, RotateOutcome::Replayed(_)), || {
        alloc::format!("a retry on a clock that stepped back: {outcome:?}")
    })?;
    same("the session after it", &session, &before)?;
    let request = at(back, 1, &session);
    stage.present(&mut session, &request).await?;
    let wanted = session.rotated_at.saturating_add(IDLE);
    same("expires_at after a step back", &session.expires_at, &wanted)?;

    // Forward: the session has expired, and nothing else has changed.
    let ten_years = now.saturating_add(YEAR * 10);
    for generation in [2, 1, 0] {
        let request = at(ten_years, generation, &session);
        stage.presented(&mut session, &request, &RotateOutcome::Expired).await?;
    }
    let request = at(now, 2, &session);
    stage.present(&mut session, &request).await?;
    let request = at(now.saturating_add(GRACE), 1, &session);
    stage.presented(&mut session, &request, &RotateOutcome::Reused).await?;

    // A session of a century, which rotates ten years ahead. Back again, it is as if no time had
    // passed.
    let century = stage.at(YEAR * 100);
    let mut session = SessionRecord {
        absolute_expires_at: century,
        expires_at: century,
        ..stage.session(&stage.subject()?)?
    };
    stage.add(&session).await?;
    for (now, generation) in [(ten_years, 0), (now, 0), (now, 1), (ten_years, 2)] {
        let request = at(now, generation, &session);
        stage.present(&mut session, &request).await?;
    }
    Ok(())
}

async fn extremes<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let (first, last) = (UnixMillis::MIN, UnixMillis::MAX);
    let before_last = UnixMillis::new(last.get() - 1);
    let mut session = SessionRecord {
        created_at: first,
        rotated_at: first,
        expires_at: last,
        absolute_expires_at: last,
        ..stage.session(&stage.subject()?)?
    };
    stage.add(&session).await?;
    let mut steps = alloc::vec![
        (0, first, Duration::MAX),
        (0, first, Duration::MAX),
        (0, before_last, Duration::MAX),
        (1, before_last, Duration::MAX),
        (1, first, MILLI),
        (2, last, Duration::MAX),
        (2, before_last, Duration::MAX),
    ];
    if stage.keeps {
        // The idle end becomes the earliest time.
        steps.extend([(3, first, Duration::MAX), (3, first, Duration::MAX)]);
    }
    for (generation, now, grace) in steps {
        let idle_lifetime = if generation == 3 { Duration::ZERO } else { Duration::MAX };
        let request =
            RotateRequest { now, grace, idle_lifetime, ..stage.request(&session, generation) };
        stage.present(&mut session, &request).await?;
    }
    for now in [first, UnixMillis::new(0), last] {
        stage.list(&session.subject, now).await?;
    }
    // The longest possible grace, on the oldest possible rotation.
    let mut session = SessionRecord {
        generation: 1,
        created_at: first,
        rotated_at: first,
        expires_at: last,
        absolute_expires_at: last,
        ..stage.session(&stage.subject()?)?
    };
    stage.add(&session).await?;
    for grace in [Duration::MAX, Duration::from_millis((1 << 54) - 3), YEAR] {
        let request = RotateRequest { now: before_last, grace, ..stage.request(&session, 0) };
        stage.present(&mut session, &request).await?;
    }
    Ok(())
}
