//! The registered claims (RFC 7519 §4.1): how an issuer writes them, and how a verifier reads them.

use alloc::{
    string::{String, ToString},
    vec::{self, Vec},
};
use core::{fmt, slice, str::FromStr};

use serde_core::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeStruct};

use crate::{
    excerpt::UnknownName,
    json::{self, JsonError, Text, Value},
    numeric_date::{NumericDate, SpelledDate},
};

/// The registered claims. Use the struct alone, or flatten it into a struct of the application.
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
///         iss: Some("https://auth.example".into()),
///         exp: Some(NumericDate::from_seconds(1_300_819_380)),
///         ..RegisteredClaims::default()
///     },
///     role: "admin".into(),
/// };
/// let json = r#"{"iss":"https://auth.example","exp":1300819380,"role":"admin"}"#;
/// assert_eq!(serde_json::to_string(&claims)?, json);
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// This struct is exhaustive on purpose: RFC 7519 §4.1 registers these seven claims, and a literal
/// with `..RegisteredClaims::default()` has to compile.
///
/// The struct is optional: [`encode`](crate::encode) and [`decode`](crate::decode) accept any type.
/// `decode` checks the registered claims even if the type has no fields for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisteredClaims {
    /// The issuer (RFC 7519 §4.1.1).
    pub iss: Option<String>,
    /// The subject, about whom the token makes statements (RFC 7519 §4.1.2).
    pub sub: Option<String>,
    /// The audience: the recipients of the token (RFC 7519 §4.1.3).
    pub aud: Option<Audience>,
    /// The time from which the token is refused (RFC 7519 §4.1.4).
    pub exp: Option<NumericDate>,
    /// The time before which the token is refused (RFC 7519 §4.1.5).
    pub nbf: Option<NumericDate>,
    /// The time at which the token was issued (RFC 7519 §4.1.6).
    pub iat: Option<NumericDate>,
    /// The id of the token. No other token of the issuer has the same id (RFC 7519 §4.1.7).
    pub jti: Option<String>,
}

/// The value of `aud`: one name or several (RFC 7519 §4.1.3). A single string stays a string when
/// it is written again, and an array stays an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// A single string.
    One(String),
    /// An array of strings.
    Many(Vec<String>),
}

impl Audience {
    /// Returns whether one of the names is exactly `audience`.
    pub fn contains(&self, audience: &str) -> bool {
        self.iter().any(|name| name == audience)
    }

    /// Returns the names.
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
                Some(value) => claims.serialize_field(claim.as_str(), value),
                None => claims.skip_field(claim.as_str()),
            }
        }

        let present = [
            self.iss.is_some(),
            self.sub.is_some(),
            self.aud.is_some(),
            self.exp.is_some(),
            self.nbf.is_some(),
            self.iat.is_some(),
            self.jti.is_some(),
        ];
        let count = present.into_iter().filter(|&present| present).count();
        let mut claims = serializer.serialize_struct("RegisteredClaims", count)?;
        field(&mut claims, RegisteredClaim::Issuer, self.iss.as_ref())?;
        field(&mut claims, RegisteredClaim::Subject, self.sub.as_ref())?;
        field(&mut claims, RegisteredClaim::Audience, self.aud.as_ref())?;
        field(&mut claims, RegisteredClaim::ExpirationTime, self.exp.as_ref())?;
        field(&mut claims, RegisteredClaim::NotBefore, self.nbf.as_ref())?;
        field(&mut claims, RegisteredClaim::IssuedAt, self.iat.as_ref())?;
        field(&mut claims, RegisteredClaim::JwtId, self.jti.as_ref())?;
        claims.end()
    }
}

impl<'de> Deserialize<'de> for RegisteredClaims {
    /// Ignores other members. A null claim is read as an absent one, and a whole number in `sub` as
    /// its digits. [`decode`](crate::decode) refuses both before this code runs, unless a call of
    /// [`Validation`](crate::Validation) allows them.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ClaimsVisitor;

        impl<'de> de::Visitor<'de> for ClaimsVisitor {
            type Value = RegisteredClaims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a claims set")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                // A repeated name cannot reach this loop from `decode`; from another reader, the
                // last value counts.
                let mut claims = RegisteredClaims::default();
                while let Some(ClaimName(name)) = map.next_key()? {
                    match name {
                        Some(RegisteredClaim::Issuer) => claims.iss = map.next_value()?,
                        Some(RegisteredClaim::Subject) => {
                            let subject: Option<Subject> = map.next_value()?;
                            claims.sub = subject.map(|Subject(text)| text);
                        }
                        Some(RegisteredClaim::Audience) => claims.aud = map.next_value()?,
                        Some(RegisteredClaim::ExpirationTime) => claims.exp = map.next_value()?,
                        Some(RegisteredClaim::NotBefore) => claims.nbf = map.next_value()?,
                        Some(RegisteredClaim::IssuedAt) => claims.iat = map.next_value()?,
                        Some(RegisteredClaim::JwtId) => claims.jti = map.next_value()?,
                        None => {
                            map.next_value::<de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(claims)
            }
        }

        // Deserialised as a struct with named fields, so that a flattened one takes only its own
        // members.
        deserializer.deserialize_struct("RegisteredClaims", RegisteredClaim::NAMES, ClaimsVisitor)
    }
}

/// The value of `sub`: a string, or the digits of a whole number.
struct Subject(String);

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SubjectVisitor;

        impl<'de> de::Visitor<'de> for SubjectVisitor {
            type Value = Subject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<Subject, E> {
                Ok(Subject(text.into()))
            }

            fn visit_string<E>(self, text: String) -> Result<Subject, E> {
                Ok(Subject(text))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Subject, E> {
                Ok(Subject(number.to_string()))
            }

            /// serde_json passes a number as a map when its feature `arbitrary_precision` is on.
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Subject, A::Error> {
                let map = de::value::MapAccessDeserializer::new(map);
                match serde_json::Number::deserialize(map)?.as_u64() {
                    Some(number) => self.visit_u64(number),
                    None => Err(de::Error::custom("a number that is not an id of a subject")),
                }
            }
        }

        // A binary format does not say which type follows.
        if !deserializer.is_human_readable() {
            return deserializer.deserialize_string(SubjectVisitor);
        }
        deserializer.deserialize_any(SubjectVisitor)
    }
}

/// The name of a member. Only registered names matter.
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
                Ok(ClaimName(RegisteredClaim::from_name(name.as_bytes())))
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

    const ALL: [Self; 7] = [
        Self::Issuer,
        Self::Subject,
        Self::Audience,
        Self::ExpirationTime,
        Self::NotBefore,
        Self::IssuedAt,
        Self::JwtId,
    ];

    /// Returns the position in [`RegisteredClaim::ALL`].
    const fn index(self) -> usize {
        match self {
            Self::Issuer => 0,
            Self::Subject => 1,
            Self::Audience => 2,
            Self::ExpirationTime => 3,
            Self::NotBefore => 4,
            Self::IssuedAt => 5,
            Self::JwtId => 6,
        }
    }

    /// Returns the name on the wire: `iss`, `sub`, `aud`, `exp`, `nbf`, `iat` or `jti`.
    pub const fn as_str(self) -> &'static str {
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

    /// Returns the claim with exactly this name. Names are case-sensitive (RFC 7519 §10.1.1).
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        // The name is compared as a number: comparing each byte makes a decode 3 % slower.
        const ISS: u32 = u32::from_be_bytes(*b"\0iss");
        const SUB: u32 = u32::from_be_bytes(*b"\0sub");
        const AUD: u32 = u32::from_be_bytes(*b"\0aud");
        const EXP: u32 = u32::from_be_bytes(*b"\0exp");
        const NBF: u32 = u32::from_be_bytes(*b"\0nbf");
        const IAT: u32 = u32::from_be_bytes(*b"\0iat");
        const JTI: u32 = u32::from_be_bytes(*b"\0jti");
        let [a, b, c] = *name else { return None };
        Some(match u32::from_be_bytes([0, a, b, c]) {
            ISS => Self::Issuer,
            SUB => Self::Subject,
            AUD => Self::Audience,
            EXP => Self::ExpirationTime,
            NBF => Self::NotBefore,
            IAT => Self::IssuedAt,
            JTI => Self::JwtId,
            _ => return None,
        })
    }

    /// Returns the JSON type of the claim's value, for an error message.
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
        f.write_str(self.as_str())
    }
}

impl FromStr for RegisteredClaim {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::from_name(name.as_bytes())
            .ok_or_else(|| UnknownName::new(name, "iss, sub, aud, exp, nbf, iat and jti"))
    }
}

/// The names in `aud`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Names<'v, 'c> {
    One(Text<'c>),
    /// An array that has only strings.
    Many(&'v Value<'c>),
}

impl<'c> Names<'_, 'c> {
    /// Returns whether `matches` is true for one of the names.
    pub(crate) fn any(self, matches: impl FnMut(Text<'c>) -> bool) -> bool {
        match self {
            Self::One(name) => [name].into_iter().any(matches),
            Self::Many(names) => names.texts().is_some_and(|mut names| names.any(matches)),
        }
    }

    /// Returns the first name.
    pub(crate) fn first(self) -> Option<Text<'c>> {
        match self {
            Self::One(name) => Some(name),
            Self::Many(names) => names.texts()?.next(),
        }
    }
}

/// The claims that a verifier needs, as they are spelled.
#[derive(Debug)]
pub(crate) struct ClaimsSet<'w, 'c> {
    registered: [Option<Value<'c>>; RegisteredClaim::ALL.len()],
    /// The names of other claims that have to be present.
    wanted: &'w [String],
    /// Which of them have been found, by their index in `wanted`.
    found: Found,
}

/// A set of indices. It allocates only for an index above 63.
#[derive(Debug, Default)]
struct Found {
    first: u64,
    more: Vec<usize>,
}

impl<'w, 'c> ClaimsSet<'w, 'c> {
    /// Returns a set without claims. The scan looks for the registered claims and for those in
    /// `wanted`.
    pub(crate) fn wanting(wanted: &'w [String]) -> Self {
        Self { registered: [None; 7], wanted, found: Found::default() }
    }

    /// Scans a payload for its claims, and returns its text.
    pub(crate) fn scan(&mut self, payload: &'c [u8]) -> Result<&'c str, JsonError> {
        // The MAC has been verified, so the number of members needs no limit.
        json::scan(payload, usize::MAX, |name, value| self.note(name, value))
    }

    /// Scans claims that serde_json has written. It writes only UTF-8. Another check of that would
    /// take 2 % of the time of an `encode` of 167 bytes.
    pub(crate) fn scan_written(&mut self, json: &'c [u8]) -> Result<(), JsonError> {
        json::scan_utf8(json, usize::MAX, |name, value| self.note(name, value))
    }

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "measured: a decode of 167 bytes takes 12 ns longer if a call copies the value"
    )]
    fn note(&mut self, name: &[u8], value: Value<'c>) {
        match RegisteredClaim::from_name(name) {
            Some(claim) => self.set(claim, value),
            None => self.pass_by(name),
        }
    }

    fn set(&mut self, claim: RegisteredClaim, value: Value<'c>) {
        // A repeated name ends the scan with an error, so that no value is overwritten for good.
        if let Some(slot) = self.registered.get_mut(claim.index()) {
            *slot = Some(value);
        }
    }

    /// Returns the value of the registered claim, of any type.
    pub(crate) fn get(&self, claim: RegisteredClaim) -> Option<&Value<'c>> {
        self.registered.get(claim.index())?.as_ref()
    }

    /// Returns the first registered claim whose value has the wrong type.
    pub(crate) fn wrong_type(&self) -> Option<(RegisteredClaim, &Value<'c>)> {
        // Null counts as a wrong type, too: RFC 7519 §4.1 gives each claim one type.
        let claims = RegisteredClaim::ALL.into_iter();
        claims.filter_map(|claim| Some((claim, self.get(claim)?))).find(
            |(claim, value)| match claim {
                RegisteredClaim::Issuer | RegisteredClaim::Subject | RegisteredClaim::JwtId => {
                    value.text().is_none()
                }
                RegisteredClaim::Audience => names(value).is_none(),
                RegisteredClaim::ExpirationTime
                | RegisteredClaim::NotBefore
                | RegisteredClaim::IssuedAt => value.number().is_none(),
            },
        )
    }

    /// Returns whether the token has the claim at `index` of those that were wanted.
    pub(crate) fn has_wanted(&self, index: usize) -> bool {
        match bit(index) {
            // No usual validation requires more than 64 claims, so the set does not allocate.
            Some(bit) => self.found.first & bit != 0,
            None => self.found.more.contains(&index),
        }
    }

    fn pass_by(&mut self, name: &[u8]) {
        if let Some(index) = self.wanted.iter().position(|wanted| wanted.as_bytes() == name) {
            match bit(index) {
                Some(bit) => self.found.first |= bit,
                None => self.found.more.push(index),
            }
        }
    }
}

fn bit(index: usize) -> Option<u64> {
    1_u64.checked_shl(u32::try_from(index).ok()?)
}

/// Reads the value of `aud`: a string or an array of strings.
pub(crate) fn names<'v, 'c>(value: &'v Value<'c>) -> Option<Names<'v, 'c>> {
    match value.text() {
        Some(name) => Some(Names::One(name)),
        None => value.texts().map(|_| Names::Many(value)),
    }
}

/// Reads the value of `exp`, `nbf` or `iat`: a number, of which no digit is rounded away.
pub(crate) fn date(value: &Value<'_>) -> Option<SpelledDate> {
    let spelled = value.number()?;
    // The usual date is a few digits. Everything else takes the slow and exact way.
    let mut seconds = 0;
    for byte in spelled {
        let digit = byte.wrapping_sub(b'0');
        // A number of 18 digits fits an `i64`, so the loop cannot overflow.
        if digit > 9 || spelled.len() > 18 {
            return Some(SpelledDate::from_decimal(value.spelled()));
        }
        seconds = 10 * seconds + i64::from(digit);
    }
    Some(NumericDate::from_seconds(seconds).into())
}
