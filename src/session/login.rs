//! What an application says at a login, and what it sees of a session afterwards.

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use serde::Serialize;

use super::{
    data::SessionData,
    error::SessionError,
    id::SessionId,
    record::{MAX_LABEL_LEN, MAX_NAME_LEN, SessionRecord},
    store::{ListCursor, SessionLimit},
};
use crate::numeric_date::NumericDate;

/// A login of a user whom the application has authenticated, and the policy of its session.
///
/// A value that is not set here is that of the [`SessionsBuilder`](super::SessionsBuilder). The values hold for the whole
/// session, through all its refreshes.
///
/// ```
/// use kippu::session::{Login, SessionLimit};
///
/// let login = Login::new("user-12345")
///     .label("Firefox on Linux")
///     .remember(false) // a public computer
///     .limit(SessionLimit::evict_oldest(5));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub(super) subject: String,
    pub(super) label: Option<String>,
    pub(super) client: Option<String>,
    pub(super) remembered: bool,
    pub(super) idle_lifetime: Option<Duration>,
    pub(super) absolute_lifetime: Option<Duration>,
    pub(super) data: SessionData,
    pub(super) limit: Option<SessionLimit>,
}

impl Login {
    /// A login of `subject`: the name that the application knows its user by for ever, 1 to 512 bytes without control
    /// characters.
    pub fn new(subject: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            label: None,
            client: None,
            remembered: true,
            idle_lifetime: None,
            absolute_lifetime: None,
            data: SessionData::default(),
            limit: None,
        }
    }

    /// Names the session for its user's list of sessions, for example with the `User-Agent` of the request.
    ///
    /// Any text will do: a longer one is cut after 128 bytes, at the end of a character, and each character that
    /// would disturb a list (controls, line separators, changes of the writing direction) becomes U+FFFD.
    #[must_use]
    pub fn label(self, label: impl AsRef<str>) -> Self {
        Self { label: Some(shown(label.as_ref())), ..self }
    }

    /// Logs in to this client: one of those that the builder [names](super::SessionsBuilder::client), the first of them
    /// unless this is called.
    #[must_use]
    pub fn client(self, client: impl Into<String>) -> Self {
        Self { client: Some(client.into()), ..self }
    }

    /// With `false`, for a computer that others use too: the session's cookies end with the browser, and the session ends after
    /// [`Sessions::UNREMEMBERED_IDLE_LIFETIME`](super::Sessions::UNREMEMBERED_IDLE_LIFETIME) without a refresh, and after
    /// [`Sessions::UNREMEMBERED_ABSOLUTE_LIFETIME`](super::Sessions::UNREMEMBERED_ABSOLUTE_LIFETIME) at the latest, where the
    /// builder's lifetimes are not shorter. `true` unless this is called.
    #[must_use]
    pub fn remember(self, remembered: bool) -> Self {
        Self { remembered, ..self }
    }

    /// How long this session lives without a refresh, whatever the builder says; at least as long as an access token, and no
    /// longer than the session lives at all.
    #[must_use]
    pub fn idle_lifetime(self, lifetime: Duration) -> Self {
        Self { idle_lifetime: Some(lifetime), ..self }
    }

    /// How long this session lives at most, whatever the builder says.
    #[must_use]
    pub fn absolute_lifetime(self, lifetime: Duration) -> Self {
        Self { absolute_lifetime: Some(lifetime), ..self }
    }

    /// Keeps these data with the session.
    #[must_use]
    pub fn data(self, data: SessionData) -> Self {
        Self { data, ..self }
    }

    /// How many live sessions the subject may have after this login, whatever the builder says.
    #[must_use]
    pub fn limit(self, limit: SessionLimit) -> Self {
        Self { limit: Some(limit), ..self }
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
    /// Whether its cookies last beyond the end of the browser.
    pub remembered: bool,
    /// When the user last authenticated.
    pub auth_time: NumericDate,
    /// The application's own.
    pub data: SessionData,
}

/// A part of the list of a subject's sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionPage {
    /// The sessions, by the time of their login.
    pub sessions: Vec<Session>,
    /// Where the next page begins, for [`Sessions::list_after`](super::Sessions::list_after); none at the end of the list.
    pub next: Option<ListCursor>,
}

/// The answer of an application to a refresh: the claims of the next access token, and new data of the session.
///
/// Claims alone, as any type that serialises, leave the data as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal<C> {
    pub(super) claims: C,
    pub(super) data: Option<SessionData>,
}

impl<C: Serialize> Renewal<C> {
    /// With these claims, and the data that the session has.
    pub const fn new(claims: C) -> Self {
        Self { claims, data: None }
    }

    /// Replaces the data of the session, in the step that stores the rotation. A retry that is given the same refresh token
    /// again replaces nothing.
    #[must_use]
    pub fn data(self, data: SessionData) -> Self {
        Self { data: Some(data), ..self }
    }
}

/// Claims, or a [`Renewal`] with them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither claims that serialise nor a `Renewal` of such",
    note = "derive `serde::Serialize` for the claims"
)]
pub trait IntoRenewal {
    /// The claims.
    type Claims: Serialize;

    /// The renewal.
    fn into_renewal(self) -> Renewal<Self::Claims>;
}

impl<C: Serialize> IntoRenewal for C {
    type Claims = C;

    fn into_renewal(self) -> Renewal<C> {
        Renewal::new(self)
    }
}

impl<C: Serialize> IntoRenewal for Renewal<C> {
    type Claims = C;

    fn into_renewal(self) -> Self {
        self
    }
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
            remembered: record.remembered,
            auth_time: record.auth_time.into(),
            data: record.data,
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
