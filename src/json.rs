//! One strict pass over a JSON object (RFC 8259): bytes in; out come the members that a
//! specification registers, and a value of the caller's type. And back, with the same strictness: a value in, bytes
//! out.
//!
//! A text is read once, by a reader of this crate's own. It accepts one language, whatever type the caller
//! decodes into and for members that the type ignores too:
//! - the text is UTF-8 without a byte order mark, and one object with nothing behind it (RFC 7519 §7.2);
//! - no object at any depth has two members of one name, compared after unescaping (RFC 7515 §4,
//!   RFC 7519 §4: refuse, or take the last; to refuse is the safer);
//! - an array never stands for an object, as derived structs would have it (but where serde itself keeps a
//!   value aside first: below `flatten` and `untagged`);
//! - every number lies in the range of a double, every string is Unicode, nothing nests deeper than 127.
//!
//! The members that matter to a verifier ([`Registered`]) are noted while the caller's type reads them, and a
//! time by its digits. So both see the same value, and the type cannot hide one from the verifier.
//!
//! The writer puts down what serde_json would, byte for byte, and vouches for it as far as it can: what it does not vouch
//! for is read over before anyone signs it, so that the reader alone refuses. Numbers that are not usual are spelled by
//! serde_json, and the errors are its own.
//!
//! serde_json is the slow twin of both in their tests. It cannot be made to read like this: it skips what a type
//! ignores without a look at surrogates, ranges, depth or names; it has rounded a time to a double before one can see
//! it; and what it accepts depends on features, such as `arbitrary_precision`, that any other crate of a program may
//! switch on for all. The price is that a claim of serde_json's type `RawValue` cannot be read.

/// For a deserializer that always has a value: what may be absent is there, and a newtype is what it wraps.
macro_rules! there_and_unwrapped {
    () => {
        fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
            visitor.visit_some(self)
        }

        fn deserialize_newtype_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            visitor: V,
        ) -> Result<V::Value, Refusal> {
            visitor.visit_newtype_struct(self)
        }
    };
}

mod deserializer;
mod reader;
mod writer;

use alloc::{borrow::Cow, boxed::Box, string::String, vec::Vec};

use serde_core::{Deserialize, Deserializer, de::Visitor, forward_to_deserialize_any};

pub(crate) use self::writer::{Written, write};
use self::{
    deserializer::{Refusal, note_members, visit_members},
    reader::{Reader, Stop},
};
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
    /// There are more members than a verifier looks at before it knows who wrote them.
    #[error("more than {limit} members")]
    TooManyMembers {
        /// How many there may be, at all depths together.
        limit: usize,
    },
}

debug_by_message!(JsonError);

/// Why the caller's type did not take an object that is otherwise well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub(crate) reason: Box<str>,
}

/// The members that a specification registers, as far as one object has them.
pub(crate) trait Registered<'de> {
    /// One of the registered names.
    type Name: Copy;

    /// The registered name that `member` is, and how it is to be read.
    fn name(member: &str) -> Option<(Self::Name, Kind)>;

    /// Whether the member was noted already.
    fn has(&mut self, name: Self::Name) -> bool;

    /// Keeps the member's value.
    fn note(&mut self, name: Self::Name, value: Value<'de>);

    /// As [`Registered::note`] of a [`Value::Text`].
    #[inline]
    fn note_text(&mut self, name: Self::Name, text: Text<'de>) {
        self.note(name, Value::Text(text));
    }

    /// As [`Registered::note`] of a [`Number::Integer`].
    #[inline]
    fn note_integer(&mut self, name: Self::Name, integer: i64) {
        self.note(name, Value::Number(Number::Integer(integer)));
    }

    /// Sees the name of a member that is not registered.
    fn pass_by(&mut self, _name: &str) {}
}

/// The JSON type that a registered member is specified to have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Text,
    TextOrTexts,
    Number,
    /// Any, to be read by someone else.
    Raw,
}

/// The value of a registered member.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'de> {
    Text(Text<'de>),
    Texts(Texts<'de>),
    Number(Number<'de>),
    /// As it is spelled, after it was found to be strict.
    Raw(&'de str),
    /// A value of another type than specified. Never the same as no value.
    OtherType,
}

/// A string as it is spelled, after it was found to be strict: between its quotes, or with them if there are
/// escapes in it. What is without escapes never begins with a quote, so that the two are told apart.
///
/// Escapes are read anew where someone wants what they stand for: nothing is allocated for the string. It is as
/// small as a `&str`, and so stays in registers: to write two words and read them as one is slow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'de>(&'de str);

impl<'de> Text<'de> {
    /// The string, when it is spelled as what it is.
    #[inline]
    pub(crate) fn plain(self) -> Option<&'de str> {
        (!self.0.starts_with('"')).then_some(self.0)
    }

    /// The string, unescaped.
    #[inline]
    pub(crate) fn read(self) -> Cow<'de, str> {
        match self.plain() {
            Some(plain) => Cow::Borrowed(plain),
            None => Cow::Owned(self.unescaped()),
        }
    }

    #[cold]
    fn unescaped(self) -> String {
        // It is longer with escapes than without.
        let mut read = String::with_capacity(self.0.len());
        // To read what has been read before does not fail.
        let _ = Reader::new(self.0, 0).parts(|part| read.push_str(part));
        read
    }
}

impl PartialEq<str> for Text<'_> {
    #[inline]
    fn eq(&self, other: &str) -> bool {
        *self.read() == *other
    }
}

/// A number, of which no digit has been rounded away.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number<'de> {
    /// An integer of no more than 18 digits, as almost all are.
    Integer(i64),
    /// As it is spelled.
    Spelled(&'de str),
}

/// An array of strings, which is read anew where it is gone through: nothing has to be allocated for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Texts<'de> {
    array: &'de str,
}

impl<'de> Texts<'de> {
    pub(crate) fn iter(self) -> impl Iterator<Item = Text<'de>> {
        let mut reader = Reader::new(self.array, 0);
        let mut first = true;
        // Entering an array that has been read before does not fail.
        let entered = reader.start().is_ok() && reader.enter().is_ok();
        core::iter::from_fn(move || {
            if !entered || !reader.next_element(core::mem::take(&mut first)).ok()? {
                return None;
            }
            reader.text().ok()
        })
    }
}

/// Notes the registered members of an object, which has at most `max_members` at all depths together.
pub(crate) fn members<'de, R: Registered<'de>>(
    text: &'de [u8],
    max_members: usize,
    registered: &mut R,
) -> Result<(), JsonError> {
    match whole(text, max_members, |reader| Ok(note_members(reader, registered)?))? {
        Ok(()) => Ok(()),
        // Nobody was there to have anything against it.
        Err(Mismatch { .. }) => Err(JsonError::NotAnObject),
    }
}

/// Notes the registered members of an object, and reads the whole of it as a `T`.
///
/// The text is judged alone: what `T` has against it is told apart. `T` may have given up before the last
/// member then, so that it takes [`members`] to note them all and to see the rest of the text.
#[inline]
pub(crate) fn members_and<'de, R: Registered<'de>, T: Deserialize<'de>>(
    text: &'de [u8],
    registered: &mut R,
) -> Result<Result<T, Mismatch>, JsonError> {
    whole(text, usize::MAX, |reader| T::deserialize(Object { reader, registered }))
}

/// The elements of an array that has been found to be strict; nothing, when it is another value.
pub(crate) fn elements(array: &str) -> Option<Vec<&str>> {
    let mut reader = Reader::new(array, usize::MAX);
    let mut elements = Vec::new();
    reader.elements(|element| elements.push(element)).ok()?;
    Some(elements)
}

/// Reads an object with nothing around it.
#[inline]
fn whole<'de, T>(
    text: &'de [u8],
    max_members: usize,
    read: impl FnOnce(&mut Reader<'de>) -> Result<T, Refusal>,
) -> Result<Result<T, Mismatch>, JsonError> {
    let text = core::str::from_utf8(text)
        .map_err(|error| JsonError::NotUtf8 { offset: error.valid_up_to() })?;
    let mut reader = Reader::new(text, max_members);
    if !reader.is_object() {
        return Err(JsonError::NotAnObject);
    }
    let result = match read(&mut reader) {
        Ok(value) if reader.has_left_object() => reader.end().map(|()| Ok(value)),
        Ok(_) => Ok(Err(Mismatch { reason: "the type did not read the object to its end".into() })),
        Err(Refusal::Mismatch(mismatch)) => Ok(Err(*mismatch)),
        Err(Refusal::Stop) => Err(Stop),
    };
    // A fault counts even if the type has swallowed it.
    match (reader.into_fault(), result) {
        (None, Ok(result)) => Ok(result),
        (Some(fault), _) => Err(fault),
        (None, Err(Stop)) => Err(JsonError::NotAnObject),
    }
}

/// The whole text: a deserializer that is an object, whatever type asks.
struct Object<'r, 'de, R> {
    reader: &'r mut Reader<'de>,
    registered: &'r mut R,
}

impl<'de, R: Registered<'de>> Deserializer<'de> for Object<'_, 'de, R> {
    type Error = Refusal;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visit_members(self.reader, self.registered, visitor)
    }

    there_and_unwrapped!();

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
