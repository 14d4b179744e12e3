//! Properties of every input: the codec and HMAC agree with other implementations, round trips lose
//! nothing, and only the signed token is accepted.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::Mac;
use kippu::{
    Algorithm, Audience, DecodeError, Key, KeySet, NumericDate, RegisteredClaims, Validation,
    base64url, decode, decode_borrowed, encode, explain, hmac::Hmac,
};
use kippu_test_support::{rounds, signing};
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::Index,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Every length from 0 to 300, and some larger ones.
fn lengths() -> impl Iterator<Item = usize> {
    (0..=300).chain([1_000, 1_023, 4_096, 16_385, 100_003])
}

/// Returns bytes that depend on the place and on the length.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 131 + length * 7 + index / 251).to_le_bytes()[0]).collect()
}

fn oracle_tag(algorithm: Algorithm, secret: &[u8], message: &[u8]) -> Vec<u8> {
    fn tag<M: Mac + hmac::KeyInit>(secret: &[u8], message: &[u8]) -> Vec<u8> {
        let mac = <M as hmac::KeyInit>::new_from_slice(secret).unwrap();
        mac.chain_update(message).finalize().into_bytes().to_vec()
    }
    match algorithm {
        Algorithm::Hs256 => tag::<hmac::Hmac<sha2::Sha256>>(secret, message),
        Algorithm::Hs384 => tag::<hmac::Hmac<sha2::Sha384>>(secret, message),
        _ => tag::<hmac::Hmac<sha2::Sha512>>(secret, message),
    }
}

fn check_codec(bytes: &[u8]) {
    let symbols = URL_SAFE_NO_PAD.encode(bytes);
    assert_eq!(base64url::encode(bytes), symbols);
    assert_eq!(base64url::decode(&symbols).as_deref(), Ok(bytes));
    assert_eq!(base64url::encoded_len(bytes.len()), symbols.len());
    assert_eq!(base64url::decoded_len(symbols.len()), bytes.len());

    let mut output = vec![0xff; symbols.len() + 3];
    assert_eq!(base64url::encode_to_slice(bytes, &mut output).unwrap(), symbols.as_bytes());
    assert_eq!(base64url::decode_to_slice(&symbols, &mut output).unwrap(), bytes);
    for needed in [symbols.len(), bytes.len()].into_iter().filter(|&needed| needed > 0) {
        let mut short = vec![0; needed - 1];
        let error = base64url::Base64urlError::OutputTooShort { needed, given: needed - 1 };
        if needed == symbols.len() {
            assert_eq!(base64url::encode_to_slice(bytes, &mut short), Err(error));
        } else {
            assert_eq!(base64url::decode_to_slice(&symbols, &mut short), Err(error));
        }
    }
}

#[test]
fn the_codec_agrees_with_base64_at_every_length() {
    for length in lengths() {
        check_codec(&bytes(length));
    }
}

#[test]
fn hmac_agrees_with_its_oracle_at_every_length() {
    for &algorithm in Algorithm::ALL {
        for length in lengths() {
            let (secret, message) = (bytes(37), bytes(length));
            let tag = Hmac::new(algorithm, &secret).tag(&message);
            assert_eq!(tag.as_ref(), oracle_tag(algorithm, &secret, &message), "message {length}");
            let tag = Hmac::new(algorithm, &message).tag(&secret);
            assert_eq!(tag.as_ref(), oracle_tag(algorithm, &message, &secret), "secret {length}");
        }
    }
}

/// Compares whole tokens with those of the oracles, for claims of every length up to many blocks of
/// the hashes, and for payloads that start at any place of a block.
#[test]
fn a_token_agrees_with_the_oracles_at_every_length() {
    let many = usize::try_from(rounds(700)).unwrap();
    let lengths = (0..=many).chain([2_047, 8_191, 8_192, 100_003]);
    let kids = ["1", "12", "123", "a kid with a length of almost a block of SHA-256, of 64 bytes"];
    let keys: Vec<_> = [64, 200]
        .into_iter()
        .flat_map(|secret_len| Algorithm::ALL.iter().map(move |algorithm| (*algorithm, secret_len)))
        .zip(kids.iter().cycle())
        .map(|((algorithm, secret_len), kid)| {
            let secret = bytes(secret_len);
            (Key::new(algorithm, &secret).unwrap().with_kid(*kid), secret, kid)
        })
        .collect();
    for length in lengths {
        let text: String = bytes(length).iter().map(|byte| char::from(byte & 0x7f)).collect();
        let claims = BTreeMap::from([("x", text)]);
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).unwrap());
        for (key, secret, kid) in &keys {
            let algorithm = key.algorithm();
            let header = format!(r#"{{"alg":"{algorithm}","typ":"JWT","kid":"{kid}"}}"#);
            let signed = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header));
            let tag = oracle_tag(algorithm, secret, signed.as_bytes());
            let expected = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
            assert_eq!(encode(&claims, key).unwrap(), expected, "{algorithm} {length}");
        }
    }
}

/// Any JSON value that Rust can hold. Floats have few digits, so that serde_json reads them exactly
/// without its feature `float_roundtrip`.
fn json() -> impl Strategy<Value = Value> {
    let float = (any::<i32>(), 0..9_i32)
        .prop_map(|(digits, places)| f64::from(digits) / 10_f64.powi(places));
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        float.prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(".*", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn date() -> impl Strategy<Value = NumericDate> {
    prop_oneof![
        any::<i64>().prop_map(NumericDate::from_seconds),
        (0..4_000_000_000_i64).prop_map(NumericDate::from_seconds),
        any::<f64>()
            .prop_filter("finite", |float| float.is_finite())
            .prop_map(|seconds| serde_json::from_value(seconds.into()).unwrap()),
        (-9e9..9e9).prop_map(|seconds: f64| serde_json::from_value(seconds.into()).unwrap()),
    ]
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Claims {
    #[serde(flatten)]
    registered: RegisteredClaims,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

fn claims() -> impl Strategy<Value = Claims> {
    let audience =
        prop_oneof![".*".prop_map(Audience::One), vec(".*", 0..8).prop_map(Audience::Many),];
    let registered = (
        option::of(".*"),
        option::of(".*"),
        option::of(audience),
        option::of(date()),
        option::of(date()),
        option::of(date()),
        option::of(".*"),
    );
    let own_name = ".*".prop_filter("not registered", |name| {
        !["iss", "sub", "aud", "exp", "nbf", "iat", "jti"].contains(&&**name)
    });
    (registered, btree_map(own_name, json(), 0..20)).prop_map(|(registered, rest)| {
        let (iss, sub, aud, exp, nbf, iat, jti) = registered;
        let registered = RegisteredClaims { iss, sub, aud, exp, nbf, iat, jti };
        Claims { registered, rest }
    })
}

/// Returns a validation that accepts whatever the times are.
fn lenient(claims: &RegisteredClaims) -> Option<Validation> {
    let earliest = claims.nbf.max(claims.iat);
    let now = match (claims.exp, earliest) {
        (Some(exp), Some(start)) if exp <= start => return None,
        (_, Some(start)) => start,
        (Some(exp), None) if exp == NumericDate::from_seconds(i64::MIN) => return None,
        (Some(_), None) => NumericDate::from_seconds(i64::MIN),
        (None, None) => NumericDate::EPOCH,
    };
    Some(Validation::new().at(now).any_audience().unwrap().expiry_optional().unwrap())
}

/// Returns a token of each algorithm, with and without a `kid`.
fn tokens() -> Vec<(Key, String)> {
    let claims = serde_json::json!({ "sub": "user-12345", "exp": 2_000_000_000, "role": "admin" });
    let mut tokens = Vec::new();
    for &algorithm in Algorithm::ALL {
        for kid in [None, Some("2026-11")] {
            let key = Key::new(algorithm, signing::SECRET).unwrap();
            let key = kid.into_iter().fold(key, Key::with_kid);
            let token = encode(&claims, &key).unwrap();
            tokens.push((key, token));
        }
    }
    tokens
}

fn accepts(token: &str, key: &Key) -> bool {
    let validation = Validation::new().at(NumericDate::from_seconds(1_999_999_999));
    decode::<Value>(token, key, &validation).is_ok()
}

#[test]
fn every_single_bit_and_character_change_is_rejected() {
    for (key, token) in tokens() {
        assert!(accepts(&token, &key));
        for offset in 0..token.len() {
            for byte in (0..=u8::MAX).filter(|&byte| byte != token.as_bytes()[offset]) {
                let mut changed = token.clone().into_bytes();
                changed[offset] = byte;
                // A &str cannot contain invalid UTF-8.
                let Ok(changed) = String::from_utf8(changed) else { continue };
                assert!(!accepts(&changed, &key), "{byte:#x} at {offset}: {changed}");
            }
            for inserted in ["A", "_", ".", "=", " ", "\n", "\0", "é"] {
                let (front, back) = token.split_at(offset);
                assert!(
                    !accepts(&format!("{front}{inserted}{back}"), &key),
                    "{inserted:?} at {offset}"
                );
            }
            let (front, back) = token.split_at(offset);
            assert!(!accepts(&format!("{front}{}", &back[1..]), &key), "without {offset}");
        }
    }
}

#[test]
fn every_truncation_and_extension_is_rejected() {
    for (key, token) in tokens() {
        for length in 0..token.len() {
            assert!(!accepts(&token[..length], &key), "the first {length}");
            assert!(!accepts(&token[token.len() - length..], &key), "the last {length}");
        }
        for byte in 0..=127_u8 {
            let byte = char::from(byte);
            assert!(!accepts(&format!("{token}{byte}"), &key), "{byte:?} behind");
            assert!(!accepts(&format!("{byte}{token}"), &key), "{byte:?} before");
        }
        assert!(!accepts(&format!("{token}.{token}"), &key));
    }
}

#[test]
fn no_key_accepts_the_token_of_another() {
    let tokens = tokens();
    for (mine, (_, token)) in tokens.iter().enumerate() {
        for (other, (key, _)) in tokens.iter().enumerate() {
            // The keys with and without a kid have the same secret: a kid is only a hint.
            assert_eq!(accepts(token, key), mine / 2 == other / 2);
        }
        for &algorithm in Algorithm::ALL {
            assert!(!accepts(token, &Key::new(algorithm, [0x5b; 64]).unwrap()));
        }
    }
}

proptest! {
    #[test]
    fn the_codec_agrees_with_base64(bytes in vec(any::<u8>(), 0..5_000)) {
        check_codec(&bytes);
    }

    #[test]
    fn rejects_what_base64_rejects(text in "[A-Za-z0-9_=+/ -]{0,40}") {
        prop_assert_eq!(base64url::decode(&text).ok(), URL_SAFE_NO_PAD.decode(&text).ok());
    }

    #[test]
    fn hmac_agrees_with_its_oracle(
        secret in vec(any::<u8>(), 0..300),
        message in vec(any::<u8>(), 0..3_000),
        place in any::<Index>(),
        change in 1..=u8::MAX,
    ) {
        for &algorithm in Algorithm::ALL {
            let hmac = Hmac::new(algorithm, &secret);
            let expected = oracle_tag(algorithm, &secret, &message);
            let tag = hmac.tag(&message);
            prop_assert_eq!(tag.as_ref(), &*expected);
            prop_assert!(hmac.verify(&message, &expected));
            prop_assert!(!hmac.verify(&message, &expected[..expected.len() - 1]));
            // One byte is wrong, and another one by the same difference.
            let mut wrong = expected.clone();
            wrong[place.index(expected.len())] ^= change;
            prop_assert!(!hmac.verify(&message, &wrong));
            wrong.rotate_left(8);
            wrong[place.index(expected.len())] ^= change;
            wrong.rotate_right(8);
            prop_assert!(!hmac.verify(&message, &wrong));
        }
    }

    #[test]
    fn a_date_survives_a_round_trip(date in date()) {
        let json = serde_json::to_string(&date).unwrap();
        prop_assert_eq!(serde_json::from_str::<NumericDate>(&json).unwrap(), date, "{}", json);
    }

    #[test]
    fn every_claims_value_decodes_to_itself(claims in claims(), secret in any::<[u8; 64]>()) {
        for &algorithm in Algorithm::ALL {
            let key = Key::new(algorithm, secret).unwrap();
            let token = encode(&claims, &key).unwrap();
            let Some(validation) = lenient(&claims.registered) else { continue };
            let decoded = decode::<Claims>(&token, &key, &validation);
            prop_assert_eq!(decoded.as_ref(), Ok(&claims), "{}", token);
            prop_assert!(explain(&token, &key, &validation).is_accepted());

            let mut buffer = vec![0; token.len()];
            let borrowed: Claims = decode_borrowed(&token, &key, &validation, &mut buffer).unwrap();
            prop_assert_eq!(&borrowed, &claims);
            let value: Value = decode(&token, &key, &validation).unwrap();
            prop_assert_eq!(value, serde_json::to_value(&claims).unwrap());
        }
    }

    #[test]
    fn an_arbitrary_text_is_rejected(text in ".*") {
        prop_assert!(!accepts(&text, &signing::key()));
    }

    #[test]
    fn bytes_that_are_not_json_are_rejected_with_a_correct_mac(payload in vec(any::<u8>(), 0..200)) {
        let token = signing::signed(&payload);
        let error = decode::<Value>(&token, &signing::key(), &Validation::new());
        prop_assert!(matches!(error, Err(DecodeError::Payload(_))), "{:?}", error);
    }

    #[test]
    fn a_set_finds_the_key_that_signed(count in 1_usize..20, signer in any::<prop::sample::Index>()) {
        let key = |number: usize| {
            let kid = format!("key-{number}");
            Key::hs256([u8::try_from(number).unwrap(); 32]).unwrap().with_kid(kid)
        };
        let mut set = KeySet::new(key(0));
        for number in 1..count {
            set = set.accept(key(number)).unwrap();
        }
        let claims = serde_json::json!({ "exp": 2_000_000_000 });
        let token = encode(&claims, &key(signer.index(count))).unwrap();
        let validation = Validation::new().at(NumericDate::from_seconds(0));
        prop_assert!(decode::<Value>(&token, &set, &validation).is_ok());
        let token = encode(&claims, &key(count)).unwrap();
        let error = decode::<Value>(&token, &set, &validation).unwrap_err();
        prop_assert_eq!(error.to_string(), format!("no key has the kid \"key-{count}\""));
    }
}
