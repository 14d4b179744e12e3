//! Counts what is allocated for a token: nothing if the claims are borrowed or the token is
//! rejected; otherwise only what the owned claims contain. A reallocation counts as an allocation.

use std::hint::black_box;

use allocation_counter::measure;
use kippu::{
    Algorithm, ClaimError, DecodeError, Key, KeySet, NumericDate, Validation, base64url, decode,
    decode_borrowed, encode, encode_with_typ, hmac::Hmac,
};
use serde::{Deserialize, Serialize, de::IgnoredAny};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: NumericDate,
    iat: NumericDate,
    jti: String,
}

#[derive(Debug, Deserialize)]
struct BorrowedClaims<'c> {
    iss: &'c str,
    sub: &'c str,
    aud: &'c str,
    exp: NumericDate,
    iat: NumericDate,
    jti: &'c str,
}

const NOW: i64 = 1_700_000_000;

const SECRET: [u8; 64] = [0x5a; 64];

const ALGORITHMS: [Algorithm; 3] = [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512];

fn claims() -> Claims {
    Claims {
        iss: "https://auth.example".into(),
        sub: "user-12345".into(),
        aud: "https://api.example".into(),
        exp: NumericDate::from_seconds(NOW + 900),
        iat: NumericDate::from_seconds(NOW),
        jti: "0192f0c1-7b1e-7cc0-a8f4-3f5d2b9e6a10".into(),
    }
}

fn key(algorithm: Algorithm) -> Key {
    Key::new(algorithm, SECRET).expect("long enough")
}

fn validation() -> Validation {
    let now = NumericDate::from_seconds(NOW);
    Validation::new().issuer("https://auth.example").audience("https://api.example").at(now)
}

/// Returns a token with a header that this crate would not write.
fn with_header(algorithm: Algorithm, header: &str) -> String {
    let payload = serde_json::to_vec(&claims()).expect("strings and numbers");
    let input = format!("{}.{}", base64url::encode(header.as_bytes()), base64url::encode(&payload));
    let tag = Hmac::new(algorithm, &SECRET).tag(input.as_bytes());
    format!("{input}.{}", base64url::encode(tag.as_ref()))
}

/// Returns the token with another signature of the same length.
fn forged(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').expect("three segments");
    let first = if signature.starts_with('A') { "B" } else { "A" };
    format!("{signed}.{first}{}", signature.split_at(1).1)
}

/// The counter works: without this test, the zeros below would prove nothing.
#[test]
fn an_allocation_is_counted() {
    assert_eq!(measure(|| drop(black_box(Box::new(1)))).count_total, 1);
    let grown = measure(|| {
        let mut bytes = Vec::with_capacity(1);
        bytes.extend_from_slice(black_box(&[0_u8; 1]));
        bytes.extend_from_slice(black_box(&[0_u8; 100]));
        black_box(bytes);
    });
    assert_eq!(grown.count_total, 2);
}

#[test]
fn borrowed_claims_allocate_nothing() {
    let mut buffer = [0; 1024];
    let mut check = |name: &str, token: &str, keys: &dyn Fn(&str, &mut [u8])| {
        let info = measure(|| keys(token, &mut buffer));
        assert_eq!(info.count_total, 0, "{name}");
    };
    let expected = claims();
    for algorithm in ALGORITHMS {
        let validation = validation();
        let one = key(algorithm);
        let named = key(algorithm).with_kid("2026-11");
        let old = Key::new(algorithm, [1; 64]).unwrap().with_kid("2026-10");
        let set = KeySet::new(old).accept(key(algorithm).with_kid("2026-11")).unwrap();
        let verify = |claims: Result<BorrowedClaims<'_>, DecodeError>| {
            let claims = claims.unwrap();
            assert_eq!(
                (claims.iss, claims.sub, claims.aud, claims.exp, claims.iat, claims.jti),
                (
                    &*expected.iss,
                    &*expected.sub,
                    &*expected.aud,
                    expected.exp,
                    expected.iat,
                    &*expected.jti
                )
            );
        };
        let by_one = |token: &str, buffer: &mut [u8]| {
            verify(decode_borrowed(token, &one, &validation, buffer));
        };
        let by_named = |token: &str, buffer: &mut [u8]| {
            verify(decode_borrowed(token, &named, &validation, buffer));
        };
        let by_set = |token: &str, buffer: &mut [u8]| {
            verify(decode_borrowed(token, &set, &validation, buffer));
        };

        check("own header", &encode(&expected, &one).unwrap(), &by_one);
        check("own header with kid", &encode(&expected, &named).unwrap(), &by_named);
        check("own header, a set", &encode(&expected, &named).unwrap(), &by_set);
        let other = with_header(algorithm, &format!(r#"{{"typ":"JWT","alg":"{algorithm}"}}"#));
        check("foreign header", &other, &by_one);
        let other = with_header(
            algorithm,
            &format!(r#"{{"typ":"JWT","alg":"{algorithm}","kid":"2026-11"}}"#),
        );
        check("foreign header with kid", &other, &by_named);
        check("foreign header with kid, a set", &other, &by_set);
    }
}

/// The validation notes in one word which of the required claims are present.
#[test]
fn a_required_claim_allocates_nothing() {
    let key = key(Algorithm::Hs256);
    let token = encode(&serde_json::json!({ "exp": NOW + 900, "scope": "read" }), &key).unwrap();
    let validation = Validation::new().at(NumericDate::from_seconds(NOW)).require("scope");
    let mut buffer = [0; 256];
    let info = measure(|| {
        decode_borrowed::<IgnoredAny>(&token, &key, &validation, &mut buffer).unwrap();
    });
    assert_eq!(info.count_total, 0);
}

#[test]
fn owned_claims_allocate_only_their_content() {
    let expected = claims();
    let own = measure(|| drop(black_box(expected.clone())));
    assert_eq!(own.count_total, 4);
    for algorithm in ALGORITHMS {
        let (key, validation) = (key(algorithm), validation());
        for token in [
            encode(&expected, &key).unwrap(),
            with_header(algorithm, &format!(r#"{{"typ":"JWT","alg":"{algorithm}"}}"#)),
        ] {
            let info = measure(|| {
                assert_eq!(decode::<Claims>(&token, &key, &validation).as_ref(), Ok(&expected));
            });
            assert_eq!((info.count_total, info.bytes_total), (own.count_total, own.bytes_total));
        }
    }
}

#[test]
fn a_forged_token_allocates_nothing() {
    for algorithm in ALGORITHMS {
        let (key, validation) = (key(algorithm), validation());
        for token in [
            encode(&claims(), &key).unwrap(),
            with_header(algorithm, &format!(r#"{{"typ":"JWT","alg":"{algorithm}"}}"#)),
        ] {
            let forged = forged(&token);
            let info = measure(|| {
                let refused = decode::<Claims>(&forged, &key, &validation);
                assert_eq!(refused, Err(DecodeError::Signature));
            });
            assert_eq!(info.count_total, 0);
        }
    }
}

/// Claims that own no memory before the error: the caller's type reads them first.
#[test]
fn an_expired_token_allocates_nothing() {
    let key = key(Algorithm::Hs256);
    let token = encode(&claims(), &key).unwrap();
    let validation = validation().at(NumericDate::from_seconds(NOW + 10_000));
    let mut buffer = [0; 1024];
    let info = measure(|| {
        let result = decode_borrowed::<BorrowedClaims<'_>>(&token, &key, &validation, &mut buffer);
        assert!(matches!(result, Err(DecodeError::Claim(ClaimError::Expired { .. }))));
    });
    assert_eq!(info.count_total, 0);
}

/// Only the token is allocated: the claims are written directly into it.
#[test]
fn encoding_allocates_once() {
    for algorithm in ALGORITHMS {
        let (key, claims) = (key(algorithm), claims());
        let info = measure(|| drop(black_box(encode(&claims, &key))));
        assert_eq!(info.count_total, 1, "{algorithm}");
        let info = measure(|| drop(black_box(encode_with_typ(&claims, &key, "at+jwt"))));
        assert_eq!(info.count_total, 1, "{algorithm}");
    }
}

/// The key itself, its hash states, and the headers that it writes.
#[test]
fn a_key_takes_less_than_a_kibibyte() {
    for algorithm in ALGORITHMS {
        let mut kept = None;
        let info = measure(|| kept = Some(key(algorithm).with_kid("2026-11")));
        let elsewhere = usize::try_from(info.bytes_current).expect("not negative");
        assert!((128..1024 - size_of::<Key>()).contains(&elsewhere), "{algorithm}: {elsewhere}");
        drop(black_box(kept));
    }
}

/// A longer token than usual: its buffer has exactly the necessary capacity, however the claims
/// were written.
#[test]
fn a_long_token_has_no_unused_capacity() {
    let key = key(Algorithm::Hs256);
    // Each of these is written separately, which doubles the capacity now and then.
    let token = encode(&serde_json::json!({ "x": "\n".repeat(2000) }), &key).unwrap();
    assert!(token.len() > 5000);
    assert_eq!(token.capacity(), token.len());
}

/// An access token has less unused capacity than the usual minimum for a whole token.
#[cfg(feature = "session")]
#[tokio::test]
async fn an_access_token_has_little_unused_capacity() {
    use kippu::session::{MemoryStore, Sessions};

    let sessions = Sessions::builder(MemoryStore::new(8))
        .issuer("https://auth.example")
        .audience("api")
        .client("web")
        .access_key(key(Algorithm::Hs256))
        .refresh_key(Key::hs256([1; 32]).unwrap().with_kid("2026-11"))
        .build()
        .unwrap();
    for length in [0, 300, 3000] {
        let claims = serde_json::json!({ "x": "x".repeat(length) });
        let token = sessions.login("user-12345", &claims).await.unwrap().access_token;
        assert!(token.capacity() < token.len() + 512, "{} {}", token.capacity(), token.len());
    }
}

/// Holds for a live session and for an ended one.
#[cfg(feature = "session")]
#[tokio::test]
async fn checking_ended_sessions_allocates_nothing() {
    use kippu::session::{
        AccessVerifier, EndedOptions, EndedSessions, MemoryStore, NoClaims, Sessions,
    };
    use std::sync::Arc;

    let store = Arc::new(MemoryStore::new(8));
    let sessions = Sessions::builder(store.clone())
        .issuer("https://auth.example")
        .audience("api")
        .client("web")
        .access_key(key(Algorithm::Hs256))
        .refresh_key(Key::hs256([1; 32]).unwrap().with_kid("2026-11"))
        .build()
        .unwrap();
    let ended = EndedSessions::follow(store, EndedOptions::new());
    let plain = AccessVerifier::new(key(Algorithm::Hs256), "https://auth.example", "api");
    let following = AccessVerifier::new(key(Algorithm::Hs256), "https://auth.example", "api")
        .ended_sessions(ended.clone());
    let [live, over] = [(); 2].map(|()| sessions.login("user-12345", &NoClaims {}));
    let (live, over) = (live.await.unwrap(), over.await.unwrap());
    sessions.logout(&over.refresh_token).await.unwrap();
    ended.poll().await.unwrap();
    let allocations = |verifier: &AccessVerifier, token: &str| {
        measure(|| drop(black_box(verifier.verify::<NoClaims>(token)))).count_total
    };
    // The first access of a thread to the shared state initializes it.
    assert!(following.verify::<NoClaims>(&live.access_token).is_ok());
    let usual = allocations(&plain, &live.access_token);
    assert_eq!(allocations(&following, &live.access_token), usual);
    assert_eq!(allocations(&following, &over.access_token), usual);
    let error = following.verify::<NoClaims>(&over.access_token).unwrap_err();
    assert_eq!(error, DecodeError::SessionEnded);
}
