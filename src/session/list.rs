//! The list of a subject's sessions, in pages.

use alloc::{string::String, vec::Vec};

use super::{
    Sessions,
    data::SessionData,
    error::SessionError,
    id::SessionId,
    record::{SessionRecord, is_name},
    store::{ListCursor, ListRequest, RefreshStore},
};
use crate::numeric_date::NumericDate;

/// A session, as a user sees it in a list, and as the application sees it in `authorize`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session {
    /// The id, for example for [`Sessions::logout_session`](super::Sessions::logout_session).
    pub id: SessionId,
    /// The user.
    pub subject: String,
    /// The client to which the session belongs.
    pub client: String,
    /// The label that the application set at the login.
    pub label: Option<String>,
    /// When the user logged in.
    pub created_at: NumericDate,
    /// When the session was last refreshed, or the login if it never was.
    pub last_used_at: NumericDate,
    /// When the session ends unless it is refreshed again.
    pub expires_at: NumericDate,
    /// Whether the cookies of the session outlive the browser session.
    pub remembered: bool,
    /// When the user last authenticated.
    pub auth_time: NumericDate,
    /// The application's data.
    pub data: SessionData,
}

/// A page of the list of a subject's sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionPage {
    /// The sessions, in the order of their logins.
    pub sessions: Vec<Session>,
    /// The start of the next page, for [`Sessions::list_after`](super::Sessions::list_after), or
    /// `None` at the end of the list.
    pub next: Option<ListCursor>,
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

impl<S: RefreshStore> Sessions<S> {
    /// Returns the live sessions of `subject` in the order of their logins, at most
    /// [`PAGE`](Self::PAGE) of them.
    ///
    /// # Errors
    /// [`SessionError::Store`].
    pub async fn list(&self, subject: &str) -> Result<SessionPage, SessionError> {
        self.page(subject, None).await
    }

    /// Returns the next page of the list, which begins at [`SessionPage::next`].
    ///
    /// # Errors
    /// [`SessionError::Store`].
    pub async fn list_after(
        &self,
        subject: &str,
        place: ListCursor,
    ) -> Result<SessionPage, SessionError> {
        self.page(subject, Some(place)).await
    }

    /// The maximum number of sessions on a page: 100.
    pub const PAGE: usize = 100;

    async fn page(
        &self,
        subject: &str,
        after: Option<ListCursor>,
    ) -> Result<SessionPage, SessionError> {
        // No session has such a subject, and PostgreSQL refuses a text with NUL.
        if !is_name(subject) {
            return Ok(SessionPage { sessions: Vec::new(), next: None });
        }
        // One more than a page, to find out whether there is a next page.
        let limit = u32::try_from(Self::PAGE).unwrap_or(u32::MAX) + 1;
        let request = ListRequest { after, limit, ..ListRequest::new(subject, self.now()) };
        let mut records = self.store.list(&request).await?;
        let has_more = records.len() > Self::PAGE;
        records.truncate(Self::PAGE);
        // Before the filter below: the next page begins after the last session that the store
        // returned.
        let next = records.last().filter(|_| has_more).map(ListCursor::of);
        // The store may have lost the end of a session that this server knows of.
        records.retain(|record| !self.verifier.knows_ended(&record.id));
        Ok(SessionPage { sessions: records.into_iter().map(Session::from).collect(), next })
    }
}
