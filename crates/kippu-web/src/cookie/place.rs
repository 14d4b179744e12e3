//! The places of one kind of cookie, and its values in the headers of a request. The current place
//! is written. The places of earlier versions and other settings are read.

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
    /// Read in this order if the current place has no cookie.
    pub(super) earlier: Vec<Place>,
}

/// Why a cookie that should have a token cannot be read.
pub(crate) enum Unreadable {
    /// Two cookies have the name. One of them may be planted.
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

    /// Returns the value of the only cookie. A cookie in the current place hides all others,
    /// whatever its value, because a script can set the earlier names but not the current one.
    pub(super) fn the_only<'h>(
        &self,
        headers: &'h HeaderMap,
    ) -> Result<Option<&'h str>, Unreadable> {
        self.iter().find_map(|place| place.the_only(headers).transpose()).transpose()
    }

    /// Returns the texts in all places.
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

    /// Returns the value of the cookie. Two cookies of one name are two credentials, of which one
    /// may be planted.
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

    /// Returns the values that are text, like all tokens.
    pub(super) fn texts<'h>(&self, headers: &'h HeaderMap) -> impl Iterator<Item = &'h str> {
        self.values(headers).filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// Returns the values of all cookies of the name (RFC 6265 §4.2), except empty ones, which were
    /// cleared. Other cookies may contain any bytes.
    fn values<'h>(&self, headers: &'h HeaderMap) -> impl Iterator<Item = &'h [u8]> {
        let pairs = headers.get_all(COOKIE).into_iter().flat_map(|header| Pairs(header.as_bytes()));
        pairs.filter_map(|pair| {
            // Browsers write a space after each semicolon (RFC 6265 §4.2.1).
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
