//! Whatever is done to valid tokens without the key, the result is accepted only if it equals one
//! of them byte for byte.
#![no_main]

use std::{collections::HashMap, sync::LazyLock};

use kippu::{DecodeError, Keys, Validation, base64url, decode, decode_borrowed, encode, explain};
use kippu_fuzz::{
    dates,
    expectations::NOW,
    input::Options,
    keyring::{Keyring, KippuKeys, Secret},
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// Keys, and the tokens that they have signed.
struct Mint {
    keys: KippuKeys,
    secrets: Vec<Secret>,
    /// The valid tokens with their claims, and those of a retired key or without a necessary `kid`.
    tokens: Vec<(String, Option<Value>)>,
}

static MINTS: LazyLock<Vec<Mint>> = LazyLock::new(|| {
    let rings = (b'0'..=b'6').map(|choice| Keyring::chosen(&mut Options::new(&[choice]), NOW));
    rings.map(Mint::new).collect()
});

static VALIDATION: LazyLock<Validation> = LazyLock::new(|| {
    let now = dates::to_kippu(NOW);
    Validation::new().issuer("https://auth.example").audience("api").at(now)
});

impl Mint {
    fn new(ring: Keyring) -> Self {
        let mut tokens = Vec::new();
        for secret in &ring.secrets {
            let in_time = secret.until.is_none_or(|until| NOW < until);
            // Payloads of every remainder modulo 3, one of them longer than the buffer on the
            // stack.
            for sub in ["user-1", "user-12", "user-123", &"long".repeat(300)] {
                let claims = json!({
                    "iss": "https://auth.example",
                    "aud": ["api", "web"],
                    "sub": sub,
                    "exp": 1_760_000_900,
                });
                let sign = |secret: &Secret| {
                    encode(&claims, &secret.kippu_key()).expect("these are good claims")
                };
                let without_kid = sign(&Secret { kid: None, ..secret.clone() });
                let named = ring.set.unwrap_or(true);
                tokens.push((sign(secret), in_time.then(|| claims.clone())));
                tokens.push((without_kid, (in_time && named).then(|| claims.clone())));
            }
        }
        let keys = ring.kippu();
        Self { keys, secrets: ring.secrets, tokens }
    }
}

fuzz_target!(|data: &[u8]| {
    let options = &mut Options::new(data);
    let mint = &MINTS[usize::from(options.below(7))];
    let mut token = pick(options, &mint.tokens).0.clone().into_bytes();
    // After many changes, a token is no more interesting than noise.
    for _ in 0..4 {
        if !options.is_empty() {
            token = change(token, mint, options);
        }
    }
    let token = String::from_utf8_lossy(&token);
    match &mint.keys {
        KippuKeys::One(key) => check(&token, key, mint),
        KippuKeys::Set(set) => check(&token, set, mint),
    }
});

fn check(token: &str, keys: &impl Keys, mint: &Mint) {
    let good = mint.tokens.iter().find(|(known, _)| known == token);
    let claims = good.and_then(|(_, claims)| claims.as_ref());

    let decoded = decode::<Value>(token, keys, &VALIDATION);
    assert_eq!(decoded.as_ref().ok(), claims, "{token}");
    let early = matches!(decoded, Err(DecodeError::Claim(_) | DecodeError::Payload(_)));
    assert!(!early, "read before the MAC: {token}");
    assert_eq!(explain(token, keys, &VALIDATION).is_accepted(), claims.is_some());
    let mut buffer = vec![0; 4_096];
    let borrowed: Result<HashMap<&str, Value>, _> =
        decode_borrowed(token, keys, &VALIDATION, &mut buffer);
    assert_eq!(borrowed.is_ok(), claims.is_some());
}

/// Makes one change to a token.
fn change(mut token: Vec<u8>, mint: &Mint, options: &mut Options<'_>) -> Vec<u8> {
    let operation = options.below(19);
    let at = usize::from(options.below(u8::MAX)) << 7 | usize::from(options.below(128));
    let at = at % (token.len() + 1);
    // Different spellings show at the end.
    let at = if options.below(2) == 0 { at } else { token.len() - at };
    let with = options.byte();
    match operation {
        0 => {
            if let Some(byte) = token.get_mut(at) {
                *byte = with;
            }
        }
        1 => token.insert(at, with),
        2 => {
            token.drain(at..(at + usize::from(with % 8) + 1).min(token.len()).max(at));
        }
        3 => token.truncate(at),
        4 => token.extend(std::iter::repeat_n(with, at % 70)),
        5 => {
            if let Some(byte) = token.get_mut(at) {
                *byte = ALPHABET[usize::from(with % 64)];
            }
        }
        6 => {
            if let Some(byte) = token.get_mut(at) {
                *byte = byte.to_ascii_uppercase() ^ (with & 0x20);
            }
        }
        7 => {
            let range = at..(at + usize::from(with)).min(token.len());
            token.extend_from_within(range);
        }
        8 => token.rotate_left(at),
        9 => {
            return segments(&token, |segments| {
                let count = segments.len();
                segments.rotate_left(usize::from(with) % count);
            });
        }
        10 => {
            // The header, payload or signature of another token.
            let other = pick(options, &mint.tokens).0.split('.').map(|one| one.as_bytes().to_vec());
            let other: Vec<_> = other.collect();
            return segments(&token, |segments| {
                let place = usize::from(with) % 3;
                if let Some(segment) = segments.get_mut(place) {
                    segment.clone_from(&other[place]);
                }
            });
        }
        11 => {
            // One bit of the content of a segment.
            return segments(&token, |segments| {
                let count = segments.len();
                let segment = &mut segments[at % count];
                if let Ok(mut bytes) = base64url::decode(&*segment) {
                    if let Some(byte) = bytes.get_mut(usize::from(with) * 7 % 300) {
                        *byte ^= 1 << (with % 8);
                    }
                    *segment = base64url::encode(&bytes).into_bytes();
                }
            });
        }
        12 => return with_json(&token, 0, |header| header.replace("HS", "RS")),
        13 => {
            let algorithm = options.pick(&["none", "None", "HS256", "HS384", "HS512", ""]);
            let header = json!({ "alg": algorithm }).to_string();
            return with_json(&token, 0, |_| header);
        }
        14 => return with_json(&token, 1, |claims| claims.replace("user", "root")),
        15 => return segments(&token, |segments| segments.truncate(usize::from(with) % 3 + 1)),
        16 => {
            // The last symbol of a segment, by the bits that may be ignored.
            return segments(&token, |segments| {
                let count = segments.len();
                let last = segments[at % count].last_mut();
                if let Some((value, last)) = last.and_then(|last| Some((value(*last)?, last))) {
                    *last = ALPHABET[usize::from(value ^ (with % 16))];
                }
            });
        }
        17 => {
            let tail = *pick(options, &["=", "==", "A", ".", " ", "\n", "\0", "%3D", "AAAA"]);
            return segments(&token, |segments| {
                let count = segments.len();
                segments[at % count].extend_from_slice(tail.as_bytes());
            });
        }
        _ => return signed_again(&token, mint, options),
    }
    token
}

/// RFC 4648 §5
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn value(symbol: u8) -> Option<u8> {
    ALPHABET.iter().position(|&known| known == symbol).and_then(|value| u8::try_from(value).ok())
}

/// Signs the first two segments with a secret that is not the issuer's.
fn signed_again(token: &[u8], mint: &Mint, options: &mut Options<'_>) -> Vec<u8> {
    let [algorithm, known] = [options.below(3), options.below(6)];
    let algorithm = ["HS256", "HS384", "HS512"][usize::from(algorithm)];
    let own = &mint.secrets[usize::from(options.byte()) % mint.secrets.len()];
    let bytes = match known {
        0 => Vec::new(),
        1 => own.kid.unwrap_or("kid").into(),
        2 => vec![0; 64],
        3 => own.bytes[1..].to_vec(),
        4 => own.tag(token),
        // The right secret, for another algorithm.
        _ if algorithm != own.algorithm => own.bytes.clone(),
        _ => token.to_vec(),
    };
    let secret = Secret { algorithm, bytes, kid: None, until: None };
    segments(token, |segments| {
        segments.truncate(2);
        let tag = secret.tag(&segments.join(&b'.'));
        segments.push(base64url::encode(&tag).into_bytes());
    })
}

/// Changes the segments, of which there is always at least one.
fn segments(token: &[u8], change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let mut segments = token.split(|&byte| byte == b'.').map(<[u8]>::to_vec).collect();
    change(&mut segments);
    segments.join(&b'.')
}

/// Changes the JSON of the segment at `place`, if it is JSON.
fn with_json(token: &[u8], place: usize, change: impl FnOnce(String) -> String) -> Vec<u8> {
    segments(token, |segments| {
        let Some(segment) = segments.get_mut(place) else { return };
        let json = base64url::decode(&*segment).ok().and_then(|json| String::from_utf8(json).ok());
        if let Some(json) = json {
            *segment = base64url::encode(change(json).as_bytes()).into_bytes();
        }
    })
}

fn pick<'l, T>(options: &mut Options<'_>, list: &'l [T]) -> &'l T {
    &list[usize::from(options.below(u8::MAX)) % list.len()]
}
