//! Symmetric JWKs (RFC 7517, RFC 7518 §6.4) and sets of them: JSON in and out, keys made from them.
//!
//! Refused: other key types, algorithms, uses and operations than signing with this crate's, two keys
//! of a set under one id, secrets that are not canonical base64url.

use alloc::{borrow::Cow, boxed::Box, string::String, vec::Vec};
use core::fmt;

use zeroize::{Zeroize, Zeroizing};

use crate::{
    algorithm::Algorithm,
    base64url,
    excerpt::Excerpt,
    json::{self, JsonError, Kind, Registered, Value},
    key::{Key, KeyError},
};

/// A symmetric JWK (`"kty":"oct"`) for one of this crate's algorithms: the form in which a secret is
/// stored and handed over. It holds the secret, and wipes it on drop.
///
/// ```
/// use kippu::{Algorithm, Jwk, Key};
///
/// let jwk = Jwk::generate(Algorithm::Hs256)?.with_kid("2026-11");
/// let stored = jwk.expose_json(); // into the secret manager, nowhere else
/// let key = Key::from_jwk(&Jwk::from_json(&stored)?)?;
/// assert_eq!(key.kid(), Some("2026-11"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Jwk {
    algorithm: Algorithm,
    kid: Option<Box<str>>,
    secret: Zeroizing<Vec<u8>>,
}

/// A JWK Set (RFC 7517 §5) whose keys are all symmetric and for this crate's algorithms.
///
/// ```
/// use kippu::{JwkSet, Key, KeySet};
///
/// let text = r#"{"keys":[
///     {"kty":"oct","alg":"HS256","kid":"new","k":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"},
///     {"kty":"oct","alg":"HS256","kid":"old","k":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI"}
/// ]}"#;
/// let set = JwkSet::from_json(text)?;
/// let [new, old] = set.keys() else { panic!("the set has two keys") };
/// let keys = KeySet::new(Key::from_jwk(new)?)?.accept(Key::from_jwk(old)?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct JwkSet {
    keys: Vec<Jwk>,
}

/// Why a text is no [`Jwk`] or [`JwkSet`] of this crate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwkError {
    /// The text is not one strict JSON object.
    #[error("not a strict JSON object: {0}")]
    Json(#[from] JsonError),
    /// A parameter has to be there: `kty`, `alg` and `k`, or the `keys` of a set.
    #[error("the JWK has no {parameter}")]
    Missing {
        /// Its name.
        parameter: &'static str,
    },
    /// A parameter has another JSON type than RFC 7517 gives it.
    #[error("the JWK's {parameter} has the wrong JSON type")]
    WrongType {
        /// Its name.
        parameter: &'static str,
    },
    /// A key of another kind: `kty` has to be `oct`.
    #[error("the JWK is of the key type {found}, not \"oct\"")]
    KeyType {
        /// The value of `kty`.
        found: Excerpt,
    },
    /// `alg` has to be `HS256`, `HS384` or `HS512`, and the one that was asked for.
    #[error("the JWK is for the algorithm {found}")]
    Algorithm {
        /// The value of `alg`.
        found: Excerpt,
    },
    /// `use`, where it is given, has to be `sig`.
    #[error("the JWK is meant for {found}, not for \"sig\"")]
    Use {
        /// The value of `use`.
        found: Excerpt,
    },
    /// `key_ops`, where they are given, have to name `sign` or `verify`, and nothing that is no use of a MAC.
    #[error("the JWK's key_ops are not those of a signature: {found}")]
    KeyOperations {
        /// The first operation that does not fit; empty when none is named.
        found: Excerpt,
    },
    /// `k` is not canonical base64url without padding, written without escapes.
    #[error("the JWK's k is not canonical base64url without padding")]
    Secret,
    /// Two keys of a set have the same id.
    #[error("two keys of the set have the kid {kid}")]
    DuplicateKid {
        /// The id.
        kid: Excerpt,
    },
    /// The secret makes no key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Jwk {
    /// A JWK for `secret`.
    ///
    /// # Errors
    /// [`JwkError::Key`] for a secret that [`Key::new`] refuses.
    pub fn new(algorithm: Algorithm, secret: impl AsRef<[u8]>) -> Result<Self, JwkError> {
        Self { algorithm, kid: None, secret: Zeroizing::new(secret.as_ref().to_vec()) }.checked()
    }

    /// A JWK with a fresh secret of [`Algorithm::hash_len`] bytes from the operating system.
    ///
    /// # Errors
    /// [`KeyError::NoRandomness`] when the operating system gives none.
    #[cfg(feature = "getrandom")]
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        Ok(Self { algorithm, kid: None, secret: crate::key::random_secret(algorithm)? })
    }

    /// This JWK under the id `kid`.
    #[must_use]
    pub fn with_kid(self, kid: impl AsRef<str>) -> Self {
        Self { kid: Some(kid.as_ref().into()), ..self }
    }

    /// Reads one JWK, which says in `alg` what it is for. Parameters that RFC 7517 does not define are
    /// ignored.
    ///
    /// # Errors
    /// What is wrong with it; no error says more about the secret than its length.
    pub fn from_json(json: &str) -> Result<Self, JwkError> {
        Self::read(json, None)
    }

    /// As [`Jwk::from_json`], for a JWK that may leave `alg` out (RFC 7517 §4.4) because its recipient
    /// knows it from elsewhere. Where it has one, that has to be `algorithm`.
    ///
    /// # Errors
    /// As [`Jwk::from_json`].
    pub fn from_json_for(json: &str, algorithm: Algorithm) -> Result<Self, JwkError> {
        Self::read(json, Some(algorithm))
    }

    /// This JWK as JSON, **with its secret**: for the secret manager, nowhere else.
    pub fn expose_json(&self) -> Zeroizing<String> {
        let kid = self.kid().map_or_else(String::new, |kid| {
            alloc::format!(r#""kid":{},"#, serde_json::Value::from(kid))
        });
        let public =
            alloc::format!(r#"{{"kty":"oct","use":"sig","alg":"{}",{kid}"k":""#, self.algorithm);
        let k = base64url::encode_secret(&self.secret);
        concatenated(&[&public, &k, "\"}"])
    }

    /// The algorithm that the secret is for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key id, where there is one.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    fn read(json: &str, expected: Option<Algorithm>) -> Result<Self, JwkError> {
        let mut parameters = Parameters::default();
        json::members(json.as_bytes(), usize::MAX, &mut parameters)?;
        let k = parameters.take_secret();

        let key_type = parameters.required("kty")?;
        if key_type != "oct" {
            return Err(JwkError::KeyType { found: Excerpt::new(&key_type) });
        }
        let algorithm = match (parameters.text("alg")?, expected) {
            (None, None) => return Err(JwkError::Missing { parameter: "alg" }),
            (None, Some(expected)) => expected,
            (Some(name), expected) => Algorithm::from_name(&name)
                .filter(|found| expected.is_none_or(|expected| *found == expected))
                .ok_or_else(|| JwkError::Algorithm { found: Excerpt::new(&name) })?,
        };
        if let Some(found) = parameters.text("use")?.filter(|usage| usage != "sig") {
            return Err(JwkError::Use { found: Excerpt::new(&found) });
        }
        parameters.check_operations()?;
        let kid = parameters.text("kid")?.map(|kid| kid.as_ref().into());
        Self { algorithm, kid, secret: k? }.checked()
    }

    /// A JWK that no key could be made from is none.
    fn checked(self) -> Result<Self, JwkError> {
        Key::from_jwk(&self)?;
        Ok(self)
    }
}

impl fmt::Debug for Jwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwk")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl Key {
    /// The key that a JWK describes, under the JWK's id.
    ///
    /// # Errors
    /// As [`Key::new`].
    pub fn from_jwk(jwk: &Jwk) -> Result<Self, KeyError> {
        let key = Self::new(jwk.algorithm, &*jwk.secret)?;
        Ok(match jwk.kid() {
            Some(kid) => key.with_kid(kid),
            None => key,
        })
    }
}

impl JwkSet {
    /// A set of these keys.
    ///
    /// # Errors
    /// [`JwkError::DuplicateKid`] when two of them have the same id.
    pub fn new(keys: impl IntoIterator<Item = Jwk>) -> Result<Self, JwkError> {
        let mut set = Self { keys: Vec::new() };
        for key in keys {
            set.push(key)?;
        }
        Ok(set)
    }

    /// Reads a set. RFC 7517 §5 would have a reader ignore keys that it does not understand; here they make
    /// the set refused: one that verifies with some of the keys it was given, and does not say which, is of no
    /// help to anyone.
    ///
    /// # Errors
    /// What is wrong with the set or with the first of its keys that is refused.
    pub fn from_json(json: &str) -> Result<Self, JwkError> {
        let mut parameters = SetParameters::default();
        json::members(json.as_bytes(), usize::MAX, &mut parameters)?;
        let parameter = "keys";
        let keys = parameters.keys.ok_or(JwkError::Missing { parameter })?;
        let keys = json::elements(keys).ok_or(JwkError::WrongType { parameter })?;
        let mut set = Self { keys: Vec::with_capacity(keys.len()) };
        for key in keys {
            set.push(Jwk::from_json(key)?)?;
        }
        Ok(set)
    }

    fn push(&mut self, key: Jwk) -> Result<(), JwkError> {
        if let Some(kid) = key.kid() {
            if self.keys.iter().any(|known| known.kid() == Some(kid)) {
                return Err(JwkError::DuplicateKid { kid: Excerpt::new(kid) });
            }
        }
        self.keys.push(key);
        Ok(())
    }

    /// The set as JSON, **with its secrets**: for the secret manager, nowhere else.
    pub fn expose_json(&self) -> Zeroizing<String> {
        let keys: Vec<_> = self.keys.iter().map(Jwk::expose_json).collect();
        let mut parts = Vec::with_capacity(2 * keys.len() + 2);
        for key in &keys {
            parts.push(if parts.is_empty() { r#"{"keys":["# } else { "," });
            parts.push(key.as_str());
        }
        parts.push(if parts.is_empty() { r#"{"keys":[]}"# } else { "]}" });
        concatenated(&parts)
    }

    /// The keys, in their order.
    pub fn keys(&self) -> &[Jwk] {
        &self.keys
    }
}

/// In one allocation, so that no copy of a secret is left behind where a string has grown.
fn concatenated(parts: &[&str]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(parts.iter().map(|part| part.len()).sum()));
    for part in parts {
        text.push_str(part);
    }
    text
}

/// The parameters of RFC 7517 §4 and RFC 7518 §6.4 that say something about a symmetric key.
const PARAMETERS: [&str; 6] = ["kty", "use", "key_ops", "alg", "kid", "k"];

#[derive(Default)]
struct Parameters<'j> {
    values: [Option<Value<'j>>; PARAMETERS.len()],
}

impl<'j> Parameters<'j> {
    fn take(&mut self, parameter: &str) -> Option<Value<'j>> {
        let index = PARAMETERS.iter().position(|known| *known == parameter)?;
        self.values.get_mut(index)?.take()
    }

    fn text(&mut self, parameter: &'static str) -> Result<Option<Cow<'j, str>>, JwkError> {
        match self.take(parameter) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(JwkError::WrongType { parameter }),
        }
    }

    fn required(&mut self, parameter: &'static str) -> Result<Cow<'j, str>, JwkError> {
        self.text(parameter)?.ok_or(JwkError::Missing { parameter })
    }

    /// No symbol of base64url needs an escape, and to unescape one leaves copies of the secret behind.
    fn take_secret(&mut self) -> Result<Zeroizing<Vec<u8>>, JwkError> {
        match self.required("k")? {
            Cow::Borrowed(k) => base64url::decode_secret(k.as_bytes()).ok_or(JwkError::Secret),
            Cow::Owned(mut unescaped) => {
                unescaped.zeroize();
                Err(JwkError::Secret)
            }
        }
    }

    /// RFC 7517 §4.3. Of the operations it lists, a MAC has two, and none stands twice.
    fn check_operations(&mut self) -> Result<(), JwkError> {
        let operations = match self.take("key_ops") {
            None => return Ok(()),
            Some(Value::Texts(operations)) => operations,
            Some(_) => return Err(JwkError::WrongType { parameter: "key_ops" }),
        };
        let (mut sign, mut verify) = (false, false);
        for operation in operations.iter() {
            let known = match operation.as_ref() {
                "sign" => &mut sign,
                "verify" => &mut verify,
                _ => return Err(JwkError::KeyOperations { found: Excerpt::new(&operation) }),
            };
            if core::mem::replace(known, true) {
                return Err(JwkError::KeyOperations { found: Excerpt::new(&operation) });
            }
        }
        if !sign && !verify {
            return Err(JwkError::KeyOperations { found: Excerpt::new("") });
        }
        Ok(())
    }
}

impl<'j> Registered<'j> for Parameters<'j> {
    type Name = usize;

    fn name(member: &str) -> Option<(usize, Kind)> {
        let index = PARAMETERS.iter().position(|known| *known == member)?;
        Some((index, if member == "key_ops" { Kind::TextOrTexts } else { Kind::Text }))
    }

    fn has(&mut self, name: usize) -> bool {
        self.values.get(name).is_some_and(Option::is_some)
    }

    fn note(&mut self, name: usize, value: Value<'j>) {
        if let Some(slot) = self.values.get_mut(name) {
            *slot = Some(value);
        }
    }
}

#[derive(Default)]
struct SetParameters<'j> {
    keys: Option<&'j str>,
}

impl<'j> Registered<'j> for SetParameters<'j> {
    type Name = ();

    fn name(member: &str) -> Option<((), Kind)> {
        (member == "keys").then_some(((), Kind::Raw))
    }

    fn has(&mut self, (): ()) -> bool {
        self.keys.is_some()
    }

    fn note(&mut self, (): (), value: Value<'j>) {
        if let Value::Raw(keys) = value {
            self.keys = Some(keys);
        }
    }
}
