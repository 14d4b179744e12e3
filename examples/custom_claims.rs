//! Custom claims: beside the registered claims, instead of them, and without a struct for them.
//! `cargo run --example custom_claims`.

use std::{collections::BTreeMap, error::Error};

use kippu::{
    Algorithm, Audience, Key, NumericDate, RegisteredClaims, Validation, decode, encode_with_typ,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The registered claims, flattened into a struct with others.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Flattened {
    #[serde(flatten)]
    registered: RegisteredClaims,
    role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<u32>,
}

/// Only the claims that this service reads, with its own types.
#[derive(Debug, Deserialize)]
struct Own {
    sub: UserId,
    role: Role,
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct UserId(u64);

impl TryFrom<String> for UserId {
    type Error = String;

    fn try_from(subject: String) -> Result<Self, String> {
        let number = subject.strip_prefix("user-").and_then(|number| number.parse().ok());
        number.map(Self).ok_or_else(|| "not a user".into())
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Role {
    Reader,
    Admin,
}

fn main() -> Result<(), Box<dyn Error>> {
    let key = Key::generate(Algorithm::Hs256)?;
    let claims = Flattened {
        registered: RegisteredClaims {
            iss: Some("https://auth.example".into()),
            sub: Some("user-12345".into()),
            aud: Some(Audience::Many(vec!["api".into(), "web".into()])),
            exp: Some(NumericDate::in_seconds(900)),
            iat: Some(NumericDate::now()),
            ..RegisteredClaims::default()
        },
        role: Role::Admin,
        tenant: None,
    };
    let token = encode_with_typ(&claims, &key, "at+jwt")?;
    let validation = Validation::new().issuer("https://auth.example").audience("api").typ("at+jwt");

    let decoded: Flattened = decode(&token, &key, &validation)?;
    assert_eq!(decoded, claims);
    println!("flattened: {decoded:?}");

    // Issuer, audience and expiry are checked although this struct has no fields for them.
    let own: Own = decode(&token, &key, &validation)?;
    println!("own:       user {} is {:?}", own.sub.0, own.role);

    let any: BTreeMap<String, Value> = decode(&token, &key, &validation)?;
    println!("any:       {any:?}");

    // A claim that is not registered can be required before the type is asked.
    let tenants = validation.require("tenant");
    match decode::<Flattened>(&token, &key, &tenants) {
        Err(error) => println!("refused:   {error}"),
        Ok(claims) => return Err(format!("there is no tenant: {claims:?}").into()),
    }
    // The error of the type itself is reported last.
    let machine = RegisteredClaims { sub: Some("machine-7".into()), ..claims.registered };
    let token = encode_with_typ(&machine, &key, "at+jwt")?;
    let validation = Validation::new().audience("web");
    match decode::<Own>(&token, &key, &validation) {
        Err(error) => println!("refused:   {error}"),
        Ok(own) => return Err(format!("a machine is not a user: {own:?}").into()),
    }
    Ok(())
}
