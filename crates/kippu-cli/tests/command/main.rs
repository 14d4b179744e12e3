//! The command `jwt` as a process: what it prints, what it exits with, and what it never shows.
#![allow(
    clippy::indexing_slicing,
    clippy::items_after_statements,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use kippu::{Jwk, Key, KeySet, NumericDate, Validation, base64url, decode, encode};
use serde_json::{Value, json};

const SECRET: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
const OTHER_SECRET: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI";
/// A minute before `exp` of [`claims`].
const NOW: &str = "1300819320";

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_jwt"))
}

struct Ran {
    status: i32,
    stdout: String,
    stderr: String,
}

/// Runs `jwt` with `input` on its standard input. No output of any run may hold a secret, unless it is the key
/// that was asked for.
fn jwt(arguments: &[&str], input: &str) -> Ran {
    let ran =
        run(Command::new(program()).args(arguments).env("KIPPU_TEST_KEY", jwk(SECRET)), input);
    for secret in [SECRET, OTHER_SECRET] {
        assert!(!ran.stdout.contains(secret), "{}", ran.stdout);
        assert!(!ran.stderr.contains(secret), "{}", ran.stderr);
    }
    ran
}

fn run(command: &mut Command, input: &str) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments reads nothing, so that the pipe may be closed.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        status: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A folder for one test, empty.
fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("jwt_command").join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn jwk(secret: &str) -> String {
    format!(r#"{{"kty":"oct","alg":"HS256","kid":"2026-11","k":"{secret}"}}"#)
}

fn key(secret: &str) -> Key {
    Key::from_jwk(&Jwk::from_json(&jwk(secret)).unwrap()).unwrap()
}

fn claims() -> Value {
    json!({ "exp": 1_300_819_380, "iss": "https://auth.example", "sub": "bell \u{7}, red \u{1b}[31m, back \u{202e}" })
}

fn token() -> String {
    encode(&claims(), &key(SECRET)).unwrap()
}

const KEY: [&str; 4] = ["--key-env", "KIPPU_TEST_KEY", "--at", NOW];

fn with_key<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [arguments, &KEY[..]].concat()
}

#[test]
fn verify_prints_the_claims_of_an_accepted_token() {
    let ran = jwt(&with_key(&["verify"]), &format!("{}\n", token()));
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert_eq!(
        ran.stdout,
        "exp  1300819380  (2011-03-22T18:43:00Z, in 60 s)\n\
         iss  \"https://auth.example\"\n\
         sub  \"bell \\u0007, red \\u001b[31m, back \\u202e\"\n"
    );
    let ran = jwt(&with_key(&["verify", "--json", &token()]), "");
    assert_eq!(ran.status, 0);
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap(), claims());
    assert!(ran.stdout.is_ascii());
}

#[test]
fn verify_tells_why_a_token_is_refused() {
    for (arguments, reason) in [
        (&["--issuer", "https://other.example"][..], "iss is \"https://auth.example\", expected"),
        (&["--audience", "api"], "the claim aud is missing"),
        (&["--subject", "me"], "sub is \"bell \\u{7}, red \\u{1b}[31m, back \\u{202e}\""),
        (&["--require", "jti"], "the claim jti is missing"),
        (&["--typ", "at+jwt"], "the type of the token is \"JWT\""),
        (&["--max-age", "5m"], "the claim iat is missing"),
    ] {
        let ran = jwt(&[&with_key(&["verify"]), arguments].concat(), &token());
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{arguments:?}");
        assert!(ran.stderr.starts_with(&format!("jwt: refused: {reason}")), "{}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 2, "no advice: {}", ran.stderr);
    }
    let late = ["verify", "--key-env", "KIPPU_TEST_KEY", "--at", "1300819385"];
    assert_eq!(jwt(&late, &token()).status, 0);
    let ran = jwt(&[&late[..], &["--leeway", "5s"]].concat(), &token());
    assert_eq!(ran.status, 1);
    assert_eq!(
        ran.stderr,
        "jwt: refused: expired: exp 1300819380, now 1300819385, leeway 5s\n     \
         get a new token; if this one is new, compare the clocks of issuer and recipient\n"
    );
    assert_eq!(jwt(&["verify", "--key-env", "KIPPU_TEST_KEY"], &token()).status, 1);

    let aimed = encode(&json!({ "aud": ["web", "api"] }), &key(SECRET)).unwrap();
    for (arguments, status) in [
        (&["--expiry-optional", "--audience", "api"][..], 0),
        (&["--expiry-optional", "--any-audience"], 0),
        (&["--expiry-optional"], 1),
        (&["--any-audience"], 1),
    ] {
        assert_eq!(jwt(&[&with_key(&["verify"]), arguments].concat(), &aimed).status, status);
    }
}

#[test]
fn explain_shows_every_part_and_every_check() {
    let ran = jwt(&with_key(&["explain", "--audience", "api", &token()]), "");
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
           -> have the issuer write the claim, or do not expect it of these tokens
  passed   sub
  absent   jti

refused: 1 check failed
";
    assert_eq!(ran.stdout.split_once("\n\n").unwrap().1, expected);

    let ran = jwt(&with_key(&["explain"]), &token());
    assert_eq!(ran.status, 0);
    assert!(ran.stdout.ends_with("\n\naccepted\n"), "{}", ran.stdout);
}

#[test]
fn claims_under_a_wrong_signature_are_marked_on_every_line() {
    let forged = encode(&claims(), &key(OTHER_SECRET)).unwrap();
    let ran = jwt(&with_key(&["explain"]), &forged);
    assert_eq!(ran.status, 1);
    let shown: Vec<_> =
        ran.stdout.lines().skip(2).take_while(|line| !line.starts_with("checks")).collect();
    assert_eq!(shown.iter().filter(|line| line.starts_with("  UNVERIFIED  ")).count(), 6);
    assert!(shown.iter().all(|line| line.is_empty() || line.contains("UNVERIFIED")), "{shown:?}");
    assert!(ran.stdout.contains("FAILED   signature: the signature is wrong\n"));

    let ran = jwt(&with_key(&["explain", "--json"]), &forged);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["accepted"], false);
    assert_eq!((report.get("claims"), report.get("header")), (None, None));
    assert_eq!(report["unverified_claims"], claims());
}

#[test]
fn explain_gives_json_with_every_check_in_order() {
    let ran =
        jwt(&with_key(&["explain", "--json", "--require", "jti", "--require", "tenant"]), &token());
    assert_eq!(ran.status, 1);
    assert!(ran.stdout.is_ascii());
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
        assert!(checks[check]["advice"].is_string());
    }
}

#[test]
fn whatever_a_token_is_it_is_shown_without_control_characters() {
    let evil = "\u{1b}]0;x\u{7}\u{9b}\u{202e}\n";
    let hmac = kippu::hmac::Hmac::new(kippu::Algorithm::Hs256, &[1; 32]);
    let signed = |header: Value, payload: &str| {
        let input = format!(
            "{}.{}",
            base64url::encode(header.to_string().as_bytes()),
            base64url::encode(payload.as_bytes())
        );
        let tag = hmac.tag(input.as_bytes());
        format!("{input}.{}", base64url::encode(tag.as_ref()))
    };
    let payload = json!({ evil: evil, "exp": evil }).to_string();
    for token in [
        signed(json!({ "alg": "HS256", evil: [evil] }), &payload),
        signed(json!({ "alg": evil, "kid": evil, "typ": evil }), &payload),
        signed(json!({ "alg": "HS256" }), evil),
        signed(json!({ "alg": "HS256" }), r#"{"a":1,"a":2,"exp":1e999}"#),
        evil.to_owned(),
        String::new(),
        ".".repeat(100_000),
        "a".repeat(2_000_000),
    ] {
        for arguments in [["explain"].as_slice(), &["explain", "--json"], &["verify"]] {
            let ran = jwt(&with_key(arguments), &token);
            assert_eq!(ran.status, 1, "{}", ran.stderr);
            for character in ran.stdout.chars().chain(ran.stderr.chars()) {
                assert!(!character.is_control() || character == '\n', "{character:?}");
                assert_ne!(character, '\u{202e}');
            }
            assert!(ran.stdout.len() < 10_000);
        }
    }
}

#[test]
fn sign_makes_a_token_that_verifies() {
    let written = r#"{"z":1,"iss":"https://auth.example","a":{"y":1,"b":[1.5,null,true]}}"#;
    let sign = ["sign", "--key-env", "KIPPU_TEST_KEY"];
    let ran = jwt(&[&sign[..], &["--expires-in", "15m", "--typ", "at+jwt"]].concat(), written);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    let token = ran.stdout.trim_end();
    let validation = Validation::new().issuer("https://auth.example").typ("at+jwt");
    let read: Value = decode(token, &key(SECRET), &validation).unwrap();
    assert_eq!(read["exp"].as_i64().unwrap() - read["iat"].as_i64().unwrap(), 900);
    assert!((NumericDate::now().seconds() - read["iat"].as_i64().unwrap()).abs() < 60);
    assert_eq!(read["a"], json!({ "y": 1, "b": [1.5, null, true] }));

    // As they were written, in their order.
    let path = folder("sign").join("claims.json");
    fs::write(&path, written).unwrap();
    let ran = jwt(&[&sign[..], &["--json", path.to_str().unwrap()]].concat(), "");
    assert!(ran.stderr.contains("no exp"), "{}", ran.stderr);
    let said: Value = serde_json::from_str(&ran.stdout).unwrap();
    let payload = said["token"].as_str().unwrap().split('.').nth(1).unwrap().to_owned();
    assert_eq!(base64url::decode(payload).unwrap(), written.as_bytes());

    for (claims, reason) in [
        (r#"{"exp":1,"exp":2}"#, "the member \"exp\" stands twice"),
        (r#"{"a":{"b":1,"b":1}}"#, "the member \"b\" stands twice"),
        (r#"{"exp":"soon"}"#, "the claim exp is not"),
        ("[]", "not a JSON object"),
        ("{", "the claims are no JSON"),
    ] {
        let ran = jwt(&sign, claims);
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{claims}");
        assert!(ran.stderr.contains(reason), "{}", ran.stderr);
    }
    let ran = jwt(&[&sign[..], &["--expires-in", "15m"]].concat(), r#"{"exp":1}"#);
    assert_eq!(ran.status, 2, "two ends");
}

#[test]
fn keygen_writes_a_new_file_for_its_owner_alone() {
    let path = folder("keygen").join("key.jwk");
    let keygen = ["keygen", "--alg", "HS512", "--kid", "mine", "--out", path.to_str().unwrap()];
    let ran = jwt(&keygen, "");
    assert_eq!((ran.status, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let first = fs::read_to_string(&path).unwrap();
    let jwk = Jwk::from_json(&first).unwrap();
    assert_eq!((jwk.algorithm(), jwk.kid()), (kippu::Algorithm::Hs512, Some("mine")));

    assert_eq!(jwt(&keygen, "").status, 2);
    assert_eq!(fs::read_to_string(&path).unwrap(), first, "never overwritten");

    let ran = jwt(&["keygen"], "");
    assert_eq!(Jwk::from_json(&ran.stdout).unwrap().algorithm(), kippu::Algorithm::Hs256);
    assert_ne!(ran.stdout, jwt(&["keygen"], "").stdout);

    let signed =
        jwt(&["sign", "--key-file", path.to_str().unwrap(), "--expires-in", "1h"], "{}").stdout;
    let verify = || jwt(&["verify", "--key-file", path.to_str().unwrap()], &signed);
    assert_eq!((verify().status, &*verify().stderr), (0, ""));
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(&path, mode).unwrap();
        assert_eq!(verify().status, 0);
        assert!(verify().stderr.contains("chmod 600"), "{}", verify().stderr);
    }
}

#[test]
fn the_key_of_a_set_is_found_by_its_kid() {
    let path = folder("set").join("set.json");
    let other = jwk(OTHER_SECRET).replace("2026-11", "2026-12");
    fs::write(&path, format!(r#"{{"keys":[{other},{}]}}"#, jwk(SECRET))).unwrap();
    let set = ["--key-file", path.to_str().unwrap()];
    assert_eq!(jwt(&[&["verify", "--at", NOW], &set[..]].concat(), &token()).status, 0);
    // The first one signs.
    let signed = jwt(&[&["sign", "--expires-in", "1h"], &set[..]].concat(), "{}").stdout;
    let keys = KeySet::new(key(OTHER_SECRET).with_kid("2026-12"));
    decode::<Value>(signed.trim_end(), &keys, &Validation::new()).unwrap();

    for text in ["", "{}", r#"{"keys":[]}"#, SECRET, &format!("\"{SECRET}\""), &jwk(SECRET)[1..]] {
        fs::write(&path, text).unwrap();
        let ran = jwt(&[&["verify"], &set[..]].concat(), &token());
        assert_eq!(ran.status, 2, "{text}");
        assert!(ran.stderr.contains("jwt: no key: "), "{}", ran.stderr);
    }
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
    let (attached, inline) = (format!("--secret={SECRET}"), jwk(SECRET));
    for arguments in [
        &["verify", "--secret", SECRET][..],
        &["verify", &attached],
        &["sign", "--key", SECRET],
        &["explain", "-k", SECRET],
        &["explain", "--jwk", &inline],
        &["explain", "--key-file", &inline],
        &["explain", "--key-env", &inline],
        &["explain", &inline],
        &["keygen", "--secret", SECRET],
        &["--secret", SECRET, "verify"],
        &["verify", "--hmac-key", SECRET],
        &["verify", "--jwt-secret", SECRET],
        &["sign", "-S", SECRET],
    ] {
        let ran = jwt(arguments, "");
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(ran.stderr.contains("process list"), "{}", ran.stderr);
        assert!(ran.stderr.contains("--key-file"), "{}", ran.stderr);
    }
    let ran = jwt(&["sign", r#"{"sub":"alice"}"#], "");
    assert_eq!((ran.status, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("claims come from a file"), "{}", ran.stderr);
    // In places where it cannot be told from what belongs there: `jwt` sees that it is not repeated.
    for arguments in [
        &["verify", "--key-file", SECRET][..],
        &["verify", "--key-env", SECRET],
        &["verify", "--alg", SECRET],
        &["verify", "--leeway", SECRET],
        &["sign", "--key-env", "KIPPU_TEST_KEY", SECRET],
        &["sign", SECRET, SECRET],
        &["keygen", SECRET],
        &["keygen", "--alg", SECRET],
        &[SECRET],
    ] {
        let ran = jwt(arguments, "");
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(!ran.stderr.is_empty());
    }
}

#[test]
fn wrong_use_exits_with_2_and_help_with_0() {
    for arguments in [
        &["frobnicate"][..],
        &["verify"],
        &["verify", "--key-env", "KIPPU_TEST_KEY", "--leeway", "11m"],
        &["verify", "--key-env", "KIPPU_TEST_KEY", "--leeway", "60"],
        &["verify", "--key-env", "KIPPU_TEST_KEY", "--expires-in", "1h"],
        &["verify", "--key-env", "KIPPU_TEST_KEY", "--audience", "a", "--any-audience"],
        &["verify", "--key-env", "KIPPU_TEST_KEY", "--key-file", "x"],
        &["verify", "--key-env", "KIPPU_TEST_KEY", "--json=1"],
        &["sign", "--key-env", "KIPPU_TEST_KEY", "no-such-file.json"],
        &["keygen", "--alg", "none"],
        &["keygen", "--kid"],
    ] {
        let ran = jwt(arguments, &token());
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(ran.stderr.starts_with("jwt: "), "{}", ran.stderr);
    }
    for arguments in [&[][..], &["help"], &["--help"], &["verify", "--help"]] {
        let ran = jwt(arguments, "");
        assert_eq!(ran.status, 0);
        assert!(ran.stdout.contains("jwt keygen"));
    }
}

/// util-linux' `script` lends a command a terminal.
#[cfg(target_os = "linux")]
#[test]
fn colours_are_for_a_terminal_that_wants_them() {
    assert!(!jwt(&with_key(&["explain"]), &token()).stdout.contains('\u{1b}'), "piped");

    let line = format!("{} explain {} {}", program().display(), token(), KEY.join(" "));
    let on_terminal = |variable: &str, value: &str| {
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).env("KIPPU_TEST_KEY", jwk(SECRET));
        command.env_remove("NO_COLOR").env("TERM", "xterm").env(variable, value);
        let ran = run(&mut command, "");
        assert!(ran.stdout.contains("accepted"), "{}{}", ran.stdout, ran.stderr);
        ran.stdout.contains('\u{1b}')
    };
    assert!(on_terminal("TERM", "xterm"));
    assert!(on_terminal("NO_COLOR", ""), "empty is as if it were not set");
    assert!(!on_terminal("NO_COLOR", "1"));
    assert!(!on_terminal("TERM", "dumb"));
}

#[test]
fn a_day_is_told_as_the_calendar_has_it() {
    for (seconds, told) in [
        ("0", "1970-01-01T00:00:00Z"),
        ("-1", "1969-12-31T23:59:59Z"),
        ("951782400", "2000-02-29T00:00:00Z"),
        ("951868799.9", "2000-02-29T23:59:59Z"),
        ("4107542400", "2100-03-01T00:00:00Z"),
        ("1709164800", "2024-02-29T00:00:00Z"),
        ("1735689599", "2024-12-31T23:59:59Z"),
        ("-62167219200", "0000-01-01T00:00:00Z"),
        ("253402300799", "9999-12-31T23:59:59Z"),
    ] {
        let claims: Value = serde_json::from_str(&format!(r#"{{"exp":{seconds}}}"#)).unwrap();
        let token = encode(&claims, &key(SECRET)).unwrap();
        let ran = jwt(&with_key(&["explain"]), &token);
        assert!(ran.stdout.contains(&format!("  exp  {seconds}  ({told}, ")), "{}", ran.stdout);
    }
    for seconds in [253_402_300_800_i64, -62_167_219_201, i64::MAX, i64::MIN] {
        let token = encode(&json!({ "exp": seconds }), &key(SECRET)).unwrap();
        let ran = jwt(&with_key(&["explain"]), &token);
        assert!(ran.stdout.contains(&format!("  exp  {seconds}\n")), "{}", ran.stdout);
    }
}
