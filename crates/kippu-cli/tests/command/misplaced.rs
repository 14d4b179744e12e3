//! Something given in the place of something else: a secret on the command line, a JWE for a token,
//! wrong use.

use super::{SECRET, file, jwk, kippu, token, with_key};

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
    let (attached, inline) = (format!("--secret={SECRET}"), jwk(SECRET));
    let joined = format!("--key-file={inline}");
    for arguments in [
        &["verify", "--secret", SECRET][..],
        &["verify", &attached],
        &["sign", "--key", SECRET],
        &["explain", "-k", SECRET],
        &["explain", "--jwk", &inline],
        &["explain", "--key-file", &inline],
        &["explain", &joined],
        &["explain", "--key-env", &inline],
        &["explain", &inline],
        &["keygen", "--secret", SECRET],
        &["--secret", SECRET, "verify"],
        &["verify", "--hmac-key", SECRET],
        &["verify", "--jwt-secret", SECRET],
        &["sign", "-S", SECRET],
    ] {
        let ran = kippu(arguments, "");
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(ran.stderr.contains("list of processes"), "{}", ran.stderr);
        assert!(ran.stderr.contains("--key-file"), "{}", ran.stderr);
    }
    // In places where it looks like what belongs there: `kippu` asserts that it is not repeated.
    let (long, short) = (format!("--{SECRET}"), format!("-{SECRET}"));
    for arguments in [
        &["verify", "--key-file", SECRET][..],
        &["verify", "--key-env", SECRET],
        &["verify", "--alg", SECRET],
        &["verify", "--leeway", SECRET],
        &["verify", "--max-length", SECRET],
        &["verify", "--key-format", SECRET],
        &["verify", &long],
        &["verify", &short],
        &["verify", "--json", "--json", SECRET],
        &["sign", "--key-env", "KIPPU_TEST_KEY", SECRET],
        &["sign", SECRET, SECRET],
        &["keygen", SECRET],
        &["keygen", "--alg", SECRET],
        &["completions", SECRET],
        &["man", SECRET],
        &["help", SECRET],
        &[SECRET],
    ] {
        let ran = kippu(arguments, "");
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(!ran.stderr.is_empty());
    }
}

#[test]
fn a_token_or_claims_in_the_place_of_a_file_are_recognised() {
    for token in [token(), format!("Bearer {}", token())] {
        for command in ["verify", "explain"] {
            let ran = kippu(&with_key(&[command, &token]), "");
            assert_eq!((ran.status, ran.stdout.as_str()), (2, ""));
            assert!(ran.stderr.contains("--token"), "{}", ran.stderr);
            assert!(!ran.stderr.contains("eyJ"), "{}", ran.stderr);
        }
    }
    let ran = kippu(&["sign", "--key-env", "KIPPU_TEST_KEY", r#"{"sub":"alice"}"#], "");
    assert_eq!((ran.status, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("claims come from a file"), "{}", ran.stderr);
}

#[test]
fn what_is_not_a_token_is_recognised() {
    let token = token();
    let mut segments = token.split('.');
    let [header, payload, signature] = std::array::from_fn(|_| segments.next().unwrap());
    let jwe = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..a.b.c";
    let flattened =
        format!(r#"{{"payload":"{payload}","protected":"{header}","signature":"{signature}"}}"#);
    let general = format!(r#"{{"payload":"{payload}","signatures":[]}}"#);
    let response = format!(r#"{{"access_token":"{token}","token_type":"Bearer"}}"#);
    let path = file("path", &token);
    for (text, said) in [
        ("", "there is nothing"),
        ("\n", "there is nothing"),
        (&format!("Bearer {token}"), "\"Bearer \""),
        (&format!("Authorization: Bearer {token}"), "\"Bearer \""),
        (&format!("\"{token}\""), "quotes"),
        (&format!("'{token}'"), "quotes"),
        (jwe, "it is a JWE (RFC 7516)"),
        (&flattened, "JSON serialization (RFC 7515 §7.2)"),
        (&general, "JSON serialization (RFC 7515 §7.2)"),
        (r#"{"protected":"e30","ciphertext":"a"}"#, "JWE in the JSON serialization"),
        (&jwk("AAAA"), "it is a key"),
        (r#"{"keys":[]}"#, "it is a key"),
        (&response, "take the token out of its member"),
        (r#"{"sub":"alice"}"#, "kippu sign makes a token of them"),
        ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "it is a PEM file"),
        ("kippu_rt_AAAA", "refresh token"),
        (&path, "looks like the path of a file"),
        ("./demo.jwt", "looks like the path of a file"),
        ("demo.jwt", "looks like the path of a file"),
        (&format!("{header}.{payload}\n.{signature}"), "white space or line breaks"),
        (&format!(" {token}"), "white space around it"),
        (&format!("{header}.{payload}.{signature}="), "base64url without padding"),
        (&format!("{header}.{payload}"), "with nothing cut off"),
        ("a.b.c.d.e", "with nothing cut off"),
    ] {
        for command in ["verify", "explain"] {
            let ran = kippu(&with_key(&[command]), text);
            assert_eq!(ran.status, 1, "{text}");
            let output = if command == "verify" { &ran.stderr } else { &ran.stdout };
            assert!(output.contains(said), "{text}: {output}");
        }
    }
    // On the command line, too.
    let ran = kippu(&with_key(&["verify", "--token", jwe]), "");
    assert!(ran.stderr.contains("it is a JWE"), "{}", ran.stderr);
}

#[test]
fn wrong_use_exits_with_2_and_help_with_0() {
    for (arguments, said) in [
        (&["frobnicate"][..], "subcommand"),
        (&["verify"], "--key-file <PATH>|--key-env <NAME>"),
        (&["verify", "--key-env", "KIPPU_TEST_KEY", "--leeway", "11m"], "leeway of 660s"),
        (&["verify", "--key-env", "KIPPU_TEST_KEY", "--leeway", "60"], "30s, 15m, 12h or 7d"),
        (&["verify", "--key-env", "KIPPU_TEST_KEY", "--expires-in", "1h"], "--expires-in"),
        (&["verify", "--key-env", "KIPPU_TEST_KEY", "--isuer", "a"], "--issuer"),
        (
            &["verify", "--key-env", "KIPPU_TEST_KEY", "--audience", "a", "--any-audience"],
            "--any-audience",
        ),
        (
            &["verify", "--key-env", "KIPPU_TEST_KEY", "--require", "exp", "--expiry-optional"],
            "--expiry-optional contradicts --require exp",
        ),
        (&["verify", "--key-env", "KIPPU_TEST_KEY", "--key-file", "x"], "--key-file"),
        (&["verify", "--key-env", "KIPPU_TEST_KEY", "--json=1"], "--json"),
        (&["verify", "--key-env", "KIPPU_TEST_KEY", "--max-length", "0"], "between 1 and 1048576"),
        (&["verify", "--key-env", "KIPPU_NO_SUCH_KEY"], "is not set"),
        (&["verify", "--key-env", "./demo.key"], "--key-file reads a file"),
        (
            &["verify", "--key-env", "KIPPU_TEST_KEY", "no-such-file.jwt"],
            "the token cannot be read",
        ),
        (
            &["sign", "--key-env", "KIPPU_TEST_KEY", "no-such-file.json"],
            "the claims cannot be read",
        ),
        (&["verify", "--key-file", "no-such-file.jwk"], "--key-file"),
        (&["keygen", "--alg", "none"], "HS256, HS384, HS512"),
        (&["keygen", "--kid"], "--kid"),
        (&["man", "frobnicate"], "a page for each command"),
    ] {
        let ran = kippu(arguments, &token());
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(ran.stderr.starts_with("kippu: "), "{}", ran.stderr);
        assert!(ran.stderr.contains(said), "{arguments:?}: {}", ran.stderr);
    }
    for arguments in
        [&[][..], &["help"], &["--help"], &["-h"], &["verify", "--help"], &["--version"]]
    {
        let ran = kippu(arguments, "");
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{arguments:?}");
        assert!(ran.stdout.contains("kippu"));
    }
}
