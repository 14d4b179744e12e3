//! The expectations of a recipient in a trial, twice: as kippu's `Validation`, and as plain fields.

use std::time::Duration;

use kippu::Validation;

use crate::{
    dates::{self, END, START},
    input::Options,
};

/// The expectations of a recipient. One of several values has to match. An empty list expects
/// nothing.
#[derive(Clone, Debug)]
pub struct Expectations {
    /// `iss`
    pub issuers: Vec<&'static str>,
    /// `sub`
    pub subjects: Vec<&'static str>,
    /// `aud`
    pub audiences: Vec<&'static str>,
    /// `jti`
    pub jwt_ids: Vec<&'static str>,
    /// The header's `typ`
    pub typs: Vec<&'static str>,
    /// Claims that must be present.
    pub required: Vec<&'static str>,
    /// Whether a token may omit `exp`.
    pub expiry_optional: bool,
    /// Whether it may name an audience although none is expected.
    pub any_audience: bool,
    /// The allowed difference of the clocks.
    pub leeway: Duration,
    /// The maximum age of a token.
    pub max_age: Option<Duration>,
    /// Its maximum length in bytes.
    pub max_token_len: usize,
    /// The time, in seconds.
    pub now: i128,
}

/// Names that tokens and recipients of the trials use.
pub const NAMES: [&str; 8] =
    ["https://auth.example", "api", "", "API", "é\u{301}", "a\"\\\n", "😀", LONG];

/// Longer than an excerpt.
const LONG: &str =
    "a-name-that-is-longer-than-the-sixty-four-bytes-of-an-excerpt-\u{e9}\u{e9}\u{e9}";

/// Values of `typ` that are expected or found.
pub const TYPS: [&str; 6] =
    ["JWT", "at+jwt", "application/at+jwt", "text/x", "application/text/x", ""];

/// Required claims, registered and not.
pub const CLAIMS: [&str; 8] = ["exp", "nbf", "iat", "sub", "jti", "role", "r\u{f4}le", ""];

/// The default time of a trial.
pub const NOW: i128 = 1_760_000_000;

impl Expectations {
    /// Returns the expectations of [`Validation::new`], at the time `now`.
    pub fn at(now: i128) -> Self {
        Self {
            issuers: Vec::new(),
            subjects: Vec::new(),
            audiences: Vec::new(),
            jwt_ids: Vec::new(),
            typs: Vec::new(),
            required: Vec::new(),
            expiry_optional: false,
            any_audience: false,
            leeway: Duration::from_mins(1),
            max_age: None,
            max_token_len: 16 * 1024,
            now,
        }
    }

    /// Returns the expectations that the options choose.
    pub fn chosen(options: &mut Options<'_>) -> Self {
        let now = options.pick(&[
            NOW,
            NOW + 1,
            0,
            -1,
            -NOW,
            253_402_300_799,
            END,
            START,
            END - 60,
            START + 60,
        ]);
        let leeway = options.pick(&[
            Duration::from_mins(1),
            Duration::ZERO,
            Duration::from_mins(10),
            Duration::from_micros(1),
            Duration::from_nanos(1_999),
            Duration::from_millis(1_500),
            Duration::new(599, 999_999_999),
        ]);
        let max_age = options.pick(&[
            None,
            None,
            Some(Duration::from_hours(1)),
            Some(Duration::ZERO),
            Some(Duration::from_nanos(1_000_000_999)),
            Some(Duration::MAX),
        ]);
        let max_token_len = options.pick(&[16 * 1024, 16 * 1024, 16 * 1024, 200, 1024 * 1024, 1]);
        let names = |options: &mut Options<'_>| match options.below(4) {
            0 | 1 => Vec::new(),
            2 => vec![options.pick(&NAMES)],
            _ => options.some_of(&NAMES),
        };
        Self {
            issuers: names(options),
            audiences: names(options),
            any_audience: options.below(2) == 1,
            expiry_optional: options.below(4) == 3,
            required: match options.below(4) {
                3 => options.some_of(&CLAIMS),
                _ => Vec::new(),
            },
            typs: match options.below(4) {
                3 => options.some_of(&TYPS),
                _ => Vec::new(),
            },
            subjects: names(options),
            jwt_ids: names(options),
            leeway,
            max_age,
            max_token_len,
            now,
        }
    }

    /// Returns the same expectations for kippu.
    pub fn validation(&self) -> Validation {
        let mut validation = Validation::new()
            .at(dates::to_kippu(self.now))
            .leeway(self.leeway)
            .and_then(|validation| validation.max_token_len(self.max_token_len))
            .expect("within the limits");
        // Loosening options come first, because they may not contradict earlier ones.
        if self.any_audience {
            validation = validation.any_audience().expect("no audience was named");
        }
        if self.expiry_optional {
            validation = validation.expiry_optional().expect("exp was not required");
        }
        if let Some(max_age) = self.max_age {
            validation = validation.max_age(max_age);
        }
        validation = self.issuers.iter().fold(validation, |so_far, &name| so_far.issuer(name));
        validation = self.subjects.iter().fold(validation, |so_far, &name| so_far.subject(name));
        validation = self.audiences.iter().fold(validation, |so_far, &name| so_far.audience(name));
        validation = self.jwt_ids.iter().fold(validation, |so_far, &name| so_far.jwt_id(name));
        validation = self.typs.iter().fold(validation, |so_far, &name| so_far.typ(name));
        self.required.iter().fold(validation, |so_far, &name| so_far.require(name))
    }

    /// Returns times near which a decision changes, in seconds, each with a letter.
    pub fn turning_points(&self) -> [(u8, i128); 6] {
        let leeway = i128::from(self.leeway.as_secs());
        let max_age = i128::from(self.max_age.unwrap_or_default().as_secs());
        [
            (b'n', self.now),
            (b'e', self.now - leeway),
            (b'l', self.now + leeway),
            (b'o', self.now - leeway - max_age),
            (b'f', self.now + 3600),
            (b'p', self.now - 3600),
        ]
    }
}
