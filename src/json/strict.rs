//! serde's traits around serde_json's, with the rules of one strict pass for everything below the top.
//!
//! What serde_json would let through is asked of it in another way: a struct as a map, so that an
//! array is refused; an ignored value as a value, so that it is checked; every object as members,
//! so that no name stands twice.

use core::fmt;

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor},
};

use super::{ObjectVisitor, Pass, members::Unregistered};

/// What serde knows of `inner`, with this room's rules for everything below it.
///
/// Around a deserializer, a visitor, a seed or an access it is the same again, and hands itself on.
pub(super) struct Strict<'p, T> {
    inner: T,
    pass: &'p Pass,
}

impl Pass {
    #[inline]
    pub(super) fn strictly<T>(&self, inner: T) -> Strict<'_, T> {
        Strict { inner, pass: self }
    }
}

macro_rules! deserialize_strictly {
    ($($deserialize:ident($($argument:ident: $type:ty),*) as $inner:ident($($passed:expr),*);)*) => {$(
        #[inline]
        fn $deserialize<V: Visitor<'de>>(
            self,
            $($argument: $type,)*
            visitor: V,
        ) -> Result<V::Value, D::Error> {
            let Self { inner, pass } = self;
            pass.watch(inner.$inner($($passed,)* pass.strictly(visitor)))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<'_, D> {
    type Error = D::Error;

    deserialize_strictly! {
        deserialize_any() as deserialize_any();
        deserialize_bool() as deserialize_bool();
        deserialize_i8() as deserialize_i8();
        deserialize_i16() as deserialize_i16();
        deserialize_i32() as deserialize_i32();
        deserialize_i64() as deserialize_i64();
        deserialize_i128() as deserialize_i128();
        deserialize_u8() as deserialize_u8();
        deserialize_u16() as deserialize_u16();
        deserialize_u32() as deserialize_u32();
        deserialize_u64() as deserialize_u64();
        deserialize_u128() as deserialize_u128();
        deserialize_f32() as deserialize_f32();
        deserialize_f64() as deserialize_f64();
        deserialize_char() as deserialize_char();
        deserialize_str() as deserialize_str();
        deserialize_string() as deserialize_string();
        // As text: serde_json does not look for Unicode in what is asked for as bytes.
        deserialize_bytes() as deserialize_any();
        deserialize_byte_buf() as deserialize_any();
        deserialize_option() as deserialize_option();
        deserialize_unit() as deserialize_unit();
        deserialize_unit_struct(name: &'static str) as deserialize_unit_struct(name);
        deserialize_seq() as deserialize_seq();
        deserialize_tuple(len: usize) as deserialize_tuple(len);
        deserialize_tuple_struct(name: &'static str, len: usize) as deserialize_tuple_struct(name, len);
        deserialize_map() as deserialize_map();
        // As a map: serde_json would take an array for a struct.
        deserialize_struct(_name: &'static str, _fields: &'static [&'static str]) as deserialize_map();
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
            as deserialize_enum(name, variants);
        deserialize_identifier() as deserialize_identifier();
        // As a value: serde_json does not check what it skips.
        deserialize_ignored_any() as deserialize_any();
    }

    /// Never by way of serde_json, where a newtype may be a `RawValue`, which nobody would look into.
    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        visitor.visit_newtype_struct(self)
    }
}

macro_rules! visit {
    ($($visit:ident($type:ty);)*) => {$(
        #[inline]
        fn $visit<E: de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$visit(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Strict<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit! {
        visit_bool(bool);
        visit_i64(i64);
        visit_i128(i128);
        visit_u64(u64);
        visit_u128(u128);
        visit_f64(f64);
        visit_str(&str);
        visit_borrowed_str(&'de str);
        visit_string(alloc::string::String);
    }

    #[inline]
    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(self.pass.strictly(deserializer))
    }

    #[inline]
    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(self.pass.strictly(seq))
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        let Self { inner, pass } = self;
        ObjectVisitor { visitor: inner, pass, registered: &mut Unregistered }.visit_map(map)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(self.pass.strictly(data))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Strict<'_, S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.pass.watch(self.inner.deserialize(self.pass.strictly(deserializer)))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Strict<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.pass.watch(self.inner.next_element_seed(self.pass.strictly(seed)))
    }
}

impl<'p, 'de, A: EnumAccess<'de>> EnumAccess<'de> for Strict<'p, A> {
    type Error = A::Error;
    type Variant = Strict<'p, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let Self { inner, pass } = self;
        let (name, variant) = pass.watch(inner.variant_seed(pass.strictly(seed)))?;
        Ok((name, pass.strictly(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Strict<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.pass.watch(self.inner.unit_variant())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.pass.watch(self.inner.newtype_variant_seed(self.pass.strictly(seed)))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.pass.watch(self.inner.tuple_variant(len, self.pass.strictly(visitor)))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.newtype_variant_seed(MapSeed(visitor))
    }
}

/// Reads a map, for a visitor that would take an array too.
struct MapSeed<V>(V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for MapSeed<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_map(self.0)
    }
}
