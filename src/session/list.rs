//! The list of a subject's sessions, in pages.

use alloc::{string::String, vec::Vec};

use super::{
    Sessions,
    data::SessionData,
    error::SessionError,
    id::SessionId,
    login::is_name,
    record::SessionRecord,
    store::{ListCursor, ListRequest, RefreshStore},
};
use crate::numeric_date::NumericDate;

/// A session, as its user may see it in a list, and as the application sees it when it authorizes a refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session {
    /// Its id, to end it by.
    pub id: SessionId,
    /// The user whom it is for.
    pub subject: String,
    /// The client that it belongs to.
    pub client: String,
    /// The name that the application gave it at the login.
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
    /// The sessions of `subject` that can be refreshed, by the time of their login: up to
    /// [`PAGE`](Self::PAGE) of them.
    ///
    /// # Errors
    /// [`SessionError::Store`].
    pub async fn list(&self, subject: &str) -> Result<SessionPage, SessionError> {
        self.page(subject, None).await
    }

    /// The next page of the list, from where [`SessionPage::next`] says.
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

    /// How many sessions a page of a list has: 100.
    pub const PAGE: usize = 100;

    async fn page(
        &self,
        subject: &str,
        after: Option<ListCursor>,
    ) -> Result<SessionPage, SessionError> {
        if !is_name(subject) {
            return Ok(SessionPage { sessions: Vec::new(), next: None });
        }
        // One more, to see whether there is one.
        let limit = u32::try_from(Self::PAGE).unwrap_or(u32::MAX) + 1;
        let request = ListRequest { after, limit, ..ListRequest::new(subject, self.now()) };
        let mut records = self.store.list(&request).await?;
        let has_more = records.len() > Self::PAGE;
        records.truncate(Self::PAGE);
        let next = records.last().filter(|_| has_more).map(ListCursor::of);
        // The store may have lost that one has ended.
        records.retain(|record| !self.verifier.knows_ended(&record.id));
        Ok(SessionPage { sessions: records.into_iter().map(Session::from).collect(), next })
    }
}
