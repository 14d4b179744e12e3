//! How a verifier reads a token: its form, its header, and one strict JSON object for the claims,
//! whatever type the caller decodes into.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use kippu::{
    Algorithm, Audience, Candidates, DecodeError, EncodeError, JsonError, Key, KeySet, Keys,
    NumericDate, RegisteredClaims, Segment, Validation,
    base64url::{self, Base64urlError},
    decode, decode_borrowed, encode, encode_with_typ, explain,
    hmac::Hmac,
    unverified_header, verify,
};
use kippu_test_support::signing;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        DeserializeOwned, Error, IgnoredAny,
        value::{self, MapDeserializer},
    },
};
use serde_json::{Value, json};
use signing::{HEADER, key, signed, signed_segments, signed_with_header};

fn validation() -> Validation {
    Validation::new().at(NumericDate::from_seconds(0)).expiry_optional().unwrap()
}

fn judge<C: DeserializeOwned>(token: &str) -> Result<C, DecodeError> {
    decode(token, &key(), &validation())
}

#[track_caller]
fn refused(token: &str, message: &str) {
    let error = judge::<Value>(token).expect_err(token);
    assert_eq!(error.to_string(), message, "{token}");
    assert_eq!(verify(token, &key(), &validation()).err().as_ref(), Some(&error), "{token}");
    let explanation = explain(token, &key(), &validation());
    assert_eq!(
        explanation.failures().next().map(|(_, error)| error),
        Some(&error),
        "{explanation}"
    );
}

/// A struct that only accepts some values of `role` and has no field for anything else.
#[derive(Debug, Deserialize, PartialEq)]
struct Role {
    role: String,
}

/// Fields that use a default if they cannot read their value, as applications write them.
#[derive(Debug, Deserialize)]
struct Lenient {
    #[serde(default, deserialize_with = "or_default")]
    role: String,
    #[serde(default, deserialize_with = "or_default")]
    more: Vec<u8>,
}

#[expect(clippy::unnecessary_wraps, reason = "serde asks for it")]
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(T::deserialize(deserializer).unwrap_or_default())
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "only whether it can be read matters")]
enum Untagged {
    Role(Role),
    Other(HashMap<String, Value>),
}

/// Returns the verdict about a text, which must not depend on the type.
#[track_caller]
fn payload_verdict(payload: &str) -> Result<(), DecodeError> {
    let token = signed(payload);
    let verdict = judge::<IgnoredAny>(&token).map(|_| ());
    let verdicts = [
        judge::<Value>(&token).map(|_| ()),
        judge::<HashMap<String, Value>>(&token).map(|_| ()),
        judge::<BTreeMap<Cow<'_, str>, Box<Value>>>(&token).map(|_| ()),
        judge::<RegisteredClaims>(&token).map(|_| ()),
        judge::<Role>(&token).map(|_| ()),
        judge::<Lenient>(&token).map(|_| ()),
        judge::<Option<Value>>(&token).map(|_| ()),
        judge::<Untagged>(&token).map(|_| ()),
        judge::<Vec<Value>>(&token).map(|_| ()),
        judge::<(Value, Value)>(&token).map(|_| ()),
        judge::<String>(&token).map(|_| ()),
        judge::<()>(&token),
    ];
    for (index, other) in verdicts.into_iter().enumerate() {
        match (&verdict, other) {
            // The text is valid, so only the type may reject it.
            (Ok(()), Ok(()) | Err(DecodeError::Claims { .. })) => {}
            (Ok(()), Err(error)) => panic!("type {index} rejects {payload}: {error}"),
            (Err(error), other) => {
                assert_eq!(other.as_ref(), Err(error), "type {index}: {payload}");
            }
        }
    }
    verdict
}

#[track_caller]
fn payload_refused(payload: &str, message: &str) {
    assert_eq!(payload_verdict(payload).expect_err(payload).to_string(), message, "{payload}");
}

#[test]
fn a_token_has_three_segments() {
    let good = signed("{}");
    for token in [
        String::new(),
        ".".into(),
        "a".into(),
        "a.b".into(),
        good.replacen('.', "", 1),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{good}"),
        good.replacen('.', "..", 1),
        "....".into(),
        ".".repeat(10_000),
    ] {
        refused(&token, "the token does not have three segments");
    }
    // The error is the same with other faults, and with any number of dots.
    let front = good.rsplit_once('.').unwrap().0;
    let (signature, half) = ("A".repeat(43), "A".repeat(21));
    for behind in [
        format!("e30.{signature}"),
        format!("e30.e30.{signature}"),
        format!("{half}.{half}"),
        format!("e30.{half}.{half}"),
    ] {
        let token = format!("{front}.{behind}");
        for validation in [validation(), validation().typ("at+jwt")] {
            let error = decode::<Value>(&token, &key(), &validation).unwrap_err();
            assert_eq!(error, DecodeError::Segments, "{token}");
        }
    }
    // The fourth and the fifth segment may begin anywhere.
    for length in [1, 8, 31, 32, 33, 64, 75, 100] {
        let others = |n| [n, n + 1, n + 32].map(|other| (n, other % length));
        for (place, other) in (0..length).flat_map(others) {
            let mut payload = "A".repeat(length);
            payload.replace_range(place..=place, ".");
            payload.replace_range(other..=other, ".");
            let token = format!("{}.{payload}.{signature}", front.split_once('.').unwrap().0);
            let error = decode::<Value>(&token, &key(), &validation()).unwrap_err();
            assert_eq!(error, DecodeError::Segments, "{token}");
        }
    }
    // A correct signature does not change that.
    let header = base64url::encode(HEADER.as_bytes());
    for payload in [".e30", "e30.", "e30.e30", "."] {
        refused(&signed_segments(&header, payload), "the token does not have three segments");
    }
}

/// RFC 7519 §1: a JWT is in the compact serialization. A JSON serialization that contains one,
/// which a lax reader would find (CVE-2022-39227), is not a token.
#[test]
fn a_json_serialization_is_not_a_token() {
    let good = signed("{}");
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("{good}")
    };
    let forged = base64url::encode(br#"{"sub":"root"}"#);
    for text in [
        json!({ "payload": payload, "protected": header, "signature": signature }).to_string(),
        json!({
            "payload": payload,
            "signatures": [{ "protected": header, "signature": signature }],
        })
        .to_string(),
        format!(
            r#"{{"payload":"{payload}","protected":"{header}","signature":"{signature}",".":".."}}"#
        ),
        // Three segments for a reader that splits at dots: the forged payload is at the place of a
        // JWT's payload.
        format!(
            r#"{{"{header}.{forged}.":"","protected":"{header}","payload":"{payload}","signature":"{signature}"}}"#
        ),
    ] {
        let error = judge::<Value>(&text).expect_err(&text);
        let is_about_the_form = matches!(error, DecodeError::Segments)
            || matches!(error, DecodeError::Base64url { segment: Segment::Header, .. });
        assert!(is_about_the_form, "{error}: {text}");
    }
}

/// RFC 7519 §5.2 requires `cty` in its header. Here a nested token is not a claims set, whatever
/// the header contains.
#[test]
fn a_nested_token_is_not_a_claims_set() {
    let inner = signed(r#"{"sub":"joe"}"#);
    for header in
        [HEADER, r#"{"alg":"HS256","cty":"JWT"}"#, r#"{"alg":"HS256","typ":"JWT","cty":"jwt"}"#]
    {
        refused(&signed_with_header(header, &inner), "the payload: not a JSON object");
        let quoted = format!("{inner:?}");
        refused(&signed_with_header(header, quoted), "the payload: not a JSON object");
    }
}

#[test]
fn each_segment_has_one_spelling() {
    let header = base64url::encode(HEADER.as_bytes());
    let payload = base64url::encode(b"{}");
    let good = signed_segments(&header, &payload);
    assert!(judge::<Value>(&good).is_ok());
    let error = |segment, error| Err(DecodeError::Base64url { segment, error });

    for (behind, byte) in [("=", b'='), (" ", b' '), ("\n", b'\n'), ("+", b'+'), ("é", 0xc3)] {
        let token = signed_segments(&format!("{header}{behind}"), &payload);
        let offset = header.len();
        let symbol = Base64urlError::Symbol { offset, byte };
        assert_eq!(judge::<Value>(&token), error(Segment::Header, symbol));

        let token = signed_segments(&header, &format!("{payload}{behind}"));
        let symbol = Base64urlError::Symbol { offset: payload.len(), byte };
        assert_eq!(judge::<Value>(&token), error(Segment::Payload, symbol));

        let token = format!("{good}{behind}");
        let symbol = Base64urlError::Symbol { offset: 43, byte };
        assert_eq!(judge::<Value>(&token), error(Segment::Signature, symbol));
    }
    refused(
        &signed_segments(&header, "e30=A"),
        "the payload segment: byte 0x3d at offset 3 is not a base64url symbol",
    );
    refused(
        &signed_segments(&header, "e30e3"),
        "the payload segment: a base64url text cannot have 5 symbols",
    );
    refused(
        &signed_segments(&header, "e31"),
        "the payload segment: the symbol at offset 2 sets bits after the last byte",
    );
}

/// The payload is neither decoded nor parsed before the signature was verified.
#[test]
fn the_signature_is_verified_before_the_payload() {
    let header = base64url::encode(HEADER.as_bytes());
    for payload in ["", "e30", "!!!", "e30=", "A", "bm90IGpzb24", "é"] {
        let token = format!("{header}.{payload}.{}", "A".repeat(43));
        refused(&token, "the signature is wrong");
    }
}

#[test]
fn a_signature_has_its_length() {
    let good = signed("{}");
    let (front, signature) = good.rsplit_once('.').unwrap();
    let tag = base64url::decode(signature).unwrap();
    for length in (0..tag.len()).chain([33, 48, 64, 65, 1_000]) {
        let mut other = tag.clone();
        other.resize(length, 0);
        refused(&format!("{front}.{}", base64url::encode(&other)), "the signature is wrong");
    }
}

#[test]
fn the_header_is_one_strict_object() {
    for (header, message) in [
        ("", "not a JSON object"),
        ("[]", "not a JSON object"),
        (r#"["HS256"]"#, "not a JSON object"),
        (r#""HS256""#, "not a JSON object"),
        ("\u{feff}{}", "not a JSON object"),
        (
            r#"{"alg":"HS256""#,
            "malformed JSON at byte 14: a comma or the end of the object was expected",
        ),
        (r#"{"alg":"HS256"}}"#, "malformed JSON at byte 15: there is text after the object"),
        (r#"{"alg":"HS256","alg":"HS256"}"#, r#"the member "alg" occurs twice in one object"#),
        (r#"{"alg":"HS256","a\u006cg":"HS256"}"#, r#"the member "alg" occurs twice in one object"#),
        (r#"{"alg":"HS256","x":{"y":1,"y":1}}"#, r#"the member "y" occurs twice in one object"#),
        (r#"{"alg":"HS256","x":"\ud800"}"#, "malformed JSON at byte 26: half of a surrogate pair"),
    ] {
        refused(&signed_with_header(header, "{}"), &format!("the header: {message}"));
    }
    refused(
        &signed_with_header(b"{\"alg\":\"HS256\",\"x\":\"\xff\"}", "{}"),
        "the header: not UTF-8 from byte 20 on",
    );
    refused(
        &signed_with_header(b"{\"alg\":\"HS256\"}\0", "{}"),
        "the header: malformed JSON at byte 15: there is text after the object",
    );
    for header in [
        r#"{"alg":"HS256"}"#,
        r#" { "typ" : "JWT" , "alg" : "HS\u003256" } "#,
        r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AA"},"jku":"https://evil","x5u":1,"x5c":null}"#,
    ] {
        assert!(judge::<Value>(&signed_with_header(header, "{}")).is_ok(), "{header}");
    }
}

/// This keeps the work before the MAC linear, for any header.
#[test]
fn a_header_has_at_most_64_members() {
    let of = |count: usize| {
        let members: Vec<_> = (1..count).map(|number| format!(r#","m{number}":0"#)).collect();
        signed_with_header(format!(r#"{{"alg":"HS256"{}}}"#, members.concat()), "{}")
    };
    assert!(judge::<Value>(&of(64)).is_ok());
    refused(&of(65), "the header: more than 64 members");
    let nested = format!(r#"{{"alg":"HS256","x":[{}]}}"#, vec![r#"{"y":0}"#; 63].join(","));
    refused(&signed_with_header(nested, "{}"), "the header: more than 64 members");
    // The last of them is a known one.
    let members: Vec<_> = (0..64).map(|number| format!(r#""m{number}":0,"#)).collect();
    let known = format!(r#"{{{}"alg":"HS256"}}"#, members.concat());
    refused(&signed_with_header(known, "{}"), "the header: more than 64 members");
}

/// RFC 8725 §3.1. The crate has no code for `none`.
#[test]
fn alg_is_the_keys() {
    for (alg, found) in [
        (r#""none""#, r#""none""#),
        (r#""None""#, r#""None""#),
        (r#""hs256""#, r#""hs256""#),
        (r#""HS384""#, r#""HS384""#),
        (r#""HS512""#, r#""HS512""#),
        (r#""RS256""#, r#""RS256""#),
        (r#""""#, r#""""#),
        ("null", "none"),
        ("256", "none"),
        (r#"["HS256"]"#, "none"),
        (r#"{"HS256":null}"#, "none"),
    ] {
        let token = signed_with_header(format!(r#"{{"alg":{alg}}}"#), "{}");
        refused(&token, &format!("the key is for HS256, the header names {found}"));
    }
    refused(
        &signed_with_header(r#"{"typ":"JWT"}"#, "{}"),
        "the key is for HS256, the header names none",
    );
    for &algorithm in Algorithm::ALL {
        let key = Key::new(algorithm, signing::SECRET).unwrap();
        for &other in Algorithm::ALL {
            let other_key = Key::new(other, signing::SECRET).unwrap();
            let token = encode(&json!({}), &other_key).unwrap();
            let verdict = decode::<Value>(&token, &key, &validation());
            assert_eq!(verdict.is_ok(), algorithm == other, "{algorithm} {other}");
        }
    }
}

/// RFC 7515 §4.1.11, RFC 7797.
#[test]
fn rejects_every_extension() {
    for value in ["[]", r#"["exp"]"#, r#"["b64"]"#, "null", r#""""#, "{}", "0", "false"] {
        for parameter in ["crit", "b64", r"cr\u0069t"] {
            let header = format!(r#"{{"alg":"HS256","{parameter}":{value}}}"#);
            let name = if parameter == "b64" { "b64" } else { "crit" };
            refused(
                &signed_with_header(header, "{}"),
                &format!("the header has the parameter {name}, and no extension is supported"),
            );
        }
    }
    assert_eq!(payload_verdict(r#"{"crit":["x"],"b64":false}"#), Ok(()));
}

#[test]
fn the_payload_is_one_strict_object() {
    for payload in
        ["", " ", "[]", r#"[{"exp":1}]"#, "null", "7", r#""{}""#, "\u{feff}{}", "x", "true"]
    {
        payload_refused(payload, "the payload: not a JSON object");
    }
    for payload in [
        "{",
        "{}{}",
        "{}x",
        "{}\0",
        r#"{"a":1,}"#,
        r#"{"a" 1}"#,
        r#"{"a":1 "b":2}"#,
        // At the place where the scan looks for a registered name.
        r#"{"a":1 "sub":"x"}"#,
        r#"{"a":1;"sub":"x"}"#,
        r#"{"a":1{"sub":"x"}"#,
        r#"{,"sub":"x"}"#,
        r#"{"sub":"x"}{"iss":"x"}"#,
        r#"{a:1}"#,
        r#"{'a':1}"#,
        r#"{"a":01}"#,
        r#"{"a":+1}"#,
        r#"{"a":.5}"#,
        r#"{"a":1.}"#,
        r#"{"a":0x1}"#,
        r#"{"a":NaN}"#,
        r#"{"a":Infinity}"#,
        r#"{"a":-}"#,
        r#"{"a":True}"#,
        r#"{"a":"\x41"}"#,
        "{\"a\":\"\n\"}",
        "{\"a\":\"\0\"}",
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\udc00\ud800"}"#,
        r#"{"a":"\ud800x"}"#,
        r#"{"\ud800":1}"#,
        r#"{"a":[{"b":"\ud800"}]}"#,
        r#"{"role":"\ud800","x":"y"}"#,
        r#"{"more":["\ud800"]}"#,
        r#"{"more":{"a":1}"#,
        r#"{"a":1e400}"#,
        r#"{"role":1e999}"#,
        r#"{"exp":-1e400}"#,
        r#"{"iss":"\ud800"}"#,
        r#"{"exp":"\ud800"}"#,
        r#"{"exp":["\ud800"]}"#,
        r#"{"aud":["\ud800"]}"#,
        r#"{"a":1}//"#,
        r#"{/**/}"#,
    ] {
        let error = payload_verdict(payload).expect_err(payload);
        assert!(
            matches!(error, DecodeError::Payload(JsonError::Syntax { .. })),
            "{payload} {error}"
        );
    }
    let not_utf8 = judge::<Value>(&signed(b"{\"x\":\"\xc3(\"}")).unwrap_err();
    assert_eq!(not_utf8, DecodeError::Payload(JsonError::NotUtf8 { offset: 6 }));
    for payload in ["{}", " \t\r\n{ \"a\" : [ ] } \n", r#"{"":"","𝄞":"\ud834\udd1e","a":-0.0e-0}"#]
    {
        assert_eq!(payload_verdict(payload), Ok(()), "{payload}");
    }
}

#[test]
fn rejects_a_duplicate_name_at_any_depth() {
    for (payload, name) in [
        (r#"{"exp":1,"exp":1}"#, "exp"),
        (r#"{"exp":1,"\u0065xp":2}"#, "exp"),
        (r#"{"\u0065xp":1,"exp":2}"#, "exp"),
        (r#"{"iss":"a","x":0,"iss":"b"}"#, "iss"),
        (r#"{"aud":"a","aud":"b"}"#, "aud"),
        (r#"{"role":"a","role":"b"}"#, "role"),
        (r#"{"x":1,"\u0078":2}"#, "x"),
        (r#"{"":1,"":2}"#, ""),
        (r#"{"x":{"y":1,"y":1}}"#, "y"),
        (r#"{"x":[[{"y":1,"z":2,"y":1}]]}"#, "y"),
        (r#"{"role":{"y":1,"y":1}}"#, "y"),
        (r#"{"more":[{"y":1,"\u0079":1}]}"#, "y"),
        (r#"{"iss":{"y":1,"y":1}}"#, "y"),
        (r#"{"exp":{"y":1,"y":1}}"#, "y"),
        (r#"{"aud":[{"y":1,"y":1}]}"#, "y"),
        (r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"i":1}"#, "i"),
        (r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"\u0061":1}"#, "a"),
        (r#"{"\u0061":1,"b":1,"a":1}"#, "a"),
    ] {
        payload_refused(
            payload,
            &format!("the payload: the member {name:?} occurs twice in one object"),
        );
    }
    for payload in
        [r#"{"exp":1,"EXP":1,"x":{"exp":1}}"#, r#"{"x":[{"y":1},{"y":1}],"y":{"y":{"y":1}}}"#]
    {
        assert_eq!(payload_verdict(payload), Ok(()), "{payload}");
    }
}

/// The work is linear or sorts the names; it never compares every name with every other.
#[test]
fn many_members_are_read() {
    let members: Vec<_> = (0..700).map(|number| format!(r#""m{number}":0"#)).collect();
    assert_eq!(payload_verdict(&format!("{{{}}}", members.join(","))), Ok(()));
    let twice = format!(r#"{{{},"m\u0036\u0039\u0039":1}}"#, members.join(","));
    payload_refused(&twice, "the payload: the member \"m699\" occurs twice in one object");
}

#[test]
fn rejects_json_nested_deeper_than_127() {
    let arrays =
        |depth: usize| format!(r#"{{"x":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
    let objects =
        |depth: usize| format!("{}{}", r#"{"x":"#.repeat(depth - 1) + "{", "}".repeat(depth));
    for nested in [arrays, objects] {
        assert_eq!(payload_verdict(&nested(127)), Ok(()));
        for depth in [128, 129, 1_000] {
            let error = payload_verdict(&nested(depth)).unwrap_err().to_string();
            assert!(error.ends_with(": it nests deeper than 127"), "{error}");
        }
    }
    let unclosed = format!(r#"{{"x":{}"#, "[".repeat(10_000));
    payload_verdict(&unclosed).unwrap_err();
    let header = format!(r#"{{"alg":"HS256","x":{}"#, "[".repeat(10_000));
    judge::<Value>(&signed_with_header(header, "{}")).unwrap_err();
}

/// A claims set is not an array. Below the top level, serde decides what a type accepts.
#[test]
fn rejects_an_array_in_the_place_of_the_claims_set() {
    #[derive(Debug, Deserialize)]
    struct Outer {
        inner: Role,
    }
    let error = judge::<Role>(&signed(r#"["admin"]"#)).unwrap_err();
    assert_eq!(error, DecodeError::Payload(JsonError::NotAnObject));
    for inner in [r#"{"role":"admin"}"#, r#"["admin"]"#] {
        let outer: Outer = judge(&signed(format!(r#"{{"inner":{inner}}}"#))).unwrap();
        assert_eq!(outer.inner.role, "admin");
    }
}

/// Nothing is dropped for a type that does not fit: tuples and arrays of a fixed length, and map
/// keys that are not numbers in JSON.
#[test]
fn rejects_values_that_do_not_fit_the_type() {
    type Pair = HashMap<String, (u8, u8)>;
    assert_eq!(judge::<Pair>(&signed(r#"{"x":[1,2]}"#)).unwrap()["x"], (1, 2));
    for payload in [r#"{"x":[1]}"#, r#"{"x":[1,2,3]}"#] {
        assert!(matches!(judge::<Pair>(&signed(payload)), Err(DecodeError::Claims { .. })));
    }
    #[derive(Debug, Deserialize)]
    struct One {
        aud: [String; 1],
    }
    let any = validation().any_audience().unwrap();
    let read = |payload: &str| decode::<One>(&signed(payload), &key(), &any).map(|one| one.aud);
    assert_eq!(read(r#"{"aud":["a"]}"#), Ok(["a".into()]));
    assert!(matches!(read(r#"{"aud":["a","b"]}"#), Err(DecodeError::Claims { .. })));

    type Numbers = HashMap<String, HashMap<i64, u8>>;
    let read = |name: &str| judge::<Numbers>(&signed(json!({ "x": { name: 0 } }).to_string()));
    assert!(read("-12").unwrap()["x"].contains_key(&-12));
    for name in ["01", "+1", " 1", "1 ", "", "1.0", "1e3", "x", "true"] {
        assert!(matches!(read(name), Err(DecodeError::Claims { .. })), "{name:?}");
    }
}

/// An error of the caller's type is reported last, so that it never hides why a token is rejected.
#[test]
fn an_error_of_the_callers_type_comes_last() {
    let error = judge::<Role>(&signed(r#"{"role":7,"exp":-99}"#)).unwrap_err();
    assert_eq!(error.to_string(), "expired: exp -99, now 0, leeway 60s");
    let error = judge::<Role>(&signed(r#"{"role":7,"x":1,"x":1}"#)).unwrap_err();
    assert!(matches!(error, DecodeError::Payload(JsonError::DuplicateMember { .. })));
    let error = judge::<Role>(&signed(r#"{"role":7}"#)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the claims do not fit the type they are decoded into: \
         invalid type: integer `7`, expected a string at line 1 column 9"
    );
    let error = judge::<Role>(&signed("{}")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the claims do not fit the type they are decoded into: missing field `role` at line 1 column 2"
    );
    // The message of a type may quote the token: it is truncated, and has no control characters.
    let error =
        judge::<Role>(&signed(json!({ "role": { "\u{1b}[31m": "x".repeat(9_000) } }).to_string()));
    assert!(error.unwrap_err().to_string().len() < 400);
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Closed {}
    let name = format!("\u{1b}[31m{}", "x".repeat(9_000));
    let error = judge::<Closed>(&signed(json!({ name: 1 }).to_string())).unwrap_err().to_string();
    assert!(error.len() < 400 && !error.contains('\u{1b}'), "{error}");
}

/// A type that reads nothing cannot make a text malformed, or an expired token valid.
#[test]
fn a_type_that_reads_nothing_changes_no_verdict() {
    #[derive(Debug)]
    struct Nothing;

    impl<'de> Deserialize<'de> for Nothing {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Self)
        }
    }

    let error = judge::<Nothing>(&signed("{\"x\":\n1}")).unwrap_err();
    let reason = "trailing characters".into();
    assert_eq!(error, DecodeError::Claims { reason, line: 1, column: 1 });
    let expired = judge::<Nothing>(&signed(r#"{"exp":-99}"#)).unwrap_err();
    assert_eq!(expired.to_string(), "expired: exp -99, now 0, leeway 60s");
}

/// A type that ignores an error does not make the verifier ignore it.
#[test]
fn an_error_that_the_type_ignores_is_reported() {
    let lenient: Lenient = judge(&signed(r#"{"role":7,"more":[1]}"#)).unwrap();
    assert_eq!((&*lenient.role, &*lenient.more), ("", &[1][..]));
    for payload in
        [r#"{"more":{"y":1,"y":1}}"#, r#"{"role":"\ud800"}"#, r#"{"more":[1,{"y":1,"y":1}]}"#]
    {
        let error = judge::<Lenient>(&signed(payload)).expect_err(payload);
        assert!(matches!(error, DecodeError::Payload(_)), "{payload}");
    }
}

/// A type can replace the message of a mismatch, but not its cause.
#[test]
fn an_error_that_the_type_replaces_keeps_its_cause() {
    #[derive(Debug, Deserialize)]
    struct Reworded {
        #[serde(deserialize_with = "level")]
        #[expect(dead_code, reason = "it is never read")]
        level: u8,
    }
    fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
        u8::deserialize(deserializer).map_err(|error| D::Error::custom(format!("level: {error}")))
    }
    let error = judge::<Reworded>(&signed(r#"{"level":256}"#)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the claims do not fit the type they are decoded into: \
         level: invalid value: integer `256`, expected u8 at line 1 column 12"
    );
}

#[test]
fn claims_are_borrowed_where_they_can_be() {
    #[derive(Debug, Deserialize, PartialEq)]
    struct Borrowed<'c> {
        sub: &'c str,
        #[serde(borrow)]
        name: Cow<'c, str>,
        #[serde(borrow)]
        rest: HashMap<&'c str, &'c str>,
        aud: [&'c str; 2],
    }
    let token = signed(r#"{"sub":"joe","name":"J\u006fe","rest":{"a":"b"},"aud":["x","api"]}"#);
    let validation = validation().audience("api");
    let mut buffer = [0; 128];
    let claims: Borrowed<'_> = decode_borrowed(&token, &key(), &validation, &mut buffer).unwrap();
    assert_eq!(
        (claims.sub, &*claims.name, claims.rest["a"], claims.aud),
        ("joe", "Joe", "b", ["x", "api"])
    );

    let escaped = signed(r#"{"sub":"j\u006fe","name":"","rest":{},"aud":["x","api"]}"#);
    let error =
        decode_borrowed::<Borrowed<'_>>(&escaped, &key(), &validation, &mut buffer).unwrap_err();
    assert!(matches!(error, DecodeError::Claims { .. }), "{error}");

    let needed = base64url::decoded_len(token.split('.').nth(1).unwrap().len());
    let mut short = vec![0; needed - 1];
    let error = decode_borrowed::<IgnoredAny>(&token, &key(), &validation, &mut short).unwrap_err();
    assert_eq!(error, DecodeError::BufferTooShort { needed, given: needed - 1 });
    let mut exact = vec![0; needed];
    assert!(decode_borrowed::<IgnoredAny>(&token, &key(), &validation, &mut exact).is_ok());
}

/// Claims that are longer than the buffer of `decode` on the stack.
#[test]
fn long_claims_are_read() {
    for length in [500, 1_000, 1_024, 1_025, 5_000, 11_000] {
        let claims = json!({ "role": "x".repeat(length) });
        let role: Role = judge(&encode(&claims, &key()).unwrap()).unwrap();
        assert_eq!(role.role.len(), length);
    }
}

/// Types of every shape in serde survive a round trip. The flattened one has no number: with
/// `arbitrary_precision`, serde cannot buffer one.
#[test]
fn every_shape_of_type_survives_a_round_trip() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Shapes {
        unit: (),
        newtype: Newtype,
        tuple: (u8, i64, f64),
        option: Option<Box<Shapes>>,
        numbers: HashMap<i8, HashMap<bool, u128>>,
        kinds: Vec<Kind>,
        by_kind: HashMap<Kind, char>,
        bytes: Vec<u8>,
        wide: (i128, u128),
        #[serde(flatten)]
        tagged: Tagged,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Newtype(String);
    #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
    enum Kind {
        Unit,
        Newtype(u8),
        Tuple(u8, u8),
        Struct { field: Option<u8> },
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type", content = "value")]
    enum Tagged {
        A { x: char },
        B,
    }
    let mut shapes = Shapes {
        unit: (),
        newtype: Newtype("\u{0}\"\\/é𝄞\u{7f}".into()),
        tuple: (255, i64::MIN, 0.1 + 0.2),
        option: None,
        numbers: HashMap::from([(-1, HashMap::from([(true, u128::from(u64::MAX)), (false, 0)]))]),
        kinds: vec![Kind::Unit, Kind::Newtype(1), Kind::Tuple(2, 3), Kind::Struct { field: None }],
        by_kind: HashMap::from([(Kind::Unit, 'é')]),
        bytes: vec![0, 255],
        wide: (i128::from(i64::MIN), 0),
        tagged: Tagged::A { x: 'x' },
    };
    shapes.option = Some(Box::new(Shapes { tagged: Tagged::B, ..shapes.clone() }));
    let token = encode(&shapes, &key()).unwrap();
    assert_eq!(judge::<Shapes>(&token), Ok(shapes));
}

/// The caller's type gets the registered claims as the verifier has read them.
#[test]
fn registered_claims_reach_the_callers_type() {
    #[derive(Debug, Deserialize, PartialEq)]
    struct Own {
        iss: Option<Name>,
        aud: Vec<Name>,
        exp: f64,
        nbf: Option<u64>,
        iat: i128,
        jti: Kind,
        sub: Box<str>,
    }
    #[derive(Debug, Deserialize, PartialEq)]
    struct Name(String);
    #[derive(Debug, Deserialize, PartialEq)]
    enum Kind {
        Access,
    }
    let token = signed(
        r#"{"iss":"\u0061","aud":["b","\u0063"],"exp":1.5,"nbf":0,"iat":-7,"jti":"Access","sub":"s"}"#,
    );
    let claims: Own = decode(&token, &key(), &validation().audience("c")).unwrap();
    let name = |name: &str| Name(name.into());
    let expected = Own {
        iss: Some(name("a")),
        aud: vec![name("b"), name("c")],
        exp: 1.5,
        nbf: Some(0),
        iat: -7,
        jti: Kind::Access,
        sub: "s".into(),
    };
    assert_eq!(claims, expected);
}

/// The crate's own type for them: it is written and read, and its errors name the expected type.
#[test]
fn registered_claims_are_read_and_written() {
    let date = |seconds| Some(NumericDate::from_seconds(seconds));
    let claims = RegisteredClaims {
        iss: Some("i".into()),
        sub: Some("s".into()),
        aud: Some(Audience::Many(vec!["a".into(), "b".into()])),
        exp: date(3),
        nbf: date(1),
        iat: date(2),
        jti: Some("j".into()),
    };
    let text = r#"{"iss":"i","sub":"s","aud":["a","b"],"exp":3,"nbf":1,"iat":2,"jti":"j"}"#;
    assert_eq!(serde_json::to_string(&claims).unwrap(), text);
    let validation = validation().audience("a").at(NumericDate::from_seconds(2));
    assert_eq!(decode(&signed(text), &key(), &validation), Ok(claims));
    let none = RegisteredClaims::default();
    assert_eq!(serde_json::to_string(&none).unwrap(), "{}");
    assert_eq!(judge(&signed(r#"{"x":["iss"],"EXP":1}"#)), Ok(none));

    let wrong = |text| serde_json::from_str::<RegisteredClaims>(text).unwrap_err().to_string();
    assert!(wrong("[]").contains("expected a claims set"));
    assert!(
        wrong(r#"{"sub":true}"#).contains("invalid type: boolean `true`, expected a string at")
    );
    assert!(wrong(r#"{"aud":7}"#).contains("expected a string or an array of strings"));
    assert!(wrong(r#"{"exp":"1"}"#).contains("expected a number of seconds since 1970"));
    let numbered: MapDeserializer<'_, _, value::Error> = MapDeserializer::new([(1, 2)].into_iter());
    let error = RegisteredClaims::deserialize(numbered).unwrap_err();
    assert_eq!(error.to_string(), "invalid type: integer `1`, expected a claim name");
}

#[test]
fn claims_that_are_not_a_claims_set_are_not_signed() {
    #[derive(Serialize)]
    struct Twice {
        exp: u8,
        #[serde(flatten)]
        registered: RegisteredClaims,
    }
    let registered =
        RegisteredClaims { exp: Some(NumericDate::EPOCH), ..RegisteredClaims::default() };
    let error = encode(&Twice { exp: 1, registered }, &key()).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the claims are not a claims set: the member "exp" occurs twice in one object"#
    );
    for claims in [json!([]), json!(null), json!("x"), json!(7)] {
        let error = encode(&claims, &key()).unwrap_err();
        assert_eq!(error.to_string(), "the claims are not a claims set: not a JSON object");
    }
    for claims in [
        json!({ "exp": "tomorrow" }),
        json!({ "iat": [1] }),
        json!({ "iss": ["a"] }),
        json!({ "sub": 7 }),
        json!({ "aud": ["a", 5] }),
        json!({ "jti": {} }),
    ] {
        let error = encode(&claims, &key()).expect_err("claims of the wrong type");
        assert!(matches!(error, EncodeError::WrongType { .. }), "{claims}: {error}");
    }
    for claims in [json!({ "exp": null }), json!({ "exp": f64::NAN })] {
        let error = encode(&claims, &key()).unwrap_err();
        let words = "the claim exp is null: for a None, write #[serde(skip_serializing_if";
        assert!(error.to_string().starts_with(words), "{error}");
    }
    assert!(matches!(encode(&json!({ "aud": null }), &key()), Err(EncodeError::Null { .. })));
    let limit = Validation::HIGHEST_MAX_TOKEN_LEN;
    let long = |length: usize| encode(&json!({ "x": "x".repeat(length) }), &key());
    // Header, signature and dots take 81 bytes, and the claims are 8 bytes longer than their text.
    let longest = base64url::decoded_len(limit - 81) - 8;
    assert!(long(longest).is_ok_and(|token| token.len() == limit));
    let length = limit + 1;
    assert_eq!(long(longest + 1).unwrap_err(), EncodeError::TooLong { length, limit });
    let error = encode(&HashMap::from([(vec![1], 1)]), &key()).unwrap_err();
    assert_eq!(error.to_string(), "the claims cannot be written as JSON: key must be a string");
    let deep = (0..127).fold(json!({}), |inner, _| json!({ "x": inner }));
    assert!(encode(&deep, &key()).unwrap_err().to_string().ends_with("it nests deeper than 127"));
}

#[test]
fn the_header_can_be_read_without_a_key() {
    let token = encode(&json!({}), &key().with_kid("a\"b")).unwrap();
    let header = unverified_header(&token, Validation::DEFAULT_MAX_TOKEN_LEN).unwrap();
    assert_eq!(header.alg.as_deref(), Some("HS256"));
    assert_eq!(header.typ.as_deref(), Some("JWT"));
    assert_eq!(header.kid.as_deref(), Some("a\"b"));
    // The rest is not read.
    let header = unverified_header(&format!("{}.!.!", base64url::encode(b"{}")), 7).unwrap();
    assert_eq!((header.alg, header.typ, header.kid), (None, None, None));
    for token in ["", "a.b", "!.e30.AA", "W10.e30.AA"] {
        unverified_header(token, Validation::DEFAULT_MAX_TOKEN_LEN).unwrap_err();
    }
    let error = unverified_header(&token, token.len() - 1).unwrap_err();
    assert_eq!(error, DecodeError::TooLong { length: token.len(), limit: token.len() - 1 });
}

/// Keys of the caller's own type, whose header the verifier cannot predict.
struct Unknown<K>(K);

impl<K: Keys> Keys for Unknown<K> {
    fn find(&self, kid: Option<&str>, candidates: &mut Candidates<'_>) {
        self.0.find(kid, candidates);
    }
}

/// Each token also has all the faults that come after its own, so that the test checks the
/// documented order, whether or not the header is the one that the key writes.
#[test]
fn errors_come_in_the_documented_order() {
    let key = key().with_kid("1");
    let validation = Validation::new()
        .at(NumericDate::EPOCH)
        .typ("JWT")
        .issuer("i")
        .audience("a")
        .subject("s")
        .jwt_id("j")
        .require("role")
        .max_token_len(600)
        .unwrap();
    let long = "A".repeat(600);
    let own = encode(&json!({}), &key).unwrap();
    let own = own.split('.').next().unwrap();
    let other_typ = encode_with_typ(&json!({}), &key, "at+jwt").unwrap();
    let other_typ = other_typ.split('.').next().unwrap();
    let header = |json: &str| base64url::encode(json.as_bytes());
    let signed = |payload: &str| {
        let token = encode(&json!({}), &key).unwrap();
        let payload = base64url::encode(payload.as_bytes());
        let input = format!("{}.{payload}", token.split('.').next().unwrap());
        let tag = Hmac::new(Algorithm::Hs256, &signing::SECRET).tag(input.as_bytes());
        format!("{input}.{}", base64url::encode(tag.as_ref()))
    };
    let tokens = [
        (format!("!.!.!.!{long}"), "the token has 607 bytes"),
        ("!.!.!.!".into(), "does not have three segments"),
        (format!("{own}.!.!.!"), "does not have three segments"),
        (format!("{own}.!"), "does not have three segments"),
        ("!.!.!".into(), "the header segment"),
        (format!("{}.!.!", header("[]")), "the header: not a JSON object"),
        (format!("{}.!.!", header(r#"{"crit":1,"b64":1,"typ":1,"kid":1,"alg":1}"#)), "crit"),
        (format!("{}.!.!", header(r#"{"b64":1,"typ":1,"kid":1,"alg":1}"#)), "b64"),
        (format!("{}.!.!", header(r#"{"typ":1,"kid":1,"alg":1}"#)), "typ is not a string"),
        (format!("{}.!.!", header(r#"{"typ":"x","kid":1,"alg":1}"#)), "the type of the token"),
        (format!("{other_typ}.!.!"), "the type of the token is \"at+jwt\""),
        (format!("{}.!.!", header(r#"{"typ":"JWT","kid":1,"alg":1}"#)), "kid is not a string"),
        (format!("{}.!.!", header(r#"{"typ":"JWT","kid":"2","alg":1}"#)), "no key has the kid"),
        (format!("{}.!.!", header(r#"{"typ":"JWT","kid":"1","alg":1}"#)), "the header names none"),
        (format!("{own}.!.!"), "the signature segment"),
        (format!("{own}.!.AAAA"), "the signature is wrong"),
        (signed_segments(own, "!"), "the payload segment"),
        (signed("[]"), "the payload: not a JSON object"),
        (signed(r#"{"exp":-99,"nbf":99,"iat":99,"iss":1,"aud":1,"sub":1,"jti":1}"#), "expired"),
        (signed(r#"{"exp":9,"nbf":99,"iat":99,"iss":1,"aud":1,"sub":1,"jti":1}"#), "nbf"),
        (signed(r#"{"exp":9,"iat":99,"iss":1,"aud":1,"sub":1,"jti":1}"#), "iat"),
        (signed(r#"{"exp":9,"iss":1,"aud":1,"sub":1,"jti":1}"#), "iss"),
        (signed(r#"{"exp":9,"iss":"i","aud":1,"sub":1,"jti":1}"#), "aud"),
        (signed(r#"{"exp":9,"iss":"i","aud":"a","sub":1,"jti":1}"#), "sub"),
        (signed(r#"{"exp":9,"iss":"i","aud":"a","sub":"s","jti":1}"#), "jti"),
        (signed(r#"{"exp":9,"iss":"i","aud":"a","sub":"s","jti":"j"}"#), "role is missing"),
        (signed(r#"{"exp":9,"iss":"i","aud":"a","sub":"s","jti":"j","role":1}"#), "do not fit"),
    ];
    for (token, message) in tokens {
        let error = decode::<Role>(&token, &key, &validation).expect_err(message);
        assert!(error.to_string().contains(message), "{token}: {error}, not {message}");
        let slowly = decode::<Role>(&token, &Unknown(&key), &validation);
        assert_eq!(slowly.as_ref(), Err(&error), "{token}");
        let mut buffer = [0; 600];
        let borrowed = decode_borrowed::<Role>(&token, &key, &validation, &mut buffer);
        assert_eq!(borrowed.as_ref(), Err(&error), "{token}");
        let verified = verify(&token, &key, &validation).and_then(|verified| verified.claims());
        assert_eq!(verified.as_ref(), Err::<&Role, _>(&error), "{token}");
        let explanation = explain(&token, &key, &validation);
        let first = explanation.failures().next().map(|(_, error)| error.clone());
        assert_eq!(first, Some(error).filter(|_| message != "do not fit"), "{token}");
    }
}

/// The verifier compares a header with the one that the key writes, and parses any other one. The
/// verdict is the same, also for keys that retire.
#[test]
fn a_known_header_changes_no_verdict() {
    let kid = |kid: &str| key().with_kid(kid);
    let other = Key::hs256([1; 32]).unwrap().with_kid("1");
    let retired = KeySet::new(other).retire(kid("2"), NumericDate::from_seconds(5)).unwrap();
    let nameless = KeySet::new(key());
    let all = KeySet::new(kid("1")).accept(kid("3")).unwrap().try_all_without_kid();
    let sets: [&dyn Keys; 6] = [&key(), &kid("1"), &kid("2"), &retired, &nameless, &all];
    let mut verdicts = BTreeMap::new();
    for signer in [key(), kid("1"), kid("2"), kid("3"), Key::hs512([0x5a; 64]).unwrap()] {
        for typ in ["JWT", "at+jwt", "x"] {
            let token = encode_with_typ(&json!({ "exp": 9 }), &signer, typ).unwrap();
            let forged = format!("{}AAAA", token.split_at(token.len() - 4).0);
            for token in [&*token, &*forged, &format!("{token}="), &format!("{token}.")] {
                for now in [0, 5, 6] {
                    let now = validation().at(NumericDate::from_seconds(now));
                    for validation in [now.clone(), now.typ("at+jwt")] {
                        for keys in sets {
                            let verdict = decode::<IgnoredAny>(token, keys, &validation).err();
                            let slowly = decode::<IgnoredAny>(token, &Unknown(keys), &validation);
                            assert_eq!(verdict, slowly.err(), "{token}");
                            *verdicts.entry(format!("{verdict:?}")).or_insert(0) += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(verdicts.len() > 10, "{verdicts:?}");
}

#[test]
fn a_verified_token_gives_its_header_and_its_claims_as_several_types() {
    #[derive(Debug, Deserialize, PartialEq)]
    struct Borrowed<'c> {
        role: &'c str,
        #[serde(borrow)]
        sub: Cow<'c, str>,
    }
    let payload = r#"{"role":"admin","sub":"J\u006fe","aud":["a","b"],"exp":1.5,"nbf":-1,"x":0}"#;
    let validation = validation().audience("b");
    for (header, typ, kid) in [
        (HEADER, Some("JWT"), None),
        (r#"{"alg":"HS256"}"#, None, None),
        (r#"{"kid":"\u0031","alg":"HS256","typ":"x"}"#, Some("x"), Some("1")),
    ] {
        let token = signed_with_header(header, payload);
        let verified = verify(&token, &key(), &validation).unwrap();
        let found = verified.header();
        assert_eq!(found.alg, Algorithm::Hs256);
        // The token and its claims stay out of logs.
        assert_eq!(format!("{verified:?}"), format!("Verified {{ header: {found:?}, .. }}"));
        assert_eq!((found.typ.as_deref(), found.kid.as_deref()), (typ, kid));
        let borrowed = Borrowed { role: "admin", sub: "Joe".into() };
        assert_eq!(verified.claims(), Ok(borrowed));
        assert_eq!(verified.claims::<Role>().unwrap().role, "admin");
        assert_eq!(verified.claims::<Value>().unwrap()["x"], 0);
        let registered = verified.registered();
        assert_eq!(registered.sub.as_deref(), Some("Joe"));
        assert!(registered.aud.unwrap().contains("a") && registered.iss.is_none());
        assert_eq!(registered.exp, Some(NumericDate::from_seconds(1)));
        assert_eq!(registered.nbf, Some(NumericDate::from_seconds(-1)));
        let error = verified.claims::<Vec<u8>>().unwrap_err();
        assert!(matches!(error, DecodeError::Claims { line: 1, .. }), "{error}");
        assert!(!format!("{verified:?}").contains(token.split('.').nth(2).unwrap()));
    }
}
