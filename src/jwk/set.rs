//! Sets of symmetric JWKs (RFC 7517 §5): JSON in and out, and the [`KeySet`] that a set describes.
//!
//! Refused are a set with a key that [`Jwk`] refuses, unless keys of other kinds are skipped, and
//! two keys with the same id. A [`KeySet`] that signs is not made of a set that does not say which
//! key signs.

use alloc::{string::String, vec::Vec};

use zeroize::Zeroizing;

use super::{Jwk, JwkError, concatenated};
use crate::{
    algorithm::Algorithm,
    excerpt::Excerpt,
    json,
    key::Key,
    key_set::{KeySet, KeySetError},
};

/// A JWK Set (RFC 7517 §5) whose keys are all symmetric and for this crate's algorithms.
///
/// ```
/// use kippu::{JwkSet, KeySet};
///
/// let text = r#"{"keys":[
///     {"kty":"oct","alg":"HS256","kid":"new","k":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"},
///     {"kty":"oct","alg":"HS256","kid":"old","key_ops":["verify"],"k":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI"}
/// ]}"#;
/// let keys = KeySet::from_jwk_set(&JwkSet::from_json(text)?)?;
/// assert_eq!(keys.signing_key()?.kid(), Some("new"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct JwkSet {
    keys: Vec<Jwk>,
}

impl JwkSet {
    /// Returns a set of these keys.
    ///
    /// # Errors
    /// [`JwkError::DuplicateKid`] if two of them have the same id.
    pub fn new(keys: impl IntoIterator<Item = Jwk>) -> Result<Self, JwkError> {
        let mut set = Self { keys: Vec::new() };
        for key in keys {
            set.push(key)?;
        }
        Ok(set)
    }

    /// Reads a set. RFC 7517 §5 lets a reader ignore keys that it does not understand; here such a
    /// key is an error, because a missing key would pass unnoticed. [`JwkSet::from_json_skipping`]
    /// ignores them.
    ///
    /// # Errors
    /// [`JwkError`], for the set or for the first of its keys that is refused.
    pub fn from_json(json: &str) -> Result<Self, JwkError> {
        Self::read(json, None, false)
    }

    /// Reads a set, like [`JwkSet::from_json`], but accepts keys without `alg`, like
    /// [`Jwk::from_json_for`]. If `alg` is present, it has to be `algorithm`.
    ///
    /// # Errors
    /// The same as those of [`JwkSet::from_json`].
    pub fn from_json_for(json: &str, algorithm: Algorithm) -> Result<Self, JwkError> {
        Self::read(json, Some(algorithm), false)
    }

    /// Reads a set, like [`JwkSet::from_json`] or, with an algorithm, like
    /// [`JwkSet::from_json_for`], but skips keys of other kinds. The `kty`, `alg`, `use` or
    /// `key_ops` of such a key is not that of a signature with HMAC and the algorithm. A key of the
    /// right kind that is damaged, or whose secret is too short, is an error.
    ///
    /// ```
    /// use kippu::{Algorithm, JwkSet};
    ///
    /// let text = r#"{"keys":[
    ///     {"kty":"RSA","kid":"1","n":"0vx7","e":"AQAB"},
    ///     {"kty":"oct","kid":"2","k":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"}
    /// ]}"#;
    /// let set = JwkSet::from_json_skipping(text, Some(Algorithm::Hs256))?;
    /// assert_eq!(set.keys()[0].kid(), Some("2"));
    /// # Ok::<(), kippu::JwkError>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`JwkSet::from_json`], and [`JwkError::NoKeys`] if no key is left.
    pub fn from_json_skipping(json: &str, algorithm: Option<Algorithm>) -> Result<Self, JwkError> {
        let set = Self::read(json, algorithm, true)?;
        if set.keys.is_empty() { Err(JwkError::NoKeys) } else { Ok(set) }
    }

    fn read(json: &str, algorithm: Option<Algorithm>, skips: bool) -> Result<Self, JwkError> {
        let (mut keys, parameter) = (None, "keys");
        json::scan(json.as_bytes(), usize::MAX, |name, value| {
            if name == parameter.as_bytes() {
                keys = Some(value);
            }
        })
        .map_err(|error| JwkError::from(error).about(json))?;
        let keys = keys.ok_or(JwkError::Missing { parameter })?;
        let keys = keys.elements().ok_or(JwkError::WrongType { parameter })?;
        let mut set = Self { keys: Vec::new() };
        for key in keys {
            // The reader of a single JWK scans the key again, so that both accept the same keys.
            match Jwk::read(key.spelled(), algorithm) {
                Ok(key) => set.push(key)?,
                Err(error) if skips && is_of_another_kind(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(set)
    }

    /// Selects the key with this id as the one that signs, and makes all others
    /// [`Jwk::verify_only`].
    ///
    /// # Errors
    /// [`JwkError::UnknownSigningKey`] if the set has no such key, [`JwkError::NoSigningKey`] if
    /// the key may not sign.
    pub fn with_signing_key(mut self, kid: &str) -> Result<Self, JwkError> {
        if !self.keys.iter().any(|key| key.kid() == Some(kid)) {
            return Err(JwkError::UnknownSigningKey { kid: Excerpt::new(kid) });
        }
        for key in &mut self.keys {
            key.signs &= key.kid() == Some(kid);
        }
        if self.signing_keys().next().is_none() {
            return Err(JwkError::NoSigningKey);
        }
        Ok(self)
    }

    fn signing_keys(&self) -> impl Iterator<Item = &Jwk> {
        self.keys.iter().filter(|key| key.may_sign())
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

    /// Returns this set as JSON, **with its secrets**. Store it in the secret manager and nowhere
    /// else.
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

    /// Returns the keys, in their order.
    pub fn keys(&self) -> &[Jwk] {
        &self.keys
    }

    #[cfg(feature = "std")]
    pub(crate) fn into_keys(self) -> Vec<Jwk> {
        self.keys
    }
}

impl KeySet {
    /// Returns the keys that a JWK Set describes. Exactly one of them may sign
    /// ([`Jwk::may_sign`]), and signs. The others verify, without an end date.
    ///
    /// # Errors
    /// [`JwkError::SeveralSigningKeys`] or [`JwkError::NoSigningKey`] if the set does not say which
    /// key signs, [`JwkError::NoKeys`] if it has no keys, [`JwkError::Set`] for a key without an
    /// id.
    pub fn from_jwk_set(set: &JwkSet) -> Result<Self, JwkError> {
        let mut signing = set.signing_keys();
        let first = match (signing.next(), signing.next()) {
            (Some(only), None) => only,
            (Some(first), Some(second)) => {
                let excerpt = |key: &Jwk| Excerpt::new(key.kid().unwrap_or_default());
                let (first, second) = (excerpt(first), excerpt(second));
                return Err(JwkError::SeveralSigningKeys { first, second });
            }
            (None, _) if set.keys.is_empty() => return Err(JwkError::NoKeys),
            (None, _) => return Err(JwkError::NoSigningKey),
        };
        if first.kid().is_none() {
            return Err(KeySetError::MissingKid.into());
        }
        let keys = Self::new(Key::from_jwk(first)?);
        set.keys
            .iter()
            .filter(|key| !key.may_sign())
            .try_fold(keys, |keys, key| Ok(keys.accept(Key::from_jwk(key)?)?))
    }

    /// Returns the keys of a JWK Set as a set that [verifies only](KeySet::verify_only), whether
    /// they may sign or not.
    ///
    /// # Errors
    /// [`JwkError::NoKeys`] if the set has no keys, [`JwkError::Set`] if one of several has no id.
    pub fn verify_only_from_jwk_set(set: &JwkSet) -> Result<Self, JwkError> {
        if set.keys.is_empty() {
            return Err(JwkError::NoKeys);
        }
        let keys: Result<Vec<_>, _> = set.keys.iter().map(Key::from_jwk).collect();
        Ok(Self::verify_only(keys?)?)
    }
}

/// Returns whether a key is one that this crate does not understand (RFC 7517 §5). A damaged key of
/// the right kind is not.
fn is_of_another_kind(error: &JwkError) -> bool {
    match error {
        JwkError::KeyType { .. } | JwkError::Algorithm { .. } | JwkError::Use { .. } => true,
        // A list without an operation, or with one twice, is damaged.
        JwkError::KeyOperations { found } => !["", "sign", "verify"].contains(&found.as_str()),
        _ => false,
    }
}
