//! Keys as JSON and in sets. Compares what kippu makes of a text with the [`model`], and which key
//! verifies which token.
//!
//! The first line of an input has options: the algorithm for a JWK without `alg`, and the key that
//! is to sign. The second has steps of two characters that change a set of keys: see [`STEPS`]. The
//! rest is a JWK or a JWK Set, in which `@` and a letter stand for a part of one: see [`WORDS`].

pub mod model;
pub mod seeds;

use std::{collections::BTreeSet, sync::LazyLock};

use kippu::{
    Algorithm, DecodeError, JsonError, Jwk, JwkError, JwkSet, Key, KeyError, KeySet, KeySetError,
    Keys, NumericDate, SharedKeySet, Validation, base64url, decode, encode,
};
use serde_json::Value;

use self::model::{Defect, ModelKey, ModelSet, Verdict};
use crate::{
    input::{Input, fill_in},
    json::{Reading, read_object},
    model::text_defect,
};

/// The names of what happened, so that a test can tell what the seeds reach.
pub type Happened = BTreeSet<String>;

/// The letters of the steps; any other byte stands for one of them, too. `n`: makes a new set of
/// the key. `a`: accepts the key. `r`: retires it. `o`: lets it sign from now on. `t`: tokens
/// without an id are tried with each key.
pub const STEPS: &[u8; 5] = b"naort";

const NOW: i64 = 1_760_000_000;

/// The keys that steps choose from: two with the same id, one without an id, of three algorithms.
/// All secrets are different.
static POOL: LazyLock<Vec<ModelKey>> = LazyLock::new(|| {
    let key = |algorithm, kid: Option<&str>, byte, length| ModelKey {
        algorithm,
        kid: kid.map(str::to_owned),
        secret: vec![byte; length],
        signs: true,
    };
    vec![
        key("HS256", Some("a"), 1, 32),
        key("HS384", Some("b"), 2, 48),
        key("HS512", Some("c"), 3, 64),
        key("HS256", Some("b"), 4, 32),
        key("HS256", Some("A"), 5, 65),
        key("HS256", Some(""), 6, 129),
        key("HS256", None, 7, 32),
    ]
});

/// The replacements of `@` and a letter.
static WORDS: LazyLock<Vec<(u8, String)>> = LazyLock::new(|| {
    let words = [
        (b't', r#""kty":"oct""#),
        (b'1', r#""alg":"HS256""#),
        (b'2', r#""alg":"HS384""#),
        (b'3', r#""alg":"HS512""#),
        (b'a', r#""kid":"a""#),
        (b'b', r#""kid":"b""#),
        (b'c', r#""kid":"c""#),
        (b's', r#""key_ops":["sign"]"#),
        (b'v', r#""key_ops":["verify"]"#),
        (b'o', r#""key_ops":["#),
        (b'S', r#""sign""#),
        (b'V', r#""verify""#),
        (b'u', r#""use":"sig""#),
        (b'e', r#""use":"enc""#),
        (b'w', r#"{"keys":["#),
        (b'k', r#""k":""#),
    ];
    let mut words: Vec<_> = words.map(|(letter, word)| (letter, word.to_owned())).into();
    for (letter, byte, length) in [(b'K', 1, 32), (b'L', 2, 48), (b'M', 3, 64), (b'N', 4, 31)] {
        words.push((letter, format!(r#""k":"{}""#, encoded(vec![byte; length]))));
    }
    words.push((b'P', format!(r#""k":"{}""#, encoded(format!("-----BEGIN {:60}", "x")))));
    words
});

/// Reads an input, builds the set that it describes, and presents tokens to both implementations.
pub fn run(data: &[u8]) -> Happened {
    let Input { mut options, header: steps, payload } = Input::new(data);
    let mut happened = Happened::new();
    let expected = options.pick(&[Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512]);
    let to_sign = options.pick(&[None, Some("a"), Some("b"), Some("c"), Some("zz")]);
    let text = fill_in(payload, &WORDS);
    if let Ok(text) = str::from_utf8(&text) {
        let reading = read_object(text.as_bytes(), usize::MAX);
        read_one(text, &reading, expected, &mut happened);
        read_set(text, &reading, to_sign, &mut happened);
    }
    read_digits(&text, expected, &mut happened);
    change_a_set(steps, &mut happened);
    happened
}

/// Reads the text as a JWK.
fn read_one(text: &str, reading: &Reading, expected: Algorithm, happened: &mut Happened) {
    let tree = |expected| match &reading.members {
        None => Err(reading.defects.iter().copied().map(Defect::Json).collect()),
        Some(members) => model::jwk(members, expected),
    };
    let wanted = tree(None);
    let found = agree(text, Jwk::from_json(text), wanted.as_ref(), happened);
    if let (Some(jwk), Ok(wanted)) = (found, wanted) {
        same_key(&jwk, &wanted);
        // A written JWK can be read again.
        let written = Jwk::from_json(&jwk.expose_json()).expect("kippu has written it");
        same_key(&written, &wanted);
        let only = jwk.verify_only();
        assert!(!Jwk::from_json(&only.expose_json()).expect("kippu has written it").may_sign());
        happened.insert("a JWK".into());
    }
    let wanted = tree(Some(expected.as_str()));
    let found = agree(text, Jwk::from_json_for(text, expected), wanted.as_ref(), happened);
    if let (Some(jwk), Ok(wanted)) = (found, wanted) {
        same_key(&jwk, &wanted);
    }
}

/// Reads the text as a JWK Set, and as the keys of an issuer.
fn read_set(text: &str, reading: &Reading, to_sign: Option<&str>, happened: &mut Happened) {
    let wanted = match &reading.members {
        None => Err(reading.defects.iter().copied().map(Defect::Json).collect()),
        Some(members) => model::jwk_set(members),
    };
    let found = agree(text, JwkSet::from_json(text), wanted.as_ref(), happened);
    let (Some(mut set), Ok(mut wanted)) = (found, wanted) else { return };
    assert_eq!(set.keys().len(), wanted.len());
    set.keys().iter().zip(&wanted).for_each(|(key, wanted)| same_key(key, wanted));
    let written = JwkSet::from_json(&set.expose_json()).expect("kippu has written it");
    written.keys().iter().zip(&wanted).for_each(|(key, wanted)| same_key(key, wanted));

    if let Some(kid) = to_sign {
        let named = wanted.iter().find(|key| key.kid.as_deref() == Some(kid));
        let defect = match named {
            None => Some(Defect::UnknownSigningKey),
            Some(key) if !key.signs => Some(Defect::NoSigningKey),
            Some(_) => None,
        };
        let outcome = match defect {
            Some(defect) => Err(BTreeSet::from([defect])),
            None => Ok(()),
        };
        let chosen = agree(text, set.with_signing_key(kid), outcome.as_ref(), happened);
        let Some(chosen) = chosen else { return };
        set = chosen;
        for key in &mut wanted {
            key.signs &= key.kid.as_deref() == Some(kid);
        }
    }
    let model = ModelSet::of(&wanted);
    let keys = agree(text, KeySet::from_jwk_set(&set), model.as_ref(), happened);
    if let (Some(keys), Ok(model)) = (keys, model) {
        happened.insert("keys of a JWK Set".into());
        present(&keys, &model, happened);
    }
}

/// Checks that both accept, or that both reject and the model knows the reason.
fn agree<T, W>(
    text: &str,
    found: Result<T, JwkError>,
    wanted: Result<&W, &BTreeSet<Defect>>,
    happened: &mut Happened,
) -> Option<T> {
    match (found, wanted) {
        (Ok(found), Ok(_)) => Some(found),
        // A secret does not need escapes.
        (Err(JwkError::Secret { .. }), _) if text.contains('\\') => None,
        (Err(error), Err(defects)) => {
            let reported = match reported(&error) {
                // The error for a text that is not JSON names what it looks like.
                Defect::KeyFile if model::is_key_file(text.as_bytes()) => not_an_object(defects),
                reported => reported,
            };
            assert!(defects.contains(&reported), "{reported:?} for {defects:?} in {text}");
            // No error shows a secret: only secrets have 12 symbols in a row here.
            let printed = format!("{error} {error:?}");
            let k = text.split(r#""k":""#).skip(1).filter_map(|k| k.split('"').next());
            for k in k.filter(|k| k.len() >= 43 && k.is_ascii()) {
                assert!(!printed.contains(&k[..12]), "{printed}");
            }
            happened.insert(format!("{reported:?}"));
            None
        }
        (Ok(_), Err(defects)) => panic!("{defects:?} in {text}"),
        (Err(error), Ok(_)) => panic!("{error:?} in {text}"),
    }
}

fn same_key(jwk: &Jwk, wanted: &ModelKey) {
    assert_eq!(jwk.algorithm().as_str(), wanted.algorithm);
    assert_eq!(jwk.kid(), wanted.kid.as_deref());
    assert_eq!(jwk.may_sign(), wanted.signs);
    let key = Key::from_jwk(jwk).expect("a JWK is a key");
    let token = encode(&serde_json::json!({ "exp": NOW }), &key).expect("an object");
    let (message, tag) = token.rsplit_once('.').expect("three segments");
    assert_eq!(tag, encoded(wanted.tag(message)), "another secret");
}

/// Returns the defect of a text that is not an object, if the text has it.
fn not_an_object(defects: &BTreeSet<Defect>) -> Defect {
    let not_an_object = Defect::Json(text_defect(&JsonError::NotAnObject));
    if defects.contains(&not_an_object) { not_an_object } else { Defect::KeyFile }
}

fn reported(error: &JwkError) -> Defect {
    match error {
        JwkError::NotAJwk { advice } if advice.starts_with("it is a JWK Set") => {
            Defect::Missing("kty")
        }
        JwkError::NotAJwk { .. } => Defect::Json(text_defect(&JsonError::NotAnObject)),
        JwkError::Json(error) => Defect::Json(text_defect(error)),
        JwkError::Missing { parameter } => Defect::Missing(parameter),
        JwkError::WrongType { parameter } => Defect::WrongType(parameter),
        JwkError::KeyType { .. } => Defect::KeyType,
        JwkError::Algorithm { .. } => Defect::Algorithm,
        JwkError::Use { .. } => Defect::Use,
        JwkError::KeyOperations { .. } => Defect::KeyOperations,
        JwkError::Secret { .. } => Defect::Secret,
        JwkError::DuplicateKid { .. } => Defect::DuplicateKid,
        JwkError::NoKeys => Defect::NoKeys,
        JwkError::UnknownSigningKey { .. } => Defect::UnknownSigningKey,
        JwkError::NoSigningKey => Defect::NoSigningKey,
        JwkError::SeveralSigningKeys { .. } => Defect::SeveralSigningKeys,
        JwkError::Set(error) => refused(error),
        JwkError::Key(KeyError::TooShort { .. }) => Defect::TooShort,
        JwkError::Key(KeyError::KeyFile { .. }) => Defect::KeyFile,
        other => panic!("an error that the model does not know: {other:?}"),
    }
}

fn refused(error: &KeySetError) -> Defect {
    match error {
        KeySetError::MissingKid => Defect::MissingKid,
        KeySetError::DuplicateKid { .. } => Defect::DuplicateKid,
        other => panic!("an error that the model does not know: {other:?}"),
    }
}

/// Reads the text as hexadecimal digits.
fn read_digits(text: &[u8], algorithm: Algorithm, happened: &mut Happened) {
    let byte = |pair: &[u8]| {
        let digits = str::from_utf8(pair).ok().filter(|_| pair.iter().all(u8::is_ascii_hexdigit));
        digits.filter(|_| pair.len() == 2).and_then(|digits| u8::from_str_radix(digits, 16).ok())
    };
    let digits: Vec<u8> = text.iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect();
    let secret: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    match (Key::from_hex(algorithm, text), secret) {
        (Ok(key), Some(secret)) => {
            let token = encode(&serde_json::json!({ "exp": NOW }), &key).expect("an object");
            let (message, tag) = token.rsplit_once('.').expect("three segments");
            let algorithm = algorithm.as_str();
            let wanted = ModelKey { algorithm, kid: None, secret, signs: true };
            assert_eq!(tag, encoded(wanted.tag(message)), "another secret");
            happened.insert("digits".into());
        }
        (Err(KeyError::TooShort { given, needed, .. }), Some(secret)) => {
            assert!(given == secret.len() && given < needed);
        }
        (Err(KeyError::KeyFile { .. }), Some(secret)) => assert!(model::is_key_file(&secret)),
        (Err(KeyError::KeyFile { .. }), None) => assert!(model::is_key_file(text)),
        (Err(KeyError::Encoding { .. }), None) => {}
        (found, wanted) => panic!("{found:?} for {wanted:?}"),
    }
}

/// Changes a set by the steps. At the end, both give the same verdict on every token.
fn change_a_set(steps: &[u8], happened: &mut Happened) {
    let shared = SharedKeySet::new(KeySet::new(made(&POOL[0])));
    let mut done: Vec<Step> = vec![Step { letter: b'n', key: 0, until: 0 }];
    let mut model = ModelSet::alone(POOL[0].clone());
    for bytes in steps.chunks_exact(2).take(24) {
        let letter = STEPS.iter().find(|letter| **letter == bytes[0]);
        let letter = *letter.unwrap_or(&STEPS[usize::from(bytes[0]) % STEPS.len()]);
        let number = usize::from(bytes[1].wrapping_sub(b'0'));
        let until = [NOW + 1, NOW, NOW - 1, NOW + 3600][number / POOL.len() % 4];
        let step = Step { letter, key: number % POOL.len(), until };
        let set = done.iter().try_fold(None, |set, step| step.take(set).map(Some));
        let set = set.expect("these fitted before");
        match (step.take(set), step.take_in_model(model.clone())) {
            (Ok(set), Ok(after)) => {
                assert_eq!(set.signing_key().unwrap().kid(), after.keys[0].0.kid.as_deref());
                model = after;
                done.push(step);
                shared.replace(set);
            }
            (Err(error), Err(defect)) => {
                assert_eq!(refused(&error), defect);
                happened.insert(format!("set: {defect:?}"));
            }
            (found, wanted) => panic!("expected {wanted:?} after {step:?}, got {found:?}"),
        }
    }
    present(&shared.load(), &model, happened);
}

#[derive(Clone, Copy, Debug)]
struct Step {
    letter: u8,
    key: usize,
    until: i64,
}

impl Step {
    fn take(self, set: Option<KeySet>) -> Result<KeySet, KeySetError> {
        let key = made(&POOL[self.key]);
        let until = NumericDate::from_seconds(self.until);
        match (self.letter, set) {
            (b'a', Some(set)) => set.accept(key),
            (b'r', Some(set)) => set.retire(key, until),
            (b'o', Some(set)) => set.rotate(key, until),
            (b't', Some(set)) => Ok(set.try_all_without_kid()),
            _ => Ok(KeySet::new(key)),
        }
    }

    fn take_in_model(self, model: ModelSet) -> Result<ModelSet, Defect> {
        let key = POOL[self.key].clone();
        match self.letter {
            b'a' => model.with(key, None),
            b'r' => model.with(key, Some(self.until)),
            b'o' => model.rotated(key, self.until),
            b't' => Ok(ModelSet { tries_all: true, ..model }),
            _ => Ok(ModelSet::alone(key)),
        }
    }
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    base64url::encode(bytes.as_ref())
}

fn made(key: &ModelKey) -> Key {
    let algorithm = key.algorithm.parse::<Algorithm>().expect("one of the three");
    let made = Key::new(algorithm, &key.secret).expect("long enough");
    match &key.kid {
        Some(kid) => made.with_kid(kid),
        None => made,
    }
}

/// Presents tokens of every key, with every id and without one. The model predicts which are
/// accepted.
fn present(keys: &KeySet, model: &ModelSet, happened: &mut Happened) {
    let validation = Validation::new().at(NumericDate::from_seconds(NOW));
    // The first keys of a JWK Set suffice.
    let signers: Vec<&ModelKey> =
        model.keys.iter().map(|(key, _)| key).take(8).chain(&*POOL).collect();
    let ids: BTreeSet<Option<&str>> =
        signers.iter().map(|key| key.kid.as_deref()).chain([None, Some("zz")]).collect();
    let payload = encoded(format!(r#"{{"exp":{}}}"#, NOW + 60));
    for signer in signers {
        for kid in &ids {
            let named =
                kid.map_or_else(String::new, |kid| format!(r#","kid":{}"#, Value::from(kid)));
            // With the header that kippu writes, which it compares directly, and with another one.
            for typ in [r#","typ":"JWT""#, ""] {
                let header = format!(r#"{{"alg":"{}"{typ}{named}}}"#, signer.algorithm);
                let message = format!("{}.{payload}", encoded(&header));
                let token = format!("{message}.{}", encoded(signer.tag(&message)));
                let wanted = model.judge(&message, *kid, signer, NOW);
                assert_eq!(judged(&token, keys, &validation), wanted, "{header} by {signer:?}");
                happened.insert(format!("token: {wanted:?}"));
            }
        }
    }
    let token = encode(&serde_json::json!({ "exp": NOW + 60 }), keys.signing_key().unwrap());
    let token = token.expect("an object");
    assert_eq!(judged(&token, keys, &validation), Verdict::Accepted, "its own token");
}

fn judged(token: &str, keys: &impl Keys, validation: &Validation) -> Verdict {
    match decode::<Value>(token, keys, validation) {
        Ok(_) => Verdict::Accepted,
        Err(DecodeError::UnknownKid { .. }) => Verdict::UnknownKid,
        Err(DecodeError::MissingKid) => Verdict::MissingKid,
        Err(DecodeError::Algorithm { .. }) => Verdict::Algorithm,
        Err(DecodeError::Signature) => Verdict::Signature,
        Err(DecodeError::KeyRetired { until, .. }) => Verdict::KeyRetired(until.seconds()),
        Err(other) => panic!("{other:?} of a token whose claims are good"),
    }
}
