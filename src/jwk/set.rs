//! Sets of symmetric JWKs (RFC 7517 §5): JSON in and out, the [`KeySet`] that one describes.
//!
//! Refused: a set with one key that [`Jwk`] refuses, two keys under one id; as a key set, also one that
//! leaves open which key signs.

use alloc::{string::String, vec::Vec};

use zeroize::Zeroizing;

use super::{Jwk, JwkError, concatenated};
use crate::{
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
        let (mut keys, parameter) = (None, "keys");
        json::scan(json.as_bytes(), usize::MAX, |name, value| {
            if name == parameter.as_bytes() {
                keys = Some(value);
            }
        })?;
        let keys = keys.ok_or(JwkError::Missing { parameter })?;
        let keys = keys.elements().ok_or(JwkError::WrongType { parameter })?;
        let mut set = Self { keys: Vec::new() };
        for key in keys {
            set.push(Jwk::from_json(key.spelled())?)?;
        }
        Ok(set)
    }

    /// This set with the key of that id as the one that signs: all others are
    /// [`Jwk::verify_only`] from here on.
    ///
    /// # Errors
    /// [`JwkError::UnknownSigningKey`] when the set has no such key, [`JwkError::NoSigningKey`] when it has
    /// one that may not sign.
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

impl KeySet {
    /// The keys that a JWK Set describes. The one that signs is the only one that may
    /// ([`Jwk::may_sign`]); the others verify, without an end date.
    ///
    /// # Errors
    /// [`JwkError::SeveralSigningKeys`] or [`JwkError::NoSigningKey`] when the set does not say which key signs,
    /// [`JwkError::NoKeys`] when it has none, [`JwkError::Set`] for a key without an id.
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
}
