//! The pages of a store's log of ended sessions.

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use crate::session::id::SessionId;

/// A position in a store's log of ended sessions. The default is the start of the log. Every other
/// cursor comes from [`EndedPage::next`]; only the store that made it can interpret it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EndedCursor(Box<[u8]>);

impl EndedCursor {
    /// Makes a cursor of the bytes with which a store represents a position.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// Returns the bytes of the store. They are empty at the start of the log.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for EndedCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EndedCursor({} bytes)", self.0.len())
    }
}

/// A page of a store's log of ended sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndedPage {
    /// The sessions that were revoked.
    pub ids: Vec<SessionId>,
    /// The position of the next page.
    pub next: EndedCursor,
    /// Whether this was the end of the log when the page was read.
    pub is_last: bool,
}

impl EndedPage {
    /// Returns the last page. The log will continue at `next`.
    pub const fn last(ids: Vec<SessionId>, next: EndedCursor) -> Self {
        Self { ids, next, is_last: true }
    }

    /// Returns a page that is followed by others.
    pub const fn more(ids: Vec<SessionId>, next: EndedCursor) -> Self {
        Self { ids, next, is_last: false }
    }
}
