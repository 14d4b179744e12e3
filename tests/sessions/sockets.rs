//! Connections that outlive their request: the future that completes when their token ends.

use std::{
    future::{pending, ready},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use kippu::session::{
    AccessToken, AccessVerifier, EndedSessions, NoClaims, TokenEnd,
    conformance::{Fault, Method},
};
use kippu_test_support::clock::TestClock;
use tokio::time::{sleep, timeout};

use crate::ended::{LAG, Store, builder, login, options, store, verifier};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// How long a test waits for something that has to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns a token of a new login that the verifier accepts.
async fn token(store: &Store, verifier: &AccessVerifier) -> AccessToken<NoClaims> {
    let tokens = login(&builder(store).build().unwrap()).await;
    verifier.verify(&tokens.access_token).unwrap()
}

/// Ends all sessions of the user, and has the follower read about it.
async fn log_out(store: &Store, ended: &EndedSessions) {
    builder(store).build().unwrap().logout_all("alice").await.unwrap();
    ended.poll().await.unwrap();
}

async fn until_fresh(ended: &EndedSessions) {
    while !ended.is_fresh() {
        sleep(Duration::from_millis(1)).await;
    }
}

/// A timer that never fires: whatever completes, completes by a wake.
fn never(_: Duration) -> std::future::Pending<()> {
    pending()
}

#[tokio::test]
async fn a_socket_learns_when_its_session_ends() {
    let store = store();
    let sessions = builder(&store).build().unwrap();
    let ended = EndedSessions::follow(store.clone(), options().max_lag(HOUR));
    let verifier = verifier(&ended);
    let [tokens, others] = [login(&sessions).await, login(&sessions).await];
    ended.poll().await.unwrap();
    let token: AccessToken<NoClaims> = verifier.verify(&tokens.access_token).unwrap();
    let mut socket = tokio::spawn(verifier.ended(&token, never));
    sessions.logout(&others.refresh_token).await.unwrap();
    ended.poll().await.unwrap();
    assert!(timeout(LAG, &mut socket).await.is_err(), "another session has ended");
    sessions.logout(&tokens.refresh_token).await.unwrap();
    assert!(!socket.is_finished());
    ended.poll().await.unwrap();
    assert_eq!(timeout(PATIENCE, socket).await.unwrap().unwrap(), TokenEnd::SessionEnded);
    // A socket that is opened too late.
    let late = timeout(PATIENCE, verifier.ended(&token, never)).await;
    assert_eq!(late.unwrap(), TokenEnd::SessionEnded);
}

#[tokio::test]
async fn a_session_that_ends_before_the_future_is_polled_is_not_missed() {
    let store = store();
    let ended = EndedSessions::follow(store.clone(), options().max_lag(HOUR));
    ended.poll().await.unwrap();
    let verifier = verifier(&ended);
    let token = token(&store, &verifier).await;
    let future = verifier.ended(&token, never);
    log_out(&store, &ended).await;
    assert_eq!(timeout(PATIENCE, future).await.unwrap(), TokenEnd::SessionEnded);
}

/// A handler that makes the future again for each message, and drops it half-way.
#[tokio::test]
async fn a_dropped_future_can_be_made_again() {
    let store = store();
    let ended = EndedSessions::follow(store.clone(), options().max_lag(HOUR));
    ended.poll().await.unwrap();
    let verifier = verifier(&ended);
    let token = token(&store, &verifier).await;
    let mut messages = 0;
    let end = loop {
        tokio::select! {
            end = verifier.ended(&token, never) => break end,
            () = sleep(Duration::from_millis(1)) => messages += 1,
        }
        if messages == 10 {
            log_out(&store, &ended).await;
        }
    };
    assert_eq!((end, messages), (TokenEnd::SessionEnded, 10));
}

#[tokio::test]
async fn a_socket_task_owns_the_future() {
    fn is_owned<F: Future<Output = TokenEnd> + Send + 'static>(_: &F) {}
    let store = store();
    let ended = EndedSessions::follow(store.clone(), options().max_lag(HOUR));
    ended.poll().await.unwrap();
    let future = {
        let verifier = verifier(&ended);
        let token = token(&store, &verifier).await;
        verifier.ended(&token, sleep)
    };
    is_owned(&future);
    let task = tokio::spawn(future);
    log_out(&store, &ended).await;
    assert_eq!(timeout(PATIENCE, task).await.unwrap().unwrap(), TokenEnd::SessionEnded);
}

#[tokio::test]
async fn without_ended_sessions_only_the_expiry_ends_a_token() {
    let store = store();
    let ended = EndedSessions::follow(store.clone(), options());
    let verifier =
        AccessVerifier::new(kippu::Key::hs256([0x5a; 32]).unwrap(), "https://auth.example", "api");
    let token = token(&store, &verifier).await;
    let mut future = pin!(verifier.ended(&token, never));
    log_out(&store, &ended).await;
    assert!(timeout(LAG, &mut future).await.is_err());
}

#[tokio::test]
async fn a_socket_learns_when_its_token_expires() {
    const START: i64 = 1_795_478_400_000;
    let clock = TestClock::at(START);
    let store = store();
    let sessions = builder(&store).clock(clock).build().unwrap();
    let tokens = login(&sessions).await;
    let token: AccessToken<NoClaims> = sessions.verify(&tokens.access_token).unwrap();
    let naps = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&naps);
    let nap = move |duration: Duration| {
        told.lock().unwrap().push(duration.as_secs());
        clock.advance(i64::try_from(duration.as_millis()).unwrap());
        ready(())
    };
    assert_eq!(sessions.verifier().ended(&token, nap).await, TokenEnd::Expired);
    // 15 minutes and a leeway of one, in naps of one minute.
    assert_eq!(*naps.lock().unwrap(), [60; 16]);
    assert!(sessions.verify::<NoClaims>(&tokens.access_token).is_err());
}

/// The future and `verify` agree at each second, however the clock is set meanwhile.
#[tokio::test]
async fn a_clock_that_is_set_ends_a_token_when_verify_refuses_it() {
    const START: i64 = 1_795_478_400_000;
    const EXPIRY: i64 = START + (15 + 1) * 60_000;
    for (steps, expected) in [
        // Forward by an hour: at the next look at the clock.
        (&[60_000, 3_600_000][..], 2),
        // Back by two minutes during the third nap, which is two naps more.
        (&[60_000, 60_000, -120_000], 3 + 16),
        // A timer that fires early, by a second.
        (&[59_000], 17),
        // By its last millisecond the token is valid.
        (&[EXPIRY - START - 1, 1], 2),
    ] {
        let clock = TestClock::at(START);
        let sessions = Arc::new(builder(&store()).clock(clock).build().unwrap());
        let access_token = login(&sessions).await.access_token;
        let token: AccessToken<NoClaims> = sessions.verify(&access_token).unwrap();
        let is_valid = {
            let sessions = Arc::clone(&sessions);
            move || sessions.verify::<NoClaims>(&access_token).is_ok()
        };
        let naps = Arc::new(AtomicUsize::new(0));
        let (told, mut steps) = (Arc::clone(&naps), steps.iter());
        let valid = is_valid.clone();
        let nap = move |duration: Duration| {
            assert!(valid(), "the future looks at a clock by which the token has expired");
            assert!(duration <= Duration::from_secs(60), "{duration:?}");
            told.fetch_add(1, Ordering::SeqCst);
            let full = i64::try_from(duration.as_millis()).unwrap();
            clock.advance(steps.next().copied().unwrap_or(full));
            ready(())
        };
        assert_eq!(sessions.verifier().ended(&token, nap).await, TokenEnd::Expired);
        assert!(!is_valid());
        assert_eq!(naps.load(Ordering::SeqCst), expected);
    }
}

/// The store answers with an error, or not at all.
#[tokio::test]
async fn a_verifier_that_is_not_fresh_ends_its_sockets() {
    for fault in [Fault::Before, Fault::Late(HOUR)] {
        let store = store();
        let ended = EndedSessions::follow(store.clone(), options().max_lag(SECOND));
        let task = tokio::spawn(ended.clone().run(sleep));
        until_fresh(&ended).await;
        let verifier = verifier(&ended);
        let token = token(&store, &verifier).await;
        // In a task, which nothing but a wake polls: a `timeout` around the future itself does.
        let mut socket = tokio::spawn(verifier.ended(&token, never));
        assert!(timeout(LAG, &mut socket).await.is_err(), "it is fresh");
        (0..100).for_each(|_| store.fail(Method::EndedAfter, fault));
        let end = timeout(PATIENCE, socket).await.unwrap().unwrap();
        assert_eq!(end, TokenEnd::EndedUnknown, "{fault:?}");
        assert!(!ended.is_fresh(), "{fault:?}");
        task.abort();
    }
}

#[tokio::test]
async fn sockets_stay_open_where_stale_state_is_accepted() {
    let store = store();
    let ended = EndedSessions::follow(store.clone(), options().accept_when_stale());
    let task = tokio::spawn(ended.clone().run(sleep));
    until_fresh(&ended).await;
    let verifier = verifier(&ended);
    let token = token(&store, &verifier).await;
    let mut socket = tokio::spawn(verifier.ended(&token, never));
    (0..100).for_each(|_| store.fail(Method::EndedAfter, Fault::Before));
    while ended.is_fresh() {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(timeout(LAG, &mut socket).await.is_err());
    task.abort();
    while ended.poll().await.is_err() {}
    log_out(&store, &ended).await;
    assert_eq!(timeout(PATIENCE, socket).await.unwrap().unwrap(), TokenEnd::SessionEnded);
}

/// Nobody wakes the future then. Its own timer does.
#[tokio::test]
async fn a_follower_that_no_longer_runs_is_noticed_at_the_next_nap() {
    let store = store();
    let ended = EndedSessions::follow(store.clone(), options().max_lag(SECOND));
    ended.poll().await.unwrap();
    let verifier = verifier(&ended);
    let token = token(&store, &verifier).await;
    let naps = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&naps);
    let end = verifier.ended(&token, move |duration| {
        told.lock().unwrap().push(duration.as_secs());
        sleep(SECOND + LAG)
    });
    assert_eq!(timeout(PATIENCE, end).await.unwrap(), TokenEnd::EndedUnknown);
    assert_eq!(*naps.lock().unwrap(), [60]);
}

/// Each socket waits for one timer, and only the end of its session wakes it.
#[tokio::test]
async fn ten_thousand_sockets_wait_without_polling() {
    const SOCKETS: usize = 10_000;
    let store = store();
    let ended = EndedSessions::follow(store.clone(), options().max_lag(HOUR));
    ended.poll().await.unwrap();
    let verifier = verifier(&ended);
    let token = token(&store, &verifier).await;
    let timers = Arc::new(AtomicUsize::new(0));
    let sockets: Vec<_> = (0..SOCKETS)
        .map(|_| {
            let timers = Arc::clone(&timers);
            tokio::spawn(verifier.ended(&token, move |_| {
                timers.fetch_add(1, Ordering::SeqCst);
                pending()
            }))
        })
        .collect();
    while timers.load(Ordering::SeqCst) < SOCKETS {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        ended.poll().await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(timers.load(Ordering::SeqCst), SOCKETS);
    log_out(&store, &ended).await;
    for socket in sockets {
        assert_eq!(timeout(PATIENCE, socket).await.unwrap().unwrap(), TokenEnd::SessionEnded);
    }
}

#[test]
fn an_end_is_printed_for_the_client() {
    for (end, text) in [
        (TokenEnd::SessionEnded, "the session has ended"),
        (TokenEnd::Expired, "the access token has expired"),
        (TokenEnd::EndedUnknown, "it is not known whether the session has ended"),
    ] {
        assert_eq!(end.to_string(), text);
    }
}
