//! The requests to a store whose steps take more than a few parameters. kippu makes these requests;
//! a later version may add fields.

use alloc::{string::String, vec::Vec};
use core::{borrow::Borrow, fmt, str::FromStr};

use crate::{
    debug::debug_by_message,
    session::{id::SessionId, record::SessionRecord, time::UnixMillis},
};

/// A request to add a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InsertRequest {
    /// The session.
    pub session: SessionRecord,
    /// The maximum number of live sessions of the subject, including this one. `None` allows any
    /// number.
    pub limit: Option<SessionLimit>,
}

impl InsertRequest {
    /// Returns a request to add a session, whatever the number of its subject's sessions.
    pub const fn new(session: SessionRecord) -> Self {
        Self { session, limit: None }
    }

    /// Limits the sessions of the subject.
    #[must_use]
    pub fn limit(self, limit: SessionLimit) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Decides about the limit, for a subject that has the sessions `others`. They do not include
    /// the new session, and may have any order.
    pub fn decide(&self, others: impl IntoIterator<Item: Borrow<SessionRecord>>) -> Room {
        let Some(SessionLimit { max, evicts }) = self.limit else { return Room::Enough };
        let now = self.session.created_at;
        let live = others.into_iter().filter_map(|other| {
            let other: &SessionRecord = other.borrow();
            other.is_live(now).then_some((other.created_at, other.id))
        });
        let mut live: Vec<_> = live.collect();
        // One place is for the new session.
        let room = usize::try_from(max.saturating_sub(1)).unwrap_or(usize::MAX);
        match live.len().saturating_sub(room) {
            0 => Room::Enough,
            _ if !evicts => Room::Refused,
            excess => {
                // By login and then by id, so that every store evicts the same sessions.
                live.sort_unstable();
                live.truncate(excess);
                Room::After(live.into_iter().map(|(_, id)| id).collect())
            }
        }
    }
}

/// The decision whether there is room for a session within its [limit](InsertRequest::limit).
///
/// The enum is exhaustive on purpose. A store that ignored a decision would exceed the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is room.
    Enough,
    /// There is room after these sessions are revoked, which are sorted from the oldest.
    After(Vec<SessionId>),
    /// There is no room, and no session is to be evicted: [`InsertOutcome::LimitReached`].
    Refused,
}

/// The maximum number of live sessions of a subject, and what a login beyond it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimit {
    max: u32,
    evicts: bool,
}

impl SessionLimit {
    /// Allows at most `max` sessions. A login beyond them ends the oldest ones.
    pub const fn evict_oldest(max: u32) -> Self {
        Self { max, evicts: true }
    }

    /// Allows at most `max` sessions. A login beyond them is refused
    /// ([`SessionError::TooManySessions`](crate::session::SessionError::TooManySessions)).
    pub const fn refuse(max: u32) -> Self {
        Self { max, evicts: false }
    }

    /// Returns the maximum. It is at least 1 in a request to a store.
    pub const fn max(&self) -> u32 {
        self.max
    }

    /// Returns whether a login beyond the maximum ends the oldest sessions. Otherwise it is
    /// refused.
    pub const fn evicts(&self) -> bool {
        self.evicts
    }
}

/// The outcome of an insert.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InsertOutcome {
    /// The session was added.
    Inserted {
        /// The sessions that this step revoked to make room. Without a limit there are none.
        evicted: Vec<SessionId>,
    },
    /// A session with this id exists and was not changed.
    Duplicate,
    /// The subject has reached its limit of live sessions. Nothing was changed.
    LimitReached,
    /// The store has reached its maximum number of sessions. Nothing was removed to make room.
    Full,
}

impl InsertOutcome {
    /// The session was added, and no other session was changed.
    pub const INSERTED: Self = Self::Inserted { evicted: Vec::new() };
}

/// A request to list the live sessions of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListRequest {
    /// The subject.
    pub subject: String,
    /// The time at which the sessions have to be live.
    pub now: UnixMillis,
    /// The session after which the list begins. `None` begins with the first one.
    pub after: Option<ListCursor>,
    /// The maximum number of sessions.
    pub limit: u32,
}

impl ListRequest {
    /// Returns a request for all sessions of `subject` that are live at `now`.
    pub fn new(subject: impl Into<String>, now: UnixMillis) -> Self {
        Self { subject: subject.into(), now, after: None, limit: u32::MAX }
    }

    /// Returns the requested page of a list of sessions.
    pub fn page(
        &self,
        sessions: impl IntoIterator<Item: Borrow<SessionRecord>>,
    ) -> Vec<SessionRecord> {
        let is_wanted = |session: &SessionRecord| {
            session.subject == self.subject
                && session.is_live(self.now)
                && self.after.is_none_or(|after| ListCursor::of(session) > after)
        };
        let sessions = sessions.into_iter();
        let mut page: Vec<_> = sessions.filter(|session| is_wanted(session.borrow())).collect();
        page.sort_by_key(|session| ListCursor::of(session.borrow()));
        page.truncate(usize::try_from(self.limit).unwrap_or(usize::MAX));
        page.iter().map(|session| session.borrow().clone()).collect()
    }
}

/// A position in a subject's list of sessions, directly after one of them. Its text, for the URL of
/// the next page, is the time of that session's login and its id:
/// `1700000000000.BwcHBwcHBwcHBwcHBwcHBw`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListCursor {
    /// The login of the session before this position.
    pub created_at: UnixMillis,
    /// The id of that session.
    pub id: SessionId,
}

impl ListCursor {
    /// Returns the position after `session`.
    pub const fn of(session: &SessionRecord) -> Self {
        Self { created_at: session.created_at, id: session.id }
    }
}

impl fmt::Display for ListCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.created_at, self.id)
    }
}

impl FromStr for ListCursor {
    type Err = ListCursorError;

    fn from_str(text: &str) -> Result<Self, ListCursorError> {
        let (time, id) = text.split_once('.').ok_or(ListCursorError)?;
        let created_at = UnixMillis::new(time.parse().map_err(|_| ListCursorError)?);
        Ok(Self { created_at, id: id.parse().map_err(|_| ListCursorError)? })
    }
}

/// The text is not a position in a list.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a position in a list of sessions is a number of milliseconds, a dot and a session id")]
pub struct ListCursorError;

debug_by_message!(ListCursorError);

#[cfg(test)]
mod tests {
    use alloc::{string::ToString, vec};

    use super::*;

    fn session(number: u8, created_at: i64) -> SessionRecord {
        let at = UnixMillis::new;
        let id = SessionId::from_bytes([number; 16]);
        SessionRecord::new(id, "alice", "web", "1", at(created_at), at(created_at + 100))
    }

    fn ids(numbers: &[u8]) -> Vec<SessionId> {
        numbers.iter().map(|number| SessionId::from_bytes([*number; 16])).collect()
    }

    #[test]
    fn the_oldest_make_room() {
        let new = InsertRequest::new(session(9, 50));
        // The third session ends when the new one begins, and the fourth is revoked.
        let mut others =
            vec![session(2, 10), session(1, 10), session(3, -50), session(4, 20), session(5, 40)];
        others[3].apply(crate::session::rotation::Change::Revoke {
            at: UnixMillis::new(30),
            reason: crate::session::RevokeReason::Logout,
        });
        let evicted =
            |max| new.clone().limit(SessionLimit::evict_oldest(max)).decide(others.clone());
        assert_eq!(new.decide(others.clone()), Room::Enough);
        assert_eq!(evicted(u32::MAX), Room::Enough);
        assert_eq!(evicted(4), Room::Enough);
        assert_eq!(evicted(3), Room::After(ids(&[1])));
        assert_eq!(evicted(2), Room::After(ids(&[1, 2])));
        assert_eq!(evicted(1), Room::After(ids(&[1, 2, 5])));
        for (max, room) in [(4, Room::Enough), (3, Room::Refused), (1, Room::Refused)] {
            let request = new.clone().limit(SessionLimit::refuse(max));
            assert_eq!(request.decide(others.clone()), room);
        }
    }

    #[test]
    fn a_page_begins_behind_the_one_before() {
        let sessions = vec![session(2, 10), session(1, 10), session(3, 5), session(4, -100)];
        let mut request =
            ListRequest { limit: 2, ..ListRequest::new("alice", UnixMillis::new(20)) };
        let page = |request: &ListRequest| {
            request.page(sessions.clone()).iter().map(|session| session.id).collect::<Vec<_>>()
        };
        assert_eq!(page(&request), ids(&[3, 1]));
        request.after = Some(ListCursor::of(&session(1, 10)));
        assert_eq!(page(&request), ids(&[2]));
        request.subject = "bob".into();
        assert_eq!(page(&request), ids(&[]));
    }

    #[test]
    fn a_cursor_is_read_from_its_text() {
        for time in [-5, 0, 1_700_000_000_000] {
            let cursor = ListCursor::of(&session(7, time));
            assert_eq!(cursor.to_string(), alloc::format!("{time}.BwcHBwcHBwcHBwcHBwcHBw"));
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in ["", ".", "5", "5.", "x.BwcHBwcHBwcHBwcHBwcHBw", "5.BwcHBwcHBwcHBwcHBwcHB"] {
            assert_eq!(text.parse::<ListCursor>(), Err(ListCursorError), "{text}");
        }
    }
}
