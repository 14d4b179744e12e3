//! What an application says at a login, and what it sees of a session afterwards.

use alloc::string::String;

use super::{
    error::SessionError,
    id::SessionId,
    record::{MAX_LABEL_LEN, MAX_NAME_LEN, SessionRecord},
};
use crate::numeric_date::NumericDate;

/// Who logs in, after the application has made sure of it, and from where.
///
/// ```
/// use kippu::session::Login;
///
/// let login = Login::new("user-12345").label("Firefox on Linux");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub(super) subject: String,
    pub(super) label: Option<String>,
}

impl Login {
    /// A login of `subject`: the name that the application knows its user by for ever, 1 to 512 bytes without control
    /// characters.
    pub fn new(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), label: None }
    }

    /// Names the session for its user's list of sessions, for example with the `User-Agent` of the request.
    ///
    /// Any text will do: a longer one is cut after 128 bytes, at the end of a character, and each character that
    /// would disturb a list (controls, line separators, changes of the writing direction) becomes U+FFFD.
    #[must_use]
    pub fn label(self, label: impl AsRef<str>) -> Self {
        Self { label: Some(shown(label.as_ref())), ..self }
    }

    pub(super) fn check(&self) -> Result<(), SessionError> {
        if is_name(&self.subject) { Ok(()) } else { Err(SessionError::Subject) }
    }
}

/// A text that comes from the client, as it can be stored and shown.
fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(MAX_LABEL_LEN));
    for char in text.chars() {
        let char = if disturbs(char) { char::REPLACEMENT_CHARACTER } else { char };
        if shown.len() + char.len_utf8() > MAX_LABEL_LEN {
            break;
        }
        shown.push(char);
    }
    shown
}

/// Controls (Cc), the line and paragraph separators, and the characters that set the direction of the text around them
/// (Unicode Standard Annex #9 §2).
fn disturbs(char: char) -> bool {
    matches!(
        char,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    ) || char.is_control()
}

/// What can be a subject or a client.
pub(super) fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_LEN).contains(&text.len()) && !text.contains(char::is_control)
}

impl From<&str> for Login {
    fn from(subject: &str) -> Self {
        Self::new(subject)
    }
}

impl From<String> for Login {
    fn from(subject: String) -> Self {
        Self::new(subject)
    }
}

/// A session, as its user may see it in a list, and as the application sees it when it authorizes a refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session {
    /// Its id, to end it by.
    pub id: SessionId,
    /// Whose it is.
    pub subject: String,
    /// The client that it belongs to.
    pub client: String,
    /// What the application called it at the login.
    pub label: Option<String>,
    /// When the user logged in.
    pub created_at: NumericDate,
    /// When it was last refreshed; at the login, when it never was.
    pub last_used_at: NumericDate,
    /// When it ends unless it is refreshed again.
    pub expires_at: NumericDate,
}

impl From<SessionRecord> for Session {
    fn from(record: SessionRecord) -> Self {
        Self {
            id: record.id,
            subject: record.subject,
            client: record.client,
            label: record.label,
            created_at: record.created_at.into(),
            last_used_at: record.rotated_at.into(),
            expires_at: record.expires_at.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{borrow::ToOwned, string::ToString};

    use super::*;

    fn label(text: &str) -> String {
        Login::new("alice").label(text).label.unwrap()
    }

    #[test]
    fn cuts_a_label_at_the_end_of_a_character() {
        assert_eq!(label("Firefox on Linux"), "Firefox on Linux");
        assert_eq!(label(""), "");
        assert_eq!(label(&"a".repeat(128)), "a".repeat(128));
        assert_eq!(label(&"a".repeat(135)), "a".repeat(128));
        assert_eq!(label(&"é".repeat(100)), "é".repeat(64));
        assert_eq!(label(&"€".repeat(100)), "€".repeat(42));
        assert_eq!(label(&("a".to_owned() + &"🔑".repeat(100))), "a".to_owned() + &"🔑".repeat(31));
        // A character that replaces a shorter one is counted as it is stored.
        assert_eq!(label(&"\n".repeat(1 << 20)), "\u{fffd}".repeat(42));
    }

    #[test]
    fn replaces_what_disturbs_a_list() {
        assert_eq!(label("a\0b\r\nc\u{7f}\u{85}"), "a\u{fffd}b\u{fffd}\u{fffd}c\u{fffd}\u{fffd}");
        for char in
            "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}".chars()
        {
            assert_eq!(label(&char.to_string()), "\u{fffd}", "{char:?}");
        }
        // A joiner is a part of many an emoji, and the rest are letters.
        for kept in ["👩\u{200d}💻", "שלום", "\u{202f}", "\u{2065}", "<b>'\"&"] {
            assert_eq!(label(kept), kept);
        }
    }

    #[test]
    fn a_subject_has_to_be_a_name() {
        for subject in ["a", " ", "alice@example.org", &"s".repeat(512), "名"] {
            assert!(Login::new(subject).check().is_ok(), "{subject:?}");
        }
        for subject in ["", "a\0", "a\nb", "\u{85}", &"s".repeat(513)] {
            assert!(
                matches!(Login::new(subject).check(), Err(SessionError::Subject)),
                "{subject:?}"
            );
        }
    }
}
