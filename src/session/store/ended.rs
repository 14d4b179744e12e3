//! The pages in which a store gives out its log of ended sessions.

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use crate::session::id::SessionId;

/// A place in a store's log of ended sessions. The default is its beginning; every other one comes from
/// [`EndedPage::next`], and only the store that made it can tell what it means.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EndedCursor(Box<[u8]>);

impl EndedCursor {
    /// The place that a store writes as these bytes.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes that the store wrote; none at the beginning of the log.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for EndedCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EndedCursor({} bytes)", self.0.len())
    }
}

/// A part of a store's log of ended sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndedPage {
    /// The sessions that were revoked.
    pub ids: Vec<SessionId>,
    /// Where the next page begins.
    pub next: EndedCursor,
    /// Whether the log ended here when the page was read.
    pub is_last: bool,
}

impl EndedPage {
    /// The last page, behind which the log goes on at `next`.
    pub const fn last(ids: Vec<SessionId>, next: EndedCursor) -> Self {
        Self { ids, next, is_last: true }
    }

    /// A page that others follow.
    pub const fn more(ids: Vec<SessionId>, next: EndedCursor) -> Self {
        Self { ids, next, is_last: false }
    }
}
