//! `verify` and `explain`: what is accepted, what is refused and why, what is shown.

use kippu::encode;
use serde_json::{Value, json};

use super::{KEY, OTHER_SECRET, claims, file, key, kippu, signed, token, with_key};

#[test]
fn verify_prints_the_claims_of_an_accepted_token() {
    let ran = kippu(&with_key(&["verify"]), &format!("{}\n", token()));
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert_eq!(
        ran.stdout,
        "exp  1300819380  (2011-03-22T18:43:00Z, in 60 s)\n\
         iss  \"https://auth.example\"\n\
         sub  \"bell \\u0007, red \\u001b[31m, back \\u202e\"\n"
    );
    let path = file("token", format!("{}\r\n", token()));
    let by_option = token();
    for (from, input) in [
        (&["--json", path.as_str()][..], ""),
        (&["--json", "--token", &by_option], ""),
        (&["--json", "-"], &format!("\u{feff}{}", token())),
    ] {
        let ran = kippu(&[&with_key(&["verify"]), from].concat(), input);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap(), claims());
        assert!(ran.stdout.is_ascii());
    }
}

#[test]
fn the_payload_is_shown_as_it_is_spelled() {
    let spelled = r#"{"z":0.1234567890123456789,"a":12345678901234567890123,"e":1E2,"s":"\u0041\/","n":[1.50,-0.0]}"#;
    let token = signed(r#"{"alg":"HS256","x":1.000}"#, spelled);
    let verify = with_key(&["verify", "--expiry-optional"]);
    let ran = kippu(&[&verify[..], &["--json"]].concat(), &token);
    assert_eq!((ran.status, ran.stdout), (0, format!("{spelled}\n")));
    assert_eq!(
        kippu(&verify, &token).stdout,
        "z  0.1234567890123456789\na  12345678901234567890123\ne  1E2\ns  \"\\u0041\\/\"\nn  [1.50,-0.0]\n"
    );
    let explain = with_key(&["explain", "--expiry-optional"]);
    let text = kippu(&explain, &token).stdout;
    for line in ["  x  1.000\n", "  z  0.1234567890123456789\n", "  n  [1.50,-0.0]\n"] {
        assert!(text.contains(line), "{text}");
    }
    let json = kippu(&[&explain[..], &["--json"]].concat(), &token).stdout;
    let parts = format!(r#""header":{{"alg":"HS256","x":1.000}},"claims":{spelled},"checks":["#);
    assert!(json.contains(&parts), "{json}");

    // In one line, whatever white space the issuer has written.
    let token = signed("{\"alg\":\r\n\"HS256\"}", "{\n\t\"exp\": 1300819380\r\n}\n");
    let ran = kippu(&with_key(&["verify", "--json"]), &token);
    assert_eq!(ran.stdout, "{  \"exp\": 1300819380  }\n");

    // A number that no double holds, and a repeated member, are shown and refused.
    let token = signed(r#"{"alg":"HS256"}"#, r#"{"exp":1300819380,"exp":1e400}"#);
    let ran = kippu(&explain, &token);
    assert_eq!(ran.status, 1);
    assert!(ran.stdout.contains("  exp  1e400\n"), "{}", ran.stdout);
}

#[test]
fn verify_says_why_a_token_is_refused() {
    for (arguments, reason) in [
        (&["--issuer", "https://other.example"][..], "iss is \"https://auth.example\", expected"),
        (&["--audience", "api"], "the claim aud is missing"),
        (&["--subject", "me"], "sub is \"bell \\u{7}, red \\u{1b}[31m, back \\u{202e}\""),
        (&["--require", "jti"], "the claim jti is missing"),
        (&["--typ", "at+jwt"], "the type of the token is \"JWT\""),
        (&["--require", "aud"], "the claim aud is missing"),
        (&["--max-age", "5m"], "the claim iat is missing"),
        (&["--max-length", "100"], "the token has 227 bytes, more than 100"),
    ] {
        let ran = kippu(&[&with_key(&["verify"]), arguments].concat(), &token());
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{arguments:?}");
        assert!(ran.stderr.starts_with(&format!("kippu: refused: {reason}")), "{}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 2, "no advice: {}", ran.stderr);
        let option = arguments[0];
        assert!(ran.stderr.contains(option), "the advice does not name {option}: {}", ran.stderr);
    }
    let late = ["verify", "--key-env", "KIPPU_TEST_KEY", "--at", "1300819385"];
    assert_eq!(kippu(&late, &token()).status, 0);
    let ran = kippu(&[&late[..], &["--leeway", "5s"]].concat(), &token());
    assert_eq!(ran.status, 1);
    assert_eq!(
        ran.stderr,
        "kippu: refused: expired: exp 1300819380, now 1300819385, leeway 5s\n       \
         get a new token; if this one is new, compare the clocks of issuer and recipient; --at tries another time\n"
    );
    assert_eq!(kippu(&["verify", "--key-env", "KIPPU_TEST_KEY"], &token()).status, 1);
}

#[test]
fn an_option_accepts_what_is_refused_without_it() {
    let tokens = [
        (json!({ "aud": ["web", "api"], "exp": 1_300_819_380 }), &["--audience", "api"][..]),
        (json!({ "aud": ["web", "api"], "exp": 1_300_819_380 }), &["--any-audience"]),
        (json!({ "sub": "alice" }), &["--expiry-optional"]),
        (json!({ "sub": "alice", "exp": 1_300_819_000 }), &["--leeway", "10m"]),
        (json!({ "exp": 1_300_819_380, "x": "x".repeat(20_000) }), &["--max-length", "50000"]),
        (json!({ "exp": 1_300_819_380, "sub": 1 }), &["--numeric-subject"]),
        (json!({ "exp": 1_300_819_380, "nbf": null }), &["--null-means-absent"]),
    ];
    for (claims, option) in tokens {
        let token = signed(r#"{"alg":"HS256"}"#, claims.to_string());
        assert_eq!(kippu(&with_key(&["verify"]), &token).status, 1, "{option:?}");
        let ran = kippu(&[&with_key(&["verify"]), option].concat(), &token);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{option:?}");
    }
    // Each of several issuers may have written it.
    let issuers = ["--issuer", "https://other.example", "--issuer", "https://auth.example"];
    assert_eq!(kippu(&[&with_key(&["verify"]), &issuers[..]].concat(), &token()).status, 0);
}

#[test]
fn explain_shows_every_part_and_every_check() {
    let ran = kippu(&with_key(&["explain", "--audience", "api"]), &token());
    assert_eq!((ran.status, ran.stderr.as_str()), (1, ""));
    let expected = "\
header
  alg  \"HS256\"
  typ  \"JWT\"
  kid  \"2026-11\"

claims
  exp  1300819380  (2011-03-22T18:43:00Z, in 60 s)
  iss  \"https://auth.example\"
  sub  \"bell \\u0007, red \\u001b[31m, back \\u202e\"

checks
  passed   length
  passed   segments
  passed   header
  passed   crit and b64
  passed   typ
  passed   kid
  passed   alg
  passed   signature
  passed   payload
  passed   clock
  passed   time of the key
  passed   exp
  absent   nbf
  absent   iat
  passed   iss
  FAILED   aud: the claim aud is missing
           -> have the issuer write the claim, or leave --audience or --require out
  passed   sub
  absent   jti

refused: 1 check failed
";
    assert_eq!(ran.stdout.split_once("\n\n").unwrap().1, expected);

    let ran = kippu(&with_key(&["explain"]), &token());
    assert_eq!(ran.status, 0);
    assert!(ran.stdout.ends_with("\n\naccepted\n"), "{}", ran.stdout);
}

#[test]
fn claims_under_a_wrong_signature_are_marked_on_every_line() {
    let forged = encode(&claims(), &key(OTHER_SECRET)).unwrap();
    let ran = kippu(&with_key(&["explain"]), &forged);
    assert_eq!(ran.status, 1);
    let shown: Vec<_> =
        ran.stdout.lines().skip(2).take_while(|line| !line.starts_with("checks")).collect();
    assert_eq!(shown.iter().filter(|line| line.starts_with("  UNVERIFIED  ")).count(), 6);
    assert!(shown.iter().all(|line| line.is_empty() || line.contains("UNVERIFIED")), "{shown:?}");
    assert!(ran.stdout.contains("FAILED   signature: the signature is wrong\n"));

    let ran = kippu(&with_key(&["explain", "--json"]), &forged);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["accepted"], false);
    assert_eq!((report.get("claims"), report.get("header")), (None, None));
    assert_eq!(report["unverified_claims"], claims());
}

#[test]
fn explain_gives_json_with_every_check_in_order() {
    let required = ["explain", "--json", "--require", "jti", "--require", "tenant"];
    let ran = kippu(&with_key(&required), &token());
    assert_eq!(ran.status, 1);
    assert!(ran.stdout.is_ascii());
    assert_eq!(ran.stdout.lines().count(), 1);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["accepted"], false);
    assert_eq!(report["header"], json!({ "alg": "HS256", "typ": "JWT", "kid": "2026-11" }));
    assert_eq!(report["claims"], claims());
    let checks = report["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 19);
    assert_eq!(checks[0], json!({ "check": "length", "outcome": "passed" }));
    assert_eq!(checks[15], json!({ "check": "aud", "outcome": "absent" }));
    // One required claim after the other.
    for (check, claim) in [(17, "jti"), (18, "tenant")] {
        assert_eq!(checks[check]["check"], claim);
        assert_eq!(checks[check]["outcome"], "failed");
        assert_eq!(checks[check]["reason"], format!("the claim {claim} is missing"));
        assert_eq!(
            checks[check]["advice"],
            "have the issuer write the claim, or leave --require out"
        );
    }
}

/// RFC 7519 §5.2 lets a token be the payload of another.
#[test]
fn a_payload_that_is_not_claims_is_refused_and_not_called_a_breach() {
    let nested = signed(r#"{"alg":"HS256","cty":"JWT"}"#, token());
    let ran = kippu(&with_key(&["explain"]), &nested);
    assert_eq!(ran.status, 1);
    assert!(ran.stdout.contains("the payload may be a token itself"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("RFC"), "{}", ran.stdout);
}

/// RFC 7515 and RFC 7519 make all of these optional, or leave them to the application.
#[test]
fn what_the_rfcs_leave_open_is_accepted() {
    for (header, payload) in [
        (r#"{"alg":"HS256"}"#, r#"{"exp":1300819380}"#),
        (
            r#"{"alg":"HS256","typ":"secevent+jwt","kid":"2026-11","x":[1]}"#,
            r#"{"exp":1300819380}"#,
        ),
        (
            r#"{"alg":"HS256","jku":"https://evil.example"}"#,
            r#"{"exp":253402300799,"x":{"y":null}}"#,
        ),
        (r#"{"typ":"JWT","alg":"HS256"}"#, r#"{"exp":1300819380.5,"nbf":-1,"role":["admin"]}"#),
    ] {
        let ran = kippu(&[&["explain"], &KEY[..]].concat(), &signed(header, payload));
        assert_eq!(ran.status, 0, "{header} {payload}: {}", ran.stdout);
        assert!(!ran.stdout.contains("FAILED") && !ran.stdout.contains("->"), "{}", ran.stdout);
    }
}
