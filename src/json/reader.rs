//! A strict reader of JSON (RFC 8259): from a position in a text to the value there, and past it.
//!
//! It accepts one language, whoever reads and whatever they are after: a value that is skipped is held to
//! the same grammar as one that is kept.
#![expect(
    clippy::inline_always,
    reason = "measured: to move what they return through memory takes as long as to read it"
)]

use alloc::{borrow::Cow, collections::BTreeSet};
use core::cmp::Ordering;

use super::{JsonError, Kind, Number, Text, Texts, Value};
use crate::excerpt::Excerpt;

/// How deep arrays and objects may nest, so that a reader's stack is bounded. It is serde_json's limit.
pub(super) const MAX_DEPTH: usize = 127;

/// So many digits are an `i64`, whatever they are.
const MAX_EXACT_DIGITS: usize = 18;

/// A text, and how far it has been read.
///
/// The first fault ends the reading: it is kept, and every further step fails.
pub(super) struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    members: usize,
    max_members: usize,
    fault: Option<JsonError>,
}

/// Reading has ended at a fault, which the [`Reader`] knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop;

/// What a value begins with, and so what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Object,
    Array,
    Text,
    Number,
    True,
    False,
    Null,
}

/// A place to go back to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    at: usize,
    depth: usize,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str, max_members: usize) -> Self {
        Self { text, at: 0, depth: 0, members: 0, max_members, fault: None }
    }

    /// Whether no fault has ended the reading.
    #[inline]
    pub(super) fn is_well(&self) -> Result<(), Stop> {
        if self.fault.is_some() { Err(Stop) } else { Ok(()) }
    }

    /// The fault that ended the reading.
    pub(super) fn into_fault(self) -> Option<JsonError> {
        self.fault
    }

    /// Whether the text begins with an object.
    pub(super) fn is_object(&mut self) -> bool {
        self.after_space() == Some(b'{')
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { at: self.at, depth: self.depth }
    }

    /// Goes back, unless a fault has ended the reading.
    pub(super) fn back_to(&mut self, mark: Mark) {
        self.at = mark.at;
        self.depth = mark.depth;
    }

    /// Whether the object that is the text has been entered and left again.
    pub(super) fn has_left_object(&self) -> bool {
        self.depth == 0 && self.at > 0 && self.text.as_bytes().get(self.at - 1) == Some(&b'}')
    }

    /// The text from `mark` to here.
    pub(super) fn since(&self, mark: Mark) -> &'t str {
        self.text.get(mark.at..self.at).unwrap_or_default()
    }

    /// What the value here is. Stands at its first byte afterwards.
    #[inline]
    pub(super) fn start(&mut self) -> Result<Start, Stop> {
        match self.after_space() {
            Some(b'"') => Ok(Start::Text),
            Some(b'-' | b'0'..=b'9') => Ok(Start::Number),
            Some(b'{') => Ok(Start::Object),
            Some(b'[') => Ok(Start::Array),
            Some(b't') => Ok(Start::True),
            Some(b'f') => Ok(Start::False),
            Some(b'n') => Ok(Start::Null),
            _ => self.syntax("a value was expected"),
        }
    }

    /// Reads `true`, `false` or `null`.
    pub(super) fn literal(&mut self, literal: &'static str) -> Result<(), Stop> {
        match self.rest().strip_prefix(literal.as_bytes()) {
            Some(_) => {
                self.at += literal.len();
                Ok(())
            }
            None => self.syntax("a value was expected"),
        }
    }

    /// Enters an object or array, whose bracket is here.
    #[inline]
    pub(super) fn enter(&mut self) -> Result<(), Stop> {
        if self.depth >= MAX_DEPTH {
            return self.syntax("it nests deeper than 127");
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Whether the array goes on; leaves it otherwise. `first` is whether nothing of it has been read.
    #[inline]
    pub(super) fn next_element(&mut self, first: bool) -> Result<bool, Stop> {
        match (self.after_space(), first) {
            (Some(b']'), _) => {
                self.leave();
                Ok(false)
            }
            (Some(_), true) => Ok(true),
            (Some(b','), false) => {
                self.at += 1;
                match self.after_space() {
                    Some(b']') => self.syntax("a value was expected"),
                    _ => Ok(true),
                }
            }
            _ => self.syntax("a comma or the end of the array was expected"),
        }
    }

    /// The name of the object's next member, with the colon behind it; leaves the object when there is
    /// none. `first` is whether nothing of it has been read.
    #[inline(always)]
    pub(super) fn next_name(&mut self, first: bool) -> Result<Option<Text<'t>>, Stop> {
        match (self.after_space(), first) {
            (Some(b'}'), _) => {
                self.leave();
                return Ok(None);
            }
            (Some(b','), false) => {
                self.at += 1;
                self.after_space();
            }
            (_, true) => {}
            _ => return self.syntax("a comma or the end of the object was expected"),
        }
        if self.peek() != Some(b'"') {
            return self.syntax("a member name was expected");
        }
        if self.members >= self.max_members {
            return self.fail(JsonError::TooManyMembers { limit: self.max_members });
        }
        self.members += 1;
        let name = self.text()?;
        match self.after_space() {
            Some(b':') => {
                self.at += 1;
                Ok(Some(name))
            }
            _ => self.syntax("a colon was expected"),
        }
    }

    /// As [`Reader::next_name`], when the name is one of three letters that `is_known`, with nothing between
    /// it and its comma and colon: so the registered claims are mostly spelled. Otherwise nothing is read.
    #[inline(always)]
    pub(super) fn next_known_name<N>(
        &mut self,
        first: bool,
        is_known: impl FnOnce(&str) -> Option<N>,
    ) -> Option<(Text<'t>, N)> {
        // The bracket has been read, a comma has not.
        let (start, before) = if first { (self.at.checked_sub(1)?, b'{') } else { (self.at, b',') };
        let ahead = self.text.as_bytes().get(start..)?.first_chunk()?;
        let [found, b'"', _, _, _, b'"', b':'] = *ahead else { return None };
        if found != before || self.members >= self.max_members {
            return None;
        }
        let spelled = self.text.get(start + 2..start + 5)?;
        // What is known has no escapes and no control characters.
        let known = is_known(spelled)?;
        self.members += 1;
        self.at = start + ahead.len();
        Some((Text(spelled), known))
    }

    /// Reads the string here, whose quote is at this byte.
    #[inline(always)]
    pub(super) fn text(&mut self) -> Result<Text<'t>, Stop> {
        match self.plain_text() {
            Some(plain) => Ok(Text(plain)),
            None => self.escaped_text(),
        }
    }

    /// Reads the string here, if it has no escapes.
    #[inline(always)]
    fn plain_text(&mut self) -> Option<&'t str> {
        let start = self.at + 1;
        let end = start + plain_len(self.text.as_bytes().get(start..)?);
        if self.text.as_bytes().get(end) != Some(&b'"') {
            return None;
        }
        self.at = end + 1;
        self.text.get(start..end)
    }

    /// Reads the string here, which has escapes, or a fault.
    #[cold]
    fn escaped_text(&mut self) -> Result<Text<'t>, Stop> {
        let start = self.mark();
        match self.parts(|_| ())? {
            Some(b'"') => {
                self.at += 1;
                Ok(Text(self.since(start)))
            }
            Some(_) => self.syntax("a control character stands in a string"),
            None => self.syntax("a string does not end"),
        }
    }

    /// Reads the string here to its end, in parts: what stands for itself, and the character of each escape.
    /// Gives what stands behind them, where a quote should.
    pub(super) fn parts(&mut self, mut push: impl FnMut(&str)) -> Result<Option<u8>, Stop> {
        self.at += 1;
        loop {
            let start = self.at;
            self.at += plain_len(self.rest());
            push(self.text.get(start..self.at).unwrap_or_default());
            match self.peek() {
                Some(b'\\') => {
                    self.at += 1;
                    let character = self.escape()?;
                    push(character.encode_utf8(&mut [0; 4]));
                }
                end => return Ok(end),
            }
        }
    }

    /// The character that an escape stands for; the backslash has been read.
    fn escape(&mut self) -> Result<char, Stop> {
        let escape = self.peek();
        self.at += 1;
        Ok(match escape {
            Some(plain @ (b'"' | b'\\' | b'/')) => char::from(plain),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.four_hex_digits()?;
                let rest = self.rest();
                let code = match first {
                    0xd800..=0xdbff if rest.starts_with(b"\\u") => {
                        self.at += 2;
                        match self.four_hex_digits()? {
                            low @ 0xdc00..=0xdfff => {
                                0x1_0000 + ((first - 0xd800) << 10) + (low - 0xdc00)
                            }
                            // A surrogate, which is no character.
                            _ => first,
                        }
                    }
                    _ => first,
                };
                match char::from_u32(code) {
                    Some(character) => character,
                    None => return self.syntax("half of a surrogate pair stands alone"),
                }
            }
            _ => return self.syntax("an escape is none of those that JSON has"),
        })
    }

    fn four_hex_digits(&mut self) -> Result<u32, Stop> {
        let mut code = 0;
        for _ in 0..4 {
            match self.peek().and_then(|digit| char::from(digit).to_digit(16)) {
                Some(digit) => code = code << 4 | digit,
                None => return self.syntax("an escape needs four hexadecimal digits"),
            }
            self.at += 1;
        }
        Ok(code)
    }

    /// Reads the number here (RFC 8259 §6). It lies in the range of a double.
    #[inline]
    pub(super) fn number(&mut self) -> Result<Number<'t>, Stop> {
        match self.short_integer() {
            Some(integer) => Ok(Number::Integer(integer)),
            None => self.long_number(),
        }
    }

    /// Reads the number here if it is spelled as an integer of no more than 18 digits; otherwise nothing is read.
    #[inline(always)]
    pub(super) fn short_integer(&mut self) -> Option<i64> {
        let mark = self.mark();
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(negative);
        let leading_zero = self.peek() == Some(b'0');
        let (digits, value) = self.digits();
        let is_short = (1..=MAX_EXACT_DIGITS).contains(&digits) && (!leading_zero || digits == 1);
        if !is_short || matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            self.back_to(mark);
            return None;
        }
        Some(if negative { -value } else { value })
    }

    /// Reads the number here, which is none of the usual, or a fault.
    #[cold]
    fn long_number(&mut self) -> Result<Number<'t>, Stop> {
        let mark = self.mark();
        self.at += usize::from(self.peek() == Some(b'-'));
        let leading_zero = self.peek() == Some(b'0');
        let (digits, _) = self.digits();
        if digits == 0 || (leading_zero && digits > 1) {
            return self.syntax("a number has a digit, and does not begin with 0 when it has more");
        }
        self.decimal(mark)
    }

    /// Reads on from behind the digits before the point.
    fn decimal(&mut self, mark: Mark) -> Result<Number<'t>, Stop> {
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits().0 == 0 {
                return self.syntax("a digit was expected");
            }
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            if self.digits().0 == 0 {
                return self.syntax("a digit was expected");
            }
        }
        self.in_range(mark)
    }

    /// The number since `mark`.
    fn in_range(&mut self, mark: Mark) -> Result<Number<'t>, Stop> {
        let spelled = self.since(mark);
        if is_in_range(spelled) {
            return Ok(Number::Spelled(spelled));
        }
        self.syntax("a number is beyond the range of a double")
    }

    /// Reads past the digits here. Gives their count, and their value unless they are too many.
    #[inline]
    fn digits(&mut self) -> (usize, i64) {
        let (mut count, mut value) = (0, 0_i64);
        for digit in self.rest().iter().map(|byte| byte.wrapping_sub(b'0')) {
            if digit > 9 {
                break;
            }
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
            count += 1;
        }
        self.at += count;
        (count, value)
    }

    /// Reads past the value here.
    pub(super) fn skip(&mut self) -> Result<(), Stop> {
        match self.start()? {
            Start::Text => self.text().map(drop),
            Start::Number => self.number().map(drop),
            Start::True => self.literal("true"),
            Start::False => self.literal("false"),
            Start::Null => self.literal("null"),
            Start::Array => {
                self.enter()?;
                let mut first = true;
                while self.next_element(first)? {
                    first = false;
                    self.skip()?;
                }
                Ok(())
            }
            Start::Object => {
                self.enter()?;
                let mut names = Names::default();
                let mut first = true;
                while let Some(name) = self.next_name(first)? {
                    first = false;
                    self.insert(&mut names, name)?;
                    self.skip()?;
                }
                Ok(())
            }
        }
    }

    /// Reads the value of a registered member, whatever its type turns out to be.
    #[inline(always)]
    pub(super) fn value(&mut self, kind: Kind) -> Result<Value<'t>, Stop> {
        Ok(match (self.start()?, kind) {
            (Start::Text, Kind::Text | Kind::TextOrTexts) => Value::Text(self.text()?),
            (Start::Number, Kind::Number) => Value::Number(self.number()?),
            (Start::Array, Kind::TextOrTexts) => self.texts()?,
            _ => {
                let mark = self.mark();
                self.skip()?;
                if let Kind::Raw = kind { Value::Raw(self.since(mark)) } else { Value::OtherType }
            }
        })
    }

    /// Gives the text of each element of the array here to `visit`; stops at another value.
    pub(super) fn elements(&mut self, mut visit: impl FnMut(&'t str)) -> Result<(), Stop> {
        if self.start()? != Start::Array {
            return Err(Stop);
        }
        self.enter()?;
        let mut first = true;
        while self.next_element(first)? {
            first = false;
            self.start()?;
            let mark = self.mark();
            self.skip()?;
            visit(self.since(mark));
        }
        Ok(())
    }

    /// Reads the array here, which may have others than strings for elements.
    fn texts(&mut self) -> Result<Value<'t>, Stop> {
        let mark = self.mark();
        self.enter()?;
        let (mut first, mut only_texts) = (true, true);
        while self.next_element(first)? {
            first = false;
            only_texts &= self.start()? == Start::Text;
            self.skip()?;
        }
        let array = self.since(mark);
        Ok(if only_texts { Value::Texts(Texts { array }) } else { Value::OtherType })
    }

    /// Notes the name of a member, which is a fault when the object has one of that name.
    #[inline]
    pub(super) fn insert(&mut self, names: &mut Names<'t>, name: Text<'t>) -> Result<(), Stop> {
        if names.insert(name) { Ok(()) } else { self.duplicate(name) }
    }

    #[cold]
    pub(super) fn duplicate<T>(&mut self, name: Text<'t>) -> Result<T, Stop> {
        self.fail(JsonError::DuplicateMember { name: Excerpt::new(&name.read()) })
    }

    /// Ends the reading well, when nothing but white space is left.
    pub(super) fn end(&mut self) -> Result<(), Stop> {
        match self.after_space() {
            None => Ok(()),
            Some(_) => self.syntax("something stands behind the object"),
        }
    }

    #[cold]
    fn syntax<T>(&mut self, reason: &'static str) -> Result<T, Stop> {
        let offset = self.at.min(self.text.len());
        self.fail(JsonError::Syntax { offset, reason })
    }

    #[cold]
    fn fail<T>(&mut self, fault: JsonError) -> Result<T, Stop> {
        self.fault.get_or_insert(fault);
        // There is nothing here, wherever someone reads on from.
        self.text = "";
        Err(Stop)
    }

    #[inline]
    fn leave(&mut self) {
        self.at += 1;
        self.depth = self.depth.saturating_sub(1);
    }

    #[inline]
    fn rest(&self) -> &'t [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The byte here, after any white space.
    #[inline]
    fn after_space(&mut self) -> Option<u8> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                byte => return byte,
            }
        }
    }
}

/// Whether a number of JSON's grammar is nearest to a finite double.
///
/// By its digits. To parse it would tell as well, but there are numbers of twenty digits that take
/// microseconds to parse, and a header may be full of them before anyone knows who wrote it.
fn is_in_range(spelled: &str) -> bool {
    /// The first number that is not: halfway from the last double to the power of two behind it.
    const END: &str = "179769313486231580793728971405303415079934132710037826936173778980444968292764750946649017977587207096330286416692887910946555547851940402630657488671505820681908902000708383676273854845817711531764475730270069855571366959622842914819860834936475292719074168444365510704342711559699508093042880177904174497792";

    let spelled = spelled.strip_prefix('-').unwrap_or(spelled);
    let (mantissa, exponent) = spelled.split_once(['e', 'E']).unwrap_or((spelled, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    let zeros = digits().take_while(|digit| *digit == b'0').count();
    if zeros == whole.len() + fraction.len() {
        return true;
    }
    // How many digits stand before the point, once the number is written without an exponent.
    let exponent = exponent.parse().unwrap_or_else(|_| {
        // More digits than there are numbers: as far as it goes, whatever the mantissa says.
        if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 }
    });
    let whole_len = i64::try_from(whole.len()).unwrap_or(i64::MAX / 4);
    let whole_zeros = i64::try_from(zeros).unwrap_or(i64::MAX / 4);
    let places = exponent.saturating_add(whole_len).saturating_sub(whole_zeros);
    match places.cmp(&309) {
        Ordering::Less => true,
        Ordering::Greater => false,
        Ordering::Equal => digits().skip(zeros).lt(END.bytes()),
    }
}

/// How many bytes of a string stand for themselves: up to the first quote, backslash or control character.
#[inline(always)]
pub(super) fn plain_len(text: &[u8]) -> usize {
    let mut eights = text.chunks_exact(8);
    let mut length = 0;
    for eight in eights.by_ref() {
        let found = specials(word(eight));
        if found != 0 {
            let [bit, ..] = found.trailing_zeros().to_le_bytes();
            return length + usize::from(bit / 8);
        }
        length += 8;
    }
    length + eights.remainder().iter().take_while(|byte| is_plain_byte(**byte)).count()
}

/// Whether all bytes of a string stand for themselves.
#[inline(always)]
pub(super) fn is_plain(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk() else { return specials(short(text)) == 0 };
    // The last eight may have been looked at before, which is quicker than to look at what is left one by one.
    let eights = text.chunks_exact(8);
    let found = eights.map(|eight| specials(word(eight)));
    found.fold(specials(u64::from_le_bytes(*last)), |any, found| any | found) == 0
}

/// The bytes of a text of less than eight, some of them twice or with letters behind them. Texts of one length have the
/// same word only when they are the same.
#[inline(always)]
pub(super) fn short(text: &[u8]) -> u64 {
    const FILL: u8 = b'a';
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        let [first, last] = [first, last].map(|four| u64::from(u32::from_le_bytes(*four)));
        return first | last << 32;
    }
    let few = match *text {
        [first] => [first, FILL, FILL],
        [first, second] => [first, second, FILL],
        [first, second, third] => [first, second, third],
        _ => [FILL; 3],
    };
    let [first, second, third] = few;
    u64::from_le_bytes([first, second, third, FILL, FILL, FILL, FILL, FILL])
}

#[inline]
fn is_plain_byte(byte: u8) -> bool {
    !matches!(byte, b'"' | b'\\' | 0..0x20)
}

/// Eight bytes, the first in the lowest.
#[inline(always)]
fn word(eight: &[u8]) -> u64 {
    <[u8; 8]>::try_from(eight).map_or(0, u64::from_le_bytes)
}

/// Not zero when there is a quote, a backslash or a control character among eight bytes: the lowest bit that is
/// set is the highest of the first one.
///
/// All at a time: a byte less than what is taken from it borrows, and so sets its highest bit, which in ASCII
/// is clear. A borrow reaches the bytes behind it too, but only the first one that is found counts.
#[inline(always)]
fn specials(word: u64) -> u64 {
    const EACH: u64 = u64::MAX / 255;
    const HIGHEST: u64 = EACH << 7;
    let quote = (word ^ (EACH * u64::from(b'"'))).wrapping_sub(EACH);
    let backslash = (word ^ (EACH * u64::from(b'\\'))).wrapping_sub(EACH);
    let control = word.wrapping_sub(EACH * u64::from(b' '));
    (quote | backslash | control) & !word & HIGHEST
}

/// The names of one object so far. A few are compared one by one; more are kept sorted, so that many
/// members cost no more than sorting them.
#[derive(Default)]
pub(super) struct Names<'t> {
    first: [&'t str; 8],
    length: usize,
    /// Not even an empty set, which takes time to drop.
    more: Option<BTreeSet<Cow<'t, str>>>,
}

impl<'t> Names<'t> {
    /// Keeps a name, and tells whether it is new.
    #[inline]
    fn insert(&mut self, name: Text<'t>) -> bool {
        let known = self.first.split_at(self.length).0;
        let Some(plain) = name.plain() else {
            let name = name.read();
            return !known.contains(&&*name) && self.insert_more(name);
        };
        if known.contains(&plain) || self.more.as_ref().is_some_and(|more| more.contains(plain)) {
            return false;
        }
        match self.first.get_mut(self.length) {
            Some(free) => {
                *free = plain;
                self.length += 1;
                true
            }
            None => self.insert_more(Cow::Borrowed(plain)),
        }
    }

    fn insert_more(&mut self, name: Cow<'t, str>) -> bool {
        self.more.get_or_insert_default().insert(name)
    }
}

#[cfg(test)]
mod tests {
    use alloc::{string::String, vec::Vec};

    use super::*;

    /// Against the parser of the standard library, on both sides of the end of the range.
    #[test]
    fn a_number_is_in_range_when_it_parses_to_a_finite_double() {
        let end = "179769313486231580793728971405303415079934132710037826936173778980444968292764750946649017977587207096330286416692887910946555547851940402630657488671505820681908902000708383676273854845817711531764475730270069855571366959622842914819860834936475292719074168444365510704342711559699508093042880177904174497792";
        let before = "179769313486231580793728971405303415079934132710037826936173778980444968292764750946649017977587207096330286416692887910946555547851940402630657488671505820681908902000708383676273854845817711531764475730270069855571366959622842914819860834936475292719074168444365510704342711559699508093042880177904174497791";
        let mut cases: Vec<String> = Vec::new();
        for digits in
            [end, before, "1", "9", "10", "17976931348623157", "17976931348623159", "0", "000"]
        {
            for point in 0..digits.len().min(20) {
                for exponent in
                    ["", "e0", "e1", "E+291", "e292", "e293", "e-1", "e307", "e308", "e309"]
                {
                    let (whole, fraction) = digits.split_at(point + 1);
                    cases.push(alloc::format!("{whole}.{fraction}0{exponent}"));
                    cases.push(alloc::format!("-0.00{digits}{exponent}"));
                    cases.push(alloc::format!("{digits}{exponent}"));
                }
            }
        }
        for exponent in ["e99999999999999999999", "e-99999999999999999999", "e+9223372036854775807"]
        {
            cases.push(alloc::format!("1{exponent}"));
            cases.push(alloc::format!("0.0{exponent}"));
            cases.push(alloc::format!("1{:0400}{exponent}", 0));
        }
        let (mut inside, mut outside) = (0, 0);
        for case in cases {
            let finite = case.parse::<f64>().unwrap().is_finite();
            assert_eq!(is_in_range(&case), finite, "{case}");
            if finite { inside += 1 } else { outside += 1 }
        }
        assert!(inside > 300 && outside > 300, "{inside} {outside}");
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
                        assert_eq!(is_plain(&text), expected == length, "{text:?}");
                    }
                }
            }
        }
    }
}
