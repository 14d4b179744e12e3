//! Strict scan of a JSON object (RFC 8259): bytes in; out come the spans of its members, or the reason
//! why it is refused.
//!
//! The scan builds no values. [`serde_json`] reads the caller's type from the same text, so that every type
//! that works with serde_json works here. serde_json accepts every text that the scan accepts, with the same values,
//! whichever of serde_json's features a program has switched on. The scan is stricter: serde_json skips the
//! members that a type ignores without looking at surrogates, ranges, depth or repeated names.
//!
//! Every text is held to the same rules, whatever type the caller decodes into:
//! - The text is UTF-8 without a byte order mark, and one object with nothing behind it (RFC 7519 §7.2).
//! - No object at any depth has two members of one name, compared after unescaping (RFC 7515 §4,
//!   RFC 7519 §4: refuse, or take the last; refusing is safer).
//! - Every number lies in the range of a double, every string is Unicode, nothing nests deeper than 127.
//!
//! The work is linear in the length of the text, and n log n in the number of names where a sort has to decide.

use alloc::{borrow::Cow, string::String, vec::Vec};
use core::cmp::Ordering;

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

/// How deep arrays and objects may nest, so that the stack is bounded. It is serde_json's limit.
const MAX_DEPTH: usize = 127;

/// How many names of open objects are compared one by one. Where there are more, a sort decides.
const MAX_OPEN_NAMES: usize = 32;

/// With this prefix begin the names by which serde_json passes numbers and raw values to itself.
const RESERVED: &str = "$serde_json::private::";

/// Scans an object that has at most `max_members` members at all depths together, and returns its text.
///
/// Gives each member of the object itself to `member`: its name, unescaped, and its value. The caller uses
/// nothing of that unless the scan succeeds.
pub(crate) fn scan<'t>(
    text: &'t [u8],
    max_members: usize,
    mut member: impl FnMut(&str, Value<'t>),
) -> Result<&'t str, JsonError> {
    let text = core::str::from_utf8(text)
        .map_err(|error| JsonError::NotUtf8 { offset: error.valid_up_to() })?;
    let mut scanner = Scanner::new(text, max_members);
    let start = scanner.space(0);
    if scanner.byte(start) != Some(b'{') {
        return Err(JsonError::NotAnObject);
    }
    let end = scanner.object(start, 0, &mut member).and_then(|end| scanner.end(end));
    match (end, scanner.fault) {
        (Ok(()), _) if scanner.doubt => decide_by_sorting(text, start)?,
        (Ok(()), _) => {}
        (Err(Stop), fault) => return Err(fault.unwrap_or(JsonError::NotAnObject)),
    }
    Ok(text)
}

/// Refuses repeated and reserved names in a text that is strict otherwise.
#[cold]
fn decide_by_sorting(text: &str, start: usize) -> Result<(), JsonError> {
    let mut scanner = Scanner::new(text, usize::MAX);
    scanner.names = Some(Vec::new());
    // The text has been scanned before, so it is scanned to its end now.
    let _ = scanner.object(start, 0, &mut |_, _| ());
    let mut names = scanner.names.unwrap_or_default();
    names.sort_unstable();
    for pair in names.windows(2) {
        if let [(object, name), next] = pair {
            if *next == (*object, Cow::Borrowed(&**name)) {
                return Err(JsonError::DuplicateMember { name: Excerpt::new(name) });
            }
        }
    }
    match names.iter().find(|(_, name)| name.starts_with(RESERVED)) {
        Some((_, name)) => Err(JsonError::ReservedMember { name: Excerpt::new(name) }),
        None => Ok(()),
    }
}

/// A value as it is spelled, without white space around it, after it was found to be strict.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'t>(&'t str);

impl<'t> Value<'t> {
    /// The string, if this is one.
    pub(crate) fn text(self) -> Option<Text<'t>> {
        self.0.starts_with('"').then_some(Text(self.0))
    }

    /// The digits of the number, if this is one.
    pub(crate) fn number(self) -> Option<&'t str> {
        self.0.starts_with(|first: char| first == '-' || first.is_ascii_digit()).then_some(self.0)
    }

    /// The elements, if this is an array. They are scanned again, so that nothing has to be allocated for them.
    pub(crate) fn elements(self) -> Option<impl Iterator<Item = Value<'t>>> {
        let array = self.0.strip_prefix('[')?;
        let mut scanner = Scanner::new(array, usize::MAX);
        let mut at = scanner.space(0);
        Some(core::iter::from_fn(move || {
            // The bracket at the end is not a value.
            let end = scanner.value(at, 0).ok()?;
            let element = Value(array.get(at..end)?);
            at = scanner.space(end);
            if scanner.byte(at) == Some(b',') {
                at = scanner.space(at + 1);
            }
            Some(element)
        }))
    }

    /// The strings, if this is an array of nothing else.
    pub(crate) fn texts(self) -> Option<impl Iterator<Item = Text<'t>>> {
        let are_texts = self.elements()?.all(|element| element.text().is_some());
        if are_texts { Some(self.elements()?.filter_map(Value::text)) } else { None }
    }

    /// The value as it is spelled.
    pub(crate) fn spelled(self) -> &'t str {
        self.0
    }
}

/// A string as it is spelled, with its quotes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'t>(&'t str);

impl<'t> Text<'t> {
    /// The string, if it is spelled without escapes.
    pub(crate) fn plain(self) -> Option<&'t str> {
        // All bytes are looked at, which the compiler does many at a time.
        let escapes = self.0.bytes().fold(0, |any, byte| any | u8::from(byte == b'\\'));
        if escapes != 0 { None } else { self.0.get(1..self.0.len().checked_sub(1)?) }
    }

    /// The string, unescaped.
    pub(crate) fn read(self) -> Cow<'t, str> {
        match self.plain() {
            Some(plain) => Cow::Borrowed(plain),
            None => Cow::Owned(self.unescaped()),
        }
    }

    #[cold]
    fn unescaped(self) -> String {
        serde_json::from_str(self.0).expect("what has been scanned is a string")
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        *self.read() == *other
    }
}

/// A text on which positions are moved forward. Each step takes a position and returns the one behind what
/// it has read.
struct Scanner<'t> {
    text: &'t str,
    members: usize,
    max_members: usize,
    /// A word for each name of the objects that are open, the innermost last.
    words: [u64; MAX_OPEN_NAMES],
    open: usize,
    /// Whether two names may be the same, or one reserved.
    doubt: bool,
    /// Whether an escape was read.
    escaped: bool,
    /// How many objects have begun.
    objects: usize,
    /// Every name with the number of its object, where a sort has to decide.
    names: Option<Vec<(usize, Cow<'t, str>)>>,
    /// The first fault, which has ended the scan.
    fault: Option<JsonError>,
}

/// The scan has ended at a fault, which the [`Scanner`] knows: so each step returns in registers.
#[derive(Clone, Copy, Debug)]
struct Stop;

impl<'t> Scanner<'t> {
    fn new(text: &'t str, max_members: usize) -> Self {
        Self {
            text,
            members: 0,
            max_members,
            words: [0; MAX_OPEN_NAMES],
            open: 0,
            doubt: false,
            escaped: false,
            objects: 0,
            names: None,
            fault: None,
        }
    }

    /// Reads the value here.
    fn value(&mut self, at: usize, depth: usize) -> Result<usize, Stop> {
        match self.byte(at) {
            Some(b'"') => self.string(at),
            Some(b'-' | b'0'..=b'9') => self.number(at),
            Some(b'{') => self.object(at, depth, &mut |_, _| ()),
            Some(b'[') => self.array(at, depth),
            Some(b't') => self.literal(at, "true"),
            Some(b'f') => self.literal(at, "false"),
            Some(b'n') => self.literal(at, "null"),
            _ => self.fail(at, "a value was expected"),
        }
    }

    fn literal(&mut self, at: usize, literal: &str) -> Result<usize, Stop> {
        if self.rest(at).starts_with(literal.as_bytes()) {
            return Ok(at + literal.len());
        }
        self.fail(at, "a value was expected")
    }

    /// Reads the object here, within `depth` others, and gives its members to `member`.
    fn object(
        &mut self,
        at: usize,
        depth: usize,
        member: &mut impl FnMut(&str, Value<'t>),
    ) -> Result<usize, Stop> {
        if depth >= MAX_DEPTH {
            return self.fail(at, "it nests deeper than 127");
        }
        let (first, object) = (self.open, self.objects);
        self.objects += 1;
        let mut at = self.space(at + 1);
        if self.byte(at) == Some(b'}') {
            return Ok(at + 1);
        }
        loop {
            let name_end = self.name(at)?;
            let name = self.text.get(at + 1..name_end - 1).unwrap_or_default();
            let name = if self.escaped {
                self.doubt = true;
                Text(self.text.get(at..name_end).unwrap_or_default()).read()
            } else {
                self.remember(first, at + 1, name.len());
                Cow::Borrowed(name)
            };
            let colon = self.space(name_end);
            if self.byte(colon) != Some(b':') {
                return self.fail(colon, "a colon was expected");
            }
            let start = self.space(colon + 1);
            let end = self.value(start, depth + 1)?;
            member(&name, Value(self.text.get(start..end).unwrap_or_default()));
            if let Some(names) = &mut self.names {
                names.push((object, name));
            }
            at = self.space(end);
            match self.byte(at) {
                Some(b',') => at = self.space(at + 1),
                Some(b'}') => break,
                _ => return self.fail(at, "a comma or the end of the object was expected"),
            }
        }
        self.open = first;
        Ok(at + 1)
    }

    fn array(&mut self, at: usize, depth: usize) -> Result<usize, Stop> {
        if depth >= MAX_DEPTH {
            return self.fail(at, "it nests deeper than 127");
        }
        let mut at = self.space(at + 1);
        if self.byte(at) == Some(b']') {
            return Ok(at + 1);
        }
        loop {
            let end = self.value(at, depth + 1)?;
            at = self.space(end);
            match self.byte(at) {
                Some(b',') => at = self.space(at + 1),
                Some(b']') => return Ok(at + 1),
                _ => return self.fail(at, "a comma or the end of the array was expected"),
            }
        }
    }

    /// Reads the member name here, and notes whether there is an escape in it.
    fn name(&mut self, at: usize) -> Result<usize, Stop> {
        if self.byte(at) != Some(b'"') {
            return self.fail(at, "a member name was expected");
        }
        if self.members >= self.max_members {
            self.fault = Some(JsonError::TooManyMembers { limit: self.max_members });
            return Err(Stop);
        }
        self.members += 1;
        self.escaped = false;
        self.string(at)
    }

    /// Keeps a word for a name without escapes, which stands at `at`.
    ///
    /// Names of different words are different. Where two words of one object are equal, the names may be.
    fn remember(&mut self, first: usize, at: usize, length: usize) {
        let Some(free) = self.words.get_mut(self.open) else {
            self.doubt = true;
            return;
        };
        let start = eight(self.text.as_bytes(), at);
        let word = match length {
            0..8 => start & !(u64::MAX << (8 * length)),
            _ => start ^ eight(self.text.as_bytes(), at + length - 8).rotate_left(28),
        };
        let word = word ^ u64::try_from(length).unwrap_or(u64::MAX).rotate_right(8);
        *free = word;
        let known = self.words.get(first..self.open).unwrap_or_default();
        self.doubt |= known.contains(&word) | (self.byte(at) == Some(b'$'));
        self.open += 1;
    }

    /// Reads the string here, whose quote is at this byte.
    fn string(&mut self, at: usize) -> Result<usize, Stop> {
        let mut at = at + 1;
        loop {
            at += plain_len(self.rest(at));
            match self.byte(at) {
                Some(b'"') => return Ok(at + 1),
                Some(b'\\') => at = self.escape(at + 1)?,
                Some(_) => return self.fail(at, "a control character in a string"),
                None => return self.fail(at, "a string does not end"),
            }
        }
    }

    /// Reads an escape, whose backslash has been read. It stands for a character: half of a surrogate pair
    /// does not (RFC 8259 §8.2).
    #[cold]
    fn escape(&mut self, at: usize) -> Result<usize, Stop> {
        self.escaped = true;
        match self.byte(at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 1),
            Some(b'u') => match (self.code_unit(at + 1)?, self.rest(at + 5)) {
                (0xd800..0xdc00, [b'\\', b'u', ..]) => match self.code_unit(at + 7)? {
                    0xdc00..0xe000 => Ok(at + 11),
                    _ => self.fail(at + 11, "half of a surrogate pair"),
                },
                (0xd800..0xe000, _) => self.fail(at + 5, "half of a surrogate pair"),
                _ => Ok(at + 5),
            },
            _ => self.fail(at, "an escape is none of those that JSON has"),
        }
    }

    /// The value of the four hexadecimal digits here.
    fn code_unit(&mut self, at: usize) -> Result<u32, Stop> {
        let digits = self.rest(at).first_chunk::<4>().copied().unwrap_or_default();
        let value = digits.iter().try_fold(0, |value, digit| {
            char::from(*digit).to_digit(16).map(|digit| value << 4 | digit)
        });
        match value {
            Some(value) => Ok(value),
            None => self.fail(at, "an escape needs four hexadecimal digits").map(|_| 0),
        }
    }

    /// Reads the number here (RFC 8259 §6). It lies in the range of a double.
    fn number(&mut self, start: usize) -> Result<usize, Stop> {
        let whole = start + usize::from(self.byte(start) == Some(b'-'));
        let mut end = self.digits(whole);
        if end == whole || (self.byte(whole) == Some(b'0') && end > whole + 1) {
            let reason = "a number has a digit, and does not begin with 0 when it has more";
            return self.fail(end, reason);
        }
        // Less than 1e308 without an exponent.
        let mut is_usual = end - whole <= 308;
        if self.byte(end) == Some(b'.') {
            let fraction = end + 1;
            end = self.digits(fraction);
            if end == fraction {
                return self.fail(end, "a digit was expected");
            }
        }
        if let Some(b'e' | b'E') = self.byte(end) {
            is_usual = false;
            let sign = usize::from(matches!(self.byte(end + 1), Some(b'+' | b'-')));
            let exponent = end + 1 + sign;
            end = self.digits(exponent);
            if end == exponent {
                return self.fail(end, "a digit was expected");
            }
        }
        if is_usual || is_in_range(self.text.get(start..end).unwrap_or_default()) {
            return Ok(end);
        }
        self.fail(end, "a number is beyond the range of a double")
    }

    /// Reads the digits here, if there are any.
    fn digits(&self, at: usize) -> usize {
        at + self.rest(at).iter().take_while(|byte| byte.is_ascii_digit()).count()
    }

    /// Reads what is behind the object: white space and nothing else.
    fn end(&mut self, at: usize) -> Result<(), Stop> {
        let at = self.space(at);
        match self.byte(at) {
            None => Ok(()),
            Some(_) => self.fail(at, "there is something behind the object").map(drop),
        }
    }

    /// Reads the white space here, if there is any.
    fn space(&self, mut at: usize) -> usize {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte(at) {
            at += 1;
        }
        at
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    fn rest(&self, at: usize) -> &'t [u8] {
        self.text.as_bytes().get(at..).unwrap_or_default()
    }

    #[cold]
    fn fail(&mut self, at: usize, reason: &'static str) -> Result<usize, Stop> {
        self.fault = Some(JsonError::Syntax { offset: at.min(self.text.len()), reason });
        Err(Stop)
    }
}

/// Whether a number of JSON's grammar is less than 1.797693134862315e308, the range of a double but for the last
/// digits of the largest one.
///
/// From there on, serde_json may find a number infinite, depending on how it is spelled: it rounds up to three
/// times. Asking serde_json would take microseconds for some numbers, and a header may be full of them.
fn is_in_range(spelled: &str) -> bool {
    let spelled = spelled.trim_start_matches('-');
    let (mantissa, exponent) = spelled.split_once(['e', 'E']).unwrap_or((spelled, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    let zeros = digits().take_while(|digit| *digit == b'0').count();
    if zeros == whole.len() + fraction.len() {
        return true;
    }
    // An exponent of more digits than there are numbers goes as far as it can.
    let furthest = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
    let exponent: i64 = exponent.parse().unwrap_or(furthest);
    let length = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    // The count of digits before the point, once the number is written without an exponent.
    match exponent.saturating_add(length(whole.len())).saturating_sub(length(zeros)).cmp(&309) {
        Ordering::Less => true,
        Ordering::Greater => false,
        Ordering::Equal => digits().skip(zeros).lt(*b"1797693134862315"),
    }
}

/// How many bytes of a string stand for themselves: up to the first quote, backslash or control character.
fn plain_len(text: &[u8]) -> usize {
    let mut chunks = text.chunks_exact(16);
    let mut length = 0;
    for chunk in chunks.by_ref() {
        // Sixteen at a time, which the compiler does side by side.
        if chunk.iter().fold(false, |any, byte| any | !is_plain(*byte)) {
            let (first, second) = (specials(eight(chunk, 0)), specials(eight(chunk, 8)));
            // A choice between two numbers, and not a branch that would be guessed wrongly.
            let (found, before) = if first != 0 { (first, 0) } else { (second, 8) };
            let [bit, ..] = found.trailing_zeros().to_le_bytes();
            return length + before + usize::from(bit / 8);
        }
        length += 16;
    }
    length + chunks.remainder().iter().take_while(|byte| is_plain(**byte)).count()
}

fn is_plain(byte: u8) -> bool {
    !matches!(byte, b'"' | b'\\' | 0..0x20)
}

/// Eight bytes, the first in the lowest; zeros behind the end of the text.
fn eight(text: &[u8], at: usize) -> u64 {
    let rest = text.get(at..).unwrap_or_default();
    match rest.first_chunk() {
        Some(eight) => u64::from_le_bytes(*eight),
        None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// Not zero when there is a quote, a backslash or a control character among eight bytes: the lowest bit that
/// is set is the highest of the first one.
///
/// A byte less than what is subtracted from it borrows, and so sets its highest bit, which in ASCII is clear.
/// A borrow reaches the bytes behind it too, but only the first one that is found counts.
fn specials(word: u64) -> u64 {
    const EACH: u64 = u64::MAX / 255;
    const HIGHEST: u64 = EACH << 7;
    let quote = (word ^ (EACH * u64::from(b'"'))).wrapping_sub(EACH);
    let backslash = (word ^ (EACH * u64::from(b'\\'))).wrapping_sub(EACH);
    let control = word.wrapping_sub(EACH * u64::from(b' '));
    (quote | backslash | control) & !word & HIGHEST
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString};

    use super::*;

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

    /// Names of different objects are kept apart however many objects have been left before.
    #[test]
    fn an_object_that_has_been_left_gives_its_places_back() {
        let inner = format!("{{{}\"x\":0}}", members(MAX_OPEN_NAMES - 2));
        let elements = [&*inner; 20].join(",");
        let mut scanner = Scanner::new(&elements, usize::MAX);
        let mut at = 0;
        while at < elements.len() {
            at = scanner.value(at, 0).unwrap() + 1;
            assert!(scanner.open == 0 && !scanner.doubt);
        }
    }

    /// Words alone tell most names apart, so that no sort is needed.
    #[test]
    fn different_names_raise_no_doubt() {
        let doubts = |text: &str| {
            let mut scanner = Scanner::new(text, usize::MAX);
            scanner.value(0, 0).unwrap();
            scanner.doubt
        };
        for names in [
            r#"{"":0,"a":0,"aa":0,"aaa":0,"aaaa":0,"aaaaa":0,"aaaaaa":0,"aaaaaaa":0,"aaaaaaaa":0,"aaaaaaaaa":0}"#,
            r#"{"iss":0,"sub":0,"aud":0,"exp":0,"nbf":0,"iat":0,"jti":0,"x":0}"#,
            r#"{"preferred_username":0,"given_name":0,"family_name":0,"email_verified":0,"realm_access":0,"resource_access":0}"#,
            r#"{"x":0,"a":{"x":0},"b":[{"x":0},{"x":0}]}"#,
        ] {
            assert!(!doubts(names), "{names}");
        }
        for names in [r#"{"a":0,"a":0}"#, r#"{"$":0}"#, r#"{"\n":0}"#] {
            assert!(doubts(names), "{names}");
        }
    }

    #[test]
    fn elements_are_those_of_the_array() {
        let array = Value(r#"[ 1 ,"a]",[2,[]], {"b":[3]},null]"#);
        let elements: Vec<_> = array.elements().unwrap().map(Value::spelled).collect();
        assert_eq!(elements, ["1", r#""a]""#, "[2,[]]", r#"{"b":[3]}"#, "null"]);
        assert!(array.texts().is_none() && Value("{}").elements().is_none());
        assert_eq!(Value("[ ]").elements().unwrap().count(), 0);
        let texts = Value(r#"["a","\u0062\ud83d\ude00"]"#).texts().unwrap();
        assert_eq!(texts.map(Text::read).collect::<Vec<_>>(), ["a", "b😀"]);
    }

    /// Against the parser of the standard library, on both sides of the end of the range.
    #[test]
    fn a_number_is_in_range_when_it_is_less_than_the_end() {
        let end = 1.797_693_134_862_315e308;
        let (mut inside, mut outside) = (0, 0);
        let mut compare = |case: &str| {
            let is_less = case.parse::<f64>().unwrap().abs() < end;
            assert_eq!(is_in_range(case), is_less, "{case}");
            if is_less { inside += 1 } else { outside += 1 }
        };
        for digits in [
            "1797693134862314",
            "17976931348623148",
            "1797693134862315",
            "1797693134862316",
            "1",
            "9",
            "10",
            "0",
            "000",
        ] {
            for point in 0..digits.len() {
                let (whole, fraction) = digits.split_at(point + 1);
                for exponent in
                    ["", "e0", "e1", "E+291", "e292", "e293", "e-1", "e307", "e308", "e309"]
                {
                    compare(&format!("{whole}.{fraction}0{exponent}"));
                    compare(&format!("-0.00{digits}{exponent}"));
                    compare(&format!("{digits}{exponent}"));
                }
                compare(&format!("{whole}.{fraction}e{}", 308 - point));
            }
            compare(&format!("{digits}{:01$}", 0, 309 - digits.len()));
        }
        for exponent in ["e99999999999999999999", "e-99999999999999999999", "e+9223372036854775807"]
        {
            compare(&format!("1{exponent}"));
            compare(&format!("0.0{exponent}"));
            compare(&format!("1{:0400}{exponent}", 0));
        }
        assert!(inside > 300 && outside > 100, "{inside} {outside}");
    }

    /// Every byte at every place, against the obvious way to look for it.
    #[test]
    fn the_plain_part_of_a_string_is_found() {
        for length in 0..40 {
            for place in 0..length {
                for byte in 0..=u8::MAX {
                    for filler in [b'a', 0x20, 0x7f, 0x80, 0xff, b'!', b'#', b'['] {
                        let mut text = Vec::from([filler; 40]);
                        text.truncate(length);
                        text[place] = byte;
                        let special = |byte: &u8| *byte == b'"' || *byte == b'\\' || *byte < 0x20;
                        let expected = text.iter().position(special).unwrap_or(length);
                        assert_eq!(plain_len(&text), expected, "{text:?}");
                    }
                }
            }
        }
    }
}
