//! `jsonwebtoken` and kippu read each other's tokens. Where their verdicts differ, a rule in this
//! file explains the difference.
#![no_main]

use std::{sync::LazyLock, time::Duration};

use arbitrary::Unstructured;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, EncodingKey, get_current_timestamp};
use kippu::{
    ClaimError, DecodeError, EncodeError, JsonError, NumericDate, RegisteredClaim, Validation,
};
use kippu_fuzz::{
    claims::{self, json_value},
    dates,
    decimal::Decimal,
    input::{Input, Options, fill_in},
    json::{Tree, member, read_object},
    keyring::{Keyring, Secret},
    peer,
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

const ISSUERS: [&str; 2] = ["https://auth.example", "é\u{301}"];
const AUDIENCES: [&str; 2] = ["api", "https://auth.example"];

/// Claims that both accept.
const GOOD: [(&str, &str); 3] =
    [claims::FAR_EXP, ("iss", "\"https://auth.example\""), ("aud", "\"api\"")];

/// A key for each algorithm, for both libraries.
struct Pair {
    secret: Secret,
    key: kippu::Key,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

static PAIRS: LazyLock<[Pair; 3]> = LazyLock::new(|| {
    peer::install();
    ["HS256", "HS384", "HS512"].map(|algorithm| {
        let secret = Keyring::single(algorithm).secrets.remove(0);
        Pair {
            key: secret.kippu_key(),
            encoding: EncodingKey::from_secret(&secret.bytes).expect("a secret"),
            decoding: DecodingKey::from_secret(&secret.bytes).expect("a secret"),
            secret,
        }
    })
});

fuzz_target!(|data: &[u8]| {
    let Input { mut options, header, payload } = Input::new(data);
    let pair = &PAIRS[usize::from(options.below(3))];
    match options.below(4) {
        0 => {
            let claims = good_claims(&mut Unstructured::new(payload)).expect("bytes may run out");
            minted(&claims, header, pair);
        }
        written => judged(header, payload, written, pair, options),
    }
});

/// Returns valid claims for an hour, with others that an application might add.
fn good_claims(u: &mut Unstructured<'_>) -> arbitrary::Result<Map<String, Value>> {
    let mut claims = Map::new();
    for _ in 0..u.int_in_range(0..=5)? {
        claims.insert(u.arbitrary()?, json_value(u, 4)?);
    }
    for name in ["nbf", "iat", "sub", "jti"] {
        claims.remove(name);
    }
    let now = get_current_timestamp();
    claims.insert("iss".into(), (*u.choose(&ISSUERS)?).into());
    claims.insert("exp".into(), (now + u.int_in_range(10..=1 << 40)?).into());
    let aud = *u.choose(&AUDIENCES)?;
    let aud = if u.arbitrary()? { aud.into() } else { vec![u.arbitrary::<&str>()?, aud].into() };
    claims.insert("aud".into(), aud);
    if u.arbitrary()? {
        claims.insert("nbf".into(), (now - u.int_in_range(0..=1_000_000_000)?).into());
    }
    if u.arbitrary()? {
        claims.insert("sub".into(), u.arbitrary::<&str>()?.into());
    }
    Ok(claims)
}

/// Checks that each library accepts the tokens of the other, with the same claims.
fn minted(claims: &Map<String, Value>, kid: &[u8], pair: &Pair) {
    let expected = Value::Object(claims.clone());
    let (ours, theirs) = validations(Duration::from_mins(1), get_current_timestamp(), pair);

    let token = match kippu::encode(claims, &pair.key) {
        // serde_json would not read the claims back.
        Err(EncodeError::Claims(JsonError::ReservedMember { .. })) => return,
        token => token.expect("these are good claims"),
    };
    let read = jsonwebtoken::decode::<Value>(&token, &pair.decoding, &theirs);
    let read = read.expect("jsonwebtoken reads what kippu wrote");
    assert_eq!(read.claims, expected);
    assert_eq!((read.header.alg, read.header.kid), (peer::algorithm(pair.secret.algorithm), None));

    let mut header = jsonwebtoken::Header::new(peer::algorithm(pair.secret.algorithm));
    header.kid = (!kid.is_empty()).then(|| String::from_utf8_lossy(kid).into_owned());
    let token = jsonwebtoken::encode(&header, claims, &pair.encoding).expect("a good header");
    let read: Value = kippu::decode(&token, &pair.key, &ours).expect("kippu reads what they wrote");
    assert_eq!(read, expected);
    let seen =
        kippu::unverified_header(&token, Validation::DEFAULT_MAX_TOKEN_LEN).expect("just read");
    assert_eq!(seen.kid, header.kid);
}

/// Returns the same expectations for both, at a whole second.
fn validations(leeway: Duration, now: u64, pair: &Pair) -> (Validation, jsonwebtoken::Validation) {
    let now = i64::try_from(now).expect("the time fits into 64 bits");
    let ours = Validation::new().at(NumericDate::from_seconds(now));
    let ours = ISSUERS.iter().fold(ours, |so_far, &name| so_far.issuer(name));
    let ours = AUDIENCES.iter().fold(ours, |so_far, &name| so_far.audience(name));
    let ours = ours.leeway(leeway).expect("a short one");

    let mut theirs = jsonwebtoken::Validation::new(peer::algorithm(pair.secret.algorithm));
    theirs.leeway = leeway.as_secs();
    theirs.validate_nbf = true;
    theirs.set_issuer(&ISSUERS);
    theirs.set_audience(&AUDIENCES);
    theirs.set_required_spec_claims(&["exp", "iss", "aud"]);
    (ours, theirs)
}

/// Checks any signed token: both accept it, both reject it, or a rule explains the difference.
fn judged(header: &[u8], payload: &[u8], written: u8, pair: &Pair, mut options: Options<'_>) {
    let leeway = Duration::from_secs(options.pick(&[60, 0, 600]));
    let now = get_current_timestamp();
    let points = {
        let [now, leeway] = [now, leeway.as_secs()].map(i128::from);
        [(b'n', now), (b'e', now - leeway), (b'l', now + leeway), (b'f', now + 3600)]
    };
    let mut noise = Unstructured::new(payload);
    let header = match header {
        b"" if written < 3 => pair.secret.header().into_bytes(),
        header if written < 3 => header.to_vec(),
        _ => claims::header(&mut noise, pair.secret.algorithm).expect("may run out").into_bytes(),
    };
    let payload = match written {
        1 => fill_in(payload, &points.map(|(letter, time)| (letter, time.to_string()))),
        _ => claims::claims(&mut noise, &GOOD, &points).expect("bytes may run out").into_bytes(),
    };
    let [header_segment, payload_segment] =
        [&header, &payload].map(|text| URL_SAFE_NO_PAD.encode(text));
    let signing_input = format!("{header_segment}.{payload_segment}");
    let tag = URL_SAFE_NO_PAD.encode(pair.secret.tag(signing_input.as_bytes()));
    let token = format!("{signing_input}.{tag}");

    let (ours, theirs) = validations(leeway, now, pair);
    let our_answer = kippu::decode::<Value>(&token, &pair.key, &ours);
    let their_answer = jsonwebtoken::decode::<Value>(&token, &pair.decoding, &theirs);
    if get_current_timestamp() != now {
        // jsonwebtoken has read the clock in another second.
        return;
    }
    match (our_answer, their_answer) {
        (Ok(our_claims), Ok(their_data)) => {
            assert_eq!(our_claims, their_data.claims);
        }
        (Err(_), Err(_)) => {}
        (Ok(_), Err(error)) => {
            assert!(they_have_a_reason(&header, &payload), "jsonwebtoken rejects: {error}");
        }
        (Err(error), Ok(_)) => {
            let turn = Turn { now, leeway };
            assert!(we_have_a_reason(&error, &turn), "kippu rejects: {error:?}");
        }
    }
}

/// Returns whether `jsonwebtoken` may reject a token that kippu accepts. Both texts are then strict
/// JSON objects.
fn they_have_a_reason(header: &[u8], payload: &[u8]) -> bool {
    let header = read_object(header, usize::MAX).members.expect("kippu accepted it");
    let claims = read_object(payload, usize::MAX).members.expect("kippu accepted it");
    // It gives more header parameters a type, and checks it.
    let typed =
        ["cty", "jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "enc", "zip", "url", "nonce"];
    // A time has to fit into 64 bits without a sign.
    let beyond = |name| match member(&claims, name) {
        Some(Tree::Number(spelled)) => {
            let (floor, _) = Decimal::from_json(spelled).bounds(0);
            // The nearest double of the last thousand integers is 2^64.
            !(0..(1 << 64) - 1024).contains(&floor)
        }
        _ => false,
    };
    typed.iter().any(|name| member(&header, name).is_some()) || beyond("exp") || beyond("nbf")
}

/// The time, and the leeway.
struct Turn {
    now: u64,
    leeway: Duration,
}

/// Returns whether kippu may reject a token that `jsonwebtoken` accepts: the rules where kippu is
/// stricter.
fn we_have_a_reason(error: &DecodeError, turn: &Turn) -> bool {
    let now = i128::from(turn.now);
    let leeway = i128::from(turn.leeway.as_secs());
    match error {
        // Too long; a duplicate or reserved name; more members than a header may have.
        DecodeError::TooLong { .. }
        | DecodeError::Header(
            JsonError::DuplicateMember { .. }
            | JsonError::ReservedMember { .. }
            | JsonError::TooManyMembers { .. },
        )
        | DecodeError::Payload(
            JsonError::DuplicateMember { .. } | JsonError::ReservedMember { .. },
        )
        // A critical extension: jsonwebtoken reads `crit` and does not act on it.
        | DecodeError::Critical { .. }
        // jsonwebtoken treats null as absent.
        | DecodeError::TypeNotText
        | DecodeError::KidNotText => true,
        // jsonwebtoken accepts the numbers next to the largest double.
        DecodeError::Header(JsonError::Syntax { reason, .. })
        | DecodeError::Payload(JsonError::Syntax { reason, .. }) => {
            reason.ends_with("the range of a double")
        }
        // jsonwebtoken accepts `{"HS256":null}` for "HS256".
        DecodeError::Algorithm { found, .. } => found.is_none(),
        DecodeError::Claim(error) => match error {
            // jsonwebtoken does not check `iat` and `jti`, nor `sub` if none is expected. It
            // accepts a list of issuers.
            ClaimError::WrongType { claim } => matches!(
                claim,
                RegisteredClaim::Issuer
                    | RegisteredClaim::Subject
                    | RegisteredClaim::IssuedAt
                    | RegisteredClaim::JwtId
            ),
            ClaimError::IssuedInFuture { .. } => true,
            // RFC 7519 §4.1.4 says "on or after". jsonwebtoken accepts a token in the second of its
            // `exp`, which it rounds to the nearest second.
            ClaimError::Expired { exp, .. } => {
                let exp = dates::from_kippu(*exp);
                exp + leeway <= now && now - leeway <= exp + 1
            }
            // It also rounds `nbf` to the nearest second.
            ClaimError::NotYetValid { nbf, .. } => {
                dates::from_kippu(*nbf) - leeway - now <= 1
            }
            _ => false,
        },
        _ => false,
    }
}
