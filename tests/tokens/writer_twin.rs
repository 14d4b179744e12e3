//! The writer of claims beside its slow twin: serde_json writes them, and what it has written is read over before it is
//! signed. Neither the bytes of a token nor the reason why there is none may differ.

use std::{collections::BTreeMap, fmt};

use kippu::{DecodeError, EncodeError, NumericDate, Validation, decode, encode};
use kippu_test_support::signing;
use proptest::{prelude::*, sample::select};
use serde::{
    Serialize, Serializer,
    de::IgnoredAny,
    ser::{
        Error, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};
use serde_json::Value;

/// All that a `Serialize` can ask for, whether any type that means well would or not.
#[derive(Clone, Debug)]
enum Shape {
    Bool(bool),
    I8(i8),
    I16(i16),
    I32(i32),
    I64(i64),
    I128(i128),
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    U128(u128),
    F32(f32),
    F64(f64),
    Char(char),
    Str(String),
    /// Displayed, in pieces.
    Displayed(Vec<String>),
    Bytes(Vec<u8>),
    None,
    Some(Box<Shape>),
    Unit,
    UnitStruct,
    UnitVariant(&'static str),
    Newtype(Box<Shape>),
    NewtypeVariant(&'static str, Box<Shape>),
    /// The length is announced, right or not.
    Seq(Option<usize>, Parts<Shape>),
    Tuple(usize, Parts<Shape>),
    TupleStruct(usize, Parts<Shape>),
    TupleVariant(&'static str, usize, Parts<Shape>),
    Map(Option<usize>, Parts<Entry>),
    Struct(&'static str, usize, Parts<(&'static str, Shape)>),
    StructVariant(&'static str, usize, Parts<(&'static str, Shape)>),
    /// An array in an array, and so on.
    Deep(usize),
    Fails,
}

/// A step of writing a map.
#[derive(Clone, Debug)]
enum Entry {
    Both(Shape, Shape),
    Key(Shape),
    Value(Shape),
}

/// What an array or object is made of, and whether its type goes on when one of them fails.
#[derive(Clone, Debug)]
struct Parts<T> {
    parts: Vec<T>,
    goes_on: bool,
}

/// Of a type that passes errors on.
fn parts_of<T>(parts: Vec<T>) -> Parts<T> {
    Parts { parts, goes_on: false }
}

impl<T> Parts<T> {
    fn each<E>(&self, mut write: impl FnMut(&T) -> Result<(), E>) -> Result<(), E> {
        for part in &self.parts {
            let written = write(part);
            if !self.goes_on {
                written?;
            }
        }
        Ok(())
    }
}

struct Displayed<'s>(&'s [String]);

impl fmt::Display for Displayed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| f.write_str(piece))
    }
}

impl Serialize for Shape {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => s.serialize_bool(*value),
            Self::I8(value) => s.serialize_i8(*value),
            Self::I16(value) => s.serialize_i16(*value),
            Self::I32(value) => s.serialize_i32(*value),
            Self::I64(value) => s.serialize_i64(*value),
            Self::I128(value) => s.serialize_i128(*value),
            Self::U8(value) => s.serialize_u8(*value),
            Self::U16(value) => s.serialize_u16(*value),
            Self::U32(value) => s.serialize_u32(*value),
            Self::U64(value) => s.serialize_u64(*value),
            Self::U128(value) => s.serialize_u128(*value),
            Self::F32(value) => s.serialize_f32(*value),
            Self::F64(value) => s.serialize_f64(*value),
            Self::Char(value) => s.serialize_char(*value),
            Self::Str(value) => s.serialize_str(value),
            Self::Displayed(pieces) => s.collect_str(&Displayed(pieces)),
            Self::Bytes(value) => s.serialize_bytes(value),
            Self::None => s.serialize_none(),
            Self::Some(value) => s.serialize_some(value),
            Self::Unit => s.serialize_unit(),
            Self::UnitStruct => s.serialize_unit_struct("U"),
            Self::UnitVariant(name) => s.serialize_unit_variant("E", 0, name),
            Self::Newtype(value) => s.serialize_newtype_struct("N", value),
            Self::NewtypeVariant(name, value) => s.serialize_newtype_variant("E", 0, name, value),
            Self::Seq(length, parts) => {
                let mut seq = s.serialize_seq(*length)?;
                parts.each(|value| seq.serialize_element(value))?;
                seq.end()
            }
            Self::Tuple(length, parts) => {
                let mut tuple = s.serialize_tuple(*length)?;
                parts.each(|value| tuple.serialize_element(value))?;
                tuple.end()
            }
            Self::TupleStruct(length, parts) => {
                let mut tuple = s.serialize_tuple_struct("T", *length)?;
                parts.each(|value| tuple.serialize_field(value))?;
                tuple.end()
            }
            Self::TupleVariant(name, length, parts) => {
                let mut tuple = s.serialize_tuple_variant("E", 0, name, *length)?;
                parts.each(|value| tuple.serialize_field(value))?;
                tuple.end()
            }
            Self::Map(length, parts) => {
                let mut map = s.serialize_map(*length)?;
                parts.each(|entry| match entry {
                    Entry::Both(key, value) => map.serialize_entry(key, value),
                    Entry::Key(key) => map.serialize_key(key),
                    Entry::Value(value) => map.serialize_value(value),
                })?;
                map.end()
            }
            Self::Struct(name, length, parts) => {
                let mut fields = s.serialize_struct(name, *length)?;
                parts.each(|(name, value)| fields.serialize_field(name, value))?;
                fields.end()
            }
            Self::StructVariant(name, length, parts) => {
                let mut fields = s.serialize_struct_variant("E", 0, name, *length)?;
                parts.each(|(name, value)| fields.serialize_field(name, value))?;
                fields.end()
            }
            Self::Deep(0) => s.serialize_tuple(0)?.end(),
            Self::Deep(depth) => [Self::Deep(depth - 1)].serialize(s),
            Self::Fails => Err(S::Error::custom("it fails, \"as told\" at line 3 column 4")),
        }
    }
}

/// What is wrong with a text that everyone would refuse as claims, as it is found by reading it.
fn defect(text: &[u8]) -> Option<EncodeError> {
    let validation =
        Validation::new().at(NumericDate::EPOCH).expiry_optional().unwrap().any_audience().unwrap();
    let token = signing::signed(text);
    if let Err(DecodeError::Payload(error)) =
        decode::<IgnoredAny>(&token, &signing::key(), &validation)
    {
        return Some(EncodeError::Claims(error));
    }
    let claims: BTreeMap<String, Value> = serde_json::from_slice(text).unwrap();
    let is_text = |value: &Value| value.is_string();
    let are_texts = |value: &Value| {
        is_text(value) || value.as_array().is_some_and(|names| names.iter().all(is_text))
    };
    use kippu::RegisteredClaim::{
        Audience, ExpirationTime, IssuedAt, Issuer, JwtId, NotBefore, Subject,
    };
    let claim = [Issuer, Subject, Audience, ExpirationTime, NotBefore, IssuedAt, JwtId]
        .into_iter()
        .find(|claim| {
            claims.get(claim.name()).is_some_and(|value| match claim {
                Issuer | Subject | JwtId => !is_text(value),
                Audience => !are_texts(value),
                _ => !value.is_number(),
            })
        })?;
    Some(EncodeError::WrongType { claim })
}

/// Whether both make the same of it.
#[track_caller]
fn compare<T: Serialize + fmt::Debug>(claims: &T) {
    let ours = encode(claims, &signing::key());
    let theirs = match serde_json::to_vec(claims) {
        Ok(json) => match defect(&json) {
            None => Ok(signing::signed(json)),
            Some(defect) => Err(defect),
        },
        Err(error) => Err(EncodeError::Serialize { reason: error.to_string().into() }),
    };
    assert_eq!(ours, theirs, "{claims:?}");
}

/// Names of which one may come twice, registered or not, with escapes, long and alike, of all lengths.
fn name() -> impl Strategy<Value = &'static str> {
    select(&[
        "iss",
        "sub",
        "aud",
        "exp",
        "nbf",
        "iat",
        "jti",
        "iss",
        "sub",
        "aud",
        "exp",
        "a",
        "",
        "1",
        "true",
        "1.0",
        "é",
        "a\"",
        "\\",
        "\n",
        "exp\0",
        "\u{7f}",
        "abcd",
        "abcde",
        "aaaa",
        "aaaaa",
        "abcdefgh",
        "abcdefghi",
        "a name longer than both ends, 1, of it all",
        "a name longer than both ends, 2, of it all",
    ])
}

fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        6 => "[ -~]", 1 => "[\\x00-\\x1f]", 1 => select(&["\"", "\\", "\u{7f}", "é", "😀", "\u{2028}"]).prop_map(String::from),
    ];
    prop_oneof![
        name().prop_map(String::from),
        proptest::collection::vec(character, 0..30).prop_map(|text| text.concat()),
    ]
}

fn number() -> impl Strategy<Value = Shape> {
    let length = || 0..64_u32;
    prop_oneof![
        any::<i8>().prop_map(Shape::I8),
        any::<i16>().prop_map(Shape::I16),
        any::<i32>().prop_map(Shape::I32),
        (any::<i64>(), length()).prop_map(|(value, shift)| Shape::I64(value >> shift)),
        (any::<i128>(), 0..128_u32).prop_map(|(value, shift)| Shape::I128(value >> shift)),
        any::<u8>().prop_map(Shape::U8),
        any::<u16>().prop_map(Shape::U16),
        any::<u32>().prop_map(Shape::U32),
        (any::<u64>(), length()).prop_map(|(value, shift)| Shape::U64(value >> shift)),
        (any::<u128>(), 0..128_u32).prop_map(|(value, shift)| Shape::U128(value >> shift)),
        prop_oneof![any::<f32>(), any::<u32>().prop_map(f32::from_bits)].prop_map(Shape::F32),
        prop_oneof![any::<f64>(), any::<u64>().prop_map(f64::from_bits)].prop_map(Shape::F64),
        select(&[f64::NAN, f64::INFINITY, -0.0, f64::MAX, f64::MIN_POSITIVE]).prop_map(Shape::F64),
    ]
}

fn leaf() -> impl Strategy<Value = Shape> {
    prop_oneof![
        4 => number(),
        4 => text().prop_map(Shape::Str),
        1 => any::<bool>().prop_map(Shape::Bool),
        1 => any::<char>().prop_map(Shape::Char),
        1 => proptest::collection::vec(text(), 0..3).prop_map(Shape::Displayed),
        1 => proptest::collection::vec(any::<u8>(), 0..4).prop_map(Shape::Bytes),
        1 => Just(Shape::None),
        1 => Just(Shape::Unit),
        1 => Just(Shape::UnitStruct),
        1 => name().prop_map(Shape::UnitVariant),
        1 => Just(Shape::Fails),
        1 => (110..130_usize).prop_map(Shape::Deep),
    ]
}

/// Now and then its type goes on after an error.
fn parts<T: fmt::Debug>(part: impl Strategy<Value = T>) -> impl Strategy<Value = Parts<T>> {
    (proptest::collection::vec(part, 0..5), prop::bool::weighted(0.2))
        .prop_map(|(parts, goes_on)| Parts { parts, goes_on })
}

/// The length of the parts, or another.
fn announced<T>(parts: &Parts<T>, lie: Option<usize>) -> usize {
    lie.unwrap_or(parts.parts.len())
}

fn lie() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![9 => Just(None), 1 => (0..3_usize).prop_map(Some)]
}

fn key(value: impl Strategy<Value = Shape>) -> impl Strategy<Value = Shape> {
    prop_oneof![
        6 => name().prop_map(|name| Shape::Str(name.into())),
        1 => name().prop_map(|name| Shape::Some(Box::new(Shape::Str(name.into())))),
        1 => name().prop_map(|name| Shape::Newtype(Box::new(Shape::UnitVariant(name)))),
        2 => leaf(),
        1 => value,
    ]
}

fn object(value: impl Strategy<Value = Shape> + Clone + 'static) -> impl Strategy<Value = Shape> {
    let entry = prop_oneof![
        18 => (key(value.clone()), value.clone()).prop_map(|(key, value)| Entry::Both(key, value)),
        1 => key(value.clone()).prop_map(Entry::Key),
        1 => value.clone().prop_map(Entry::Value),
    ];
    let field = || parts((name(), value.clone()));
    prop_oneof![
        (parts(entry), lie(), any::<bool>()).prop_map(|(parts, lie, tells)| {
            Shape::Map(tells.then(|| announced(&parts, lie)), parts)
        }),
        (field(), lie()).prop_map(|(parts, lie)| Shape::Struct("S", announced(&parts, lie), parts)),
        (name(), field(), lie()).prop_map(|(name, parts, lie)| {
            Shape::StructVariant(name, announced(&parts, lie), parts)
        }),
        (name(), value).prop_map(|(name, value)| Shape::NewtypeVariant(name, Box::new(value))),
        // How serde_json hands on what it must not change.
        (
            select(&["$serde_json::private::RawValue", "$serde_json::private::Number"]),
            select(&["1", "-1e400", "{}", "{\"a\":1,\"a\":2}", "[]", "\"\"", "", "x"]),
        )
            .prop_map(|(token, text)| {
                let parts = vec![(token, Shape::Str(text.into()))];
                Shape::Struct(token, 1, parts_of(parts))
            }),
    ]
}

fn value() -> BoxedStrategy<Shape> {
    leaf()
        .prop_recursive(3, 24, 5, |value| {
            let value = value.boxed();
            let elements = || (parts(value.clone()), lie());
            prop_oneof![
                4 => object(value.clone()),
                1 => value.clone().prop_map(|value| Shape::Some(Box::new(value))),
                1 => value.clone().prop_map(|value| Shape::Newtype(Box::new(value))),
                1 => (elements(), any::<bool>()).prop_map(|((parts, lie), tells)| {
                    Shape::Seq(tells.then(|| announced(&parts, lie)), parts)
                }),
                1 => elements().prop_map(|(parts, lie)| Shape::Tuple(announced(&parts, lie), parts)),
                1 => elements()
                    .prop_map(|(parts, lie)| Shape::TupleStruct(announced(&parts, lie), parts)),
                1 => (name(), elements()).prop_map(|(name, (parts, lie))| {
                    Shape::TupleVariant(name, announced(&parts, lie), parts)
                }),
            ]
        })
        .boxed()
}

/// What a member might be in claims that are as they should be.
fn good_member() -> impl Strategy<Value = (&'static str, Shape)> {
    let texts = || proptest::collection::vec(text().prop_map(Shape::Str), 0..4);
    let names = texts().prop_map(|parts| Shape::Seq(Some(parts.len()), parts_of(parts)));
    prop_oneof![
        (select(&["iss", "sub", "jti", "aud"]), text().prop_map(Shape::Str)),
        (Just("aud"), names),
        (select(&["exp", "nbf", "iat"]), number()),
        (name(), value()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn whatever_is_claimed_comes_out_alike(value in value(), object in object(value())) {
        compare(&value);
        compare(&object);
    }

    #[test]
    fn claims_that_are_almost_right_come_out_alike(
        members in proptest::collection::vec(good_member(), 0..9),
        as_map in any::<bool>(),
    ) {
        compare(&if as_map {
            let parts = members.into_iter();
            let parts = parts.map(|(name, value)| Entry::Both(Shape::Str(name.into()), value));
            Shape::Map(None, parts_of(parts.collect()))
        } else {
            Shape::Struct("S", members.len(), parts_of(members))
        });
    }

    #[test]
    fn strings_are_written_alike(text in text(), name in text()) {
        compare(&BTreeMap::from([(&name, &text), (&text, &name)]));
    }
}

/// Each way of a type to do other than it should, after which the text may look right all the same.
#[test]
fn types_that_do_as_they_like_come_out_alike() {
    let text = |text: &str| Shape::Str(text.into());
    let both = |name: &str| Entry::Both(text(name), Shape::U8(1));
    let map = |entries| Shape::Map(None, Parts { parts: entries, goes_on: true });
    let seq = |elements| Shape::Seq(None, Parts { parts: elements, goes_on: true });
    let objects = [
        // More than was announced.
        Shape::Map(Some(0), parts_of(vec![both("a")])),
        Shape::Struct("S", 0, parts_of(vec![("a", Shape::Unit)])),
        Shape::Struct("S", 0, parts_of(vec![])),
        // Names and values out of turn.
        map(vec![Entry::Key(text("a"))]),
        map(vec![Entry::Key(text("a")), Entry::Key(text("b"))]),
        map(vec![Entry::Key(text("a")), Entry::Key(text("b")), Entry::Value(Shape::Unit)]),
        map(vec![Entry::Value(Shape::Unit)]),
        map(vec![both("a"), Entry::Value(Shape::Unit)]),
        map(vec![Entry::Key(text("a")), both("b")]),
        // Errors that are not passed on: nothing was written, or a part.
        map(vec![Entry::Both(Shape::Unit, Shape::Unit)]),
        map(vec![both("a"), Entry::Both(Shape::F64(f64::NAN), Shape::Unit)]),
        map(vec![both("a"), Entry::Key(Shape::Fails), both("b")]),
        map(vec![Entry::Both(text("a"), Shape::Fails)]),
        map(vec![Entry::Both(text("a"), Shape::Seq(None, parts_of(vec![Shape::Fails])))]),
        map(vec![Entry::Both(text("a"), Shape::NewtypeVariant("V", Box::new(Shape::Fails)))]),
        map(vec![Entry::Both(
            text("a"),
            Shape::TupleVariant("V", 1, parts_of(vec![Shape::Fails])),
        )]),
        map(vec![Entry::Both(text("a"), seq(vec![Shape::Fails]))]),
        map(vec![Entry::Both(text("a"), seq(vec![Shape::Unit, Shape::Fails]))]),
        map(vec![Entry::Both(text("a"), Shape::Seq(Some(0), parts_of(vec![Shape::Unit])))]),
        map(vec![Entry::Both(text("a"), Shape::Tuple(0, parts_of(vec![Shape::Unit])))]),
    ];
    // What serde_json writes as it is, where that feature is on.
    let raw = "$serde_json::private::RawValue";
    let others = [
        Shape::Struct(raw, 1, parts_of(vec![(raw, text("{\"a\":1,\"a\":2}"))])),
        Shape::Unit,
        Shape::Bool(true),
        Shape::I8(-1),
        text("{}"),
        Shape::Bytes(vec![]),
        Shape::UnitVariant("a"),
        Shape::Deep(1),
    ];
    for value in objects.iter().chain(&others) {
        compare(value);
        compare(&BTreeMap::from([("in", value)]));
        compare(&BTreeMap::from([("exp", value)]));
    }
}

/// Names of every length, with and without something to escape, as fields and as variants.
#[test]
fn a_name_of_any_length_comes_out_alike() {
    const NAME: &str = "abcdefghijklmnopqrstuvwxyz0123456789abcd";
    const ESCAPED: &str = "abc\nefghijklmnopqrstuvwxyz0123456789abcd";
    for name in [NAME, ESCAPED] {
        for length in 0..=name.len() {
            let fields = || parts_of(vec![(&name[..length], Shape::Unit), ("exp", Shape::U8(1))]);
            compare(&Shape::Struct("S", 2, fields()));
            let behind = |value| parts_of(vec![("sub", Shape::Str("a".into())), value]);
            compare(&Shape::Struct("S", 2, behind((&name[..length], Shape::Unit))));
            for variant in [
                Shape::NewtypeVariant(&name[..length], Box::new(Shape::Unit)),
                Shape::TupleVariant(&name[..length], 1, parts_of(vec![Shape::Unit])),
                Shape::StructVariant(&name[..length], 2, fields()),
            ] {
                compare(&variant);
                compare(&BTreeMap::from([("in", variant)]));
            }
        }
    }
}

/// Times, whose ten digits are worked out side by side: every four of them, and both ends.
#[test]
fn a_number_of_ten_digits_comes_out_alike() {
    for four in 0..10_000_u64 {
        let other = 9_999 - four;
        let two = 10 + four % 90;
        compare(&BTreeMap::from([("exp", two * 100_000_000 + four * 10_000 + other)]));
    }
    for (name, end) in [("exp", 1_000_000_000_i64), ("iat", 9_999_999_999)] {
        for number in [end - 1, end, end + 1] {
            compare(&BTreeMap::from([(name, number)]));
            compare(&BTreeMap::from([(name, -number)]));
            compare(&BTreeMap::from([("by number", BTreeMap::from([(number, -number)]))]));
        }
    }
}

/// A name twice, the first and the last of as many as there may be; at the top and below.
#[test]
fn a_name_twice_is_found_among_many() {
    for count in 1..70 {
        let names: Vec<String> = (0..count).map(|name| format!("member {name}")).collect();
        let with = |more: &[String]| {
            let all = names.iter().chain(more);
            let parts = all.map(|name| Entry::Both(Shape::Str(name.clone()), Shape::Unit));
            Shape::Map(None, parts_of(parts.collect()))
        };
        for object in [with(&[]), with(&names[..1]), with(&names[count - 1..])] {
            compare(&object);
            compare(&BTreeMap::from([("in", &object)]));
            // The same names in two objects are no harm, one in the other or behind it.
            let parts =
                names.iter().map(|name| Entry::Both(Shape::Str(name.clone()), object.clone()));
            compare(&Shape::Map(None, parts_of(parts.take(3).collect())));
        }
    }
}

/// Every nesting about the limit: in arrays and in objects, in variants, and where nothing is in the last one.
#[test]
fn what_nests_too_deep_is_found() {
    for depth in 120..132 {
        let object = |value: Shape| {
            let parts = vec![("a", value)];
            Shape::Struct("S", 1, parts_of(parts))
        };
        let variant = |value: Shape| {
            let parts = vec![value];
            Shape::TupleVariant("V", 1, parts_of(parts))
        };
        let newtype = |value: Shape| Shape::NewtypeVariant("V", Box::new(value));
        compare(&object(Shape::Deep(depth)));
        compare(&variant(Shape::Deep(depth)));
        for last in [Shape::Unit, Shape::Bytes(vec![]), Shape::Bytes(vec![1]), Shape::Deep(0)] {
            compare(&(0..depth).fold(last.clone(), |value, _| object(value)));
            compare(&(0..depth).fold(last.clone(), |value, _| newtype(value)));
            compare(&object((0..depth / 2).fold(last, |value, _| variant(value))));
        }
    }
}

/// Each type of JSON for each registered claim, as a field, as a key and as a variant; below the top it is any.
#[test]
fn a_claim_of_another_type_is_found() {
    let texts = |of: Shape| {
        let parts = vec![Shape::Str("a".into()), of];
        Shape::Seq(None, parts_of(parts))
    };
    let values = [
        Shape::Str("a".into()),
        Shape::Char('a'),
        Shape::Displayed(vec!["a".into()]),
        Shape::UnitVariant("a"),
        Shape::Some(Box::new(Shape::Newtype(Box::new(Shape::Str("a".into()))))),
        Shape::U8(0),
        Shape::I64(-1),
        Shape::F64(1.5),
        Shape::F32(f32::NAN),
        Shape::I128(i128::MIN),
        Shape::None,
        Shape::Bool(true),
        Shape::Bytes(vec![]),
        Shape::Bytes(vec![1]),
        texts(Shape::Str("b".into())),
        texts(Shape::Unit),
        texts(Shape::Map(Some(0), parts_of(vec![]))),
        Shape::Map(Some(0), parts_of(vec![])),
    ];
    for name in ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "other"] {
        for value in &values {
            let parts = vec![(name, value.clone())];
            let object = Shape::Struct("S", 1, parts_of(parts));
            let parts = vec![Entry::Key(Shape::Str(name.into())), Entry::Value(value.clone())];
            compare(&Shape::Map(None, parts_of(parts)));
            compare(&Shape::NewtypeVariant(name, Box::new(value.clone())));
            let parts = vec![value.clone()];
            compare(&Shape::TupleVariant(name, 1, parts_of(parts)));
            compare(&BTreeMap::from([("in", &object)]));
            compare(&object);
        }
    }
}

/// Elements that can be had once are asked for once, also of claims that are read over or cannot be written.
#[test]
fn claims_are_asked_once() {
    struct Once<'o>(std::cell::Cell<u32>, &'o str);

    impl Serialize for Once<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.set(self.0.get() + 1);
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("a", &f64::NAN)?;
            map.serialize_entry(self.1, &[1])?;
            map.serialize_entry(&(), "a key that is none")?;
            map.end()
        }
    }

    for name in ["a", "exp", "\n", "$serde_json::private::Number"] {
        let once = Once(0.into(), name);
        encode(&once, &signing::key()).unwrap_err();
        assert_eq!(once.0.get(), 1);
    }
}
