//! serde's view of a [`Reader`]: the caller's type is read from the text, and the registered members are
//! noted on the way.
//!
//! A type that cannot read a value leaves the reader behind it all the same, so that one which swallows
//! the error goes on at the right place. What is wrong with the text cannot be swallowed: the reader knows.
#![expect(
    clippy::inline_always,
    reason = "measured: to move what they return through memory takes as long as to read it"
)]

use alloc::boxed::Box;
use core::{fmt, str::FromStr};

use serde_core::{
    Deserializer,
    de::{
        self, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
        VariantAccess, Visitor, value::SeqDeserializer,
    },
    forward_to_deserialize_any,
};

use super::{
    Kind, Mismatch, Number, Registered, Text, Value,
    reader::{Names, Reader, Start, Stop},
};
use crate::excerpt::parser_message;

/// Why a type was not read.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The text is at fault.
    Stop,
    /// The type does not take what the text says. Boxed, so that a result is returned in registers.
    Mismatch(Box<Mismatch>),
}

impl From<Stop> for Refusal {
    fn from(Stop: Stop) -> Self {
        Self::Stop
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stop => "malformed JSON",
            Self::Mismatch(mismatch) => &mismatch.reason,
        })
    }
}

impl core::error::Error for Refusal {}

impl de::Error for Refusal {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Mismatch(Box::new(Mismatch { reason: parser_message(&message) }))
    }
}

/// The value that the reader stands before.
pub(super) struct Input<'r, 'de> {
    reader: &'r mut Reader<'de>,
}

impl<'de> Input<'_, 'de> {
    /// Reads the value by `read`, or past it when that fails.
    #[inline]
    fn or_past<T>(
        self,
        read: impl FnOnce(&mut Reader<'de>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mark = self.reader.mark();
        let result = read(self.reader);
        if let Err(Refusal::Mismatch(_)) = result {
            self.reader.back_to(mark);
            self.reader.skip()?;
        }
        result
    }

    /// Reads the value, when it is a number that is a `T`; otherwise nothing.
    fn integer<T: FromStr>(&mut self) -> Result<Option<T>, Stop> {
        if self.reader.start()? != Start::Number {
            return Ok(None);
        }
        let mark = self.reader.mark();
        self.reader.number()?;
        let number = self.reader.since(mark).parse().ok();
        if number.is_none() {
            self.reader.back_to(mark);
        }
        Ok(number)
    }
}

/// Reads a value as what `seed` makes of it, and past it even if `seed` did not look at it.
#[inline]
fn read_value<'de, S: DeserializeSeed<'de>>(
    reader: &mut Reader<'de>,
    seed: S,
) -> Result<S::Value, Refusal> {
    reader.start()?;
    let mark = reader.mark();
    let result = seed.deserialize(Input { reader });
    if reader.mark() == mark {
        reader.skip()?;
    }
    result
}

/// Hands a string to a visitor, borrowed where it can be.
#[inline]
fn visit_text<'de, V: Visitor<'de>>(text: Text<'de>, visitor: V) -> Result<V::Value, Refusal> {
    match text.plain() {
        Some(plain) => visitor.visit_borrowed_str(plain),
        None => visitor.visit_string(text.unescaped()),
    }
}

/// Hands a number to a visitor: as an integer, where it is one of 64 bits.
#[inline]
fn visit_number<'de, V: Visitor<'de>>(number: Number<'_>, visitor: V) -> Result<V::Value, Refusal> {
    match number {
        Number::Integer(integer) => match u64::try_from(integer) {
            Ok(integer) => visitor.visit_u64(integer),
            Err(_) => visitor.visit_i64(integer),
        },
        Number::Spelled(spelled) => visit_long_number(spelled, visitor),
    }
}

fn visit_long_number<'de, V: Visitor<'de>>(spelled: &str, visitor: V) -> Result<V::Value, Refusal> {
    if let Ok(value) = spelled.parse::<u64>() {
        return visitor.visit_u64(value);
    }
    if let Ok(value) = spelled.parse::<i64>() {
        return visitor.visit_i64(value);
    }
    match spelled.parse() {
        Ok(value) => visitor.visit_f64(value),
        Err(_) => Err(de::Error::invalid_type(Unexpected::Other("number"), &visitor)),
    }
}

impl<'de> Deserializer<'de> for Input<'_, 'de> {
    type Error = Refusal;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let start = self.reader.start()?;
        self.or_past(|reader| match start {
            Start::Text => visit_text(reader.text()?, visitor),
            Start::Number => visit_number(reader.number()?, visitor),
            Start::True => {
                reader.literal("true")?;
                visitor.visit_bool(true)
            }
            Start::False => {
                reader.literal("false")?;
                visitor.visit_bool(false)
            }
            Start::Null => {
                reader.literal("null")?;
                visitor.visit_unit()
            }
            Start::Array => visit_elements(reader, visitor),
            Start::Object => visit_members(reader, &mut Unregistered, visitor),
        })
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        if self.reader.start()? != Start::Null {
            return visitor.visit_some(self);
        }
        self.reader.literal("null")?;
        visitor.visit_none()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        visitor.visit_newtype_struct(self)
    }

    /// An array has no names, so it is no struct.
    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        if self.reader.start()? == Start::Array {
            self.reader.skip()?;
            return Err(de::Error::invalid_type(Unexpected::Seq, &visitor));
        }
        self.deserialize_any(visitor)
    }

    /// A variant is its name, or an object with the name for its one member.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        if self.reader.start()? != Start::Object {
            return self.or_past(|reader| match reader.start()? {
                Start::Text => visitor.visit_enum(reader.text()?.read().into_deserializer()),
                _ => Input { reader }.deserialize_any(visitor),
            });
        }
        self.or_past(|reader| {
            reader.enter()?;
            let Some(name) = reader.next_name(true)? else {
                return Err(de::Error::invalid_type(Unexpected::Map, &visitor));
            };
            reader.start()?;
            let mark = reader.mark();
            let value = visitor.visit_enum(Variant { name, reader })?;
            if reader.mark() == mark {
                reader.skip()?;
            }
            match reader.next_name(false)? {
                None => Ok(value),
                Some(_) => Err(de::Error::custom("an object with one member was expected")),
            }
        })
    }

    fn deserialize_i128<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        match self.integer()? {
            Some(number) => visitor.visit_i128(number),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_u128<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        match self.integer()? {
            Some(number) => visitor.visit_u128(number),
            None => self.deserialize_any(visitor),
        }
    }

    #[inline]
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.reader.skip()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map identifier
    }
}

/// Shows a visitor the elements of the array here, of which it has to take all.
#[inline]
fn visit_elements<'de, V: Visitor<'de>>(
    reader: &mut Reader<'de>,
    visitor: V,
) -> Result<V::Value, Refusal> {
    reader.enter()?;
    let mut elements = Elements { reader, first: true, left: false };
    let value = visitor.visit_seq(&mut elements)?;
    if elements.next()? {
        return Err(de::Error::custom("an array has more elements than the type takes"));
    }
    Ok(value)
}

struct Elements<'r, 'de> {
    reader: &'r mut Reader<'de>,
    first: bool,
    left: bool,
}

impl Elements<'_, '_> {
    /// Whether there is another element; the reader stands before it then.
    #[inline]
    fn next(&mut self) -> Result<bool, Stop> {
        if self.left {
            return Ok(false);
        }
        // Until it is known to go on; a fault is its end too.
        self.left = true;
        self.left = !self.reader.next_element(core::mem::take(&mut self.first))?;
        Ok(!self.left)
    }
}

impl<'de> SeqAccess<'de> for &mut Elements<'_, 'de> {
    type Error = Refusal;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Refusal> {
        if !self.next()? {
            return Ok(None);
        }
        read_value(self.reader, seed).map(Some)
    }
}

/// Notes the registered members of the object here, for nobody else.
pub(super) fn note_members<'de, R: Registered<'de>>(
    reader: &mut Reader<'de>,
    registered: &mut R,
) -> Result<(), Stop> {
    let mut members = Members::enter(reader, registered)?;
    while members.next()?.is_some() {}
    Ok(())
}

/// Shows a visitor the members of the object here, notes those that are registered, and reads past those
/// that it leaves.
#[inline]
pub(super) fn visit_members<'de, R: Registered<'de>, V: Visitor<'de>>(
    reader: &mut Reader<'de>,
    registered: &mut R,
    visitor: V,
) -> Result<V::Value, Refusal> {
    let mut members = Members::enter(reader, registered)?;
    let value = visitor.visit_map(&mut members)?;
    while members.next()?.is_some() {}
    Ok(value)
}

struct Members<'r, 'de, R: Registered<'de>> {
    reader: &'r mut Reader<'de>,
    registered: &'r mut R,
    /// The names that are not registered.
    names: Names<'de>,
    first: bool,
    left: bool,
    /// The member whose value is to be read next.
    named: Option<Named<R::Name>>,
}

/// What a name says about the value behind it.
#[derive(Clone, Copy)]
enum Named<N> {
    Registered(N, Kind),
    Other,
}

impl<'r, 'de, R: Registered<'de>> Members<'r, 'de, R> {
    #[inline]
    fn enter(reader: &'r mut Reader<'de>, registered: &'r mut R) -> Result<Self, Stop> {
        reader.enter()?;
        let names = Names::default();
        Ok(Self { reader, registered, names, first: true, left: false, named: None })
    }

    /// The name of the next member, which no other has. A value that nobody has read is read past.
    #[inline(always)]
    fn next(&mut self) -> Result<Option<Text<'de>>, Stop> {
        if let Some(named) = self.named.take() {
            self.pass_value(named)?;
        }
        if self.left {
            return Ok(None);
        }
        let first = core::mem::take(&mut self.first);
        if let Some((name, (registered, kind))) = self.reader.next_known_name(first, R::name) {
            return self.found(name, registered, kind);
        }
        match self.next_of_any(first) {
            Some(name) => Ok(Some(name)),
            None => self.reader.is_well().map(|()| None),
        }
    }

    /// The name of the next member, however it is spelled. After a fault there is none.
    #[inline(never)]
    fn next_of_any(&mut self, first: bool) -> Option<Text<'de>> {
        self.try_next_of_any(first).unwrap_or_default()
    }

    #[inline(always)]
    fn try_next_of_any(&mut self, first: bool) -> Result<Option<Text<'de>>, Stop> {
        let Some(name) = self.reader.next_name(first)? else {
            self.left = true;
            return Ok(None);
        };
        if let Some((registered, kind)) = R::name(&name.read()) {
            return self.found(name, registered, kind);
        }
        self.registered.pass_by(&name.read());
        self.reader.insert(&mut self.names, name)?;
        self.named = Some(Named::Other);
        Ok(Some(name))
    }

    /// A registered member, which stands once.
    #[inline(always)]
    fn found(
        &mut self,
        name: Text<'de>,
        registered: R::Name,
        kind: Kind,
    ) -> Result<Option<Text<'de>>, Stop> {
        if self.registered.has(registered) {
            return self.reader.duplicate(name);
        }
        self.named = Some(Named::Registered(registered, kind));
        Ok(Some(name))
    }
}

impl<'de, R: Registered<'de>> Members<'_, 'de, R> {
    /// Reads past a value that nobody asked for.
    fn pass_value(&mut self, named: Named<R::Name>) -> Result<(), Stop> {
        let Named::Registered(name, kind) = named else { return self.reader.skip() };
        if let (Start::Text, Kind::Text | Kind::TextOrTexts) = (self.reader.start()?, kind) {
            let text = self.reader.text()?;
            self.registered.note_text(name, text);
        } else {
            let value = self.reader.value(kind)?;
            self.registered.note(name, value);
        }
        Ok(())
    }
}

impl<'de, R: Registered<'de>> MapAccess<'de> for &mut Members<'_, 'de, R> {
    type Error = Refusal;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Refusal> {
        match self.next()? {
            Some(name) => seed.deserialize(MemberName(name)).map(Some),
            None => Ok(None),
        }
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refusal> {
        match self.named.take() {
            Some(Named::Registered(name, kind)) => {
                // The usual kinds each have a way of their own, on which it is known what the value is.
                let value = match (self.reader.start()?, kind) {
                    (Start::Text, Kind::Text | Kind::TextOrTexts) => {
                        let text = self.reader.text()?;
                        self.registered.note_text(name, text);
                        return seed.deserialize(text);
                    }
                    (Start::Number, Kind::Number) => match self.reader.short_integer() {
                        Some(integer) => {
                            self.registered.note_integer(name, integer);
                            return seed.deserialize(Number::Integer(integer));
                        }
                        None => self.reader.value(kind)?,
                    },
                    _ => self.reader.value(kind)?,
                };
                self.registered.note(name, value);
                seed.deserialize(value)
            }
            Some(Named::Other) => read_value(self.reader, seed),
            None => Err(de::Error::custom("a value was asked for before its name")),
        }
    }
}

/// Nothing is registered: an object below the top.
struct Unregistered;

impl Registered<'_> for Unregistered {
    type Name = core::convert::Infallible;

    fn name(_: &str) -> Option<(Self::Name, Kind)> {
        None
    }

    fn has(&mut self, name: Self::Name) -> bool {
        match name {}
    }

    fn note(&mut self, name: Self::Name, _: Value<'_>) {
        match name {}
    }
}

/// The one member of the object that stands for an enum's variant.
struct Variant<'r, 'de> {
    name: Text<'de>,
    reader: &'r mut Reader<'de>,
}

impl<'r, 'de> EnumAccess<'de> for Variant<'r, 'de> {
    type Error = Refusal;
    type Variant = Input<'r, 'de>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), Refusal> {
        let name = seed.deserialize(MemberName(self.name))?;
        Ok((name, Input { reader: self.reader }))
    }
}

impl<'de> VariantAccess<'de> for Input<'_, 'de> {
    type Error = Refusal;

    fn unit_variant(self) -> Result<(), Refusal> {
        Err(de::Error::invalid_type(Unexpected::Map, &"the name of a variant"))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Refusal> {
        read_value(self.reader, seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.deserialize_struct("", fields, visitor)
    }
}

/// A member's name, unescaped. Where a map has numbers or booleans for keys, JSON has them in quotes.
struct MemberName<'de>(Text<'de>);

macro_rules! quoted_keys {
    ($($deserialize:ident $visit:ident $key:ty,)*) => {$(
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
            match quoted(&self.0.read()).and_then(|key| key.parse::<$key>().ok()) {
                Some(key) => visitor.$visit(key),
                None => self.deserialize_any(visitor),
            }
        }
    )*};
}

/// A name that is spelled like a number, a boolean or null in JSON.
fn quoted(name: &str) -> Option<&str> {
    let mut reader = Reader::new(name, 0);
    let mark = reader.mark();
    match reader.start() {
        Ok(Start::Number | Start::True | Start::False) => reader.skip().ok()?,
        _ => return None,
    }
    (reader.since(mark) == name).then_some(name)
}

impl<'de> Deserializer<'de> for MemberName<'de> {
    type Error = Refusal;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visit_text(self.0, visitor)
    }

    there_and_unwrapped!();

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        visitor.visit_enum(self.0.read().into_deserializer())
    }

    quoted_keys! {
        deserialize_bool visit_bool bool,
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_i128 visit_i128 i128,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_u128 visit_u128 u128,
        deserialize_f32 visit_f32 f32,
        deserialize_f64 visit_f64 f64,
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Refusal> for Text<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Text<'de> {
    type Error = Refusal;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visit_text(self, visitor)
    }

    there_and_unwrapped!();

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        visitor.visit_enum(self.read().into_deserializer())
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> Deserializer<'de> for Number<'de> {
    type Error = Refusal;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visit_number(self, visitor)
    }

    there_and_unwrapped!();

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// A registered member's value has been read; this hands it on to the caller's type.
impl<'de> Deserializer<'de> for Value<'de> {
    type Error = Refusal;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self {
            Self::Text(text) => visit_text(text, visitor),
            Self::Texts(texts) => {
                let mut elements = SeqDeserializer::new(texts.iter());
                let value = visitor.visit_seq(&mut elements)?;
                elements.end()?;
                Ok(value)
            }
            Self::Number(number) => visit_number(number, visitor),
            // A verifier refuses it, whatever the caller's type makes of this.
            Self::Raw(_) | Self::OtherType => visitor.visit_unit(),
        }
    }

    there_and_unwrapped!();

    /// An array has no names, so it is no struct.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        match self {
            Self::Texts(_) => Err(de::Error::invalid_type(Unexpected::Seq, &visitor)),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        match self {
            Self::Text(text) => text.deserialize_enum("", &[], visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}
