//! JWS Compact Serialization (RFC 7515 §7.1): a token in, its payload out after the MAC has been
//! verified; and back.
//!
//! Only this module knows that a token has three segments. It does not decode the payload before
//! the MAC is verified, so no code can act on an unverified payload. The algorithm is that of the
//! key, and the header has to name it. The time is linear in the length of the token.
//!
//! The checks are made in this order, and the first one that fails is the error: length, segments,
//! header (base64url, then JSON), `crit` and `b64`, `typ`, `kid`, `alg`, signature (base64url, then
//! the MAC), and after them the payload.

use alloc::{string::String, vec, vec::Vec};

use crate::{
    algorithm::Algorithm,
    base64url::{self, Base64urlError, InPlace},
    error::{DecodeError, EncodeError, Segment},
    excerpt::Excerpt,
    header::{JoseHeader, Parameter},
    hmac::MAX_TAG_LEN,
    key::Key,
    key_set::{Candidates, Keys},
    numeric_date::NumericDate,
    validation::Validation,
};

/// A token whose MAC has been verified.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Authentic<'t> {
    header: &'t str,
    payload: &'t str,
    signer: Signer,
}

/// The properties of the signing key that later checks need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signer {
    pub(crate) algorithm: Algorithm,
    /// The end of the key's time, if it is retired.
    pub(crate) until: Option<NumericDate>,
}

/// Verifies everything about a token except its claims, and calls `then` with it.
///
/// `then` gets a reference, because a copy takes long: it waits until the separate stores of the
/// fields have reached the cache. A decode with three such copies took 25 ns longer.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "measured: a decode takes 2 % longer where its parts are copied from frame to frame"
)]
pub(crate) fn verify<'t, T>(
    token: &'t str,
    keys: &(impl Keys + ?Sized),
    validation: &Validation,
    then: impl FnOnce(&Authentic<'t>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    check_len(token, validation.token_len_limit())?;
    let (mut accepted, mut refused) = (None, None);
    let mut verifies = |key: &Key, until| {
        match verify_own(token, key, until, validation) {
            Some(Ok(authentic)) => accepted = Some(authentic),
            Some(Err(error)) => refused = Some(error),
            None => return false,
        }
        true
    };
    // The fast path: most tokens have a header that one of the keys writes itself.
    keys.find_by_header(token, &mut Candidates::new(&mut verifies));
    let authentic = match (&mut accepted, refused) {
        (Some(authentic), _) => authentic,
        (None, Some(error)) => return Err(error),
        (accepted, None) => accepted.insert(verify_any(token, keys, validation)?),
    };
    then(authentic)
}

/// Verifies a token with any header.
fn verify_any<'t>(
    token: &'t str,
    keys: &(impl Keys + ?Sized),
    validation: &Validation,
) -> Result<Authentic<'t>, DecodeError> {
    let segments = Segments::split(token, validation.token_len_limit())?;
    let signer = segments.check_header(keys, validation)?;
    Ok(segments.authentic(signer))
}

/// Verifies a token whose header is one that `key` writes. The content of such a header is known,
/// so it is not decoded. The result is always that of [`Segments::check_header`].
#[inline(always)]
#[expect(clippy::inline_always, reason = "the same measurement as for verify")]
fn verify_own<'t>(
    token: &'t str,
    key: &Key,
    until: Option<NumericDate>,
    validation: &Validation,
) -> Option<Result<Authentic<'t>, DecodeError>> {
    // For any other header or form, the general path decides.
    let (typ, header) = key.own_header(token)?;
    let signature_len = base64url::encoded_len(key.algorithm().hash_len());
    let segments = Segments::of_lengths(token, header.len(), signature_len)?;
    let verdict = check_typ(Some(typ), validation).and_then(|()| segments.check_mac(key));
    Some(verdict.map(|()| segments.authentic(Signer { algorithm: key.algorithm(), until })))
}

impl Authentic<'_> {
    /// Returns the length of the decoded payload.
    pub(crate) fn payload_len(&self) -> usize {
        base64url::decoded_len(self.payload.len())
    }

    /// Decodes the payload into `buffer`.
    pub(crate) fn payload<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], DecodeError> {
        decode_payload(self.payload, buffer)
    }

    /// Returns the algorithm of the key.
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.signer.algorithm
    }

    /// Calls `then` with the header.
    pub(crate) fn with_header<T>(&self, then: impl FnOnce(&JoseHeader<'_>) -> T) -> T {
        read_header(self.header, then).expect("a token is not authentic unless its header is read")
    }

    /// Refuses the token if the time of its key has ended.
    pub(crate) fn check_key_time(&self, now: NumericDate) -> Result<(), DecodeError> {
        self.signer.check_time(now)
    }
}

impl Signer {
    /// Refuses a token of a retired key from its end date on. There is no leeway for this date.
    pub(crate) fn check_time(self, now: NumericDate) -> Result<(), DecodeError> {
        match self.until {
            Some(until) if now >= until => Err(DecodeError::KeyRetired { until, now }),
            _ => Ok(()),
        }
    }
}

/// The segments of a token. None of them is decoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segments<'t> {
    header: &'t str,
    payload: &'t str,
    signature: &'t str,
    /// Header and payload with the dot between them: the input of the MAC (RFC 7515 §5.1).
    signing_input: &'t str,
}

impl<'t> Segments<'t> {
    /// Splits a token of at most `limit` bytes. A longer one is refused before it is read.
    pub(crate) fn split(token: &'t str, limit: usize) -> Result<Self, DecodeError> {
        check_len(token, limit)?;
        let (first, last) = token.find('.').zip(token.rfind('.')).ok_or(DecodeError::Segments)?;
        Self::of_lengths(token, first, token.len() - last - 1).ok_or(DecodeError::Segments)
    }

    /// Splits a token that has exactly three segments, the first and the last with these lengths.
    ///
    /// For a key's own header both lengths are known. If [`Segments::split`] searched for them, a
    /// decode of 167 bytes would take 30 to 45 ns longer (of 600), because the MAC waits for the
    /// positions of the dots.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the same measurement as for verify")]
    fn of_lengths(token: &'t str, header: usize, signature: usize) -> Option<Self> {
        let (front, signature) = token.split_at_checked(token.len().checked_sub(signature)?)?;
        let signing_input = front.strip_suffix('.')?;
        let (header, rest) = signing_input.split_at_checked(header)?;
        let payload = rest.strip_prefix('.')?;
        let is_token = !has_dot(payload) && !has_dot(signature);
        is_token.then_some(Self { header, payload, signature, signing_input })
    }

    /// Returns the token, signed by `signer`.
    fn authentic(self, signer: Signer) -> Authentic<'t> {
        Authentic { header: self.header, payload: self.payload, signer }
    }

    /// Decodes the payload into `buffer`.
    pub(crate) fn decode_payload<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], DecodeError> {
        decode_payload(self.payload, buffer)
    }

    /// Reads the header and makes all checks that depend on it.
    fn check_header(
        &self,
        keys: &(impl Keys + ?Sized),
        validation: &Validation,
    ) -> Result<Signer, DecodeError> {
        self.with_header(|header| {
            // Before the key: an extension may change the meaning of everything else.
            check_extensions(header)?;
            check_typ(typ(header)?, validation)?;
            self.check_signature(header, keys)
        })?
    }

    /// Reads the header and calls `then` with it.
    pub(crate) fn with_header<T>(
        &self,
        then: impl FnOnce(&JoseHeader<'_>) -> T,
    ) -> Result<T, DecodeError> {
        read_header(self.header, then)
    }

    /// Finds the key that the header names and checks the signature with it.
    pub(crate) fn check_signature(
        &self,
        header: &JoseHeader<'_>,
        keys: &(impl Keys + ?Sized),
    ) -> Result<Signer, DecodeError> {
        // RFC 7515 §4.1.4: the value of `kid` must be a string.
        let kid = match &header.kid {
            Parameter::Absent => None,
            Parameter::Text(kid) => Some(kid.as_ref()),
            Parameter::OtherType => return Err(DecodeError::KidNotText),
        };
        // The error if no key matches: that of the last key whose algorithm matched, if there was
        // one.
        let mut outcome = Err(DecodeError::Signature);
        let mut tried = false;
        let mut verifies = |key: &Key, until| {
            // The algorithms are compared before the MAC is computed: a key is never used with an
            // algorithm other than its own (RFC 8725 §3.1).
            let checked = check_algorithm(header, key).and_then(|()| {
                tried = true;
                self.check_mac(key)
            });
            if !(tried && matches!(checked, Err(DecodeError::Algorithm { .. }))) {
                outcome = checked.map(|()| Signer { algorithm: key.algorithm(), until });
            }
            outcome.is_ok()
        };
        let mut candidates = Candidates::new(&mut verifies);
        keys.find(kid, &mut candidates);
        match (candidates.is_empty(), kid) {
            (false, _) => outcome,
            (true, None) => Err(DecodeError::MissingKid),
            (true, Some(kid)) => Err(DecodeError::UnknownKid { kid: Excerpt::new(kid) }),
        }
    }

    /// Checks that the signature is the one that `key` makes (RFC 7515 §5.2, step 8).
    fn check_mac(&self, key: &Key) -> Result<(), DecodeError> {
        // On the stack, so that a forged token allocates nothing.
        let mut buffer = [0; MAX_TAG_LEN];
        match base64url::decode_to_slice(self.signature, &mut buffer) {
            Ok(tag) if key.hmac().verify(self.signing_input.as_bytes(), tag) => Ok(()),
            // A signature longer than any tag is wrong, whatever its spelling.
            Ok(_) | Err(Base64urlError::OutputTooShort { .. }) => Err(DecodeError::Signature),
            Err(error) => Err(DecodeError::Base64url { segment: Segment::Signature, error }),
        }
    }
}

/// Reads a header segment and calls `then` with it.
fn read_header<T>(header: &str, then: impl FnOnce(&JoseHeader<'_>) -> T) -> Result<T, DecodeError> {
    // Longer headers are rare, so they may be allocated.
    let (mut short, mut long) = ([0; 256], vec![]);
    let buffer = match base64url::decoded_len(header.len()) {
        length if length <= short.len() => &mut short[..],
        length => {
            long.resize(length, 0);
            &mut long[..]
        }
    };
    let json = base64url::decode_to_slice(header, buffer)
        .map_err(|error| DecodeError::Base64url { segment: Segment::Header, error })?;
    Ok(then(&JoseHeader::from_json(json).map_err(DecodeError::Header)?))
}

/// Decodes a payload segment into `buffer`.
fn decode_payload<'b>(payload: &str, buffer: &'b mut [u8]) -> Result<&'b [u8], DecodeError> {
    match base64url::decode_to_slice(payload, buffer) {
        Ok(payload) => Ok(payload),
        Err(Base64urlError::OutputTooShort { needed, given }) => {
            Err(DecodeError::BufferTooShort { needed, given })
        }
        Err(error) => Err(DecodeError::Base64url { segment: Segment::Payload, error }),
    }
}

/// Begins a token of type `typ` that `key` will sign, with the header segment and its dot. The
/// caller appends the payload.
pub(crate) fn begin(key: &Key, typ: &str, capacity: usize) -> Vec<u8> {
    let mut token = Vec::with_capacity(capacity);
    // The key has encoded its headers when it was made, so that a token costs only a copy.
    token.extend_from_slice(key.header_segment(typ).as_bytes());
    token.push(b'.');
    token
}

/// Encodes the payload in place, from `start` to the end of the token, computes the MAC meanwhile,
/// and appends the signature.
pub(crate) fn finish(mut token: Vec<u8>, start: usize, key: &Key) -> Result<String, EncodeError> {
    let payload_len = token.len() - start;
    let signed_len = start + base64url::encoded_len(payload_len);
    let length = signed_len + 1 + base64url::encoded_len(key.algorithm().hash_len());
    // No validation accepts a longer token.
    let limit = Validation::HIGHEST_MAX_TOKEN_LEN;
    if length > limit {
        return Err(EncodeError::TooLong { length, limit });
    }
    // The JSON was written into the token's own buffer, so most tokens need one allocation.
    token.reserve_exact(length - token.len());
    token.resize(length, b'.'); // One dot remains, before the signature.
    let (signing_input, signature) = token.split_at_mut(signed_len);
    let mut payload = InPlace::new(signing_input, start, payload_len);
    let tag = key.hmac().tag_of_written(signing_input, |input, end| payload.write_to(input, end));
    base64url::encode_exact(tag.as_ref(), signature.split_at_mut(1).1);
    Ok(String::from_utf8(token).expect("base64url and dots are ASCII"))
}

/// Refuses a token of more than `limit` bytes.
fn check_len(token: &str, limit: usize) -> Result<(), DecodeError> {
    let length = token.len();
    if length > limit { Err(DecodeError::TooLong { length, limit }) } else { Ok(()) }
}

/// Searches 32 bytes at a time.
fn has_dot(text: &str) -> bool {
    let has_dot =
        |many: &[u8; 32]| many.iter().fold(0, |any, byte| any | u8::from(*byte == b'.')) != 0;
    let text = text.as_bytes();
    let Some(last) = text.last_chunk() else { return text.contains(&b'.') };
    // The last 32 bytes may overlap with the others. Searching them twice is faster than searching
    // the rest byte by byte.
    has_dot(last) || text.chunks_exact(32).filter_map(<[u8]>::first_chunk).any(has_dot)
}

/// Requires `alg` to be exactly the name of the key's algorithm.
pub(crate) fn check_algorithm(header: &JoseHeader<'_>, key: &Key) -> Result<(), DecodeError> {
    let expected = key.algorithm();
    match header.alg.as_text() {
        // RFC 8725 §3.1: the algorithm comes from the key. The header only has to agree.
        Some(name) if name == expected.as_str() => Ok(()),
        found => Err(DecodeError::Algorithm { expected, found: found.map(Excerpt::new) }),
    }
}

/// Refuses the parameters of extensions. kippu understands no extension, so the header must not
/// name one (RFC 7515 §4.1.11, RFC 7797 §6).
pub(crate) fn check_extensions(header: &JoseHeader<'_>) -> Result<(), DecodeError> {
    if header.crit != Parameter::Absent {
        return Err(DecodeError::Critical { parameter: "crit" });
    }
    if header.b64 != Parameter::Absent {
        return Err(DecodeError::Critical { parameter: "b64" });
    }
    Ok(())
}

/// Returns `typ`, which may be absent but must be a string if it is present.
pub(crate) fn typ<'h>(header: &'h JoseHeader<'_>) -> Result<Option<&'h str>, DecodeError> {
    match &header.typ {
        Parameter::Absent => Ok(None),
        Parameter::Text(typ) => Ok(Some(typ)),
        Parameter::OtherType => Err(DecodeError::TypeNotText),
    }
}

/// Requires `typ` to be one of the expected types.
pub(crate) fn check_typ(typ: Option<&str>, validation: &Validation) -> Result<(), DecodeError> {
    if validation.accepts_typ(typ) {
        return Ok(());
    }
    let expected = validation.expected_typs();
    Err(DecodeError::Type { found: typ.map(Excerpt::new), expected })
}
