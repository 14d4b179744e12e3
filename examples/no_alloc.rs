//! Claims that borrow from a buffer on the stack: a verification that allocates nothing.
//! `cargo run --example no_alloc`. (That it does not is asserted in `tests/allocations.rs`.)

use std::error::Error;

use kippu::{Key, NumericDate, Validation, decode_borrowed, encode};
use serde::Deserialize;

/// Every string points into the buffer.
#[derive(Debug, Deserialize)]
struct Claims<'c> {
    sub: &'c str,
    role: &'c str,
    scope: [&'c str; 2],
}

fn main() -> Result<(), Box<dyn Error>> {
    let key = Key::hs256([0x5a; 32])?; // from the secret manager
    let validation = Validation::new().issuer("https://auth.example").audience("api");
    let token = encode(
        &serde_json::json!({
            "iss": "https://auth.example",
            "aud": "api",
            "sub": "user-12345",
            "exp": NumericDate::in_seconds(900),
            "role": "admin",
            "scope": ["read", "write"],
        }),
        &key,
    )?;

    // Once for each thread; three quarters of the longest token's length is always enough.
    let mut buffer = [0; 1024];
    for request in 1..=3 {
        let claims: Claims<'_> = decode_borrowed(&token, &key, &validation, &mut buffer)?;
        let [first, second] = claims.scope;
        println!("request {request}: {} ({}) may {first} and {second}", claims.sub, claims.role);
    }
    // Neither does a refusal allocate.
    let (front, _) = token.split_at(token.len() - 1);
    match decode_borrowed::<Claims<'_>>(front, &key, &validation, &mut buffer) {
        Err(error) => println!("cut short: {error}"),
        Ok(claims) => return Err(format!("accepted: {claims:?}").into()),
    }
    Ok(())
}
