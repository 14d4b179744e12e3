//! What the recipient of a token expects of it: options in, and for a claims set a yes or the first no out.
//!
//! Strict as it is made. A call that tightens returns the [`Validation`]; one that loosens can fail,
//! because it may contradict what was said before or go further than is safe.

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

/// What the recipient of a token expects of it.
///
/// As it is made, it expects what RFC 7519 lets a recipient expect without knowing its issuer: a token
/// of at most 16 KiB that has an `exp`, is not expired, does not come from the future, and names no
/// audience. What is expected is then required: a token without the claim is refused. The clocks of
/// issuer and recipient may differ by 60 seconds.
///
/// It is made once, and used for every token.
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

/// The values of which one is expected; none, when nothing is.
type Expected = Vec<String>;

/// Where a verification takes its time from.
#[derive(Clone)]
enum Time {
    /// The operating system's clock, where there is one.
    System,
    Fixed(NumericDate),
    #[cfg(target_has_atomic = "ptr")]
    Clock(Arc<dyn Clock>),
}

/// Why an option cannot be.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidOption {
    /// RFC 7519 §4.1.4 allows "some small leeway, usually no more than a few minutes".
    #[error("a leeway of {given:?} is too long: at most {limit:?}")]
    LeewayTooLong {
        /// The leeway that was asked for.
        given: Duration,
        /// The longest one.
        limit: Duration,
    },
    /// Any audience was to be accepted after one had been named.
    #[error("an audience is expected already, so not any will do")]
    AudienceExpected,
    /// `exp` was to be optional after it had been required.
    #[error("exp is required already, so it is not optional")]
    ExpiryRequired,
    /// A number was to be accepted as `sub` after a subject, which is a string, had been named.
    #[error("a subject is expected already, so sub is not a number")]
    SubjectExpected,
    /// The limit is 0, or above the highest one.
    #[error("a token length limit of {given} bytes is not between 1 and {limit}")]
    MaxTokenLen {
        /// The limit that was asked for.
        given: usize,
        /// The highest one.
        limit: usize,
    },
}

debug_by_message!(InvalidOption);

/// What is wrong with the claims of a token whose signature is right.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// A claim is not there that is required, or that a value is expected of.
    #[error("the claim {claim} is missing")]
    Missing {
        /// Its name.
        claim: Cow<'static, str>,
    },
    /// A registered claim has another JSON type than RFC 7519 §4.1 gives it. Null is another type.
    #[error("the claim {claim} is not {}", claim.json_type())]
    WrongType {
        /// The claim.
        claim: RegisteredClaim,
    },
    /// A claim that RFC 7519 does not register has another form than its specification gives it.
    #[error("the claim {claim} is malformed: {reason}")]
    Malformed {
        /// Its name.
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
        /// What was allowed on top.
        leeway: Duration,
    },
    /// `nbf` is later than `now` (RFC 7519 §4.1.5).
    #[error("not valid yet: nbf {nbf}, now {now}, leeway {leeway:?}")]
    NotYetValid {
        /// The claim, in seconds.
        nbf: NumericDate,
        /// The recipient's time.
        now: NumericDate,
        /// What was allowed on top.
        leeway: Duration,
    },
    /// `iat` is later than `now`.
    #[error("issued in the future: iat {iat}, now {now}, leeway {leeway:?}")]
    IssuedInFuture {
        /// The claim, in seconds.
        iat: NumericDate,
        /// The recipient's time.
        now: NumericDate,
        /// What was allowed on top.
        leeway: Duration,
    },
    /// `iat` is longer ago than [`Validation::max_age`] allows.
    #[error("too old: iat {iat}, now {now}, max age {max_age:?}, leeway {leeway:?}")]
    TooOld {
        /// The claim, in seconds.
        iat: NumericDate,
        /// The recipient's time.
        now: NumericDate,
        /// The age that a token may have.
        max_age: Duration,
        /// What was allowed on top.
        leeway: Duration,
    },
    /// `iss` is another than expected (RFC 7519 §4.1.1).
    #[error("iss is {found}, expected {expected}")]
    Issuer {
        /// What the token says.
        found: Excerpt,
        /// What was expected.
        expected: Box<str>,
    },
    /// `sub` is another than expected (RFC 7519 §4.1.2).
    #[error("sub is {found}, expected {expected}")]
    Subject {
        /// What the token says.
        found: Excerpt,
        /// What was expected.
        expected: Box<str>,
    },
    /// `aud` names nobody who is expected (RFC 7519 §4.1.3).
    #[error("aud is {found}, expected {expected}")]
    Audience {
        /// The first name that the token says; empty where it says none.
        found: Excerpt,
        /// What was expected.
        expected: Box<str>,
    },
    /// `aud` names someone, and the recipient has no name (RFC 7519 §4.1.3). Give it one with
    /// [`Validation::audience`], or do without by [`Validation::any_audience`].
    #[error("aud is {found}, and no audience is expected: name one, or accept any")]
    AudienceUnexpected {
        /// The first name that the token says; empty where it says none.
        found: Excerpt,
    },
    /// `jti` is another than expected (RFC 7519 §4.1.7).
    #[error("jti is {found}, expected {expected}")]
    JwtId {
        /// What the token says.
        found: Excerpt,
        /// What was expected.
        expected: Box<str>,
    },
}

debug_by_message!(ClaimError);

impl Validation {
    /// The leeway when none is given: 60 seconds.
    pub const DEFAULT_LEEWAY: Duration = Duration::from_secs(60);

    /// The longest leeway: 10 minutes, the most that "a few minutes" can mean (RFC 7519 §4.1.4).
    pub const MAX_LEEWAY: Duration = Duration::from_secs(600);

    /// The length of the longest token: 16 KiB, in bytes. It is twice what common servers take as the
    /// sum of all header fields.
    pub const DEFAULT_MAX_TOKEN_LEN: usize = 16 * 1024;

    /// The highest limit on the length: 1 MiB.
    pub const HIGHEST_MAX_TOKEN_LEN: usize = 1024 * 1024;

    /// What can be expected without knowing the issuer: see above.
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

    /// Expects `iss` to be `issuer`, exactly (RFC 7519 §4.1.1); or one of several, when called again.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuers.push(issuer.into());
        self
    }

    /// Expects `sub` to be `subject`, exactly (RFC 7519 §4.1.2); or one of several, when called again.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subjects.push(subject.into());
        self
    }

    /// Expects `aud` to name `audience`, exactly, alone or among others (RFC 7519 §4.1.3); or one of
    /// several, when called again.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Expects `jti` to be `jwt_id`, exactly (RFC 7519 §4.1.7); or one of several, when called again.
    #[must_use]
    pub fn jwt_id(mut self, jwt_id: impl Into<String>) -> Self {
        self.jwt_ids.push(jwt_id.into());
        self
    }

    /// Expects the header's `typ` to be the media type `typ`; or one of several, when called again.
    /// ASCII case does not matter, and `application/` is implied where there is no slash
    /// (RFC 7515 §4.1.9). Explicit types keep tokens of different uses apart (RFC 8725 §3.11).
    #[must_use]
    pub fn typ(mut self, typ: impl Into<String>) -> Self {
        self.typs.push(typ.into());
        self
    }

    /// Requires the claim `claim`, registered or not, to be there. Of a registered one the type is
    /// checked too; what another may be is for the type to say that is decoded into.
    #[must_use]
    pub fn require(mut self, claim: impl Into<String>) -> Self {
        let claim = claim.into();
        match RegisteredClaim::from_name(claim.as_bytes()) {
            Some(claim) => {
                // A requirement is the last word on what was optional so far.
                self.expiry_optional &= claim != RegisteredClaim::ExpirationTime;
                self.required.push(claim);
            }
            None if self.required_others.contains(&claim) => {}
            None => self.required_others.push(claim),
        }
        self
    }

    /// Requires `iat`, and refuses a token that was issued longer ago than `max_age`, whatever its
    /// `exp`. The leeway is added. Both count whole seconds.
    #[must_use]
    pub fn max_age(self, max_age: Duration) -> Self {
        Self { max_age: Some(max_age), ..self }
    }

    /// Takes `now` for the time of every verification: for tests, for tokens of the past, and where
    /// there is no clock.
    #[must_use]
    pub fn at(self, now: NumericDate) -> Self {
        Self { clock: Time::Fixed(now), ..self }
    }

    /// Reads `clock`, once for each verification, in the place of the system's clock. Clones of the validation share
    /// it. On processors without atomic pointers, use [`Validation::at`].
    #[cfg(target_has_atomic = "ptr")]
    #[must_use]
    pub fn clock(self, clock: impl Clock + 'static) -> Self {
        Self { clock: Time::Clock(Arc::new(clock)), ..self }
    }

    /// Allows the issuer's clock to differ by up to `leeway`, 60 seconds when this is not said: `exp`
    /// counts as that much later, `nbf` and `iat` as that much earlier. It counts whole seconds.
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

    /// Accepts a token that names an audience although this recipient has no name. An audience that is
    /// named later is expected all the same.
    ///
    /// # Errors
    /// [`InvalidOption::AudienceExpected`] when an audience has been named.
    pub fn any_audience(self) -> Result<Self, InvalidOption> {
        if !self.audiences.is_empty() {
            return Err(InvalidOption::AudienceExpected);
        }
        Ok(Self { any_audience: true, ..self })
    }

    /// Accepts a token without `exp`, which is then valid until its key is taken away. One that is
    /// there is checked all the same.
    ///
    /// # Errors
    /// [`InvalidOption::ExpiryRequired`] when `exp` has been required by [`Validation::require`].
    pub fn expiry_optional(self) -> Result<Self, InvalidOption> {
        if self.required.contains(&RegisteredClaim::ExpirationTime) {
            return Err(InvalidOption::ExpiryRequired);
        }
        Ok(Self { expiry_optional: true, ..self })
    }

    /// Takes a registered claim that is null for one that is absent, against RFC 7519 §4.1: for tokens that an issuer has
    /// written from an `Option` without skipping it, until the last of them has expired. A null claim that is required
    /// or expected is missing then. The call changes nothing for claims that are not registered.
    ///
    /// # Errors
    /// It has none so far. Every call that loosens returns a `Result`.
    pub fn null_means_absent(self) -> Result<Self, InvalidOption> {
        Ok(Self { null_means_absent: true, ..self })
    }

    /// Accepts a whole number from 0 to 2<sup>64</sup> − 1 as `sub`, against RFC 7519 §4.1.2: for tokens whose issuer has
    /// written a user's number, until the last of them has expired. [`RegisteredClaims`](crate::RegisteredClaims) holds
    /// its digits, which look like those of a string `sub`: use it where no subject is a string of digits. A subject that is named
    /// later is expected all the same, and no number is equal to it.
    ///
    /// # Errors
    /// [`InvalidOption::SubjectExpected`] when a subject has been named.
    pub fn numeric_subject(self) -> Result<Self, InvalidOption> {
        if !self.subjects.is_empty() {
            return Err(InvalidOption::SubjectExpected);
        }
        Ok(Self { numeric_subject: true, ..self })
    }

    /// Refuses a token of more than `bytes` bytes before it is looked at, 16 KiB when this is not said.
    ///
    /// # Errors
    /// [`InvalidOption::MaxTokenLen`] for 0, and above [`Validation::HIGHEST_MAX_TOKEN_LEN`].
    pub fn max_token_len(self, bytes: usize) -> Result<Self, InvalidOption> {
        let limit = Self::HIGHEST_MAX_TOKEN_LEN;
        if bytes == 0 || bytes > limit {
            return Err(InvalidOption::MaxTokenLen { given: bytes, limit });
        }
        Ok(Self { max_token_len: bytes, ..self })
    }

    pub(crate) fn token_len_limit(&self) -> usize {
        self.max_token_len
    }

    /// One reading of the clock; none where there is no clock.
    #[inline]
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

    /// How long a token is still accepted that expires then; without a clock it is not.
    #[cfg(feature = "session")]
    pub(crate) fn time_left(&self, expires_at: NumericDate) -> Duration {
        let end = expires_at.saturating_add(self.leeway);
        self.now().map_or(Duration::ZERO, |now| end.saturating_since(now))
    }

    /// Whether the header's `typ` is one that is expected.
    #[inline]
    pub(crate) fn accepts_typ(&self, typ: Option<&str>) -> bool {
        self.typs.is_empty()
            || typ.is_some_and(|typ| {
                self.typs.iter().any(|expected| header::same_media_type(expected, typ))
            })
    }

    /// The types that are expected, for an error.
    pub(crate) fn expected_typs(&self) -> Box<str> {
        listed(&self.typs)
    }

    /// The claims beyond the registered ones that a claims set has to note.
    pub(crate) fn required_others(&self) -> &[String] {
        &self.required_others
    }

    /// The first check that the claims do not pass.
    #[inline]
    pub(crate) fn check(
        &self,
        claims: &ClaimsSet<'_, '_>,
        now: NumericDate,
    ) -> Result<(), ClaimError> {
        CHECKS.iter().try_for_each(|(_, check)| check(self, claims, now))?;
        (0..self.required_others.len()).try_for_each(|index| self.check_other(claims, index))
    }

    /// Checks that the token has the `index`th of the unregistered claims that are required.
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

    /// The value of a registered claim, of whatever type, where the token has one.
    pub(crate) fn value<'s, 'c>(
        &self,
        claims: &'s ClaimsSet<'_, 'c>,
        claim: RegisteredClaim,
    ) -> Option<&'s Value<'c>> {
        claims.get(claim).filter(|value| !(self.null_means_absent && value.is_null()))
    }

    /// Returns the value of a claim as `read` reads it, which may be absent unless it is required or a value
    /// of it `is_expected`. Whether or not the claim is asked for, a value of another type is an error.
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
        let issued_at = self.present(claims, claim, self.max_age.is_some(), claims::date)?;
        match (issued_at, self.max_age) {
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
        let first =
            |names: Names<'_, '_>| Excerpt::new(&names.first().map(Text::read).unwrap_or_default());
        let is_ours = |name: Text<'_>| self.audiences.iter().any(|expected| name == **expected);
        let is_expected = !self.audiences.is_empty();
        match self.present(claims, RegisteredClaim::Audience, is_expected, claims::names)? {
            Some(names) if is_expected && !names.any(is_ours) => {
                Err(ClaimError::Audience { found: first(names), expected: listed(&self.audiences) })
            }
            Some(names) if !is_expected && !self.any_audience => {
                Err(ClaimError::AudienceUnexpected { found: first(names) })
            }
            _ => Ok(()),
        }
    }

    /// Checks a string claim. `mismatch` makes the error of what was found and what was expected.
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
            .finish_non_exhaustive()
    }
}

/// Checks one claim of a claims set.
pub(crate) type Check = fn(&Validation, &ClaimsSet<'_, '_>, NumericDate) -> Result<(), ClaimError>;

/// The checks of the registered claims, in the order in which a token is judged.
pub(crate) const CHECKS: [(RegisteredClaim, Check); 7] = [
    (RegisteredClaim::ExpirationTime, Validation::check_expiration_time),
    (RegisteredClaim::NotBefore, Validation::check_not_before),
    (RegisteredClaim::IssuedAt, Validation::check_issued_at),
    (RegisteredClaim::Issuer, Validation::check_issuer),
    (RegisteredClaim::Audience, Validation::check_audience),
    (RegisteredClaim::Subject, Validation::check_subject),
    (RegisteredClaim::JwtId, Validation::check_jwt_id),
];

/// The values of which one was expected, for an error.
fn listed(expected: &Expected) -> Box<str> {
    let quoted: Vec<_> = expected.iter().map(|value| alloc::format!("{value:?}")).collect();
    quoted.join(" or ").into()
}
