//! Advice on errors of the library, in the words of the command: it names options, where the
//! library's own names calls.
//!
//! It does not call a token a breach of an RFC if the RFC leaves the matter open.

use std::borrow::Cow;

use kippu::{
    ClaimError, DecodeError, EncodeError, InvalidOption, JsonError, JwkError, KeyError,
    KeySetError, RegisteredClaim,
};

use crate::misplaced;

/// What to do about a token that is refused with `error`.
pub(crate) fn on_token(error: &DecodeError, token: &str) -> Cow<'static, str> {
    match error {
        DecodeError::TooLong { .. } => {
            "have the issuer put less into the token, or accept a longer one with --max-length BYTES".into()
        }
        DecodeError::Segments | DecodeError::Base64url { .. } => {
            misplaced::in_place_of_a_token(token)
                .unwrap_or("pass the token alone and whole, with nothing cut off")
                .into()
        }
        DecodeError::Header(error) => {
            misplaced::in_place_of_a_token(token).unwrap_or_else(|| on_json(error)).into()
        }
        // A line break in the payload is found by its signature.
        DecodeError::Signature => {
            misplaced::in_place_of_a_token(token).unwrap_or_else(|| error.advice()).into()
        }
        // RFC 7515 lets a signed payload be anything, and RFC 7519 §7.2 lets it be another token.
        DecodeError::Payload(JsonError::NotUtf8 { .. } | JsonError::NotAnObject) => {
            "verify it with another tool if this is meant: the payload may be a token itself, or other data; kippu is for claims, a JSON object"
                .into()
        }
        DecodeError::Payload(error) => on_json(error).into(),
        DecodeError::TypeNotText | DecodeError::KidNotText => {
            "report it to the issuer: RFC 7515 §4.1 wants a string there".into()
        }
        DecodeError::Algorithm { found, .. } => match found.as_ref().map(kippu::Excerpt::as_str) {
            Some("HS256" | "HS384" | "HS512") => {
                "pass the key that the token was signed with; --alg sets the algorithm of a key that names none".into()
            }
            Some(name) if name.eq_ignore_ascii_case("none") => {
                "do not accept it: it has no signature, and anyone can have written it".into()
            }
            _ => "verify it with another tool: kippu is for HS256, HS384 and HS512".into(),
        },
        DecodeError::Type { .. } => {
            "compare it with --typ: this may be a token for another use, for example an ID token in the place of an access token"
                .into()
        }
        DecodeError::UnknownKid { .. } => {
            "pass the key of that kid; if it was removed on purpose, get a new token".into()
        }
        DecodeError::MissingKid => {
            "the kid is optional (RFC 7515 §4.1.4): --try-all-keys tries each key of the set".into()
        }
        DecodeError::Claim(error) => on_claim(error),
        DecodeError::SessionEnded
        | DecodeError::EndedUnknown { .. }
        | DecodeError::BufferTooShort { .. }
        | DecodeError::NoClock
        | DecodeError::Claims { .. } => {
            "this is a defect of the command: no token should lead to it".into()
        }
        _ => error.advice().into(),
    }
}

fn on_json(error: &JsonError) -> &'static str {
    match error {
        JsonError::NotUtf8 { .. } | JsonError::NotAnObject => {
            "report it to the issuer: a header is a JSON object in UTF-8 (RFC 7515 §4)"
        }
        JsonError::DuplicateMember { .. } => {
            "report it to the issuer: readers differ in which of the two members they take"
        }
        JsonError::Syntax { reason, .. } if LEFT_OPEN.contains(reason) => {
            "ask the issuer to leave it out: RFC 8259 lets a reader refuse it, and kippu does"
        }
        JsonError::Syntax { .. } => "report it to the issuer: it is not JSON (RFC 8259)",
        _ => "ask the issuer to leave it out: no RFC forbids it, it is a limit of kippu",
    }
}

/// The reasons that RFC 8259 allows, and lets a reader refuse: §9 for the depth, §8.2 for
/// surrogates, §6 for the range.
const LEFT_OPEN: [&str; 3] = [
    "it nests deeper than 127",
    "half of a surrogate pair",
    "a number is beyond the range of a double",
];

fn on_claim(error: &ClaimError) -> Cow<'static, str> {
    match error {
        ClaimError::Missing { claim } => match claim.as_ref() {
            "exp" => "RFC 7519 leaves exp optional: --expiry-optional accepts a token without it, which never expires".into(),
            claim => {
                let option = match claim {
                    "iss" => "--issuer or --require",
                    "aud" => "--audience or --require",
                    "sub" => "--subject or --require",
                    "iat" => "--max-age or --require",
                    _ => "--require",
                };
                format!("have the issuer write the claim, or leave {option} out").into()
            }
        },
        ClaimError::WrongType { claim: RegisteredClaim::Subject } => {
            "report it to the issuer (RFC 7519 §4.1.2); for tokens that are out already there are --numeric-subject and --null-means-absent"
                .into()
        }
        ClaimError::WrongType { .. } => {
            "report it to the issuer (RFC 7519 §4.1); if the claim is null, there is --null-means-absent".into()
        }
        ClaimError::Expired { .. } | ClaimError::TooOld { .. } => {
            "get a new token; if this one is new, compare the clocks of issuer and recipient; --at tries another time".into()
        }
        ClaimError::NotYetValid { .. } | ClaimError::IssuedInFuture { .. } => {
            "wait, or compare the clocks of issuer and recipient (--leeway); milliseconds in the place of seconds look like this too"
                .into()
        }
        ClaimError::Issuer { .. } => expected("--issuer"),
        ClaimError::Subject { .. } => expected("--subject"),
        ClaimError::Audience { .. } => expected("--audience"),
        ClaimError::AudienceUnexpected { .. } => {
            "name the recipient with --audience, or accept any with --any-audience".into()
        }
        error => DecodeError::Claim(error.clone()).advice().into(),
    }
}

fn expected(option: &str) -> Cow<'static, str> {
    format!("if the token is meant for this recipient, pass exactly that with {option}; otherwise it is rightly refused")
        .into()
}

/// Why claims make no token, and what to do.
pub(crate) fn on_claims(error: &EncodeError) -> String {
    match error {
        EncodeError::Null { claim } => {
            format!("the claim {claim} is null: leave it out, which is not the same")
        }
        error => error.to_string(),
    }
}

/// Why two options contradict each other, or why one is out of its range.
pub(crate) fn on_option(error: &InvalidOption) -> String {
    let options = match error {
        InvalidOption::AudienceExpected => "--any-audience contradicts --audience",
        InvalidOption::ExpiryRequired => "--expiry-optional contradicts --require exp",
        InvalidOption::SubjectExpected => "--numeric-subject contradicts --subject",
        error => return error.to_string(),
    };
    format!("{options}: leave one of them out")
}

/// Why a text makes no keys, and what to do.
pub(crate) fn on_keys(error: &JwkError) -> String {
    let advice = match error {
        JwkError::NoKeys => "pass a set with at least one key for HMAC",
        JwkError::NoSigningKey | JwkError::Set(KeySetError::VerifyOnly) => {
            return "no key may sign: its key_ops (RFC 7517 §4.3) are without \"sign\", because it has been replaced or is not in use yet; \
                    sign with the current key, or make one with kippu keygen"
                .into();
        }
        JwkError::SeveralSigningKeys { first, second } => {
            return format!(
                "which key of the set signs, {first} or {second}? Select it with --kid; all others should have \"key_ops\":[\"verify\"]"
            );
        }
        JwkError::UnknownSigningKey { .. } => "compare --kid with the kids of the set",
        JwkError::KeyType { .. } | JwkError::Use { .. } | JwkError::KeyOperations { .. } => {
            OTHER_KIND
        }
        JwkError::Key(KeyError::TooShort { .. }) => "kippu keygen makes a key that is long enough",
        JwkError::Algorithm { .. } => {
            "--alg has to be that of the key, HS256, HS384 or HS512; in a set, --skip-other-keys leaves other keys out"
        }
        JwkError::Set(KeySetError::MissingKid) => {
            return "a key of the set has no kid: a token finds its key by the kid, so give each key one".into();
        }
        _ => return with_options(error.to_string()),
    };
    with_options(format!("{error}; {advice}"))
}

const OTHER_KIND: &str = "kippu is for HMAC, and a key is \"kty\":\"oct\"; in a set, --skip-other-keys leaves other keys out";

/// The calls of the library in the advice on the form of a key, and what takes their place. A test
/// holds this against all forms.
const CALLS: [(&str, &str); 8] = [
    ("Key::from_hex reads it, in a file KeyFormat::Hex", "--key-format hex reads it"),
    ("Key::from_base64 reads it, in a file KeyFormat::Base64", "--key-format base64 reads it"),
    (
        "Key::from_base64url reads it, in a file KeyFormat::Base64url",
        "--key-format base64url reads it",
    ),
    ("Key::new takes them, in a file KeyFormat::Text", "--key-format text takes them"),
    ("Key::new takes them, in a file KeyFormat::Raw", "--key-format raw takes them"),
    ("Jwk::from_json reads it, in a file KeyFormat::Jwk", "--key-format jwk reads it"),
    (
        ": set it with Jwk::from_json_for or JwkSet::from_json_for, in a file with KeyFormat::JwkFor",
        ": set its algorithm with --alg, for example --alg HS256",
    ),
    (", so it is not a JWK Set: Jwk::from_json reads a single JWK", ""),
];

/// The message with options in the place of calls. Advice that names a call which is not known here
/// is left out.
fn with_options(message: String) -> String {
    let message =
        CALLS.iter().fold(message, |message, (call, option)| message.replace(call, option));
    match message.rsplit_once("; ") {
        Some((problem, advice)) if advice.contains("::") => problem.into(),
        _ => message,
    }
}

#[cfg(test)]
mod tests;
