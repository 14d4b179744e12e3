//! The members of one object: names checked, the registered ones noted, all handed to the caller's type.

use alloc::{borrow::Cow, collections::BTreeSet};
use core::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeSeed, Error as _, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::SeqDeserializer,
    },
    forward_to_deserialize_any,
};
use serde_json::value::RawValue;

use super::{JsonError, Kind, Pass, Registered, Texts, Value};
use crate::excerpt::Excerpt;

/// The members of one object, with their names checked and the registered ones noted.
pub(super) struct Members<'p, 'de, A, R: Registered<'de>> {
    map: A,
    pass: &'p Pass,
    registered: &'p mut R,
    /// The names that are not registered.
    names: Names<'de>,
    /// The registered member whose value comes next.
    at: Option<(R::Name, Kind)>,
}

impl<'p, 'de, A, R: Registered<'de>> Members<'p, 'de, A, R> {
    #[inline]
    pub(super) fn of(map: A, pass: &'p Pass, registered: &'p mut R) -> Self {
        Self { map, pass, registered, names: Names::default(), at: None }
    }
}

impl<'de, A: MapAccess<'de>, R: Registered<'de>> MapAccess<'de> for Members<'_, 'de, A, R> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let Some(MemberName(name)) = self.pass.watch(self.map.next_key())? else {
            return Ok(None);
        };
        let before = self.pass.members.get();
        if before >= self.pass.max_members {
            return self.pass.fail(JsonError::TooManyMembers { limit: self.pass.max_members });
        }
        self.pass.members.set(before + 1);
        self.at = R::name(&name);
        let fresh = if let Some((registered, _)) = self.at {
            !self.registered.has(registered)
        } else {
            self.registered.pass_by(&name);
            self.names.insert(&name)
        };
        if !fresh {
            return self.pass.fail(JsonError::DuplicateMember { name: Excerpt::new(&name) });
        }
        self.pass.watch(seed.deserialize(MemberName(name)).map_err(A::Error::custom)).map(Some)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let Some((name, kind)) = self.at.take() else {
            return self.map.next_value_seed(self.pass.strictly(seed));
        };
        let value =
            self.pass.watch(self.map.next_value_seed(ValueSeed { kind, pass: self.pass }))?;
        let read = seed.deserialize(value.reader()).map_err(A::Error::custom);
        self.registered.note(name, value);
        self.pass.watch(read)
    }
}

/// Nothing is registered: an object below the top.
pub(super) struct Unregistered;

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

    fn forget(&mut self) {}
}

/// The names of one object so far. A few are compared one by one; more are kept sorted, so that many
/// members cost no more than sorting them.
#[derive(Default)]
struct Names<'de> {
    first: [&'de str; 8],
    length: usize,
    more: BTreeSet<Cow<'de, str>>,
}

impl<'de> Names<'de> {
    /// Whether the name is new.
    #[inline]
    #[expect(clippy::ptr_arg, reason = "a borrowed name is kept as it is")]
    fn insert(&mut self, name: &Cow<'de, str>) -> bool {
        if self.first.iter().take(self.length).any(|known| known == name) {
            return false;
        }
        match (name, self.first.get_mut(self.length)) {
            (Cow::Borrowed(name), Some(free)) => {
                *free = name;
                self.length += 1;
                !self.more.contains(*name)
            }
            _ => self.more.insert(name.clone()),
        }
    }
}

/// A member's name, unescaped, on its way from the parser to the caller's type.
struct MemberName<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for MemberName<'de> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl<'de> Visitor<'de> for NameVisitor {
            type Value = MemberName<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }

            #[inline]
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<MemberName<'de>, E> {
                Ok(MemberName(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<MemberName<'de>, E> {
                Ok(MemberName(Cow::Owned(name.into())))
            }
        }

        deserializer.deserialize_str(NameVisitor)
    }
}

/// A map with numbers or booleans for keys has them quoted in JSON. serde_json reads them so, and the
/// detour through [`MemberName`] shall not lose it.
macro_rules! quoted_keys {
    ($($deserialize:ident $visit:ident $key:ty,)*) => {$(
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            let spelled = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
            if self.0.bytes().all(spelled) {
                if let Ok(key) = serde_json::from_str::<$key>(&self.0) {
                    return visitor.$visit(key);
                }
            }
            self.deserialize_any(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for MemberName<'de> {
    type Error = serde_json::Error;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Cow::Borrowed(name) => visitor.visit_borrowed_str(name),
            Cow::Owned(name) => visitor.visit_string(name),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_enum(self.0.into_deserializer())
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

/// Reads the value of a registered member, whatever its type turns out to be.
struct ValueSeed<'p> {
    kind: Kind,
    pass: &'p Pass,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value<'de>;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        let Self { kind, pass } = self;
        if let Kind::Text | Kind::TextOrTexts = kind {
            let list = matches!(kind, Kind::TextOrTexts);
            return TextVisitor { list }.deserialize(pass.strictly(deserializer));
        }
        let spelled = <&'de RawValue>::deserialize(deserializer)?.get();
        let number = spelled.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        if number && matches!(kind, Kind::Number) {
            return Ok(Value::Number(spelled));
        }
        // serde_json has only looked for the end of the value.
        let mut parser = serde_json::Deserializer::from_str(spelled);
        IgnoredAny::deserialize(pass.strictly(&mut parser)).map_err(D::Error::custom)?;
        Ok(if matches!(kind, Kind::Raw) { Value::Raw(spelled) } else { Value::OtherType })
    }
}

/// Reads a string, or a list of strings where there may be one. Everything else is of another type.
struct TextVisitor {
    list: bool,
}

impl<'de> DeserializeSeed<'de> for TextVisitor {
    type Value = Value<'de>;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    #[inline]
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.into())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        let mut texts = Texts::default();
        let mut only_texts = self.list;
        while let Some(element) = seq.next_element_seed(TextVisitor { list: false })? {
            match element {
                Value::Text(text) => texts.push(text),
                _ => only_texts = false,
            }
        }
        Ok(if only_texts { Value::Texts(texts) } else { Value::OtherType })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::OtherType)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value<'de>, E> {
        Ok(Value::OtherType)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value<'de>, E> {
        Ok(Value::OtherType)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value<'de>, E> {
        Ok(Value::OtherType)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value<'de>, E> {
        Ok(Value::OtherType)
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::OtherType)
    }
}

/// A registered member's value, on its way to the caller's type.
#[derive(Clone, Copy)]
enum Reader<'v, 'de> {
    Text(&'v Cow<'de, str>),
    Texts(&'v Texts<'de>),
    Number(&'de str),
    /// Where the verifier refuses the value, or a caller's type does not see it.
    Nothing,
}

impl<'de> Value<'de> {
    #[inline]
    fn reader(&self) -> Reader<'_, 'de> {
        match self {
            Self::Text(text) => Reader::Text(text),
            Self::Texts(texts) => Reader::Texts(texts),
            Self::Number(spelled) => Reader::Number(spelled),
            Self::Raw(_) | Self::OtherType => Reader::Nothing,
        }
    }
}

impl<'de> IntoDeserializer<'de, serde_json::Error> for Reader<'_, 'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Reader<'_, 'de> {
    type Error = serde_json::Error;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self {
            Self::Text(Cow::Borrowed(text)) => visitor.visit_borrowed_str(text),
            Self::Text(Cow::Owned(text)) => visitor.visit_str(text),
            Self::Texts(texts) => {
                visitor.visit_seq(SeqDeserializer::new(texts.iter().map(Reader::Text)))
            }
            Self::Number(spelled) => {
                serde_json::Deserializer::from_str(spelled).deserialize_any(visitor)
            }
            Self::Nothing => visitor.visit_unit(),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        match self {
            Self::Text(text) => visitor.visit_enum(text.as_ref().into_deserializer()),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
