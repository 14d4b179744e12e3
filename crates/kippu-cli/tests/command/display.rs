//! Output on a terminal: no control characters from a token, colours where they are wanted, dates.

#[cfg(target_os = "linux")]
use std::process::Command;

use kippu::encode;
use serde_json::{Value, json};

#[cfg(target_os = "linux")]
use super::{KEY, PROGRAM, jwk, run};
use super::{SECRET, key, kippu, signed, token, with_key};

#[test]
fn a_token_of_any_content_is_shown_without_control_characters() {
    let evil = "\u{1b}]0;x\u{7}\u{9b}\u{202e}\n";
    let payload = json!({ evil: evil, "exp": evil }).to_string();
    for token in [
        signed(&json!({ "alg": "HS256", evil: [evil] }).to_string(), &payload),
        signed(&json!({ "alg": evil, "kid": evil, "typ": evil }).to_string(), &payload),
        signed(r#"{"alg":"HS256"}"#, evil),
        signed(r#"{"alg":"HS256"}"#, r#"{"a":1,"a":2,"exp":1e999}"#),
        signed("{\r\"alg\":\"HS256\"\r}", "{\r\"exp\":1\r}"),
        evil.to_owned(),
        String::new(),
        ".".repeat(100_000),
        "a".repeat(2_000_000),
    ] {
        for arguments in [["explain"].as_slice(), &["explain", "--json"], &["verify"]] {
            let ran = kippu(&with_key(arguments), &token);
            assert_eq!(ran.status, 1, "{}", ran.stderr);
            for character in ran.stdout.chars().chain(ran.stderr.chars()) {
                assert!(!character.is_control() || character == '\n', "{character:?}");
                assert_ne!(character, '\u{202e}');
            }
            assert!(ran.stdout.len() < 10_000);
        }
    }
}

/// util-linux' `script` lends a command a terminal.
#[cfg(target_os = "linux")]
#[test]
fn colours_are_for_a_terminal_that_wants_them() {
    assert!(!kippu(&with_key(&["explain"]), &token()).stdout.contains('\u{1b}'), "piped");

    let line = format!("{PROGRAM} explain --token {} {}", token(), KEY.join(" "));
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
fn a_time_is_shown_as_a_date_of_the_calendar() {
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
        let ran = kippu(&with_key(&["explain"]), &token);
        assert!(ran.stdout.contains(&format!("  exp  {seconds}  ({told}, ")), "{}", ran.stdout);
    }
    for seconds in [253_402_300_800_i64, -62_167_219_201, i64::MAX, i64::MIN] {
        let token = encode(&json!({ "exp": seconds }), &key(SECRET)).unwrap();
        let ran = kippu(&with_key(&["explain"]), &token);
        assert!(ran.stdout.contains(&format!("  exp  {seconds}\n")), "{}", ran.stdout);
    }
}
