//! Limits for the text of an error: bounded, and fit for a log and a header field.

use std::error::Error;

use kippu::DecodeError;

/// The longest excerpt has 64 bytes, the message of a parser 256; each may be escaped to `\u{…}`.
const LONGEST: usize = 256 * 6 + 256;

/// Asserts that no text of an error is long, or moves a terminal's cursor.
pub fn assert_presentable(error: &DecodeError) {
    let mut link: Option<&dyn Error> = Some(error);
    while let Some(error) = link {
        let shown = error.to_string();
        assert!(shown.len() <= LONGEST, "{} bytes: {shown:?}", shown.len());
        assert!(!shown.chars().any(moves_the_cursor), "{shown:?}");
        link = error.source();
    }
    let debug = format!("{error:?}");
    assert!(debug.len() <= 4 * LONGEST, "{} bytes: {debug}", debug.len());
    // RFC 6750 §3: the characters that an error_description may contain.
    let message = error.client_message();
    let sendable = |byte: u8| matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\';
    assert!(message.len() <= 64 && message.bytes().all(sendable), "{message:?}");
}

/// Returns whether a character is a control character, or changes the direction of a text.
fn moves_the_cursor(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
