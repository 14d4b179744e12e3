//! Advice about a text that was refused as a key: the text in, a sentence for the operator out. The
//! sentence names the form of the text and the call that reads it, and shows nothing else of the
//! text.
//!
//! The code may branch on the text, because the advice discloses its form anyway.

use alloc::string::String;
use core::str;

use zeroize::Zeroizing;

use super::decoded;
use crate::base64url;

/// U+FEFF in UTF-8, which some editors write at the start of a file.
pub(crate) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Returns what the text looks like, and what to do with it.
pub(crate) fn advice(text: &[u8]) -> &'static str {
    if text.starts_with(BYTE_ORDER_MARK) {
        return "it begins with a byte order mark: remove that";
    }
    if is_utf16(text) {
        return "it looks like UTF-16, which PowerShell writes: save it as UTF-8";
    }
    let Ok(text) = str::from_utf8(text) else {
        return "it looks like bytes: Key::new takes them, in a file KeyFormat::Raw";
    };
    let line = text.trim_matches(['\r', '\n']);
    match (line.chars().next(), line.chars().next_back()) {
        (None, _) => "it is empty",
        (Some('"'), Some('"')) | (Some('\''), Some('\'')) => "it has quotes around it: remove them",
        (Some('['), _) => "it is a JSON array: a JWK Set is an object, {\"keys\":[…]}",
        (Some('{'), Some('}')) => "it is a JSON object: take the secret out of its member",
        _ => advice_on_symbols(line),
    }
}

/// Returns why a text cannot be meant as raw bytes: a tool printed it with a line end, or an editor
/// saved it. Random bytes of a secret's length practically never look like that.
#[cfg(feature = "std")]
pub(crate) fn advice_on_printed(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(BYTE_ORDER_MARK) || is_utf16(bytes) {
        return Some(advice(bytes));
    }
    let is_printed = |text: &str| !text.contains(|c: char| c.is_control() && !"\t\r\n".contains(c));
    let line = str::from_utf8(bytes).ok().filter(|text| is_printed(text))?;
    let line = line.strip_suffix('\n')?.trim_end_matches(['\r', '\n']);
    Some(match advice(line.as_bytes()) {
        TEXT => {
            "it is text with a line end: KeyFormat::Text leaves the line end out, and Key::new takes it as part of the secret"
        }
        other => other,
    })
}

/// Returns why a text cannot be a secret that is used character by character.
#[cfg(feature = "std")]
pub(crate) fn advice_on_line(line: &str) -> Option<&'static str> {
    let is_json = line.starts_with('{') && line.ends_with('}') && line.contains("\":");
    let is_quoted = line.len() > 1
        && ['"', '\''].iter().any(|quote| line.starts_with(*quote) && line.ends_with(*quote));
    if is_json || is_quoted {
        Some(advice(line.as_bytes()))
    } else if line.contains(['\r', '\n']) {
        Some("it has several lines: Key::new takes them as they are")
    } else if line.contains(char::is_control) {
        Some("it has control characters: Key::new takes them as they are, in a file KeyFormat::Raw")
    } else if line.trim() != line {
        Some(
            "it begins or ends with white space: remove that; Key::new takes it as part of the secret",
        )
    } else {
        None
    }
}

/// The advice if nothing else matches.
const TEXT: &str = "it looks like text: if its characters are the secret, Key::new takes them, in a file KeyFormat::Text";

fn advice_on_symbols(line: &str) -> &'static str {
    let is_separator = |c: char| c.is_whitespace() || c == ':';
    let symbols = without(line, char::is_whitespace);
    let digits = without(line.strip_prefix("0x").unwrap_or(line), is_separator);
    // Fewer digits may be a number or a word.
    let is_hex = digits.len() >= 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_hex && digits.len() % 2 == 1 {
        "it looks like hex with a digit missing, or one too many: copy it again"
    } else if is_hex && digits.len() == symbols.len() && !has_space(line) {
        "it looks like hex: Key::from_hex reads it, in a file KeyFormat::Hex"
    } else if is_hex {
        "it looks like hex with other characters: remove all but the digits"
    } else if !looks_like_base64(&symbols) {
        TEXT
    } else if has_space(line) {
        "it looks like base64 with white space in it: remove that"
    } else if symbols.contains(['+', '/']) && symbols.contains(['-', '_']) {
        "it has symbols of base64 (+ /) and of base64url (- _): copy it again"
    } else if decoded(symbols.as_bytes(), base64url::decode_standard_secret).is_some() {
        "it looks like base64: Key::from_base64 reads it, in a file KeyFormat::Base64"
    } else if decoded(symbols.as_bytes(), base64url::decode_secret).is_some() {
        "it looks like base64url: Key::from_base64url reads it, in a file KeyFormat::Base64url"
    } else {
        "it looks like base64 with a symbol missing or wrong: copy it again"
    }
}

/// Returns the text without some characters. It may be a secret: a string that grows would leave
/// copies behind.
fn without(text: &str, is_removed: impl Fn(char) -> bool) -> Zeroizing<String> {
    let mut rest = Zeroizing::new(String::with_capacity(text.len()));
    rest.extend(text.chars().filter(|c| !is_removed(*c)));
    rest
}

fn has_space(line: &str) -> bool {
    line.contains(|c: char| c.is_whitespace() && c != '\r' && c != '\n')
}

/// Returns whether a text without white space has only symbols of base64 or base64url, and is
/// unlikely to be words.
fn looks_like_base64(text: &str) -> bool {
    let symbols = text.trim_end_matches('=');
    let has = |is_one: fn(&u8) -> bool| symbols.as_bytes().iter().any(is_one);
    let is_padded = symbols.len() < text.len();
    let mixes_cases = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
    // Words in a name are joined by hyphens or underscores, and rarely contain digits too.
    let is_random = mixes_cases && (has(u8::is_ascii_digit) || !symbols.contains(['-', '_']));
    symbols.len() >= 16
        && symbols.bytes().all(|symbol| symbol.is_ascii_alphanumeric() || b"+/-_".contains(&symbol))
        && (is_padded || is_random)
}

/// Returns whether bytes begin with the byte order mark of UTF-16, or are ASCII in UTF-16 without
/// one.
fn is_utf16(bytes: &[u8]) -> bool {
    let (start, rest) = bytes.split_at(bytes.len().min(2));
    let is_ascii = |units: &[u8]| {
        units.len() >= 16
            && [0, 1].iter().any(|high| {
                units.chunks_exact(2).all(|unit| {
                    unit.get(*high) == Some(&0) && unit.get(1 - high).is_some_and(u8::is_ascii)
                })
            })
    };
    match start {
        b"\xff\xfe" | b"\xfe\xff" => is_ascii(rest),
        _ => is_ascii(bytes),
    }
}
