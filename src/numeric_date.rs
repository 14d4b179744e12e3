//! NumericDate (RFC 7519 §2): seconds since the epoch in, an instant out, without overflow or panic.
//!
//! Any finite JSON number is a time: fractions, times before 1970 and times far beyond any calendar.
//! Arithmetic saturates. Also the [`Clock`], from which a verification takes its one reading.

use core::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An instant, as seconds since 1970-01-01T00:00:00Z without leap seconds (RFC 7519 §2, "NumericDate").
///
/// It is kept in whole microseconds, between about 290,000 years before and after the epoch; what lies
/// outside is the nearest end of that range. Fractions of a second are kept until the year 2106, as
/// long as a JSON number that other implementations read as a double can carry them.
///
/// ```
/// use kippu::NumericDate;
///
/// let exp = NumericDate::from_seconds(1_300_819_380);
/// assert_eq!(serde_json::to_string(&exp)?, "1300819380");
/// assert_eq!(serde_json::from_str::<NumericDate>("1300819380.5")?.to_string(), "1300819380.5");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NumericDate {
    micros: i64,
}

/// Microseconds in a second.
const SECOND: i64 = 1_000_000;

/// From here on two neighbouring doubles may be more than half a microsecond apart, so that a fraction
/// would not survive a round trip through JSON: 2^32 seconds, the year 2106.
const FRACTIONS_END: i64 = (1 << 32) * SECOND;

/// The same in seconds.
const WHOLE_SECONDS_START: f64 = 4_294_967_296.0;

impl NumericDate {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self { micros: 0 };

    /// The instant `seconds` after the epoch; before it when negative.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self::from_micros(seconds.saturating_mul(SECOND))
    }

    /// The system clock's current second, without its fraction: what one writes into `iat`.
    #[cfg(feature = "std")]
    pub fn now() -> Self {
        Self::from_seconds(SystemClock.now().seconds())
    }

    /// `seconds` after [`NumericDate::now`]: what one writes into `exp`.
    #[cfg(feature = "std")]
    pub fn in_seconds(seconds: u32) -> Self {
        Self::now().saturating_add(Duration::from_secs(u64::from(seconds)))
    }

    /// Whole seconds since the epoch; a fraction is rounded down, towards the past.
    pub const fn seconds(self) -> i64 {
        self.micros.div_euclid(SECOND)
    }

    /// Whole milliseconds since the epoch, rounded down.
    #[cfg(feature = "session")]
    pub(crate) const fn millis(self) -> i64 {
        self.micros.div_euclid(1000)
    }

    /// The instant `millis` milliseconds after the epoch; before it when negative.
    #[cfg(feature = "session")]
    pub(crate) const fn from_millis(millis: i64) -> Self {
        Self::from_micros(millis.saturating_mul(1000))
    }

    /// This instant and `duration` more, or the end of the range. A nanosecond that is no whole
    /// microsecond is dropped.
    #[must_use]
    #[inline]
    pub fn saturating_add(self, duration: Duration) -> Self {
        if let Some(micros) = few_micros(duration) {
            return Self::from_micros(self.micros.saturating_add(micros));
        }
        let sum = i128::from(self.micros).saturating_add_unsigned(duration.as_micros());
        Self::from_micros(i64::try_from(sum).unwrap_or(i64::MAX))
    }

    /// This instant and `duration` less, or the start of the range. A nanosecond that is no whole
    /// microsecond is dropped.
    #[must_use]
    #[inline]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        if let Some(micros) = few_micros(duration) {
            return Self::from_micros(self.micros.saturating_sub(micros));
        }
        let difference = i128::from(self.micros).saturating_sub_unsigned(duration.as_micros());
        Self::from_micros(i64::try_from(difference).unwrap_or(i64::MIN))
    }

    /// How much later this instant is than `earlier`; nothing when it is not later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        let micros = self.micros.saturating_sub(earlier.micros);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// Rounds down, where it has to round at all.
    #[inline]
    const fn from_micros(micros: i64) -> Self {
        if -FRACTIONS_END < micros && micros < FRACTIONS_END {
            return Self { micros };
        }
        if micros < i64::MIN + SECOND {
            return Self { micros: i64::MIN / SECOND * SECOND };
        }
        Self { micros: micros.div_euclid(SECOND) * SECOND }
    }

    /// Rounds up, where it has to round at all.
    const fn from_micros_up(micros: i64) -> Self {
        let down = Self::from_micros(micros);
        if down.micros < micros {
            return Self::from_micros(down.micros.saturating_add(SECOND));
        }
        down
    }
}

/// A duration below 136 years, as all but made-up ones are, which takes no wide arithmetic.
#[inline]
fn few_micros(duration: Duration) -> Option<i64> {
    let seconds = u32::try_from(duration.as_secs()).ok()?;
    Some(i64::from(seconds) * SECOND + i64::from(duration.subsec_micros()))
}

impl fmt::Display for NumericDate {
    /// Seconds since the epoch, with as many decimals as there are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.micros < 0 { "-" } else { "" };
        let micros = self.micros.unsigned_abs();
        let (seconds, mut fraction) = (micros / 1_000_000, micros % 1_000_000);
        write!(f, "{sign}{seconds}")?;
        if fraction == 0 {
            return Ok(());
        }
        let mut digits = 6;
        while fraction % 10 == 0 {
            fraction /= 10;
            digits -= 1;
        }
        write!(f, ".{fraction:0digits$}")
    }
}

impl fmt::Debug for NumericDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NumericDate({self})")
    }
}

impl Serialize for NumericDate {
    /// A JSON integer; a number with decimals only when there is a fraction of a second. In formats that
    /// nobody reads, microseconds.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_i64(self.micros);
        }
        if self.micros % SECOND == 0 {
            return serializer.serialize_i64(self.micros / SECOND);
        }
        #[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "below 2^53")]
        serializer.serialize_f64(self.micros as f64 / 1e6)
    }
}

impl<'de> Deserialize<'de> for NumericDate {
    /// Any finite number, rounded to the nearest microsecond; from 2106 on, down to the second.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;

        impl de::Visitor<'_> for NumberVisitor {
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
                // Whole seconds are all that is kept from here on, and a product would be rounded.
                if seconds.abs() >= WHOLE_SECONDS_START {
                    #[expect(
                        clippy::as_conversions,
                        clippy::cast_possible_truncation,
                        clippy::cast_precision_loss,
                        reason = "saturates"
                    )]
                    let (towards_zero, is_below) =
                        (seconds as i64, seconds < (seconds as i64) as f64);
                    let whole = towards_zero.saturating_sub(i64::from(is_below));
                    return Ok(NumericDate::from_seconds(whole));
                }
                let micros = seconds * 1e6;
                // Below 2^52, so that there is room for a half.
                let micros = if micros < 0.0 { micros - 0.5 } else { micros + 0.5 };
                #[expect(
                    clippy::as_conversions,
                    clippy::cast_possible_truncation,
                    reason = "saturates"
                )]
                Ok(NumericDate::from_micros(micros as i64))
            }
        }

        if !deserializer.is_human_readable() {
            return i64::deserialize(deserializer).map(NumericDate::from_micros);
        }
        // Not any value, which serde_json has another way to spell when it is told not to round.
        deserializer.deserialize_f64(NumberVisitor)
    }
}

#[cfg(feature = "std")]
impl From<std::time::SystemTime> for NumericDate {
    /// Rounds down to the microsecond; a time outside the range becomes its nearest end.
    fn from(time: std::time::SystemTime) -> Self {
        match time.duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => Self::EPOCH.saturating_add(since),
            Err(before) => {
                let up = before.duration().saturating_add(Duration::from_nanos(999));
                Self::EPOCH.saturating_sub(up)
            }
        }
    }
}

/// A time as a token spells it, between the nearest two instants that [`NumericDate`] can hold.
///
/// A verifier reads the digits, not a double: `1760000000.0000000001` is later than 1760000000. To
/// round never in the token's favour, an expiry counts from `earliest`, a start from `latest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpelledDate {
    pub(crate) earliest: NumericDate,
    pub(crate) latest: NumericDate,
}

impl SpelledDate {
    /// Reads a number of the grammar of RFC 8259 §6; what does not follow it has no defined value.
    #[cold]
    pub(crate) fn from_decimal(text: &str) -> Self {
        let (negative, text) = match text.strip_prefix('-') {
            Some(magnitude) => (true, magnitude),
            None => (false, text),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, saturating_exponent(exponent)),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        // How many of the digits stand before the point once the number counts microseconds.
        let whole_digits = i64::try_from(whole.len()).unwrap_or(i64::MAX);
        let point = whole_digits.saturating_add(exponent).saturating_add(6);

        let (mut micros, mut between, mut read) = (0_i64, false, 0_i64);
        for digit in whole.bytes().chain(fraction.bytes()).map(|digit| i64::from(digit & 0x0f)) {
            if read < point {
                micros = micros.saturating_mul(10).saturating_add(digit);
            } else {
                between |= digit != 0;
            }
            read += 1;
        }
        while read < point && 0 < micros && micros < i64::MAX {
            micros = micros.saturating_mul(10);
            read += 1;
        }
        let next = micros.saturating_add(i64::from(between));
        if negative {
            let (earliest, latest) = (next.saturating_neg(), micros.saturating_neg());
            return Self {
                earliest: NumericDate::from_micros(earliest),
                latest: NumericDate::from_micros_up(latest),
            };
        }
        Self {
            earliest: NumericDate::from_micros(micros),
            latest: NumericDate::from_micros_up(next),
        }
    }
}

impl From<NumericDate> for SpelledDate {
    #[inline]
    fn from(date: NumericDate) -> Self {
        Self { earliest: date, latest: date }
    }
}

/// The exponent of a JSON number; far beyond every range when its digits are.
fn saturating_exponent(text: &str) -> i64 {
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    // Half the range, so that sums with it do not overflow.
    let magnitude = digits.bytes().fold(0_i64, |exponent, digit| {
        exponent.saturating_mul(10).saturating_add(i64::from(digit & 0x0f)).min(i64::MAX / 2)
    });
    if negative { -magnitude } else { magnitude }
}

/// Where the time comes from: one reading for each verification.
///
/// A clock is shared by threads and outlives what uses it: a `static`, mostly.
///
/// ```
/// use kippu::{Clock, NumericDate};
///
/// struct Stopped;
///
/// impl Clock for Stopped {
///     fn now(&self) -> NumericDate {
///         NumericDate::from_seconds(1_300_819_379)
///     }
/// }
///
/// let validation = kippu::Validation::new().clock(&Stopped);
/// ```
pub trait Clock: Send + Sync {
    /// The current time. It may step backwards and may lie before 1970: nothing panics.
    fn now(&self) -> NumericDate;
}

/// The operating system's clock, in UTC.
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[cfg(feature = "std")]
impl Clock for SystemClock {
    fn now(&self) -> NumericDate {
        std::time::SystemTime::now().into()
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use serde::de::value::{Error, F64Deserializer};

    use super::*;

    fn micros(earliest: i64, latest: i64) -> SpelledDate {
        SpelledDate {
            earliest: NumericDate { micros: earliest },
            latest: NumericDate { micros: latest },
        }
    }

    fn seconds(seconds: i64) -> SpelledDate {
        micros(seconds * SECOND, seconds * SECOND)
    }

    #[test]
    fn a_spelled_date_is_read_from_its_digits() {
        let last = i64::MAX / SECOND;
        for (text, expected) in [
            ("0", seconds(0)),
            ("-0", seconds(0)),
            ("-0.0", seconds(0)),
            ("1760000000", seconds(1_760_000_000)),
            ("1760000000.0", seconds(1_760_000_000)),
            ("1.76e9", seconds(1_760_000_000)),
            ("1.76E+9", seconds(1_760_000_000)),
            ("17600000000000e-4", seconds(1_760_000_000)),
            ("-1", seconds(-1)),
            ("253402300799", seconds(253_402_300_799)),
            ("1.5", micros(1_500_000, 1_500_000)),
            ("-1.5", micros(-1_500_000, -1_500_000)),
            ("0.0000001", micros(0, 1)),
            ("-0.0000001", micros(-1, 0)),
            ("1e-400", micros(0, 1)),
            ("0e400", seconds(0)),
            ("0e99999999999999999999999", seconds(0)),
            ("1760000000.0000000001", micros(1_760_000_000_000_000, 1_760_000_000_000_001)),
            ("1759999999.9999999999", micros(1_759_999_999_999_999, 1_760_000_000_000_000)),
            ("1e30", seconds(last)),
            ("-1e30", seconds(-last)),
            ("1e308", seconds(last)),
            ("18446744073709551616", seconds(last)),
            ("9223372036854", seconds(last)),
            ("9000000000.5", micros(9_000_000_000 * SECOND, 9_000_000_001 * SECOND)),
            ("-9000000000.5", micros(-9_000_000_001 * SECOND, -9_000_000_000 * SECOND)),
            ("1e99999999999999999999999", seconds(last)),
            ("1e-99999999999999999999999", micros(0, 1)),
        ] {
            assert_eq!(SpelledDate::from_decimal(text), expected, "{text}");
        }
    }

    #[test]
    fn arithmetic_saturates_at_whole_seconds() {
        let (first, last) =
            (NumericDate::from_seconds(i64::MIN), NumericDate::from_seconds(i64::MAX));
        for end in [first, last] {
            assert_eq!(end.micros % SECOND, 0);
            assert_eq!(end.micros.abs(), i64::MAX / SECOND * SECOND);
        }
        for (date, end) in [(first, last), (NumericDate::EPOCH, last), (last, last)] {
            assert_eq!(date.saturating_add(Duration::MAX), end);
        }
        for (date, end) in [(last, first), (NumericDate::EPOCH, first), (first, first)] {
            assert_eq!(date.saturating_sub(Duration::MAX), end);
        }
        assert_eq!(first.saturating_since(last), Duration::ZERO);
        assert!(last.saturating_since(first) > Duration::from_secs(9_000_000_000_000));
    }

    #[test]
    fn a_date_is_written_with_the_decimals_it_has() {
        for (micros, text) in [
            (0, "0"),
            (1_500_000, "1.5"),
            (-500_000, "-0.5"),
            (-1_000_001, "-1.000001"),
            (1_300_819_380_000_010, "1300819380.00001"),
        ] {
            let date = NumericDate { micros };
            assert_eq!(date.to_string(), text);
            assert_eq!(alloc::format!("{date:?}"), alloc::format!("NumericDate({text})"));
        }
    }

    /// Of a format that hands over a double: this crate's reader of JSON hands over digits.
    #[test]
    fn a_double_is_rounded_down_where_whole_seconds_are_kept() {
        for (double, seconds) in [
            (4_294_967_296.0, 4_294_967_296),
            (5e9 + 0.5, 5_000_000_000),
            (-5e9, -5_000_000_000),
            (-5e9 - 0.5, -5_000_000_001),
            (1e300, i64::MAX),
            (-1e300, i64::MIN),
        ] {
            let read = NumericDate::deserialize(F64Deserializer::<Error>::new(double));
            assert_eq!(read.unwrap(), NumericDate::from_seconds(seconds), "{double}");
        }
    }

    #[cfg(feature = "std")]
    #[test]
    fn a_clock_before_1970_is_a_time() {
        let before = std::time::UNIX_EPOCH - Duration::from_nanos(1_500_000_001);
        assert_eq!(NumericDate::from(before), NumericDate { micros: -1_500_001 });
    }
}
