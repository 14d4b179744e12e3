//! The places of one kind of cookie, and its values in the headers of a request: the current place,
//! which is written, and those where earlier versions or other settings wrote, which are read.

use http::{HeaderMap, header::COOKIE};

/// A name, and the path to which browsers send the cookie.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) path: String,
}

/// The places of one kind of cookie.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) current: Place,
    /// Read where the current place has no cookie, the first one first.
    pub(super) earlier: Vec<Place>,
}

/// A cookie that should hold a token, and cannot be read.
pub(crate) enum Unreadable {
    /// There are two of the name: one of them may be planted.
    Several,
    /// It is not text.
    Malformed,
}

impl Places {
    pub(super) fn new(current: Place, earlier: impl IntoIterator<Item = Place>) -> Self {
        Self { current, earlier: earlier.into_iter().collect() }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Place> {
        [&self.current].into_iter().chain(&self.earlier)
    }

    /// The value of the only cookie. One in the current place hides all others, whatever it holds:
    /// a script can set the earlier names, and no script can set the current one.
    pub(super) fn the_only<'h>(
        &self,
        headers: &'h HeaderMap,
    ) -> Result<Option<&'h str>, Unreadable> {
        self.iter().find_map(|place| place.the_only(headers).transpose()).transpose()
    }

    /// The texts in all places.
    pub(super) fn texts<'h>(&self, headers: &'h HeaderMap) -> impl Iterator<Item = &'h str> {
        self.iter().flat_map(|place| place.texts(headers))
    }

    /// Returns whether a request has the cookie, in any place.
    pub(super) fn are_in(&self, headers: &HeaderMap) -> bool {
        self.iter().any(|place| place.is_in(headers))
    }
}

impl Place {
    pub(super) fn new(name: String, path: &str) -> Self {
        Self { name, path: path.to_string() }
    }

    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        self.values(headers).next().is_some()
    }

    /// The value of the cookie. Two of one name are two credentials: one of them may be planted.
    pub(super) fn the_only<'h>(
        &self,
        headers: &'h HeaderMap,
    ) -> Result<Option<&'h str>, Unreadable> {
        let mut values = self.values(headers);
        let value = values.next().map(std::str::from_utf8).transpose();
        match values.next() {
            Some(_) => Err(Unreadable::Several),
            None => value.map_err(|_| Unreadable::Malformed),
        }
    }

    /// The values that are text, as all tokens are.
    pub(super) fn texts<'h>(&self, headers: &'h HeaderMap) -> impl Iterator<Item = &'h str> {
        self.values(headers).filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// The values of all cookies of the name (RFC 6265 §4.2), but for empty ones, which were
    /// cleared. Other cookies may have anything in them.
    fn values<'h>(&self, headers: &'h HeaderMap) -> impl Iterator<Item = &'h [u8]> {
        let pairs = headers.get_all(COOKIE).into_iter().flat_map(|header| Pairs(header.as_bytes()));
        pairs.filter_map(|pair| {
            let value = pair.trim_ascii().strip_prefix(self.name.as_bytes())?.strip_prefix(b"=")?;
            (!value.is_empty()).then_some(value)
        })
    }
}

/// The parts of a header between its semicolons.
struct Pairs<'h>(&'h [u8]);

impl<'h> Iterator for Pairs<'h> {
    type Item = &'h [u8];

    fn next(&mut self) -> Option<&'h [u8]> {
        let Self(rest) = self;
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
        let (pair, behind) = rest.split_at(end);
        *rest = behind.get(1..).unwrap_or_default();
        Some(pair)
    }
}
