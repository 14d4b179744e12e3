//! One strict pass over a JSON object (RFC 8259): bytes in; out come the members that a
//! specification registers, and a value of the caller's type.
//!
//! serde_json parses. What this room adds is said by the specifications of JOSE and JWT, and holds
//! whatever type the caller decodes into, for members that the type ignores too:
//! - the text is UTF-8 without a byte order mark, and one object with nothing behind it (RFC 7519 §7.2);
//! - no object at any depth has two members of one name, compared after unescaping (RFC 7515 §4,
//!   RFC 7519 §4: refuse, or take the last; to refuse is the safer);
//! - an array never stands for an object, as derived structs would have it;
//! - every number lies in the range of a double, every string is Unicode, nothing nests deeper than 127.
//!
//! The members that matter to a verifier ([`Registered`]) are noted while the caller's type reads
//! them. So both see the same value, and the caller's type cannot hide one from the verifier.

mod members;
mod strict;

use alloc::{borrow::Cow, boxed::Box, vec::Vec};
use core::{
    cell::{Cell, OnceCell},
    fmt,
};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, Visitor},
    forward_to_deserialize_any,
};

use self::members::Members;
use crate::excerpt::{Excerpt, parser_message};

/// Why a text is not one strict JSON object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
    /// The text does not follow the grammar, holds a number beyond the range of a double or a lone
    /// surrogate, or nests deeper than 127.
    #[error("malformed JSON: {reason}")]
    Syntax {
        /// What the parser expected, with line and column.
        reason: Box<str>,
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

/// What the caller's type has against an object that is otherwise well-formed.
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

    /// Sees the name of a member that is not registered.
    fn pass_by(&mut self, _name: &str) {}

    /// Forgets what was noted: the object is read again.
    fn forget(&mut self);
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
#[derive(Clone, Debug)]
pub(crate) enum Value<'de> {
    Text(Cow<'de, str>),
    Texts(Texts<'de>),
    /// As it is spelled: digits are not rounded away.
    Number(&'de str),
    /// As it is spelled, after it was found to be strict.
    Raw(&'de str),
    /// A value of another type than specified. Never the same as no value.
    OtherType,
}

/// A list of strings. Only one longer than most audiences are is allocated.
#[derive(Clone, Debug, Default)]
pub(crate) struct Texts<'de> {
    first: [Cow<'de, str>; 4],
    length: usize,
    more: Vec<Cow<'de, str>>,
}

impl<'de> From<Cow<'de, str>> for Texts<'de> {
    fn from(text: Cow<'de, str>) -> Self {
        let mut texts = Self::default();
        texts.push(text);
        texts
    }
}

impl<'de> Texts<'de> {
    fn push(&mut self, text: Cow<'de, str>) {
        match self.first.get_mut(self.length) {
            Some(free) => *free = text,
            None => self.more.push(text),
        }
        self.length += 1;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Cow<'de, str>> {
        self.first.iter().take(self.length).chain(&self.more)
    }
}

/// Notes the registered members of an object, which has at most `max_members` at all depths together.
pub(crate) fn members<'de, R: Registered<'de>>(
    text: &'de [u8],
    max_members: usize,
    registered: &mut R,
) -> Result<(), JsonError> {
    let pass = Pass::new(max_members);
    match pass.over(object_text(text)?, registered) {
        Ok(IgnoredAny) => Ok(()),
        Err(error) => Err(pass
            .fault
            .into_inner()
            .unwrap_or_else(|| JsonError::Syntax { reason: parser_message(&error) })),
    }
}

/// Notes the registered members of an object, and reads the whole of it as a `T`.
///
/// The text is judged alone: what `T` has against it is told apart, after every member has been
/// noted, and takes no part in whether the object is accepted.
#[inline]
pub(crate) fn members_and<'de, R: Registered<'de>, T: Deserialize<'de>>(
    text: &'de [u8],
    registered: &mut R,
) -> Result<Result<T, Mismatch>, JsonError> {
    let pass = Pass::new(usize::MAX);
    match pass.over(object_text(text)?, registered) {
        Ok(value) if !pass.troubled.get() => Ok(Ok(value)),
        result => judge_alone(text, registered, result),
    }
}

/// `T` failed, or read on over an error. Only a pass that ignores every value tells whether the text
/// is to blame, and only one that reaches the end has noted every member.
#[cold]
fn judge_alone<'de, R: Registered<'de>, T>(
    text: &'de [u8],
    registered: &mut R,
    result: Result<T, serde_json::Error>,
) -> Result<Result<T, Mismatch>, JsonError> {
    registered.forget();
    members(text, usize::MAX, registered)?;
    Ok(result.map_err(|error| Mismatch { reason: parser_message(&error) }))
}

/// UTF-8 that begins with an object.
fn object_text(text: &[u8]) -> Result<&str, JsonError> {
    let text = core::str::from_utf8(text)
        .map_err(|error| JsonError::NotUtf8 { offset: error.valid_up_to() })?;
    match text.bytes().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
        Some(b'{') => Ok(text),
        _ => Err(JsonError::NotAnObject),
    }
}

/// What is known during one pass over a text.
struct Pass {
    /// What is wrong with the text, where serde_json's own error would not say it.
    fault: OnceCell<JsonError>,
    /// An error has gone by. A caller's type may have swallowed it.
    troubled: Cell<bool>,
    members: Cell<usize>,
    max_members: usize,
}

impl Pass {
    fn new(max_members: usize) -> Self {
        Self {
            fault: OnceCell::new(),
            troubled: Cell::new(false),
            members: Cell::new(0),
            max_members,
        }
    }

    #[inline]
    fn over<'de, R: Registered<'de>, T: Deserialize<'de>>(
        &self,
        text: &'de str,
        registered: &mut R,
    ) -> Result<T, serde_json::Error> {
        let mut parser = serde_json::Deserializer::from_str(text);
        let value = T::deserialize(Object { parser: &mut parser, pass: self, registered })?;
        parser.end()?;
        Ok(value)
    }

    #[inline]
    fn watch<T, E>(&self, result: Result<T, E>) -> Result<T, E> {
        if result.is_err() {
            self.troubled.set(true);
        }
        result
    }

    #[cold]
    fn fail<T, E: de::Error>(&self, fault: JsonError) -> Result<T, E> {
        let error = E::custom(&fault);
        // The first fault is the one to tell; what follows may come of it.
        let _ = self.fault.set(fault);
        self.watch(Err(error))
    }
}

/// The whole text: a deserializer that is an object, whatever type asks.
struct Object<'p, D, R> {
    parser: D,
    pass: &'p Pass,
    registered: &'p mut R,
}

impl<'de, D: Deserializer<'de>, R: Registered<'de>> Deserializer<'de> for Object<'_, D, R> {
    type Error = D::Error;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let Self { parser, pass, registered } = self;
        pass.watch(parser.deserialize_map(ObjectVisitor { visitor, pass, registered }))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct ObjectVisitor<'p, V, R> {
    visitor: V,
    pass: &'p Pass,
    registered: &'p mut R,
}

impl<'de, V: Visitor<'de>, R: Registered<'de>> Visitor<'de> for ObjectVisitor<'_, V, R> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        let Self { visitor, pass, registered } = self;
        visitor.visit_map(Members::of(map, pass, registered))
    }
}
