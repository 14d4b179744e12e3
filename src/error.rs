//! The errors of [`encode`](crate::encode) and [`decode`](crate::decode), which the rooms below them share.

use alloc::boxed::Box;
use core::fmt;

use crate::{
    algorithm::Algorithm, base64url::Base64urlError, claims::RegisteredClaim,
    debug::debug_by_message, excerpt::Excerpt, json::JsonError, numeric_date::NumericDate,
    validation::ClaimError,
};

/// Why claims make no token.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The claims cannot be written as JSON: a map has keys that are no strings, or the type's own
    /// `Serialize` failed.
    #[error("the claims cannot be written as JSON: {reason}")]
    Serialize {
        /// What serde_json says.
        reason: Box<str>,
    },
    /// The claims are another JSON value than an object (RFC 7519 §4), or an object that
    /// [`decode`](crate::decode) would not read: with two members of one name, say.
    #[error("the claims are no claims set: {0}")]
    Claims(JsonError),
    /// A registered claim is null, which is not the same as absent: a field that is `None`, or a number that is not finite.
    #[error(
        "the claim {claim} is null: for a None, write #[serde(skip_serializing_if = \"Option::is_none\")] above the field"
    )]
    Null {
        /// The claim.
        claim: RegisteredClaim,
    },
    /// A registered claim has another JSON type than RFC 7519 §4.1 gives it.
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
/// The error is the first check that fails, in this order: the length, the three segments, the header (base64url, then
/// JSON), `crit` and `b64`, `typ`, `kid`, `alg`, the signature (base64url, then the MAC), the payload (the caller's buffer,
/// base64url, then JSON), the clock, the time of the key, `exp`, `nbf`, `iat`, `iss`, `aud`, `sub`, `jti`, other required
/// claims, and the caller's type.
///
/// [`Display`](fmt::Display) and the fields are for the operator. They hold no secret, no signature and
/// no more of the token than an excerpt of what is wrong with it. What the sender of the token may be
/// told is [`DecodeError::client_message`].
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Longer than [`Validation::max_token_len`](crate::Validation::max_token_len) allows; not looked at.
    #[error("the token has {length} bytes, more than {limit}")]
    TooLong {
        /// The length of the token, in bytes.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// Not three segments with a dot between them (RFC 7515 §7.1).
    #[error("the token does not have three segments")]
    Segments,
    /// A segment is not canonical base64url.
    #[error("the {segment} segment: {error}")]
    Base64url {
        /// The segment.
        segment: Segment,
        /// What is wrong with it, with offsets in the segment.
        error: Base64urlError,
    },
    /// The header is not one strict JSON object (RFC 7515 §5.2).
    #[error("the header: {0}")]
    Header(JsonError),
    /// `alg` is not the key's algorithm; none is found where it is absent or no string.
    #[error("the key is for {expected}, the header names {}", Found(.found.as_ref()))]
    Algorithm {
        /// The algorithm of the key.
        expected: Algorithm,
        /// What `alg` says.
        found: Option<Excerpt>,
    },
    /// The header has a `crit` or a `b64` (RFC 7515 §4.1.11, RFC 7797): no extension is understood, and
    /// none may be overlooked.
    #[error("the header has the parameter {parameter}, and no extension is supported")]
    Critical {
        /// `crit` or `b64`.
        parameter: &'static str,
    },
    /// `typ` is not what [`Validation::typ`](crate::Validation::typ) expects; none is found where it is
    /// absent or no string.
    #[error("the type of the token is {}, expected {expected}", Found(.found.as_ref()))]
    Type {
        /// What `typ` says.
        found: Option<Excerpt>,
        /// What is expected.
        expected: Box<str>,
    },
    /// `typ` is there and no string.
    #[error("the header's typ is no string")]
    TypeNotText,
    /// `kid` is there and no string (RFC 7515 §4.1.4).
    #[error("the header's kid is no string")]
    KidNotText,
    /// No key has this `kid`.
    #[error("no key has the kid {kid}")]
    UnknownKid {
        /// What `kid` says.
        kid: Excerpt,
    },
    /// The header has no `kid`, and the set of keys does not try all of them.
    #[error("the header has no kid to choose a key by")]
    MissingKid,
    /// The signature is not the one that the key makes for this header and payload.
    #[error("the signature is wrong")]
    Signature,
    /// The signature is right, but the time of the key it was made with is over
    /// ([`KeySet::retire`](crate::KeySet::retire)).
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
    /// It is not known whether the session of the access token has ended, and so the token is refused: the token may be valid.
    /// See [`EndedSessions`](crate::session::EndedSessions).
    #[error("{reason}")]
    EndedUnknown {
        /// Why.
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
    /// There is no clock: without the feature `std`, give the time by
    /// [`Validation::at`](crate::Validation::at) or [`Validation::clock`](crate::Validation::clock).
    #[error("no clock: give the validation a time or a clock")]
    NoClock,
    /// A registered claim is not as it has to be, or one that is required is missing.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The token is good, but its claims do not fit the caller's type.
    #[error(
        "the claims do not fit the type they are decoded into: {reason} at line {line} column {column}"
    )]
    Claims {
        /// The message of serde_json, up to 256 bytes.
        reason: Box<str>,
        /// The line of the payload, from 1 on.
        line: usize,
        /// The column in that line, in bytes, from 1 on.
        column: usize,
    },
}

debug_by_message!(DecodeError);

impl DecodeError {
    /// What the sender of the token may be told, for the `error_description` of RFC 6750 §3 say: what it
    /// can act on, and nothing of keys or of the names that the recipient expects.
    pub fn client_message(&self) -> &'static str {
        match self {
            _ if self.is_expired() => "the token has expired",
            Self::Claim(ClaimError::NotYetValid { .. } | ClaimError::IssuedInFuture { .. }) => {
                "the token is not valid yet"
            }
            Self::TooLong { .. } => "the token is too long",
            Self::NoClock | Self::BufferTooShort { .. } | Self::EndedUnknown { .. } => {
                "the token could not be verified"
            }
            _ => "the token is invalid",
        }
    }

    /// Whether the token was good once and has expired, by its `exp` or by [`Validation::max_age`](crate::Validation::max_age):
    /// the client gets a new one.
    pub fn is_expired(&self) -> bool {
        matches!(self, Self::Claim(ClaimError::Expired { .. } | ClaimError::TooOld { .. }))
    }

    /// What the operator can do about it, in one sentence; [`explain()`](crate::explain()) finds what "it" is. Like
    /// [`Display`](fmt::Display), it is not for the sender of the token.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => {
                "put less into the token, or raise Validation::max_token_len if the issuer is right"
            }
            Self::Segments | Self::Base64url { .. } => {
                "pass the token alone and whole: no \"Bearer\", quotes, spaces or line breaks, nothing cut off"
            }
            Self::Header(_) | Self::Payload(_) | Self::TypeNotText | Self::KidNotText => {
                "report it to the issuer: what it has signed is not what the RFCs allow"
            }
            Self::Algorithm { .. } => {
                "use the key that the token was signed with; a token of another kind than HMAC is for another library"
            }
            Self::Critical { .. } => "ask the issuer for tokens without extensions",
            Self::Type { .. } => {
                "look whether this is a token for another use, an ID token for an access token, say"
            }
            Self::UnknownKid { .. } => {
                "load the key of that kid; if it was removed on purpose, the user has to log in again"
            }
            Self::MissingKid => {
                "have the issuer name a kid, or allow tokens without one by KeySet::try_all_without_kid"
            }
            Self::Signature => {
                "compare the keys of issuer and recipient, byte by byte after decoding; if they agree, the token was changed"
            }
            Self::KeyRetired { .. } => "get a new token, signed with the current key",
            Self::SessionEnded => "the user has to log in again",
            Self::EndedUnknown { .. } => {
                "look whether the task of EndedSessions runs and reaches the store, and whether its access_lifetime is the issuer's"
            }
            Self::BufferTooShort { .. } => "give decode_borrowed a longer buffer",
            Self::NoClock => "give the time by Validation::at or Validation::clock",
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
            "report it to the issuer: RFC 7519 gives the claim another type, and null is none; for tokens that are out already, see Validation::null_means_absent and Validation::numeric_subject"
        }
        ClaimError::Malformed { .. } => {
            "report it to the issuer: the specification of the claim gives it another form"
        }
        ClaimError::Expired { .. } | ClaimError::TooOld { .. } => {
            "get a new token; if this one is new, compare the clocks of issuer and recipient"
        }
        ClaimError::NotYetValid { .. } | ClaimError::IssuedInFuture { .. } => {
            "wait, or compare the clocks of issuer and recipient; milliseconds in the place of seconds look like this too"
        }
        ClaimError::Issuer { .. }
        | ClaimError::Subject { .. }
        | ClaimError::Audience { .. }
        | ClaimError::JwtId { .. } => {
            "expect what the token says, letter by letter, if it is meant for this recipient; otherwise it is rightly refused"
        }
        ClaimError::AudienceUnexpected { .. } => {
            "name this recipient by Validation::audience, or accept any by Validation::any_audience"
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

/// What was found, or that nothing was.
struct Found<'e>(Option<&'e Excerpt>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(found) => found.fmt(f),
            None => f.write_str("none"),
        }
    }
}
