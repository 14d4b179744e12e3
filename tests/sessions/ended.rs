//! Ended sessions: a verifier that follows them rejects their tokens, and reports when it cannot
//! know.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use kippu::{
    DecodeError, Key,
    session::{
        AccessToken, AccessVerifier, ConfigError, EndedError, EndedOptions, EndedSessions,
        MemoryStore, NoClaims, RefreshStore, RevokeReason, SessionError, Sessions, SessionsBuilder,
        TokenResponse,
        conformance::{Fault, Faulty, Method},
        store::InsertRequest,
    },
};
use kippu_test_support::log::Log;
use tokio::time::{sleep, timeout};

pub(crate) type Store = Arc<Faulty<MemoryStore>>;

pub(crate) const LAG: Duration = Duration::from_millis(200);
const REFUSED: &str =
    "it is not known whether the session has ended: the store was not read lately";

fn key() -> Key {
    Key::hs256([0x5a; 32]).unwrap()
}

pub(crate) fn store() -> Store {
    Arc::new(Faulty::new(MemoryStore::new(1000)))
}

pub(crate) fn builder(store: &Store) -> SessionsBuilder<Store> {
    Sessions::builder(store.clone())
        .issuer("https://auth.example")
        .audience("api")
        .client("web")
        .access_key(key())
        .refresh_key(Key::hs256([0x5b; 32]).unwrap().with_kid("1"))
}

pub(crate) fn verifier(ended: &EndedSessions) -> AccessVerifier {
    AccessVerifier::new(key(), "https://auth.example", "api").ended_sessions(ended.clone())
}

pub(crate) fn options() -> EndedOptions {
    EndedOptions::new().max_lag(LAG)
}

pub(crate) async fn login(sessions: &Sessions<Store>) -> TokenResponse {
    sessions.login("alice", &NoClaims {}).await.unwrap()
}

/// Returns the verdict of a verifier on the access token of a login.
fn verdict(verifier: &AccessVerifier, tokens: &TokenResponse) -> Result<(), DecodeError> {
    verifier.verify(&tokens.access_token).map(|_: AccessToken<NoClaims>| ())
}

fn unknown() -> Result<(), DecodeError> {
    Err(DecodeError::EndedUnknown { reason: REFUSED })
}

#[tokio::test]
async fn a_token_is_rejected_once_its_session_is_in_the_log() {
    let store = store();
    let sessions = builder(&store).build().unwrap();
    let ended = EndedSessions::follow(store.clone(), options().max_lag(Duration::from_secs(60)));
    let verifier = verifier(&ended);
    let [first, second] = [login(&sessions).await, login(&sessions).await];
    assert_eq!(verdict(&verifier, &first), unknown(), "the store was never read");
    ended.poll().await.unwrap();
    assert_eq!(verdict(&verifier, &first), Ok(()));

    sessions.logout(&first.refresh_token).await.unwrap();
    assert_eq!(verdict(&verifier, &first), Ok(()), "within the lag");
    ended.poll().await.unwrap();
    assert_eq!(verdict(&verifier, &first), Err(DecodeError::SessionEnded));
    assert_eq!(verdict(&verifier, &second), Ok(()));
    let explained = verifier.explain(&first.access_token).to_string();
    assert!(explained.contains("the session of the token has ended"), "{explained}");

    sessions.logout_all("alice").await.unwrap();
    ended.poll().await.unwrap();
    assert_eq!(verdict(&verifier, &second), Err(DecodeError::SessionEnded));
    // A follower that starts later reads the whole log.
    let late = EndedSessions::follow(store, options());
    late.poll().await.unwrap();
    assert!([first, second].iter().all(|tokens| late.contains(&tokens.session_id)));
}

#[tokio::test]
async fn freshness_counts_from_the_start_of_a_reading() {
    let store = store();
    let sessions = builder(&store).build().unwrap();
    let ended = EndedSessions::follow(store.clone(), options());
    let verifier = verifier(&ended);
    let tokens = login(&sessions).await;
    // The answer takes longer than the lag.
    store.fail(Method::EndedAfter, Fault::Late(2 * LAG));
    ended.poll().await.unwrap();
    assert!(!ended.is_fresh());
    assert_eq!(verdict(&verifier, &tokens), unknown());
    ended.poll().await.unwrap();
    assert_eq!(verdict(&verifier, &tokens), Ok(()));
    // A reading that fails does not make it fresh.
    sleep(LAG / 2).await;
    store.fail(Method::EndedAfter, Fault::After);
    assert!(matches!(ended.poll().await, Err(EndedError::Store(_))));
    assert_eq!(verdict(&verifier, &tokens), Ok(()));
    sleep(LAG / 2 + Duration::from_millis(5)).await;
    assert_eq!(verdict(&verifier, &tokens), unknown());
}

#[tokio::test]
async fn an_operator_may_accept_tokens_of_unknown_state() {
    let store = store();
    let sessions = builder(&store).build().unwrap();
    let ended = EndedSessions::follow(store.clone(), options().accept_when_stale());
    let verifier = verifier(&ended);
    let tokens = login(&sessions).await;
    assert!(!ended.is_fresh());
    assert_eq!(verdict(&verifier, &tokens), Ok(()));
    sessions.logout(&tokens.refresh_token).await.unwrap();
    ended.poll().await.unwrap();
    sleep(LAG + Duration::from_millis(5)).await;
    assert!(!ended.is_fresh());
    assert_eq!(
        verdict(&verifier, &tokens),
        Err(DecodeError::SessionEnded),
        "an ended session stays ended"
    );
}

#[tokio::test]
async fn a_token_that_outlives_the_log_is_rejected() {
    let store = store();
    let sessions = builder(&store).build().unwrap();
    let short = options().access_lifetime(Duration::from_secs(15 * 60 - 1));
    let ended = EndedSessions::follow(store.clone(), short);
    ended.poll().await.unwrap();
    let tokens = login(&sessions).await;
    let refused = verdict(&verifier(&ended), &tokens).unwrap_err();
    assert!(refused.to_string().contains("lives longer"), "{refused}");
    let built = builder(&store).ended_sessions(ended).build();
    let access_lifetime = Duration::from_secs(15 * 60);
    let known = Duration::from_secs(15 * 60 - 1);
    assert_eq!(built.unwrap_err(), ConfigError::EndedTooShort { access_lifetime, ended: known });
}

#[tokio::test]
async fn a_full_verifier_is_not_fresh_and_keeps_its_ids() {
    let store = store();
    let sessions = builder(&store).build().unwrap();
    let ended = EndedSessions::follow(store.clone(), options().capacity(2));
    let tokens = [login(&sessions).await, login(&sessions).await, login(&sessions).await];
    ended.poll().await.unwrap();
    sessions.logout_all("alice").await.unwrap();
    let error = ended.poll().await.unwrap_err();
    assert_eq!(error.to_string(), "more than 2 sessions have ended: raise EndedOptions::capacity");
    let known = tokens.iter().filter(|tokens| ended.contains(&tokens.session_id)).count();
    assert_eq!(known, 2);
    sleep(LAG + Duration::from_millis(5)).await;
    assert!(!ended.is_fresh());
}

/// The task keeps the verifier fresh, continues after a fault, and logs when the verifier is not
/// fresh.
#[tokio::test]
async fn the_task_continues_after_a_fault() {
    let log = Log::default();
    let guard = tracing::subscriber::set_default(log.clone());
    let store = store();
    let sessions = builder(&store).build().unwrap();
    let ended = EndedSessions::follow(store.clone(), options());
    let task = tokio::spawn(ended.clone().run(sleep));
    let becomes = async |is_fresh| {
        let waited = async {
            while ended.is_fresh() != is_fresh {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(10), waited).await.unwrap();
    };
    becomes(true).await;
    (0..30).for_each(|_| store.fail(Method::EndedAfter, Fault::Before));
    becomes(false).await;
    becomes(true).await;
    let tokens = login(&sessions).await;
    sessions.logout(&tokens.refresh_token).await.unwrap();
    sleep(LAG).await;
    assert_eq!(verdict(&verifier(&ended), &tokens), Err(DecodeError::SessionEnded));
    task.abort();
    drop(guard);
    let text = log.text();
    let count = |line| text.matches(line).count();
    assert_eq!(count("it is known which sessions have ended"), 2, "{text}");
    assert_eq!(count("it is not known which sessions have ended"), 1, "{text}");
}

/// Sessions also verify with it, but a logout by an access token does not need it.
#[tokio::test]
async fn a_logout_by_an_access_token_does_not_depend_on_it() {
    let store = store();
    let ended = EndedSessions::follow(store.clone(), options());
    let sessions = builder(&store).ended_sessions(ended.clone()).build().unwrap();
    let tokens = login(&sessions).await;
    let error = sessions.verify_live::<NoClaims>(&tokens.access_token).await.unwrap_err();
    assert!(
        matches!(error, SessionError::AccessToken(DecodeError::EndedUnknown { .. })),
        "{error}"
    );
    assert_eq!((error.oauth_error(), error.is_transient()), ("temporarily_unavailable", true));
    sessions.logout_by_access_token(&tokens.access_token).await.unwrap();
    ended.poll().await.unwrap();
    let error = sessions.verify_live::<NoClaims>(&tokens.access_token).await.unwrap_err();
    assert!(matches!(error, SessionError::AccessToken(DecodeError::SessionEnded)), "{error}");
    assert_eq!(error.oauth_error(), "invalid_token");
}

/// The purge trims the log, after the longest time for which a token can be valid.
#[tokio::test]
async fn the_purge_trims_the_log() {
    let store = store();
    let sessions = builder(&store).build().unwrap();
    let tokens = login(&sessions).await;
    sessions.logout(&tokens.refresh_token).await.unwrap();
    sessions.purge_expired(10).await.unwrap();
    assert!(store.take_calls().contains(&Method::TrimEnded));
    let ended = EndedSessions::follow(store, options());
    ended.poll().await.unwrap();
    assert!(ended.contains(&tokens.session_id), "the log contained the session");
}

#[tokio::test]
async fn a_wake_reads_the_log_at_once() {
    let store = store();
    let sessions = builder(&store).build().unwrap();
    let hour = Duration::from_secs(3600);
    let ended = EndedSessions::follow(store.clone(), options().max_lag(hour));
    let task = tokio::spawn(ended.clone().run(sleep));
    let tokens = login(&sessions).await;
    while !ended.is_fresh() {
        sleep(Duration::from_millis(1)).await;
    }
    sessions.logout(&tokens.refresh_token).await.unwrap();
    assert!(!ended.contains(&tokens.session_id));
    ended.wake();
    let read = async {
        while !ended.contains(&tokens.session_id) {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(10), read).await.unwrap();
    task.abort();
}

/// As after a failover to a replica that had not received the logout.
#[tokio::test]
async fn a_logout_that_the_store_has_lost_is_repeated() {
    let store = store();
    let ended = EndedSessions::follow(store.clone(), options().max_lag(Duration::from_secs(60)));
    let sessions = builder(&store).ended_sessions(ended.clone()).build().unwrap();
    let [lost, other] = [login(&sessions).await, login(&sessions).await];
    let replica = MemoryStore::new(10);
    for tokens in [&lost, &other] {
        let record = store.load(&tokens.session_id).await.unwrap().unwrap();
        replica.insert(&InsertRequest::new(record)).await.unwrap();
    }
    sessions.logout(&lost.refresh_token).await.unwrap();
    ended.poll().await.unwrap();
    store.restore(replica);
    let listed = sessions.list("alice").await.unwrap().sessions;
    assert_eq!(listed.iter().map(|session| session.id).collect::<Vec<_>>(), [other.session_id]);
    let welcome = async |_| Ok::<_, std::io::Error>(Some(NoClaims {}));
    let error = sessions.refresh(&lost.refresh_token, welcome).await.unwrap_err();
    assert!(matches!(error, SessionError::Revoked(RevokeReason::Logout)), "{error}");
    let record = store.load(&lost.session_id).await.unwrap().unwrap();
    assert!(record.revoked.is_some(), "in the store, too");
    assert!(sessions.refresh(&other.refresh_token, welcome).await.is_ok());
}

/// A verifier that starts before its store rejects every token until it has read the log once.
#[tokio::test]
async fn a_failed_reading_is_repeated_within_a_second() {
    let store = store();
    let ended = EndedSessions::follow(store.clone(), options().max_lag(Duration::from_secs(3600)));
    store.fail(Method::EndedAfter, Fault::Before);
    let naps = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&naps);
    let run = ended.clone().run(move |time| {
        let mut naps = noted.lock().unwrap();
        naps.push(time);
        let is_second = naps.len() > 1;
        async move {
            if is_second {
                std::future::pending::<()>().await;
            }
        }
    });
    assert!(timeout(LAG, run).await.is_err());
    assert!(ended.is_fresh());
    let [first, second] = naps.lock().unwrap()[..] else { panic!("two naps") };
    assert!(first <= Duration::from_secs(1), "{first:?}");
    assert_eq!(second, Duration::from_secs(360));
}
