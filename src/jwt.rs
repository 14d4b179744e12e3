//! JSON Web Tokens (RFC 7519): claims and a key in, a token out, and back.

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
/// The header is `{"alg":…,"typ":"JWT"}`, with the key's `kid` where it has one. The claims are what
/// they serialise to, any type with an object for JSON; nothing is added. A claim that is `None` has to be
/// skipped (`#[serde(skip_serializing_if = "Option::is_none")]`): null is not the same as absent.
///
/// # Errors
/// [`EncodeError`] when the claims cannot be written, or would be written as something that
/// [`decode`] refuses whatever it expects.
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

/// As [`encode`], with the media type `typ` in the header (RFC 7515 §4.1.9): `at+jwt` for an OAuth access
/// token (RFC 9068 §2.1), say.
///
/// # Errors
/// As [`encode`].
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

/// Verifies `token` and gives its claims as a `C`.
///
/// All of it is checked: the form, the header, the signature, the claims. There is no way to the claims
/// that leaves one out. `keys` is a [`Key`], a [`KeySet`](crate::KeySet), or whatever else is [`Keys`]. `C` is any type that owns
/// what it holds; for one that borrows, see [`decode_borrowed`]. serde_json reads it, once nothing else is wrong with
/// the token: every type that works with serde_json works here, with serde_json's rules below the top level. A derived
/// struct there accepts an array too, and an `f64` is exact to the last bit with serde_json's feature `float_roundtrip`.
///
/// # Errors
/// [`DecodeError`], with the first check that the token does not pass.
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
/// # let [iss, aud, sub, role] = ["https://auth.example", "api", "user-12345", "admin"].map(String::from);
/// # let token = encode(&Claims { iss, aud, sub, exp, role }, &key)?;
/// let validation = Validation::new().issuer("https://auth.example").audience("api");
/// let claims: Claims = decode(&token, &key, &validation)?;
/// assert_eq!(claims.role, "admin");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A key and a validation are shared by threads as they are. With the crate `rayon`, many tokens are verified on
/// all processors by `tokens.par_iter().map(|token| decode::<Claims>(token, &key, &validation)).collect()`.
pub fn decode<C: DeserializeOwned>(
    token: &str,
    keys: &(impl Keys + ?Sized),
    validation: &Validation,
) -> Result<C, DecodeError> {
    let authentic = jws::verify(token, keys, validation)?;
    with_buffer(authentic.payload_len(), |buffer| read(check(&authentic, validation, buffer)?.0))
}

/// As [`decode`], for claims that borrow from `buffer`: nothing is allocated.
///
/// The buffer holds the decoded payload afterwards. Three quarters of the longest token's length is
/// always enough: 12 KiB for the default limit.
///
/// A string with an escape in it has to be written anew to be read, so that a `&str` cannot hold it and
/// is an error; a `Cow<str>` with `#[serde(borrow)]` holds both.
///
/// # Errors
/// As [`decode`], and [`DecodeError::BufferTooShort`].
///
/// ```
/// use kippu::{Key, Validation, decode_borrowed};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Claims<'c> { sub: &'c str }
///
/// let key = Key::hs256([0x5a; 32])?; // from the secret manager
/// # let claims = serde_json::json!({ "sub": "user-12345", "exp": kippu::NumericDate::in_seconds(60) });
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
    let authentic = jws::verify(token, keys, validation)?;
    read(check(&authentic, validation, buffer)?.0)
}

/// Verifies `token`, as [`decode`] does, and gives what there is to know of it: its header, its registered claims, and
/// its claims as any type, or as several.
///
/// # Errors
/// As [`decode`]; what a type has against the claims is reported by [`Verified::claims`].
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
/// # let token = encode(&serde_json::json!({ "sub": "user-12345", "role": "admin", "exp": exp }), &key)?;
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
    let authentic = jws::verify(token, keys, validation)?;
    let mut payload = vec![0; authentic.payload_len()];
    let (_, checked_at) = check(&authentic, validation, &mut payload)?;
    // The scan has found it to be UTF-8.
    let payload = String::from_utf8(payload).unwrap_or_default();
    Ok(Verified { authentic, payload, checked_at })
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
    /// The header. Its `alg` is that of the key.
    pub fn header(&self) -> VerifiedHeader {
        self.authentic.with_header(|header| VerifiedHeader {
            alg: self.authentic.algorithm(),
            typ: header.typ.as_text().map(String::from),
            kid: header.kid.as_text().map(String::from),
        })
    }

    /// The registered claims, whether or not they were expected.
    #[expect(
        clippy::missing_panics_doc,
        reason = "the verification has found each to have its type"
    )]
    pub fn registered(&self) -> RegisteredClaims {
        self.claims().expect("the registered claims of a verified token have their types")
    }

    /// Reads the claims as a `C`, which may borrow from this. As with [`decode_borrowed`], a `&str` cannot hold a string
    /// that is spelled with an escape.
    ///
    /// # Errors
    /// [`DecodeError::Claims`] when the claims do not fit the type.
    pub fn claims<'v, C: Deserialize<'v>>(&'v self) -> Result<C, DecodeError> {
        read(&self.payload)
    }

    /// The claims as the issuer has spelled them.
    #[cfg(feature = "session")]
    pub(crate) fn payload(&self) -> &str {
        &self.payload
    }

    /// When the token passed every check, by the clock of its validation.
    #[cfg(feature = "session")]
    pub(crate) const fn checked_at(&self) -> NumericDate {
        self.checked_at
    }
}

impl fmt::Debug for Verified<'_> {
    /// Without the signature, by which anyone could present the token.
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
    /// `typ`, the media type of the token, where there is one.
    pub typ: Option<String>,
    /// `kid`, the id of the key, where there is one.
    pub kid: Option<String>,
}

/// What a token's header says, **with nothing verified**: anyone can have written it.
///
/// For logs, and for choosing among recipients; not for choosing a key or an algorithm, which
/// [`decode`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnverifiedHeader {
    /// `alg`, where it is a string.
    pub alg: Option<String>,
    /// `typ`, where it is a string.
    pub typ: Option<String>,
    /// `kid`, where it is a string.
    pub kid: Option<String>,
}

/// Reads a token's header **without verifying anything**. There is no such function for the claims. A token of more than
/// `max_token_len` bytes is not looked at, as by [`Validation::max_token_len`].
///
/// # Errors
/// [`DecodeError`] when the token is too long, does not have three segments, or its header is not one strict JSON object.
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

/// Refuses a payload that every [`decode`] would refuse.
pub(crate) fn check_payload(payload: &[u8]) -> Result<(), EncodeError> {
    let mut claims = ClaimsSet::wanting(&[]);
    claims.scan(payload).map_err(EncodeError::Claims)?;
    match claims.wrong_type() {
        Some((claim, value)) if value.is_null() => Err(EncodeError::Null { claim }),
        Some((claim, _)) => Err(EncodeError::WrongType { claim }),
        None => Ok(()),
    }
}

/// The room that a token gets at first: enough for most, so that nothing else is allocated for one.
const USUAL_LEN: usize = 512;

/// The token of a payload that has been checked.
#[cfg(feature = "session")]
pub(crate) fn sign_payload(payload: &[u8], key: &Key, typ: &str) -> Result<String, EncodeError> {
    let mut token = jws::begin(key, typ, crate::base64url::encoded_len(payload.len()) + USUAL_LEN);
    let start = token.len();
    token.extend_from_slice(payload);
    jws::finish(token, start, key)
}

/// The claims as JSON that a [`decode`] might take.
#[cfg(feature = "session")]
pub(crate) fn to_json<C: Serialize + ?Sized>(claims: &C) -> Result<Vec<u8>, EncodeError> {
    let mut json = Vec::with_capacity(USUAL_LEN);
    write_claims(claims, &mut json)?;
    Ok(json)
}

/// Writes the claims onto the end of `output`, unless every [`decode`] would refuse them.
fn write_claims<C: Serialize + ?Sized>(
    claims: &C,
    output: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let start = output.len();
    #[cfg(feature = "std")]
    let written = serde_json::to_writer(&mut *output, claims);
    // Without std, serde_json writes only into a new vector.
    #[cfg(not(feature = "std"))]
    let written = serde_json::to_vec(claims).map(|json| output.extend(json));
    written.map_err(|error| EncodeError::Serialize { reason: parser_message(&error) })?;
    check_payload(output.get(start..).unwrap_or_default())
}

/// Room for a decoded payload of `length` bytes: on the stack, where no more is cleared than is of use. To allocate it
/// among the claims' own strings and to free it later costs malloc 600 ns at 2 KB.
fn with_buffer<T>(length: usize, then: impl FnOnce(&mut [u8]) -> T) -> T {
    match length {
        0..=256 => then(&mut [0; 256]),
        257..=1024 => then(&mut [0; 1024]),
        1025..=4096 => on_the_stack::<4096, T>(then),
        length => then(&mut vec![0; length]),
    }
}

/// In a separate frame, which shorter payloads do not pay for.
#[inline(never)]
fn on_the_stack<const N: usize, T>(then: impl FnOnce(&mut [u8]) -> T) -> T {
    then(&mut [0; N])
}

/// Decodes the payload of an authentic token into `buffer`, and returns it as text once it has passed every check, with the
/// time at which it did.
fn check<'b>(
    authentic: &Authentic<'_>,
    validation: &Validation,
    buffer: &'b mut [u8],
) -> Result<(&'b str, NumericDate), DecodeError> {
    let payload = authentic.payload(buffer)?;
    let mut claims = ClaimsSet::wanting(validation.required_others());
    let text = claims.scan(payload).map_err(DecodeError::Payload)?;
    let Some(now) = validation.now() else { return Err(DecodeError::NoClock) };
    authentic.check_key_time(now)?;
    validation.check(&claims, now)?;
    Ok((text, now))
}

/// Reads the claims as the caller's type. From text, which serde_json need not look through for UTF-8 again.
fn read<'b, C: Deserialize<'b>>(payload: &'b str) -> Result<C, DecodeError> {
    serde_json::from_str(payload).map_err(|error| mismatch(&error))
}

/// Reports why serde_json cannot read the claims as the caller's type.
#[cold]
fn mismatch(error: &serde_json::Error) -> DecodeError {
    let (line, column) = (error.line(), error.column());
    let message = parser_message(error);
    let place = alloc::format!(" at line {line} column {column}");
    let reason = message.strip_suffix(&*place).unwrap_or(&message).into();
    DecodeError::Claims { reason, line, column }
}

#[cfg(all(test, not(feature = "std")))]
mod tests {
    use serde_core::de::IgnoredAny;

    use super::*;
    use crate::numeric_date::NumericDate;

    /// Without a clock nothing is accepted until someone says what time it is.
    #[test]
    fn a_time_has_to_be_given() {
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
