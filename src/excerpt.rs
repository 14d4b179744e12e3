//! Text from outside, made safe for an error message: bounded, and without control characters.

use alloc::{boxed::Box, string::ToString};
use core::fmt::{self, Write};

use crate::debug::debug_by_message;

/// The first bytes of a text that came from outside.
///
/// An error contains it so that an operator sees what was found. It has at most 64 bytes. It prints
/// in quotes, with control characters and quotes escaped.
#[derive(Clone, PartialEq, Eq)]
pub struct Excerpt {
    start: Box<str>,
    whole: bool,
}

/// 64 bytes are enough to recognise an issuer or a key id, and too few to fill a log.
const MAX_LEN: usize = 64;

impl Excerpt {
    pub(crate) fn new(text: &str) -> Self {
        let start = front(text, MAX_LEN);
        Self { start: start.into(), whole: start.len() == text.len() }
    }

    /// Returns the text without escapes, as far as it was kept.
    pub fn as_str(&self) -> &str {
        &self.start
    }
}

/// A name that is not one of the known ones, for example of an [`Algorithm`](crate::Algorithm).
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found} is not one of {expected}")]
pub struct UnknownName {
    found: Excerpt,
    expected: &'static str,
}

debug_by_message!(UnknownName);

impl UnknownName {
    pub(crate) fn new(found: &str, expected: &'static str) -> Self {
        Self { found: Excerpt::new(found), expected }
    }
}

/// Returns the message of a parser, bounded and without control characters. The message may quote
/// the text that was parsed.
pub(crate) fn parser_message(error: &impl fmt::Display) -> Box<str> {
    let message = error.to_string();
    // Escaping never shortens a text, so only this much of it can remain after the second cut.
    let escaped = front(&message, 4 * MAX_LEN).escape_debug().to_string().replace("\\\"", "\"");
    front(&escaped, 4 * MAX_LEN).into()
}

/// Returns the first `max_len` bytes of `text`, or up to 3 fewer where the cut would split a
/// character.
fn front(text: &str, max_len: usize) -> &str {
    let mut end = text.len().min(max_len);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}", self.start.escape_debug())?;
        if !self.whole {
            f.write_char('…')?;
        }
        f.write_char('"')
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn an_excerpt_is_bounded_and_printable() {
        for (text, shown) in [
            ("2026-11", "\"2026-11\""),
            ("", "\"\""),
            ("a\n\"b\u{1b}[31m\u{202e}", "\"a\\n\\\"b\\u{1b}[31m\\u{202e}\""),
        ] {
            assert_eq!(Excerpt::new(text).to_string(), shown);
        }
        let long = "é".repeat(10_000);
        assert_eq!(Excerpt::new(&long).to_string(), format!("\"{}…\"", "é".repeat(32)));
        assert_eq!(Excerpt::new(&format!("x{long}")).as_str().len(), 63);
    }

    /// serde does not document how much of the input its messages quote.
    #[test]
    fn a_parser_message_is_bounded_and_printable_too() {
        assert_eq!(
            &*parser_message(&"unknown variant \"a\n\u{202e}\""),
            "unknown variant \"a\\n\\u{202e}\""
        );
        assert_eq!(parser_message(&"\u{1b}".repeat(10_000)).len(), 4 * MAX_LEN);
    }
}
