//! Measures the first decode of a process, when its code and tables are in no cache: `first HOW
//! SECRET TOKEN ISSUER AUDIENCE` prints the nanoseconds that it takes after a key was made.
//!
//! A separate program, about as large as one that decodes tokens. The program that prints the
//! tables runs it repeatedly.

use std::{env, hint::black_box, time::Instant};

use kippu::{Key, Validation, decode, decode_borrowed};
use serde::Deserialize;

#[derive(Deserialize)]
#[expect(dead_code, reason = "read, but not used")]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: u64,
    iat: u64,
    jti: String,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "read, but not used")]
struct BorrowedClaims<'c> {
    iss: &'c str,
    sub: &'c str,
    aud: &'c str,
    exp: u64,
    iat: u64,
    jti: &'c str,
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [how, secret, token, issuer, audience] = &*arguments else {
        panic!("usage: first kippu|kippu-borrowed|jsonwebtoken SECRET TOKEN ISSUER AUDIENCE");
    };
    let key = Key::hs256(secret.as_bytes()).expect("long enough");
    let validation = Validation::new().issuer(issuer.as_str()).audience(audience.as_str());
    let mut buffer = vec![0; token.len()];
    let nanoseconds = match &**how {
        "kippu" => timed(|| decode::<Claims>(token, &key, &validation).is_ok()),
        "kippu-borrowed" => timed(|| {
            let claims = decode_borrowed(token, &key, &validation, &mut buffer);
            black_box::<Result<BorrowedClaims<'_>, _>>(claims).is_ok()
        }),
        _ => {
            let _ = jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER.install_default();
            let key = jsonwebtoken::DecodingKey::from_secret(secret.as_bytes()).expect("a secret");
            let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
            validation.set_issuer(&[issuer]);
            validation.set_audience(&[audience]);
            timed(|| jsonwebtoken::decode::<Claims>(token, &key, &validation).is_ok())
        }
    };
    println!("{nanoseconds}");
}

fn timed(is_accepted: impl FnOnce() -> bool) -> u128 {
    let start = Instant::now();
    assert!(is_accepted());
    start.elapsed().as_nanos()
}
