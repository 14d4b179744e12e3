//! The cases that are counted. Each runs one operation a number of times, and asserts all results.

use std::hint::black_box;

use kippu::{
    Algorithm, ClaimError, DecodeError, Key, NumericDate, Validation, base64url, decode,
    decode_borrowed, encode, hmac::Hmac,
};
use serde::{Deserialize, Serialize};
use sha2::block_api::compress256;

/// A case, with its name in the baseline.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Runs it a number of times.
    pub(crate) run: fn(&Fixture, u32),
    /// Whether the case hashes the token's blocks.
    pub(crate) hashes: bool,
}

/// The hash's compression function over the blocks of the token, which kippu cannot make faster.
pub(crate) const HASH: Case = Case { name: "hash", run: hash, hashes: false };

pub(crate) const CASES: [Case; 10] = [
    Case { name: "decode", run: decode_owned, hashes: true },
    Case { name: "decode borrowed", run: decode_borrowing, hashes: true },
    Case { name: "decode, header of another crate", run: decode_foreign, hashes: true },
    Case { name: "refuse a forged token", run: refuse_forged, hashes: true },
    Case { name: "refuse an expired token", run: refuse_expired, hashes: true },
    Case { name: "encode", run: encode_claims, hashes: true },
    Case {
        name: "base64url decode, 43 symbols",
        run: |f, times| from_base64url(&f.short, times),
        hashes: false,
    },
    Case {
        name: "base64url decode, 4096 symbols",
        run: |f, times| from_base64url(&f.long, times),
        hashes: false,
    },
    Case {
        name: "base64url encode, 43 symbols",
        run: |f, times| to_base64url(&f.short, times),
        hashes: false,
    },
    Case {
        name: "base64url encode, 4096 symbols",
        run: |f, times| to_base64url(&f.long, times),
        hashes: false,
    },
];

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: u64,
    iat: u64,
    jti: String,
}

#[derive(Debug, Deserialize)]
struct BorrowedClaims<'c> {
    iss: &'c str,
    sub: &'c str,
    aud: &'c str,
    exp: u64,
    iat: u64,
    jti: &'c str,
}

/// One token and its parts: the same bytes in each run.
pub(crate) struct Fixture {
    key: Key,
    validation: Validation,
    late: Validation,
    claims: Claims,
    token: String,
    foreign: String,
    forged: String,
    short: String,
    long: String,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let secret = [0x5a; 32];
        let key = Key::hs256(secret).expect("long enough");
        let claims = Claims {
            iss: "https://auth.example".into(),
            sub: "user-12345".into(),
            aud: "https://api.example".into(),
            // The year 2100: the verifier reads the clock, but its value does not matter.
            exp: 4_102_444_800,
            iat: 1_700_000_000,
            jti: "0192f0c1-7b1e-7cc0-a8f4-3f5d2b9e6a10".into(),
        };
        let token = encode(&claims, &key).expect("strings and numbers");
        let (signed, signature) = token.rsplit_once('.').expect("three segments");
        let first = if signature.starts_with('A') { 'B' } else { 'A' };
        let forged = format!("{signed}.{first}{}", &signature[1..]);
        let (_, payload) = signed.split_once('.').expect("three segments");
        let header = base64url::encode(br#"{"typ":"JWT","alg":"HS256"}"#);
        let foreign = format!("{header}.{payload}");
        let tag = Hmac::new(Algorithm::Hs256, &secret).tag(foreign.as_bytes());
        let foreign = format!("{foreign}.{}", base64url::encode(tag.as_ref()));
        let validation = Validation::new().issuer(&*claims.iss).audience(&*claims.aud);
        let late = validation.clone().at(NumericDate::from_seconds(5_000_000_000));
        let text = |symbols| {
            let bytes = (0..=u8::MAX).cycle().take(base64url::decoded_len(symbols));
            base64url::encode(&bytes.collect::<Vec<u8>>())
        };
        let (short, long) = (text(43), text(4096));
        Self { key, validation, late, claims, token, foreign, forged, short, long }
    }
}

fn hash(fixture: &Fixture, times: u32) {
    let signed = fixture.token.rfind('.').expect("three segments");
    let blocks = vec![[0x36; 64]; (signed + 1 + 8).div_ceil(64)];
    for _ in 0..times {
        let mut state = [0x5a5a_5a5a; 8];
        compress256(&mut state, black_box(&blocks));
        compress256(&mut state, black_box(&[[0x5c; 64]]));
        black_box(state);
    }
}

fn decode_owned(fixture: &Fixture, times: u32) {
    for _ in 0..times {
        let claims = decode::<Claims>(black_box(&fixture.token), &fixture.key, &fixture.validation);
        assert!(black_box(&claims).is_ok());
    }
}

fn decode_borrowing(fixture: &Fixture, times: u32) {
    let mut buffer = [0; 512];
    for _ in 0..times {
        let token = black_box(&*fixture.token);
        let claims: Result<BorrowedClaims<'_>, _> =
            decode_borrowed(token, &fixture.key, &fixture.validation, &mut buffer);
        let claims = claims.expect("a good token");
        black_box((claims.iss, claims.sub, claims.aud, claims.exp, claims.iat, claims.jti));
    }
}

fn decode_foreign(fixture: &Fixture, times: u32) {
    for _ in 0..times {
        let token = black_box(&*fixture.foreign);
        let claims = decode::<Claims>(token, &fixture.key, &fixture.validation);
        assert!(black_box(&claims).is_ok());
    }
}

fn refuse_forged(fixture: &Fixture, times: u32) {
    for _ in 0..times {
        let token = black_box(&*fixture.forged);
        let refused = decode::<Claims>(token, &fixture.key, &fixture.validation);
        assert!(matches!(refused, Err(DecodeError::Signature)));
    }
}

fn refuse_expired(fixture: &Fixture, times: u32) {
    for _ in 0..times {
        let refused = decode::<Claims>(black_box(&fixture.token), &fixture.key, &fixture.late);
        assert!(matches!(refused, Err(DecodeError::Claim(ClaimError::Expired { .. }))));
    }
}

fn encode_claims(fixture: &Fixture, times: u32) {
    for _ in 0..times {
        let token = encode(black_box(&fixture.claims), &fixture.key);
        assert!(black_box(&token).is_ok());
    }
}

fn from_base64url(text: &str, times: u32) {
    let mut bytes = vec![0; base64url::decoded_len(text.len())];
    for _ in 0..times {
        assert!(base64url::decode_to_slice(black_box(text), black_box(&mut bytes)).is_ok());
    }
    assert_eq!(base64url::encode(&bytes), text);
}

fn to_base64url(text: &str, times: u32) {
    let bytes = base64url::decode(text).expect("canonical");
    let mut symbols = vec![0; text.len()];
    for _ in 0..times {
        assert!(base64url::encode_to_slice(black_box(&bytes), black_box(&mut symbols)).is_ok());
    }
    assert_eq!(symbols, text.as_bytes());
}
