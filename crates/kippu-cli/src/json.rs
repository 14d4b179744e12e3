//! JSON as it stands: the members of an object keep their order, and those that stand twice stay two.
//!
//! serde_json's own `Value` sorts them and keeps the last, so that one would sign, or be shown, something else.

use std::fmt::{self, Write};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

#[derive(Clone, Debug)]
pub(crate) enum Json {
    Object(Vec<(String, Json)>),
    Array(Vec<Json>),
    /// Neither of them.
    Other(Value),
}

impl Json {
    /// The first member of that name, in an object.
    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => {
                members.iter().find(|(known, _)| known == name).map(|(_, value)| value)
            }
            Self::Array(_) | Self::Other(_) => None,
        }
    }
}

/// As a line of JSON that is fit for a terminal: what is not printable, which stands in strings only, is escaped.
pub(crate) fn line(value: &impl Serialize) -> String {
    format!("{}\n", text(value))
}

/// As [`line()`], without the line end.
pub(crate) fn text(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("JSON has strings for names");
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        if crate::text::is_printable(character) {
            escaped.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Object(members) => {
                serializer.collect_map(members.iter().map(|(name, value)| (name, value)))
            }
            Self::Array(elements) => serializer.collect_seq(elements),
            Self::Other(value) => value.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct JsonVisitor;

        impl<'de> Visitor<'de> for JsonVisitor {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Json::Object(members))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    elements.push(element);
                }
                Ok(Json::Array(elements))
            }

            fn visit_str<E>(self, text: &str) -> Result<Json, E> {
                Ok(Json::Other(text.into()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
                Ok(Json::Other(number.into()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
                Ok(Json::Other(number.into()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
                Ok(Json::Other(number.into()))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Other(value.into()))
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Other(Value::Null))
            }
        }

        deserializer.deserialize_any(JsonVisitor)
    }
}
