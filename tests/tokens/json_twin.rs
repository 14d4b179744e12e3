//! The JSON reader beside its slow twin: serde_json, which judges the same texts alike but for what it lets
//! through, and that is put right here in the obvious way.

use std::{collections::BTreeSet, fmt};

use kippu::{DecodeError, NumericDate, Validation, decode};
use kippu_test_support::signing;
use proptest::prelude::*;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Number, Value};

/// A value, read by serde_json without its leniency: no name twice in an object.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StrictVisitor;

        impl<'de> Visitor<'de> for StrictVisitor {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut values = Vec::new();
                while let Some(Strict(value)) = seq.next_element()? {
                    values.push(value);
                }
                Ok(values.into())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut names = BTreeSet::new();
                let mut members = serde_json::Map::new();
                while let Some((name, Strict(value))) = map.next_entry::<String, _>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom("twice"));
                    }
                    members.insert(name, value);
                }
                Ok(members.into())
            }
        }

        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

/// Equal, but for how an integer is kept: `-0` is a whole number here, and a double there.
fn same(ours: &Value, theirs: &Value) -> bool {
    let same_number = |ours: &Number, theirs: &Number| {
        ours == theirs || (ours.as_i64() == Some(0) && theirs.as_f64() == Some(0.0))
    };
    match (ours, theirs) {
        (Value::Number(ours), Value::Number(theirs)) => same_number(ours, theirs),
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| same(a, b))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|(name, ours)| theirs.get(name).is_some_and(|it| same(ours, it)))
        }
        _ => ours == theirs,
    }
}

/// Whether both read the text, to the same value.
#[track_caller]
fn compare(text: &str) {
    let validation =
        Validation::new().at(NumericDate::EPOCH).expiry_optional().unwrap().any_audience().unwrap();
    let ours = decode::<Value>(&signing::signed(text), &signing::key(), &validation);
    let theirs =
        serde_json::from_str(text).ok().map(|Strict(value)| value).filter(Value::is_object);
    match (&ours, &theirs) {
        (Ok(ours), Some(theirs)) => assert!(same(ours, theirs), "{text}: {ours} or {theirs}"),
        // Refused as a text; or read, and refused for what it claims.
        (Err(DecodeError::Payload(_)), None) | (Err(DecodeError::Claim(_)), Some(_)) => {}
        _ => panic!("{text}: {ours:?} or {theirs:?}"),
    }
}

/// Texts that are almost JSON: the pieces of which it is made, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => Just("{"), 4 => Just("}"), 3 => Just("["), 3 => Just("]"), 4 => Just(":"), 4 => Just(","),
        1 => Just(" "), 1 => Just("\n"), 2 => Just("\"a\""), 2 => Just("\"\\u0061\""), 1 => Just("\""),
        1 => Just("\\"), 1 => Just("null"), 1 => Just("true"), 1 => Just("false"), 2 => Just("1"),
        1 => Just("0"), 1 => Just("-"), 1 => Just("."), 1 => Just("e"), 1 => Just("\"iss\""),
        1 => Just("\"exp\""), 1 => Just("\"aud\""),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// A JSON value, spelled in any of the ways there are.
fn spelled() -> impl Strategy<Value = String> {
    let space = || "[ \t\n\r]{0,1}";
    let text = "(\"([ !#-\\[\\]-~é𝄞]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}|\\\\ud83[d-f]\\\\ude[0-9a-f]{2}){0,10}\")";
    let number = "-?(0|[1-9][0-9]{0,22})(\\.[0-9]{1,12})?([eE][+-]?[0-9]{1,3})?";
    let leaf = prop_oneof!["null|true|false", number, text];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let element = (space(), inner.clone(), space()).prop_map(|(a, b, c)| a + &b + &c);
        let member = (space(), text, space(), inner, space())
            .prop_map(|(a, name, b, value, c)| format!("{a}{name}{b}:{value}{c}"));
        prop_oneof![
            proptest::collection::vec(element, 0..4)
                .prop_map(|list| format!("[{}]", list.join(","))),
            proptest::collection::vec(member, 0..4)
                .prop_map(|list| format!("{{{}}}", list.join(","))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn pieces_of_json_are_judged_alike(text in pieces()) {
        compare(&text);
        compare(&format!("{{{text}}}"));
        compare(&format!("{{\"x\":{text}}}"));
        compare(&format!("{{\"exp\":{text}}}"));
        compare(&format!("{{\"aud\":[{text}]}}"));
    }

    #[test]
    fn spelled_values_are_read_alike(text in spelled()) {
        compare(&text);
        for name in ["x", "iss", "aud", "exp"] {
            compare(&format!("{{\"{name}\":{text}}}"));
        }
    }

    #[test]
    fn a_changed_text_is_judged_alike(
        text in spelled(),
        at in any::<prop::sample::Index>(),
        with in "[ -~]?",
    ) {
        let mut text = format!("{{\"x\":{text}}}");
        let at = at.index(text.len());
        if text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
            text.replace_range(at..=at, &with);
        }
        compare(&text);
    }

    #[test]
    fn numbers_are_read_alike(
        text in "-?[0-9]{0,25}(\\.[0-9]{0,25})?([eE][+-]?[0-9]{0,4})?",
    ) {
        compare(&format!("{{\"x\":{text}}}"));
        compare(&format!("{{\"exp\":{text}}}"));
    }
}
