//! The JOSE header (RFC 7515 §4). `alg`, `typ` and `kid` are read, `crit` and `b64` are noticed.
//!
//! `jwk`, `jku`, `x5u` and `x5c` are unknown members like any other. Their values are never read,
//! so a token cannot bring its own key.

use alloc::{borrow::Cow, string::String};

use crate::{
    algorithm::Algorithm,
    base64url,
    json::{self, JsonError, Value},
};

/// A header has three or four members. A verifier reads at most this many before it knows who wrote
/// them.
pub(crate) const MAX_MEMBERS: usize = 64;

/// The `typ` of a token if the caller sets none (RFC 7519 §5.1).
pub(crate) const DEFAULT_TYP: &str = "JWT";

/// The `typ` of an OAuth access token (RFC 9068 §2.1).
pub(crate) const ACCESS_TOKEN_TYP: &str = "at+jwt";

/// A header as it was received, before any check.
#[derive(Debug, Default)]
pub(crate) struct JoseHeader<'h> {
    pub(crate) alg: Parameter<'h>,
    pub(crate) typ: Parameter<'h>,
    pub(crate) kid: Parameter<'h>,
    pub(crate) crit: Parameter<'h>,
    pub(crate) b64: Parameter<'h>,
}

/// The value of a header parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Parameter<'h> {
    #[default]
    Absent,
    Text(Cow<'h, str>),
    OtherType,
}

impl Parameter<'_> {
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Absent | Self::OtherType => None,
        }
    }
}

impl<'h> JoseHeader<'h> {
    pub(crate) fn from_json(text: &'h [u8]) -> Result<Self, JsonError> {
        let mut header = Self::default();
        json::scan(text, MAX_MEMBERS, |name, value| {
            let parameter = match name {
                b"alg" => &mut header.alg,
                b"typ" => &mut header.typ,
                b"kid" => &mut header.kid,
                b"crit" => &mut header.crit,
                b"b64" => &mut header.b64,
                // RFC 7515 §4: unknown members are ignored.
                _ => return,
            };
            *parameter = Parameter::from(value);
        })?;
        Ok(header)
    }
}

impl<'h> From<Value<'h>> for Parameter<'h> {
    fn from(value: Value<'h>) -> Self {
        value.text().map_or(Self::OtherType, |text| Self::Text(text.read()))
    }
}

/// Returns the header segment of a token to be signed: `{"alg":…,"typ":…,"kid":…}` in base64url.
pub(crate) fn segment(algorithm: Algorithm, typ: &str, kid: Option<&str>) -> String {
    // The type and the id are the caller's, and may have to be escaped.
    let quoted = |text: &str| serde_json::Value::from(text);
    let kid = kid.map_or_else(String::new, |kid| alloc::format!(r#","kid":{}"#, quoted(kid)));
    let json = alloc::format!(r#"{{"alg":"{algorithm}","typ":{}{kid}}}"#, quoted(typ));
    base64url::encode(json.as_bytes())
}

/// Returns whether two media types are equal (RFC 7515 §4.1.9). ASCII case does not matter, and
/// `application/` is implied in a type without a slash.
pub(crate) fn same_media_type(one: &str, other: &str) -> bool {
    full(one).eq_ignore_ascii_case(full(other))
}

/// Returns a media type without the optional prefix `application/`.
fn full(media_type: &str) -> &str {
    const PREFIX: &str = "application/";
    match media_type.split_at_checked(PREFIX.len()) {
        // With another slash behind it, the prefix is a part of the type (RFC 7515 §4.1.9).
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) && !rest.contains('/') => rest,
        _ => media_type,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_compared_as_rfc_7515_says() {
        for (one, other, same) in [
            ("JWT", "jwt", true),
            ("at+jwt", "AT+JWT", true),
            ("at+jwt", "application/at+jwt", true),
            ("Application/At+Jwt", "at+jwt", true),
            ("at+jwt", "jwt", false),
            ("at+jwt", "text/at+jwt", false),
            ("at+jwt", "application/x/at+jwt", false),
            ("x/y", "application/x/y", false),
            ("JWT", "", false),
            ("JWT", "ＪＷＴ", false),
        ] {
            assert_eq!(same_media_type(one, other), same, "{one} {other}");
            assert_eq!(same_media_type(other, one), same, "{other} {one}");
        }
    }

    #[test]
    fn a_segment_escapes_what_it_quotes() {
        let segment = segment(Algorithm::Hs256, "JWT", Some("a\"b\\\n"));
        let json = base64url::decode(segment).unwrap();
        assert_eq!(json, br#"{"alg":"HS256","typ":"JWT","kid":"a\"b\\\n"}"#);
        let header = JoseHeader::from_json(&json).unwrap();
        assert_eq!(header.kid.as_text(), Some("a\"b\\\n"));
    }
}
