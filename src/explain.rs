//! Runs every check of one token and reports each result, for a person who wants to know why the
//! token is refused.

use alloc::{borrow::Cow, vec, vec::Vec};
use core::fmt;

use crate::{
    claims::ClaimsSet,
    error::DecodeError,
    header::Parameter,
    jws::{self, Segments},
    key_set::Keys,
    validation::{CHECKS, Validation},
};

/// The result of each check of a token, in order. It prints one line for each check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    findings: Vec<Finding>,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The part of the token, the header parameter or the claim that was checked. The claims are
    /// the registered ones and those that [`Validation::require`] names.
    pub check: Cow<'static, str>,
    /// The outcome of the check.
    pub outcome: Outcome,
}

/// The outcome of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The check passed.
    Passed,
    /// The token does not have this part, and does not need it.
    Absent,
    /// The check failed. [`decode`](crate::decode) returns this error if no earlier check fails.
    Failed(DecodeError),
    /// The check was not run, because an earlier one failed. For example, the claims of a token
    /// with a wrong signature are not read.
    NotRun,
}

/// Runs every check of [`decode`](crate::decode) on `token`. It continues after a failed check as
/// far as possible. Each required claim that is missing has its own line.
/// [`Explanation::is_accepted`] says whether `decode` accepts the token, apart from the type that
/// it decodes into.
///
/// The function is for people and their logs: it allocates, and takes longer than `decode`.
///
/// ```
/// use kippu::{Key, NumericDate, Validation, encode, explain};
///
/// let key = Key::hs256([0x5a; 32])?;
/// let claims = serde_json::json!({ "iss": "https://evil.example", "exp": 1_300_819_380 });
/// let validation = Validation::new()
///     .issuer("https://auth.example")
///     .require("sub")
///     .require("role")
///     .at(NumericDate::from_seconds(1_300_819_440));
///
/// let explanation = explain(&encode(&claims, &key)?, &key, &validation);
/// assert_eq!(explanation.to_string(), "\
/// passed   length
/// passed   segments
/// passed   header
/// passed   crit and b64
/// passed   typ
/// absent   kid
/// passed   alg
/// passed   signature
/// passed   payload
/// passed   clock
/// passed   time of the key
/// FAILED   exp: expired: exp 1300819380, now 1300819440, leeway 60s
/// absent   nbf
/// absent   iat
/// FAILED   iss: iss is \"https://evil.example\", expected \"https://auth.example\"
/// absent   aud
/// FAILED   sub: the claim sub is missing
/// absent   jti
/// FAILED   role: the claim role is missing
/// ");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn explain(token: &str, keys: &(impl Keys + ?Sized), validation: &Validation) -> Explanation {
    explain_with(token, keys, validation, |_, _| ())
}

/// Runs the checks of [`explain`], and further checks of the claims: `more` is called with the
/// payload if the claims could be read.
pub(crate) fn explain_with(
    token: &str,
    keys: &(impl Keys + ?Sized),
    validation: &Validation,
    more: impl FnOnce(&mut Explanation, &str),
) -> Explanation {
    let mut explanation = Explanation { findings: Vec::new() };
    explanation.run(token, keys, validation, more);
    let claims = CHECKS.iter().map(|(claim, _)| Cow::Borrowed(claim.as_str()));
    let others = validation.required_others().iter().cloned().map(Cow::Owned);
    let checks = STAGES.into_iter().map(Cow::Borrowed).chain(claims).chain(others);
    for check in checks.skip(explanation.findings.len()) {
        explanation.findings.push(Finding { check, outcome: Outcome::NotRun });
    }
    explanation
}

const LENGTH: &str = "length";
const SEGMENTS: &str = "segments";
const HEADER: &str = "header";
const EXTENSIONS: &str = "crit and b64";
const TYP: &str = "typ";
const KID: &str = "kid";
const ALG: &str = "alg";
const SIGNATURE: &str = "signature";
const PAYLOAD: &str = "payload";
const CLOCK: &str = "clock";
const KEY_TIME: &str = "time of the key";

/// The checks before those of the claims, in their order.
const STAGES: [&str; 11] =
    [LENGTH, SEGMENTS, HEADER, EXTENSIONS, TYP, KID, ALG, SIGNATURE, PAYLOAD, CLOCK, KEY_TIME];

impl Explanation {
    /// Returns whether no check failed and all checks were run.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        let is_good = |outcome: &_| matches!(outcome, Outcome::Passed | Outcome::Absent);
        self.findings.iter().all(|finding| is_good(&finding.outcome))
    }

    /// Returns whether the signature is correct. If it is, the issuer wrote everything in the
    /// token, whatever else is wrong.
    #[must_use]
    pub fn is_authentic(&self) -> bool {
        let signature = self.findings.iter().find(|finding| finding.check == SIGNATURE);
        signature.is_some_and(|finding| finding.outcome == Outcome::Passed)
    }

    /// Returns the checks, in the order in which `decode` makes them.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Returns the checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &DecodeError)> {
        self.findings.iter().filter_map(|finding| match &finding.outcome {
            Outcome::Failed(error) => Some((&*finding.check, error)),
            Outcome::Passed | Outcome::Absent | Outcome::NotRun => None,
        })
    }

    /// Records that a claim of the token is not accepted.
    #[cfg(feature = "session")]
    pub(crate) fn fail(&mut self, claim: &'static str, error: DecodeError) {
        let failed = Outcome::Failed(error);
        match self.findings.iter_mut().find(|finding| finding.check == claim) {
            Some(Finding { outcome: outcome @ Outcome::Passed, .. }) => *outcome = failed,
            Some(_) => {}
            None => self.findings.push(Finding { check: claim.into(), outcome: failed }),
        }
    }

    /// Runs the checks until one fails that the following ones depend on.
    fn run(
        &mut self,
        token: &str,
        keys: &(impl Keys + ?Sized),
        validation: &Validation,
        more: impl FnOnce(&mut Self, &str),
    ) -> Option<()> {
        let segments = match Segments::split(token, validation.token_len_limit()) {
            Err(error @ DecodeError::TooLong { .. }) => return self.note(LENGTH, Err(error)),
            segments => {
                self.note(LENGTH, Ok(()));
                self.note(SEGMENTS, segments)?
            }
        };
        // The steps of `Segments::check_header`, which stops at the first error.
        let read = segments.with_header(|header| {
            self.note(HEADER, Ok(()));
            self.note(EXTENSIONS, jws::check_extensions(header));
            let typ = jws::typ(header).and_then(|typ| jws::check_typ(typ, validation));
            self.note_value(TYP, header.typ != Parameter::Absent, typ);
            let has_kid = header.kid != Parameter::Absent;
            self.note_signature(has_kid, segments.check_signature(header, keys))
        });
        let signer = match read {
            Ok(signer) => signer?,
            Err(error) => return self.note(HEADER, Err(error)),
        };
        // As long as the token, so that every payload fits.
        let mut buffer = vec![0; token.len()];
        let mut claims = ClaimsSet::wanting(validation.required_others());
        let payload = segments.decode_payload(&mut buffer);
        let text = payload.and_then(|payload| claims.scan(payload).map_err(DecodeError::Payload));
        let text = self.note(PAYLOAD, text)?;
        // Without a time, no claim is checked, not even one that does not depend on it: `decode`
        // would not check it either.
        let now = self.note(CLOCK, validation.now().ok_or(DecodeError::NoClock))?;
        self.note(KEY_TIME, signer.check_time(now));
        // The table of `Validation::check`, so that both make the same checks.
        for (claim, check) in CHECKS {
            let result = check(validation, &claims, now).map_err(DecodeError::from);
            self.note_value(claim.as_str(), validation.value(&claims, claim).is_some(), result);
        }
        for (index, claim) in validation.required_others().iter().enumerate() {
            let result = validation.check_other(&claims, index).map_err(DecodeError::from);
            self.note(claim.clone(), result);
        }
        more(self, text);
        Some(())
    }

    /// Records the steps of the signature check. Each step depends on the one before it.
    fn note_signature<T>(&mut self, has_kid: bool, result: Result<T, DecodeError>) -> Option<T> {
        use DecodeError::{Algorithm, KidNotText, MissingKid, UnknownKid};

        if let Err(KidNotText | UnknownKid { .. } | MissingKid) = result {
            return self.note(KID, result);
        }
        self.note_value(KID, has_kid, Ok(()));
        if let Err(Algorithm { .. }) = result {
            return self.note(ALG, result);
        }
        self.note(ALG, Ok(()));
        self.note(SIGNATURE, result)
    }

    /// Records the check of a parameter or claim that the token may not have.
    fn note_value(&mut self, check: &'static str, is_there: bool, result: Result<(), DecodeError>) {
        let outcome = match result {
            Ok(()) if is_there => Outcome::Passed,
            Ok(()) => Outcome::Absent,
            Err(error) => Outcome::Failed(error),
        };
        self.findings.push(Finding { check: check.into(), outcome });
    }

    fn note<T>(
        &mut self,
        check: impl Into<Cow<'static, str>>,
        result: Result<T, DecodeError>,
    ) -> Option<T> {
        let (outcome, value) = match result {
            Ok(value) => (Outcome::Passed, Some(value)),
            Err(error) => (Outcome::Failed(error), None),
        };
        self.findings.push(Finding { check: check.into(), outcome });
        value
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { check, outcome } in &self.findings {
            match outcome {
                Outcome::Passed => writeln!(f, "passed   {check}")?,
                Outcome::Absent => writeln!(f, "absent   {check}")?,
                Outcome::Failed(error) => writeln!(f, "FAILED   {check}: {error}")?,
                Outcome::NotRun => writeln!(f, "not run  {check}")?,
            }
        }
        Ok(())
    }
}
