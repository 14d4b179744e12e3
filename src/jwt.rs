//! JSON Web Tokens (RFC 7519): claims and a key in, a token out, and back.
//!
//! Every function that returns claims first makes all checks of `jws` and `validation`.

use alloc::{string::String, vec, vec::Vec};
use core::fmt;

use serde_core::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    algorithm::Algorithm,
    claims::{ClaimsSet, RegisteredClaims},
    error::{DecodeError, EncodeError},
    excerpt::parser_message,
    header::{self, Parameter},
    jws::{self, Authentic, Segments},
    key::Key,
    key_set::Keys,
    numeric_date::NumericDate,
    validation::Validation,
};

/// Signs `claims` with `key`.
///
/// The header is `{"alg":…,"typ":"JWT"}`, plus the key's `kid` if it has one. The claims may have
/// any type that serialises to a JSON object; nothing is added to them. A field that is `None` has
/// to be skipped (`#[serde(skip_serializing_if = "Option::is_none")]`), because null is not the
/// same as absent.
///
/// # Errors
/// [`EncodeError`] if the claims cannot be written, or if every call of [`decode`] would refuse
/// them.
///
/// ```
/// use kippu::{Key, NumericDate, RegisteredClaims, encode};
///
/// let key = Key::hs256([0x5a; 32])?; // from the secret manager
/// let token = encode(
///     &RegisteredClaims {
///         sub: Some("user-12345".into()),
///         exp: Some(NumericDate::in_seconds(900)),
///         ..RegisteredClaims::default()
///     },
///     &key,
/// )?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn encode<C: Serialize + ?Sized>(claims: &C, key: &Key) -> Result<String, EncodeError> {
    encode_with_typ(claims, key, header::DEFAULT_TYP)
}

/// Signs `claims`, like [`encode`], with the media type `typ` in the header (RFC 7515 §4.1.9), for
/// example `at+jwt` for an OAuth access token (RFC 9068 §2.1).
///
/// # Errors
/// The same as those of [`encode`].
pub fn encode_with_typ<C: Serialize + ?Sized>(
    claims: &C,
    key: &Key,
    typ: &str,
) -> Result<String, EncodeError> {
    let mut token = jws::begin(key, typ, USUAL_LEN);
    let start = token.len();
    write_claims(claims, &mut token)?;
    jws::finish(token, start, key)
}

/// Verifies `token` and returns its claims as a `C`.
///
/// The function checks the form, the header, the signature and the claims. No function returns
/// claims without these checks. `keys` is a [`Key`], a [`KeySet`](crate::KeySet) or another
/// implementation of [`Keys`]. `C` is any type that owns its data; for a type that borrows, see
/// [`decode_borrowed`].
///
/// After all other checks, serde_json reads the claims into `C`, with serde_json's rules below the
/// top level: a derived struct also accepts an array there, and an `f64` is exact to the last bit
/// only with serde_json's feature `float_roundtrip`.
///
/// # Errors
/// [`DecodeError`], with the first check that fails.
///
/// ```
/// use kippu::{Key, NumericDate, Validation, decode, encode};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Claims { iss: String, aud: String, sub: String, exp: NumericDate, role: String }
///
/// let key = Key::hs256([0x5a; 32])?; // from the secret manager
/// # let exp = NumericDate::in_seconds(900);
/// # let claims = ["https://auth.example", "api", "user-12345", "admin"].map(String::from);
/// # let [iss, aud, sub, role] = claims;
/// # let token = encode(&Claims { iss, aud, sub, exp, role }, &key)?;
/// let validation = Validation::new().issuer("https://auth.example").audience("api");
/// let claims: Claims = decode(&token, &key, &validation)?;
/// assert_eq!(claims.role, "admin");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Threads can share a key and a validation. With the crate `rayon`, this verifies many tokens on
/// all processors: `tokens.par_iter().map(|token| decode::<Claims>(token, &key,
/// &validation)).collect()`.
pub fn decode<C: DeserializeOwned>(
    token: &str,
    keys: &(impl Keys + ?Sized),
    validation: &Validation,
) -> Result<C, DecodeError> {
    jws::verify(token, keys, validation, |authentic| {
        with_buffer(authentic.payload_len(), |buffer| read(check(authentic, validation, buffer)?.0))
    })
}

/// Verifies `token`, like [`decode`], and returns claims that borrow from `buffer`. Nothing is
/// allocated.
///
/// The buffer contains the decoded payload afterwards. Three quarters of the longest token's length
/// is always enough: 12 KiB for the default limit.
///
/// A string with an escape has to be rewritten before it can be read. A `&str` therefore cannot
/// hold it, which is an error; a `Cow<str>` with `#[serde(borrow)]` can.
///
/// # Errors
/// Those of [`decode`], and [`DecodeError::BufferTooShort`].
///
/// ```
/// use kippu::{Key, Validation, decode_borrowed};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Claims<'c> { sub: &'c str }
///
/// let key = Key::hs256([0x5a; 32])?; // from the secret manager
/// # let exp = kippu::NumericDate::in_seconds(60);
/// # let claims = serde_json::json!({ "sub": "user-12345", "exp": exp });
/// # let token = kippu::encode(&claims, &key)?;
/// let mut buffer = [0; 1024];
/// let claims: Claims = decode_borrowed(&token, &key, &Validation::new(), &mut buffer)?;
/// assert_eq!(claims.sub, "user-12345");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn decode_borrowed<'b, C: Deserialize<'b>>(
    token: &str,
    keys: &(impl Keys + ?Sized),
    validation: &Validation,
    buffer: &'b mut [u8],
) -> Result<C, DecodeError> {
    jws::verify(token, keys, validation, |authentic| read(check(authentic, validation, buffer)?.0))
}

/// Verifies `token`, like [`decode`], and returns its header, its registered claims, and its claims
/// as one or several types.
///
/// # Errors
/// Those of [`decode`], except [`DecodeError::Claims`], which [`Verified::claims`] returns.
///
/// ```
/// use kippu::{Key, Validation, encode, verify};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Role<'c> { role: &'c str }
///
/// let key = Key::hs256([0x5a; 32])?.with_kid("2026-11"); // from the secret manager
/// # let exp = kippu::NumericDate::in_seconds(60);
/// # let claims = serde_json::json!({ "sub": "user-12345", "role": "admin", "exp": exp });
/// # let token = encode(&claims, &key)?;
/// let verified = verify(&token, &key, &Validation::new())?;
/// assert_eq!(verified.header().kid.as_deref(), Some("2026-11"));
/// assert_eq!(verified.registered().sub.as_deref(), Some("user-12345"));
/// let Role { role } = verified.claims()?;
/// assert_eq!(role, "admin");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn verify<'t>(
    token: &'t str,
    keys: &(impl Keys + ?Sized),
    validation: &Validation,
) -> Result<Verified<'t>, DecodeError> {
    jws::verify(token, keys, validation, |authentic| {
        // The result keeps the payload, so that the claims can borrow from it.
        let mut payload = vec![0; authentic.payload_len()];
        let (_, checked_at) = check(authentic, validation, &mut payload)?;
        // The scan has found the payload to be UTF-8.
        let payload = String::from_utf8(payload).unwrap_or_default();
        Ok(Verified { authentic: *authentic, payload, checked_at })
    })
}

/// A token that has passed every check.
pub struct Verified<'t> {
    authentic: Authentic<'t>,
    payload: String,
    #[cfg_attr(
        not(feature = "session"),
        expect(dead_code, reason = "only an access token is asked for it")
    )]
    checked_at: NumericDate,
}

impl Verified<'_> {
    /// Returns the header. Its `alg` is that of the key.
    pub fn header(&self) -> VerifiedHeader {
        self.authentic.with_header(|header| VerifiedHeader {
            alg: self.authentic.algorithm(),
            typ: header.typ.as_text().map(String::from),
            kid: header.kid.as_text().map(String::from),
        })
    }

    /// Returns the registered claims, whether or not the validation expected them.
    #[expect(
        clippy::missing_panics_doc,
        reason = "the verification has found each to have its type"
    )]
    pub fn registered(&self) -> RegisteredClaims {
        self.claims().expect("the registered claims of a verified token have their types")
    }

    /// Reads the claims as a `C`, which may borrow from `self`. As with [`decode_borrowed`], a
    /// `&str` cannot hold a string that is spelled with an escape.
    ///
    /// # Errors
    /// [`DecodeError::Claims`] if the claims do not fit the type.
    pub fn claims<'v, C: Deserialize<'v>>(&'v self) -> Result<C, DecodeError> {
        read(&self.payload)
    }

    /// Returns the claims as the issuer spelled them.
    #[cfg(feature = "session")]
    pub(crate) fn payload(&self) -> &str {
        &self.payload
    }

    /// Returns the time at which the token passed every check, by the clock of its validation.
    #[cfg(feature = "session")]
    pub(crate) const fn checked_at(&self) -> NumericDate {
        self.checked_at
    }
}

impl fmt::Debug for Verified<'_> {
    /// Leaves the token out: anyone who has it can present it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("header", &self.header()).finish_non_exhaustive()
    }
}

/// The header of a verified token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedHeader {
    /// `alg`, the algorithm of the key.
    pub alg: Algorithm,
    /// `typ`, the media type of the token, if it has one.
    pub typ: Option<String>,
    /// `kid`, the id of the key, if the header has one.
    pub kid: Option<String>,
}

/// The content of a token's header, **with nothing verified**: anyone can have written it.
///
/// Use it for logs, and to choose among recipients. Do not use it to choose a key or an algorithm;
/// [`decode`] does that safely.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnverifiedHeader {
    /// `alg`, if it is a string.
    pub alg: Option<String>,
    /// `typ`, if it is a string.
    pub typ: Option<String>,
    /// `kid`, if it is a string.
    pub kid: Option<String>,
}

/// Reads a token's header **without verifying anything**. There is no such function for the claims.
/// A token of more than `max_token_len` bytes is refused before it is read, as with
/// [`Validation::max_token_len`].
///
/// # Errors
/// [`DecodeError`] if the token is too long or does not have three segments, or if its header is
/// not one strict JSON object.
///
/// ```
/// let token = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjcifQ.e30.c2ln";
/// let header = kippu::unverified_header(token, kippu::Validation::DEFAULT_MAX_TOKEN_LEN)?;
/// assert_eq!(header.alg.as_deref(), Some("RS256"));
/// assert_eq!(header.kid.as_deref(), Some("7"));
/// # Ok::<(), kippu::DecodeError>(())
/// ```
pub fn unverified_header(
    token: &str,
    max_token_len: usize,
) -> Result<UnverifiedHeader, DecodeError> {
    let text = |parameter: &Parameter<'_>| parameter.as_text().map(String::from);
    Segments::split(token, max_token_len)?.with_header(|header| UnverifiedHeader {
        alg: text(&header.alg),
        typ: text(&header.typ),
        kid: text(&header.kid),
    })
}

/// Refuses a payload that every call of [`decode`] would refuse. It is one that serde_json has
/// written.
pub(crate) fn check_payload(payload: &[u8]) -> Result<(), EncodeError> {
    // The same scan as in `decode`, with the same types, so that the two cannot disagree.
    let mut claims = ClaimsSet::wanting(&[]);
    claims.scan_written(payload).map_err(EncodeError::Claims)?;
    match claims.wrong_type() {
        Some((claim, value)) if value.is_null() => Err(EncodeError::Null { claim }),
        Some((claim, _)) => Err(EncodeError::WrongType { claim }),
        None => Ok(()),
    }
}

/// The initial capacity of a token. It is enough for most, so that a token needs one allocation.
const USUAL_LEN: usize = 512;

/// Signs a payload that has been checked.
#[cfg(feature = "session")]
pub(crate) fn sign_payload(payload: &[u8], key: &Key, typ: &str) -> Result<String, EncodeError> {
    let mut token = jws::begin(key, typ, crate::base64url::encoded_len(payload.len()) + USUAL_LEN);
    let start = token.len();
    token.extend_from_slice(payload);
    jws::finish(token, start, key)
}

/// Writes the claims as JSON, unless every call of [`decode`] would refuse them.
#[cfg(feature = "session")]
pub(crate) fn to_json<C: Serialize + ?Sized>(claims: &C) -> Result<Vec<u8>, EncodeError> {
    let mut json = Vec::with_capacity(USUAL_LEN);
    write_claims(claims, &mut json)?;
    Ok(json)
}

/// Appends the claims to `output` as JSON, unless every call of [`decode`] would refuse them.
fn write_claims<C: Serialize + ?Sized>(
    claims: &C,
    output: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let start = output.len();
    // Writes behind the header, so that the JSON is neither allocated nor copied once more.
    #[cfg(feature = "std")]
    let written = serde_json::to_writer(&mut *output, claims);
    // Without std, serde_json writes only into a new vector.
    #[cfg(not(feature = "std"))]
    let written = serde_json::to_vec(claims).map(|json| output.extend(json));
    written.map_err(|error| EncodeError::Serialize { reason: parser_message(&error) })?;
    // A type can write a name twice, or a `RawValue` that no decode accepts.
    check_payload(output.get(start..).unwrap_or_default())
}

/// Provides a buffer for a decoded payload of `length` bytes. A short buffer is on the stack, in
/// three sizes so that little is cleared for nothing. Allocating it among the strings of the
/// claims, and freeing it later, costs 600 ns in malloc at 2 KB.
fn with_buffer<T>(length: usize, then: impl FnOnce(&mut [u8]) -> T) -> T {
    match length {
        0..=256 => then(&mut [0; 256]),
        257..=1024 => then(&mut [0; 1024]),
        1025..=4096 => on_the_stack::<4096, T>(then),
        length => then(&mut vec![0; length]),
    }
}

/// Has its own stack frame, so that shorter payloads do not pay for 4 KB of stack.
#[inline(never)]
fn on_the_stack<const N: usize, T>(then: impl FnOnce(&mut [u8]) -> T) -> T {
    then(&mut [0; N])
}

/// Decodes the payload of an authentic token into `buffer` and makes all checks of it. Returns the
/// payload as text, and the time at which it passed.
fn check<'b>(
    authentic: &Authentic<'_>,
    validation: &Validation,
    buffer: &'b mut [u8],
) -> Result<(&'b str, NumericDate), DecodeError> {
    let payload = authentic.payload(buffer)?;
    let mut claims = ClaimsSet::wanting(validation.required_others());
    let text = claims.scan(payload).map_err(DecodeError::Payload)?;
    // The clock is read once, so that all checks of a token agree about the time.
    let Some(now) = validation.now() else { return Err(DecodeError::NoClock) };
    authentic.check_key_time(now)?;
    validation.check(&claims, now)?;
    Ok((text, now))
}

/// Reads the claims as the caller's type. The payload is a `str`, so that serde_json does not check
/// the UTF-8 again.
fn read<'b, C: Deserialize<'b>>(payload: &'b str) -> Result<C, DecodeError> {
    serde_json::from_str(payload).map_err(|error| mismatch(&error))
}

/// Converts the error of serde_json if the claims do not fit the caller's type.
#[cold]
fn mismatch(error: &serde_json::Error) -> DecodeError {
    let (line, column) = (error.line(), error.column());
    let message = parser_message(error);
    let place = alloc::format!(" at line {line} column {column}");
    // serde_json ends its message with the place, which the error has in separate fields.
    let reason = message.strip_suffix(&*place).unwrap_or(&message).into();
    DecodeError::Claims { reason, line, column }
}

#[cfg(all(test, not(feature = "std")))]
mod tests {
    use serde_core::de::IgnoredAny;

    use super::*;
    use crate::numeric_date::NumericDate;

    /// Without a clock, no token is accepted until the caller sets the time.
    #[test]
    fn without_a_clock_a_time_has_to_be_set() {
        let key = Key::hs256([7; 32]).unwrap();
        let token = encode(&serde_json::json!({ "exp": 1000 }), &key).unwrap();
        let decoded = decode::<IgnoredAny>(&token, &key, &Validation::new());
        assert_eq!(decoded.unwrap_err(), DecodeError::NoClock);
        for (now, accepted) in [(999, true), (1060, false)] {
            let validation = Validation::new().at(NumericDate::from_seconds(now));
            assert_eq!(decode::<IgnoredAny>(&token, &key, &validation).is_ok(), accepted);
        }
    }
}
