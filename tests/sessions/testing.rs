//! The feature `testing`: tokens, sessions and a clock for the tests of applications.

use std::{sync::Arc, time::Duration};

use kippu::{
    Clock, DecodeError, Key, NumericDate, Validation,
    session::{
        AccessVerifier, Lifetimes, Login, MemoryStore, NoClaims, Session, SessionError, Sessions,
        testing::{TestClock, TestSessions, TestToken},
    },
};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Role {
    role: String,
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

fn is_expired(test: &TestSessions, token: &str) -> bool {
    match test.sessions().verify::<NoClaims>(token) {
        Ok(_) => false,
        Err(error) => {
            assert!(error.is_expired(), "{error}");
            true
        }
    }
}

#[test]
fn a_test_token_has_any_subject_claims_age_and_lifetime() {
    let test = TestSessions::new();
    let token = TestToken::new("alice").claims(Role { role: "admin".into() });
    let token = test.token(&token.age(minutes(5)).lifetime(minutes(7)).auth_age(minutes(60)));
    let access = test.sessions().verify::<Role>(&token).unwrap();
    let now = NumericDate::from_seconds(test.clock().unix_millis() / 1000);
    assert_eq!((&*access.subject, &*access.client_id), ("alice", "web"));
    assert_eq!(access.claims, Role { role: "admin".into() });
    assert_eq!(access.issued_at, now.saturating_sub(minutes(5)));
    assert_eq!(access.expires_at, now.saturating_add(minutes(2)));
    assert_eq!(access.auth_time, Some(now.saturating_sub(minutes(60))));
    assert!(access.require_recent(minutes(59)).is_err());
    assert!(access.require_recent(minutes(61)).is_ok());
    // The leeway is 60 seconds.
    for (age, expired) in [(15 * 60 + 59, false), (15 * 60 + 60, true)] {
        let token = test.token(&TestToken::new("alice").age(Duration::from_secs(age)));
        assert_eq!(is_expired(&test, &token), expired, "{age}");
    }
}

#[test]
fn a_test_moves_the_clock_of_its_sessions() {
    let test = TestSessions::new();
    let token = test.token(&TestToken::new("alice"));
    test.clock().advance(minutes(15));
    assert!(!is_expired(&test, &token));
    test.clock().advance(minutes(1));
    assert!(is_expired(&test, &token));
    test.clock().set_back(minutes(1));
    assert!(!is_expired(&test, &token));
}

#[tokio::test]
async fn the_sessions_of_a_test_live_as_others() {
    let test = TestSessions::new();
    let authorize = async |_: Session| Ok::<_, SessionError>(Some(NoClaims {}));
    let phone = test.login(Login::new("alice").label("phone"), &NoClaims {});
    test.clock().advance(minutes(60));
    test.login("alice", &NoClaims {});
    test.login("bob", &NoClaims {});
    let listed = test.sessions().list("alice").await.unwrap().sessions;
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().any(|session| session.label.as_deref() == Some("phone")));
    let tokens = test.sessions().refresh(&phone.refresh_token, authorize).await.unwrap();

    // A token of its session is live, one that has none is not.
    let own = test.token(&TestToken::new("alice").session(tokens.session_id));
    assert!(test.sessions().verify_live::<NoClaims>(&own).await.is_ok());
    let none = test.token(&TestToken::new("alice"));
    let error = test.sessions().verify_live::<NoClaims>(&none).await.unwrap_err();
    assert!(matches!(error, SessionError::InvalidToken), "{error}");

    test.clock().advance(Lifetimes::default().idle());
    let error = test.sessions().refresh(&tokens.refresh_token, authorize).await.unwrap_err();
    assert!(matches!(error, SessionError::Expired), "{error}");
}

#[test]
fn a_server_that_only_verifies_takes_a_test_token_of_its_key() {
    let key = || Key::hs256([7; 32]).unwrap();
    let verifier = AccessVerifier::new(key(), "https://auth.example", "orders");
    let token = TestToken::new("alice");
    let own = token.sign(&key(), "https://auth.example", "orders");
    assert_eq!(verifier.verify::<NoClaims>(&own).unwrap().subject, "alice");
    let other = token.sign(&Key::hs256([8; 32]).unwrap(), "https://auth.example", "orders");
    assert_eq!(verifier.verify::<NoClaims>(&other).unwrap_err(), DecodeError::Signature);
    assert!(verifier.verify::<NoClaims>(&token.sign(&key(), "https://auth.example", "x")).is_err());
}

/// Whatever is given a clock takes one whose type is not known.
#[test]
fn a_clock_is_shared_by_an_arc() {
    let test = TestClock::at(NumericDate::from_seconds(1_800_000_000));
    let clock: Arc<dyn Clock> = Arc::new(test.clone());
    let key = || Key::hs256([7; 32]).unwrap();
    let verifier = AccessVerifier::new(key(), "https://auth.example", "api").clock(clock.clone());
    let validation = Validation::new().issuer("https://auth.example").audience("api");
    let validation = validation.clock(clock.clone());
    let sessions = Sessions::builder(MemoryStore::new(10))
        .issuer("https://auth.example")
        .audience("api")
        .client("web")
        .access_key(key())
        .refresh_key(Key::hs256([8; 32]).unwrap().with_kid("1"))
        .clock(clock)
        .build()
        .unwrap();
    let token = sessions.test_token(&TestToken::new("alice"));
    let all = || {
        [
            verifier.verify::<NoClaims>(&token).is_ok(),
            sessions.verify::<NoClaims>(&token).is_ok(),
            kippu::decode::<NoClaims>(&token, &key(), &validation).is_ok(),
        ]
    };
    assert_eq!(all(), [true; 3]);
    test.advance(minutes(16));
    assert_eq!(all(), [false; 3]);
}
