//! Keys in and out: `keygen`, sets, the formats of a secret, algorithms that a key does not name.

use std::fs;

use kippu::{Algorithm, Jwk, Key, NumericDate, encode};
use serde_json::json;

use super::{NOW, OTHER_SECRET, SECRET, file, folder, jwk, kippu, token, with_key};

#[test]
fn keygen_writes_a_new_file_for_its_owner_alone() {
    let path = folder("keygen").join("key.jwk");
    let keygen = ["keygen", "--alg", "HS512", "--kid", "mine", "--out", path.to_str().unwrap()];
    let ran = kippu(&keygen, "");
    assert_eq!((ran.status, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let first = fs::read_to_string(&path).unwrap();
    let jwk = Jwk::from_json(&first).unwrap();
    assert_eq!((jwk.algorithm(), jwk.kid()), (Algorithm::Hs512, Some("mine")));

    assert_eq!(kippu(&keygen, "").status, 2);
    assert_eq!(fs::read_to_string(&path).unwrap(), first, "never overwritten");

    let ran = kippu(&["keygen"], "");
    assert_eq!(Jwk::from_json(&ran.stdout).unwrap().algorithm(), Algorithm::Hs256);
    assert_ne!(ran.stdout, kippu(&["keygen"], "").stdout);

    let path = path.to_str().unwrap();
    let signed = kippu(&["sign", "--key-file", path, "--expires-in", "1h"], "{}").stdout;
    let verify = || kippu(&["verify", "--key-file", path], &signed);
    assert_eq!((verify().status, &*verify().stderr), (0, ""));
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(path, mode).unwrap();
        assert_eq!(verify().status, 0);
        assert!(verify().stderr.contains("chmod 600"), "{}", verify().stderr);
    }
}

#[test]
fn the_key_of_a_set_is_found_by_its_kid() {
    let other = jwk(OTHER_SECRET).replace("2026-11", "2026-12");
    let path = file("set", format!(r#"{{"keys":[{other},{}]}}"#, jwk(SECRET)));
    let verify = ["verify", "--at", NOW, "--key-file", &path];
    assert_eq!(kippu(&verify, &token()).status, 0);

    // A token that names no key, as RFC 7515 allows.
    let nameless = encode(&json!({ "exp": 1_300_819_380 }), &Key::hs256([1; 32]).unwrap()).unwrap();
    let ran = kippu(&verify, &nameless);
    assert_eq!(ran.status, 1);
    assert!(ran.stderr.contains("--try-all-keys"), "{}", ran.stderr);
    assert_eq!(kippu(&[&verify[..], &["--try-all-keys"]].concat(), &nameless).status, 0);
    // One key alone needs no name.
    assert_eq!(kippu(&with_key(&["verify"]), &nameless).status, 0);
}

#[test]
fn a_set_with_keys_of_other_kinds_is_read_on_request() {
    let rsa = r#"{"kty":"RSA","kid":"r","n":"0vx7","e":"AQAB"}"#;
    let path = file("rsa", format!(r#"{{"keys":[{rsa},{}]}}"#, jwk(SECRET)));
    let verify = ["verify", "--at", NOW, "--key-file", &path];
    let ran = kippu(&verify, &token());
    assert_eq!((ran.status, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("--skip-other-keys"), "{}", ran.stderr);
    assert_eq!(kippu(&[&verify[..], &["--skip-other-keys"]].concat(), &token()).status, 0);
}

#[test]
fn rejects_a_key_file_without_an_end_and_one_that_is_too_long() {
    let long = file("long", "a".repeat(64 * 1024 + 1));
    let fits = file("fits", "a".repeat(64 * 1024));
    let raw = ["verify", "--key-format", "raw", "--alg", "HS256", "--key-file"];
    let ran = kippu(&[&raw[..], &[&fits]].concat(), &token());
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("refused"), "{}", ran.stderr);
    let endless: &[&str] = if cfg!(target_os = "linux") { &["/dev/zero"] } else { &[] };
    for path in endless.iter().copied().chain([&*long]) {
        let ran = kippu(&[&raw[..], &[path]].concat(), &token());
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
        assert!(ran.stderr.contains("more than 65536 bytes"), "{}", ran.stderr);
    }
}

#[test]
fn alg_is_for_keys_that_do_not_name_their_own() {
    let nameless = jwk(SECRET).replace(r#""alg":"HS256","#, "");
    for text in [nameless.clone(), format!(r#"{{"keys":[{nameless}]}}"#)] {
        let path = file("without-alg", text);
        let verify = ["verify", "--at", NOW, "--key-file", &path];
        let ran = kippu(&verify, &token());
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""));
        assert!(ran.stderr.contains("--alg HS256"), "{}", ran.stderr);
        assert_eq!(kippu(&[&verify[..], &["--alg", "HS256"]].concat(), &token()).status, 0);
    }
    let ran = kippu(&with_key(&["verify", "--alg", "HS512"]), &token());
    assert_eq!(ran.status, 2, "the key is for another algorithm");
    assert!(ran.stderr.contains("--alg"), "{}", ran.stderr);
}

#[test]
fn a_secret_is_read_in_the_format_that_is_named() {
    let secret = "correct horse battery staple, and more";
    let bytes: Vec<u8> = (0..=255).rev().step_by(5).collect();
    let spelled = |format: &str, bytes: &[u8]| -> String {
        let hex = || bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        match format {
            "hex" => hex().filter_map(|digit| char::from_digit(digit.into(), 16)).collect(),
            "base64url" => kippu::base64url::encode(bytes),
            _ => kippu::base64url::encode(bytes).replace('-', "+").replace('_', "/"),
        }
    };
    for (format, content, secret) in [
        ("hex", spelled("hex", &bytes).into_bytes(), &bytes[..]),
        ("hex", format!("{}\r\n", spelled("hex", &bytes)).into_bytes(), &bytes),
        ("base64", format!("{}\n", spelled("base64", &bytes)).into_bytes(), &bytes),
        ("base64url", format!("\u{feff}{}\n", spelled("base64url", &bytes)).into_bytes(), &bytes),
        ("text", format!("{secret}\n").into_bytes(), secret.as_bytes()),
        ("raw", bytes.clone(), &bytes),
    ] {
        let path = file("format", content);
        let key = Key::hs384(secret);
        let (alg, key) = match key {
            Ok(key) => ("HS384", key),
            Err(_) => ("HS256", Key::hs256(secret).unwrap()),
        };
        let token = encode(&json!({ "exp": NumericDate::in_seconds(60) }), &key).unwrap();
        let verify = ["verify", "--key-file", &path, "--key-format", format, "--alg", alg];
        let ran = kippu(&verify, &token);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{format}");
        let signed = kippu(
            &[
                "sign",
                "--expires-in",
                "1m",
                "--key-file",
                &path,
                "--key-format",
                format,
                "--alg",
                alg,
            ],
            "{}",
        );
        assert_eq!(kippu(&verify, &signed.stdout).status, 0, "{format}");
    }
}

#[test]
fn a_secret_in_another_format_is_refused_with_the_option_that_reads_it() {
    let path = folder("not-a-key").join("there");
    fs::write(&path, "a").unwrap();
    let path = path.to_str().unwrap();
    let hex = "5a".repeat(32);
    let base64 = "3q2+796tvu/erb7v3q2+796tvu/erb7v3q2+796tvu8=\n";
    let quoted = format!("\"{SECRET}\"");
    let (jwk, token) = (jwk(SECRET), token());
    let pem = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n";
    for (format, content, advice) in [
        ("jwk", hex.as_str(), "--key-format hex reads it"),
        ("jwk", base64, "--key-format base64 reads it"),
        ("jwk", "correct horse battery staple, and more", "--key-format text takes them"),
        ("jwk", "", "it is empty"),
        ("jwk", "\n", "it is empty"),
        ("jwk", "{}", "the JWK has no k"),
        ("jwk", r#"{"keys":[]}"#, "has no keys"),
        ("jwk", quoted.as_str(), "quotes"),
        ("jwk", &jwk[1..], ""),
        ("jwk", pem, "PEM key"),
        ("jwk", path, "--key-file PATH reads the key from the file"),
        ("jwk", "/run/secrets/jwt-key", "--key-file PATH reads the key from the file"),
        ("jwk", token.as_str(), "it is a token"),
        ("base64", hex.as_str(), "--key-format hex reads it"),
        ("hex", base64, "--key-format base64 reads it"),
        ("hex", jwk.as_str(), "--key-format jwk reads it"),
        ("text", quoted.as_str(), "quotes"),
        ("text", jwk.as_str(), "--key-format jwk reads a JWK"),
        ("text", pem, "it is not one line of text"),
        ("text", " a text with white space around it, and long ", "white space"),
        ("text", path, "--key-file PATH reads the key from the file"),
        ("text", token.as_str(), "it is a token"),
        ("text", "a text that has two line ends behind it, and is long\n\n", "not one line"),
        ("text", "short", "at least 32 random bytes"),
        ("text", "short", "kippu keygen"),
        ("raw", base64, "pass the --key-format in which it is written"),
    ] {
        let file = file("other-format", content);
        for arguments in [["verify", "--at", NOW], ["sign", "--expires-in", "1h"]] {
            let key = ["--key-file", &file, "--key-format", format, "--alg", "HS256"];
            let ran = kippu(&[&arguments[..], &key[..]].concat(), &token);
            assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{format} {content}");
            assert!(ran.stderr.starts_with("kippu: no key: "), "{}", ran.stderr);
            assert!(ran.stderr.contains(advice), "{format} {content}: {}", ran.stderr);
            assert!(!ran.stderr.contains("::"), "{}", ran.stderr);
            for part in ["AgIC", "MFkw", "correct horse", "3q2+", "5a5a", "eyJ"] {
                assert!(!ran.stderr.contains(part), "{}", ran.stderr);
            }
        }
    }
    let bytes = file("bytes", [0xff; 32]);
    let ran = kippu(&["verify", "--key-file", &bytes], &token);
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("--key-format raw"), "{}", ran.stderr);
    let ran = kippu(&["verify", "--key-file", &bytes, "--key-format", "raw"], &token);
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("--alg"), "{}", ran.stderr);
}
