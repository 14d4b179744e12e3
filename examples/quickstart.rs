//! A login with a token, its verification on the next request, and what goes wrong in between:
//! `cargo run --example quickstart`.

use std::error::Error;

use kippu::{Jwk, Key, KeySet, NumericDate, Validation, base64url, decode, encode, explain};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    exp: NumericDate,
    role: String,
}

impl Claims {
    fn of(user: &str, role: &str) -> Self {
        Self {
            iss: "https://auth.example".into(),
            aud: "api".into(),
            sub: user.into(),
            exp: NumericDate::in_seconds(900),
            role: role.into(),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // In a server the secret comes from the secret manager; see `Jwk::from_json`.
    let jwk = Jwk::generate(kippu::Algorithm::Hs256)?.with_kid("2026-10");
    let key = Key::from_jwk(&jwk)?;
    let validation = Validation::new().issuer("https://auth.example").audience("api");

    // The user has logged in: the server signs who they are.
    let token = encode(&Claims::of("user-12345", "reader"), &key)?;
    println!("logged in    {token}\n");

    // On the next request the token comes back, and is all that the server needs.
    let claims: Claims = decode(&token, &key, &validation)?;
    println!("accepted     {} is a {}", claims.sub, claims.role);

    // The user writes another role into the payload, and cannot sign it.
    let [header, _, signature] = *token.split('.').collect::<Vec<_>>() else {
        return Err("a token has three segments".into());
    };
    let payload = serde_json::to_string(&Claims::of("user-12345", "admin"))?;
    let tampered = format!("{header}.{}.{signature}", base64url::encode(payload.as_bytes()));
    show("tampered", &tampered, &key, &validation)?;

    // An attacker signs other claims with another secret.
    let forged = encode(&Claims::of("user-1", "admin"), &Key::hs256([7; 32])?.with_kid("2026-10"))?;
    show("forged", &forged, &key, &validation)?;

    // Time goes by.
    let later = validation.clone().at(NumericDate::in_seconds(900 + 60));
    show("expired", &token, &key, &later)?;

    // The secret has leaked: a new one takes its place, and every token of the old one ends at
    // once.
    let new_key = Key::generate(kippu::Algorithm::Hs256)?.with_kid("2026-11");
    let keys = KeySet::new(new_key);
    show("leaked key", &token, &keys, &validation)?;
    let token = encode(&Claims::of("user-12345", "reader"), keys.signing_key()?)?;
    let claims: Claims = decode(&token, &keys, &validation)?;
    println!("accepted     {} again, under {:?}", claims.sub, keys.signing_key()?.kid());

    // Every check at once shows why a token is refused.
    let stricter = later.subject("user-1").typ("at+jwt");
    println!("\nevery check of the expired token, by a recipient who expects more of it:");
    print!("{}", explain(&token, &keys, &stricter));
    Ok(())
}

/// Shows why a token is refused, to the operator and to the client. That it is accepted would be a
/// defect.
fn show(
    what: &str,
    token: &str,
    keys: &impl kippu::Keys,
    validation: &Validation,
) -> Result<(), Box<dyn Error>> {
    match decode::<Claims>(token, keys, validation) {
        Ok(claims) => Err(format!("{what}: accepted as {claims:?}").into()),
        Err(error) => {
            println!(
                "{what:<12} refused: {error} (the client is told: {})",
                error.client_message()
            );
            Ok(())
        }
    }
}
