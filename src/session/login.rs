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

    /// What the user will know the session by in a list, the name of a device for one: up to 128 bytes without
    /// control characters.
    #[must_use]
    pub fn label(self, label: impl Into<String>) -> Self {
        Self { label: Some(label.into()), ..self }
    }

    pub(super) fn check(&self) -> Result<(), SessionError> {
        if !is_name(&self.subject) {
            return Err(SessionError::Subject);
        }
        let label = self.label.as_deref().unwrap_or_default();
        if label.len() > MAX_LABEL_LEN || label.contains(char::is_control) {
            return Err(SessionError::Label);
        }
        Ok(())
    }
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
