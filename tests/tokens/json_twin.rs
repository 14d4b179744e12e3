//! Compares the strict scan with serde_json: serde_json also accepts every text that the scan
//! accepts, with the same values.
//!
//! In the other direction, the scan only rejects what it documents: repeated names, numbers beyond
//! the doubles, depth, and names that serde_json reserves. `scripts/test` runs this with
//! serde_json's features on and off.

use std::{collections::BTreeSet, fmt};

use kippu::{DecodeError, NumericDate, Validation, decode};
use kippu_test_support::signing;
use proptest::prelude::*;
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

/// A value in which no object has two members of one name.
struct Unrepeated;

impl<'de> Deserialize<'de> for Unrepeated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Unrepeated {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut names = BTreeSet::new();
        while let Some((name, Self)) = map.next_entry::<String, _>()? {
            if !names.insert(name) {
                return Err(A::Error::custom("twice"));
            }
        }
        Ok(self)
    }
}

/// Returns how deep a value nests.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(elements) => 1 + elements.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// The scan accepts all numbers up to this one, and some larger ones: serde_json may round those to
/// infinity.
const SURE: f64 = 1.797_693_134_862_314e308;

/// Returns whether the absolute values of all numbers are less than `end`.
fn is_less(value: &Value, end: f64) -> bool {
    match value {
        Value::Number(number) => number.as_f64().is_some_and(|double| double.abs() < end),
        Value::Array(elements) => elements.iter().all(|element| is_less(element, end)),
        Value::Object(members) => members.values().all(|member| is_less(member, end)),
        _ => true,
    }
}

fn open() -> Validation {
    Validation::new().at(NumericDate::EPOCH).expiry_optional().unwrap().any_audience().unwrap()
}

/// Checks that both accept the text with the same value, or that both reject it.
#[track_caller]
fn compare(text: &str) {
    let token = signing::signed(text);
    let theirs = serde_json::from_str::<Value>(text);
    let scanned = match decode::<IgnoredAny>(&token, &signing::key(), &open()) {
        Err(DecodeError::Payload(_)) => false,
        // A text that was read may be rejected for its claims.
        Ok(_) | Err(DecodeError::Claim(_)) => true,
        Err(error) => panic!("{text}: {error}"),
    };
    if scanned {
        let theirs = theirs.unwrap_or_else(|error| panic!("{text}: {error}"));
        serde_json::from_str::<Unrepeated>(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(
            theirs.is_object() && depth(&theirs) <= 127 && is_less(&theirs, f64::INFINITY),
            "{text}"
        );
        match decode::<Value>(&token, &signing::key(), &open()) {
            Ok(ours) => assert_eq!(ours, theirs, "{text}"),
            Err(DecodeError::Claim(_)) => return,
            Err(error) => panic!("{text}: {error}"),
        }
        compare_claims(text, &token, &theirs);
    } else if let Ok(theirs) = theirs {
        let is_strict = theirs.is_object()
            && depth(&theirs) <= 127
            && is_less(&theirs, SURE)
            && serde_json::from_str::<Unrepeated>(text).is_ok();
        assert!(!is_strict || text.contains("$serde_json"), "{text} is rejected");
    }
}

/// The validator sees the values that serde_json reads.
#[track_caller]
fn compare_claims(text: &str, token: &str, claims: &Value) {
    let accepts =
        |validation: &Validation| decode::<IgnoredAny>(token, &signing::key(), validation).is_ok();
    if let Some(issuer) = claims.get("iss").and_then(Value::as_str) {
        assert!(accepts(&open().issuer(issuer)), "{text}");
        assert!(!accepts(&open().issuer(format!("{issuer}x"))), "{text}");
    }
    let names = match claims.get("aud") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(name)) => vec![&**name],
        _ => vec![],
    };
    let any = || Validation::new().at(NumericDate::EPOCH).expiry_optional().unwrap();
    for name in &names {
        assert!(accepts(&any().audience(*name)), "{text}");
    }
    assert!(!accepts(&any().audience("none of them")), "{text}");
    if let Some(exp) = claims.get("exp").and_then(Value::as_i64) {
        let at = |seconds: i64| open().at(NumericDate::from_seconds(exp.saturating_add(seconds)));
        let is_in_range = exp.unsigned_abs() < 1 << 40;
        assert!(!is_in_range || (accepts(&at(59)) && !accepts(&at(60))), "{text}");
    }
}

/// Texts that are almost JSON: its tokens in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => Just("{"), 4 => Just("}"), 3 => Just("["), 3 => Just("]"), 4 => Just(":"), 4 => Just(","),
        1 => Just(" "), 1 => Just("\n"), 2 => Just("\"a\""), 2 => Just("\"\\u0061\""), 1 => Just("\""),
        1 => Just("\\"), 1 => Just("null"), 1 => Just("true"), 1 => Just("false"), 2 => Just("1"),
        1 => Just("0"), 1 => Just("-"), 1 => Just("."), 1 => Just("e"), 1 => Just("\"iss\""),
        1 => Just("\"exp\""), 1 => Just("\"aud\""), 1 => Just("\"$serde_json::private::Number\""),
        1 => Just("\"$serde_json::private::RawValue\""),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// A JSON value, in any spelling.
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

/// Objects with similar names: of one length, with the same ends, and more than are compared one by
/// one.
fn named() -> impl Strategy<Value = String> {
    let name = "[ab]{1,3}|[ab]{7,9}|a{8}[ab]{1,2}b{8}|\\\\u006[12]";
    let member =
        (name, "0|\\{\"a\":0,\"b\":0\\}").prop_map(|(name, value)| format!("\"{name}\":{value}"));
    proptest::collection::vec(member, 0..60)
        .prop_map(|members| format!("{{{}}}", members.join(",")))
}

proptest! {

    #[test]
    fn pieces_of_json_get_the_same_verdict(text in pieces()) {
        compare(&text);
        compare(&format!("{{{text}}}"));
        compare(&format!("{{\"x\":{text}}}"));
        compare(&format!("{{\"exp\":{text}}}"));
        compare(&format!("{{\"aud\":[{text}]}}"));
    }

    #[test]
    fn spelled_values_are_read_the_same_way(text in spelled()) {
        compare(&text);
        for name in ["x", "iss", "aud", "exp", "$serde_json::private::Number"] {
            compare(&format!("{{\"{name}\":{text}}}"));
        }
    }

    #[test]
    fn a_changed_text_gets_the_same_verdict(
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
    fn numbers_are_read_the_same_way(
        text in "-?[0-9]{0,25}(\\.[0-9]{0,25})?([eE][+-]?[0-9]{0,4})?",
    ) {
        compare(&format!("{{\"x\":{text}}}"));
        compare(&format!("{{\"exp\":{text}}}"));
    }
}

// Each of these is compared many times.
proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn names_are_compared_the_same_way(text in named()) {
        compare(&text);
        compare(&format!("{{\"x\":[{text},{text}]}}"));
    }

    /// The largest doubles, in every spelling.
    #[test]
    fn numbers_at_the_end_of_the_range_are_read_the_same_way(
        tail in "(0|1|5|7|8|9)[0-9]{0,20}",
        point in 0..12_usize,
    ) {
        for head in ["1797693134862314", "17976931348623149", "179769313486231499", "1797693134862315"] {
            let digits = format!("{head}{tail}");
            let (whole, fraction) = digits.split_at(1 + point);
            let places = 308 - point;
            compare(&format!("{{\"x\":{whole}.{fraction}e{places}}}"));
            compare(&format!("{{\"x\":{digits}e{}}}", 309 - digits.len()));
            compare(&format!("{{\"x\":-{digits}{}}}", "0".repeat(309 - digits.len())));
            compare(&format!("{{\"x\":0.000{digits}e312}}"));
        }
    }
}

/// The scan searches a string in blocks of 64 bytes. Each of these strings ends, or has an escape
/// or a fault, at each place of a block, after values that the search has passed over.
#[test]
fn strings_at_each_place_of_a_block_get_the_same_verdict() {
    let contents = [
        "",
        "a",
        "\\\"",
        "\\\\",
        "\\n",
        "\\u0061",
        "\\ud83d\\ude00",
        "é𝄞\u{7f}",
        "a\\",
        "\\x",
        "\\u006",
        "\\ud83d",
        "\\ud83d\\u0061",
        "\n",
        "\u{1f}",
        "\"",
    ];
    for before in 0..66 {
        for content in contents {
            for (passed, after) in [(1, 0), (1, 70), (63, 1), (64, 64), (65, 0), (200, 1)] {
                let (name, number) = ("n".repeat(before), "1".repeat(passed));
                let (text, after) = (content, "a".repeat(after));
                compare(&format!(r#"{{"{name}":[{number},"{text}{after}","{after}{text}"]}}"#));
                compare(&format!(r#"{{"{text}{name}":{number},"iss":"{after}{text}"}}"#));
            }
        }
    }
}

#[test]
fn depth_gets_the_same_verdict() {
    for depth in [1, 126, 127, 128, 129, 500] {
        let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
        compare(&format!("{{\"x\":{open}{close}}}"));
        compare(&format!("{}1{}", "{\"x\":".repeat(depth), "}".repeat(depth)));
    }
}
