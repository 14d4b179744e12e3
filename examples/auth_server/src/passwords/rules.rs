//! The rules for passwords, after NIST SP 800-63B §3.1.1.2: a length in characters, a list of
//! common passwords that are refused, and no rule about the kinds of characters.

use std::{collections::HashSet, sync::LazyLock};

use precis_core::profile::Rules;
use precis_profiles::OpaqueString;

use crate::email::Email;

/// Why a text cannot be a new password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadPassword {
    #[error("the password is too short: it needs at least {MIN_CHARS} characters")]
    TooShort,
    #[error("the password is too long: it may have up to {MAX_CHARS} characters")]
    TooLong,
    #[error(
        "the password has a control character, which not every keyboard can type: leave it out"
    )]
    Control,
    #[error("the password is among the first that an attacker tries: choose another")]
    Common,
    #[error("the password is part of the email address: choose another")]
    Address,
}

const MIN_CHARS: usize = 8;

/// NIST asks for at least 64. A sentence fits.
const MAX_CHARS: usize = 256;

/// The limit that is checked before normalisation, so that a request without an account causes
/// little work. One character can arrive as a letter and several combining marks of up to four
/// bytes each: this leaves 16 bytes for each of the 256 characters.
const MAX_BYTES: usize = 4096;

/// Checks a new password for the account with this address, and returns the text to hash.
pub(crate) fn check(text: &str, address: &str) -> Result<String, BadPassword> {
    if text.len() > MAX_BYTES {
        return Err(BadPassword::TooLong);
    }
    let password = normalise(text).ok_or(BadPassword::Control)?;
    match password.chars().count() {
        ..MIN_CHARS => return Err(BadPassword::TooShort),
        MIN_CHARS..=MAX_CHARS => {}
        _ => return Err(BadPassword::TooLong),
    }
    let lower = password.to_lowercase();
    if is_common(&lower) {
        return Err(BadPassword::Common);
    }
    let email = Email::parse(address);
    let parts = email.iter().flat_map(|email| [email.account(), email.local_part()]);
    if parts.chain([address]).any(|part| part == lower) {
        return Err(BadPassword::Address);
    }
    Ok(password)
}

/// Returns the texts to compare at a login: the normalised password, and the password as it was
/// typed if it differs. Other applications, and earlier versions of this one, hashed the typed
/// text.
pub(crate) fn candidates(text: &str) -> Vec<String> {
    // Bcrypt repeats a password with a NUL between: "a\0a" has the hash of "a".
    if text.len() > MAX_BYTES || text.contains('\0') {
        return Vec::new();
    }
    let mut candidates = Vec::from_iter(normalise(text));
    if candidates.first().is_none_or(|normalised| normalised != text) {
        candidates.push(text.to_owned());
    }
    candidates
}

/// Normalises a password by the mappings of the PRECIS profile `OpaqueString` (RFC 8265 §4.2.2), so
/// that it is the same from every keyboard: other spaces become U+0020, and the text becomes NFC.
/// Returns `None` for a text with a control character.
///
/// The profile would also refuse every character that is newer than Unicode 6.3 of 2013, which
/// includes most emoji. They are accepted here.
pub(crate) fn normalise(text: &str) -> Option<String> {
    if text.contains(char::is_control) {
        return None;
    }
    let profile = OpaqueString::new();
    let spaced = profile.additional_mapping_rule(text).ok()?;
    Some(profile.normalization_rule(spaced).ok()?.into_owned())
}

/// Returns whether a lower-case text is on the list, or is a short run such as 23456789, abcdefgh
/// or aaaaaaaa.
fn is_common(lower: &str) -> bool {
    static COMMON: LazyLock<HashSet<&str>> = LazyLock::new(|| {
        let lines = include_str!("../../assets/common_passwords.txt").lines();
        lines.filter(|line| !line.starts_with('#')).collect()
    });
    COMMON.contains(lower) || (lower.len() <= 2 * MIN_CHARS && is_run(lower))
}

fn is_run(text: &str) -> bool {
    let step = |(one, next): (char, char)| i64::from(u32::from(next)) - i64::from(u32::from(one));
    let mut steps = text.chars().zip(text.chars().skip(1)).map(step);
    let first = steps.next();
    matches!(first, Some(-1..=1)) && steps.all(|step| Some(step) == first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<String, BadPassword> {
        check(text, "Ada.Lovelace@example.com")
    }

    #[test]
    fn characters_are_counted_and_not_bytes() {
        for (text, expected) in [
            ("1x34y67", Err(BadPassword::TooShort)),
            ("ünïcöde", Err(BadPassword::TooShort)),
            ("ünïcödes", Ok(())),
            ("пароль-1", Ok(())),
            // A letter with a combining mark is one character, however it was typed.
            ("u\u{308}ni\u{308}code", Err(BadPassword::TooShort)),
            ("🔑🥰🔑🥰🔑🥰🔑", Err(BadPassword::TooShort)),
            ("🔑🥰🔑🥰🔑🥰🔑🥷", Ok(())),
            ("👩\u{200d}👩\u{200d}👧\u{200d}👧 family", Ok(())),
            ("", Err(BadPassword::TooShort)),
        ] {
            assert_eq!(checked(text).map(drop), expected, "{text:?}");
        }
        for (count, expected) in [
            (64, Ok(())),
            (256, Ok(())),
            (257, Err(BadPassword::TooLong)),
            (2000, Err(BadPassword::TooLong)),
        ] {
            for letter in ["a", "é", "e\u{301}", "漢", "🔑"] {
                let text = letter.repeat(count);
                assert_eq!(checked(&text).map(drop), expected, "{letter} {count}");
            }
        }
        // Few characters of many bytes.
        assert_eq!(checked(&"e\u{301}\u{323}\u{327}".repeat(10_000)), Err(BadPassword::TooLong));
    }

    #[test]
    fn a_password_is_the_same_from_every_keyboard() {
        for (typed, same) in [
            ("Pässword of mine", "Pa\u{308}ssword of mine"),
            ("no-break spaces", "no-break\u{a0}spaces"),
            ("wide spaces here", "wide\u{3000}spaces\u{2003}here"),
            ("angstro\u{308}m \u{c5}\u{c5}", "angström \u{212b}A\u{30a}"),
        ] {
            assert_eq!(checked(typed), checked(same), "{typed}");
            assert!(checked(typed).is_ok(), "{typed}");
        }
        // Case, spaces at the ends and compatibility characters make a difference.
        for (one, other) in [
            ("Correct horse", "correct horse"),
            ("correct horse", "correct horse "),
            ("fish and fins", "\u{fb01}sh and fins"),
        ] {
            assert_ne!(checked(one), checked(other));
        }
    }

    #[test]
    fn control_characters_are_refused_and_others_are_not() {
        for text in ["correct\0horse", "correct\nhorse", "correct\u{7f}horse", "correct\u{85}horse"]
        {
            assert_eq!(checked(text), Err(BadPassword::Control), "{text:?}");
        }
        for text in ["\u{202e}esroh tcerroc", "zero\u{200b}width", "\u{e000}\u{10ffff} private"] {
            assert_eq!(checked(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn common_passwords_are_refused() {
        for text in [
            "password",
            "PassWord",
            "password1",
            "12345678",
            "87654321",
            "qwertyuiop",
            "P@ssw0rd",
            "iloveyou",
            "aaaaaaaa",
            "00000000",
            "abcdefgh",
            "HGFEDCBA",
            "23456789",
        ] {
            assert_eq!(checked(text), Err(BadPassword::Common), "{text}");
        }
        for text in ["ada.lovelace", "ADA.LOVELACE@EXAMPLE.COM", "Ada.Lovelace@example.com"] {
            assert_eq!(checked(text), Err(BadPassword::Address), "{text}");
        }
        for text in ["correct horse battery staple", "ada.lovelace.1815", "acegikmo", "abcdabcd!"] {
            assert!(checked(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn the_list_matches_its_header() {
        let lines = include_str!("../../assets/common_passwords.txt").lines();
        let listed: Vec<_> = lines.filter(|line| !line.starts_with('#')).collect();
        assert_eq!(listed.len(), 11_611);
        for line in listed {
            assert!(line.len() >= MIN_CHARS && line == line.to_lowercase(), "{line}");
        }
    }

    #[test]
    fn a_login_also_compares_the_typed_text() {
        assert_eq!(candidates("correct horse"), ["correct horse"]);
        assert_eq!(candidates("Pa\u{308}ss"), ["P\u{e4}ss", "Pa\u{308}ss"]);
        assert_eq!(candidates("tab\there"), ["tab\there"]);
        assert_eq!(candidates("correct\0horse"), [""; 0]);
        assert_eq!(candidates(&"a".repeat(5000)), [""; 0]);
    }
}
