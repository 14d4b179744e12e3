//! Strict scan of a JSON object (RFC 8259): bytes in; out come the spans of its members, or the reason
//! why it is refused.
//!
//! The scan builds no values. [`serde_json`] reads the caller's type from the same text. It accepts every text
//! that the scan accepts, with the same values, whichever of its features a program has switched on. The scan is
//! stricter: serde_json skips what a type ignores without looking at surrogates, ranges, depth or repeated names.
//! Here, whatever type the caller decodes into:
//! - The text is UTF-8 without a byte order mark, and one object with nothing behind it (RFC 7519 §7.2).
//! - No object at any depth has two members of one name, compared after unescaping (RFC 7515 §4, RFC 7519 §4).
//! - Every number lies in the range of a double, every string is Unicode, nothing nests deeper than 127.
//!
//! The work is linear in the length of the text, and n log n in the number of names where a sort has to decide.

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
        /// How many bytes before it are.
        offset: usize,
    },
    /// The text does not begin with an object: it is empty, has a byte order mark, or is another JSON value.
    #[error("not a JSON object")]
    NotAnObject,
    /// The text does not follow the grammar, holds a number beyond the range of a double or half of a
    /// surrogate pair, or nests deeper than 127.
    #[error("malformed JSON at byte {offset}: {reason}")]
    Syntax {
        /// How many bytes were read before it.
        offset: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// An object has two members of the same name.
    #[error("the member {name} stands twice in one object")]
    DuplicateMember {
        /// The name, unescaped.
        name: Excerpt,
    },
    /// A member has a name by which serde_json marks the values of some of its types. serde_json would read the
    /// member's value as something else than this text says.
    #[error("the member name {name} is reserved by serde_json")]
    ReservedMember {
        /// The name, unescaped.
        name: Excerpt,
    },
    /// There are more members than a verifier looks at before it knows who wrote them.
    #[error("more than {limit} members")]
    TooManyMembers {
        /// How many there may be, at all depths together.
        limit: usize,
    },
}

debug_by_message!(JsonError);

/// The start of the names by which serde_json passes numbers and raw values to itself.
const RESERVED: &str = "$serde_json::private::";

/// Scans an object that has at most `max_members` members at all depths together, and returns its text.
///
/// Gives each member of the object itself to `member`: its name, unescaped, and its value. The caller uses
/// nothing of that unless the scan succeeds.
pub(crate) fn scan<'t>(
    text: &'t [u8],
    max_members: usize,
    mut member: impl FnMut(&[u8], Value<'t>),
) -> Result<&'t str, JsonError> {
    let text = core::str::from_utf8(text)
        .map_err(|error| JsonError::NotUtf8 { offset: error.valid_up_to() })?;
    let mut scanner = Scanner::new(text.as_bytes(), max_members);
    let start = scanner.input.space(0);
    if scanner.input.byte(start) != Some(b'{') {
        return Err(JsonError::NotAnObject);
    }
    // A name with an escape raises doubt, and is read where a sort decides.
    let mut unescaped = |name: Text<'t>, value| {
        if !name.is_escaped() {
            member(name.quoted(), value);
        }
    };
    let end = scanner.object(scanner.input, start, 0, &mut unescaped);
    match (end.and_then(|end| scanner.end(end)), scanner.fault) {
        (Ok(_), _) if scanner.doubt => decide_by_sorting(text, start, &mut member)?,
        (Ok(_), _) => {}
        (Err(Stop), fault) => return Err(fault.unwrap_or(JsonError::NotAnObject)),
    }
    Ok(text)
}

/// Refuses repeated and reserved names in a text that is strict otherwise. Gives the members whose names have escapes to
/// `member`.
#[cold]
fn decide_by_sorting<'t>(
    text: &'t str,
    start: usize,
    member: &mut dyn FnMut(&[u8], Value<'t>),
) -> Result<(), JsonError> {
    let mut scanner = Scanner::new(text.as_bytes(), usize::MAX);
    scanner.names = Some(Vec::new());
    // The text has been scanned before, so it is scanned to its end now.
    let _ = scanner.object(scanner.input, start, 0, &mut |name, value| {
        if name.is_escaped() {
            member(name.read().as_bytes(), value);
        }
    });
    let names = scanner.names.unwrap_or_default().into_iter();
    let mut names: Vec<_> = names.map(|(object, name)| (object, name.read())).collect();
    names.sort_unstable();
    if let Some([(_, name), _]) = names.windows(2).find(|pair| pair.first() == pair.last()) {
        return Err(JsonError::DuplicateMember { name: Excerpt::new(name) });
    }
    match names.iter().find(|(_, name)| name.starts_with(RESERVED)) {
        Some((_, name)) => Err(JsonError::ReservedMember { name: Excerpt::new(name) }),
        None => Ok(()),
    }
}

/// A value as it is spelled, in UTF-8 and without white space around it, after it was found to be strict.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'t> {
    spelled: &'t [u8],
    /// Of a string, whether it has an escape.
    is_escaped: bool,
}

impl<'t> Value<'t> {
    /// The string, if this is one.
    pub(crate) fn text(&self) -> Option<Text<'t>> {
        // By its fields: a copy of the whole waits for the bytes between them too.
        let Self { spelled, is_escaped } = *self;
        matches!(spelled, [b'"', ..]).then_some(Text(Self { spelled, is_escaped }))
    }

    /// The digits of the number, if this is one.
    pub(crate) fn number(&self) -> Option<&'t [u8]> {
        matches!(self.spelled, [b'-' | b'0'..=b'9', ..]).then_some(self.spelled)
    }

    pub(crate) fn is_null(&self) -> bool {
        self.spelled == b"null"
    }

    /// The elements, if this is an array. They are scanned again, so that nothing has to be allocated for them.
    pub(crate) fn elements(&self) -> Option<impl Iterator<Item = Value<'t>> + use<'t>> {
        let mut scanner = Scanner::new(self.spelled.strip_prefix(b"[")?, usize::MAX);
        let input = scanner.input;
        let mut at = input.space(0);
        Some(core::iter::from_fn(move || {
            // The bracket at the end is not a value.
            let end = scanner.value(input, at, 0).ok()?;
            let element = scanner.spanned(input, at, end).ok()?;
            at = input.space(end);
            if input.byte(at) == Some(b',') {
                at = input.space(at + 1);
            }
            Some(element)
        }))
    }

    /// The strings, if this is an array of nothing else.
    pub(crate) fn texts(&self) -> Option<impl Iterator<Item = Text<'t>> + use<'t>> {
        let are_texts = self.elements()?.all(|element| element.text().is_some());
        if are_texts { Some(self.elements()?.filter_map(|element| element.text())) } else { None }
    }

    /// The value as it is spelled.
    pub(crate) fn spelled(&self) -> &'t str {
        text_of(self.spelled)
    }
}

/// A value that is a string.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'t>(Value<'t>);

impl<'t> Text<'t> {
    /// The bytes between the quotes, with their escapes.
    pub(crate) fn quoted(self) -> &'t [u8] {
        match self.0.spelled {
            [_, quoted @ .., _] => quoted,
            _ => &[],
        }
    }

    fn is_escaped(self) -> bool {
        self.0.is_escaped
    }

    /// The string, unescaped.
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

/// A part of a text that has been found to be UTF-8.
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

    /// `count` members of distinct names, with a comma behind each.
    fn members(count: usize) -> String {
        (0..count)
            .flat_map(|number| [r#""n"#.into(), number.to_string(), r#"":0,"#.into()])
            .collect()
    }

    /// Which repeated name a sort alone finds, and how many names there are before.
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
