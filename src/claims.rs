//! The registered claims (RFC 7519 §4.1): as an issuer writes them, and as a verifier notes them.

use alloc::{
    string::String,
    vec::{self, Vec},
};
use core::{fmt, slice};

use serde_core::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeStruct};

use crate::{
    json::{Kind, Number, Registered, Text, Texts, Value},
    numeric_date::{NumericDate, SpelledDate},
};

/// The registered claims, to fill in what is needed, alone or flattened into a struct of one's own.
///
/// ```
/// use kippu::{NumericDate, RegisteredClaims};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Claims {
///     #[serde(flatten)]
///     registered: RegisteredClaims,
///     role: String,
/// }
///
/// let claims = Claims {
///     registered: RegisteredClaims {
///         issuer: Some("https://auth.example".into()),
///         expiration_time: Some(NumericDate::from_seconds(1_300_819_380)),
///         ..RegisteredClaims::default()
///     },
///     role: "admin".into(),
/// };
/// let json = r#"{"iss":"https://auth.example","exp":1300819380,"role":"admin"}"#;
/// assert_eq!(serde_json::to_string(&claims)?, json);
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// A struct without this one does as well: [`encode`](crate::encode) and [`decode`](crate::decode) take
/// any type, and `decode` checks the registered claims whether the type has fields for them or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisteredClaims {
    /// `iss`, who issued the token (RFC 7519 §4.1.1).
    pub issuer: Option<String>,
    /// `sub`, whom it is about (RFC 7519 §4.1.2).
    pub subject: Option<String>,
    /// `aud`, whom it is for (RFC 7519 §4.1.3).
    pub audience: Option<Audience>,
    /// `exp`, from when on it is refused (RFC 7519 §4.1.4).
    pub expiration_time: Option<NumericDate>,
    /// `nbf`, until when it is refused (RFC 7519 §4.1.5).
    pub not_before: Option<NumericDate>,
    /// `iat`, when it was issued (RFC 7519 §4.1.6).
    pub issued_at: Option<NumericDate>,
    /// `jti`, a name that no other token of the issuer has (RFC 7519 §4.1.7).
    pub jwt_id: Option<String>,
}

/// The value of `aud`: one name, or several (RFC 7519 §4.1.3). It is written as it was read: one name as
/// a string, a list as an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// A single string.
    One(String),
    /// An array of strings.
    Many(Vec<String>),
}

impl Audience {
    /// Whether one of the names is `audience`, exactly.
    pub fn contains(&self, audience: &str) -> bool {
        self.iter().any(|name| name == audience)
    }

    /// The names.
    pub fn iter(&self) -> slice::Iter<'_, String> {
        match self {
            Self::One(name) => slice::from_ref(name).iter(),
            Self::Many(names) => names.iter(),
        }
    }
}

impl<'a> IntoIterator for &'a Audience {
    type Item = &'a String;
    type IntoIter = slice::Iter<'a, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Audience {
    type Item = String;
    type IntoIter = vec::IntoIter<String>;

    fn into_iter(self) -> Self::IntoIter {
        match self {
            Self::One(name) => alloc::vec![name].into_iter(),
            Self::Many(names) => names.into_iter(),
        }
    }
}

impl From<&str> for Audience {
    fn from(name: &str) -> Self {
        Self::One(name.into())
    }
}

impl From<String> for Audience {
    fn from(name: String) -> Self {
        Self::One(name)
    }
}

impl From<Vec<String>> for Audience {
    fn from(names: Vec<String>) -> Self {
        Self::Many(names)
    }
}

impl Serialize for Audience {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One(name) => name.serialize(serializer),
            Self::Many(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AudienceVisitor;

        impl<'de> de::Visitor<'de> for AudienceVisitor {
            type Value = Audience;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_str<E>(self, name: &str) -> Result<Audience, E> {
                Ok(Audience::One(name.into()))
            }

            fn visit_string<E>(self, name: String) -> Result<Audience, E> {
                Ok(Audience::One(name))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut names: A) -> Result<Audience, A::Error> {
                let mut read = Vec::new();
                while let Some(name) = names.next_element()? {
                    read.push(name);
                }
                Ok(Audience::Many(read))
            }
        }

        deserializer.deserialize_any(AudienceVisitor)
    }
}

impl Serialize for RegisteredClaims {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn field<S: SerializeStruct, T: Serialize>(
            claims: &mut S,
            claim: RegisteredClaim,
            value: Option<&T>,
        ) -> Result<(), S::Error> {
            match value {
                Some(value) => claims.serialize_field(claim.name(), value),
                None => claims.skip_field(claim.name()),
            }
        }

        let present = [
            self.issuer.is_some(),
            self.subject.is_some(),
            self.audience.is_some(),
            self.expiration_time.is_some(),
            self.not_before.is_some(),
            self.issued_at.is_some(),
            self.jwt_id.is_some(),
        ];
        let count = present.into_iter().filter(|&present| present).count();
        let mut claims = serializer.serialize_struct("RegisteredClaims", count)?;
        field(&mut claims, RegisteredClaim::Issuer, self.issuer.as_ref())?;
        field(&mut claims, RegisteredClaim::Subject, self.subject.as_ref())?;
        field(&mut claims, RegisteredClaim::Audience, self.audience.as_ref())?;
        field(&mut claims, RegisteredClaim::ExpirationTime, self.expiration_time.as_ref())?;
        field(&mut claims, RegisteredClaim::NotBefore, self.not_before.as_ref())?;
        field(&mut claims, RegisteredClaim::IssuedAt, self.issued_at.as_ref())?;
        field(&mut claims, RegisteredClaim::JwtId, self.jwt_id.as_ref())?;
        claims.end()
    }
}

impl<'de> Deserialize<'de> for RegisteredClaims {
    /// Other members are ignored. A claim that is null is an error, not an absent claim.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ClaimsVisitor;

        impl<'de> de::Visitor<'de> for ClaimsVisitor {
            type Value = RegisteredClaims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a claims set")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut claims = RegisteredClaims::default();
                while let Some(ClaimName(name)) = map.next_key()? {
                    match name {
                        Some(RegisteredClaim::Issuer) => claims.issuer = Some(map.next_value()?),
                        Some(RegisteredClaim::Subject) => claims.subject = Some(map.next_value()?),
                        Some(RegisteredClaim::Audience) => {
                            claims.audience = Some(map.next_value()?);
                        }
                        Some(RegisteredClaim::ExpirationTime) => {
                            claims.expiration_time = Some(map.next_value()?);
                        }
                        Some(RegisteredClaim::NotBefore) => {
                            claims.not_before = Some(map.next_value()?);
                        }
                        Some(RegisteredClaim::IssuedAt) => {
                            claims.issued_at = Some(map.next_value()?);
                        }
                        Some(RegisteredClaim::JwtId) => claims.jwt_id = Some(map.next_value()?),
                        None => {
                            map.next_value::<de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(claims)
            }
        }

        // By its fields, so that a flattened one takes its own members and leaves the others.
        deserializer.deserialize_struct("RegisteredClaims", RegisteredClaim::NAMES, ClaimsVisitor)
    }
}

/// A member's name, of which only a registered one matters.
struct ClaimName(Option<RegisteredClaim>);

impl<'de> Deserialize<'de> for ClaimName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl de::Visitor<'_> for NameVisitor {
            type Value = ClaimName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a claim name")
            }

            fn visit_str<E>(self, name: &str) -> Result<ClaimName, E> {
                Ok(ClaimName(RegisteredClaim::from_name(name)))
            }
        }

        deserializer.deserialize_identifier(NameVisitor)
    }
}

/// The claims that RFC 7519 §4.1 registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RegisteredClaim {
    /// `iss`
    Issuer,
    /// `sub`
    Subject,
    /// `aud`
    Audience,
    /// `exp`
    ExpirationTime,
    /// `nbf`
    NotBefore,
    /// `iat`
    IssuedAt,
    /// `jti`
    JwtId,
}

impl RegisteredClaim {
    const NAMES: &'static [&'static str] = &["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Issuer => "iss",
            Self::Subject => "sub",
            Self::Audience => "aud",
            Self::ExpirationTime => "exp",
            Self::NotBefore => "nbf",
            Self::IssuedAt => "iat",
            Self::JwtId => "jti",
        }
    }

    /// The claim of that exact name; names are case-sensitive (RFC 7519 §10.1.1).
    #[inline]
    pub fn from_name(name: &str) -> Option<Self> {
        // Letter by letter, which is quicker than one comparison after the other.
        Some(match name.as_bytes() {
            [b'i', b's', b's'] => Self::Issuer,
            [b's', b'u', b'b'] => Self::Subject,
            [b'a', b'u', b'd'] => Self::Audience,
            [b'e', b'x', b'p'] => Self::ExpirationTime,
            [b'n', b'b', b'f'] => Self::NotBefore,
            [b'i', b'a', b't'] => Self::IssuedAt,
            [b'j', b't', b'i'] => Self::JwtId,
            _ => return None,
        })
    }

    /// The JSON type that its value has to have.
    pub const fn json_type(self) -> &'static str {
        match self {
            Self::Issuer | Self::Subject | Self::JwtId => "a string",
            Self::Audience => "a string or an array of strings",
            Self::ExpirationTime | Self::NotBefore | Self::IssuedAt => "a number",
        }
    }
}

impl fmt::Display for RegisteredClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A registered claim as a token has it. A value of another type is never the same as none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Claim<T> {
    #[default]
    Absent,
    WrongType,
    Is(T),
}

impl<T> Claim<T> {
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    fn is_wrong(&self) -> bool {
        matches!(self, Self::WrongType)
    }
}

/// The names in `aud`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Names<'c> {
    One(Text<'c>),
    Many(Texts<'c>),
}

impl<'c> Names<'c> {
    /// The first name that `matches`.
    pub(crate) fn find(self, mut matches: impl FnMut(Text<'c>) -> bool) -> Option<Text<'c>> {
        match self {
            Self::One(name) => Some(name).filter(|name| matches(*name)),
            Self::Many(names) => names.iter().find(|name| matches(*name)),
        }
    }
}

/// What a verifier notes of a claims set.
#[derive(Debug)]
pub(crate) struct ClaimsSet<'w, 'c> {
    pub(crate) issuer: Claim<Text<'c>>,
    pub(crate) subject: Claim<Text<'c>>,
    pub(crate) audience: Claim<Names<'c>>,
    pub(crate) expiration_time: Claim<SpelledDate>,
    pub(crate) not_before: Claim<SpelledDate>,
    pub(crate) issued_at: Claim<SpelledDate>,
    pub(crate) jwt_id: Claim<Text<'c>>,
    /// Other claims whose presence matters.
    wanted: &'w [String],
    /// Which of them are there.
    found: Found,
}

/// What is noted of a claims set: the registered claims, and whatever else somebody wants to know.
pub(crate) trait Noted<'w, 'c>: Registered<'c> + From<ClaimsSet<'w, 'c>> {
    fn registered(&self) -> &ClaimsSet<'w, 'c>;
}

impl<'w, 'c> Noted<'w, 'c> for ClaimsSet<'w, 'c> {
    fn registered(&self) -> &Self {
        self
    }
}

/// A set of small numbers, which is allocated only when they are not so small.
#[derive(Debug, Default)]
struct Found {
    first: u64,
    more: Vec<usize>,
}

impl<'w> ClaimsSet<'w, '_> {
    /// Nothing noted yet. Of the unregistered claims, those named in `wanted` will be.
    pub(crate) fn wanting(wanted: &'w [String]) -> Self {
        Self {
            issuer: Claim::Absent,
            subject: Claim::Absent,
            audience: Claim::Absent,
            expiration_time: Claim::Absent,
            not_before: Claim::Absent,
            issued_at: Claim::Absent,
            jwt_id: Claim::Absent,
            wanted,
            found: Found::default(),
        }
    }

    /// Whether the token has the registered claim, with whatever value.
    pub(crate) fn has_registered(&self, claim: RegisteredClaim) -> bool {
        !match claim {
            RegisteredClaim::Issuer => self.issuer.is_absent(),
            RegisteredClaim::Subject => self.subject.is_absent(),
            RegisteredClaim::Audience => self.audience.is_absent(),
            RegisteredClaim::ExpirationTime => self.expiration_time.is_absent(),
            RegisteredClaim::NotBefore => self.not_before.is_absent(),
            RegisteredClaim::IssuedAt => self.issued_at.is_absent(),
            RegisteredClaim::JwtId => self.jwt_id.is_absent(),
        }
    }

    /// A registered claim whose value has the wrong type, if there is one.
    pub(crate) fn wrong_type(&self) -> Option<RegisteredClaim> {
        let wrong = [
            (self.issuer.is_wrong(), RegisteredClaim::Issuer),
            (self.subject.is_wrong(), RegisteredClaim::Subject),
            (self.audience.is_wrong(), RegisteredClaim::Audience),
            (self.expiration_time.is_wrong(), RegisteredClaim::ExpirationTime),
            (self.not_before.is_wrong(), RegisteredClaim::NotBefore),
            (self.issued_at.is_wrong(), RegisteredClaim::IssuedAt),
            (self.jwt_id.is_wrong(), RegisteredClaim::JwtId),
        ];
        wrong.into_iter().find(|(is_wrong, _)| *is_wrong).map(|(_, claim)| claim)
    }

    /// Whether the token has the `index`th of the claims that were wanted.
    pub(crate) fn has_wanted(&self, index: usize) -> bool {
        match bit(index) {
            Some(bit) => self.found.first & bit != 0,
            None => self.found.more.contains(&index),
        }
    }
}

fn bit(index: usize) -> Option<u64> {
    1_u64.checked_shl(u32::try_from(index).ok()?)
}

pub(crate) fn text(value: Value<'_>) -> Claim<Text<'_>> {
    match value {
        Value::Text(text) => Claim::Is(text),
        _ => Claim::WrongType,
    }
}

fn names(value: Value<'_>) -> Claim<Names<'_>> {
    match value {
        Value::Text(name) => Claim::Is(Names::One(name)),
        Value::Texts(names) => Claim::Is(Names::Many(names)),
        _ => Claim::WrongType,
    }
}

pub(crate) fn date(value: &Value<'_>) -> Claim<SpelledDate> {
    match value {
        Value::Number(Number::Integer(seconds)) => {
            Claim::Is(NumericDate::from_seconds(*seconds).into())
        }
        Value::Number(Number::Spelled(spelled)) => Claim::Is(SpelledDate::from_decimal(spelled)),
        _ => Claim::WrongType,
    }
}

impl<'c> Registered<'c> for ClaimsSet<'_, 'c> {
    type Name = RegisteredClaim;

    #[inline]
    fn name(member: &str) -> Option<(RegisteredClaim, Kind)> {
        let claim = RegisteredClaim::from_name(member)?;
        let kind = match claim {
            RegisteredClaim::Issuer | RegisteredClaim::Subject | RegisteredClaim::JwtId => {
                Kind::Text
            }
            RegisteredClaim::Audience => Kind::TextOrTexts,
            RegisteredClaim::ExpirationTime
            | RegisteredClaim::NotBefore
            | RegisteredClaim::IssuedAt => Kind::Number,
        };
        Some((claim, kind))
    }

    #[inline]
    fn has(&mut self, name: RegisteredClaim) -> bool {
        self.has_registered(name)
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "measured: the value would be moved through memory")]
    fn note(&mut self, name: RegisteredClaim, value: Value<'c>) {
        match name {
            RegisteredClaim::Issuer => self.issuer = text(value),
            RegisteredClaim::Subject => self.subject = text(value),
            RegisteredClaim::Audience => self.audience = names(value),
            RegisteredClaim::ExpirationTime => self.expiration_time = date(&value),
            RegisteredClaim::NotBefore => self.not_before = date(&value),
            RegisteredClaim::IssuedAt => self.issued_at = date(&value),
            RegisteredClaim::JwtId => self.jwt_id = text(value),
        }
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as above")]
    fn note_text(&mut self, name: RegisteredClaim, text: Text<'c>) {
        match name {
            RegisteredClaim::Issuer => self.issuer = Claim::Is(text),
            RegisteredClaim::Subject => self.subject = Claim::Is(text),
            RegisteredClaim::Audience => self.audience = Claim::Is(Names::One(text)),
            RegisteredClaim::JwtId => self.jwt_id = Claim::Is(text),
            name => self.note(name, Value::Text(text)),
        }
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as above")]
    fn note_integer(&mut self, name: RegisteredClaim, integer: i64) {
        let date = Claim::Is(NumericDate::from_seconds(integer).into());
        match name {
            RegisteredClaim::ExpirationTime => self.expiration_time = date,
            RegisteredClaim::NotBefore => self.not_before = date,
            RegisteredClaim::IssuedAt => self.issued_at = date,
            name => self.note(name, Value::Number(Number::Integer(integer))),
        }
    }

    #[inline]
    fn pass_by(&mut self, name: &str) {
        if let Some(index) = self.wanted.iter().position(|wanted| wanted == name) {
            match bit(index) {
                Some(bit) => self.found.first |= bit,
                None => self.found.more.push(index),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    /// Notes whatever comes in the one way that the trait asks for.
    struct General<'w, 'c>(ClaimsSet<'w, 'c>);

    impl<'c> Registered<'c> for General<'_, 'c> {
        type Name = RegisteredClaim;

        fn name(member: &str) -> Option<(RegisteredClaim, Kind)> {
            ClaimsSet::name(member)
        }

        fn has(&mut self, name: RegisteredClaim) -> bool {
            self.0.has(name)
        }

        fn note(&mut self, name: RegisteredClaim, value: Value<'c>) {
            self.0.note(name, value);
        }
    }

    /// What comes by the ways that are there for speed is noted as what does not.
    #[test]
    fn a_text_and_an_integer_are_noted_as_any_value_is() {
        for name in RegisteredClaim::NAMES {
            for value in [r#""a""#, r#""\u0061""#, r#"["a","b"]"#, "1", "1.5", "null"] {
                let text = alloc::format!(r#"{{"{name}":{value}}}"#);
                let mut noted = ClaimsSet::wanting(&[]);
                let mut general = General(ClaimsSet::wanting(&[]));
                json::members_and::<_, de::IgnoredAny>(text.as_bytes(), &mut noted)
                    .unwrap()
                    .unwrap();
                json::members_and::<_, de::IgnoredAny>(text.as_bytes(), &mut general)
                    .unwrap()
                    .unwrap();
                assert_eq!(
                    alloc::format!("{noted:?}"),
                    alloc::format!("{:?}", general.0),
                    "{text}"
                );
                assert!(noted.has_registered(RegisteredClaim::from_name(name).unwrap()), "{text}");
            }
        }
    }
}
