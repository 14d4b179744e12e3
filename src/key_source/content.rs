//! The content of a variable or a file: bytes in, keys out. Refused are an empty content, a text in
//! another form than expected, and a key without an id or with another one than expected.

use alloc::{string::String, vec::Vec};

use zeroize::Zeroizing;

use super::KeySourceError;
use crate::{
    algorithm::Algorithm,
    excerpt::Excerpt,
    jwk::{Jwk, JwkError, JwkSet},
    key::{self, KeyError, form},
    key_set::KeySet,
};

/// The form of the key in a variable or a file.
///
/// All but [`KeyFormat::Raw`] are text. A byte order mark before the text and a line end after it
/// (LF or CRLF) are ignored. A text in another form than expected is an error that names the form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyFormat {
    /// A [`Jwk`] with an `alg`, or, except in a directory, a [`JwkSet`] of such keys.
    #[default]
    Jwk,
    /// A [`Jwk`] or [`JwkSet`] for this algorithm, with or without `alg` ([`Jwk::from_json_for`]).
    JwkFor(Algorithm),
    /// Hexadecimal digits, as [`Key::from_hex`](crate::Key::from_hex) reads them.
    Hex(Algorithm),
    /// Base64, as [`Key::from_base64`](crate::Key::from_base64) reads it.
    Base64(Algorithm),
    /// Base64url, as [`Key::from_base64url`](crate::Key::from_base64url) reads it.
    Base64url(Algorithm),
    /// One line whose characters are the secret: the form in which many libraries read a secret
    /// from the environment. Hexadecimal digits and base64 are not decoded. A line with quotes
    /// around it, or with white space at one of its ends, is an error.
    Text(Algorithm),
    /// The bytes of the secret, as in [`Key::new`](crate::Key::new), for example the output of
    /// `openssl rand 32`. Printed text with a line end is an error, because the line end would be
    /// part of the secret.
    Raw(Algorithm),
}

impl KeyFormat {
    /// Reads the keys of a secret in this form, for an application's own
    /// [`KeySource`](super::KeySource). `origin` names the secret in errors. A key has the id of
    /// its JWK, or none; [`Jwk::with_kid`] sets one.
    ///
    /// ```
    /// use kippu::{Algorithm, JwkSet, KeyFormat, KeySet};
    ///
    /// let secret = b"3q2+796tvu/erb7v3q2+796tvu/erb7v3q2+796tvu8="; // from `openssl rand -base64 32`
    /// let keys = KeyFormat::Base64(Algorithm::Hs256).read("the secret \"access-key\"", secret)?;
    /// let keys = JwkSet::new(keys.into_iter().map(|key| key.with_kid("2026-11")))?;
    /// assert_eq!(KeySet::from_jwk_set(&keys)?.signing_key()?.kid(), Some("2026-11"));
    /// # Ok::<(), kippu::KeySourceError>(())
    /// ```
    ///
    /// # Errors
    /// The same as those of a [`KeyFile`](super::KeyFile) with this content.
    pub fn read(
        self,
        origin: impl Into<String>,
        secret: impl AsRef<[u8]>,
    ) -> Result<Vec<Jwk>, KeySourceError> {
        let content = Content { origin: origin.into(), bytes: secret.as_ref() };
        let reading = Reading { format: self, ..Reading::default() };
        match content.jwk_set(&reading)? {
            Some(keys) => Ok(keys.into_keys()),
            None => Ok(Vec::from([content.jwk(self)?])),
        }
    }
}

/// How a source reads its keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    pub(super) format: KeyFormat,
    pub(super) kid: Option<String>,
    pub(super) skips_other_kinds: bool,
    pub(super) verify_only: bool,
    pub(super) tries_all: bool,
}

impl Reading {
    /// Returns the set of these keys. `of_signing` makes it, unless it is verify-only.
    pub(super) fn set_of(
        &self,
        keys: &JwkSet,
        of_signing: impl FnOnce(&JwkSet) -> Result<KeySet, JwkError>,
    ) -> Result<KeySet, JwkError> {
        let set = if self.verify_only {
            KeySet::verify_only_from_jwk_set(keys)?
        } else {
            of_signing(keys)?
        };
        Ok(if self.tries_all { set.try_all_without_kid() } else { set })
    }
}

/// The options that every source has.
macro_rules! source_options {
    ($source:ident) => {
        impl $source {
            /// Sets the form of each key.
            #[must_use]
            pub fn format(mut self, format: $crate::KeyFormat) -> Self {
                self.reading.format = format;
                self
            }

            /// Returns keys that [verify only](crate::KeySet::verify_only), even if they may sign,
            /// for a server that receives tokens and issues none.
            #[must_use]
            pub fn verify_only(mut self) -> Self {
                self.reading.verify_only = true;
                self
            }

            /// Accepts tokens without a `kid`; see
            /// [`KeySet::try_all_without_kid`](crate::KeySet::try_all_without_kid).
            #[must_use]
            pub fn try_all_without_kid(mut self) -> Self {
                self.reading.tries_all = true;
                self
            }
        }
    };
}

/// The options of a source that may hold a JWK Set.
macro_rules! set_options {
    ($source:ident) => {
        impl $source {
            /// Sets the id of the key that signs. A secret that is not a JWK needs one. In a JWK
            /// Set, the id selects the key that signs. A [verify-only](Self::verify_only) set
            /// ignores it.
            #[must_use]
            pub fn kid(mut self, kid: impl Into<alloc::string::String>) -> Self {
                self.reading.kid = Some(kid.into());
                self
            }

            /// Skips the keys of other kinds in a JWK Set; see
            /// [`JwkSet::from_json_skipping`](crate::JwkSet::from_json_skipping).
            #[must_use]
            pub fn skip_other_kinds(mut self) -> Self {
                self.reading.skips_other_kinds = true;
                self
            }
        }
    };
}

pub(super) use {set_options, source_options};

/// Bytes, and the place where they were found, as an error names it.
pub(super) struct Content<'c> {
    pub(super) origin: String,
    pub(super) bytes: &'c [u8],
}

impl Content<'_> {
    /// Returns the set of the keys in this content.
    pub(super) fn key_set(&self, reading: &Reading) -> Result<KeySet, KeySourceError> {
        let kid = reading.kid.as_deref();
        let keys = match (self.jwk_set(reading)?, kid) {
            (None, kid) => JwkSet::new([self.key(reading.format, kid)?]),
            (Some(keys), Some(kid)) if !reading.verify_only => keys.with_signing_key(kid),
            (Some(keys), _) => Ok(keys),
        };
        keys.and_then(|keys| reading.set_of(&keys, KeySet::from_jwk_set))
            .map_err(|error| self.unusable(error))
    }

    /// Returns the only key of this content, with the id `kid` if one is given.
    pub(super) fn key(&self, format: KeyFormat, kid: Option<&str>) -> Result<Jwk, KeySourceError> {
        let key = self.jwk(format)?;
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

    /// Returns the only key of this content, with the id of its JWK or none.
    fn jwk(&self, format: KeyFormat) -> Result<Jwk, KeySourceError> {
        match format {
            KeyFormat::Jwk => Jwk::from_json(self.line()?),
            KeyFormat::JwkFor(algorithm) => Jwk::from_json_for(self.line()?, algorithm),
            KeyFormat::Hex(algorithm) => {
                decoded(algorithm, key::decoded_hex(self.line()?.as_bytes()))
            }
            KeyFormat::Base64(algorithm) => {
                decoded(algorithm, key::decoded_base64(self.line()?.as_bytes()))
            }
            KeyFormat::Base64url(algorithm) => {
                decoded(algorithm, key::decoded_base64url(self.line()?.as_bytes()))
            }
            KeyFormat::Text(algorithm) => {
                let line = self.line()?;
                secret(algorithm, line.as_bytes(), "one line of text", form::advice_on_line(line))
            }
            KeyFormat::Raw(_) if self.bytes.is_empty() => return Err(self.empty()),
            KeyFormat::Raw(algorithm) => {
                secret(algorithm, self.bytes, "bytes", form::advice_on_printed(self.bytes))
            }
        }
        .map_err(|error| self.unusable(error))
    }

    /// Returns the text of this content, without a byte order mark before it and a line end after
    /// it.
    pub(super) fn line(&self) -> Result<&str, KeySourceError> {
        let bytes = self.bytes.strip_prefix(form::BYTE_ORDER_MARK).unwrap_or(self.bytes);
        let text = core::str::from_utf8(bytes).map_err(|_| KeySourceError::NotText {
            origin: self.origin.clone(),
            advice: form::advice(bytes),
        })?;
        let line = text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text);
        if line.trim().is_empty() {
            return Err(self.empty());
        }
        Ok(line)
    }

    /// Returns the JWK Set, or `None` if the content is not one.
    fn jwk_set(&self, reading: &Reading) -> Result<Option<JwkSet>, KeySourceError> {
        let algorithm = match reading.format {
            KeyFormat::Jwk => None,
            KeyFormat::JwkFor(algorithm) => Some(algorithm),
            _ => return Ok(None),
        };
        let text = self.line()?;
        let keys = match algorithm {
            _ if reading.skips_other_kinds => JwkSet::from_json_skipping(text, algorithm),
            None => JwkSet::from_json(text),
            Some(algorithm) => JwkSet::from_json_for(text, algorithm),
        };
        match keys {
            Ok(keys) => Ok(Some(keys)),
            // RFC 7517 §5: a JWK Set has a member `keys`. Without one, the text is read as a JWK.
            Err(JwkError::Missing { parameter: "keys" }) => Ok(None),
            Err(error) => Err(self.unusable(error)),
        }
    }

    fn empty(&self) -> KeySourceError {
        KeySourceError::Empty { origin: self.origin.clone() }
    }

    fn unusable(&self, error: JwkError) -> KeySourceError {
        KeySourceError::Keys { origin: self.origin.clone(), error }
    }
}

fn decoded(
    algorithm: Algorithm,
    secret: Result<Zeroizing<Vec<u8>>, KeyError>,
) -> Result<Jwk, JwkError> {
    Jwk::new(algorithm, &*secret?)
}

/// Makes a key of a secret that is not decoded, unless `advice` says that it has another form.
/// [`Jwk::new`] refuses the text of a key file, and gives other advice.
fn secret(
    algorithm: Algorithm,
    secret: &[u8],
    expected: &'static str,
    advice: Option<&'static str>,
) -> Result<Jwk, JwkError> {
    match advice {
        Some(advice) if key::key_file_format(secret).is_none() => {
            Err(KeyError::Encoding { expected, advice }.into())
        }
        _ => Jwk::new(algorithm, secret),
    }
}
