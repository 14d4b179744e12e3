//! Cases of the form that `tests/vectors/README.md` tells: a line of JSON in, the verdict of this
//! crate out.

use core::time::Duration;

use kippu::{
    Algorithm, Audience, ClaimError, DecodeError, JsonError, Key, NumericDate, Validation,
    base64url, decode, decode_borrowed, explain,
};
use serde::{Deserialize, de::IgnoredAny};

/// One line of a corpus.
#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    alg: String,
    key_b64url: String,
    token: String,
    options: Options,
    expect: Expect,
    reason: String,
    alt_reasons: Vec<String>,
}

/// The expectations of the verifier. Each of `iss`, `aud` and `typ` may have several values.
#[derive(Debug, Deserialize)]
struct Options {
    now: NumericDate,
    leeway: u64,
    iss: Option<Audience>,
    aud: Option<Audience>,
    typ: Option<Audience>,
    require: Vec<String>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Expect {
    Accept,
    Reject,
}

impl Case {
    /// Nothing, when the verdict and its reason are as expected; otherwise the difference.
    pub(crate) fn difference(&self) -> Option<String> {
        let verdict = match self.verdict() {
            Ok(verdict) => verdict,
            Err(disagreement) => return Some(disagreement),
        };
        let right = match (&verdict, &self.expect) {
            (Ok(()), expect) => *expect == Expect::Accept,
            (Err(_), Expect::Accept) => false,
            (Err(reason), Expect::Reject) => {
                *reason == self.reason || self.alt_reasons.iter().any(|other| other == reason)
            }
        };
        let expected = match self.expect {
            Expect::Accept => "accepted".into(),
            Expect::Reject => format!("rejected: {} {:?}", self.reason, self.alt_reasons),
        };
        (!right).then(|| format!("expected {expected}; was {verdict:?}"))
    }

    /// Accepted, or the reason why not; an error when the ways to decode do not agree.
    fn verdict(&self) -> Result<Result<(), &'static str>, String> {
        let algorithm = self.alg.parse::<Algorithm>().map_err(|error| error.to_string())?;
        let secret = base64url::decode(&self.key_b64url).map_err(|error| error.to_string())?;
        let Ok(key) = Key::new(algorithm, secret) else { return Ok(Err("key")) };
        let validation = self.options.validation().map_err(|error| error.to_string())?;

        let token = &self.token;
        let verdict = decode::<serde_json::Value>(token, &key, &validation).map(|_| ());
        let mut buffer = vec![0; token.len()];
        let borrowed = decode_borrowed::<IgnoredAny>(token, &key, &validation, &mut buffer);
        if borrowed.map(|_| ()) != verdict {
            return Err("decode and decode_borrowed differ".into());
        }
        let explanation = explain(token, &key, &validation);
        if explanation.is_accepted() != verdict.is_ok() {
            return Err(format!("decode and explain differ:\n{explanation}"));
        }
        Ok(verdict.map_err(|error| reason(&error)))
    }
}

impl Options {
    fn validation(&self) -> Result<Validation, kippu::InvalidOption> {
        fn each(names: Option<&Audience>) -> impl Iterator<Item = String> + use<'_> {
            names.into_iter().flat_map(Audience::iter).cloned()
        }

        let mut validation =
            Validation::new().at(self.now).leeway(Duration::from_secs(self.leeway))?;
        if !self.require.iter().any(|claim| claim == "exp") {
            validation = validation.expiry_optional()?;
        }
        validation = each(self.iss.as_ref()).fold(validation, Validation::issuer);
        validation = each(self.aud.as_ref()).fold(validation, Validation::audience);
        validation = each(self.typ.as_ref()).fold(validation, Validation::typ);
        Ok(self.require.iter().cloned().fold(validation, Validation::require))
    }
}

/// The corpus' word for an error.
fn reason(error: &DecodeError) -> &'static str {
    match error {
        DecodeError::TooLong { .. } => "too_long",
        DecodeError::Segments => "malformed",
        DecodeError::Base64url { .. } => "base64",
        DecodeError::Header(JsonError::DuplicateMember { .. })
        | DecodeError::Payload(JsonError::DuplicateMember { .. }) => "duplicate_member",
        DecodeError::Header(_) | DecodeError::Payload(_) => "json",
        DecodeError::Algorithm { .. } => "alg",
        DecodeError::Critical { .. } => "crit",
        DecodeError::Type { .. } | DecodeError::TypeNotText => "typ",
        DecodeError::KidNotText | DecodeError::UnknownKid { .. } | DecodeError::MissingKid => "kid",
        DecodeError::Signature => "signature",
        DecodeError::Claim(error) => match error {
            ClaimError::Missing { .. } => "missing_claim",
            ClaimError::WrongType { .. } => "claim_type",
            ClaimError::Expired { .. } => "expired",
            ClaimError::NotYetValid { .. } => "not_before",
            ClaimError::IssuedInFuture { .. } => "issued_in_future",
            ClaimError::Issuer { .. } => "issuer",
            ClaimError::Audience { .. } | ClaimError::AudienceUnexpected { .. } => "audience",
            _ => "a claim that no corpus knows",
        },
        _ => "an error that no corpus knows",
    }
}
