//! A value of the caller's in; out come the bytes that serde_json would write for it, and whether they need to be
//! read over before they are signed.
//!
//! A type's `Serialize` may ask for anything: one name twice, a claim of another type than specified, more members
//! than it has announced. All of that is written as serde_json writes it, and left to the reader to refuse. For the rest,
//! almost all there is, the [`Writer`] vouches as it writes: nothing in it is what the reader would stop at. When in
//! doubt it does not vouch, which costs the second reading and nothing else.
//!
//! `Serialize` is called once, whatever comes of it: a type may give its elements away only once.

#![expect(
    clippy::inline_always,
    reason = "measured: what is known of the names of fields is known when they are compiled"
)]

use alloc::{string::String, vec::Vec};
use core::{
    fmt::{self, Display, Write},
    marker::PhantomData,
};

use serde_core::{
    Serialize, Serializer,
    ser::{
        Error as _, Impossible, SerializeMap, SerializeSeq, SerializeStruct,
        SerializeStructVariant, SerializeTuple, SerializeTupleStruct, SerializeTupleVariant,
    },
};
use serde_json::Error;

use super::{
    Kind, Registered, Value,
    reader::{MAX_DEPTH, Reader, is_plain, plain_len, short},
};

/// What is known of a text that has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is one strict JSON object, whose registered members have the types that they are specified to have.
    Strict,
    /// It has to be read to know.
    Unjudged,
}

/// Writes `value` onto the end of `output`, as serde_json does. Its errors are serde_json's; what has been written
/// before one is left there.
#[inline]
pub(crate) fn write<'r, R: Registered<'r>, T: Serialize + ?Sized>(
    value: &T,
    output: &mut Vec<u8>,
) -> Result<Written, Error> {
    let start = output.len();
    let mut writer = Writer {
        output,
        begun: 0,
        in_doubt: false,
        names: Names { words: [0; MAX_NAMES], length: 0 },
        registered: PhantomData::<fn() -> R>,
    };
    value.serialize(&mut writer)?;
    let vouches = writer.begun == 0 && !writer.in_doubt;
    let is_object = writer.output.get(start) == Some(&b'{');
    Ok(if vouches && is_object { Written::Strict } else { Written::Unjudged })
}

/// How many names are kept at once, of an object and of those around it. Where there are more, the reader looks.
const MAX_NAMES: usize = 32;

/// Writes one value.
///
/// serde's types see to it that each value is written once and to its end, or that its `Serialize` does not come
/// back with success. What they do not see to is looked at here.
struct Writer<'o, R> {
    output: &'o mut Vec<u8>,
    /// How many members and elements have been begun and are not complete. One whose type has failed, or has
    /// panicked, never is, even if somebody has swallowed that.
    begun: usize,
    in_doubt: bool,
    names: Names,
    registered: PhantomData<fn() -> R>,
}

/// The names of the object that is written, behind those of the objects around it; each as a word.
///
/// Names of different words are different, which is all that has to be known. Those of equal words may be: the
/// reader looks.
struct Names {
    words: [u64; MAX_NAMES],
    length: usize,
}

impl Names {
    /// Keeps a name, unless there is no room; whether it differs from all since the `first`th. `seen` has a bit for
    /// each of them, by which most are told from all others at once.
    #[inline]
    fn insert(&mut self, first: usize, seen: &mut u64, word: u64) -> bool {
        let Some(free) = self.words.get_mut(self.length) else { return false };
        *free = word;
        // By a multiple that spreads all bits of the word over the highest.
        let bit = 1 << (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58);
        let is_new = *seen & bit == 0 || !self.known(first).contains(&word);
        *seen |= bit;
        self.length += 1;
        is_new
    }

    fn known(&self, first: usize) -> &[u64] {
        self.words.get(first..self.length).unwrap_or_default()
    }
}

/// A word that stands for a name: its length and its ends.
#[inline(always)]
fn word(name: &[u8]) -> u64 {
    let ends = match (name.first_chunk(), name.last_chunk()) {
        (Some(first), Some(last)) => {
            u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(28)
        }
        _ => short(name),
    };
    ends.wrapping_add(u64::try_from(name.len()).unwrap_or(u64::MAX).rotate_right(8))
}

impl<'o, 'r, R: Registered<'r>> Writer<'o, R> {
    /// From where something was not as it should be, the writer does not vouch.
    #[inline]
    fn doubt_unless(&mut self, is_right: bool) {
        self.in_doubt |= !is_right;
    }

    /// Writes a string between `start` and `end`, in which its quotes are.
    #[inline(always)]
    fn quoted(&mut self, start: &[u8], text: &str, end: &[u8]) {
        self.output.extend_from_slice(start);
        if is_plain(text.as_bytes()) {
            self.output.extend_from_slice(text.as_bytes());
        } else {
            escape(text.as_bytes(), self.output);
        }
        self.output.extend_from_slice(end);
    }

    /// Writes a member's name, with the colon behind it. One that is known when this is compiled is written as one piece.
    #[inline(always)]
    fn member_name(&mut self, is_first: bool, name: &str) {
        let (mut piece, length) = ([0; 32], name.len() + 4);
        match piece.get_mut(..length) {
            Some([comma, quote, text @ .., end, colon]) if is_plain(name.as_bytes()) => {
                [*comma, *quote, *end, *colon] = *b",\"\":";
                text.copy_from_slice(name.as_bytes());
                let piece = piece.split_at(length).0;
                self.output.extend_from_slice(if is_first { piece.split_at(1).1 } else { piece });
            }
            _ => self.quoted(if is_first { b"\"" } else { b",\"" }, name, b"\":"),
        }
    }

    #[inline]
    fn integer(&mut self, magnitude: u64, is_negative: bool) {
        match ten_digits(magnitude) {
            Some(digits) if !is_negative => self.output.extend_from_slice(&digits),
            _ => {
                let mut buffer = [0; INTEGER_LEN];
                self.output.extend_from_slice(decimal(magnitude, is_negative, &mut buffer));
            }
        }
    }

    /// Writes what is seldom met: as serde_json spells it.
    #[cold]
    fn by_serde_json(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        #[cfg(feature = "std")]
        serde_json::to_writer(&mut *self.output, value)?;
        #[cfg(not(feature = "std"))]
        self.output.extend(serde_json::to_vec(value)?);
        Ok(())
    }

    /// Opens an object or array.
    #[inline]
    fn open(&mut self, bracket: u8) {
        self.output.push(bracket);
        self.doubt_unless(self.begun < MAX_DEPTH);
    }

    /// Writes the value of a member or element that has been begun.
    #[inline]
    fn complete<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.begun += 1;
        value.serialize(&mut *self)?;
        self.begun -= 1;
        Ok(())
    }

    /// Whether the value that stands in the output from `start` on is of a type that a registered member may have.
    #[inline]
    fn is_of(&self, kind: Kind, start: usize) -> bool {
        let value = self.output.get(start..).unwrap_or_default();
        match (kind, value.first()) {
            (Kind::Text | Kind::TextOrTexts, Some(b'"'))
            | (Kind::Number, Some(b'-' | b'0'..=b'9'))
            | (Kind::Raw, _) => true,
            (Kind::TextOrTexts, Some(b'[')) => are_texts(value),
            _ => false,
        }
    }

    /// Begins an array. serde_json closes one at once that is announced as empty, whatever comes then.
    #[inline]
    fn array<'w>(&'w mut self, length: Option<usize>) -> Array<'w, 'o, R> {
        self.open(b'[');
        let state = State::of(length);
        if state == State::Closed {
            self.output.push(b']');
        }
        Array { writer: self, state }
    }

    /// Begins an object, as [`Writer::array`] an array.
    #[inline]
    fn object<'w>(&'w mut self, length: Option<usize>) -> Object<'w, 'o, R> {
        self.open(b'{');
        let state = State::of(length);
        if state == State::Closed {
            self.output.push(b'}');
        }
        let (first_name, is_top) = (self.names.length, self.begun == 0);
        Object { writer: self, state, first_name, seen: 0, is_top, named: None, token: None }
    }

    /// Begins the object that stands for a variant with more in it than one value.
    #[inline]
    fn variant(&mut self, name: &str) {
        // There is no second name; what is claimed by one alone at the top is rare enough.
        self.doubt_unless(self.begun > 0);
        self.open(b'{');
        self.member_name(true, name);
        self.begun += 1;
    }

    #[inline]
    fn end_variant(&mut self) {
        self.output.push(b'}');
        self.begun -= 1;
    }
}

/// How far an array or object is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// To its end, since it was announced as empty.
    Closed,
    Empty,
    /// There is something to set a comma behind.
    Begun,
}

impl State {
    #[inline]
    fn of(length: Option<usize>) -> Self {
        if length == Some(0) { Self::Closed } else { Self::Empty }
    }
}

/// An array that is being written.
struct Array<'w, 'o, R> {
    writer: &'w mut Writer<'o, R>,
    state: State,
}

/// An object that is being written.
struct Object<'w, 'o, R> {
    writer: &'w mut Writer<'o, R>,
    state: State,
    /// Where its names are kept.
    first_name: usize,
    seen: u64,
    is_top: bool,
    /// The member whose value comes next.
    named: Option<Named>,
    /// The name of a struct that says something to serde_json.
    token: Option<&'static str>,
}

/// What a name says about the value behind it.
#[derive(Clone, Copy)]
enum Named {
    Registered(Kind),
    Other,
}

/// An array or object within the object that stands for an enum's variant.
struct Variant<C>(C);

impl<'r, R: Registered<'r>> Writer<'_, R> {
    /// Sets the comma before what comes next in an array or object.
    #[inline]
    fn separate(&mut self, state: State) {
        if state != State::Empty {
            self.output.push(b',');
            self.doubt_unless(state != State::Closed);
        }
    }
}

impl<'r, R: Registered<'r>> Array<'_, '_, R> {
    #[inline]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.writer.separate(self.state);
        self.state = State::Begun;
        self.writer.complete(value)
    }

    #[inline]
    fn close(&mut self) {
        if self.state != State::Closed {
            self.writer.output.push(b']');
        }
    }
}

impl<'r, R: Registered<'r>> Object<'_, '_, R> {
    /// Keeps a member's name. Of one that is known when this is compiled, most is done then.
    #[inline(always)]
    fn keep(&mut self, name: &str) -> Named {
        let word = word(name.as_bytes());
        let is_new = self.writer.names.insert(self.first_name, &mut self.seen, word);
        self.writer.doubt_unless(is_new);
        match R::name(name) {
            Some((_, kind)) if self.is_top => Named::Registered(kind),
            _ => Named::Other,
        }
    }

    /// Writes the name that a key is; what goes before and behind is written apart.
    #[inline]
    fn key_name(&mut self, name: &str) -> Named {
        self.writer.quoted(b"\"", name, b"\"");
        self.keep(name)
    }

    /// Writes the value behind a name.
    #[inline]
    fn value<T: Serialize + ?Sized>(&mut self, named: Named, value: &T) -> Result<(), Error> {
        let start = self.writer.output.len();
        self.writer.complete(value)?;
        if let Named::Registered(kind) = named {
            self.writer.doubt_unless(self.writer.is_of(kind, start));
        }
        Ok(())
    }

    #[inline(always)]
    fn member<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Error> {
        self.writer.member_name(self.state == State::Empty, name);
        self.writer.doubt_unless(self.state != State::Closed);
        self.state = State::Begun;
        let named = self.keep(name);
        self.value(named, value)
    }

    #[inline(always)]
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        match self.token {
            None => self.member(name, value),
            Some(token) => self.writer.by_serde_json(&Special { token, name, value }),
        }
    }

    #[inline]
    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.writer.separate(self.state);
        self.state = State::Begun;
        self.writer.begun += 1;
        let named = key.serialize(Name(&mut *self))?;
        self.writer.begun -= 1;
        let is_in_turn = self.named.replace(named).is_none();
        self.writer.doubt_unless(is_in_turn);
        Ok(())
    }

    #[inline]
    fn close(&mut self) {
        self.writer.doubt_unless(self.named.is_none());
        if self.state != State::Closed && self.token.is_none() {
            self.writer.output.push(b'}');
        }
        self.writer.names.length = self.first_name;
    }
}

/// The start of the names by which serde_json knows its own structs, `RawValue` and `Number`, whose one field it
/// writes in a way of its own.
const TOKEN_START: &str = "$serde_json::private::";

/// Such a struct, to be handed on to it.
struct Special<'v, T: ?Sized> {
    token: &'static str,
    name: &'static str,
    value: &'v T,
}

impl<T: Serialize + ?Sized> Serialize for Special<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct(self.token, 1)?;
        fields.serialize_field(self.name, self.value)?;
        fields.end()
    }
}

/// Whether the text of an array is one of strings.
#[cold]
fn are_texts(array: &[u8]) -> bool {
    core::str::from_utf8(array).is_ok_and(|array| {
        let value = Reader::new(array, usize::MAX).value(Kind::TextOrTexts);
        matches!(value, Ok(Value::Texts(_)))
    })
}

/// Writes the characters of a string, some of which are escaped; as serde_json escapes them.
#[cold]
fn escape(mut text: &[u8], output: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    loop {
        let (plain, rest) = text.split_at(plain_len(text));
        output.extend_from_slice(plain);
        let Some((&byte, behind)) = rest.split_first() else { return };
        text = behind;
        let short = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            control => {
                output.extend_from_slice(b"\\u00");
                output.push(b'0' + (control >> 4));
                output.extend(HEX.get(usize::from(control & 15)));
                continue;
            }
        };
        output.extend_from_slice(&[b'\\', short]);
    }
}

/// Room for a sign and the digits of any `u64`, in pairs.
const INTEGER_LEN: usize = 22;

/// An integer in decimal, two digits at a time.
#[inline]
fn decimal(mut magnitude: u64, is_negative: bool, buffer: &mut [u8; INTEGER_LEN]) -> &[u8] {
    let mut start = buffer.len();
    for pair in buffer.rchunks_exact_mut(2) {
        let two = u8::try_from(magnitude % 100).unwrap_or_default();
        magnitude /= 100;
        pair.copy_from_slice(&[b'0' + two / 10, b'0' + two % 10]);
        start -= 2;
        if magnitude == 0 {
            start += usize::from(two < 10);
            break;
        }
    }
    if is_negative {
        start -= 1;
        buffer.iter_mut().skip(start).take(1).for_each(|byte| *byte = b'-');
    }
    buffer.split_at(start).1
}

/// The digits of a number of ten, as a time in seconds is from 2001 to 2286. All are worked out side by side, in lanes
/// of one word.
#[inline]
fn ten_digits(number: u64) -> Option<[u8; 10]> {
    if !(1_000_000_000..10_000_000_000).contains(&number) {
        return None;
    }
    let (two, eight) = (number / 100_000_000, number % 100_000_000);
    let fours = (eight / 10_000) | ((eight % 10_000) << 32);
    // A multiple and a shift divide as well, so far as the numbers go.
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = hundreds | ((fours - 100 * hundreds) << 16);
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    let ones = tens | ((twos - 10 * tens) << 8);
    let mut digits = [0; 10];
    let ([two, ..], [first, second, others @ ..]) = (two.to_le_bytes(), &mut digits);
    [*first, *second] = [b'0' + two / 10, b'0' + two % 10];
    *others = (ones | 0x3030_3030_3030_3030).to_le_bytes();
    Some(digits)
}

/// The signed and unsigned integers, by what a serializer does with a magnitude and a sign.
macro_rules! integers {
    ($with:ident: $($signed:ident $i:ty, $unsigned:ident $u:ty;)*) => {$(
        #[inline]
        fn $signed(self, value: $i) -> Result<Self::Ok, Error> {
            Ok(self.$with(value.unsigned_abs().into(), value < 0))
        }

        #[inline]
        fn $unsigned(self, value: $u) -> Result<Self::Ok, Error> {
            Ok(self.$with(value.into(), false))
        }
    )*};
    ($with:ident) => {
        integers! {
            $with:
            serialize_i8 i8, serialize_u8 u8;
            serialize_i16 i16, serialize_u16 u16;
            serialize_i32 i32, serialize_u32 u32;
            serialize_i64 i64, serialize_u64 u64;
        }
    };
}

impl<'w, 'o, 'r, R: Registered<'r>> Serializer for &'w mut Writer<'o, R> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Array<'w, 'o, R>;
    type SerializeTuple = Array<'w, 'o, R>;
    type SerializeTupleStruct = Array<'w, 'o, R>;
    type SerializeTupleVariant = Variant<Array<'w, 'o, R>>;
    type SerializeMap = Object<'w, 'o, R>;
    type SerializeStruct = Object<'w, 'o, R>;
    type SerializeStructVariant = Variant<Object<'w, 'o, R>>;

    integers!(integer);

    fn serialize_i128(self, value: i128) -> Result<(), Error> {
        self.by_serde_json(&value)
    }

    fn serialize_u128(self, value: u128) -> Result<(), Error> {
        self.by_serde_json(&value)
    }

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        self.by_serde_json(&value)
    }

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        self.by_serde_json(&value)
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.output.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    #[inline]
    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), Error> {
        self.quoted(b"\"", value, b"\"");
        Ok(())
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.output.push(b'"');
        write!(Escaped(self.output), "{value}").map_err(|_| not_shown())?;
        self.output.push(b'"');
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        let mut array = self.array(Some(value.len()));
        value.iter().try_for_each(|byte| array.element(byte))?;
        array.close();
        Ok(())
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Error> {
        self.output.extend_from_slice(b"null");
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let mut object = self.object(Some(1));
        object.member(variant, value)?;
        object.close();
        Ok(())
    }

    #[inline]
    fn serialize_seq(self, length: Option<usize>) -> Result<Array<'w, 'o, R>, Error> {
        Ok(self.array(length))
    }

    #[inline]
    fn serialize_tuple(self, length: usize) -> Result<Array<'w, 'o, R>, Error> {
        Ok(self.array(Some(length)))
    }

    #[inline]
    fn serialize_tuple_struct(
        self,
        _: &'static str,
        length: usize,
    ) -> Result<Array<'w, 'o, R>, Error> {
        Ok(self.array(Some(length)))
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Variant<Array<'w, 'o, R>>, Error> {
        self.variant(variant);
        Ok(Variant(self.array(Some(length))))
    }

    #[inline]
    fn serialize_map(self, length: Option<usize>) -> Result<Object<'w, 'o, R>, Error> {
        Ok(self.object(length))
    }

    #[inline]
    fn serialize_struct(
        self,
        name: &'static str,
        length: usize,
    ) -> Result<Object<'w, 'o, R>, Error> {
        if name.starts_with(TOKEN_START) {
            self.doubt_unless(false);
            let first_name = self.names.length;
            let (state, token) = (State::Closed, Some(name));
            return Ok(Object {
                writer: self,
                state,
                first_name,
                seen: 0,
                is_top: false,
                named: None,
                token,
            });
        }
        Ok(self.object(Some(length)))
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Variant<Object<'w, 'o, R>>, Error> {
        self.variant(variant);
        Ok(Variant(self.object(Some(length))))
    }
}

/// What a `Display` writes, as the characters of a string.
struct Escaped<'o>(&'o mut Vec<u8>);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(text.as_bytes(), self.0);
        Ok(())
    }
}

#[cold]
fn not_shown() -> Error {
    Error::custom("a Display implementation returned an error")
}

/// The methods of one of serde's traits for arrays.
macro_rules! elements {
    ($($trait:ident $method:ident)*) => {$(
        impl<'r, R: Registered<'r>> $trait for Array<'_, '_, R> {
            type Ok = ();
            type Error = Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.element(value)
            }

            #[inline]
            fn end(mut self) -> Result<(), Error> {
                self.close();
                Ok(())
            }
        }
    )*};
}

elements! {
    SerializeSeq serialize_element
    SerializeTuple serialize_element
    SerializeTupleStruct serialize_field
}

impl<'r, R: Registered<'r>> SerializeTupleVariant for Variant<Array<'_, '_, R>> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.0.element(value)
    }

    #[inline]
    fn end(mut self) -> Result<(), Error> {
        self.0.close();
        self.0.writer.end_variant();
        Ok(())
    }
}

impl<'r, R: Registered<'r>> SerializeMap for Object<'_, '_, R> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.key(key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let named = self.named.take();
        self.writer.doubt_unless(named.is_some());
        self.writer.output.push(b':');
        self.value(named.unwrap_or(Named::Other), value)
    }

    #[inline]
    fn end(mut self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

impl<'r, R: Registered<'r>> SerializeStruct for Object<'_, '_, R> {
    type Ok = ();
    type Error = Error;

    #[inline(always)]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.field(name, value)
    }

    #[inline]
    fn end(mut self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

impl<'r, R: Registered<'r>> SerializeStructVariant for Variant<Object<'_, '_, R>> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.0.member(name, value)
    }

    #[inline]
    fn end(mut self) -> Result<(), Error> {
        self.0.close();
        self.0.writer.end_variant();
        Ok(())
    }
}

/// Writes the name of a member, which a map may have as another type than a string.
struct Name<'n, 'w, 'o, R>(&'n mut Object<'w, 'o, R>);

/// The names that JSON has for keys that are no strings, in quotes.
impl<'r, R: Registered<'r>> Serializer for Name<'_, '_, '_, R> {
    type Ok = Named;
    type Error = Error;
    type SerializeSeq = Impossible<Named, Error>;
    type SerializeTuple = Impossible<Named, Error>;
    type SerializeTupleStruct = Impossible<Named, Error>;
    type SerializeTupleVariant = Impossible<Named, Error>;
    type SerializeMap = Impossible<Named, Error>;
    type SerializeStruct = Impossible<Named, Error>;
    type SerializeStructVariant = Impossible<Named, Error>;

    integers!(integer);

    fn serialize_i128(self, key: i128) -> Result<Named, Error> {
        self.spelled(&key)
    }

    fn serialize_u128(self, key: u128) -> Result<Named, Error> {
        self.spelled(&key)
    }

    fn serialize_f32(self, key: f32) -> Result<Named, Error> {
        if key.is_finite() { self.spelled(&key) } else { no_key(key) }
    }

    fn serialize_f64(self, key: f64) -> Result<Named, Error> {
        if key.is_finite() { self.spelled(&key) } else { no_key(key) }
    }

    #[inline]
    fn serialize_bool(self, key: bool) -> Result<Named, Error> {
        Ok(self.0.key_name(if key { "true" } else { "false" }))
    }

    fn serialize_char(self, key: char) -> Result<Named, Error> {
        Ok(self.0.key_name(key.encode_utf8(&mut [0; 4])))
    }

    #[inline]
    fn serialize_str(self, key: &str) -> Result<Named, Error> {
        Ok(self.0.key_name(key))
    }

    fn collect_str<T: Display + ?Sized>(self, key: &T) -> Result<Named, Error> {
        let mut name = String::new();
        write!(name, "{key}").map_err(|_| not_shown())?;
        Ok(self.0.key_name(&name))
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Named, Error> {
        Ok(self.0.key_name(variant))
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        key: &T,
    ) -> Result<Named, Error> {
        key.serialize(self)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, key: &T) -> Result<Named, Error> {
        key.serialize(self)
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<Named, Error> {
        no_key(())
    }

    fn serialize_none(self) -> Result<Named, Error> {
        no_key(())
    }

    fn serialize_unit(self) -> Result<Named, Error> {
        no_key(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Named, Error> {
        no_key(())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Named, Error> {
        no_key(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Error> {
        no_key(())
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Error> {
        no_key(())
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Error> {
        no_key(())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        no_key(())
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Error> {
        no_key(())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Error> {
        no_key(())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        no_key(())
    }
}

impl<'r, R: Registered<'r>> Name<'_, '_, '_, R> {
    #[inline]
    fn integer(self, magnitude: u64, is_negative: bool) -> Named {
        let mut buffer = [0; INTEGER_LEN];
        let name = core::str::from_utf8(decimal(magnitude, is_negative, &mut buffer));
        self.0.key_name(name.unwrap_or_default())
    }

    /// A number that is seldom met, as serde_json spells it.
    fn spelled(self, number: &impl Serialize) -> Result<Named, Error> {
        Ok(self.0.key_name(&serde_json::to_string(number)?))
    }
}

/// The error that serde_json has about a key.
#[cold]
fn no_key<T>(key: impl Serialize) -> Result<T, Error> {
    struct Keyed<K>(K);

    impl<K: Serialize> Serialize for Keyed<K> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map([(&self.0, ())])
        }
    }

    serde_json::to_vec(&Keyed(key))?;
    Err(Error::custom("a key is no string"))
}
