//! One secret for one algorithm: bytes or their spelling in, a [`Key`] out. Refused: a secret shorter than its hash, the
//! text of a key file, a text in another spelling than the caller named.

use alloc::{borrow::Cow, boxed::Box, string::String, vec::Vec};
use core::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::{algorithm::Algorithm, base64url, debug::debug_by_message, header, hex, hmac::Hmac};

use self::form::BYTE_ORDER_MARK;

pub(crate) mod form;

/// A secret, prepared for one algorithm, with an optional key id.
///
/// The secret itself is not kept: HMAC's inner and outer states are computed when the key is made, and
/// wiped when it is dropped. A key cannot be cloned, serialised or printed.
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
    /// The headers of the tokens that this key signs, which are also the ones it mostly meets.
    own_headers: [OwnHeader; 2],
}

/// A header that this crate writes: what it says is known wherever it is met again, letter by letter.
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

/// Why a secret makes no [`Key`].
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Fewer bytes than the hash has (RFC 7518 §3.2). Make one with `openssl rand -out FILE 32`, or
    /// with [`Jwk::generate`](crate::Jwk::generate).
    #[error("{algorithm} needs a secret of at least {needed} random bytes, this one has {given}")]
    TooShort {
        /// The algorithm that the key was to be made for.
        algorithm: Algorithm,
        /// The bytes of its hash.
        needed: usize,
        /// The bytes of the secret.
        given: usize,
    },
    /// The secret is the text of a key file. Parse a JWK with [`Jwk::from_json`](crate::Jwk::from_json);
    /// PEM and OpenSSH files hold keys of other algorithms, often public ones.
    #[error("this is the text of a {format} key, not a secret: {}", key_file_advice(format))]
    KeyFile {
        /// `PEM`, `OpenSSH` or `JWK`.
        format: &'static str,
    },
    /// The text is not spelled as the call expects. The error does not say which character is wrong: it may be one of the
    /// secret.
    #[error("the secret is not {expected}; {advice}")]
    Encoding {
        /// `hex`, `base64`, `base64url`, or, in a file, `one line of text` or `bytes`.
        expected: &'static str,
        /// The form of the text, and the call that reads it.
        advice: &'static str,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system")]
    NoRandomness,
}

debug_by_message!(KeyError);

impl Key {
    /// Returns a key for `algorithm`. The bytes are the secret: a text is used character by character, a line end behind it
    /// included. Bytes that are spelled in a text are read by [`Key::from_hex`], [`Key::from_base64`] or
    /// [`Key::from_base64url`].
    ///
    /// # Errors
    /// [`KeyError::TooShort`] below [`Algorithm::hash_len`] bytes, [`KeyError::KeyFile`] for the text
    /// of a PEM, OpenSSH or JWK file.
    pub fn new(algorithm: Algorithm, secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let secret = secret.as_ref();
        let (needed, given) = (algorithm.hash_len(), secret.len());
        if given < needed {
            return Err(KeyError::TooShort { algorithm, needed, given });
        }
        Self::new_dangerously_short(algorithm, secret)
    }

    /// As [`Key::new`], from hexadecimal digits of either case: the output of `openssl rand -hex 32` or `xxd -p`. Line ends
    /// are ignored.
    ///
    /// # Errors
    /// [`KeyError::Encoding`] for any other text, and as [`Key::new`].
    pub fn from_hex(algorithm: Algorithm, digits: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Self::new(algorithm, &*decoded_hex(digits.as_ref())?)
    }

    /// As [`Key::new`], from base64 in the standard alphabet (RFC 4648 §4), padded or not: the output of
    /// `openssl rand -base64 32`. Line ends are ignored; `openssl` breaks lines after 64 symbols.
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
    /// [`KeyError::Encoding`] for any other text, for hexadecimal digits too, whose symbols are all in the alphabet; and as
    /// [`Key::new`].
    pub fn from_base64(algorithm: Algorithm, symbols: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Self::new(algorithm, &*decoded_base64(symbols.as_ref())?)
    }

    /// As [`Key::from_base64`], in the alphabet for URLs (RFC 4648 §5): the `k` of a JWK, or the output of Python's
    /// `secrets.token_urlsafe(32)`.
    ///
    /// # Errors
    /// As [`Key::from_base64`].
    pub fn from_base64url(
        algorithm: Algorithm,
        symbols: impl AsRef<[u8]>,
    ) -> Result<Self, KeyError> {
        Self::new(algorithm, &*decoded_base64url(symbols.as_ref())?)
    }

    /// A key for HS256, from 32 bytes or more. See [`Key::new`].
    ///
    /// # Errors
    /// As [`Key::new`].
    pub fn hs256(secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Self::new(Algorithm::Hs256, secret)
    }

    /// A key for HS384, from 48 bytes or more. See [`Key::new`].
    ///
    /// # Errors
    /// As [`Key::new`].
    pub fn hs384(secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Self::new(Algorithm::Hs384, secret)
    }

    /// A key for HS512, from 64 bytes or more. See [`Key::new`].
    ///
    /// # Errors
    /// As [`Key::new`].
    pub fn hs512(secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Self::new(Algorithm::Hs512, secret)
    }

    /// As [`Key::new`], for a secret shorter than RFC 7518 §3.2 allows, which someone else chose and
    /// nobody can change yet. Whoever sees one token can search for such a secret offline, and sign
    /// with it when they have found it.
    ///
    /// # Errors
    /// [`KeyError::TooShort`] for an empty secret, [`KeyError::KeyFile`] as [`Key::new`].
    pub fn new_dangerously_short(
        algorithm: Algorithm,
        secret: impl AsRef<[u8]>,
    ) -> Result<Self, KeyError> {
        let secret = secret.as_ref();
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

    /// A key that nobody else has and that ends with the process: from the operating system's
    /// generator, as many bytes as the hash has. For one that is to be stored, see
    /// [`Jwk::generate`](crate::Jwk::generate).
    ///
    /// # Errors
    /// [`KeyError::NoRandomness`] when the operating system gives none.
    #[cfg(feature = "getrandom")]
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        Self::new(algorithm, &*random_secret(algorithm)?)
    }

    /// This key under the id `kid` (RFC 7515 §4.1.4), which goes into the header of each token that
    /// it signs. It is public: a date or a number, nothing that is derived from the secret.
    #[must_use]
    pub fn with_kid(self, kid: impl AsRef<str>) -> Self {
        let kid = kid.as_ref();
        let own_headers = OwnHeader::all(self.algorithm(), Some(kid));
        Self { kid: Some(kid.into()), own_headers, ..self }
    }

    /// The one algorithm that this key signs and verifies with.
    pub fn algorithm(&self) -> Algorithm {
        self.hmac.algorithm()
    }

    /// The key id, where there is one.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Whether both have the same secret, for the same algorithm; no id is compared.
    #[cfg(feature = "std")]
    pub(crate) fn has_secret_of(&self, other: &Self) -> bool {
        const PROBE: &[u8] = b"is this the same secret?";
        self.hmac.verify(PROBE, other.hmac.tag(PROBE).as_ref())
    }

    pub(crate) fn hmac(&self) -> &Hmac {
        &self.hmac
    }

    /// The `typ` and the header segment with which a token begins, if this key writes that segment.
    pub(crate) fn own_header(&self, token: &str) -> Option<(&'static str, &str)> {
        let own = self.own_headers.iter().find(|own| token.starts_with(&own.segment))?;
        Some((own.typ, &own.segment))
    }

    /// The header segment of a token of `typ`.
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

/// The secret that is spelled in hexadecimal digits.
pub(crate) fn decoded_hex(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    hex::decode_secret(&without_line_ends(text)).ok_or_else(|| misspelled("hex", text))
}

/// The secret that is spelled in base64.
pub(crate) fn decoded_base64(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    decoded(text, base64url::decode_standard_secret).ok_or_else(|| misspelled("base64", text))
}

/// The secret that is spelled in base64url.
pub(crate) fn decoded_base64url(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    decoded(text, base64url::decode_secret).ok_or_else(|| misspelled("base64url", text))
}

/// Hexadecimal digits are symbols of both alphabets. No random secret is spelled in them alone, and to decode them would
/// make another secret.
fn decoded(
    text: &[u8],
    decode: fn(&[u8]) -> Option<Zeroizing<Vec<u8>>>,
) -> Option<Zeroizing<Vec<u8>>> {
    let text = without_line_ends(text);
    let symbols = match &**text {
        text if text.len() % 4 != 0 => text,
        [symbols @ .., b'=', b'='] | [symbols @ .., b'='] => symbols,
        text => text,
    };
    decode(symbols).filter(|_| !bool::from(hex::is_hex(symbols)))
}

/// The text without CR and LF. Where they stand depends on the tool that printed it, and not on the secret.
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

/// As many random bytes as the algorithm's hash has.
#[cfg(feature = "getrandom")]
pub(crate) fn random_secret(algorithm: Algorithm) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let mut secret = Zeroizing::new(alloc::vec![0; algorithm.hash_len()]);
    getrandom::fill(&mut secret).map_err(|_| KeyError::NoRandomness)?;
    Ok(secret)
}

/// The key file format that a secret has the text of: a public key that is taken for a secret is how
/// tokens were forged in CVE-2015-9235 and its successors.
///
/// Most secrets are none, and every byte of theirs is looked at in the same way: nothing is told before all of them
/// have been.
pub(crate) fn key_file_format(secret: &[u8]) -> Option<&'static str> {
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

/// Whether `part` stands anywhere in `text`.
fn holds(text: &[u8], part: &[u8]) -> Choice {
    text.windows(part.len()).fold(Choice::from(0), |found, window| found | window.ct_eq(part))
}

/// Whether `text` begins with one of `starts`, behind a byte order mark and white space, where they are.
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
