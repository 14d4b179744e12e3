//! NumericDate (RFC 7519 §2): seconds since the epoch in, an instant out, without overflow or
//! panic.
//!
//! Any finite JSON number is a time: fractions, times before 1970, and times far outside any
//! calendar. Only whole seconds are kept, and arithmetic saturates. The module also has the trait
//! [`Clock`]; a verification reads its clock once.

use core::{fmt, time::Duration};
#[cfg(feature = "std")]
use std::time::{SystemTime, UNIX_EPOCH};

use serde_core::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An instant, as whole seconds since 1970-01-01T00:00:00Z without leap seconds (RFC 7519 §2,
/// "NumericDate").
///
/// A number with a fraction is accepted and rounded down. A verifier rounds the times of a token so
/// that a fraction never counts in the token's favour: `exp` down, `nbf` and `iat` up. A number
/// outside the range of an `i64` becomes the nearest end of that range.
///
/// ```
/// use kippu::NumericDate;
///
/// let exp = NumericDate::from_seconds(1_300_819_380);
/// assert_eq!(serde_json::to_string(&exp)?, "1300819380");
/// assert_eq!(serde_json::from_str::<NumericDate>("1300819380.5")?, exp);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NumericDate {
    seconds: i64,
}

impl NumericDate {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self::from_seconds(0);

    /// Returns the instant `seconds` after the epoch, or before it if `seconds` is negative.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self { seconds }
    }

    /// Returns the instant `millis` milliseconds after the epoch, rounded down.
    #[cfg(any(feature = "std", target_has_atomic = "ptr"))]
    pub(crate) const fn from_millis(millis: i64) -> Self {
        Self::from_seconds(millis.div_euclid(1000))
    }

    /// Returns the current second of the system's clock, for example for `iat`.
    #[cfg(feature = "std")]
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// Returns the time `seconds` after [`NumericDate::now`], for example for `exp`.
    #[cfg(feature = "std")]
    pub fn in_seconds(seconds: u32) -> Self {
        Self::now().saturating_add(Duration::from_secs(u64::from(seconds)))
    }

    /// Returns the seconds since the epoch.
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Adds the whole seconds of `duration`. The result is at most the end of the range.
    #[must_use]
    pub const fn saturating_add(self, duration: Duration) -> Self {
        Self::from_seconds(self.seconds.saturating_add_unsigned(duration.as_secs()))
    }

    /// Subtracts the whole seconds of `duration`. The result is at least the start of the range.
    #[must_use]
    pub const fn saturating_sub(self, duration: Duration) -> Self {
        Self::from_seconds(self.seconds.saturating_sub_unsigned(duration.as_secs()))
    }

    /// Returns how much later this instant is than `earlier`, or zero if it is not later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        let is_later = self > earlier;
        Duration::from_secs(if is_later { self.seconds.abs_diff(earlier.seconds) } else { 0 })
    }

    /// Returns this instant as a time of the standard library, or `None` if it is outside the range
    /// of the operating system's times.
    #[cfg(feature = "std")]
    pub fn to_system_time(self) -> Option<SystemTime> {
        let distance = Duration::from_secs(self.seconds.unsigned_abs());
        if self.seconds < 0 {
            return UNIX_EPOCH.checked_sub(distance);
        }
        UNIX_EPOCH.checked_add(distance)
    }
}

impl fmt::Display for NumericDate {
    /// Prints the seconds since the epoch.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.seconds.fmt(f)
    }
}

impl fmt::Debug for NumericDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NumericDate({self})")
    }
}

impl Serialize for NumericDate {
    /// Writes a JSON integer.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.seconds)
    }
}

impl<'de> Deserialize<'de> for NumericDate {
    /// Accepts any finite number and rounds it down.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;

        impl<'de> de::Visitor<'de> for NumberVisitor {
            type Value = NumericDate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of seconds since 1970-01-01T00:00:00Z")
            }

            fn visit_i64<E>(self, seconds: i64) -> Result<NumericDate, E> {
                Ok(NumericDate::from_seconds(seconds))
            }

            fn visit_u64<E>(self, seconds: u64) -> Result<NumericDate, E> {
                Ok(NumericDate::from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX)))
            }

            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<NumericDate, E> {
                if !seconds.is_finite() {
                    return Err(E::invalid_value(de::Unexpected::Float(seconds), &self));
                }
                // `f64::floor` is not in core, so the rounding is done with integers.
                #[expect(
                    clippy::as_conversions,
                    clippy::cast_possible_truncation,
                    clippy::cast_precision_loss,
                    reason = "saturates, and a double with a fraction is far below 2^53"
                )]
                let (towards_zero, is_below) = (seconds as i64, seconds < (seconds as i64) as f64);
                let whole = towards_zero.saturating_sub(i64::from(is_below));
                Ok(NumericDate::from_seconds(whole))
            }

            /// serde_json passes a number as a map when its feature `arbitrary_precision` is on.
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<NumericDate, A::Error> {
                let map = de::value::MapAccessDeserializer::new(map);
                let number = serde_json::Number::deserialize(map)?;
                match (number.as_i64(), number.as_f64()) {
                    (Some(seconds), _) => self.visit_i64(seconds),
                    (None, Some(seconds)) => self.visit_f64(seconds),
                    (None, None) => Err(de::Error::custom("a number beyond the range of a double")),
                }
            }
        }

        // Binary formats such as postcard do not store types, so they have no `deserialize_any`.
        // `Serialize` has written an `i64`.
        if !deserializer.is_human_readable() {
            return deserializer.deserialize_i64(NumberVisitor);
        }
        deserializer.deserialize_any(NumberVisitor)
    }
}

#[cfg(feature = "std")]
impl From<SystemTime> for NumericDate {
    /// Rounds down. A time outside the range becomes the nearest end of the range.
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => Self::EPOCH.saturating_add(since),
            Err(before) => {
                let before = before.duration();
                // Rounding down makes the distance to the epoch larger.
                let up = before.as_secs().saturating_add(u64::from(before.subsec_nanos() > 0));
                Self::EPOCH.saturating_sub(Duration::from_secs(up))
            }
        }
    }
}

/// A time as a token spells it, between the two nearest instants that [`NumericDate`] can
/// represent.
///
/// A verifier reads the digits instead of a double, which would lose them: `1760000000.0000000001`
/// is later than 1760000000. To round against the token, a verifier takes `earliest` for an expiry
/// and `latest` for a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpelledDate {
    pub(crate) earliest: NumericDate,
    pub(crate) latest: NumericDate,
}

impl SpelledDate {
    /// Reads a number in the grammar of RFC 8259 §6. The result for any other text is not defined.
    #[cold]
    pub(crate) fn from_decimal(text: &str) -> Self {
        let (sign, text) = match text.strip_prefix('-') {
            Some(magnitude) => (-1, magnitude),
            None => (1, text),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, saturating_exponent(exponent)),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        // The number of digits before the decimal point, after the exponent is applied.
        let whole_digits = i64::try_from(whole.len()).unwrap_or(i64::MAX);
        let point = whole_digits.saturating_add(exponent);

        let (mut seconds, mut has_fraction, mut read) = (0_i64, false, 0_i64);
        for digit in whole.bytes().chain(fraction.bytes()).map(|digit| i64::from(digit & 0x0f)) {
            if read < point {
                // Each digit gets the sign, because the range has one more number below zero than
                // above. The low four bits of an ASCII digit are its value.
                seconds = seconds.saturating_mul(10).saturating_add(sign * digit);
            } else {
                has_fraction |= digit != 0;
            }
            read += 1;
        }
        // Ends at zero and at the ends of the range, which more digits do not change. Otherwise a
        // huge exponent would make the loop long.
        while read < point && ![0, i64::MIN, i64::MAX].contains(&seconds) {
            seconds = seconds.saturating_mul(10);
            read += 1;
        }
        let next = seconds.saturating_add(if has_fraction { sign } else { 0 });
        Self {
            earliest: NumericDate::from_seconds(seconds.min(next)),
            latest: NumericDate::from_seconds(seconds.max(next)),
        }
    }
}

impl From<NumericDate> for SpelledDate {
    fn from(date: NumericDate) -> Self {
        Self { earliest: date, latest: date }
    }
}

/// Returns the exponent of a JSON number, or a value far outside every range if it has too many
/// digits.
fn saturating_exponent(text: &str) -> i64 {
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    // Half of the range, so that sums with the result do not overflow.
    let magnitude = digits.bytes().fold(0_i64, |exponent, digit| {
        exponent.saturating_mul(10).saturating_add(i64::from(digit & 0x0f)).min(i64::MAX / 2)
    });
    if negative { -magnitude } else { magnitude }
}

/// The source of the time. A verification reads it once.
///
/// ```
/// use kippu::{Clock, Validation};
///
/// struct Stopped;
///
/// impl Clock for Stopped {
///     fn unix_millis(&self) -> i64 {
///         1_300_819_379_000
///     }
/// }
///
/// let validation = Validation::new().clock(Stopped);
/// ```
pub trait Clock: Send + Sync {
    /// Returns the milliseconds since 1970-01-01T00:00:00Z. The clock may step backwards and may be
    /// set before 1970; neither causes a panic. Access tokens use whole seconds, sessions use
    /// milliseconds.
    fn unix_millis(&self) -> i64;
}

/// A pointer to a clock is also a clock.
macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<C: Clock + ?Sized> Clock for $pointer {
            fn unix_millis(&self) -> i64 {
                C::unix_millis(self)
            }
        }
    )*};
}

pointers!(&C, alloc::boxed::Box<C>);
#[cfg(target_has_atomic = "ptr")]
pointers!(alloc::sync::Arc<C>);

/// The operating system's clock, in UTC.
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[cfg(feature = "std")]
impl Clock for SystemClock {
    fn unix_millis(&self) -> i64 {
        let saturated = |millis| i64::try_from(millis).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => saturated(since.as_millis()),
            // Rounded down too, so away from the epoch.
            Err(before) => -saturated(before.duration().as_nanos().div_ceil(1_000_000)),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use serde_core::de::value::{Error, F64Deserializer};

    use super::*;

    fn between(earliest: i64, latest: i64) -> SpelledDate {
        SpelledDate {
            earliest: NumericDate::from_seconds(earliest),
            latest: NumericDate::from_seconds(latest),
        }
    }

    fn exactly(seconds: i64) -> SpelledDate {
        between(seconds, seconds)
    }

    #[test]
    fn a_spelled_date_is_read_from_its_digits() {
        for (text, expected) in [
            ("0", exactly(0)),
            ("-0", exactly(0)),
            ("-0.0", exactly(0)),
            ("1760000000", exactly(1_760_000_000)),
            ("1760000000.0", exactly(1_760_000_000)),
            ("1.76e9", exactly(1_760_000_000)),
            ("1.76E+9", exactly(1_760_000_000)),
            ("17600000000000e-4", exactly(1_760_000_000)),
            ("-1", exactly(-1)),
            ("253402300799", exactly(253_402_300_799)),
            ("1.5", between(1, 2)),
            ("-1.5", between(-2, -1)),
            ("15e-1", between(1, 2)),
            ("0.0000001", between(0, 1)),
            ("-0.0000001", between(-1, 0)),
            ("1e-400", between(0, 1)),
            ("0e400", exactly(0)),
            ("0e99999999999999999999999", exactly(0)),
            ("1760000000.0000000001", between(1_760_000_000, 1_760_000_001)),
            ("1759999999.9999999999", between(1_759_999_999, 1_760_000_000)),
            ("9223372036854775806.5", between(i64::MAX - 1, i64::MAX)),
            ("1e30", exactly(i64::MAX)),
            ("-1e30", exactly(i64::MIN)),
            ("-9223372036854775808", exactly(i64::MIN)),
            ("-9223372036854775807.5", between(i64::MIN, -i64::MAX)),
            ("1e308", exactly(i64::MAX)),
            ("18446744073709551616", exactly(i64::MAX)),
            ("1e99999999999999999999999", exactly(i64::MAX)),
            ("1e-99999999999999999999999", between(0, 1)),
        ] {
            assert_eq!(SpelledDate::from_decimal(text), expected, "{text}");
        }
    }

    #[test]
    fn arithmetic_saturates() {
        let [first, last] = [i64::MIN, i64::MAX].map(NumericDate::from_seconds);
        for date in [first, NumericDate::EPOCH, last] {
            assert_eq!(date.saturating_add(Duration::MAX), last);
            assert_eq!(date.saturating_sub(Duration::MAX), first);
        }
        assert_eq!(first.saturating_since(last), Duration::ZERO);
        assert_eq!(last.saturating_since(last), Duration::ZERO);
        assert_eq!(last.saturating_since(first), Duration::from_secs(u64::MAX));
    }

    #[test]
    fn a_duration_counts_its_whole_seconds() {
        let date = NumericDate::from_seconds(10);
        let duration = Duration::from_millis(1_999);
        assert_eq!(date.saturating_add(duration).seconds(), 11);
        assert_eq!(date.saturating_sub(duration).seconds(), 9);
    }

    #[test]
    fn a_date_prints_its_seconds() {
        for (seconds, text) in [(0, "0"), (-1, "-1"), (1_300_819_380, "1300819380")] {
            let date = NumericDate::from_seconds(seconds);
            assert_eq!(date.to_string(), text);
            assert_eq!(alloc::format!("{date:?}"), alloc::format!("NumericDate({text})"));
        }
    }

    #[test]
    fn a_double_is_rounded_down() {
        for (double, seconds) in [
            (0.0, 0),
            (-0.0, 0),
            (1.5, 1),
            (-0.5, -1),
            (-1.0, -1),
            (-1.5, -2),
            (4_294_967_296.0, 4_294_967_296),
            (5e9 + 0.5, 5_000_000_000),
            (-5e9 - 0.5, -5_000_000_001),
            (1e300, i64::MAX),
            (-1e300, i64::MIN),
        ] {
            let read = NumericDate::deserialize(F64Deserializer::<Error>::new(double));
            assert_eq!(read.unwrap(), NumericDate::from_seconds(seconds), "{double}");
        }
        for double in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(NumericDate::deserialize(F64Deserializer::<Error>::new(double)).is_err());
        }
    }

    #[cfg(feature = "std")]
    #[test]
    fn a_system_time_is_rounded_down() {
        for (time, seconds) in [
            (UNIX_EPOCH + Duration::from_nanos(1_999_999_999), 1),
            (UNIX_EPOCH, 0),
            (UNIX_EPOCH - Duration::from_nanos(1), -1),
            (UNIX_EPOCH - Duration::from_secs(1), -1),
            (UNIX_EPOCH - Duration::from_nanos(1_500_000_001), -2),
        ] {
            assert_eq!(NumericDate::from(time), NumericDate::from_seconds(seconds));
        }
    }

    #[cfg(feature = "std")]
    #[test]
    fn a_date_is_a_system_time_where_there_is_one() {
        for seconds in [0, 1, -1, 1_300_819_380] {
            let date = NumericDate::from_seconds(seconds);
            assert_eq!(date.to_system_time().map(NumericDate::from), Some(date));
        }
        let last = NumericDate::from_seconds(i64::MAX).to_system_time();
        assert!(last.is_none_or(|last| NumericDate::from(last).seconds() == i64::MAX));
    }
}
