//! The planned change of a secret in a running server: no token is refused on the way, and none of
//! the old secret is accepted after it. `cargo run --example key_rotation`.

use std::error::Error;

use kippu::{
    Algorithm, DecodeError, Jwk, JwkSet, Key, KeySet, NumericDate, SharedKeySet, Validation,
    decode, encode,
};
use serde_json::{Value, json};

/// How long a token lives, in seconds. A retiring key has to verify for as long.
const LIFETIME: u32 = 900;

fn main() -> Result<(), Box<dyn Error>> {
    let validation = Validation::new();
    let claims = || json!({ "sub": "user-12345", "exp": NumericDate::in_seconds(LIFETIME) });

    // Yesterday: one key, in a secret manager that keeps a JWK Set.
    let october = Jwk::generate(Algorithm::Hs256)?.with_kid("2026-10");
    let server = SharedKeySet::new(KeySet::new(Key::from_jwk(&october)?));
    let old_token = encode(&claims(), server.load().signing_key()?)?;
    println!("signed with {:?}", server.load().signing_key()?.kid());

    // Step 1: every server learns the next key, before any of them signs with it.
    let november = Jwk::generate(Algorithm::Hs256)?.with_kid("2026-11");
    let keys = KeySet::new(Key::from_jwk(&october)?).accept(Key::from_jwk(&november)?)?;
    server.replace(keys);
    decode::<Value>(&old_token, &server, &validation)?;

    // Step 2: the next key signs. The old one verifies for as long as its last token lives.
    let until = NumericDate::in_seconds(LIFETIME);
    server.replace(KeySet::new(Key::from_jwk(&november)?).retire(Key::from_jwk(&october)?, until)?);
    let new_token = encode(&claims(), server.load().signing_key()?)?;
    println!("signed with {:?}", server.load().signing_key()?.kid());
    for token in [&old_token, &new_token] {
        decode::<Value>(token, &server, &validation)?;
    }
    println!("both tokens are accepted");

    // Step 3: its time has ended, to the second, even for a token that has not expired.
    let late = validation.clone().at(until);
    match decode::<Value>(&old_token, &server, &late) {
        Err(error @ DecodeError::KeyRetired { .. }) => {
            println!("the old token is refused: {error}");
        }
        other => return Err(format!("the old key should have retired: {other:?}").into()),
    }

    // Step 4: the old key leaves the server. The server reads the stored keys again at the next
    // start.
    server.replace(KeySet::new(Key::from_jwk(&november)?));
    match decode::<Value>(&old_token, &server, &validation) {
        Err(error @ DecodeError::UnknownKid { .. }) => {
            println!("the old token is refused: {error}");
        }
        other => return Err(format!("the old key should be gone: {other:?}").into()),
    }

    let stored = JwkSet::new([november])?.expose_json(); // into the secret manager
    let stored = JwkSet::from_json(&stored)?;
    let [restored] = stored.keys() else {
        return Err("one key is stored".into());
    };
    decode::<Value>(&new_token, &Key::from_jwk(restored)?, &validation)?;
    println!("the new token is accepted by a server that starts from the stored set");
    Ok(())
}
