//! `sign`: which key signs, and that the claims are signed as they were given.

use kippu::{Key, KeySet, NumericDate, Validation, decode};
use serde_json::{Value, json};

use super::{OTHER_SECRET, SECRET, file, jwk, key, kippu, payload};

const SIGN: [&str; 3] = ["sign", "--key-env", "KIPPU_TEST_KEY"];

#[test]
fn sign_makes_a_token_that_verifies() {
    let written = r#"{"z":1,"iss":"https://auth.example","a":{"y":1,"b":[1.5,null,true]}}"#;
    let options = ["--expires-in", "15m", "--typ", "at+jwt"];
    let ran = kippu(&[&SIGN[..], &options].concat(), written);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    let token = ran.stdout.trim_end();
    let validation = Validation::new().issuer("https://auth.example").typ("at+jwt");
    let read: Value = decode(token, &key(SECRET), &validation).unwrap();
    assert_eq!(read["exp"].as_i64().unwrap() - read["iat"].as_i64().unwrap(), 900);
    assert!((NumericDate::now().seconds() - read["iat"].as_i64().unwrap()).abs() < 60);
    assert_eq!(read["a"], json!({ "y": 1, "b": [1.5, null, true] }));
}

#[test]
fn claims_are_signed_as_they_were_given() {
    for written in [
        r#"{"z":1,"a":{"y":1,"b":[1.5,null,true]},"m":"\u0041\/"}"#,
        r#"{"pi":0.1234567890123456789,"big":12345678901234567890123,"e":1E+2,"z":-0.0,"t":1.50}"#,
        "{ \"exp\" : 1300819380.0 ,\n\t\"é\": \"\u{202e}\" }",
        "{}",
    ] {
        let path = file("claims", format!("\u{feff}  {written}\r\n"));
        let ran = kippu(&[&SIGN[..], &["--json", &path]].concat(), "");
        assert_eq!(ran.stderr.contains("no exp"), !written.contains("exp"), "{}", ran.stderr);
        let said: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(payload(said["token"].as_str().unwrap()), written);

        // The members that an option adds are at the end.
        if written.contains("exp") {
            continue;
        }
        let ran = kippu(&[&SIGN[..], &["--expires-in", "15m"]].concat(), written);
        let payload = payload(&ran.stdout);
        let (before, added) = payload.split_once(r#""iat":"#).unwrap();
        assert_eq!(format!("{}}}", before.trim_end_matches(',')), written);
        let iat: i64 = added.split(',').next().unwrap().parse().unwrap();
        assert_eq!(added, format!(r#"{iat},"exp":{}}}"#, iat + 900));
    }
}

#[test]
fn claims_that_no_recipient_would_take_are_refused() {
    for (claims, reason) in [
        (r#"{"exp":1,"exp":2}"#, "the member \"exp\" occurs twice"),
        (r#"{"a":{"b":1,"b":1}}"#, "the member \"b\" occurs twice"),
        (r#"{"exp":"soon"}"#, "the claim exp is not"),
        (r#"{"exp":1,"sub":null}"#, "the claim sub is null: leave it out"),
        (r#"{"exp":1,"x":1e400}"#, "a number is beyond the range of a double"),
        (r#"{"exp":1,"x":"\ud800"}"#, "half of a surrogate pair"),
        ("[]", "not a JSON object"),
        ("{", "the claims are not JSON"),
        (r#"{"exp":1} {}"#, "the claims are not JSON"),
        ("", "the claims are not JSON"),
    ] {
        let ran = kippu(&SIGN, claims);
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{claims}");
        assert!(ran.stderr.contains(reason), "{}", ran.stderr);
    }
    for name in ["exp", "iat"] {
        let ran =
            kippu(&[&SIGN[..], &["--expires-in", "15m"]].concat(), &format!(r#"{{"{name}":1}}"#));
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""));
        assert!(ran.stderr.contains(&format!("the claims have {name} already")), "{}", ran.stderr);
    }
}

/// A JWK of [`OTHER_SECRET`] with the given members.
fn other(members: &str) -> String {
    format!(r#"{{"kty":"oct","alg":"HS256","k":"{OTHER_SECRET}"{members}}}"#)
}

#[test]
fn the_key_that_signs_is_the_one_that_the_library_would_sign_with() {
    let retired = other(r#","kid":"2026-10","key_ops":["verify"]"#);
    let path = file("retired-first", format!(r#"{{"keys":[{retired},{}]}}"#, jwk(SECRET)));
    let sign = ["sign", "--expires-in", "1h", "--key-file", &path];
    let token = kippu(&sign, "{}").stdout;
    decode::<Value>(token.trim_end(), &key(SECRET), &Validation::new()).unwrap();

    // The retired key verifies still.
    let old = Key::from_jwk(&kippu::Jwk::from_json(&retired).unwrap()).unwrap();
    let old = kippu::encode(&json!({ "exp": NumericDate::in_seconds(60) }), &old).unwrap();
    assert_eq!(kippu(&["verify", "--key-file", &path], &old).status, 0);

    let ran = kippu(&[&sign[..], &["--kid", "2026-10"]].concat(), "{}");
    assert_eq!((ran.status, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("sign with the current key"), "{}", ran.stderr);
}

#[test]
fn a_key_that_may_not_sign_is_an_error_that_says_what_to_do() {
    let named = other(r#","kid":"a","key_ops":["verify"]"#);
    let nameless = other(r#","key_ops":["verify"]"#);
    for text in [named.clone(), nameless, format!(r#"{{"keys":[{named}]}}"#)] {
        let path = file("verify-only", text);
        let ran = kippu(&["sign", "--expires-in", "1h", "--key-file", &path], "{}");
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""));
        assert!(ran.stderr.contains("no key may sign"), "{}", ran.stderr);
        assert!(ran.stderr.contains("kippu keygen"), "{}", ran.stderr);
    }
}

#[test]
fn which_of_several_keys_signs_is_not_guessed() {
    let second = other(r#","kid":"2026-12""#);
    let path = file("several", format!(r#"{{"keys":[{second},{}]}}"#, jwk(SECRET)));
    let sign = ["sign", "--expires-in", "1h", "--key-file", &path];
    let ran = kippu(&sign, "{}");
    assert_eq!((ran.status, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("\"2026-12\" or \"2026-11\""), "{}", ran.stderr);
    assert!(ran.stderr.contains("--kid"), "{}", ran.stderr);

    let token = kippu(&[&sign[..], &["--kid", "2026-12"]].concat(), "{}").stdout;
    let keys = KeySet::new(key(OTHER_SECRET).with_kid("2026-12"));
    decode::<Value>(token.trim_end(), &keys, &Validation::new()).unwrap();

    let ran = kippu(&[&sign[..], &["--kid", "2027-01"]].concat(), "{}");
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("compare --kid with the kids of the set"), "{}", ran.stderr);
}

#[test]
fn a_key_without_a_kid_signs_with_none_or_the_one_that_is_given() {
    let path = file("nameless", other(""));
    let sign = ["sign", "--expires-in", "1h", "--key-file", &path];
    for (arguments, kid) in [(&[][..], None), (&["--kid", "7"], Some("7"))] {
        let token = kippu(&[&sign[..], arguments].concat(), "{}").stdout;
        let header = kippu::unverified_header(token.trim_end(), 16_384).unwrap();
        assert_eq!(header.kid.as_deref(), kid);
        let ran = kippu(&["verify", "--key-file", &path], &token);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    }
    let named = file("named", other(r#","kid":"2026-12""#));
    let ran = kippu(&["sign", "--key-file", &named, "--kid", "7"], "{}");
    assert_eq!(ran.status, 2, "the key has another kid");
}
