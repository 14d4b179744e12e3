//! The options of a recipient, and the check of a claims set against them: the result is success,
//! or the first claim that is refused.
//!
//! A new [`Validation`] is strict. A call that tightens it returns the [`Validation`]. A call that
//! loosens it can fail, because it may contradict an earlier call or exceed a safe limit.

#[cfg(target_has_atomic = "ptr")]
use alloc::sync::Arc;
use alloc::{borrow::Cow, boxed::Box, string::String, vec::Vec};
use core::{fmt, time::Duration};

#[cfg(target_has_atomic = "ptr")]
use crate::numeric_date::Clock;
use crate::{
    claims::{self, ClaimsSet, Names, RegisteredClaim},
    debug::debug_by_message,
    excerpt::Excerpt,
    header,
    json::{Text, Value},
    numeric_date::NumericDate,
};

/// The requirements that the recipient of a token sets.
///
/// A new `Validation` makes the checks that are possible without knowing the issuer. The token has
/// at most 16 KiB, has an `exp` that has not passed, has no `nbf` or `iat` in the future, and has
/// no `aud`. A claim for which a value is expected is also required: a token without it is refused.
/// The clocks of issuer and recipient may differ by 60 seconds.
///
/// Make a `Validation` once and use it for every token.
///
/// ```
/// use core::time::Duration;
/// use kippu::Validation;
///
/// let validation = Validation::new()
///     .issuer("https://auth.example")
///     .audience("https://api.example")
///     .typ("at+jwt")
///     .max_age(Duration::from_secs(3600))
///     .leeway(Duration::from_secs(5))?;
/// # Ok::<(), kippu::InvalidOption>(())
/// ```
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is one rule that a call has loosened")]
pub struct Validation {
    issuers: Expected,
    subjects: Expected,
    audiences: Expected,
    jwt_ids: Expected,
    typs: Expected,
    required: Vec<RegisteredClaim>,
    required_others: Expected,
    expiry_optional: bool,
    any_audience: bool,
    null_means_absent: bool,
    numeric_subject: bool,
    leeway: Duration,
    max_age: Option<Duration>,
    max_token_len: usize,
    clock: Time,
}

/// The accepted values. If there are none, any value is accepted.
type Expected = Vec<String>;

/// The source of the time.
#[derive(Clone)]
enum Time {
    /// The operating system's clock. Without the feature `std` there is none.
    System,
    Fixed(NumericDate),
    #[cfg(target_has_atomic = "ptr")]
    Clock(Arc<dyn Clock>),
}

/// Why an option is refused.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidOption {
    /// RFC 7519 §4.1.4 allows "some small leeway, usually no more than a few minutes".
    #[error("a leeway of {given:?} is too long: at most {limit:?}")]
    LeewayTooLong {
        /// The requested leeway.
        given: Duration,
        /// The longest leeway that is allowed.
        limit: Duration,
    },
    /// [`Validation::any_audience`] was called after [`Validation::audience`]. The two calls
    /// contradict each other.
    #[error(
        "any_audience contradicts the audience that is expected already: remove one of the calls"
    )]
    AudienceExpected,
    /// [`Validation::expiry_optional`] was called after `exp` was required with
    /// [`Validation::require`]. The two calls contradict each other.
    #[error(
        "expiry_optional contradicts the exp that is required already: remove one of the calls"
    )]
    ExpiryRequired,
    /// [`Validation::numeric_subject`] was called after [`Validation::subject`]. The two calls
    /// contradict each other, because an expected subject is a string.
    #[error(
        "numeric_subject contradicts the subject that is expected already: remove one of the calls"
    )]
    SubjectExpected,
    /// The limit is 0, or above the highest limit.
    #[error("a token length limit of {given} bytes is not between 1 and {limit}")]
    MaxTokenLen {
        /// The requested limit.
        given: usize,
        /// The highest limit that is allowed.
        limit: usize,
    },
}

debug_by_message!(InvalidOption);

/// Why the claims of a token are refused. The signature of the token is correct.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// A claim is missing that is required, or for which a value is expected.
    #[error("the claim {claim} is missing")]
    Missing {
        /// The name of the claim.
        claim: Cow<'static, str>,
    },
    /// The value of a registered claim does not have the JSON type that RFC 7519 §4.1 defines. Null
    /// is another type.
    #[error("the claim {claim} is not {}", claim.json_type())]
    WrongType {
        /// The claim.
        claim: RegisteredClaim,
    },
    /// A claim that RFC 7519 does not register is not in the form that its specification defines.
    #[error("the claim {claim} is malformed: {reason}")]
    Malformed {
        /// The name of the claim.
        claim: &'static str,
        /// The fault.
        reason: Box<str>,
    },
    /// `now` is not before `exp`, with the leeway added (RFC 7519 §4.1.4).
    #[error("expired: exp {exp}, now {now}, leeway {leeway:?}")]
    Expired {
        /// The claim, in seconds.
        exp: NumericDate,
        /// The recipient's time.
        now: NumericDate,
        /// The leeway, which was added to `exp`.
        leeway: Duration,
    },
    /// `nbf` is later than `now`, with the leeway added (RFC 7519 §4.1.5).
    #[error("not valid yet: nbf {nbf}, now {now}, leeway {leeway:?}")]
    NotYetValid {
        /// The claim, in seconds.
        nbf: NumericDate,
        /// The recipient's time.
        now: NumericDate,
        /// The leeway, by which `nbf` may be later than `now`.
        leeway: Duration,
    },
    /// `iat` is later than `now`, with the leeway added.
    #[error("issued in the future: iat {iat}, now {now}, leeway {leeway:?}")]
    IssuedInFuture {
        /// The claim, in seconds.
        iat: NumericDate,
        /// The recipient's time.
        now: NumericDate,
        /// The leeway, by which `iat` may be later than `now`.
        leeway: Duration,
    },
    /// `iat` is earlier than [`Validation::max_age`] allows.
    #[error("too old: iat {iat}, now {now}, max age {max_age:?}, leeway {leeway:?}")]
    TooOld {
        /// The claim, in seconds.
        iat: NumericDate,
        /// The recipient's time.
        now: NumericDate,
        /// The maximum age of a token.
        max_age: Duration,
        /// The leeway, which was added to the maximum age.
        leeway: Duration,
    },
    /// `iss` is not an expected issuer (RFC 7519 §4.1.1).
    #[error("iss is {found}, expected {expected}")]
    Issuer {
        /// The value in the token.
        found: Excerpt,
        /// The expected values.
        expected: Box<str>,
    },
    /// `sub` is not an expected subject (RFC 7519 §4.1.2).
    #[error("sub is {found}, expected {expected}")]
    Subject {
        /// The value in the token.
        found: Excerpt,
        /// The expected values.
        expected: Box<str>,
    },
    /// `aud` contains none of the expected names (RFC 7519 §4.1.3).
    #[error("aud is {found}, expected {expected}")]
    Audience {
        /// The first name in the token, or an empty text if there is none.
        found: Excerpt,
        /// The expected names.
        expected: Box<str>,
    },
    /// The token has an `aud`, and the recipient expects no audience (RFC 7519 §4.1.3). Name the
    /// recipient with [`Validation::audience`], or accept any audience with
    /// [`Validation::any_audience`].
    #[error("aud is {found}, and no audience is expected: name one, or accept any")]
    AudienceUnexpected {
        /// The first name in the token, or an empty text if there is none.
        found: Excerpt,
    },
    /// `jti` is not an expected id (RFC 7519 §4.1.7).
    #[error("jti is {found}, expected {expected}")]
    JwtId {
        /// The value in the token.
        found: Excerpt,
        /// The expected values.
        expected: Box<str>,
    },
}

debug_by_message!(ClaimError);

impl Validation {
    /// The leeway if the caller sets none: 60 seconds.
    pub const DEFAULT_LEEWAY: Duration = Duration::from_secs(60);

    /// The longest leeway: 10 minutes. kippu reads the "few minutes" of RFC 7519 §4.1.4 as at most
    /// 10.
    pub const MAX_LEEWAY: Duration = Duration::from_secs(600);

    /// The maximum length of a token in bytes, if the caller sets none: 16 KiB. Common servers
    /// accept half of that for all header fields together.
    pub const DEFAULT_MAX_TOKEN_LEN: usize = 16 * 1024;

    /// The highest value of that maximum: 1 MiB.
    pub const HIGHEST_MAX_TOKEN_LEN: usize = 1024 * 1024;

    /// Returns the requirements that are possible without knowing the issuer; see [`Validation`].
    pub const fn new() -> Self {
        Self {
            issuers: Vec::new(),
            subjects: Vec::new(),
            audiences: Vec::new(),
            jwt_ids: Vec::new(),
            typs: Vec::new(),
            required: Vec::new(),
            required_others: Vec::new(),
            expiry_optional: false,
            any_audience: false,
            null_means_absent: false,
            numeric_subject: false,
            leeway: Self::DEFAULT_LEEWAY,
            max_age: None,
            max_token_len: Self::DEFAULT_MAX_TOKEN_LEN,
            clock: Time::System,
        }
    }

    /// Requires `iss` to be exactly `issuer` (RFC 7519 §4.1.1). Call it again to accept several
    /// issuers.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuers.push(issuer.into());
        self
    }

    /// Requires `sub` to be exactly `subject` (RFC 7519 §4.1.2). Call it again to accept several
    /// subjects.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subjects.push(subject.into());
        self
    }

    /// Requires `aud` to contain exactly `audience`, alone or among other names (RFC 7519 §4.1.3).
    /// Call it again to accept several audiences.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Requires `jti` to be exactly `jwt_id` (RFC 7519 §4.1.7). Call it again to accept several
    /// ids.
    #[must_use]
    pub fn jwt_id(mut self, jwt_id: impl Into<String>) -> Self {
        self.jwt_ids.push(jwt_id.into());
        self
    }

    /// Requires the header's `typ` to be the media type `typ`. Call it again to accept several
    /// types. ASCII case does not matter, and `application/` is implied in a type without a slash
    /// (RFC 7515 §4.1.9). Explicit types prevent the use of a token for another purpose (RFC 8725
    /// §3.11).
    #[must_use]
    pub fn typ(mut self, typ: impl Into<String>) -> Self {
        self.typs.push(typ.into());
        self
    }

    /// Requires the claim `claim`, registered or not. The type of a registered claim is also
    /// checked. The value of another claim is not: the caller's type checks it when it is decoded.
    #[must_use]
    pub fn require(mut self, claim: impl Into<String>) -> Self {
        let claim = claim.into();
        match RegisteredClaim::from_name(claim.as_bytes()) {
            Some(claim) => {
                // A requirement overrides an earlier call of `expiry_optional`.
                self.expiry_optional &= claim != RegisteredClaim::ExpirationTime;
                self.required.push(claim);
            }
            // The scan marks the first entry of a name as found, so a second entry would always be
            // missing.
            None if self.required_others.contains(&claim) => {}
            None => self.required_others.push(claim),
        }
        self
    }

    /// Requires `iat`, and refuses a token that was issued more than `max_age` ago, whatever its
    /// `exp`. The leeway is added to `max_age`. Only whole seconds of both count.
    #[must_use]
    pub fn max_age(self, max_age: Duration) -> Self {
        Self { max_age: Some(max_age), ..self }
    }

    /// Uses `now` as the time of every verification: for tests, for tokens of the past, and on
    /// systems without a clock.
    #[must_use]
    pub fn at(self, now: NumericDate) -> Self {
        Self { clock: Time::Fixed(now), ..self }
    }

    /// Reads `clock` instead of the system's clock, once for each verification. Clones of the
    /// validation share the clock. On processors without atomic pointers, use [`Validation::at`].
    #[cfg(target_has_atomic = "ptr")]
    #[must_use]
    pub fn clock(self, clock: impl Clock + 'static) -> Self {
        Self { clock: Time::Clock(Arc::new(clock)), ..self }
    }

    /// Sets the difference that is allowed between the clocks of issuer and recipient, 60 seconds
    /// by default. `exp` is treated as that much later, `nbf` and `iat` as that much earlier. Only
    /// whole seconds count.
    ///
    /// # Errors
    /// [`InvalidOption::LeewayTooLong`] above [`Validation::MAX_LEEWAY`].
    pub fn leeway(self, leeway: Duration) -> Result<Self, InvalidOption> {
        if leeway > Self::MAX_LEEWAY {
            let limit = Self::MAX_LEEWAY;
            return Err(InvalidOption::LeewayTooLong { given: leeway, limit });
        }
        Ok(Self { leeway, ..self })
    }

    /// Accepts a token with an `aud` although the recipient expects none. If
    /// [`Validation::audience`] is called later, its audience is required nevertheless.
    ///
    /// # Errors
    /// [`InvalidOption::AudienceExpected`] if [`Validation::audience`] was called before.
    pub fn any_audience(self) -> Result<Self, InvalidOption> {
        if !self.audiences.is_empty() {
            return Err(InvalidOption::AudienceExpected);
        }
        Ok(Self { any_audience: true, ..self })
    }

    /// Accepts a token without `exp`. Such a token is valid until its key is removed. An `exp` that
    /// is present is checked nevertheless.
    ///
    /// # Errors
    /// [`InvalidOption::ExpiryRequired`] if `exp` was required with [`Validation::require`] before.
    pub fn expiry_optional(self) -> Result<Self, InvalidOption> {
        if self.required.contains(&RegisteredClaim::ExpirationTime) {
            return Err(InvalidOption::ExpiryRequired);
        }
        Ok(Self { expiry_optional: true, ..self })
    }

    /// Treats a null registered claim as absent, contrary to RFC 7519 §4.1. It is for tokens whose
    /// issuer wrote an `Option` without skipping `None`; use it until the last of them has expired.
    /// A null claim that is required or expected counts as missing. Claims that are not registered
    /// are not affected.
    ///
    /// # Errors
    /// None at present. Every call that loosens a validation returns a `Result`.
    pub fn null_means_absent(self) -> Result<Self, InvalidOption> {
        Ok(Self { null_means_absent: true, ..self })
    }

    /// Accepts a whole number from 0 to 2<sup>64</sup> − 1 as `sub`, contrary to RFC 7519 §4.1.2.
    /// It is for tokens whose issuer wrote the number of a user; use it until the last of them has
    /// expired. [`RegisteredClaims`](crate::RegisteredClaims) returns the digits of the number,
    /// which are equal to a string `sub` with the same digits: use the option only if no subject is
    /// a string of digits. If [`Validation::subject`] is called later, its subject is required
    /// nevertheless, and no number is equal to it.
    ///
    /// # Errors
    /// [`InvalidOption::SubjectExpected`] if [`Validation::subject`] was called before.
    pub fn numeric_subject(self) -> Result<Self, InvalidOption> {
        if !self.subjects.is_empty() {
            return Err(InvalidOption::SubjectExpected);
        }
        Ok(Self { numeric_subject: true, ..self })
    }

    /// Refuses a token of more than `bytes` bytes before anything else is checked. The default is
    /// 16 KiB.
    ///
    /// # Errors
    /// [`InvalidOption::MaxTokenLen`] if the value is 0 or above
    /// [`Validation::HIGHEST_MAX_TOKEN_LEN`].
    pub fn max_token_len(self, bytes: usize) -> Result<Self, InvalidOption> {
        let limit = Self::HIGHEST_MAX_TOKEN_LEN;
        if bytes == 0 || bytes > limit {
            return Err(InvalidOption::MaxTokenLen { given: bytes, limit });
        }
        Ok(Self { max_token_len: bytes, ..self })
    }

    /// Sets a leeway that is shorter than this to this.
    #[cfg(feature = "session")]
    pub(crate) fn leeway_of_at_least(self, leeway: Duration) -> Self {
        Self { leeway: self.leeway.max(leeway), ..self }
    }

    pub(crate) fn token_len_limit(&self) -> usize {
        self.max_token_len
    }

    /// Reads the clock. Returns `None` if there is no clock.
    #[cfg_attr(feature = "std", expect(clippy::unnecessary_wraps, reason = "not without std"))]
    pub(crate) fn now(&self) -> Option<NumericDate> {
        match &self.clock {
            Time::Fixed(now) => Some(*now),
            #[cfg(target_has_atomic = "ptr")]
            Time::Clock(clock) => Some(NumericDate::from_millis(clock.unix_millis())),
            #[cfg(feature = "std")]
            Time::System => Some(NumericDate::now()),
            #[cfg(not(feature = "std"))]
            Time::System => None,
        }
    }

    /// Returns how long a token that expires at `expires_at` is still accepted. Without a clock it
    /// is not accepted.
    #[cfg(feature = "session")]
    pub(crate) fn time_left(&self, expires_at: NumericDate) -> Duration {
        let end = expires_at.saturating_add(self.leeway);
        self.now().map_or(Duration::ZERO, |now| end.saturating_since(now))
    }

    /// Returns whether the header's `typ` is an expected one.
    pub(crate) fn accepts_typ(&self, typ: Option<&str>) -> bool {
        self.typs.is_empty()
            || typ.is_some_and(|typ| {
                self.typs.iter().any(|expected| header::same_media_type(expected, typ))
            })
    }

    /// Returns the expected types, for an error.
    pub(crate) fn expected_typs(&self) -> Box<str> {
        listed(&self.typs)
    }

    /// Returns the unregistered claims whose presence a claims set has to record.
    pub(crate) fn required_others(&self) -> &[String] {
        &self.required_others
    }

    /// Checks the claims, and returns the first error.
    pub(crate) fn check(
        &self,
        claims: &ClaimsSet<'_, '_>,
        now: NumericDate,
    ) -> Result<(), ClaimError> {
        CHECKS.iter().try_for_each(|(_, check)| check(self, claims, now))?;
        (0..self.required_others.len()).try_for_each(|index| self.check_other(claims, index))
    }

    /// Checks that the token has the unregistered claim at `index` of those that are required.
    pub(crate) fn check_other(
        &self,
        claims: &ClaimsSet<'_, '_>,
        index: usize,
    ) -> Result<(), ClaimError> {
        match self.required_others.get(index) {
            Some(claim) if !claims.has_wanted(index) => {
                Err(ClaimError::Missing { claim: Cow::Owned(claim.clone()) })
            }
            _ => Ok(()),
        }
    }

    /// Returns the value of a registered claim, of any type, if the token has the claim.
    pub(crate) fn value<'s, 'c>(
        &self,
        claims: &'s ClaimsSet<'_, 'c>,
        claim: RegisteredClaim,
    ) -> Option<&'s Value<'c>> {
        claims.get(claim).filter(|value| !(self.null_means_absent && value.is_null()))
    }

    /// Returns the value of a claim, converted by `read`. The claim may be absent unless it is
    /// required or `is_expected`. A value of another type is an error even if nothing is expected
    /// of the claim.
    fn present<'s, 'c, T>(
        &self,
        claims: &'s ClaimsSet<'_, 'c>,
        claim: RegisteredClaim,
        is_expected: bool,
        read: impl FnOnce(&'s Value<'c>) -> Option<T>,
    ) -> Result<Option<T>, ClaimError> {
        match self.value(claims, claim) {
            Some(value) => match read(value) {
                Some(value) => Ok(Some(value)),
                None => Err(ClaimError::WrongType { claim }),
            },
            None if is_expected || self.required.contains(&claim) => {
                Err(ClaimError::Missing { claim: Cow::Borrowed(claim.as_str()) })
            }
            None => Ok(None),
        }
    }

    fn check_expiration_time(
        &self,
        claims: &ClaimsSet<'_, '_>,
        now: NumericDate,
    ) -> Result<(), ClaimError> {
        let claim = RegisteredClaim::ExpirationTime;
        match self.present(claims, claim, !self.expiry_optional, claims::date)? {
            // RFC 7519 §4.1.4: the current time MUST be before `exp`. A fraction of a second is cut
            // off, so that it never prolongs the token.
            Some(date) if now >= date.earliest.saturating_add(self.leeway) => {
                Err(ClaimError::Expired { exp: date.earliest, now, leeway: self.leeway })
            }
            _ => Ok(()),
        }
    }

    fn check_not_before(
        &self,
        claims: &ClaimsSet<'_, '_>,
        now: NumericDate,
    ) -> Result<(), ClaimError> {
        let leeway = self.leeway;
        match self.present(claims, RegisteredClaim::NotBefore, false, claims::date)? {
            // RFC 7519 §4.1.5: the current time MUST be after or equal to `nbf`, which is rounded
            // up.
            Some(date) if date.latest > now.saturating_add(leeway) => {
                Err(ClaimError::NotYetValid { nbf: date.latest, now, leeway })
            }
            _ => Ok(()),
        }
    }

    fn check_issued_at(
        &self,
        claims: &ClaimsSet<'_, '_>,
        now: NumericDate,
    ) -> Result<(), ClaimError> {
        let leeway = self.leeway;
        let claim = RegisteredClaim::IssuedAt;
        // A fraction is rounded against the token both times: up for the start, down for the age.
        let issued_at = self.present(claims, claim, self.max_age.is_some(), claims::date)?;
        match (issued_at, self.max_age) {
            // RFC 7519 has no rule for an `iat` in the future. kippu refuses it like `nbf`.
            (Some(date), _) if date.latest > now.saturating_add(leeway) => {
                Err(ClaimError::IssuedInFuture { iat: date.latest, now, leeway })
            }
            (Some(date), Some(max_age))
                if now > date.earliest.saturating_add(max_age).saturating_add(leeway) =>
            {
                Err(ClaimError::TooOld { iat: date.earliest, now, max_age, leeway })
            }
            _ => Ok(()),
        }
    }

    fn check_issuer(&self, claims: &ClaimsSet<'_, '_>, _: NumericDate) -> Result<(), ClaimError> {
        self.check_text(claims, RegisteredClaim::Issuer, &self.issuers, |found, expected| {
            ClaimError::Issuer { found, expected }
        })
    }

    fn check_subject(&self, claims: &ClaimsSet<'_, '_>, _: NumericDate) -> Result<(), ClaimError> {
        if self.numeric_subject && self.subjects.is_empty() {
            // A sign, a fraction or an exponent does not parse, so only whole numbers are accepted.
            let is_number = |value: &Value<'_>| value.spelled().parse::<u64>().is_ok();
            if claims.get(RegisteredClaim::Subject).is_some_and(is_number) {
                return Ok(());
            }
        }
        self.check_text(claims, RegisteredClaim::Subject, &self.subjects, |found, expected| {
            ClaimError::Subject { found, expected }
        })
    }

    fn check_jwt_id(&self, claims: &ClaimsSet<'_, '_>, _: NumericDate) -> Result<(), ClaimError> {
        self.check_text(claims, RegisteredClaim::JwtId, &self.jwt_ids, |found, expected| {
            ClaimError::JwtId { found, expected }
        })
    }

    fn check_audience(&self, claims: &ClaimsSet<'_, '_>, _: NumericDate) -> Result<(), ClaimError> {
        // The error shows one name: a token may have hundreds of them.
        let first =
            |names: Names<'_, '_>| Excerpt::new(&names.first().map(Text::read).unwrap_or_default());
        let is_ours = |name: Text<'_>| self.audiences.iter().any(|expected| name == **expected);
        let is_expected = !self.audiences.is_empty();
        match self.present(claims, RegisteredClaim::Audience, is_expected, claims::names)? {
            Some(names) if is_expected && !names.any(is_ours) => {
                Err(ClaimError::Audience { found: first(names), expected: listed(&self.audiences) })
            }
            // RFC 7519 §4.1.3: a recipient that does not identify itself with a value of `aud` MUST
            // reject the token. A recipient without a name cannot identify itself.
            Some(names) if !is_expected && !self.any_audience => {
                Err(ClaimError::AudienceUnexpected { found: first(names) })
            }
            _ => Ok(()),
        }
    }

    /// Checks a string claim. `mismatch` builds the error from the value in the token and the
    /// expected values.
    fn check_text(
        &self,
        claims: &ClaimsSet<'_, '_>,
        claim: RegisteredClaim,
        expected: &Expected,
        mismatch: impl FnOnce(Excerpt, Box<str>) -> ClaimError,
    ) -> Result<(), ClaimError> {
        match self.present(claims, claim, !expected.is_empty(), Value::text)? {
            Some(found)
                if !expected.is_empty() && !expected.iter().any(|value| found == **value) =>
            {
                Err(mismatch(Excerpt::new(&found.read()), listed(expected)))
            }
            _ => Ok(()),
        }
    }
}

impl Default for Validation {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Validation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validation")
            .field("issuers", &self.issuers)
            .field("subjects", &self.subjects)
            .field("audiences", &self.audiences)
            .field("jwt_ids", &self.jwt_ids)
            .field("typs", &self.typs)
            .field("required", &self.required)
            .field("required_others", &self.required_others)
            .field("expiry_optional", &self.expiry_optional)
            .field("any_audience", &self.any_audience)
            .field("null_means_absent", &self.null_means_absent)
            .field("numeric_subject", &self.numeric_subject)
            .field("leeway", &self.leeway)
            .field("max_age", &self.max_age)
            .field("max_token_len", &self.max_token_len)
            // `clock` is left out: a `Clock` need not implement `Debug`.
            .finish_non_exhaustive()
    }
}

/// Checks one claim of a claims set.
pub(crate) type Check = fn(&Validation, &ClaimsSet<'_, '_>, NumericDate) -> Result<(), ClaimError>;

/// The checks of the registered claims, in the order in which they are made. The times come first,
/// because an expired token is the usual refusal.
pub(crate) const CHECKS: [(RegisteredClaim, Check); 7] = [
    (RegisteredClaim::ExpirationTime, Validation::check_expiration_time),
    (RegisteredClaim::NotBefore, Validation::check_not_before),
    (RegisteredClaim::IssuedAt, Validation::check_issued_at),
    (RegisteredClaim::Issuer, Validation::check_issuer),
    (RegisteredClaim::Audience, Validation::check_audience),
    (RegisteredClaim::Subject, Validation::check_subject),
    (RegisteredClaim::JwtId, Validation::check_jwt_id),
];

/// Returns the accepted values as text, for an error.
fn listed(expected: &Expected) -> Box<str> {
    let quoted: Vec<_> = expected.iter().map(|value| alloc::format!("{value:?}")).collect();
    quoted.join(" or ").into()
}
