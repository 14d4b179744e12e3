//! The rows of the page `coming_from_jsonwebtoken`: jsonwebtoken 12 accepts or rejects a token as
//! the page says, and so does kippu.

use std::time::Duration;

use kippu::{
    Algorithm, DecodeError, Key, KeyError, KeySet, NumericDate, Validation, decode, verify,
};
use kippu_test_support::{provider, signing};
use serde_json::{Value, json};
use signing::{key, signed, signed_with_header};

/// The defaults of jsonwebtoken, and an audience.
fn theirs() -> jsonwebtoken::Validation {
    let mut validation = jsonwebtoken::Validation::default();
    validation.set_audience(&["api"]);
    validation
}

/// Returns whether jsonwebtoken accepts the token.
fn they_accept(token: &str, validation: &jsonwebtoken::Validation) -> bool {
    provider::install();
    let key = jsonwebtoken::DecodingKey::from_secret(&signing::SECRET).unwrap();
    jsonwebtoken::decode::<Value>(token, &key, validation).is_ok()
}

fn ours() -> Validation {
    Validation::new().audience("api")
}

fn judge(token: &str, validation: &Validation) -> Result<Value, DecodeError> {
    decode(token, &key(), validation)
}

/// Returns a token with these claims, `aud`, and an `exp` in an hour if they have none.
fn token(claims: &Value) -> String {
    let mut all = json!({ "aud": "api", "exp": in_seconds(3600) });
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    signed(all.to_string())
}

fn in_seconds(seconds: i64) -> i64 {
    NumericDate::now().seconds() + seconds
}

/// Claims that jsonwebtoken accepts, the error of kippu, and the option that accepts them, if there
/// is one.
#[test]
fn claims_that_only_jsonwebtoken_accepts() {
    type Loosen = fn(Validation) -> Validation;
    let cases: [(Value, &str, Option<Loosen>); 6] = [
        (json!({ "nbf": null }), "the claim nbf is not a number", Some(nulls)),
        (json!({ "sub": null }), "the claim sub is not a string", Some(nulls)),
        (
            json!({ "sub": 42 }),
            "the claim sub is not a string",
            Some(|validation| validation.numeric_subject().unwrap()),
        ),
        (json!({ "iat": in_seconds(7200) }), "issued in the future", None),
        (json!({ "nbf": in_seconds(7200) }), "not valid yet", None),
        (
            json!({ "text": "x".repeat(20_000) }),
            "the token has 26",
            Some(|validation| validation.max_token_len(32 * 1024).unwrap()),
        ),
    ];
    fn nulls(validation: Validation) -> Validation {
        validation.null_means_absent().unwrap()
    }
    for (claims, words, loosen) in cases {
        let token = token(&claims);
        assert!(they_accept(&token, &theirs()), "{words}");
        let error = judge(&token, &ours()).unwrap_err();
        assert!(error.to_string().starts_with(words), "{error}");
        if let Some(loosen) = loosen {
            judge(&token, &loosen(ours())).unwrap();
        }
    }
}

#[test]
fn an_expected_claim_may_not_be_absent() {
    let mut validation = theirs();
    validation.set_issuer(&["https://auth.example"]);
    let bare = signed(json!({ "exp": in_seconds(60) }).to_string());
    assert!(they_accept(&bare, &validation));
    assert_eq!(judge(&bare, &ours()).unwrap_err().to_string(), "the claim aud is missing");
    let issuer = Validation::new().issuer("https://auth.example");
    assert_eq!(judge(&bare, &issuer).unwrap_err().to_string(), "the claim iss is missing");
}

#[test]
fn an_audience_that_is_not_validated() {
    let mut validation = jsonwebtoken::Validation::default();
    let named = token(&json!({}));
    assert!(!they_accept(&named, &validation));
    assert!(matches!(judge(&named, &Validation::new()), Err(DecodeError::Claim(_))));
    validation.validate_aud = false;
    assert!(they_accept(&named, &validation));
    judge(&named, &Validation::new().any_audience().unwrap()).unwrap();
}

/// A token is already expired in the second of its `exp` (RFC 7519 §4.1.4).
#[test]
fn the_second_of_the_expiry() {
    let mut validation = theirs();
    validation.leeway = 0;
    let exp = in_seconds(0);
    let token = token(&json!({ "exp": exp }));
    let ours = ours().leeway(Duration::ZERO).unwrap().at(NumericDate::from_seconds(exp));
    assert!(judge(&token, &ours).unwrap_err().is_expired());
    // The clock may have advanced since.
    assert!(they_accept(&token, &validation) || in_seconds(0) > exp);
}

/// A fraction is read, and rounded down.
#[test]
fn times_with_a_fraction() {
    #[derive(serde::Deserialize)]
    struct Theirs {
        #[expect(dead_code, reason = "it is not read")]
        exp: u64,
    }
    #[derive(serde::Deserialize)]
    struct Ours {
        exp: NumericDate,
    }

    provider::install();
    let exp = in_seconds(60);
    let token = signed(format!(r#"{{"aud":"api","exp":{exp}.5}}"#));
    let their_key = jsonwebtoken::DecodingKey::from_secret(&signing::SECRET).unwrap();
    assert!(jsonwebtoken::decode::<Theirs>(&token, &their_key, &theirs()).is_err());
    let claims: Ours = decode(&token, &key(), &ours()).unwrap();
    assert_eq!(claims.exp.seconds(), exp);
}

/// kippu writes `alg`, `typ` and `kid`, and ignores all other members of a header.
#[test]
fn header_fields_of_the_application() {
    let claims = json!({ "aud": "api", "exp": in_seconds(60) }).to_string();
    let header = r#"{"alg":"HS256","kid":"7","tenant":"a"}"#;
    let token = signed_with_header(header, &claims);
    assert!(they_accept(&token, &theirs()));
    let key = key().with_kid("7");
    let verified = verify(&token, &key, &ours()).unwrap();
    assert_eq!(verified.header().kid.as_deref(), Some("7"));
}

/// One key for each algorithm replaces a list of algorithms for one secret. The issued tokens have
/// no `kid`.
#[test]
fn several_algorithms() {
    use jsonwebtoken::Algorithm::{HS256, HS512};

    provider::install();
    let secret = [0x5a; 64];
    let [first, second] = [Algorithm::Hs256, Algorithm::Hs512]
        .map(|algorithm| Key::new(algorithm, secret).unwrap().with_kid(algorithm.as_str()));
    let keys = KeySet::new(first).accept(second).unwrap().try_all_without_kid();
    let their_key = jsonwebtoken::EncodingKey::from_secret(&secret).unwrap();
    for algorithm in [HS256, HS512] {
        let header = jsonwebtoken::Header::new(algorithm);
        let claims = json!({ "aud": "api", "exp": in_seconds(60) });
        let token = jsonwebtoken::encode(&header, &claims, &their_key).unwrap();
        decode::<Value>(&token, &keys, &ours()).unwrap();
    }
}

#[test]
fn short_secrets() {
    let secret = b"secret";
    jsonwebtoken::DecodingKey::from_secret(secret).unwrap();
    let needed = 32;
    let too_short = KeyError::TooShort { algorithm: Algorithm::Hs256, needed, given: 6 };
    assert_eq!(Key::hs256(secret).unwrap_err(), too_short);
    Key::new_dangerously_short(Algorithm::Hs256, secret).unwrap();
}
