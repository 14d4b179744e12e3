//! JWS Compact Serialization (RFC 7515 §7.1): a token in, its payload segment out, after the MAC held.
//!
//! The payload is not decoded here, so nothing can have looked at it before. The algorithm is the
//! key's; the header has to agree. The work is linear in the token's length, whoever wrote it.

use alloc::vec;

use crate::{
    base64url::{self, Base64urlError},
    error::{DecodeError, Segment},
    excerpt::Excerpt,
    header::{JoseHeader, Parameter},
    hmac::MAX_TAG_LEN,
    key::{Key, OwnHeader},
    key_set::{Candidates, Keys},
    numeric_date::NumericDate,
    validation::Validation,
};

/// What a verifier may use of a token whose MAC holds.
#[derive(Debug)]
pub(crate) struct Verified<'t> {
    /// The payload, still encoded.
    pub(crate) payload: &'t str,
    /// When the time of the key ends that it was signed with.
    pub(crate) until: Option<NumericDate>,
}

/// Verifies everything about a token but its claims.
#[inline]
pub(crate) fn verify<'t>(
    token: &'t str,
    keys: &(impl Keys + ?Sized),
    validation: &Validation,
) -> Result<Verified<'t>, DecodeError> {
    check_length(token, validation)?;
    // A header that this crate wrote for a key: what it says is known, and where it ends.
    let mut verdict = None;
    let mut verifies = |key: &Key, until| {
        verdict = key.own_header(token).and_then(|header| {
            let segments = Segments::of_own(token, key, header)?;
            Some(
                segments
                    .verify_own(key, header, validation)
                    .map(|payload| Verified { payload, until }),
            )
        });
        verdict.is_some()
    };
    keys.find_by_header(token, &mut Candidates::new(&mut verifies));
    if let Some(verdict) = verdict {
        return verdict;
    }
    let segments = Segments::split(token)?;
    let until = segments.with_header(|header| {
        check_extensions(header)?;
        check_typ(typ(header)?, validation)?;
        segments.check_signature(header, keys)
    })??;
    Ok(Verified { payload: segments.payload, until })
}

/// A token that is too long is not looked at.
#[inline]
pub(crate) fn check_length(token: &str, validation: &Validation) -> Result<(), DecodeError> {
    let (length, limit) = (token.len(), validation.token_len_limit());
    if length > limit {
        return Err(DecodeError::TooLong { length, limit });
    }
    Ok(())
}

/// A token taken apart, with nothing decoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segments<'t> {
    pub(crate) header: &'t str,
    pub(crate) payload: &'t str,
    signature: &'t str,
    /// Header and payload with the dot between them: what the MAC is over (RFC 7515 §5.1).
    signing_input: &'t str,
}

impl<'t> Segments<'t> {
    pub(crate) fn split(token: &'t str) -> Result<Self, DecodeError> {
        let (signing_input, signature) = token.rsplit_once('.').ok_or(DecodeError::Segments)?;
        let (header, payload) = signing_input.split_once('.').ok_or(DecodeError::Segments)?;
        if payload.contains('.') {
            return Err(DecodeError::Segments);
        }
        Ok(Self { header, payload, signature, signing_input })
    }

    /// As [`Segments::split`], for a token that begins with the key's own header segment and ends with a
    /// signature of the right length; where the segments end is known then. There may be a dot in the
    /// payload: it has to be refused where the payload is decoded, or before.
    #[inline]
    fn of_own(token: &'t str, key: &Key, header: &OwnHeader) -> Option<Self> {
        let signature_len = base64url::encoded_len(key.algorithm().hash_len());
        let (front, signature) = token.split_at_checked(token.len().checked_sub(signature_len)?)?;
        let signing_input = front.strip_suffix('.')?;
        let (header, rest) = signing_input.split_at_checked(header.segment.len())?;
        let payload = rest.strip_prefix('.')?;
        Some(Self { header, payload, signature, signing_input })
    }

    /// Verifies a token whose header is one that `key` writes, and hands out its payload.
    #[inline]
    fn verify_own(
        &self,
        key: &Key,
        header: &OwnHeader,
        validation: &Validation,
    ) -> Result<&'t str, DecodeError> {
        // Nobody has looked for a fourth segment yet, which is the first thing to say about a token that is refused.
        if let Err(error) = check_typ(Some(header.typ), validation) {
            return Err(self.unless_more(error));
        }
        match self.compare(key) {
            Signature::Right => Ok(self.payload),
            // A signature that was compared has been decoded, and has no dot.
            Signature::Wrong if has_dot(self.payload.as_bytes()) => Err(DecodeError::Segments),
            Signature::Wrong => Err(DecodeError::Signature),
            Signature::Misspelled => Err(self.unless_more(self.misspelled())),
        }
    }

    /// The fault of a token, unless it is that it has a fourth segment.
    #[cold]
    fn unless_more(&self, fault: DecodeError) -> DecodeError {
        let is_more = self.payload.contains('.') || self.signature.contains('.');
        if is_more { DecodeError::Segments } else { fault }
    }

    /// Reads the header and hands it to `then`.
    pub(crate) fn with_header<T>(
        &self,
        then: impl FnOnce(&JoseHeader<'_>) -> T,
    ) -> Result<T, DecodeError> {
        // Longer headers are rare; they may be allocated.
        let (mut short, mut long) = ([0; 256], vec![]);
        let buffer = match base64url::decoded_len(self.header.len()) {
            length if length <= short.len() => &mut short[..],
            length => {
                long.resize(length, 0);
                &mut long[..]
            }
        };
        let json = base64url::decode_to_slice(self.header, buffer)
            .map_err(|error| DecodeError::Base64url { segment: Segment::Header, error })?;
        Ok(then(&JoseHeader::from_json(json).map_err(DecodeError::Header)?))
    }

    /// Finds the key that the header names and checks the signature with it. Gives back the end of the
    /// key's time.
    pub(crate) fn check_signature(
        &self,
        header: &JoseHeader<'_>,
        keys: &(impl Keys + ?Sized),
    ) -> Result<Option<NumericDate>, DecodeError> {
        let kid = match &header.kid {
            Parameter::Absent => None,
            Parameter::Text(kid) => Some(kid.as_ref()),
            Parameter::OtherType => return Err(DecodeError::KidNotText),
        };
        // What is to say when no key fits: of the last one that could be tried, if any could.
        let mut outcome = Err(DecodeError::Signature);
        let mut tried = false;
        let mut verifies = |key: &Key, until| {
            let checked = check_algorithm(header, key).and_then(|()| {
                tried = true;
                self.check_mac(key)
            });
            if !(tried && matches!(checked, Err(DecodeError::Algorithm { .. }))) {
                outcome = checked.map(|()| until);
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

    /// Whether `key` makes this signature (RFC 7515 §5.2, step 8).
    fn check_mac(&self, key: &Key) -> Result<(), DecodeError> {
        match self.compare(key) {
            Signature::Right => Ok(()),
            Signature::Wrong => Err(DecodeError::Signature),
            Signature::Misspelled => Err(self.misspelled()),
        }
    }

    /// Compares this signature with the one that `key` makes.
    #[inline]
    fn compare(&self, key: &Key) -> Signature {
        let mut buffer = [0; MAX_TAG_LEN];
        match base64url::decode_to_slice(self.signature, &mut buffer) {
            Ok(tag) if key.hmac().verify(self.signing_input.as_bytes(), tag) => Signature::Right,
            // Longer than any tag is wrong, however it is spelled.
            Ok(_) | Err(Base64urlError::OutputTooShort { .. }) => Signature::Wrong,
            Err(_) => Signature::Misspelled,
        }
    }

    /// What is wrong about a signature that is no base64url.
    #[cold]
    fn misspelled(&self) -> DecodeError {
        match base64url::decode(self.signature) {
            Err(error) => DecodeError::Base64url { segment: Segment::Signature, error },
            Ok(_) => DecodeError::Signature,
        }
    }
}

/// How a signature compares with the one that a key makes.
enum Signature {
    Right,
    Wrong,
    /// No base64url.
    Misspelled,
}

/// Looks at all bytes, which the compiler does many at a time.
fn has_dot(text: &[u8]) -> bool {
    type Many = [u8; 32];
    let dots = |many: &Many| many.iter().fold(0, |dots, byte| dots | u8::from(*byte == b'.'));
    let Some(last) = text.last_chunk() else { return text.contains(&b'.') };
    let chunks = text.chunks_exact(size_of::<Many>()).filter_map(<[u8]>::first_chunk);
    // The last ones may have been looked at before, which is quicker than to look at what is left one by one.
    chunks.fold(dots(last), |all, many| all | dots(many)) != 0
}

/// `alg` has to be the name of the key's algorithm, exactly.
pub(crate) fn check_algorithm(header: &JoseHeader<'_>, key: &Key) -> Result<(), DecodeError> {
    let expected = key.algorithm();
    match header.alg.as_text() {
        Some(name) if name == expected.as_str() => Ok(()),
        found => Err(DecodeError::Algorithm { expected, found: found.map(Excerpt::new) }),
    }
}

/// No extension is understood, so that the header may name none (RFC 7515 §4.1.11, RFC 7797 §6).
pub(crate) fn check_extensions(header: &JoseHeader<'_>) -> Result<(), DecodeError> {
    if header.crit != Parameter::Absent {
        return Err(DecodeError::Critical { parameter: "crit" });
    }
    if header.b64 != Parameter::Absent {
        return Err(DecodeError::Critical { parameter: "b64" });
    }
    Ok(())
}

/// `typ`, which may be absent but nothing else than a string.
pub(crate) fn typ<'h>(header: &'h JoseHeader<'_>) -> Result<Option<&'h str>, DecodeError> {
    match &header.typ {
        Parameter::Absent => Ok(None),
        Parameter::Text(typ) => Ok(Some(typ)),
        Parameter::OtherType => Err(DecodeError::TypeNotText),
    }
}

/// `typ` has to be one that is expected.
#[inline]
pub(crate) fn check_typ(typ: Option<&str>, validation: &Validation) -> Result<(), DecodeError> {
    if validation.accepts_typ(typ) {
        return Ok(());
    }
    let expected = validation.expected_typs();
    Err(DecodeError::Type { found: typ.map(Excerpt::new), expected })
}
