//! The output of a program when one of the crate's errors reaches its `main`, or an `unwrap`.

use std::{error::Error, fs, path::Path, time::Duration};

use kippu::{
    Algorithm, EnvKeys, Jwk, JwkSet, Key, KeySet, KeySource, NumericDate, Validation, decode,
    encode, unverified_header,
};
use serde_json::{Value, json};

fn key() -> Key {
    Key::hs256([7; 32]).unwrap().with_kid("k")
}

/// Checks what `main` prints after `Error: `.
#[track_caller]
fn printed<T>(result: Result<T, impl Into<Box<dyn Error>>>, expected: &str) {
    let error: Box<dyn Error> = result.err().unwrap().into();
    assert_eq!(format!("{error:?}"), expected);
}

#[test]
fn main_prints_a_sentence() {
    printed(
        Key::hs256("secret"),
        "HS256 needs a secret of at least 32 random bytes, this one has 6",
    );
    let nameless = || Key::hs256([7; 32]).unwrap();
    printed(
        KeySet::new(nameless()).accept(nameless()),
        "a key in a set needs a kid: set it with Key::with_kid",
    );
    printed(
        Jwk::from_json(r#"{"kty":"RSA","k":""}"#),
        r#"the JWK is of the key type "RSA", not "oct""#,
    );
    printed(
        JwkSet::from_json("["),
        r#"not a JWK; it is a JSON array: a JWK Set is an object, {"keys":[…]}"#,
    );
    printed(
        Jwk::from_json("{"),
        "not a strict JSON object: malformed JSON at byte 1: a member name was expected",
    );
    printed(
        KeySet::from_jwk_set(&JwkSet::from_json(r#"{"keys":[]}"#).unwrap()),
        "the JWK Set has no keys",
    );
    printed(
        EnvKeys::new("KIPPU_TEST_WITHOUT_KEYS").load(),
        "the environment variable KIPPU_TEST_WITHOUT_KEYS is not set",
    );
    printed(
        Validation::new().leeway(Duration::from_secs(3600)),
        "a leeway of 3600s is too long: at most 600s",
    );
    printed(kippu::base64url::decode("Zm9v\n"), "byte 0x0a at offset 4 is not a base64url symbol");
    printed(encode(&json!([]), &key()), "the claims are not a claims set: not a JSON object");
    printed(unverified_header("a.b", 3), "the token does not have three segments");

    let claims = json!({ "iss": "https://auth.example", "exp": 1_300_819_380 });
    let token = encode(&claims, &key()).unwrap();
    let decoded = |validation| decode::<Value>(&token, &key(), &validation);
    printed(
        decoded(Validation::new().at(NumericDate::from_seconds(1_300_819_440))),
        "expired: exp 1300819380, now 1300819440, leeway 60s",
    );
    let audience = Validation::new().at(NumericDate::EPOCH).audience("api");
    printed(decoded(audience), "the claim aud is missing");
    printed(
        decode::<Value>(&token, &Key::new(Algorithm::Hs512, [7; 64]).unwrap(), &Validation::new()),
        r#"the key is for HS512, the header names "HS256""#,
    );
}

#[test]
fn main_prints_a_sentence_about_sessions() {
    use kippu::session::{
        MemoryStore, SessionError, SessionId, Sessions, StoreError, StoreErrorKind,
    };

    printed(
        Sessions::builder(MemoryStore::new(1)).issuer("i").client("c").build(),
        "no audience is set: call .audience(…)",
    );
    printed("x".parse::<SessionId>(), "a session id has 22 symbols of base64url");
    let fault = |kind| StoreError::from_driver(kind, "code 7");
    printed(
        Err::<(), _>(SessionError::from(fault(StoreErrorKind::Contention))),
        "the session store is contended: code 7",
    );
    printed(
        Err::<(), _>(fault(StoreErrorKind::Unavailable).with_message("gone")),
        "the session store is not available: gone: code 7",
    );
    printed(
        Err::<(), _>(SessionError::Authorize("the users are away".into())),
        "the application could not authorize the session: the users are away",
    );
    let refused = || decode::<Value>("a.b", &key(), &Validation::new()).unwrap_err();
    printed(Err::<(), _>(SessionError::from(refused())), "the token does not have three segments");
}

/// Neither a derived `Debug`, nor a cause that the message repeats: a report would print it twice.
#[test]
fn no_error_of_the_crate_is_left_out() {
    let mut files = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut found = 0;
    while let Some(file) = files.pop() {
        if file.is_dir() {
            files.extend(fs::read_dir(&file).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let name = file.display();
        for (place, _) in text.match_indices("thiserror::Error)]") {
            let (before, behind) = text.split_at(place);
            let derived = before.rsplit_once("#[derive(").unwrap().1;
            let item =
                behind.lines().find(|line| line.contains("enum ") || line.contains("struct "));
            let is_public = item.unwrap().starts_with("pub ") && !item.unwrap().contains("pub(");
            assert!(!is_public || !derived.contains("Debug"), "{name}: {item:?}");
            found += usize::from(is_public);
        }
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        for (index, line) in lines.iter().enumerate() {
            let returns_it = line.contains("#[from]") || line.contains("#[source]");
            let attribute = lines[..index].iter().rev().find(|line| line.starts_with("#[error("));
            let prints_it =
                attribute.is_some_and(|line| line.contains("{0}") || line.contains("{error"));
            assert!(!returns_it || !prints_it, "{name}: {line}");
        }
    }
    assert!(found >= 14, "{found}");
}
