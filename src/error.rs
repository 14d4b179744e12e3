//! The errors of [`encode`](crate::encode) and [`decode`](crate::decode). The modules below those
//! two functions return them, too.

use alloc::boxed::Box;
use core::fmt;

use crate::{
    algorithm::Algorithm, base64url::Base64urlError, claims::RegisteredClaim,
    debug::debug_by_message, excerpt::Excerpt, json::JsonError, numeric_date::NumericDate,
    validation::ClaimError,
};

/// Why [`encode`](crate::encode) cannot make a token of the claims.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The claims cannot be written as JSON: a map has keys that are not strings, or the type's own
    /// `Serialize` implementation failed.
    #[error("the claims cannot be written as JSON: {reason}")]
    Serialize {
        /// The message of serde_json.
        reason: Box<str>,
    },
    /// The claims are not a JSON object (RFC 7519 §4), or they are an object that
    /// [`decode`](crate::decode) would refuse, for example one with two members of the same name.
    #[error("the claims are not a claims set: {0}")]
    Claims(JsonError),
    /// A registered claim is null, which is not the same as absent. A field that is `None` and a
    /// number that is not finite are written as null.
    #[error(
        "the claim {claim} is null: for a None, write #[serde(skip_serializing_if = \"Option::is_none\")] above the field"
    )]
    Null {
        /// The claim.
        claim: RegisteredClaim,
    },
    /// The value of a registered claim does not have the JSON type that RFC 7519 §4.1 defines.
    #[error("the claim {claim} is not {}", claim.json_type())]
    WrongType {
        /// The claim.
        claim: RegisteredClaim,
    },
    /// The token would be longer than any recipient can allow
    /// ([`Validation::HIGHEST_MAX_TOKEN_LEN`](crate::Validation::HIGHEST_MAX_TOKEN_LEN)).
    #[error("the token would have {length} bytes, more than {limit}")]
    TooLong {
        /// The length of the token, in bytes.
        length: usize,
        /// The limit.
        limit: usize,
    },
}

debug_by_message!(EncodeError);

/// Why a token is refused.
///
/// The error is the first check that fails, in this order: the length, the three segments, the
/// header (base64url, then JSON), `crit` and `b64`, `typ`, `kid`, `alg`, the signature (base64url,
/// then the MAC), the payload (the caller's buffer, base64url, then JSON), the clock, the time of
/// the key, `exp`, `nbf`, `iat`, `iss`, `aud`, `sub`, `jti`, other required claims, and the
/// caller's type.
///
/// [`Display`](fmt::Display) and the fields are for the operator. They contain no secret, no
/// signature, and of the token only an excerpt of the part that is wrong.
/// [`DecodeError::client_message`] is the text for the sender of the token.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The token is longer than [`Validation::max_token_len`](crate::Validation::max_token_len)
    /// allows. Nothing else was checked.
    #[error("the token has {length} bytes, more than {limit}")]
    TooLong {
        /// The length of the token, in bytes.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// The token does not have three segments with a dot between them (RFC 7515 §7.1).
    #[error("the token does not have three segments")]
    Segments,
    /// A segment is not canonical base64url.
    #[error("the {segment} segment: {error}")]
    Base64url {
        /// The segment.
        segment: Segment,
        /// The fault, with offsets in the segment.
        error: Base64urlError,
    },
    /// The header is not one strict JSON object (RFC 7515 §5.2).
    #[error("the header: {0}")]
    Header(JsonError),
    /// `alg` is not the name of the key's algorithm. `found` is `None` if `alg` is absent or not a
    /// string.
    #[error("the key is for {expected}, the header names {}", Found(.found.as_ref()))]
    Algorithm {
        /// The algorithm of the key.
        expected: Algorithm,
        /// The value of `alg`.
        found: Option<Excerpt>,
    },
    /// The header has a `crit` or a `b64` (RFC 7515 §4.1.11, RFC 7797). kippu supports no
    /// extension, and RFC 7515 forbids ignoring one that is marked as critical.
    #[error("the header has the parameter {parameter}, and no extension is supported")]
    Critical {
        /// `crit` or `b64`.
        parameter: &'static str,
    },
    /// `typ` is not the type that [`Validation::typ`](crate::Validation::typ) expects. `found` is
    /// `None` if `typ` is absent.
    #[error("the type of the token is {}, expected {expected}", Found(.found.as_ref()))]
    Type {
        /// The value of `typ`.
        found: Option<Excerpt>,
        /// The expected types.
        expected: Box<str>,
    },
    /// `typ` is present but not a string.
    #[error("the header's typ is not a string")]
    TypeNotText,
    /// `kid` is present but not a string (RFC 7515 §4.1.4).
    #[error("the header's kid is not a string")]
    KidNotText,
    /// No key has this `kid`.
    #[error("no key has the kid {kid}")]
    UnknownKid {
        /// The value of `kid`.
        kid: Excerpt,
    },
    /// The header has no `kid`, and the set of keys does not try each key (see
    /// [`KeySet::try_all_without_kid`](crate::KeySet::try_all_without_kid)).
    #[error("the header has no kid, so no key can be chosen")]
    MissingKid,
    /// The signature does not match: the token was changed, or signed with another secret.
    #[error("the signature is wrong")]
    Signature,
    /// The signature is correct, but the key that made it has been retired
    /// ([`KeySet::retire`](crate::KeySet::retire)) and its time has ended.
    #[error("signed with a key that verifies until {until}, now {now}")]
    KeyRetired {
        /// The end of the key's time.
        until: NumericDate,
        /// The recipient's time.
        now: NumericDate,
    },
    /// The session of the access token has ended, for example by a logout: see
    /// [`EndedSessions`](crate::session::EndedSessions).
    #[error("the session of the token has ended")]
    SessionEnded,
    /// The server does not know whether the session of the access token has ended. It refuses the
    /// token, which may be valid. See [`EndedSessions`](crate::session::EndedSessions).
    #[error("{reason}")]
    EndedUnknown {
        /// The reason, for the operator.
        reason: &'static str,
    },
    /// The caller's buffer is shorter than the payload.
    #[error("the payload has {needed} bytes, the buffer {given}")]
    BufferTooShort {
        /// The bytes of the payload.
        needed: usize,
        /// The bytes of the buffer.
        given: usize,
    },
    /// The payload is not one strict JSON object (RFC 7519 §7.2).
    #[error("the payload: {0}")]
    Payload(JsonError),
    /// There is no clock. Without the feature `std`, set the time with
    /// [`Validation::at`](crate::Validation::at) or
    /// [`Validation::clock`](crate::Validation::clock).
    #[error("no clock")]
    NoClock,
    /// A registered claim has a value that is not accepted, or a required claim is missing.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The token is valid, but its claims do not fit the caller's type.
    #[error(
        "the claims do not fit the type they are decoded into: {reason} at line {line} column {column}"
    )]
    Claims {
        /// The message of serde_json, at most 256 bytes.
        reason: Box<str>,
        /// The line of the payload, counted from 1.
        line: usize,
        /// The column in that line, in bytes, counted from 1.
        column: usize,
    },
}

debug_by_message!(DecodeError);

impl DecodeError {
    /// Returns what the server may report to the sender of the token, for example in the
    /// `error_description` of RFC 6750 §3. The text says what the sender can act on, and nothing
    /// about keys or about the names that the recipient expects.
    pub fn client_message(&self) -> &'static str {
        match self {
            _ if self.is_expired() => "the token has expired",
            Self::Claim(ClaimError::NotYetValid { .. } | ClaimError::IssuedInFuture { .. }) => {
                "the token is not valid yet"
            }
            Self::TooLong { .. } => "the token is too long",
            // Faults of the recipient: the token may be valid.
            Self::NoClock | Self::BufferTooShort { .. } | Self::EndedUnknown { .. } => {
                "the token could not be verified"
            }
            _ => "the token is invalid",
        }
    }

    /// Returns whether the token was valid once and has expired since, by its `exp` or by
    /// [`Validation::max_age`](crate::Validation::max_age). The client has to get a new one.
    pub fn is_expired(&self) -> bool {
        matches!(self, Self::Claim(ClaimError::Expired { .. } | ClaimError::TooOld { .. }))
    }

    /// Returns what the operator can do about the error, in one sentence.
    /// [`explain()`](crate::explain()) shows which checks fail. Like [`Display`](fmt::Display), the
    /// sentence is not for the sender of the token.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => {
                "put fewer claims into the token, or raise Validation::max_token_len if tokens may be this long"
            }
            Self::Segments | Self::Base64url { .. } => {
                "pass only the token, and all of it: without \"Bearer\", quotes, spaces or line breaks"
            }
            Self::Header(_) | Self::Payload(_) | Self::TypeNotText | Self::KidNotText => {
                "report it to the issuer: the token that it signed does not follow the RFCs"
            }
            Self::Algorithm { .. } => {
                "use the key that the token was signed with; use another library if the token is not signed with HMAC"
            }
            Self::Critical { .. } => "ask the issuer for tokens without extensions",
            Self::Type { .. } => {
                "check whether the token was issued for another use, for example an ID token instead of an access token"
            }
            Self::UnknownKid { .. } => {
                "load the key of that kid; if the key was removed on purpose, the user has to log in again"
            }
            Self::MissingKid => {
                "have the issuer set a kid, or accept tokens without one with KeySet::try_all_without_kid"
            }
            Self::Signature => {
                "compare the keys of issuer and recipient, byte by byte after decoding; if they are equal, the token was changed"
            }
            Self::KeyRetired { .. } => "get a new token, signed with the current key",
            Self::SessionEnded => "the user has to log in again",
            Self::EndedUnknown { .. } => {
                "check that the task of EndedSessions runs and reaches the store, and that its access_lifetime is that of the issuer"
            }
            Self::BufferTooShort { .. } => "give decode_borrowed a longer buffer",
            Self::NoClock => "set the time with Validation::at or Validation::clock",
            Self::Claims { .. } => "compare the type with the claims that the issuer writes",
            Self::Claim(error) => claim_advice(error),
        }
    }
}

fn claim_advice(error: &ClaimError) -> &'static str {
    match error {
        ClaimError::Missing { .. } => {
            "have the issuer write the claim, or do not expect it of these tokens"
        }
        ClaimError::WrongType { .. } => {
            "report it to the issuer: RFC 7519 gives the claim another type, and null is not allowed; to accept tokens that were issued already, see Validation::null_means_absent and Validation::numeric_subject"
        }
        ClaimError::Malformed { .. } => {
            "report it to the issuer: the specification of the claim defines another form"
        }
        ClaimError::Expired { .. } | ClaimError::TooOld { .. } => {
            "get a new token; if this one is new, compare the clocks of issuer and recipient"
        }
        ClaimError::NotYetValid { .. } | ClaimError::IssuedInFuture { .. } => {
            "wait, or compare the clocks of issuer and recipient; a time in milliseconds instead of seconds has the same effect"
        }
        ClaimError::Issuer { .. }
        | ClaimError::Subject { .. }
        | ClaimError::Audience { .. }
        | ClaimError::JwtId { .. } => {
            "if the token is meant for this recipient, expect exactly the value in the token; otherwise the refusal is correct"
        }
        ClaimError::AudienceUnexpected { .. } => {
            "name this recipient with Validation::audience, or accept any audience with Validation::any_audience"
        }
    }
}

/// A segment of the compact serialization (RFC 7515 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// The JOSE header.
    Header,
    /// The payload.
    Payload,
    /// The signature.
    Signature,
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Payload => "payload",
            Self::Signature => "signature",
        })
    }
}

/// Prints the value that was found, or "none".
struct Found<'e>(Option<&'e Excerpt>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(found) => found.fmt(f),
            None => f.write_str("none"),
        }
    }
}
