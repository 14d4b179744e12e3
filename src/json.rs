//! Strict scan of a JSON object (RFC 8259): bytes in; out come the spans of its members, or the
//! reason for a refusal.
//!
//! The scan builds no values. [`serde_json`] reads the caller's type from the same text afterwards.
//! serde_json accepts every text that the scan accepts, with the same values, whichever of
//! serde_json's features a program has enabled. The scan is stricter, because serde_json skips
//! members that a type ignores without checking surrogates, ranges, depth or repeated names. These
//! rules apply whatever type the caller decodes into:
//! - The text is UTF-8 without a byte order mark, and one object with nothing after it (RFC 7519
//!   §7.2).
//! - No object at any depth has two members of the same name, compared after unescaping (RFC 7515
//!   §4, RFC 7519 §4).
//! - Every number is in the range of a double, every string is Unicode, and nesting is at most 127
//!   deep.
//!
//! The time is linear in the length of the text. Where a sort has to decide about equal names, it
//! is n log n in the number of names.

mod scanner;

use alloc::{borrow::Cow, string::String, vec::Vec};

use self::scanner::{Scanner, Stop};
use crate::{debug::debug_by_message, excerpt::Excerpt};

/// Why a text is not one strict JSON object.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The bytes are not UTF-8.
    #[error("not UTF-8 from byte {offset} on")]
    NotUtf8 {
        /// The number of valid bytes before it.
        offset: usize,
    },
    /// The text does not begin with an object: it is empty, begins with a byte order mark, or is
    /// another JSON value.
    #[error("not a JSON object")]
    NotAnObject,
    /// The text does not follow the grammar, contains a number outside the range of a double or
    /// half of a surrogate pair, or is nested deeper than 127.
    #[error("malformed JSON at byte {offset}: {reason}")]
    Syntax {
        /// The number of bytes before the fault.
        offset: usize,
        /// The fault.
        reason: &'static str,
    },
    /// An object has two members of the same name.
    #[error("the member {name} occurs twice in one object")]
    DuplicateMember {
        /// The name, unescaped.
        name: Excerpt,
    },
    /// A member has a name that serde_json uses internally to mark values of some of its types.
    /// serde_json would read the member's value as something other than this text says.
    #[error("the member name {name} is reserved by serde_json")]
    ReservedMember {
        /// The name, unescaped.
        name: Excerpt,
    },
    /// The object has more members than a verifier reads before it knows who wrote them.
    #[error("more than {limit} members")]
    TooManyMembers {
        /// The maximum number of members, at all depths together.
        limit: usize,
    },
}

debug_by_message!(JsonError);

/// The prefix of the names that serde_json uses internally for numbers and raw values.
const RESERVED: &str = "$serde_json::private::";

/// Scans an object with at most `max_members` members, at all depths together, and returns its
/// text.
///
/// Calls `member` for each member of the outer object, with its unescaped name and its value. The
/// caller uses these values only if the scan succeeds.
pub(crate) fn scan<'t>(
    text: &'t [u8],
    max_members: usize,
    member: impl FnMut(&[u8], Value<'t>),
) -> Result<&'t str, JsonError> {
    // RFC 7519 §7.2 requires UTF-8 for the header and the payload.
    let text = core::str::from_utf8(text)
        .map_err(|error| JsonError::NotUtf8 { offset: error.valid_up_to() })?;
    scan_utf8(text.as_bytes(), max_members, member)?;
    Ok(text)
}

/// Scans an object like [`scan`]. The caller knows that the text is UTF-8.
pub(crate) fn scan_utf8<'t>(
    text: &'t [u8],
    max_members: usize,
    mut member: impl FnMut(&[u8], Value<'t>),
) -> Result<(), JsonError> {
    let mut scanner = Scanner::new(text, max_members);
    // RFC 8259 §8.1 forbids a byte order mark. It is not white space, so it is refused here.
    let start = scanner.input.space(0);
    if scanner.input.byte(start) != Some(b'{') {
        return Err(JsonError::NotAnObject);
    }
    // `decide_by_sorting` reads a name with an escape, because such a name sets `doubt`.
    let mut unescaped = |name: Text<'t>, value| {
        if !name.is_escaped() {
            member(name.quoted(), value);
        }
    };
    let end = scanner.object(scanner.input, start, 0, &mut unescaped);
    match (end.and_then(|end| scanner.end(end)), scanner.fault) {
        (Ok(_), _) if scanner.doubt => decide_by_sorting(text, start, &mut member),
        (Ok(_), _) => Ok(()),
        (Err(Stop), fault) => Err(fault.unwrap_or(JsonError::NotAnObject)),
    }
}

/// Refuses repeated and reserved names in a text that is strict otherwise. Calls `member` for the
/// members whose names have escapes.
#[cold]
fn decide_by_sorting<'t>(
    text: &'t [u8],
    start: usize,
    member: &mut dyn FnMut(&[u8], Value<'t>),
) -> Result<(), JsonError> {
    let mut scanner = Scanner::new(text, usize::MAX);
    scanner.names = Some(Vec::new());
    // The text has been scanned once without a fault, so this scan reaches the end.
    let _ = scanner.object(scanner.input, start, 0, &mut |name, value| {
        if name.is_escaped() {
            member(name.read().as_bytes(), value);
        }
    });
    let names = scanner.names.unwrap_or_default().into_iter();
    // Two objects of a text have different positions.
    let mut names: Vec<_> = names.map(|(object, name)| (object, name.read())).collect();
    names.sort_unstable();
    // Sorted by object, then by name: equal names of one object are neighbours.
    if let Some([(_, name), _]) = names.windows(2).find(|pair| pair.first() == pair.last()) {
        return Err(JsonError::DuplicateMember { name: Excerpt::new(name) });
    }
    match names.iter().find(|(_, name)| name.starts_with(RESERVED)) {
        Some((_, name)) => Err(JsonError::ReservedMember { name: Excerpt::new(name) }),
        None => Ok(()),
    }
}

/// A value as it is spelled, in UTF-8 and without white space around it. The scan has found it to
/// be strict.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'t> {
    spelled: &'t [u8],
    /// Whether the value is a string with an escape.
    is_escaped: bool,
}

impl<'t> Value<'t> {
    /// Returns the string, or `None` if the value has another type.
    pub(crate) fn text(&self) -> Option<Text<'t>> {
        // The fields are copied one by one: a copy of the whole struct would also wait for the
        // bytes between them.
        let Self { spelled, is_escaped } = *self;
        matches!(spelled, [b'"', ..]).then_some(Text(Self { spelled, is_escaped }))
    }

    /// Returns the digits of the number, or `None` if the value has another type.
    pub(crate) fn number(&self) -> Option<&'t [u8]> {
        // The scan has checked the rest: the first byte alone tells the type of a JSON value.
        matches!(self.spelled, [b'-' | b'0'..=b'9', ..]).then_some(self.spelled)
    }

    pub(crate) fn is_null(&self) -> bool {
        self.spelled == b"null"
    }

    /// Returns the elements, or `None` if the value is not an array. The elements are scanned
    /// again, so that nothing has to be allocated for them.
    pub(crate) fn elements(&self) -> Option<impl Iterator<Item = Value<'t>> + use<'t>> {
        let mut scanner = Scanner::new(self.spelled.strip_prefix(b"[")?, usize::MAX);
        let input = scanner.input;
        let mut at = input.space(0);
        Some(core::iter::from_fn(move || {
            // The bracket at the end is not a value, so the scan fails there and the iterator ends.
            let end = scanner.value(input, at, 0).ok()?;
            let element = scanner.spanned(input, at, end).ok()?;
            at = input.space(end);
            if input.byte(at) == Some(b',') {
                at = input.space(at + 1);
            }
            Some(element)
        }))
    }

    /// Returns the strings, or `None` if the value is not an array of strings.
    pub(crate) fn texts(&self) -> Option<impl Iterator<Item = Text<'t>> + use<'t>> {
        let are_texts = self.elements()?.all(|element| element.text().is_some());
        if are_texts { Some(self.elements()?.filter_map(|element| element.text())) } else { None }
    }

    /// Returns the value as it is spelled.
    pub(crate) fn spelled(&self) -> &'t str {
        text_of(self.spelled)
    }
}

/// A value that is a string.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'t>(Value<'t>);

impl<'t> Text<'t> {
    /// Returns the bytes between the quotes, with their escapes.
    pub(crate) fn quoted(self) -> &'t [u8] {
        match self.0.spelled {
            [_, quoted @ .., _] => quoted,
            _ => &[],
        }
    }

    fn is_escaped(self) -> bool {
        self.0.is_escaped
    }

    /// Returns the string, unescaped.
    pub(crate) fn read(self) -> Cow<'t, str> {
        if self.is_escaped() { self.unescaped().into() } else { text_of(self.quoted()).into() }
    }

    #[cold]
    fn unescaped(self) -> String {
        serde_json::from_slice(self.0.spelled).expect("what has been scanned is a string")
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        if self.is_escaped() {
            self.unescaped() == other
        } else {
            self.quoted() == other.as_bytes()
        }
    }
}

/// Returns a part of a text as a `str`. The text is known to be UTF-8.
fn text_of(part: &[u8]) -> &str {
    core::str::from_utf8(part).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString};

    use super::{scanner::MAX_OPEN_NAMES, *};

    fn verdict(text: &str) -> Result<(), JsonError> {
        scan(text.as_bytes(), usize::MAX, |_, _| ()).map(|_| ())
    }

    fn duplicate(name: &str) -> Result<(), JsonError> {
        Err(JsonError::DuplicateMember { name: Excerpt::new(name) })
    }

    /// Returns `count` members of distinct names, each followed by a comma.
    fn members(count: usize) -> String {
        (0..count)
            .flat_map(|number| [r#""n"#.into(), number.to_string(), r#"":0,"#.into()])
            .collect()
    }

    /// Checks repeated names that only a sort finds, with different numbers of names before them.
    #[test]
    fn names_beyond_those_compared_one_by_one_are_compared() {
        for count in [0, 1, MAX_OPEN_NAMES - 2, MAX_OPEN_NAMES - 1, MAX_OPEN_NAMES, 100] {
            let before = members(count);
            let apart =
                r#""a":{"x":{"x":0,"y":0},"y":0},"b":[{"x":0,"y":0},{"x":0,"y":0}],"x":0,"y":0"#;
            assert_eq!(verdict(&format!("{{{before}{apart}}}")), Ok(()), "{count}");
            for (twice, name) in [
                (r#""x":0,"x":0"#, "x"),
                (r#""x":0,"y":0,"z":0,"x":0"#, "x"),
                (r#""x":{"x":0,"y":0,"x":0}"#, "x"),
                (r#""x":[{"y":0},{"y":{"z":0},"y":0}]"#, "y"),
                (r#""x":0,"y":{"x":0,"y":0},"x":0"#, "x"),
                (r#""\u0078":0,"x":0"#, "x"),
                (r#""x":0,"\u0078":0"#, "x"),
                (
                    r#""a name longer than two words":0,"a name longer than two words":0"#,
                    "a name longer than two words",
                ),
            ] {
                let text = format!("{{{before}{twice}}}");
                assert_eq!(verdict(&text), duplicate(name), "{text}");
                let text = format!("{{{before}{twice},{}\"z\":0}}", members(50).replace('n', "m"));
                assert_eq!(verdict(&text), duplicate(name), "{text}");
            }
        }
        for count in 2..100 {
            let text = format!("{{{}\"n{}\":0}}", members(count), count - 1);
            assert_eq!(verdict(&text), duplicate(&format!("n{}", count - 1)), "{text}");
        }
    }

    #[test]
    fn elements_are_those_of_the_array() {
        let value = |spelled| Value { spelled, is_escaped: false };
        let array = value(br#"[ 1 ,"a]",[2,[]], {"b":[3]},null]"#);
        let elements: Vec<_> = array.elements().unwrap().map(|element| element.spelled()).collect();
        assert_eq!(elements, ["1", r#""a]""#, "[2,[]]", r#"{"b":[3]}"#, "null"]);
        assert!(array.texts().is_none() && value(b"{}").elements().is_none());
        assert_eq!(value(b"[ ]").elements().unwrap().count(), 0);
        let texts = value(br#"["a","\u0062\ud83d\ude00"]"#).texts().unwrap();
        assert_eq!(texts.map(Text::read).collect::<Vec<_>>(), ["a", "b😀"]);
    }
}
