//! Symmetric JWKs (RFC 7517, RFC 7518 §6.4): JSON in and out, and the keys made of them. `set` has
//! the JWK Sets.
//!
//! Refused are key types, algorithms, uses and operations that are not those of a signature with
//! HMAC, and secrets that are not canonical base64url. The advice in an error names what a text or
//! a `k` looks like.

use alloc::{borrow::Cow, boxed::Box, string::String, vec::Vec};
use core::fmt;

use zeroize::Zeroizing;

use crate::{
    algorithm::Algorithm,
    base64url,
    debug::debug_by_message,
    excerpt::Excerpt,
    json::{self, JsonError, Text, Value},
    key::{self, Key, KeyError, form},
    key_set::KeySetError,
};

mod set;

pub use set::JwkSet;

/// A symmetric JWK (`"kty":"oct"`) for one of this crate's algorithms: the format in which a secret
/// is stored and exchanged. It contains the secret and wipes it on drop.
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
    /// Whether the operations (RFC 7517 §4.3) are absent or contain `sign`.
    signs: bool,
    secret: Zeroizing<Vec<u8>>,
}

/// Why a text is not a [`Jwk`] or [`JwkSet`] of this crate.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwkError {
    /// The text is not a JSON object. It is usually a secret in another form.
    #[error("not a JWK; {advice}")]
    NotAJwk {
        /// The form of the text, and the call that reads it.
        advice: &'static str,
    },
    /// The text is not one strict JSON object.
    #[error("not a strict JSON object: {0}")]
    Json(JsonError),
    /// A parameter is missing: `kty`, `alg` or `k`, or the `keys` of a set. The caller can set
    /// `alg` instead, with [`Jwk::from_json_for`] or [`JwkSet::from_json_for`].
    #[error("the JWK has no {parameter}{}", missing_advice(parameter))]
    Missing {
        /// The name of the parameter.
        parameter: &'static str,
    },
    /// The value of a parameter does not have the JSON type that RFC 7517 defines.
    #[error("the JWK's {parameter} has the wrong JSON type")]
    WrongType {
        /// The name of the parameter.
        parameter: &'static str,
    },
    /// The key is of another kind: `kty` has to be `oct`.
    #[error("the JWK is of the key type {found}, not \"oct\"")]
    KeyType {
        /// The value of `kty`.
        found: Excerpt,
    },
    /// `alg` has to be `HS256`, `HS384` or `HS512`, and the algorithm that the caller expects.
    #[error("the JWK is for the algorithm {found}")]
    Algorithm {
        /// The value of `alg`.
        found: Excerpt,
    },
    /// `use` has to be `sig` or absent.
    #[error("the JWK is meant for {found}, not for \"sig\"")]
    Use {
        /// The value of `use`.
        found: Excerpt,
    },
    /// `key_ops` has to be absent, or contain `sign` or `verify`. It must not contain another
    /// operation of RFC 7517 §4.3, or an operation twice.
    #[error("the JWK's key_ops are not those of a signature: {found}")]
    KeyOperations {
        /// The first operation that is not allowed. It is empty if `key_ops` has none.
        found: Excerpt,
    },
    /// `k` is not canonical base64url without padding (RFC 7518 §6.4.1), or has JSON escapes.
    #[error("the JWK's k is not canonical base64url without padding; {advice}")]
    Secret {
        /// The fault, and how to correct it.
        advice: &'static str,
    },
    /// Two keys of a set have the same id.
    #[error("two keys of the set have the kid {kid}")]
    DuplicateKid {
        /// The id.
        kid: Excerpt,
    },
    /// The set has no key.
    #[error("the JWK Set has no keys")]
    NoKeys,
    /// No key of the set has the id that the caller chose for signing.
    #[error("no key of the set has the kid {kid}, which was chosen to sign")]
    UnknownSigningKey {
        /// The id.
        kid: Excerpt,
    },
    /// The `key_ops` of each key of the set, or of the key that the caller chose for signing, do
    /// not contain `sign`.
    #[error("no key may sign: the key_ops of each, or of the chosen one, do not contain \"sign\"")]
    NoSigningKey,
    /// Several keys may sign. kippu does not choose one of them, by their order or otherwise.
    #[error("which key signs, {first} or {second}? All but one need \"key_ops\":[\"verify\"]")]
    SeveralSigningKeys {
        /// The id of one key.
        first: Excerpt,
        /// The id of another key.
        second: Excerpt,
    },
    /// The keys do not form a [`KeySet`](crate::KeySet), for example because one of several has no
    /// id.
    #[error(transparent)]
    Set(#[from] KeySetError),
    /// The secret is not accepted as a key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

debug_by_message!(JwkError);

impl From<JsonError> for JwkError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

impl JwkError {
    /// Turns this error into one about the whole text: a text that is not a JSON object is usually
    /// a secret in another form.
    fn about(self, text: &str) -> Self {
        if self != Self::Json(JsonError::NotAnObject) {
            return self;
        }
        match key::key_file_format(text.as_bytes()) {
            Some(format) if format != "JWK" => Self::Key(KeyError::KeyFile { format }),
            _ => Self::NotAJwk { advice: form::advice(text.as_bytes()) },
        }
    }
}

fn missing_advice(parameter: &str) -> &'static str {
    match parameter {
        "alg" => {
            ": set it with Jwk::from_json_for or JwkSet::from_json_for, in a file with KeyFormat::JwkFor"
        }
        "keys" => ", so it is not a JWK Set: Jwk::from_json reads a single JWK",
        _ => "",
    }
}

impl Jwk {
    /// Returns a JWK for `secret`.
    ///
    /// # Errors
    /// [`JwkError::Key`] if [`Key::new`] refuses the secret.
    pub fn new(algorithm: Algorithm, secret: impl AsRef<[u8]>) -> Result<Self, JwkError> {
        let secret = Zeroizing::new(secret.as_ref().to_vec());
        Self { algorithm, kid: None, signs: true, secret }.checked()
    }

    /// Returns a JWK with a new random secret of [`Algorithm::hash_len`] bytes from the operating
    /// system.
    ///
    /// # Errors
    /// [`KeyError::NoRandomness`] if the operating system returns no random bytes.
    #[cfg(feature = "getrandom")]
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let secret = crate::key::random_secret(algorithm)?;
        Ok(Self { algorithm, kid: None, signs: true, secret })
    }

    /// Sets the key id to `kid`.
    #[must_use]
    pub fn with_kid(self, kid: impl AsRef<str>) -> Self {
        Self { kid: Some(kid.as_ref().into()), ..self }
    }

    /// Marks the JWK as one that does not sign, or does not sign yet: its `key_ops` are
    /// `["verify"]` (RFC 7517 §4.3).
    ///
    /// [`KeySet::from_jwk_set`](crate::KeySet::from_jwk_set) uses the mark to find the key of a set
    /// that signs. The mark does not protect the key, since the secret is the same.
    #[must_use]
    pub fn verify_only(self) -> Self {
        Self { signs: false, ..self }
    }

    /// Reads one JWK, which has to name its algorithm in `alg`. Parameters that RFC 7517 does not
    /// define are ignored.
    ///
    /// # Errors
    /// [`JwkError`], with what is wrong. It discloses nothing about the secret except its length.
    pub fn from_json(json: &str) -> Result<Self, JwkError> {
        Self::read(json, None).map_err(|error| error.about(json))
    }

    /// Reads one JWK, like [`Jwk::from_json`], but accepts a JWK without `alg` (RFC 7517 §4.4),
    /// because the recipient knows the algorithm. If `alg` is present, it has to be `algorithm`.
    ///
    /// # Errors
    /// The same as those of [`Jwk::from_json`].
    pub fn from_json_for(json: &str, algorithm: Algorithm) -> Result<Self, JwkError> {
        Self::read(json, Some(algorithm)).map_err(|error| error.about(json))
    }

    /// Returns this JWK as JSON, **with its secret**. Store it in the secret manager and nowhere
    /// else.
    pub fn expose_json(&self) -> Zeroizing<String> {
        let kid = self.kid().map_or_else(String::new, |kid| {
            alloc::format!(r#""kid":{},"#, serde_json::Value::from(kid))
        });
        // RFC 7517 §4.3: `use` and `key_ops` SHOULD NOT be used together.
        let purpose = if self.signs { r#""use":"sig""# } else { r#""key_ops":["verify"]"# };
        let public =
            alloc::format!(r#"{{"kty":"oct",{purpose},"alg":"{}",{kid}"k":""#, self.algorithm);
        // Joined and not formatted: the buffer of a formatter grows, and would leave copies of the
        // secret.
        let k = base64url::encode_secret(&self.secret);
        concatenated(&[&public, &k, "\"}"])
    }

    /// Returns the algorithm of the key.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the key id, if the JWK has one.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Returns whether the key may sign: its `key_ops` are absent or contain `sign`.
    pub fn may_sign(&self) -> bool {
        self.signs
    }

    fn read(json: &str, expected: Option<Algorithm>) -> Result<Self, JwkError> {
        let mut parameters = Parameters::default();
        let mut is_set = false;
        json::scan(json.as_bytes(), usize::MAX, |name, value| {
            is_set |= name == b"keys";
            parameters.note(name, value);
        })?;

        let key_type = match parameters.required("kty") {
            Err(JwkError::Missing { .. }) if is_set => {
                let advice = "it is a JWK Set: JwkSet::from_json reads it, KeyFile and EnvKeys do";
                return Err(JwkError::NotAJwk { advice });
            }
            key_type => key_type?.read(),
        };
        if key_type != "oct" {
            return Err(JwkError::KeyType { found: Excerpt::new(&key_type) });
        }
        if let Some(found) = parameters.text("use")?.map(Text::read).filter(|usage| usage != "sig")
        {
            return Err(JwkError::Use { found: Excerpt::new(&found) });
        }
        let signs = parameters.operations()?;
        let algorithm = match (parameters.text("alg")?.map(Text::read), expected) {
            (None, None) => return Err(JwkError::Missing { parameter: "alg" }),
            (None, Some(expected)) => expected,
            (Some(name), expected) => name
                .parse()
                .ok()
                .filter(|found| expected.is_none_or(|expected| *found == expected))
                .ok_or_else(|| JwkError::Algorithm { found: Excerpt::new(&name) })?,
        };
        let kid = parameters.text("kid")?.map(|kid| kid.read().into());
        // Read last: the other parameters say more about a JWK of another kind.
        Self { algorithm, kid, signs, secret: parameters.take_secret()? }.checked()
    }

    /// Refuses a JWK of which no key can be made.
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
            .field("signs", &self.signs)
            .finish_non_exhaustive()
    }
}

impl Key {
    /// Makes a key of a JWK, with the id of the JWK.
    ///
    /// # Errors
    /// The same as those of [`Key::new`].
    pub fn from_jwk(jwk: &Jwk) -> Result<Self, KeyError> {
        let key = Self::new(jwk.algorithm, &*jwk.secret)?;
        Ok(match jwk.kid() {
            Some(kid) => key.with_kid(kid),
            None => key,
        })
    }
}

/// Joins texts in one allocation. A string that grows would leave a copy of the secret behind.
fn concatenated(parts: &[&str]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(parts.iter().map(|part| part.len()).sum()));
    for part in parts {
        text.push_str(part);
    }
    text
}

/// The parameters of RFC 7517 §4 and RFC 7518 §6.4 that matter for a symmetric key.
const PARAMETERS: [&str; 6] = ["kty", "use", "key_ops", "alg", "kid", "k"];

#[derive(Default)]
struct Parameters<'j> {
    values: [Option<Value<'j>>; PARAMETERS.len()],
}

impl<'j> Parameters<'j> {
    fn note(&mut self, name: &[u8], value: Value<'j>) {
        if let Some(slot) = Self::index(name).and_then(|index| self.values.get_mut(index)) {
            *slot = Some(value);
        }
    }

    fn index(parameter: &[u8]) -> Option<usize> {
        PARAMETERS.iter().position(|known| known.as_bytes() == parameter)
    }

    fn take(&mut self, parameter: &str) -> Option<Value<'j>> {
        self.values.get_mut(Self::index(parameter.as_bytes())?)?.take()
    }

    fn text(&mut self, parameter: &'static str) -> Result<Option<Text<'j>>, JwkError> {
        match self.take(parameter) {
            None => Ok(None),
            Some(value) => value.text().map(Some).ok_or(JwkError::WrongType { parameter }),
        }
    }

    fn required(&mut self, parameter: &'static str) -> Result<Text<'j>, JwkError> {
        self.text(parameter)?.ok_or(JwkError::Missing { parameter })
    }

    /// Refuses an escape, because its backslash is not a symbol of base64url: no symbol needs an
    /// escape, and unescaping would leave copies of the secret behind. Searching for a backslash
    /// first would branch on the secret.
    fn take_secret(&mut self) -> Result<Zeroizing<Vec<u8>>, JwkError> {
        let k = self.required("k")?.quoted();
        base64url::decode_secret(k).ok_or_else(|| JwkError::Secret { advice: secret_advice(k) })
    }

    /// Returns whether the operations contain `sign`. RFC 7517 §4.3 forbids repeated operations,
    /// and allows operations that it does not list, which are ignored. It warns against a key for
    /// unrelated operations, such as a MAC and encryption.
    fn operations(&mut self) -> Result<bool, JwkError> {
        let Some(operations) = self.take("key_ops") else { return Ok(true) };
        let operations = operations.texts().ok_or(JwkError::WrongType { parameter: "key_ops" })?;
        let mut operations: Vec<Cow<'_, str>> = operations.map(Text::read).collect();
        let refused = |found: &str| JwkError::KeyOperations { found: Excerpt::new(found) };
        let has = |wanted: &str| operations.iter().any(|operation| operation == wanted);
        let signs = has("sign");
        if !signs && !has("verify") {
            return Err(refused(operations.first().map_or("", |first| first)));
        }
        if let Some(found) = operations.iter().find(|found| UNRELATED.contains(&found.as_ref())) {
            return Err(refused(found));
        }
        operations.sort_unstable();
        match operations.windows(2).find(|pair| pair.first() == pair.last()) {
            Some(twice) => Err(refused(twice.first().map_or("", |found| found))),
            None => Ok(signs),
        }
    }
}

/// The operations of RFC 7517 §4.3 that do not belong to a MAC.
const UNRELATED: [&str; 6] =
    ["encrypt", "decrypt", "wrapKey", "unwrapKey", "deriveKey", "deriveBits"];

/// Returns what is wrong with a refused `k`. It runs only after the refusal, and may branch on the
/// text.
fn secret_advice(k: &[u8]) -> &'static str {
    let has = |symbols: &[u8]| k.iter().any(|symbol| symbols.contains(symbol));
    if has(b"\\") {
        "it has JSON escapes: write its symbols as they are"
    } else if has(b"+/") {
        "it has the symbols + or / of base64: write - and _ instead, without padding"
    } else if has(b"=") {
        "it has padding: remove the = at its end"
    } else if has(b" \t") {
        "it has white space in it: remove that"
    } else {
        "a symbol of it is missing or wrong: copy it again"
    }
}
