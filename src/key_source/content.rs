//! What a variable or a file holds: bytes in, JWKs out. Refused: what is empty, no text where text is expected,
//! a key under another id than expected, or under none.

use alloc::{string::String, vec::Vec};

use zeroize::Zeroizing;

use super::KeySourceError;
use crate::{
    algorithm::Algorithm,
    excerpt::Excerpt,
    jwk::{Jwk, JwkError, JwkSet},
    key::{self, KeyError},
    key_set::KeySet,
};

/// How a variable or a file spells its key. One line end behind a text is not part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyFormat {
    /// A [`Jwk`], which says its algorithm and mostly its id itself; except in a directory, a [`JwkSet`] too.
    #[default]
    Jwk,
    /// The digits of [`Key::from_hex`](crate::Key::from_hex).
    Hex(Algorithm),
    /// The symbols of [`Key::from_base64url`](crate::Key::from_base64url).
    Base64url(Algorithm),
    /// The bytes themselves, a line end among them, as [`Key::new`](crate::Key::new) takes them.
    Raw(Algorithm),
}

/// Bytes, and where they were found in the words of an error.
pub(super) struct Content<'c> {
    pub(super) origin: String,
    pub(super) bytes: &'c [u8],
}

impl Content<'_> {
    /// The set of the keys in this content. The one named `kid` signs; of a JWK Set that says so itself, none
    /// need be named.
    pub(super) fn key_set(
        &self,
        format: KeyFormat,
        kid: Option<&str>,
    ) -> Result<KeySet, KeySourceError> {
        let keys = match (self.jwk_set(format)?, kid) {
            (None, kid) => JwkSet::new([self.key(format, kid)?]),
            (Some(keys), None) => Ok(keys),
            (Some(keys), Some(kid)) => keys.with_signing_key(kid),
        };
        keys.and_then(|keys| KeySet::from_jwk_set(&keys)).map_err(|error| self.unusable(error))
    }

    /// The one key of this content, under the id `kid` where one is given.
    pub(super) fn key(&self, format: KeyFormat, kid: Option<&str>) -> Result<Jwk, KeySourceError> {
        if self.bytes.is_empty() {
            return Err(KeySourceError::Empty { origin: self.origin.clone() });
        }
        let decoded = |algorithm, secret: Result<Zeroizing<Vec<u8>>, KeyError>| {
            Jwk::new(algorithm, &*secret?)
        };
        let key = match format {
            KeyFormat::Jwk => Jwk::from_json(self.line()?),
            KeyFormat::Hex(algorithm) => {
                decoded(algorithm, key::decoded_hex(self.line()?.as_bytes()))
            }
            KeyFormat::Base64url(algorithm) => {
                decoded(algorithm, key::decoded_base64url(self.line()?.as_bytes()))
            }
            KeyFormat::Raw(algorithm) => Jwk::new(algorithm, self.bytes),
        }
        .map_err(|error| self.unusable(error))?;
        match (key.kid(), kid) {
            (Some(found), Some(expected)) if found != expected => Err(KeySourceError::Kid {
                origin: self.origin.clone(),
                found: Excerpt::new(found),
                expected: Excerpt::new(expected),
            }),
            (None, None) => Err(KeySourceError::MissingKid { origin: self.origin.clone() }),
            (_, Some(kid)) => Ok(key.with_kid(kid)),
            (Some(_), None) => Ok(key),
        }
    }

    /// The text of this content, without a line end behind it.
    pub(super) fn line(&self) -> Result<&str, KeySourceError> {
        let text = core::str::from_utf8(self.bytes)
            .map_err(|_| KeySourceError::NotText { origin: self.origin.clone() })?;
        let line = text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text);
        if line.is_empty() {
            return Err(KeySourceError::Empty { origin: self.origin.clone() });
        }
        Ok(line)
    }

    /// The JWK Set, where this is one and not a JWK.
    fn jwk_set(&self, format: KeyFormat) -> Result<Option<JwkSet>, KeySourceError> {
        if format != KeyFormat::Jwk {
            return Ok(None);
        }
        match JwkSet::from_json(self.line()?) {
            Ok(keys) => Ok(Some(keys)),
            Err(JwkError::Missing { parameter: "keys" }) => Ok(None),
            Err(error) => Err(self.unusable(error)),
        }
    }

    fn unusable(&self, error: JwkError) -> KeySourceError {
        KeySourceError::Keys { origin: self.origin.clone(), error }
    }
}
