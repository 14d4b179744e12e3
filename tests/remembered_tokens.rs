//! A guard that remembers tokens lets in whom one without memory lets in, at each moment, and reads the same token once.
#![cfg(feature = "axum")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/clock.rs"]
mod clock;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use axum::{
    Extension, Router,
    body::Body,
    extract::FromRequestParts,
    http::{Request, StatusCode},
    routing::get,
};
use kippu::{
    Key, KeySet, NumericDate, SharedKeySet, encode_with_typ,
    session::{AccessToken, AccessVerifier, Keyring, NoClaims},
    web::{Access, Guard, Rejection},
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::json;
use tower::ServiceExt;

use clock::TestClock;

const ISSUER: &str = "https://auth.example";
/// When the tokens here are issued and when they expire.
const ISSUED: i64 = 1_000_000;
const EXPIRES: i64 = ISSUED + 900;
const LEEWAY: i64 = 5;

fn clock() -> &'static TestClock {
    TestClock::at(ISSUED * 1000)
}

fn set(clock: &TestClock, seconds: i64) {
    clock.set(seconds * 1000);
}

fn key(byte: u8) -> Key {
    Key::hs256([byte; 32]).unwrap().with_kid(byte.to_string())
}

fn verifier(keys: impl Into<Keyring>, clock: &'static TestClock) -> AccessVerifier {
    let leeway = Duration::from_secs(LEEWAY.unsigned_abs());
    AccessVerifier::new(keys, ISSUER, "api").leeway(leeway).unwrap().clock(clock)
}

fn token(key: &Key, subject: &str) -> String {
    let claims = json!({
        "iss": ISSUER, "aud": "api", "sub": subject, "client_id": "web", "jti": "1", "sid": "A".repeat(22),
        "iat": ISSUED, "nbf": ISSUED, "exp": EXPIRES, "role": "reader",
    });
    encode_with_typ(&claims, key, "at+jwt").unwrap()
}

/// What a handler behind the guard gets.
async fn access<C>(guard: &Guard, token: &str) -> Result<Arc<AccessToken<C>>, String>
where
    C: DeserializeOwned + Send + Sync + 'static,
{
    let request = Request::get("/").header("authorization", format!("Bearer {token}"));
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    match Access::from_request_parts(&mut parts, guard).await {
        Ok(Access(token)) => Ok(token),
        Err(Rejection::InvalidToken(error)) => Err(error.to_string()),
        Err(other) => panic!("{other}"),
    }
}

async fn subject(guard: &Guard, token: &str) -> Result<String, String> {
    access::<NoClaims>(guard, token).await.map(|token| token.subject.clone())
}

/// A type of claims that counts how often it is read.
macro_rules! counted {
    ($name:ident, $count:ident) => {
        static $count: AtomicUsize = AtomicUsize::new(0);

        #[derive(Debug)]
        struct $name;

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $count.fetch_add(1, Ordering::SeqCst);
                NoClaims::deserialize(deserializer).map(|_| Self)
            }
        }
    };
}

#[tokio::test]
async fn a_token_is_read_once_when_it_is_to_be_remembered() {
    counted!(Counted, COUNT);
    let token = token(&key(1), "alice");
    let clock = clock();
    // As late as it is good for anything.
    set(clock, EXPIRES + LEEWAY - 1);
    let verifier = Arc::new(verifier(key(1), clock));
    let forgetful = Guard::new(Arc::clone(&verifier));
    for (guard, reads) in [
        (forgetful.clone(), 3),
        (forgetful.clone().remember(0), 3),
        (forgetful.clone().remember(8), 1),
    ] {
        COUNT.store(0, Ordering::SeqCst);
        for _ in 0..3 {
            assert_eq!(access::<Counted>(&guard, &token).await.unwrap().subject, "alice");
        }
        assert_eq!(COUNT.load(Ordering::SeqCst), reads, "{guard:?}");
    }
}

#[tokio::test]
async fn a_layer_remembers_as_an_extractor_does() {
    counted!(Counted, COUNT);
    let guard = Guard::new(verifier(key(1), clock())).remember(8);
    let token = token(&key(1), "alice");
    let handler =
        async |Extension(token): Extension<Arc<AccessToken<Counted>>>| token.subject.clone();
    let router: Router = Router::new().route("/", get(handler)).layer(guard.layer::<Counted>());
    for _ in 0..3 {
        let request = Request::get("/").header("authorization", format!("Bearer {token}"));
        let request = request.body(Body::empty()).unwrap();
        assert_eq!(router.clone().oneshot(request).await.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(access::<Counted>(&guard, &token).await.unwrap().subject, "alice");
    assert_eq!(COUNT.load(Ordering::SeqCst), 1);
}

/// One letter changed, anywhere, or two in the same way; the front of one with the signature of another; more or less of it.
#[tokio::test]
async fn no_other_token_is_taken_for_one_that_is_remembered() {
    let forgetful = Guard::new(verifier(key(1), clock()));
    // One place, which every token shares.
    let guard = forgetful.clone().remember(1);
    let (alice, bob) = (token(&key(1), "alice"), token(&key(1), "bob"));
    let (front, signature) = alice.rsplit_once('.').unwrap();
    let (other_front, _) = bob.rsplit_once('.').unwrap();
    let changed = (0..alice.len()).map(|place| {
        let mut bytes = alice.clone().into_bytes();
        let byte = bytes.get_mut(place).unwrap();
        *byte = if *byte == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    });
    let mut two = alice.clone().into_bytes();
    let letters = two.iter_mut().filter(|byte| byte.is_ascii_alphabetic()).take(2);
    letters.for_each(|letter| *letter ^= 0x20);
    let others = [
        String::from_utf8(two).unwrap(),
        format!("{other_front}.{signature}"),
        format!("{front}.{signature}.{signature}"),
        format!("{front}.{front}.{signature}"),
        format!(".{signature}"),
        format!("{alice}A"),
        format!("A{alice}"),
        signature.to_owned(),
        front.to_owned(),
        format!("{front}."),
    ];
    let mut tried = 0;
    for other in changed.chain(others) {
        assert_eq!(subject(&guard, &alice).await.unwrap(), "alice");
        let refused = subject(&guard, &other).await.unwrap_err();
        assert_eq!(refused, subject(&forgetful, &other).await.unwrap_err(), "{other}");
        tried += 1;
    }
    assert!(tried > alice.len());
    for _ in 0..3 {
        assert_eq!(subject(&guard, &alice).await.unwrap(), "alice");
        assert_eq!(subject(&guard, &bob).await.unwrap(), "bob");
    }
}

#[tokio::test]
async fn a_token_is_remembered_in_its_time_alone() {
    let clock = clock();
    let forgetful = Guard::new(verifier(key(1), clock));
    let guard = forgetful.clone().remember(8);
    let token = token(&key(1), "alice");
    let mut outcomes = [0; 2];
    for seen in [ISSUED, EXPIRES - 1, EXPIRES + LEEWAY - 1] {
        for now in [
            i64::MIN / 1_000_000,
            ISSUED - LEEWAY - 1,
            ISSUED - LEEWAY,
            seen - 1,
            seen,
            EXPIRES + LEEWAY - 1,
            EXPIRES + LEEWAY,
            i64::MAX / 1_000_000,
        ] {
            set(clock, seen);
            assert_eq!(subject(&guard, &token).await.unwrap(), "alice");
            set(clock, now);
            let outcome = subject(&guard, &token).await;
            assert_eq!(outcome, subject(&forgetful, &token).await, "{seen} {now}");
            outcomes[usize::from(outcome.is_ok())] += 1;
        }
    }
    assert!(outcomes.iter().all(|count| *count >= 9), "{outcomes:?}");
}

#[tokio::test]
async fn a_token_is_remembered_until_its_key_retires() {
    let clock = clock();
    let retires = ISSUED + 60;
    let keys = KeySet::new(key(2)).unwrap();
    let keys = keys.retire(key(1), NumericDate::from_seconds(retires)).unwrap();
    let guard = Guard::new(verifier(keys, clock)).remember(8);
    let token = token(&key(1), "alice");
    assert_eq!(subject(&guard, &token).await.unwrap(), "alice");
    set(clock, retires - 1);
    assert_eq!(subject(&guard, &token).await.unwrap(), "alice");
    set(clock, retires);
    assert!(subject(&guard, &token).await.unwrap_err().contains("verifies until"));
}

#[tokio::test]
async fn a_token_is_forgotten_when_the_keys_are_replaced() {
    let shared = Arc::new(SharedKeySet::new(KeySet::new(key(1)).unwrap()));
    let guard = Guard::new(verifier(Arc::clone(&shared), clock())).remember(8);
    let token = token(&key(1), "alice");
    for _ in 0..100 {
        assert_eq!(subject(&guard, &token).await.unwrap(), "alice");
        shared.replace(KeySet::new(key(2)).unwrap());
        assert!(subject(&guard, &token).await.unwrap_err().contains("kid"));
        shared.replace(KeySet::new(key(1)).unwrap());
    }
}

#[tokio::test]
async fn each_type_of_claims_is_read_from_the_token() {
    #[derive(Clone, Debug, Deserialize)]
    struct Role {
        role: String,
    }
    #[derive(Clone, Debug, Deserialize)]
    struct Tenant {
        #[expect(dead_code, reason = "no token here has it")]
        tenant: String,
    }
    let guard = Guard::new(verifier(key(1), clock())).remember(1);
    let token = token(&key(1), "alice");
    for _ in 0..2 {
        assert_eq!(subject(&guard, &token).await.unwrap(), "alice");
        assert_eq!(access::<Role>(&guard, &token).await.unwrap().claims.role, "reader");
        assert!(access::<Tenant>(&guard, &token).await.unwrap_err().contains("tenant"));
    }
}

#[test]
fn requests_at_once_get_each_their_own_token() {
    let guard = Guard::new(verifier(key(1), clock())).remember(4);
    let tokens: Vec<_> = (0..16).map(|user| token(&key(1), &format!("user {user}"))).collect();
    thread::scope(|scope| {
        for thread in 0..4 {
            let (guard, tokens) = (&guard, &tokens);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for round in 0..2_000 {
                    let user = (round * 7 + thread * 5) % tokens.len();
                    let subject = runtime.block_on(subject(guard, tokens.get(user).unwrap()));
                    assert_eq!(subject.unwrap(), format!("user {user}"));
                }
            });
        }
    });
}

#[tokio::test]
async fn nothing_printed_shows_what_is_remembered() {
    let guard = Guard::new(verifier(key(1), clock())).remember(8);
    let token = token(&key(1), "alice");
    assert_eq!(subject(&guard, &token).await.unwrap(), "alice");
    let printed = format!("{guard:?}");
    assert!(printed.contains("Memory { tokens: 8, .. }"), "{printed}");
    assert!(!printed.contains("alice") && !printed.contains(token.get(..20).unwrap()), "{printed}");
}
