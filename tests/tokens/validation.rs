//! The claims validator, check by check: what it accepts, what it rejects, and the message with its
//! numbers.

use std::time::Duration;

use kippu::{
    Audience, ClaimError, Clock, DecodeError, InvalidOption, NumericDate, RegisteredClaim,
    RegisteredClaims, Validation, decode, decode_borrowed, explain, verify,
};
use kippu_test_support::signing;
use serde::de::IgnoredAny;
use serde_json::Value;
use signing::{key, signed, signed_with_header};

/// The recipient's time in these tests.
const NOW: i64 = 1_760_000_000;

fn seconds(seconds: i64) -> NumericDate {
    NumericDate::from_seconds(seconds)
}

/// No leeway, so that the tests see the exact limits; `exp` is optional, so that the claims can be
/// short.
fn lax() -> Validation {
    Validation::new().at(seconds(NOW)).leeway(Duration::ZERO).unwrap().expiry_optional().unwrap()
}

/// Returns the verdict on a token with these claims, which every way to decode it must share.
#[track_caller]
fn judge(claims: &str, validation: &Validation) -> Result<(), DecodeError> {
    let token = signed(claims);
    let verdict = decode::<Value>(&token, &key(), validation).map(|_| ());
    let mut buffer = [0; 4096];
    let borrowed = decode_borrowed::<IgnoredAny>(&token, &key(), validation, &mut buffer);
    assert_eq!(borrowed.map(|_| ()), verdict, "{claims}");
    let explanation = explain(&token, &key(), validation);
    assert_eq!(explanation.is_accepted(), verdict.is_ok(), "{explanation}");
    if let Err(error) = &verdict {
        let first = explanation.failures().next().map(|(_, failure)| failure);
        assert_eq!(first, Some(error), "{explanation}");
    }
    verdict
}

#[track_caller]
fn accepted(claims: &str, validation: &Validation) {
    assert_eq!(judge(claims, validation), Ok(()), "{claims}");
}

#[track_caller]
fn refused(claims: &str, validation: &Validation, message: &str) {
    let error = judge(claims, validation).expect_err(claims);
    assert_eq!(error.to_string(), message, "{claims}");
}

#[test]
fn exp_is_required_by_default() {
    let strict = Validation::new().at(seconds(NOW));
    refused("{}", &strict, "the claim exp is missing");
    accepted(r#"{"exp":1760000001}"#, &strict);
    accepted("{}", &lax());
    // Requiring another claim does not make this one optional.
    refused(r#"{"sub":"joe"}"#, &strict.require("sub"), "the claim exp is missing");
    accepted(r#"{"sub":"joe"}"#, &lax().require("sub"));
    // An `exp` that is present is still checked.
    refused(r#"{"exp":1}"#, &lax(), "expired: exp 1, now 1760000000, leeway 0ns");
}

/// RFC 7519 §4.1.4: "on or after which the JWT MUST NOT be accepted".
#[test]
fn a_token_expires_at_the_second_of_exp() {
    accepted(r#"{"exp":1760000001}"#, &lax());
    refused(r#"{"exp":1760000000}"#, &lax(), "expired: exp 1760000000, now 1760000000, leeway 0ns");
    let leeway = lax().leeway(Duration::from_secs(60)).unwrap();
    accepted(r#"{"exp":1759999941}"#, &leeway);
    let error = judge(r#"{"exp":1759999940}"#, &leeway).unwrap_err();
    let expired = ClaimError::Expired {
        exp: seconds(NOW - 60),
        now: seconds(NOW),
        leeway: Duration::from_secs(60),
    };
    assert_eq!(error, DecodeError::Claim(expired));
}

/// RFC 7519 §4.1.5: "before which the JWT MUST NOT be accepted".
#[test]
fn a_token_is_valid_from_the_second_of_nbf() {
    accepted(r#"{"nbf":1760000000}"#, &lax());
    refused(
        r#"{"nbf":1760000001}"#,
        &lax(),
        "not valid yet: nbf 1760000001, now 1760000000, leeway 0ns",
    );
    let leeway = lax().leeway(Duration::from_secs(60)).unwrap();
    accepted(r#"{"nbf":1760000060}"#, &leeway);
    let error = judge(r#"{"nbf":1760000061}"#, &leeway).unwrap_err();
    let not_yet = ClaimError::NotYetValid {
        nbf: seconds(NOW + 61),
        now: seconds(NOW),
        leeway: Duration::from_secs(60),
    };
    assert_eq!(error, DecodeError::Claim(not_yet));
}

#[test]
fn iat_is_not_in_the_future() {
    accepted(r#"{"iat":1760000000}"#, &lax());
    refused(
        r#"{"iat":1760000001}"#,
        &lax(),
        "issued in the future: iat 1760000001, now 1760000000, leeway 0ns",
    );
    let leeway = lax().leeway(Duration::from_secs(60)).unwrap();
    accepted(r#"{"iat":1760000060}"#, &leeway);
    let error = judge(r#"{"iat":1760000061}"#, &leeway).unwrap_err();
    let future = ClaimError::IssuedInFuture {
        iat: seconds(NOW + 61),
        now: seconds(NOW),
        leeway: Duration::from_secs(60),
    };
    assert_eq!(error, DecodeError::Claim(future));
}

#[test]
fn max_age_counts_from_iat_and_requires_it() {
    let young = lax().max_age(Duration::from_secs(100));
    accepted(r#"{"iat":1759999900}"#, &young);
    refused(
        r#"{"iat":1759999899}"#,
        &young,
        "too old: iat 1759999899, now 1760000000, max age 100s, leeway 0ns",
    );
    refused("{}", &young, "the claim iat is missing");
    let young = young.leeway(Duration::from_secs(10)).unwrap();
    accepted(r#"{"iat":1759999890}"#, &young);
    let error = judge(r#"{"iat":1759999889}"#, &young).unwrap_err();
    let too_old = ClaimError::TooOld {
        iat: seconds(NOW - 111),
        now: seconds(NOW),
        max_age: Duration::from_secs(100),
        leeway: Duration::from_secs(10),
    };
    assert_eq!(error, DecodeError::Claim(too_old));
}

/// Fractions are valid times (RFC 7519 §2), and are never rounded in the token's favour.
#[test]
fn fractions_are_read_exactly() {
    for accepted_claims in [
        r#"{"exp":1760000001.5}"#,
        r#"{"exp":1.760000001e9}"#,
        r#"{"nbf":1760000000.0}"#,
        r#"{"nbf":1759999999.9999999999}"#,
        r#"{"nbf":176000000000000E-5,"iat":1760000000.0}"#,
    ] {
        accepted(accepted_claims, &lax());
    }
    for refused_claims in [
        r#"{"exp":1760000000.5}"#,
        r#"{"exp":1759999999.5}"#,
        r#"{"exp":1759999999.9999999999}"#,
        r#"{"exp":1760000000.0}"#,
        r#"{"exp":1.76e9}"#,
        r#"{"nbf":1760000000.0000000001}"#,
        r#"{"nbf":1760000000.5}"#,
        r#"{"iat":1760000000.0000000001}"#,
        r#"{"iat":1.760000000000001e9}"#,
    ] {
        judge(refused_claims, &lax()).expect_err(refused_claims);
    }
}

/// No time causes a panic or wraps around.
#[test]
fn every_finite_number_is_a_time() {
    for far in ["1e30", "1e308", "18446744073709551615", "9223372036854775808", "1e19"] {
        accepted(&format!(r#"{{"exp":{far}}}"#), &lax());
        judge(&format!(r#"{{"nbf":{far}}}"#), &lax()).unwrap_err();
        judge(&format!(r#"{{"iat":{far}}}"#), &lax()).unwrap_err();
    }
    for past in ["-1", "-1e30", "-1e308", "-9223372036854775809", "0", "-0", "-0.5", "1e-400"] {
        judge(&format!(r#"{{"exp":{past}}}"#), &lax()).expect_err(past);
        accepted(&format!(r#"{{"nbf":{past},"iat":{past}}}"#), &lax());
    }
    let ends = [i64::MIN, -1, 0, i64::MAX].map(seconds);
    for now in ends {
        let validation = Validation::new()
            .at(now)
            .leeway(Validation::MAX_LEEWAY)
            .unwrap()
            .max_age(Duration::MAX)
            .expiry_optional()
            .unwrap();
        for time in ["1e308", "-1e308", "0", "1", "9223372036854775807", "-9223372036854775808"] {
            for claim in ["exp", "nbf", "iat"] {
                let _ = judge(&format!(r#"{{"{claim}":{time}}}"#), &validation);
            }
        }
    }
    accepted(r#"{"exp":-1}"#, &lax().at(seconds(-2)));
}

#[test]
fn a_number_beyond_the_double_range_is_rejected_anywhere() {
    for claims in [r#"{"exp":1e400}"#, r#"{"x":1e400}"#, r#"{"x":[{"y":-1e999}]}"#] {
        let message = judge(claims, &lax()).expect_err(claims).to_string();
        assert!(message.ends_with(": a number is beyond the range of a double"), "{message}");
    }
}

/// RFC 7519 §4.1 gives each registered claim a type. A value of another type is an error, whether
/// the claim is expected or not. null is such a value (CVE-2026-25537).
#[test]
fn a_registered_claim_of_another_type_is_rejected() {
    use RegisteredClaim::*;
    let texts = [Issuer, Subject, JwtId];
    let times = [ExpirationTime, NotBefore, IssuedAt];
    let not_texts = ["null", "true", "7", "1.5", r#"["a"]"#, r#"{"a":1}"#, "[]", "{}"];
    let not_times = [r#""1760003600""#, "null", "true", "[1760003600]", r#"{"a":1}"#, r#""""#];
    let not_audiences =
        ["null", "7", "false", r#"["a",7]"#, r#"[["a"]]"#, r#"[null]"#, r#"{"a":1}"#];
    let cases = texts
        .iter()
        .flat_map(|claim| not_texts.map(|value| (*claim, value)))
        .chain(times.iter().flat_map(|claim| not_times.map(|value| (*claim, value))))
        .chain(not_audiences.map(|value| (Audience, value)));
    let expecting = lax()
        .issuer("a")
        .subject("a")
        .jwt_id("a")
        .audience("a")
        .max_age(Duration::from_secs(1))
        .require("exp")
        .require("nbf");
    for (claim, value) in cases {
        let claims = format!(r#"{{"{claim}":{value}}}"#);
        let expected = Err(DecodeError::Claim(ClaimError::WrongType { claim }));
        assert_eq!(judge(&claims, &lax()), expected, "{claims}");

        // The error is the same if the claim is expected and all other claims are valid.
        let mut good: serde_json::Map<String, Value> = serde_json::from_str(
            r#"{"iss":"a","sub":"a","jti":"a","aud":"a","exp":1760000001,"nbf":1760000000,"iat":1760000000}"#,
        )
        .unwrap();
        accepted(&serde_json::to_string(&good).unwrap(), &expecting);
        good.insert(claim.as_str().into(), serde_json::from_str(value).unwrap());
        let claims = serde_json::to_string(&good).unwrap();
        assert_eq!(judge(&claims, &expecting), expected, "{claims}");
    }
    refused(r#"{"exp":null}"#, &lax(), "the claim exp is not a number");
    refused(r#"{"iss":["a"]}"#, &lax(), "the claim iss is not a string");
    refused(r#"{"aud":7}"#, &lax(), "the claim aud is not a string or an array of strings");
}

const CLAIMS: [&str; 7] = ["exp", "nbf", "iat", "iss", "aud", "sub", "jti"];

/// Reads the registered claims of a token in each possible way. All ways return the same.
#[track_caller]
fn registered(claims: &str, validation: &Validation) -> RegisteredClaims {
    #[derive(serde::Deserialize)]
    struct Flattened {
        #[serde(flatten)]
        registered: RegisteredClaims,
    }

    let token = signed(claims);
    let read = verify(&token, &key(), validation).unwrap().registered();
    assert_eq!(decode::<RegisteredClaims>(&token, &key(), validation).unwrap(), read);
    assert_eq!(decode::<Flattened>(&token, &key(), validation).unwrap().registered, read);
    read
}

#[test]
fn null_is_an_absent_claim_with_the_option() {
    let lenient = lax().null_means_absent().unwrap();
    for claim in CLAIMS {
        let (null, missing) =
            (format!(r#"{{"{claim}":null}}"#), format!("the claim {claim} is missing"));
        assert!(judge(&null, &lax()).is_err());
        accepted(&null, &lenient);
        assert_eq!(registered(&null, &lenient), RegisteredClaims::default());
        refused(&null, &lenient.clone().require(claim), &missing);
        let explanation = explain(&signed(&null), &key(), &lenient).to_string();
        assert!(explanation.contains(&format!("\nabsent   {claim}\n")), "{explanation}");
    }
    let expecting = lenient.clone().issuer("a").audience("a").subject("a").jwt_id("a");
    refused(r#"{"iss":null}"#, &expecting, "the claim iss is missing");
    let strict = Validation::new().at(seconds(NOW)).null_means_absent().unwrap();
    refused(r#"{"exp":null}"#, &strict, "the claim exp is missing");
    // Only null means absent, and claims that are not registered do not change.
    for claims in [r#"{"sub":false}"#, r#"{"sub":0}"#, r#"{"aud":[null]}"#, r#"{"exp":"null"}"#] {
        assert!(judge(claims, &lenient).is_err(), "{claims}");
    }
    accepted(r#"{"tenant":null}"#, &lenient.require("tenant"));
}

#[test]
fn sub_may_be_a_number_with_the_option() {
    let lenient = lax().numeric_subject().unwrap();
    for number in ["0", "42", "9007199254740993", "18446744073709551615"] {
        let claims = format!(r#"{{"sub":{number}}}"#);
        refused(&claims, &lax(), "the claim sub is not a string");
        accepted(&claims, &lenient);
        accepted(&claims, &lenient.clone().require("sub"));
        assert_eq!(registered(&claims, &lenient).sub.as_deref(), Some(number));
    }
    accepted(r#"{"sub":"42"}"#, &lenient);
    for other in ["-1", "-0", "1.0", "1e3", "18446744073709551616", "null", "true", "[42]", "{}"] {
        let claims = format!(r#"{{"sub":{other}}}"#);
        refused(&claims, &lenient, "the claim sub is not a string");
    }
    refused(r#"{"jti":42}"#, &lenient, "the claim jti is not a string");
    refused(r#"{"iss":42}"#, &lenient, "the claim iss is not a string");
    // A number does not equal an expected subject.
    let named = lenient.clone().subject("42");
    refused(r#"{"sub":42}"#, &named, "the claim sub is not a string");
    accepted(r#"{"sub":"42"}"#, &named);
    let error = lax().subject("42").numeric_subject().unwrap_err();
    assert_eq!(error, InvalidOption::SubjectExpected);
    refused(r#"{"sub":null}"#, &lenient, "the claim sub is not a string");
    accepted(r#"{"sub":null}"#, &lenient.null_means_absent().unwrap());
}

/// An expected claim is required, and compared exactly (RFC 7519 §4.1.1, RFC 8725 §3.8).
#[test]
fn iss_sub_and_jti_are_compared_exactly() {
    type Expect = fn(Validation, &'static str) -> Validation;
    let cases: [(&str, Expect, &str); 3] = [
        ("iss", |validation, value| validation.issuer(value), "iss is"),
        ("sub", |validation, value| validation.subject(value), "sub is"),
        ("jti", |validation, value| validation.jwt_id(value), "jti is"),
    ];
    for (claim, expect, words) in cases {
        let one = expect(lax(), "https://auth.example");
        let both = expect(one.clone(), "joe");
        let of = |value: &str| format!(r#"{{"{claim}":"{value}"}}"#);
        accepted(&of("https://auth.example"), &one);
        accepted(&of("https:\\/\\/auth.\\u0065xample"), &one);
        accepted(&of("joe"), &both);
        accepted(&of("anyone"), &lax());
        refused("{}", &one, &format!("the claim {claim} is missing"));
        for other in [
            "https://auth.example/",
            "https://auth.example.evil",
            "https://auth.exampl",
            "HTTPS://AUTH.EXAMPLE",
            "",
        ] {
            let message = format!(r#"{words} "{other}", expected "https://auth.example""#);
            refused(&of(other), &one, &message);
        }
        refused(
            &of("jane"),
            &both,
            &format!(r#"{words} "jane", expected "https://auth.example" or "joe""#),
        );
        // The same value in another claim does not count.
        let others: Vec<_> = ["iss", "sub", "jti", "aud"]
            .into_iter()
            .filter(|other| *other != claim)
            .map(|other| format!(r#""{other}":"https://auth.example""#))
            .collect();
        let claims = format!("{{{}}}", others.join(","));
        let error = judge(&claims, &one.any_audience().unwrap()).unwrap_err();
        let missing = ClaimError::Missing { claim: claim.into() };
        assert_eq!(error, DecodeError::Claim(missing));
    }
}

#[test]
fn aud_must_name_the_recipient() {
    let api = lax().audience("api");
    let either = api.clone().audience("web");
    accepted(r#"{"aud":"api"}"#, &api);
    accepted(r#"{"aud":["other","api"]}"#, &api);
    accepted(r#"{"aud":["1","2","3","4","5","6","7","8","9","api"]}"#, &api);
    accepted(r#"{"aud":"web"}"#, &either);
    refused("{}", &api, "the claim aud is missing");
    refused(r#"{"aud":[]}"#, &api, r#"aud is "", expected "api""#);
    for other in ["API", "api ", "ap", "api2", ""] {
        let message = format!(r#"aud is "{other}", expected "api""#);
        refused(&format!(r#"{{"aud":"{other}"}}"#), &api, &message);
        refused(&format!(r#"{{"aud":["{other}","x"]}}"#), &api, &message);
    }
    refused(r#"{"aud":["a","b"]}"#, &either, r#"aud is "a", expected "api" or "web""#);
}

#[test]
fn an_audience_is_a_name_or_several() {
    let names = |names: &[&str]| names.iter().copied().map(String::from).collect::<Vec<_>>();
    for (audience, expected) in [
        (Audience::from("a"), names(&["a"])),
        (Audience::from(String::from("b")), names(&["b"])),
        (Audience::from(names(&["a", "b"])), names(&["a", "b"])),
        (Audience::from(vec![]), vec![]),
    ] {
        assert!(audience.iter().eq(&expected), "{audience:?}");
        assert!((&audience).into_iter().eq(&expected), "{audience:?}");
        for name in ["a", "b", "c", "A", ""] {
            assert_eq!(audience.contains(name), expected.iter().any(|known| known == name));
        }
        assert_eq!(audience.into_iter().collect::<Vec<_>>(), expected);
    }
}

/// RFC 7519 §4.1.3: a recipient that does not find itself in `aud` must reject the token.
#[test]
fn aud_is_rejected_if_none_is_expected() {
    let message = r#"aud is "api", and no audience is expected: name one, or accept any"#;
    refused(r#"{"aud":"api"}"#, &lax(), message);
    refused(r#"{"aud":["api","web"]}"#, &lax(), message);
    refused(
        r#"{"aud":[]}"#,
        &lax(),
        r#"aud is "", and no audience is expected: name one, or accept any"#,
    );
    let any = lax().any_audience().unwrap();
    accepted(r#"{"aud":"api"}"#, &any);
    accepted(r#"{"aud":[]}"#, &any);
    accepted("{}", &any);
    // Naming one afterwards makes the check stricter.
    refused(r#"{"aud":"web"}"#, &any.audience("api"), r#"aud is "web", expected "api""#);
}

#[test]
fn a_required_claim_must_be_present() {
    for claim in ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "tenant", "", "a\"b"] {
        let validation = lax().require(claim).any_audience().unwrap();
        let error = judge(r#"{"x":{"tenant":1},"EXP":1}"#, &validation).unwrap_err();
        assert_eq!(error, DecodeError::Claim(ClaimError::Missing { claim: claim.into() }));
    }
    accepted(r#"{"tenant":null,"sub":""}"#, &lax().require("tenant").require("sub"));
    accepted(r#"{"t\u0065nant":7}"#, &lax().require("tenant").require("tenant"));
    // More than a machine word has bits.
    let many = (0..100).fold(lax(), |validation, number| validation.require(format!("c{number}")));
    let members: Vec<_> = (0..100).map(|number| format!(r#""c{number}":0"#)).collect();
    accepted(&format!("{{{}}}", members.join(",")), &many);
    for number in [0, 63, 64, 99] {
        let mut members = members.clone();
        members.remove(number);
        let message = format!("the claim c{number} is missing");
        refused(&format!("{{{}}}", members.join(",")), &many, &message);
    }
}

/// It reports no absent claim as passed, and lists each missing one on a separate line.
#[test]
fn explain_lists_every_missing_claim() {
    let claims_of = |token: &str, validation: &Validation| {
        let lines = explain(token, &key(), validation).to_string();
        let (stages, claims) = lines.split_at(lines.find("passed   clock").unwrap_or_default());
        (stages.to_owned(), claims.to_owned())
    };
    let everything = Validation::new()
        .at(seconds(NOW))
        .issuer("i")
        .audience("a")
        .subject("s")
        .jwt_id("j")
        .max_age(Duration::from_secs(60));
    let everything =
        ["nbf", "sub", "role", "tenant"].into_iter().fold(everything, Validation::require);
    let (stages, claims) = claims_of(&signed(r#"{"tenant":null}"#), &everything);
    let missing = "\
passed   clock
passed   time of the key
FAILED   exp: the claim exp is missing
FAILED   nbf: the claim nbf is missing
FAILED   iat: the claim iat is missing
FAILED   iss: the claim iss is missing
FAILED   aud: the claim aud is missing
FAILED   sub: the claim sub is missing
FAILED   jti: the claim jti is missing
FAILED   role: the claim role is missing
passed   tenant
";
    assert_eq!(claims, missing);
    assert!(stages.contains("\nabsent   kid\n"), "{stages}");

    let (_, claims) = claims_of(&signed(r#"{"sub":"s","nbf":[]}"#), &lax().require("sub"));
    let absent = "\
passed   clock
passed   time of the key
absent   exp
FAILED   nbf: the claim nbf is not a number
absent   iat
absent   iss
absent   aud
passed   sub
absent   jti
";
    assert_eq!(claims, absent);

    // A token without a header parameter, and one that cannot be read.
    let bare = signed_with_header(r#"{"alg":"HS256"}"#, "{}");
    let (stages, _) = claims_of(&bare, &lax());
    assert!(stages.contains("\nabsent   typ\nabsent   kid\npassed   alg\n"), "{stages}");
    let not_run = explain("a.b", &key(), &Validation::new().require("length").require("sub"));
    let findings: Vec<_> = not_run.findings().iter().map(|finding| &*finding.check).collect();
    assert_eq!(findings.len(), 19);
    assert_eq!((findings[0], findings[18]), ("length", "length"));
    assert_eq!(not_run.to_string().matches("not run").count(), 17, "{not_run}");
}

/// RFC 7515 §4.1.9, RFC 8725 §3.11.
#[test]
fn typ_must_be_the_expected_one() {
    let judge = |typ: &str, validation: &Validation| {
        let token = signed_with_header(format!(r#"{{"alg":"HS256"{typ}}}"#), "{}");
        let verdict = decode::<Value>(&token, &key(), validation);
        assert_eq!(explain(&token, &key(), validation).is_accepted(), verdict.is_ok());
        verdict.map(|_| ()).map_err(|error| error.to_string())
    };
    let access = lax().typ("at+jwt");
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
        assert_eq!(judge(&format!(r#","typ":"{typ}""#), &access), Ok(()));
    }
    for typ in ["JWT", "jwt", "at+jwt ", "text/at+jwt", "at", ""] {
        let message = format!(r#"the type of the token is "{typ}", expected "at+jwt""#);
        assert_eq!(judge(&format!(r#","typ":"{typ}""#), &access), Err(message));
    }
    let message = r#"the type of the token is none, expected "at+jwt""#;
    assert_eq!(judge("", &access), Err(message.into()));
    assert_eq!(judge(r#","typ":"x/y""#, &access.clone().typ("x/y")), Ok(()));
    assert_eq!(judge(r#","typ":"anything""#, &lax()), Ok(()));
    // A value that is not a string is not a type, whether one is expected or not.
    for validation in [&access, &lax()] {
        let message = "the header's typ is not a string";
        assert_eq!(judge(r#","typ":7"#, validation), Err(message.into()));
        assert_eq!(judge(r#","typ":null"#, validation), Err(message.into()));
    }
    // The verifier has a separate path for the headers that this crate writes.
    let token = kippu::encode(&serde_json::json!({}), &key()).unwrap();
    assert!(decode::<Value>(&token, &key(), &lax().typ("jwt")).is_ok());
    let error = decode::<Value>(&token, &key(), &access).unwrap_err();
    assert_eq!(error.to_string(), r#"the type of the token is "JWT", expected "at+jwt""#);
    let token = kippu::encode_with_typ(&serde_json::json!({}), &key(), "at+jwt").unwrap();
    assert!(decode::<Value>(&token, &key(), &access).is_ok());
    let error = decode::<Value>(&token, &key(), &lax().typ("JWT")).unwrap_err();
    assert_eq!(error.to_string(), r#"the type of the token is "at+jwt", expected "JWT""#);
}

#[test]
fn a_token_longer_than_the_limit_is_not_read() {
    let judge = |length: usize, validation: &Validation| {
        decode::<Value>(&"é".repeat(length / 2), &key(), validation).unwrap_err()
    };
    let limit = Validation::DEFAULT_MAX_TOKEN_LEN;
    assert_eq!(limit, 16_384);
    assert_eq!(judge(limit + 2, &lax()), DecodeError::TooLong { length: limit + 2, limit });
    assert_eq!(judge(limit, &lax()), DecodeError::Segments);
    let short = lax().max_token_len(100).unwrap();
    assert_eq!(judge(102, &short).to_string(), "the token has 102 bytes, more than 100");

    let claims = format!(r#"{{"x":"{}"}}"#, "x".repeat(30_000));
    let long = lax().max_token_len(Validation::HIGHEST_MAX_TOKEN_LEN).unwrap();
    assert!(judge_token(&signed(&claims), &lax()).is_err());
    assert!(judge_token(&signed(&claims), &long).is_ok());
}

fn judge_token(token: &str, validation: &Validation) -> Result<Value, DecodeError> {
    decode(token, &key(), validation)
}

/// Options that contradict earlier ones, or loosen too much, return an error.
#[test]
fn an_unsafe_option_is_an_error_when_it_is_set() {
    let limit = Duration::from_secs(600);
    assert!(Validation::new().leeway(limit).is_ok());
    for given in [limit + Duration::from_nanos(1), Duration::MAX] {
        let error = Validation::new().leeway(given).unwrap_err();
        assert_eq!(error, InvalidOption::LeewayTooLong { given, limit });
    }
    let error = Validation::new().leeway(Duration::from_secs(3600)).unwrap_err();
    assert_eq!(error.to_string(), "a leeway of 3600s is too long: at most 600s");

    let error = Validation::new().audience("api").any_audience().unwrap_err();
    assert_eq!(
        error.to_string(),
        "any_audience contradicts the audience that is expected already: remove one of the calls"
    );
    let error = Validation::new().require("exp").expiry_optional().unwrap_err();
    assert_eq!(
        error.to_string(),
        "expiry_optional contradicts the exp that is required already: remove one of the calls"
    );
    // In the other order the stricter option applies.
    let required = Validation::new().at(seconds(NOW)).expiry_optional().unwrap().require("exp");
    refused("{}", &required, "the claim exp is missing");

    for given in [0, Validation::HIGHEST_MAX_TOKEN_LEN + 1, usize::MAX] {
        let limit = Validation::HIGHEST_MAX_TOKEN_LEN;
        let error = Validation::new().max_token_len(given).unwrap_err();
        assert_eq!(error, InvalidOption::MaxTokenLen { given, limit });
    }
    let error = Validation::new().max_token_len(0).unwrap_err();
    assert_eq!(error.to_string(), "a token length limit of 0 bytes is not between 1 and 1048576");
}

#[test]
fn the_defaults_are_60_seconds_and_the_system_clock() {
    let now = NumericDate::now().seconds();
    let judge = |exp: i64, nbf: i64| {
        let token = signed(format!(r#"{{"exp":{},"nbf":{}}}"#, now + exp, now + nbf));
        judge_token(&token, &Validation::default()).map_err(|error| error.client_message())
    };
    assert!(judge(-30, 0).is_ok());
    assert_eq!(judge(-61, 0), Err("the token has expired"));
    assert!(judge(900, 30).is_ok());
    assert_eq!(judge(900, 600), Err("the token is not valid yet"));
}

#[test]
fn the_clock_is_read_once_for_each_verification() {
    use std::sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    };

    struct Counting(AtomicI64);

    impl Clock for Counting {
        fn unix_millis(&self) -> i64 {
            1000 * (NOW + self.0.fetch_add(1, Ordering::Relaxed))
        }
    }

    let clock = Arc::new(Counting(AtomicI64::new(0)));
    let validation = Validation::new().clock(Arc::clone(&clock)).max_age(Duration::from_secs(9));
    let token = signed(r#"{"exp":1760000060,"nbf":1760000000,"iat":1760000000}"#);
    for readings in 1..5 {
        decode::<Value>(&token, &key(), &validation).unwrap();
        assert_eq!(clock.0.load(Ordering::Relaxed), readings);
    }
}

/// The message for a client does not reveal the expected values.
#[test]
fn a_client_message_contains_only_what_a_client_needs() {
    let message = |claims: &str, validation: &Validation| {
        judge(claims, validation).unwrap_err().client_message()
    };
    assert_eq!(message(r#"{"exp":1}"#, &lax()), "the token has expired");
    let young = lax().max_age(Duration::ZERO);
    assert_eq!(message(r#"{"iat":1}"#, &young), "the token has expired");
    let is_expired =
        |claims: &str, validation: &Validation| judge(claims, validation).unwrap_err().is_expired();
    assert!(is_expired(r#"{"exp":1}"#, &lax()) && is_expired(r#"{"iat":1}"#, &young));
    assert!(!is_expired(r#"{"nbf":1e12}"#, &lax()) && !is_expired(r#"{"exp":[]}"#, &lax()));
    assert_eq!(message(r#"{"nbf":1e12}"#, &lax()), "the token is not valid yet");
    assert_eq!(message(r#"{"iat":1e12}"#, &lax()), "the token is not valid yet");
    assert_eq!(message(r#"{"iss":"x"}"#, &lax().issuer("y")), "the token is invalid");
    assert_eq!(message("[]", &lax()), "the token is invalid");
    let error = decode::<Value>("a.b.c", &key(), &lax()).unwrap_err();
    assert_eq!(error.client_message(), "the token is invalid");
}

#[test]
fn debug_shows_what_is_expected() {
    let validation = Validation::new().issuer("i").typ("t").max_age(Duration::from_secs(1));
    let shown = format!("{validation:?}");
    for field in [r#"issuers: ["i"]"#, r#"typs: ["t"]"#, "max_age: Some(1s)", "leeway: 60s"] {
        assert!(shown.contains(field), "{shown}");
    }
}
