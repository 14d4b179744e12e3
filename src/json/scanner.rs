//! The scanner: takes a position in a text and returns the position after the value there, or a
//! fault.
//!
//! The same steps read every value, whether or not the caller wants its members, so that no value
//! is checked less.
#![expect(clippy::inline_always, reason = "measured: without the hints, a decode takes 3 % longer")]

use alloc::vec::Vec;
use core::cmp::Ordering;

use super::{JsonError, Text, Value};

/// The maximum depth of arrays and objects, which bounds the stack. It is the limit of serde_json.
const MAX_DEPTH: usize = 127;
/// The number of names of open objects that are compared one by one. Beyond it, a sort decides, so
/// that the time stays n log n. Tokens of large identity providers have about 25 names.
pub(super) const MAX_OPEN_NAMES: usize = 32;

/// A text in UTF-8. Each step takes a position and returns another. It is passed by value, so that
/// it stays in registers.
#[derive(Clone, Copy, Default)]
pub(super) struct Input<'t>(pub(super) &'t [u8]);

impl<'t> Input<'t> {
    pub(super) fn byte(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    fn rest(self, at: usize) -> &'t [u8] {
        self.0.get(at..).unwrap_or_default()
    }

    /// Returns the end of the white space at this position.
    pub(super) fn space(self, mut at: usize) -> usize {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte(at) {
            at += 1;
        }
        at
    }

    /// Returns [`marks`] of the block at this position. The bytes after the end of the text are
    /// special, so that a search ends there.
    fn marks(self, at: usize) -> u64 {
        let rest = self.rest(at);
        if let Some(block) = rest.first_chunk() {
            return marks(block);
        }
        let mut last = [0; BLOCK];
        last.split_at_mut(rest.len()).0.copy_from_slice(rest);
        marks(&last)
    }

    /// Returns the end of the digits at this position.
    fn digits(self, at: usize) -> usize {
        at + self.rest(at).iter().take_while(|byte| byte.is_ascii_digit()).count()
    }

    /// Returns the value of the four hexadecimal digits at this position.
    fn code_unit(self, at: usize) -> Option<u32> {
        self.rest(at)
            .first_chunk::<4>()?
            .iter()
            .try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
    }

    /// Computes a word for a text from its length and its bytes, or from those at its ends.
    /// Different words imply different texts; equal words do not imply equal texts.
    fn word(self, at: usize, length: usize) -> u64 {
        let start = eight(self.0, at);
        let word = match length {
            0..8 => start & !(u64::MAX << (8 * length)),
            _ => start ^ eight(self.0, at + length - 8).rotate_left(28),
        };
        word ^ u64::try_from(length).unwrap_or(u64::MAX).rotate_right(8)
    }

    /// Returns the word of the member name at this position if the name has three letters, like
    /// most registered claims. The pattern accepts every byte from 0x60 to 0x7f as a letter; none
    /// of them ends a string.
    fn three_letters(self, at: usize) -> Option<u64> {
        let word = eight(self.0, at);
        let is_name = word & u64::from_le_bytes(*b"\xff\xe0\xe0\xe0\xff\0\0\0")
            == u64::from_le_bytes(*b"\"\x60\x60\x60\"\0\0\0");
        is_name.then_some(word >> 8 & 0x00ff_ffff | 3 << 56)
    }
}

/// The scan of one text.
#[derive(Default)]
pub(super) struct Scanner<'t> {
    pub(super) input: Input<'t>,
    /// The number of members that have begun, and the maximum.
    members: usize,
    max_members: usize,
    /// One word for each name of the open objects, the innermost object last.
    words: [u64; MAX_OPEN_NAMES],
    open: usize,
    /// Whether two names may be equal, or a name may be reserved.
    pub(super) doubt: bool,
    /// Whether the last string has an escape.
    escaped: bool,
    /// The start of a block of the text, and [`marks`] of the block. A string ends in this block
    /// or in one after it.
    block: usize,
    marks: u64,
    /// Every name with the position of its object, if a sort has to decide.
    pub(super) names: Option<Vec<(usize, Text<'t>)>>,
    /// The fault that ended the scan.
    pub(super) fault: Option<JsonError>,
}

/// Reports that the scan ended at a fault, which is in [`Scanner::fault`]. The type has no fields,
/// so that each step returns its result in registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop;

/// Each step reads the value or part of a value at a position and returns its end.
impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t [u8], max_members: usize) -> Self {
        let input = Input(text);
        Self { input, max_members, marks: input.marks(0), ..Self::default() }
    }

    /// Returns the value between two positions. It is the value that was scanned last.
    pub(super) fn spanned(
        &self,
        input: Input<'t>,
        start: usize,
        end: usize,
    ) -> Result<Value<'t>, Stop> {
        let spelled = input.0.get(start..end).ok_or(Stop)?;
        Ok(Value { spelled, is_escaped: self.escaped })
    }

    #[inline(always)]
    pub(super) fn value(
        &mut self,
        input: Input<'t>,
        at: usize,
        depth: usize,
    ) -> Result<usize, Stop> {
        match input.byte(at) {
            Some(b'"') => self.string(input, at),
            Some(b'-' | b'0'..=b'9') => self.number(input, at),
            Some(b'{' | b'[') if depth >= MAX_DEPTH => self.fail(at, "it nests deeper than 127"),
            Some(b'{') => self.object(input, at, depth, &mut |_, _| ()),
            Some(b'[') => self.array(input, at, depth),
            Some(b't') => self.literal(at, "true"),
            Some(b'f') => self.literal(at, "false"),
            Some(b'n') => self.literal(at, "null"),
            _ => self.fail(at, "a value was expected"),
        }
    }

    fn literal(&mut self, at: usize, literal: &str) -> Result<usize, Stop> {
        if self.input.rest(at).starts_with(literal.as_bytes()) {
            return Ok(at + literal.len());
        }
        self.fail(at, "a value was expected")
    }

    /// Reads an object inside `depth` others, and calls `member` for each of its members.
    pub(super) fn object(
        &mut self,
        input: Input<'t>,
        at: usize,
        depth: usize,
        member: &mut impl FnMut(Text<'t>, Value<'t>),
    ) -> Result<usize, Stop> {
        let (first, object) = (self.open, at);
        let mut at = input.space(at + 1);
        if input.byte(at) == Some(b'}') {
            return Ok(at + 1);
        }
        loop {
            // Most claims of a token have such a name. Without this branch, a decode of 167 bytes
            // takes 20 ns longer.
            let name_end = match input.three_letters(at) {
                Some(word) => {
                    self.escaped = false;
                    self.remember(first, word);
                    at + 5
                }
                None => self.name(input, first, at)?,
            };
            let name = Text(self.spanned(input, at, name_end)?);
            let colon = input.space(name_end);
            if input.byte(colon) != Some(b':') {
                return self.fail(colon, "a colon was expected");
            }
            // Members of inner objects count, too: they cost the same time and memory.
            if self.members >= self.max_members {
                self.fault = Some(JsonError::TooManyMembers { limit: self.max_members });
                return Err(Stop);
            }
            self.members += 1;
            let start = input.space(colon + 1);
            let end = self.value(input, start, depth + 1)?;
            member(name, self.spanned(input, start, end)?);
            if let Some(names) = &mut self.names {
                names.push((object, name));
            }
            at = input.space(end);
            match input.byte(at) {
                Some(b',') => at = input.space(at + 1),
                Some(b'}') => break,
                _ => return self.fail(at, "a comma or the end of the object was expected"),
            }
        }
        // The names of this object are not compared with those of the next one.
        self.open = first;
        Ok(at + 1)
    }

    fn array(&mut self, input: Input<'t>, at: usize, depth: usize) -> Result<usize, Stop> {
        let mut at = input.space(at + 1);
        if input.byte(at) == Some(b']') {
            return Ok(at + 1);
        }
        loop {
            let end = self.value(input, at, depth + 1)?;
            at = input.space(end);
            match input.byte(at) {
                Some(b',') => at = input.space(at + 1),
                Some(b']') => return Ok(at + 1),
                _ => return self.fail(at, "a comma or the end of the array was expected"),
            }
        }
    }

    /// Reads a member name of any form.
    fn name(&mut self, input: Input<'t>, first: usize, at: usize) -> Result<usize, Stop> {
        if input.byte(at) != Some(b'"') {
            return self.fail(at, "a member name was expected");
        }
        let end = self.string(input, at)?;
        // The word of an escaped name is not that of the unescaped one. Names with a dollar are
        // rare, so a sort may look whether one of them is reserved.
        self.doubt |= self.escaped || input.byte(at + 1) == Some(b'$');
        self.remember(first, input.word(at + 1, end - at - 2));
        Ok(end)
    }

    /// Stores the word of a name. If two words of one object are equal, the two names may be equal.
    fn remember(&mut self, first: usize, word: u64) {
        let Some((known, [free, ..])) = self.words.split_at_mut_checked(self.open) else {
            // This name is compared with no other, so it may occur twice.
            self.doubt = true;
            return;
        };
        self.doubt |= known.get(first..).is_some_and(|known| known.contains(&word));
        *free = word;
        self.open += 1;
    }

    /// Reads a string whose opening quote is at this position.
    #[inline(always)]
    fn string(&mut self, input: Input<'t>, at: usize) -> Result<usize, Stop> {
        self.escaped = false;
        let mut at = at + 1;
        loop {
            at = self.special(input, at);
            match input.byte(at) {
                Some(b'"') => return Ok(at + 1),
                Some(b'\\') => at = self.escape(at + 1)?,
                Some(_) => return self.fail(at, "a control character in a string"),
                None => return self.fail(at, "a string does not end"),
            }
        }
    }

    /// Returns the position of the next special byte from this position on, or the end of the text.
    fn special(&mut self, input: Input<'t>, mut at: usize) -> usize {
        loop {
            // The scan never goes back, so the position is not before the block. The marks of a
            // block do not wait for the end of the string before it, as a search from there on
            // does, which takes 100 to 300 ns longer at 2 KB.
            while at - self.block >= BLOCK {
                self.block += BLOCK;
                self.marks = input.marks(self.block);
            }
            // A block starts at a multiple of its length, so this is the part of the block from
            // the position on.
            let marks = self.marks >> (at % BLOCK);
            if marks != 0 {
                let [bit, ..] = marks.trailing_zeros().to_le_bytes();
                return at + usize::from(bit);
            }
            at = self.block + BLOCK;
        }
    }

    /// Reads an escape; its backslash has been read. An escape has to be a character, and half of a
    /// surrogate pair is not a character (RFC 8259 §8.2).
    #[cold]
    fn escape(&mut self, at: usize) -> Result<usize, Stop> {
        const LONE: &str = "half of a surrogate pair";
        const DIGITS: &str = "an escape needs four hexadecimal digits";
        self.escaped = true;
        let input = self.input;
        match input.byte(at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => return Ok(at + 1),
            Some(b'u') => {}
            _ => return self.fail(at, "an unknown escape in a string"),
        }
        match (input.code_unit(at + 1), input.rest(at + 5)) {
            (Some(0xd800..0xdc00), [b'\\', b'u', ..]) => match input.code_unit(at + 7) {
                Some(0xdc00..0xe000) => Ok(at + 11),
                Some(_) => self.fail(at + 11, LONE),
                None => self.fail(at + 7, DIGITS),
            },
            (Some(0xd800..0xe000), _) => self.fail(at + 5, LONE),
            (Some(_), _) => Ok(at + 5),
            (None, _) => self.fail(at + 1, DIGITS),
        }
    }

    /// Reads a number (RFC 8259 §6) in the range of a double.
    fn number(&mut self, input: Input<'t>, start: usize) -> Result<usize, Stop> {
        let whole = start + usize::from(input.byte(start) == Some(b'-'));
        let mut end = input.digits(whole);
        // RFC 8259 §6 forbids a leading zero, which some readers take for an octal number.
        if end == whole || (input.byte(whole) == Some(b'0') && end > whole + 1) {
            let reason = "a number without a digit, or with a leading zero";
            return self.fail(end, reason);
        }
        // At most 308 digits without an exponent are less than 1e308.
        let mut is_usual = end - whole <= 308;
        if is_usual && !matches!(input.byte(end), Some(b'.' | b'e' | b'E')) {
            return Ok(end);
        }
        let mut digits = whole;
        if input.byte(end) == Some(b'.') {
            digits = end + 1;
            end = input.digits(digits);
        }
        if let (Some(b'e' | b'E'), true) = (input.byte(end), digits < end) {
            // Only an exponent makes a number of few digits large.
            is_usual = false;
            digits = end + 1 + usize::from(matches!(input.byte(end + 1), Some(b'+' | b'-')));
            end = input.digits(digits);
        }
        if digits == end {
            return self.fail(end, "a digit was expected");
        }
        if is_usual || is_in_range(self.spanned(input, start, end)?.spelled()) {
            return Ok(end);
        }
        self.fail(end, "a number is beyond the range of a double")
    }

    /// Expects only white space up to the end of the text.
    pub(super) fn end(&mut self, at: usize) -> Result<usize, Stop> {
        let end = self.input.space(at);
        match self.input.byte(end) {
            None => Ok(end),
            Some(_) => self.fail(end, "there is text after the object"),
        }
    }

    #[cold]
    fn fail(&mut self, at: usize, reason: &'static str) -> Result<usize, Stop> {
        self.fault = Some(JsonError::Syntax { offset: at.min(self.input.0.len()), reason });
        Err(Stop)
    }
}

/// Returns whether a number in JSON's grammar is less than 1.797693134862315e308. That is the range
/// of a double, except for the last digits of its largest value.
///
/// Above this value, serde_json may read a number as infinite, depending on its spelling, because
/// it rounds up to three times. Asking serde_json would take microseconds for some numbers, and an
/// attacker can fill a header with them.
fn is_in_range(spelled: &str) -> bool {
    let spelled = spelled.trim_start_matches('-');
    let (mantissa, exponent) = spelled.split_once(['e', 'E']).unwrap_or((spelled, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    let zeros = digits().take_while(|digit| *digit == b'0').count();
    if zeros == whole.len() + fraction.len() {
        return true;
    }
    // An exponent that does not fit an `i64` becomes the end of the range.
    let furthest = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
    let exponent: i64 = exponent.parse().unwrap_or(furthest);
    let length = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    // The number of digits before the decimal point, once the number is written without an
    // exponent.
    match exponent.saturating_add(length(whole.len())).saturating_sub(length(zeros)).cmp(&309) {
        Ordering::Less => true,
        Ordering::Greater => false,
        Ordering::Equal => digits().skip(zeros).lt(*b"1797693134862315"),
    }
}

/// Returns eight bytes, the first in the lowest position, with zeros after the end of the text.
fn eight(text: &[u8], at: usize) -> u64 {
    match text.get(at..at + 8).and_then(<[u8]>::first_chunk) {
        Some(eight) => u64::from_le_bytes(*eight),
        None => last_eight(text, at),
    }
}

/// Does the work of [`eight`] where fewer than eight bytes are left.
#[cold]
fn last_eight(text: &[u8], at: usize) -> u64 {
    let rest = text.get(at..).unwrap_or_default();
    rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// The number of bytes of a block: one for each bit of a word, so that its marks fit a register.
const BLOCK: usize = 64;

/// Marks the special bytes of a block, the first byte in the lowest bit: quotes, backslashes and
/// control characters.
///
/// A loop that sets bit after bit takes 30 ns longer for each block. A comparison of each byte,
/// which the compiler turns into vector instructions, takes 40 ns less at 2 KB. But memcheck then
/// reports branches on the marks next to a secret.
fn marks(block: &[u8; BLOCK]) -> u64 {
    (0..8).rev().fold(0, |marks, word| marks << 8 | specials(eight(block, 8 * word)))
}

/// Marks the special bytes among eight.
fn specials(word: u64) -> u64 {
    const EACH: u64 = u64::MAX / 255;
    let ascii = word & (EACH * 0x7f);
    // Each sum sets the highest bit of a byte that is not special, and carries nothing into the
    // next byte. With one bit flipped, a quote becomes a space, a space becomes a larger byte, and
    // a control character stays a control character.
    let above = (ascii ^ (EACH * 2)) + EACH * (0x80 - 0x21);
    let other = (ascii ^ (EACH * u64::from(b'\\'))) + EACH * 0x7f;
    let highest = !(above & other | word) & (EACH << 7);
    // Moves the highest bits of the eight bytes next to each other.
    highest.wrapping_mul(0x0002_0408_1020_4081) >> 56
}

#[cfg(test)]
mod tests {
    use alloc::{
        format,
        string::{String, ToString},
    };

    use super::*;

    /// Returns `count` members of distinct names, each followed by a comma.
    fn members(count: usize) -> String {
        (0..count)
            .flat_map(|number| [r#""n"#.into(), number.to_string(), r#"":0,"#.into()])
            .collect()
    }

    /// The scanner keeps the names of different objects apart, however many objects it has left
    /// before.
    #[test]
    fn leaving_an_object_frees_the_places_of_its_names() {
        let inner = format!("{{{}\"x\":0}}", members(MAX_OPEN_NAMES - 2));
        let elements = [&*inner; 20].join(",");
        let mut scanner = Scanner::new(elements.as_bytes(), usize::MAX);
        let mut at = 0;
        while at < elements.len() {
            at = scanner.value(scanner.input, at, 0).unwrap() + 1;
            assert!(scanner.open == 0 && !scanner.doubt);
        }
    }

    /// The words alone tell most names apart, so that no sort is needed.
    #[test]
    fn different_names_need_no_sort() {
        let doubts = |text: &str| {
            let mut scanner = Scanner::new(text.as_bytes(), usize::MAX);
            scanner.value(scanner.input, 0, 0).unwrap();
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

    /// Compares with the parser of the standard library, on both sides of the end of the range.
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

    /// Puts every byte at every place, between others, and compares with a simple search.
    #[test]
    fn the_special_bytes_of_a_string_are_found() {
        let special = |byte: u8| byte == b'"' || byte == b'\\' || byte < 0x20;
        for length in [0, 1, 7, 63, 64, 65, 100, 128, 140] {
            for place in 0..length {
                for byte in 0..=u8::MAX {
                    for filler in [b'a', 0xff] {
                        let mut text = Vec::from([filler; 140]);
                        text.truncate(length);
                        text[place] = byte;
                        for from in [0, place / 2, place, place + 1] {
                            let mut scanner = Scanner::new(&text, 0);
                            let found = scanner.special(scanner.input, from);
                            let is_ahead = from <= place && special(byte);
                            assert_eq!(found, if is_ahead { place } else { length }, "{text:?}");
                        }
                    }
                }
            }
        }
    }

    /// Each of eight bytes is marked by itself, whatever its neighbours.
    #[test]
    fn special_bytes_are_marked_one_by_one() {
        for one in 0..=u8::MAX {
            for other in 0..=u8::MAX {
                let bytes = [one, other, one, one, other, b'a', other, one];
                let special = |byte: u8| byte == b'"' || byte == b'\\' || byte < 0x20;
                let expected = bytes
                    .iter()
                    .rev()
                    .fold(0, |marks, byte| marks << 1 | u64::from(special(*byte)));
                assert_eq!(specials(u64::from_le_bytes(bytes)), expected, "{one} {other}");
            }
        }
    }
}
