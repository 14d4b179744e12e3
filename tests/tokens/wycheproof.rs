//! Project Wycheproof: 522 HMAC tags, and 75 compact serializations.

use kippu::{
    Algorithm, DecodeError, JsonError, JwkError, JwkSet, Key, KeySet, KeySetError, Validation,
    decode, hmac::Hmac,
};
use serde::Deserialize;
use serde_json::Value;
use wycheproof::{
    TestResult,
    mac::{TestName, TestSet},
};

/// Half of the vectors have tags of half the length. A JWS verifier rejects such tags, so for these
/// vectors the test compares the first half of the whole tag, and checks that the half tag is
/// rejected.
#[test]
fn hmac() {
    let sets = [TestName::HmacSha256, TestName::HmacSha384, TestName::HmacSha512];
    let mut cases = 0;
    for (set, algorithm) in sets.into_iter().zip(Algorithm::ALL.iter().copied()) {
        for group in TestSet::load(set).unwrap().test_groups {
            let tag_len = group.tag_size / 8;
            for case in group.tests {
                cases += 1;
                let valid = case.result == TestResult::Valid;
                let hmac = Hmac::new(algorithm, &case.key);
                let tag = hmac.tag(&case.msg);
                assert_eq!(
                    tag.as_ref()[..tag_len] == case.tag[..],
                    valid,
                    "{set:?} {}",
                    case.tc_id
                );
                let whole = tag_len == algorithm.hash_len();
                let verified = hmac.verify(&case.msg, &case.tag);
                assert_eq!(verified, valid && whole, "{set:?} {}", case.tc_id);
            }
        }
    }
    assert_eq!(cases, 522);
}

#[derive(Deserialize)]
struct JwsVector {
    file: String,
    #[serde(rename = "tcId")]
    id: u32,
    key: Value,
    jws: Value,
    result: String,
}

/// Vectors with a wrong label, as (file, id, verdict of a strict verifier, reason).
const EXCEPTIONS: [(&str, u32, bool, &str); 4] = [
    ("json_web_signature", 367, true, "labelled invalid, but byte for byte the valid 357"),
    ("json_web_signature", 370, true, "labelled invalid, but byte for byte the valid 357"),
    ("json_web_signature", 372, false, "labelled valid, but has a '?' in its header"),
    ("json_web_signature", 373, false, "labelled valid, but has a '?' in its payload"),
];

/// The payloads are not JSON, so that none is accepted as a JWT. A vector counts as valid if only
/// its payload is rejected: the payload is not read before the signature was verified.
#[test]
fn jws() {
    let path = std::env::var_os("KIPPU_WYCHEPROOF_JWS").map_or_else(
        || {
            std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../shared/vectors/wycheproof_hs_jws.json")
        },
        Into::into,
    );
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            // Written past the harness's capture, so that every run shows it.
            use std::io::Write;
            let line = format!(
                "not run: the 75 JWS vectors of Wycheproof, since {} cannot be read ({error}); \
                 KIPPU_WYCHEPROOF_JWS can name the file\n",
                path.display()
            );
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            return;
        }
    };
    let vectors: Vec<JwsVector> = serde_json::from_str(&text).unwrap();
    assert_eq!(vectors.len(), 75);
    for vector in vectors {
        let labelled = vector.result == "valid";
        let expected = EXCEPTIONS
            .iter()
            .find(|(file, id, ..)| *file == vector.file && *id == vector.id)
            .map_or(labelled, |(_, _, verdict, _)| *verdict);
        let verdict = verdict(&vector);
        let valid = verdict == Ok(DecodeError::Payload(JsonError::NotAnObject));
        assert_eq!(valid, expected, "{} {}: {verdict:?}", vector.file, vector.id);
    }
}

/// Returns the error of `decode`, or why there is no key to decode with.
fn verdict(vector: &JwsVector) -> Result<DecodeError, String> {
    // A JWS in another serialization is an object, which cannot be sent as a token.
    let token = match &vector.jws {
        Value::String(token) => token.clone(),
        other => other.to_string(),
    };
    let keys = key_set(&vector.key).map_err(|error| error.to_string())?;
    Ok(decode::<Value>(&token, &keys, &Validation::new()).unwrap_err())
}

/// Makes a set of the vector's keys. Two vectors have keys of several types, and one has two with
/// the same id: making the set rejects these.
fn key_set(key: &Value) -> Result<KeySet, Box<dyn std::error::Error>> {
    let text = match key.get("keys") {
        Some(_) => key.to_string(),
        None => serde_json::json!({ "keys": [key] }).to_string(),
    };
    let set = JwkSet::from_json(&text)?;
    let mut keys = set.keys().iter().map(Key::from_jwk);
    let first = keys.next().ok_or(JwkError::Missing { parameter: "keys" })??;
    let set = keys.try_fold(KeySet::new(first), |set, key| {
        set.accept(key.map_err(|_| KeySetError::MissingKid)?)
    })?;
    Ok(set.try_all_without_kid())
}
