//! Every kind of error of the library, in the words of the command. The kinds are read from the
//! library's source, so that a new one fails here until it has a sample.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use kippu::{
    Algorithm, Excerpt, InvalidOption, Jwk, JwkSet, Key, KeyError, NumericDate, RegisteredClaims,
    Validation, base64url, decode, encode, verify,
};

use super::*;

fn source(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of the variants of an enum in the library.
fn variants(file: &str, name: &str) -> BTreeSet<String> {
    let text = source(file);
    let (_, body) = text.split_once(&format!("pub enum {name} {{\n")).unwrap();
    let (body, _) = body.split_once("\n}\n").unwrap();
    let variants: BTreeSet<_> = body
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(|line| line.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned())
        .collect();
    assert!(variants.len() > 2, "{name}: {variants:?}");
    variants
}

/// Fails for a message that names a Rust call, type or attribute.
fn assert_speaks_of_options(message: &str) {
    let rust = [
        "::",
        "#[",
        "()",
        "Validation",
        "KeyFormat",
        "JwkSet",
        "KeySet",
        "KeyFile",
        "EndedSessions",
        "decode_borrowed",
        "with_kid",
        "max_token_len",
        "any_audience",
        "null_means_absent",
        "numeric_subject",
        "Option",
        "None",
    ];
    for word in rust {
        assert!(!message.contains(word), "{word}: {message}");
    }
    assert!(!message.is_empty() && !message.ends_with("; "), "{message:?}");
}

/// Checks that the samples have every variant, and what each of them says.
fn check_all<E>(file: &str, name: &str, samples: &[(&str, E)], says: impl Fn(&E) -> Vec<String>) {
    let kinds: BTreeSet<_> = samples.iter().map(|(variant, _)| (*variant).to_owned()).collect();
    assert_eq!(kinds, variants(file, name), "{name}");
    for message in samples.iter().flat_map(|(_, error)| says(error)) {
        assert_speaks_of_options(&message);
    }
}

fn excerpt(text: &str) -> Excerpt {
    let key = |kid| Key::hs256([7; 32]).unwrap().with_kid(kid);
    let token = encode(&RegisteredClaims::default(), &key(text)).unwrap();
    match verify(&token, &key("another"), &Validation::new()).unwrap_err() {
        DecodeError::UnknownKid { kid } => kid,
        error => panic!("{error}"),
    }
}

fn json_errors() -> Vec<(&'static str, JsonError)> {
    let name = || excerpt("name");
    let mut errors = vec![
        ("NotUtf8", JsonError::NotUtf8 { offset: 1 }),
        ("NotAnObject", JsonError::NotAnObject),
        ("DuplicateMember", JsonError::DuplicateMember { name: name() }),
        ("ReservedMember", JsonError::ReservedMember { name: name() }),
        ("TooManyMembers", JsonError::TooManyMembers { limit: 64 }),
        ("Syntax", JsonError::Syntax { offset: 1, reason: "a comma was expected" }),
    ];
    errors.extend(LEFT_OPEN.map(|reason| ("Syntax", JsonError::Syntax { offset: 1, reason })));
    errors
}

fn claim_errors() -> Vec<(&'static str, ClaimError)> {
    let time = NumericDate::from_seconds(1);
    let leeway = Duration::from_secs(60);
    let (found, expected) = (excerpt("x"), Box::<str>::from("\"y\""));
    let missing = |claim: &'static str| ("Missing", ClaimError::Missing { claim: claim.into() });
    vec![
        missing("exp"),
        missing("iss"),
        missing("aud"),
        missing("sub"),
        missing("iat"),
        missing("tenant"),
        ("WrongType", ClaimError::WrongType { claim: RegisteredClaim::Subject }),
        ("WrongType", ClaimError::WrongType { claim: RegisteredClaim::Issuer }),
        ("Malformed", ClaimError::Malformed { claim: "sid", reason: "short".into() }),
        ("Expired", ClaimError::Expired { exp: time, now: time, leeway }),
        ("NotYetValid", ClaimError::NotYetValid { nbf: time, now: time, leeway }),
        ("IssuedInFuture", ClaimError::IssuedInFuture { iat: time, now: time, leeway }),
        ("TooOld", ClaimError::TooOld { iat: time, now: time, max_age: leeway, leeway }),
        ("Issuer", ClaimError::Issuer { found: found.clone(), expected: expected.clone() }),
        ("Subject", ClaimError::Subject { found: found.clone(), expected: expected.clone() }),
        ("Audience", ClaimError::Audience { found: found.clone(), expected: expected.clone() }),
        ("AudienceUnexpected", ClaimError::AudienceUnexpected { found: found.clone() }),
        ("JwtId", ClaimError::JwtId { found, expected }),
    ]
}

#[test]
fn advice_on_tokens_names_options_for_every_kind_of_error() {
    let time = NumericDate::from_seconds(1);
    let base64url = base64url::decode("!").unwrap_err();
    let json = json_errors();
    let claims = claim_errors();
    let algorithm = |found| DecodeError::Algorithm { expected: Algorithm::Hs256, found };
    let mut samples = vec![
        ("TooLong", DecodeError::TooLong { length: 2, limit: 1 }),
        ("Segments", DecodeError::Segments),
        ("Base64url", DecodeError::Base64url { segment: kippu::Segment::Header, error: base64url }),
        ("Algorithm", algorithm(None)),
        ("Critical", DecodeError::Critical { parameter: "crit" }),
        ("Type", DecodeError::Type { found: None, expected: "at+jwt".into() }),
        ("TypeNotText", DecodeError::TypeNotText),
        ("KidNotText", DecodeError::KidNotText),
        ("UnknownKid", DecodeError::UnknownKid { kid: excerpt("a") }),
        ("MissingKid", DecodeError::MissingKid),
        ("Signature", DecodeError::Signature),
        ("KeyRetired", DecodeError::KeyRetired { until: time, now: time }),
        ("SessionEnded", DecodeError::SessionEnded),
        ("EndedUnknown", DecodeError::EndedUnknown { reason: "unknown" }),
        ("BufferTooShort", DecodeError::BufferTooShort { needed: 2, given: 1 }),
        ("NoClock", DecodeError::NoClock),
        ("Claims", DecodeError::Claims { reason: "x".into(), line: 1, column: 1 }),
    ];
    samples.extend(
        ["HS512", "none", "RS256"].map(|name| ("Algorithm", algorithm(Some(excerpt(name))))),
    );
    samples.extend(json.iter().map(|(_, error)| ("Header", DecodeError::Header(error.clone()))));
    samples.extend(json.iter().map(|(_, error)| ("Payload", DecodeError::Payload(error.clone()))));
    samples.extend(claims.iter().map(|(_, error)| ("Claim", DecodeError::Claim(error.clone()))));
    check_all("json.rs", "JsonError", &json, |error| vec![error.to_string()]);
    check_all("validation.rs", "ClaimError", &claims, |error| vec![error.to_string()]);
    check_all("error.rs", "DecodeError", &samples, |error| {
        vec![error.to_string(), on_token(error, "a.b.c").into_owned()]
    });
}

#[test]
fn messages_on_claims_and_options_name_options_for_every_kind_of_error() {
    let claim = RegisteredClaim::Issuer;
    let mut samples = vec![
        ("Serialize", EncodeError::Serialize { reason: "x".into() }),
        ("Null", EncodeError::Null { claim }),
        ("WrongType", EncodeError::WrongType { claim }),
        ("TooLong", EncodeError::TooLong { length: 2, limit: 1 }),
    ];
    samples
        .extend(json_errors().into_iter().map(|(_, error)| ("Claims", EncodeError::Claims(error))));
    check_all("error.rs", "EncodeError", &samples, |error| vec![on_claims(error)]);

    let second = Duration::from_secs(1);
    let samples = vec![
        ("LeewayTooLong", InvalidOption::LeewayTooLong { given: second, limit: second }),
        ("AudienceExpected", InvalidOption::AudienceExpected),
        ("ExpiryRequired", InvalidOption::ExpiryRequired),
        ("SubjectExpected", InvalidOption::SubjectExpected),
        ("MaxTokenLen", InvalidOption::MaxTokenLen { given: 0, limit: 1 }),
    ];
    check_all("validation.rs", "InvalidOption", &samples, |error| vec![on_option(error)]);
}

#[test]
fn messages_on_keys_name_options_for_every_kind_of_error() {
    let found = || excerpt("x");
    let key_errors = || {
        let format = |format| ("KeyFile", KeyError::KeyFile { format });
        vec![
            ("TooShort", KeyError::TooShort { algorithm: Algorithm::Hs256, needed: 32, given: 1 }),
            format("PEM"),
            format("OpenSSH"),
            format("JWK"),
            ("Encoding", KeyError::Encoding { expected: "hex", advice: "it is empty" }),
            ("NoRandomness", KeyError::NoRandomness),
        ]
    };
    let set_errors = || {
        vec![
            ("MissingKid", KeySetError::MissingKid),
            ("DuplicateKid", KeySetError::DuplicateKid { kid: "x".into() }),
            ("NoKeys", KeySetError::NoKeys),
            ("VerifyOnly", KeySetError::VerifyOnly),
        ]
    };
    check_all("key.rs", "KeyError", &key_errors(), |error| vec![on_keys(&error.clone().into())]);
    check_all("key_set.rs", "KeySetError", &set_errors(), |error| {
        vec![on_keys(&error.clone().into())]
    });
    let missing = |parameter| ("Missing", JwkError::Missing { parameter });
    let mut samples = vec![
        ("NotAJwk", JwkError::NotAJwk { advice: "it is empty" }),
        missing("kty"),
        missing("alg"),
        missing("k"),
        missing("keys"),
        ("WrongType", JwkError::WrongType { parameter: "alg" }),
        ("KeyType", JwkError::KeyType { found: found() }),
        ("Algorithm", JwkError::Algorithm { found: found() }),
        ("Use", JwkError::Use { found: found() }),
        ("KeyOperations", JwkError::KeyOperations { found: found() }),
        ("Secret", JwkError::Secret { advice: "it has padding: remove the = at its end" }),
        ("DuplicateKid", JwkError::DuplicateKid { kid: found() }),
        ("NoKeys", JwkError::NoKeys),
        ("UnknownSigningKey", JwkError::UnknownSigningKey { kid: found() }),
        ("NoSigningKey", JwkError::NoSigningKey),
        ("SeveralSigningKeys", JwkError::SeveralSigningKeys { first: found(), second: found() }),
    ];
    samples.extend(json_errors().into_iter().map(|(_, error)| ("Json", JwkError::Json(error))));
    samples.extend(key_errors().into_iter().map(|(_, error)| ("Key", JwkError::Key(error))));
    samples.extend(set_errors().into_iter().map(|(_, error)| ("Set", JwkError::Set(error))));
    check_all("jwk.rs", "JwkError", &samples, |error| vec![on_keys(error)]);
}

/// The library's advice on the form of a text is a set of fixed texts, which are read from its
/// source.
#[test]
fn each_call_in_the_advice_on_forms_has_an_option_in_its_place() {
    let mut count = 0;
    for file in ["key/form.rs", "jwk.rs", "key.rs"] {
        let text = source(file);
        let (code, _) = text.split_once("#[cfg(test)]").unwrap_or((&text, ""));
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in lines.map(|line| line.replace("\\\"", "'")) {
            // The last literal of the line.
            let literal = line.rsplit_once('"').and_then(|(line, _)| line.rsplit_once('"'));
            let Some((_, advice)) = literal else { continue };
            let is_known = advice.contains("#[") || advice.starts_with("it is a JWK Set");
            if !advice.contains("::") || is_known {
                continue;
            }
            count += 1;
            let joint = if advice.starts_with([':', ',']) { "" } else { "; " };
            let message = with_options(format!("not a JWK{joint}{advice}"));
            // The command does not meet these: it reads a JWK where a set has no keys, and uses no
            // `KeySource`.
            let of_sources = ["line end", "as they are", "white space", "single JWK"];
            let is_of_sources = of_sources.iter().any(|part| advice.contains(part));
            assert!(is_of_sources || message.contains("--"), "{advice}: {message}");
            assert_speaks_of_options(&message);
        }
    }
    assert!(count >= 8, "only {count} were found");
}

/// From the text of a key to the message, as a user meets it.
#[test]
fn a_key_in_another_form_is_answered_with_the_option_that_reads_it() {
    for (text, option) in [
        ("5a".repeat(32), "--key-format hex reads it"),
        ("3q2+796tvu/erb7v3q2+796tvu/erb7v3q2+796tvu8=".into(), "--key-format base64 reads it"),
        ("Ab3-796tvu_erb7v3q2-796tvu_erb7v3q2-796tvu8".into(), "--key-format base64url reads it"),
        ("correct horse battery staple, as they say".into(), "--key-format text takes them"),
        (
            r#"{"kty":"oct","k":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"}"#.into(),
            "--alg HS256",
        ),
    ] {
        let error = match Jwk::from_json(&text) {
            Err(error) => error,
            Ok(_) => JwkSet::from_json(&text).unwrap_err(),
        };
        let message = on_keys(&error);
        assert!(message.contains(option), "{message}");
        assert_speaks_of_options(&message);
    }
    let jwk = r#"{"kty":"oct","alg":"HS256","k":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"}"#;
    let error = Key::from_base64(Algorithm::Hs256, jwk).unwrap_err();
    assert!(on_keys(&error.into()).contains("--key-format jwk"));
}

/// The three texts by which this file knows what RFC 8259 leaves open are those of the library.
#[test]
fn what_an_rfc_leaves_open_is_not_called_a_breach() {
    let key = Key::hs256([7; 32]).unwrap();
    let hmac = kippu::hmac::Hmac::new(Algorithm::Hs256, &[7; 32]);
    let advice = |payload: &str| {
        let input = format!("eyJhbGciOiJIUzI1NiJ9.{}", base64url::encode(payload.as_bytes()));
        let token = format!("{input}.{}", base64url::encode(hmac.tag(input.as_bytes()).as_ref()));
        let error = decode::<RegisteredClaims>(&token, &key, &Validation::new());
        on_token(&error.unwrap_err(), &token).into_owned()
    };
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    for payload in [r#"{"a":1e400}"#, r#"{"a":"\ud800"}"#, &deep] {
        assert!(advice(payload).contains("RFC 8259 lets a reader refuse it"), "{payload}");
    }
    assert!(advice(r#"{"a":1,}"#).contains("not JSON"));
    assert!(advice(r#"{"$serde_json::private::x":1}"#).contains("no RFC forbids it"));
    assert!(advice(r#"{"sub":"a"}"#).contains("leaves exp optional"));
    assert!(
        !advice(r#"{"a":{"b":1,"b":2}}"#).contains("RFC"),
        "nested names only should be unique"
    );
}
