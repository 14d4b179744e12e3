//! JSON Web Tokens (RFC 7519): claims and a key in, a token out, and back.

use alloc::{string::String, vec, vec::Vec};

use serde_core::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    base64url::{self, Base64urlError},
    claims::ClaimsSet,
    error::{DecodeError, EncodeError, Segment},
    excerpt::parser_message,
    header::{self, Parameter},
    jws::{self, Segments, Verified},
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
    let mut token = begun(key, typ, USUAL_LEN);
    let start = token.len();
    write_claims(claims, &mut token)?;
    finished(token, start, key)
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
#[inline]
pub fn decode<C: DeserializeOwned>(
    token: &str,
    keys: &(impl Keys + ?Sized),
    validation: &Validation,
) -> Result<C, DecodeError> {
    let verified = jws::verify(token, keys, validation)?;
    with_buffer(&verified, |buffer| Ok(read(&verified, validation, buffer)?.1))
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
#[inline]
pub fn decode_borrowed<'b, C: Deserialize<'b>>(
    token: &str,
    keys: &(impl Keys + ?Sized),
    validation: &Validation,
    buffer: &'b mut [u8],
) -> Result<C, DecodeError> {
    let verified = jws::verify(token, keys, validation)?;
    Ok(read(&verified, validation, buffer)?.1)
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
    let (length, limit) = (token.len(), max_token_len);
    if length > limit {
        return Err(DecodeError::TooLong { length, limit });
    }
    Segments::split(token)?.with_header(|header| UnverifiedHeader {
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
        Some(claim) => Err(EncodeError::WrongType { claim }),
        None => Ok(()),
    }
}

/// The room that a token gets at first: enough for most, so that nothing else is allocated for one.
const USUAL_LEN: usize = 512;

/// The token of a payload that has been checked.
#[cfg(feature = "session")]
pub(crate) fn sign_payload(payload: &[u8], key: &Key, typ: &str) -> Result<String, EncodeError> {
    let mut token = begun(key, typ, base64url::encoded_len(payload.len()) + USUAL_LEN);
    let start = token.len();
    token.extend_from_slice(payload);
    finished(token, start, key)
}

/// A token as far as its payload.
fn begun(key: &Key, typ: &str, capacity: usize) -> Vec<u8> {
    let mut token = Vec::with_capacity(capacity);
    token.extend_from_slice(key.header_segment(typ).as_bytes());
    token.push(b'.');
    token
}

/// Encodes the payload, which stands in the token from `start` on, where it stands, and signs it.
fn finished(mut token: Vec<u8>, start: usize, key: &Key) -> Result<String, EncodeError> {
    let payload_len = token.len() - start;
    let signed_len = start + base64url::encoded_len(payload_len);
    let length = signed_len + 1 + base64url::encoded_len(key.algorithm().hash_len());
    let limit = Validation::HIGHEST_MAX_TOKEN_LEN;
    if length > limit {
        return Err(EncodeError::TooLong { length, limit });
    }
    token.reserve_exact(length - token.len());
    token.resize(length, b'.'); // One of them stays, before the signature.
    let (signing_input, signature) = token.split_at_mut(signed_len);
    base64url::encode_in_place(signing_input.split_at_mut(start).1, payload_len);
    let tag = key.hmac().tag(signing_input);
    base64url::encode_exact(tag.as_ref(), signature.split_at_mut(1).1);
    Ok(String::from_utf8(token).expect("base64url and dots are ASCII"))
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

/// Room for a decoded payload: on the stack, where no more is cleared than is of use; longer claims are
/// allocated anyway, by the type that takes them.
#[inline]
pub(crate) fn with_buffer<T>(verified: &Verified<'_>, then: impl FnOnce(&mut [u8]) -> T) -> T {
    match base64url::decoded_len(verified.payload.len()) {
        0..=256 => then(&mut [0; 256]),
        257..=1024 => then(&mut [0; 1024]),
        length => then(&mut vec![0; length]),
    }
}

/// The claims of a token whose signature is right, decoded into `buffer`: their text, and as a `C`.
#[inline]
pub(crate) fn read<'b, C: Deserialize<'b>>(
    verified: &Verified<'_>,
    validation: &Validation,
    buffer: &'b mut [u8],
) -> Result<(&'b str, C), DecodeError> {
    let payload = base64url::decode_to_slice(verified.payload, buffer)
        .map_err(|error| payload_error(verified.payload, error))?;
    let mut claims = ClaimsSet::wanting(validation.required_others());
    let text = claims.scan(payload).map_err(DecodeError::Payload)?;
    let now = validation.now().ok_or(DecodeError::NoClock)?;
    check_key_time(verified.until, now)?;
    validation.check(&claims, now)?;
    // From the text, not from the bytes: they have been found to be UTF-8.
    let claims = serde_json::from_str(text).map_err(|error| mismatch(&error))?;
    Ok((text, claims))
}

/// Reports why serde_json cannot read the claims as the caller's type.
#[cold]
fn mismatch(error: &serde_json::Error) -> DecodeError {
    let (line, column) = (error.line(), error.column());
    let message = parser_message(error);
    let place = alloc::format!(" at line {line} column {column}");
    DecodeError::Claims {
        reason: message.strip_suffix(&*place).unwrap_or(&message).into(),
        line,
        column,
    }
}

/// Why a payload was not decoded. A dot in it begins a fourth segment, whatever else there is.
#[cold]
pub(crate) fn payload_error(payload: &str, error: Base64urlError) -> DecodeError {
    match error {
        _ if payload.contains('.') => DecodeError::Segments,
        Base64urlError::OutputTooShort { needed, given } => {
            DecodeError::BufferTooShort { needed, given }
        }
        error => DecodeError::Base64url { segment: Segment::Payload, error },
    }
}

/// A retired key verifies until its time is over; there is no leeway for it.
pub(crate) fn check_key_time(
    until: Option<NumericDate>,
    now: NumericDate,
) -> Result<(), DecodeError> {
    match until {
        Some(until) if now >= until => Err(DecodeError::KeyRetired { until, now }),
        _ => Ok(()),
    }
}

#[cfg(all(test, not(feature = "std")))]
mod tests {
    use serde_core::de::IgnoredAny;

    use super::*;

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
