//! JSON as it is spelled: a text in, the members of an object or the same text for a terminal out.
//!
//! No value is read into a number or a map, so that digits, order and repeated members are shown as
//! they are.

use std::fmt::{self, Write};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::text::is_printable;

/// The members of an object, in their order.
pub(crate) struct Members<'t>(Vec<(String, &'t RawValue)>);

impl<'t> Members<'t> {
    /// Returns the members of the object in `text`, or `None` if the text is not an object.
    pub(crate) fn of(text: &'t str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'t str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.get()))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }
}

impl<'de: 't, 't> Deserialize<'de> for Members<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(MembersVisitor).map(Self)
    }
}

/// Returns JSON as one line for a terminal. Values keep their spelling, except that control
/// characters and invisible characters in strings are escaped. White space between the values
/// becomes spaces.
pub(crate) fn line(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    let (mut in_string, mut after_backslash) = (false, false);
    for character in json.chars() {
        if is_printable(character) {
            line.push(character);
        } else if in_string {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(line, "\\u{unit:04x}");
            }
        } else {
            line.push(' ');
        }
        if character == '"' && !after_backslash {
            in_string = !in_string;
        }
        after_backslash = character == '\\' && !after_backslash;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_changes_only_what_a_terminal_obeys() {
        for (json, shown) in [
            (r#"{"a":1e400,"b":0.10,"a":[]}"#, r#"{"a":1e400,"b":0.10,"a":[]}"#),
            ("{\r\n\t\"a\" : 1 }", "{   \"a\" : 1 }"),
            ("[\"\u{9b}\", \"\u{202e}\u{1f600}\"]", "[\"\\u009b\", \"\\u202e\u{1f600}\"]"),
            ("[\"\u{e0001}\"]", "[\"\\udb40\\udc01\"]"),
            ("[\"\\\"\u{7f}\\\\\",\n\"\\\\\"]", "[\"\\\"\\u007f\\\\\", \"\\\\\"]"),
            (r#"["\u0041\/é"]"#, r#"["\u0041\/é"]"#),
        ] {
            assert_eq!(line(json), shown);
        }
    }

    #[test]
    fn members_keep_their_order_their_spelling_and_their_repetitions() {
        let members = Members::of(r#" {"z": 1.50, "a": {"x":1e999}, "z": "\ud800"} "#).unwrap();
        let spelled: Vec<_> = members.iter().collect();
        assert_eq!(spelled, [("z", "1.50"), ("a", r#"{"x":1e999}"#), ("z", r#""\ud800""#)]);
        assert!(members.has("a") && !members.has("x"));
        for other in ["[]", "1", "", "{", r#"{"a":1}x"#] {
            assert!(Members::of(other).is_none(), "{other}");
        }
    }
}
