//! Explains a verdict: runs every check of one token and reports each, for the person who wonders why
//! it is refused.

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

/// What became of each check of a token, in order. It prints as one line for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    findings: Vec<Finding>,
}

/// What became of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The part of the token, the header parameter or the claim that was checked. Of the claims, the
    /// registered ones and those that [`Validation::require`] names.
    pub check: Cow<'static, str>,
    /// Whether it is as it has to be.
    pub outcome: Outcome,
}

/// What became of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It is as it has to be.
    Passed,
    /// The token does not have it, and does not need to.
    Absent,
    /// It is not; [`decode`](crate::decode) would say so if nothing before it were wrong.
    Failed(DecodeError),
    /// It was not looked at, because something before it is wrong: nobody reads the claims of a token whose
    /// signature does not hold.
    NotRun,
}

/// Runs every check that [`decode`](crate::decode) does on `token`, and goes on after one has failed as
/// far as there is something to look at. Each required claim that is missing has its own line.
/// [`Explanation::is_accepted`] is what `decode` would say, apart from the type that it decodes into.
///
/// For people and their logs: it allocates, and takes longer than `decode`.
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

/// As [`explain`], with further checks of the claims: `more` is given the payload of a token whose claims could be read.
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

/// The checks before the claims, in their order.
const STAGES: [&str; 11] =
    [LENGTH, SEGMENTS, HEADER, EXTENSIONS, TYP, KID, ALG, SIGNATURE, PAYLOAD, CLOCK, KEY_TIME];

impl Explanation {
    /// Whether no check failed, and none was left out.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        let is_good = |outcome: &_| matches!(outcome, Outcome::Passed | Outcome::Absent);
        self.findings.iter().all(|finding| is_good(&finding.outcome))
    }

    /// Whether the signature is right, so that what the token says is what its issuer wrote, whatever else is
    /// wrong with it.
    #[must_use]
    pub fn is_authentic(&self) -> bool {
        let signature = self.findings.iter().find(|finding| finding.check == SIGNATURE);
        signature.is_some_and(|finding| finding.outcome == Outcome::Passed)
    }

    /// The checks, in the order in which `decode` makes them.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &DecodeError)> {
        self.findings.iter().filter_map(|finding| match &finding.outcome {
            Outcome::Failed(error) => Some((&*finding.check, error)),
            Outcome::Passed | Outcome::Absent | Outcome::NotRun => None,
        })
    }

    /// Notes that a claim which the token has is not as it has to be.
    #[cfg(feature = "session")]
    pub(crate) fn fail(&mut self, claim: &'static str, error: DecodeError) {
        let failed = Outcome::Failed(error);
        match self.findings.iter_mut().find(|finding| finding.check == claim) {
            Some(Finding { outcome: outcome @ Outcome::Passed, .. }) => *outcome = failed,
            Some(_) => {}
            None => self.findings.push(Finding { check: claim.into(), outcome: failed }),
        }
    }

    /// Runs the checks until there is nothing left to look at.
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
        let mut buffer = vec![0; token.len()];
        let mut claims = ClaimsSet::wanting(validation.required_others());
        let payload = segments.decode_payload(&mut buffer);
        let text = payload.and_then(|payload| claims.scan(payload).map_err(DecodeError::Payload));
        let text = self.note(PAYLOAD, text)?;
        // Without a time, not even the claims that have nothing to do with it are told apart.
        let now = self.note(CLOCK, validation.now().ok_or(DecodeError::NoClock))?;
        self.note(KEY_TIME, signer.check_time(now));
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

    /// Notes the steps to a signature: each can be taken only after the one before it.
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

    /// Notes the check of a parameter or claim that the token may not have.
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
