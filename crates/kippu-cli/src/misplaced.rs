//! Recognises an argument or a file that has another kind of content than expected: a text in, a
//! description of its kind out. The description shows nothing of the text, which may be a secret or
//! a token.

use std::{ffi::OsString, path::Path};

use kippu::base64url;

use crate::{failure::Failure, json::Members};

/// Refuses arguments that contain a secret, before any other code reads them.
pub(crate) fn refuse_secrets(arguments: &[OsString]) -> Result<(), Failure> {
    let mut options = arguments.iter().map(|argument| argument.to_string_lossy());
    if options.any(|argument| looks_like_a_jwk(&argument) || takes_a_secret(&argument)) {
        return Err(Failure::broken(
            "a secret on the command line is refused: every user of the machine can read it in the list of processes, \
             and the shell keeps it in its history.\n\
             Put it into a file that only you can read (kippu keygen --out PATH makes one) and pass --key-file PATH, \
             or into an environment variable and pass --key-env NAME. If this secret is in use, replace it.",
        ));
    }
    Ok(())
}

/// Returns whether an argument is an option with which other commands take a secret: `--secret`,
/// `--hmac-key`, `--jwk`, `-k`.
fn takes_a_secret(argument: &str) -> bool {
    let words = ["secret", "password", "passphrase", "jwk"];
    match argument.strip_prefix("--") {
        Some(option) => {
            let name = option.split('=').next().unwrap_or_default();
            name.ends_with("key") || words.iter().any(|word| name.contains(word))
        }
        None => argument
            .strip_prefix('-')
            .is_some_and(|name| name.starts_with(['k', 'K', 's', 'S', 'p', 'P'])),
    }
}

/// Returns whether an argument has the members of a JWK or a JWK Set. No claim has such a name.
fn looks_like_a_jwk(argument: &str) -> bool {
    let value =
        argument.find(['{', '[']).and_then(|start| argument.get(start..)).unwrap_or_default();
    ["\"k\"", "\"kty\"", "\"keys\""].iter().any(|name| value.contains(name))
}

/// Returns whether an argument is a token, where the path of a file is expected.
pub(crate) fn looks_like_a_token(text: &str) -> bool {
    let text = text.strip_prefix("Bearer ").unwrap_or(text);
    let header = text.split('.').next().unwrap_or_default();
    text.split('.').count() >= 3 && is_a_header(header)
}

/// Returns whether an argument is JSON, where the path of a file is expected.
pub(crate) fn looks_like_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

fn is_the_path_of_a_file(text: &str) -> bool {
    // Linux has no longer paths (PATH_MAX).
    !text.is_empty() && text.len() < 4096 && Path::new(text).is_file()
}

/// Returns whether a text is the path of a file, or is written like one.
pub(crate) fn looks_like_a_path(text: &str) -> bool {
    let starts = ["/", "./", "../", "~/", "file:"];
    let ends = [".jwt", ".jwk", ".json", ".key", ".pem", ".token", ".txt"];
    !text.contains(char::is_whitespace)
        && (starts.iter().any(|start| text.starts_with(start))
            || ends.iter().any(|end| text.ends_with(end)))
        || is_the_path_of_a_file(text)
}

/// Returns the kind of a text that was given as a token and does not have three segments of
/// base64url.
pub(crate) fn in_place_of_a_token(text: &str) -> Option<&'static str> {
    let trimmed = text.trim();
    let lower = trimmed.get(..14).unwrap_or(trimmed).to_ascii_lowercase();
    // A JWE has the most segments, five. A text with more is neither a token nor a JWE.
    let segments: Vec<_> = trimmed.split('.').take(6).collect();
    if trimmed.is_empty() {
        Some("there is nothing: pass the token in a file, on the standard input, or with --token")
    } else if lower.starts_with("bearer ") || lower.starts_with("authorization:") {
        Some(
            "it begins with the name or the scheme of an HTTP header: pass only what follows \"Bearer \"",
        )
    } else if is_quoted(trimmed) {
        Some("it has quotes around it: remove them")
    } else if looks_like_json(trimmed) {
        Some(json_in_place_of_a_token(trimmed))
    } else if trimmed.contains("-----BEGIN ") {
        Some("it is a PEM file, which holds a key or a certificate: pass the token")
    } else if trimmed.starts_with("kippu_rt_") {
        Some(
            "it is a refresh token of kippu's sessions: only the server that issued it can read it",
        )
    } else if segments.len() == 5 && is_a_header(segments.first()?) {
        Some(
            "it is a JWE (RFC 7516): its claims are encrypted, and only its recipient can decrypt them; kippu reads signed tokens",
        )
    } else if looks_like_a_path(trimmed) {
        Some("it looks like the path of a file: kippu verify FILE reads the token from the file")
    } else if trimmed.contains(char::is_whitespace) {
        Some("it has white space or line breaks in it: remove them")
    } else if trimmed != text {
        Some("it has white space around it: remove that")
    } else if segments.len() == 3 && trimmed.contains(['+', '/', '=']) {
        Some(
            "it has symbols of base64 (+ / =): tokens are written in base64url without padding (RFC 7515 §2)",
        )
    } else {
        None
    }
}

fn json_in_place_of_a_token(text: &str) -> &'static str {
    let Some(members) = Members::of(text) else {
        return "it is JSON, or begins as JSON does: a token is three segments with dots between them";
    };
    if members.has("payload") {
        "it is a token in the JSON serialization (RFC 7515 §7.2): kippu reads the compact one, three segments with dots between them"
    } else if members.has("ciphertext") {
        "it is a JWE in the JSON serialization (RFC 7516 §7.2): its content is encrypted; kippu reads signed tokens"
    } else if members.has("kty") || members.has("keys") {
        "it is a key: pass it with --key-file, and the token in its place"
    } else if ["access_token", "id_token", "token"].iter().any(|name| members.has(name)) {
        "it is a JSON object that holds a token: take the token out of its member, without the quotes"
    } else {
        "it is a JSON object: if these are the claims, kippu sign makes a token of them"
    }
}

/// Returns the kind of a text that was given as a key and is not a key.
pub(crate) fn in_place_of_a_key(text: &str) -> Option<&'static str> {
    let text = text.trim();
    if looks_like_a_token(text) {
        Some("it is a token: pass the key that the token was signed with")
    } else if looks_like_a_path(text) {
        Some("it looks like the path of a file: --key-file PATH reads the key from the file")
    } else {
        None
    }
}

/// Returns the kind of a line that was given as a secret of plain text. Any text can be a secret,
/// so it is a path only if the file exists.
pub(crate) fn in_place_of_text(line: &str) -> Option<&'static str> {
    if looks_like_a_token(line) || is_the_path_of_a_file(line) {
        in_place_of_a_key(line)
    } else {
        None
    }
}

pub(crate) fn is_quoted(text: &str) -> bool {
    text.len() > 1
        && ['"', '\''].iter().any(|quote| text.starts_with(*quote) && text.ends_with(*quote))
}

/// Returns whether a segment is a JSON object in base64url.
fn is_a_header(segment: &str) -> bool {
    let text = base64url::decode(segment).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.is_some_and(|text| Members::of(&text).is_some())
}
