//! The command `kippu` as a process: what it prints, what it exits with, and what it never shows.
#![allow(
    clippy::indexing_slicing,
    clippy::items_after_statements,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod checking;
mod display;
mod keys;
mod manual;
mod misplaced;
mod signing;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use kippu::{Algorithm, Jwk, Key, base64url, encode, hmac::Hmac};
use serde_json::{Value, json};

const SECRET: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
const OTHER_SECRET: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI";
/// A minute before `exp` of [`claims`].
const NOW: &str = "1300819320";

const PROGRAM: &str = env!("CARGO_BIN_EXE_kippu");

struct Ran {
    status: i32,
    stdout: String,
    stderr: String,
}

/// Runs `kippu` with `input` on its standard input. No output of any run may hold a secret, unless
/// it is the key that was asked for.
fn kippu(arguments: &[&str], input: &str) -> Ran {
    let mut command = Command::new(PROGRAM);
    let ran = run(command.args(arguments).env("KIPPU_TEST_KEY", jwk(SECRET)), input);
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
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kippu_command").join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A new file, in a folder for itself.
fn file(test: &str, content: impl AsRef<[u8]>) -> String {
    let path = folder(test).join("file");
    fs::write(&path, content).unwrap();
    #[cfg(unix)]
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
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

/// A token of any header and payload, signed with [`SECRET`].
fn signed(header: &str, payload: impl AsRef<[u8]>) -> String {
    let hmac = Hmac::new(Algorithm::Hs256, &[1; 32]);
    let payload = base64url::encode(payload.as_ref());
    let input = format!("{}.{payload}", base64url::encode(header.as_bytes()));
    format!("{input}.{}", base64url::encode(hmac.tag(input.as_bytes()).as_ref()))
}

fn payload(token: &str) -> String {
    let payload = base64url::decode(token.trim_end().split('.').nth(1).unwrap()).unwrap();
    String::from_utf8(payload).unwrap()
}

const KEY: [&str; 4] = ["--key-env", "KIPPU_TEST_KEY", "--at", NOW];

fn with_key<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [arguments, &KEY[..]].concat()
}
