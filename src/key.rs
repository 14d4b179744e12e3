//! One secret for one algorithm: bytes or their spelling in, a [`Key`] out. Refused are a secret
//! shorter than its hash, the text of a key file, and a text that is not spelled as the caller
//! expects.

use alloc::{borrow::Cow, boxed::Box, string::String, vec::Vec};
use core::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::{algorithm::Algorithm, base64url, debug::debug_by_message, header, hex, hmac::Hmac};

use self::form::BYTE_ORDER_MARK;

pub(crate) mod form;

/// A secret, prepared for one algorithm, with an optional key id.
///
/// The key does not keep the secret. HMAC's inner and outer states are computed when the key is
/// made, and wiped when it is dropped. A key cannot be cloned, serialised or printed.
///
/// ```
/// use kippu::Key;
///
/// let secret = [0x5a; 32]; // from the secret manager
/// let key = Key::hs256(secret)?.with_kid("2026-11");
/// assert_eq!(format!("{key:?}"), r#"Key { algorithm: Hs256, kid: Some("2026-11"), .. }"#);
/// # Ok::<(), kippu::KeyError>(())
/// ```
pub struct Key {
    hmac: Hmac,
    kid: Option<Box<str>>,
    /// The headers of the tokens that this key signs. Most tokens that it verifies have one of
    /// them.
    own_headers: [OwnHeader; 2],
}

/// A header that this crate writes. A token that begins with exactly these bytes has a known
/// header, which need not be decoded.
#[derive(Debug)]
struct OwnHeader {
    typ: &'static str,
    segment: String,
}

impl OwnHeader {
    fn all(algorithm: Algorithm, kid: Option<&str>) -> [Self; 2] {
        [header::DEFAULT_TYP, header::ACCESS_TOKEN_TYP]
            .map(|typ| Self { typ, segment: header::segment(algorithm, typ, kid) })
    }
}

/// Why a [`Key`] cannot be made of a secret.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The secret has fewer bytes than the hash (RFC 7518 §3.2). `openssl rand -out FILE 32` and
    /// [`Jwk::generate`](crate::Jwk::generate) make one that is long enough.
    #[error("{algorithm} needs a secret of at least {needed} random bytes, this one has {given}")]
    TooShort {
        /// The algorithm of the key.
        algorithm: Algorithm,
        /// The length of the algorithm's hash, in bytes.
        needed: usize,
        /// The length of the secret, in bytes.
        given: usize,
    },
    /// The secret is the text of a key file. [`Jwk::from_json`](crate::Jwk::from_json) reads a JWK.
    /// PEM and OpenSSH files contain keys for other algorithms, often public ones.
    #[error("this is the text of a {format} key, not a secret: {}", key_file_advice(format))]
    KeyFile {
        /// `PEM`, `OpenSSH` or `JWK`.
        format: &'static str,
    },
    /// The text is not spelled as the call expects. The error does not say which character is
    /// wrong, since the character may be part of the secret.
    #[error("the secret is not {expected}; {advice}")]
    Encoding {
        /// `hex`, `base64`, `base64url`, or, in a file, `one line of text` or `bytes`.
        expected: &'static str,
        /// The form of the text, and the call that reads it.
        advice: &'static str,
    },
    /// The operating system returned no random bytes.
    #[error("no random bytes from the operating system")]
    NoRandomness,
}

debug_by_message!(KeyError);

impl Key {
    /// Returns a key for `algorithm`. The bytes are the secret: a text is used character by
    /// character, including a line end after it. [`Key::from_hex`], [`Key::from_base64`] and
    /// [`Key::from_base64url`] read bytes that are spelled as text.
    ///
    /// # Errors
    /// [`KeyError::TooShort`] below [`Algorithm::hash_len`] bytes, [`KeyError::KeyFile`] for the
    /// text of a PEM, OpenSSH or JWK file.
    pub fn new(algorithm: Algorithm, secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let secret = secret.as_ref();
        let (needed, given) = (algorithm.hash_len(), secret.len());
        // RFC 7518 §3.2: a key of the same size as the hash output or larger MUST be used.
        if given < needed {
            return Err(KeyError::TooShort { algorithm, needed, given });
        }
        Self::new_dangerously_short(algorithm, secret)
    }

    /// Returns a key, like [`Key::new`], from hexadecimal digits of either case: the output of
    /// `openssl rand -hex 32` or `xxd -p`. Line ends are ignored.
    ///
    /// # Errors
    /// [`KeyError::Encoding`] for any other text, and the errors of [`Key::new`].
    pub fn from_hex(algorithm: Algorithm, digits: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Self::new(algorithm, &*decoded_hex(digits.as_ref())?)
    }

    /// Returns a key, like [`Key::new`], from base64 in the standard alphabet (RFC 4648 §4), with
    /// or without padding: the output of `openssl rand -base64 32`. Line ends are ignored, because
    /// `openssl` breaks lines after 64 symbols.
    ///
    /// ```
    /// use kippu::{Algorithm, Key};
    ///
    /// let printed = "3q2+796tvu/erb7v3q2+796tvu/erb7v3q2+796tvu8=\n";
    /// let key = Key::from_base64(Algorithm::Hs256, printed)?;
    /// # Ok::<(), kippu::KeyError>(())
    /// ```
    ///
    /// # Errors
    /// [`KeyError::Encoding`] for any other text, and the errors of [`Key::new`]. A text of
    /// hexadecimal digits is refused although its symbols are all in the alphabet: it is another
    /// secret in hex.
    pub fn from_base64(algorithm: Algorithm, symbols: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Self::new(algorithm, &*decoded_base64(symbols.as_ref())?)
    }

    /// Returns a key, like [`Key::from_base64`], in the alphabet for URLs (RFC 4648 §5): the `k` of
    /// a JWK, or the output of Python's `secrets.token_urlsafe(32)`.
    ///
    /// # Errors
    /// The same as those of [`Key::from_base64`].
    pub fn from_base64url(
        algorithm: Algorithm,
        symbols: impl AsRef<[u8]>,
    ) -> Result<Self, KeyError> {
        Self::new(algorithm, &*decoded_base64url(symbols.as_ref())?)
    }

    /// Returns a key for HS256, from 32 bytes or more. See [`Key::new`].
    ///
    /// # Errors
    /// The same as those of [`Key::new`].
    pub fn hs256(secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Self::new(Algorithm::Hs256, secret)
    }

    /// Returns a key for HS384, from 48 bytes or more. See [`Key::new`].
    ///
    /// # Errors
    /// The same as those of [`Key::new`].
    pub fn hs384(secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Self::new(Algorithm::Hs384, secret)
    }

    /// Returns a key for HS512, from 64 bytes or more. See [`Key::new`].
    ///
    /// # Errors
    /// The same as those of [`Key::new`].
    pub fn hs512(secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Self::new(Algorithm::Hs512, secret)
    }

    /// Returns a key, like [`Key::new`], from a secret that is shorter than RFC 7518 §3.2 allows:
    /// for a secret that another system chose and that cannot be changed yet. An attacker who has
    /// one token can search for a short secret offline, and sign tokens once it is found.
    ///
    /// # Errors
    /// [`KeyError::TooShort`] for an empty secret, [`KeyError::KeyFile`] for the text of a key
    /// file.
    pub fn new_dangerously_short(
        algorithm: Algorithm,
        secret: impl AsRef<[u8]>,
    ) -> Result<Self, KeyError> {
        let secret = secret.as_ref();
        // Anyone can sign with an empty secret (CVE-2019-20933).
        if secret.is_empty() {
            return Err(KeyError::TooShort { algorithm, needed: algorithm.hash_len(), given: 0 });
        }
        if let Some(format) = key_file_format(secret) {
            return Err(KeyError::KeyFile { format });
        }
        Ok(Self {
            hmac: Hmac::new(algorithm, secret),
            kid: None,
            own_headers: OwnHeader::all(algorithm, None),
        })
    }

    /// Returns a key with a new random secret from the operating system, as long as the hash. No
    /// other process has the key, and it is lost when the process ends. To store a key, use
    /// [`Jwk::generate`](crate::Jwk::generate).
    ///
    /// # Errors
    /// [`KeyError::NoRandomness`] if the operating system returns no random bytes.
    #[cfg(feature = "getrandom")]
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        Self::new(algorithm, &*random_secret(algorithm)?)
    }

    /// Sets the key id to `kid` (RFC 7515 §4.1.4), which is written into the header of each token
    /// that the key signs. The id is public: use a date or a number, and nothing that is derived
    /// from the secret.
    #[must_use]
    pub fn with_kid(self, kid: impl AsRef<str>) -> Self {
        let kid = kid.as_ref();
        // The prepared headers contain the id, so they are made again.
        let own_headers = OwnHeader::all(self.algorithm(), Some(kid));
        Self { kid: Some(kid.into()), own_headers, ..self }
    }

    /// Returns the algorithm that this key signs and verifies with.
    pub fn algorithm(&self) -> Algorithm {
        self.hmac.algorithm()
    }

    /// Returns the key id, if the key has one.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Returns whether both keys have the same secret for the same algorithm. The ids are not
    /// compared.
    #[cfg(feature = "std")]
    pub(crate) fn has_secret_of(&self, other: &Self) -> bool {
        // Compares the tags of one message, because a key does not keep its secret.
        const PROBE: &[u8] = b"is this the same secret?";
        self.hmac.verify(PROBE, other.hmac.tag(PROBE).as_ref())
    }

    pub(crate) fn hmac(&self) -> &Hmac {
        &self.hmac
    }

    /// Returns the `typ` and the header segment of a token if this key writes exactly that header.
    pub(crate) fn own_header(&self, token: &str) -> Option<(&'static str, &str)> {
        let own = self.own_headers.iter().find(|own| token.starts_with(&own.segment))?;
        Some((own.typ, &own.segment))
    }

    /// Returns the header segment of a token of type `typ`.
    pub(crate) fn header_segment(&self, typ: &str) -> Cow<'_, str> {
        match self.own_headers.iter().find(|header| header.typ == typ) {
            Some(header) => Cow::Borrowed(&header.segment),
            None => Cow::Owned(header::segment(self.algorithm(), typ, self.kid())),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("algorithm", &self.algorithm())
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// Returns the secret that is spelled in hexadecimal digits.
pub(crate) fn decoded_hex(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    hex::decode_secret(&without_line_ends(text)).ok_or_else(|| misspelled("hex", text))
}

/// Returns the secret that is spelled in base64.
pub(crate) fn decoded_base64(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    decoded(text, base64url::decode_standard_secret).ok_or_else(|| misspelled("base64", text))
}

/// Returns the secret that is spelled in base64url.
pub(crate) fn decoded_base64url(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    decoded(text, base64url::decode_secret).ok_or_else(|| misspelled("base64url", text))
}

/// Refuses a text of hexadecimal digits, which are symbols of both alphabets. A random secret in
/// base64 practically never consists of them, and decoding hex as base64 would make another secret.
fn decoded(
    text: &[u8],
    decode: fn(&[u8]) -> Option<Zeroizing<Vec<u8>>>,
) -> Option<Zeroizing<Vec<u8>>> {
    let text = without_line_ends(text);
    let symbols = match &**text {
        // Padding only completes the last group of four symbols (RFC 4648 §4).
        text if text.len() % 4 != 0 => text,
        [symbols @ .., b'=', b'='] | [symbols @ .., b'='] => symbols,
        text => text,
    };
    decode(symbols).filter(|_| !bool::from(hex::is_hex(symbols)))
}

/// Returns the text without CR and LF. Their positions depend on the tool that printed the text,
/// not on the secret, so branching on them discloses nothing.
fn without_line_ends(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let is_line_end = |byte: &u8| byte.ct_eq(&b'\n') | byte.ct_eq(&b'\r');
    let any = text.iter().fold(Choice::from(0), |any, byte| any | is_line_end(byte));
    let mut rest = Zeroizing::new(Vec::with_capacity(text.len()));
    if any.into() {
        rest.extend(text.iter().filter(|byte| !bool::from(is_line_end(byte))));
    } else {
        rest.extend_from_slice(text);
    }
    rest
}

fn misspelled(expected: &'static str, text: &[u8]) -> KeyError {
    match key_file_format(text) {
        Some(format) => KeyError::KeyFile { format },
        None => KeyError::Encoding { expected, advice: form::advice(text) },
    }
}

fn key_file_advice(format: &str) -> &'static str {
    if format == "JWK" {
        "Jwk::from_json reads it, in a file KeyFormat::Jwk"
    } else {
        "kippu signs with HMAC alone"
    }
}

/// Returns random bytes, as many as the algorithm's hash has.
#[cfg(feature = "getrandom")]
pub(crate) fn random_secret(algorithm: Algorithm) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let mut secret = Zeroizing::new(alloc::vec![0; algorithm.hash_len()]);
    getrandom::fill(&mut secret).map_err(|_| KeyError::NoRandomness)?;
    Ok(secret)
}

/// Returns the format of the key file whose text the secret is, if it is one. Using a public key as
/// an HMAC secret is the forgery of CVE-2015-9235 and its successors.
///
/// Most secrets are not key files. The function looks at every byte in the same way and branches
/// only after the last one, so that its timing does not depend on the secret.
pub(crate) fn key_file_format(secret: &[u8]) -> Option<&'static str> {
    // Anywhere in the text: RFC 7468 §2 permits data before the first block.
    let pem = holds(secret, b"-----BEGIN ");
    let openssh =
        begins(secret, &[b"ssh-", b"ecdsa-sha2-", b"sk-ssh-", b"sk-ecdsa-", b"---- BEGIN SSH2"]);
    let json = begins(secret, &[b"{", b"["]);
    let jwk = json & (holds(secret, br#""kty""#) | holds(secret, br#""keys""#));
    if !bool::from(pem | openssh | jwk) {
        return None;
    }
    if pem.into() {
        Some("PEM")
    } else if openssh.into() {
        Some("OpenSSH")
    } else {
        Some("JWK")
    }
}

/// Returns whether `part` occurs anywhere in `text`.
fn holds(text: &[u8], part: &[u8]) -> Choice {
    text.windows(part.len()).fold(Choice::from(0), |found, window| found | window.ct_eq(part))
}

/// Returns whether `text` begins with one of `starts`, after an optional byte order mark and white
/// space.
fn begins(text: &[u8], starts: &[&[u8]]) -> Choice {
    let starts_with =
        |text: &[u8], start: &[u8]| text.get(..start.len()).unwrap_or_default().ct_eq(start);
    let is_space = |byte: u8| {
        b" \t\n\r\x0c".iter().fold(Choice::from(0), |found, space| found | byte.ct_eq(space))
    };
    let (mut found, mut only_space) = (Choice::from(0), Choice::from(1));
    for (offset, &byte) in text.iter().enumerate() {
        if offset == BYTE_ORDER_MARK.len() {
            only_space |= starts_with(text, BYTE_ORDER_MARK);
        }
        let (_, rest) = text.split_at(offset);
        found |=
            starts.iter().fold(Choice::from(0), |found, start| found | starts_with(rest, start))
                & only_space;
        only_space &= is_space(byte);
    }
    found
}
