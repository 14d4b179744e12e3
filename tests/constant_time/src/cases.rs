//! Runs kippu's operations on secrets, one at a time, and a leaky twin of each.
//!
//! A verdict is public: whether a MAC is correct, or a text is a key. A branch on it leaks nothing.
//! Where kippu itself branches on a verdict, the test counts it and expects exactly one report. A
//! comparison that ends early, or a table, causes more of them.

use std::hint::black_box;

use kippu::{
    Algorithm, Jwk, Key, NumericDate, Validation, decode,
    hmac::Hmac,
    session::{MemoryStore, NoClaims, Sessions},
};
use serde_json::{Value, json};

use crate::{
    block_on,
    secret::{hide, hide_bits, is_hidden, reveal},
    twins,
};

/// The reports of memcheck for one operation.
pub struct Case {
    pub name: &'static str,
    /// The number of branches on a secret, and of addresses computed from one.
    pub reports: usize,
    /// The number of verdicts that kippu makes public in the operation; `None` for a twin.
    pub verdicts: Option<usize>,
}

/// As random as a secret, and the same in each run.
pub const SECRET: [u8; 64] = *b"\x9f\x02\xc7\x41-\x8e\x13\xf5\x6a\xd0\x37{\xb9\x55\xe8\x1c\x04\xa2\x7d\x93\xcb\x60\xfe\x2f\x88\x19\xb4\x5d\xe1\x36\x72\xad\x0b\xc3\x94\x58\xf7\x21\x8a\x6e\xd9\x45\xbc\x10\x3f\xe4\x77\xa8\x52\x9d\x06\xcf\x61\xfa\x2b\x84\x1d\xb0\x59\xe6\x33\x7e\xa1\xcc";

/// Returns all cases, in the order in which they run.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for algorithm in [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512] {
        cases.extend(hmac(algorithm));
    }
    cases.extend(key_texts());
    cases.extend(jwk());
    cases.extend(token());
    cases.extend(refresh_token());
    cases.extend(twins_of_all());
    cases
}

fn ours<T>(name: &'static str, verdicts: usize, operation: impl FnOnce() -> T) -> (Case, T) {
    let (reports, result) = counted(name, operation);
    (Case { name, reports, verdicts: Some(verdicts) }, result)
}

fn twin<T>(name: &'static str, operation: impl FnOnce() -> T) -> Case {
    let (reports, _) = counted(name, operation);
    Case { name, reports, verdicts: None }
}

/// Counts the reports that an operation causes.
fn counted<T>(name: &str, operation: impl FnOnce() -> T) -> (usize, T) {
    // Into memcheck's own log, so that a report follows the name of its case.
    crabgrind::println!("kippu: {name}");
    let before = crabgrind::count_errors();
    let result = black_box(operation());
    (crabgrind::count_errors() - before, result)
}

/// Returns the tag as the owner of a token has it: public.
fn given_away(algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
    Hmac::new(algorithm, &SECRET).tag(message).as_ref().to_vec()
}

fn hmac(algorithm: Algorithm) -> Vec<Case> {
    let message = [b'm'; 200];
    let mut cases = Vec::new();
    // Shorter than a block, and longer than a block, which is hashed first.
    for length in [64, 200] {
        let mut secret = SECRET.repeat(4)[..length].to_vec();
        hide(&mut secret);
        let (case, hmac) = ours("hmac: new", 0, || Hmac::new(algorithm, &secret));
        cases.push(case);
        let (case, tag) = ours("hmac: tag", 0, || hmac.tag(&message));
        cases.push(case);
        let mut tag = tag.as_ref().to_vec();
        assert!(is_hidden(&mut tag), "the tag does not depend on the secret");
        // The tag of the token is public.
        reveal(&mut tag);
        let last = tag.len() - 1;
        for (name, wrong) in [
            ("hmac: verify, correct", None),
            ("hmac: verify, wrong at its first byte", Some(0)),
            ("hmac: verify, wrong at its last byte", Some(last)),
        ] {
            let mut presented = tag.clone();
            if let Some(place) = wrong {
                presented[place] ^= 1;
            }
            let (case, is_right) = ours(name, 0, || hmac.verify(&message, &presented));
            cases.push(case);
            let mut verdict = [u8::from(is_right)];
            assert!(is_hidden(&mut verdict), "the verdict does not depend on the secret");
            // Accepted or rejected: the verdict is public.
            reveal(&mut verdict);
            assert_eq!(verdict == [1], wrong.is_none(), "{name}");
        }
    }
    cases
}

/// A secret as bytes, in base64, in base64url and in hex.
fn key_texts() -> Vec<Case> {
    let algorithm = Algorithm::Hs256;
    let mut bytes = SECRET.to_vec();
    let mut symbols = kippu::base64url::encode(&SECRET).into_bytes();
    let standard = kippu::base64url::encode(&SECRET).replace('-', "+").replace('_', "/");
    let mut standard = standard.into_bytes();
    let mut digits: Vec<u8> = SECRET.iter().flat_map(|b| format!("{b:02x}").into_bytes()).collect();
    for text in [&mut bytes, &mut standard, &mut symbols, &mut digits] {
        hide(text);
    }
    // The padding is not hidden: it follows from the length.
    standard.extend_from_slice(b"==");
    // The caller learns that the text is not that of a key file. For the other forms, the caller
    // also learns that the text has no line end and that each symbol is in the alphabet; for base64
    // and base64url, that the text is not hex.
    let (of_bytes, key) = ours("key: of bytes", 1, || Key::new(algorithm, &bytes));
    drop(key);
    let (of_base64, key) = ours("key: of base64", 4, || Key::from_base64(algorithm, &standard));
    drop(key);
    let (of_symbols, key) =
        ours("key: of base64url", 4, || Key::from_base64url(algorithm, &symbols));
    drop(key);
    let (of_digits, key) = ours("key: of hex", 3, || Key::from_hex(algorithm, &digits));
    drop(key);
    vec![of_bytes, of_base64, of_symbols, of_digits]
}

/// A JWK, read from JSON and written again.
///
/// JSON is parsed by its quotes, backslashes and control characters, and by where characters begin.
/// It is public that `k` contains none of these and is ASCII, because all base64url is like that.
/// So only the lower half of each symbol is hidden, for symbols that are letters whatever that half
/// is. Of the first symbol nothing is hidden, because memcheck would report its check.
fn jwk() -> Vec<Case> {
    let symbols: String = (0..64_u8).map(|place| char::from(b'a' + place * 11 % 15)).collect();
    let mut json = json!({ "kty": "oct", "alg": "HS384", "k": symbols }).to_string().into_bytes();
    let start = String::from_utf8_lossy(&json).find(&symbols).expect("the JSON has its k");
    hide_bits(&mut json[start + 1..start + symbols.len()], 0x0f);
    let json = String::from_utf8(json).expect("JSON is UTF-8");
    let (read, jwk) = ours("jwk: from JSON", 2, || Jwk::from_json(&json));
    let jwk = jwk.expect("the JWK has a key");
    let (written, json) = ours("jwk: to JSON", 0, || jwk.expose_json());
    let mut json = json.as_bytes().to_vec();
    assert!(is_hidden(&mut json), "the JSON does not depend on the secret");
    vec![read, written]
}

/// Returns a token as a client presents it: correct, or wrong near one of the ends of its MAC.
fn presented(token: &str) -> [(usize, String); 3] {
    // The last 256 bits are the MAC, followed by two more bits in a JWT.
    let mac = token.len() - 42;
    let changed = |place: usize| {
        let mut token = token.to_owned().into_bytes();
        token[place] = if token[place] == b'A' { b'B' } else { b'A' };
        String::from_utf8(token).expect("a token is ASCII")
    };
    // The last symbol stays, because it has bits that are not part of the MAC.
    [(0, token.to_owned()), (1, changed(mac)), (2, changed(token.len() - 2))]
}

fn hidden_key() -> Key {
    let mut secret = SECRET.to_vec();
    hide(&mut secret);
    Key::hs256(&secret).expect("a secret").with_kid("1")
}

fn token() -> Vec<Case> {
    let plain = Key::hs256(SECRET).expect("a secret").with_kid("1");
    let token = kippu::encode(&json!({ "exp": 2000 }), &plain).expect("claims");
    let validation = Validation::new().at(NumericDate::from_seconds(1000));
    let key = hidden_key();
    let names = ["token: correct", "token: wrong MAC", "token: wrong MAC at its end"];
    let cases = presented(&token).map(|(index, token)| {
        // Accepted or rejected.
        let (case, decoded) = ours(names[index], 1, || decode::<Value>(&token, &key, &validation));
        assert_eq!(decoded.is_ok(), index == 0, "{}", names[index]);
        case
    });
    cases.into()
}

/// Sessions of one application, whose refresh keys have the same secret.
fn sessions(refresh_key: Key) -> Sessions<MemoryStore> {
    let access_key = Key::hs256([0x5a; 32]).expect("a secret");
    Sessions::builder(MemoryStore::new(10))
        .issuer("https://auth.example")
        .audience("api")
        .client("web")
        .access_key(access_key)
        .refresh_key(refresh_key)
        .build()
        .expect("the settings are complete")
}

/// Returns sessions and a refresh token, made with [`SECRET`].
pub fn login() -> (Sessions<MemoryStore>, String) {
    let sessions = sessions(Key::hs256(SECRET).expect("a secret").with_kid("1"));
    let login = block_on(sessions.login("alice", &NoClaims {}));
    let token = login.expect("a login").refresh_token;
    (sessions, token)
}

/// A logout checks a refresh token as a refresh does, and makes none.
fn refresh_token() -> Vec<Case> {
    let (_, token) = login();
    let sessions = sessions(hidden_key());
    let names = ["refresh: correct", "refresh: wrong tag", "refresh: wrong tag at its end"];
    let cases = presented(&token).map(|(index, token)| {
        // Accepted or rejected.
        let (case, ended) = ours(names[index], 1, || block_on(sessions.logout(&token)));
        assert_eq!(ended.is_ok(), index == 0, "{}", names[index]);
        case
    });
    cases.into()
}

/// Does the same operations in ways that leak the secret.
fn twins_of_all() -> Vec<Case> {
    let message = [b'm'; 200];
    let tag = given_away(Algorithm::Hs256, &message);
    let (mut secret, mut symbols) =
        (SECRET.to_vec(), kippu::base64url::encode(&SECRET).into_bytes());
    let mut digits: Vec<u8> = SECRET.iter().flat_map(|b| format!("{b:02x}").into_bytes()).collect();
    for text in [&mut secret, &mut symbols, &mut digits] {
        hide(text);
    }
    let hmac = Hmac::new(Algorithm::Hs256, &secret);
    let (_, refresh_token) = login();
    vec![
        twin("twin of hmac: verify", || twins::verify(&hmac, &message, &tag)),
        twin("twin of hmac: new", || twins::new_hmac(&secret)),
        twin("twin of key: of bytes", || twins::is_key_file(&secret)),
        // kippu's own function for data that is not secret.
        twin("twin of key: of base64url", || kippu::base64url::decode(&symbols)),
        twin("twin of key: of hex", || twins::decode_hex(&digits)),
        twin("twin of jwk: to JSON", || kippu::base64url::encode(&secret)),
        twin("twin of refresh", || twins::check_refresh_token(&hmac, &refresh_token)),
    ]
}
