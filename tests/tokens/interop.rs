//! Tokens of this crate verify in jsonwebtoken, and the reverse.

use std::collections::BTreeMap;

use kippu::{Algorithm, Key, NumericDate, Validation};
use kippu_test_support::provider;
use proptest::{collection::btree_map, prelude::*};
use serde_json::Value;

const ALGORITHMS: [(Algorithm, jsonwebtoken::Algorithm); 3] = [
    (Algorithm::Hs256, jsonwebtoken::Algorithm::HS256),
    (Algorithm::Hs384, jsonwebtoken::Algorithm::HS384),
    (Algorithm::Hs512, jsonwebtoken::Algorithm::HS512),
];

type Claims = BTreeMap<String, Value>;

/// Claims of any kind, beside those that both sides check.
fn claims() -> impl Strategy<Value = Claims> {
    let value = prop_oneof![
        ".*".prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        proptest::collection::vec(".*", 0..4).prop_map(Value::from),
    ];
    (btree_map("x.*", value, 0..10), any::<bool>(), 30_u32..100_000).prop_map(
        |(mut claims, several, lifetime)| {
            let exp = NumericDate::in_seconds(lifetime).seconds();
            let audience: Value = if several { vec!["web", "api"].into() } else { "api".into() };
            for (name, value) in [
                ("iss", Value::from("https://auth.example")),
                ("aud", audience),
                ("exp", exp.into()),
                ("nbf", (exp - i64::from(lifetime)).into()),
                ("sub", "user-12345".into()),
            ] {
                claims.insert(name.into(), value);
            }
            claims
        },
    )
}

fn their_decode(
    token: &str,
    algorithm: jsonwebtoken::Algorithm,
    secret: &[u8],
) -> Result<Claims, jsonwebtoken::errors::Error> {
    let mut validation = jsonwebtoken::Validation::new(algorithm);
    validation.set_issuer(&["https://auth.example"]);
    validation.set_audience(&["api"]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.validate_nbf = true;
    let key = jsonwebtoken::DecodingKey::from_secret(secret).unwrap();
    jsonwebtoken::decode(token, &key, &validation).map(|data| data.claims)
}

fn our_decode(token: &str, key: &Key) -> Result<Claims, kippu::DecodeError> {
    let validation = Validation::new().issuer("https://auth.example").audience("api");
    kippu::decode(token, key, &validation)
}

proptest! {
    #[test]
    fn our_tokens_verify_in_jsonwebtoken(
        claims in claims(),
        secret in any::<[u8; 64]>(),
        kid in proptest::option::of(".*"),
    ) {
        provider::install();
        for (ours, theirs) in ALGORITHMS {
            let key = Key::new(ours, secret).unwrap();
            let key = kid.iter().fold(key, Key::with_kid);
            let token = kippu::encode(&claims, &key).unwrap();
            prop_assert_eq!(&their_decode(&token, theirs, &secret).unwrap(), &claims);
            prop_assert_eq!(jsonwebtoken::decode_header(&token).unwrap().kid, kid.clone());
            prop_assert!(their_decode(&token, theirs, &[0; 64]).is_err());
        }
    }

    #[test]
    fn the_tokens_of_jsonwebtoken_verify(
        claims in claims(),
        secret in any::<[u8; 64]>(),
        kid in proptest::option::of(".*"),
    ) {
        provider::install();
        for (ours, theirs) in ALGORITHMS {
            let mut header = jsonwebtoken::Header::new(theirs);
            header.kid.clone_from(&kid);
            let their_key = jsonwebtoken::EncodingKey::from_secret(&secret).unwrap();
            let token = jsonwebtoken::encode(&header, &claims, &their_key).unwrap();
            let key = Key::new(ours, secret).unwrap();
            let key = kid.iter().fold(key, Key::with_kid);
            prop_assert_eq!(&our_decode(&token, &key).unwrap(), &claims);
            prop_assert!(our_decode(&token, &Key::new(ours, [0; 64]).unwrap()).is_err());
        }
    }
}
