//! Times as stores keep them: whole milliseconds since the epoch, in a range that every store can
//! represent exactly.

use core::{fmt, time::Duration};

use crate::numeric_date::{Clock, NumericDate, SystemClock};

/// An instant in whole milliseconds since 1970-01-01T00:00:00Z, without leap seconds.
///
/// It is between -(2^53 - 1) and 2^53 - 1, about 285,000 years either way, so that stores whose
/// numbers are doubles (Lua, JSON) represent it exactly. A time outside becomes the nearest end of
/// the range, and arithmetic saturates there.
///
/// ```
/// use core::time::Duration;
/// use kippu::session::UnixMillis;
///
/// let login = UnixMillis::new(1_300_819_380_000);
/// assert_eq!(login.saturating_add(Duration::from_secs(1)).get(), 1_300_819_381_000);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(i64);

impl UnixMillis {
    /// The latest instant.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// The earliest instant.
    pub const MIN: Self = Self(-Self::MAX.0);

    /// Returns the instant `millis` milliseconds after the epoch, or before it if `millis` is
    /// negative.
    pub const fn new(millis: i64) -> Self {
        if millis > Self::MAX.0 {
            Self::MAX
        } else if millis < Self::MIN.0 {
            Self::MIN
        } else {
            Self(millis)
        }
    }

    /// Returns the time of the system clock.
    pub fn now() -> Self {
        Self::new(SystemClock.unix_millis())
    }

    /// Returns the milliseconds since the epoch.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Adds the whole milliseconds of `duration`.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self::new(self.0.saturating_add(millis))
    }

    /// Returns how much later this instant is than `earlier`, or zero if it is not later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl From<NumericDate> for UnixMillis {
    fn from(date: NumericDate) -> Self {
        Self::new(date.seconds().saturating_mul(1000))
    }
}

impl From<UnixMillis> for NumericDate {
    /// Rounds down to the second.
    fn from(time: UnixMillis) -> Self {
        Self::from_millis(time.0)
    }
}

impl fmt::Display for UnixMillis {
    /// Prints the milliseconds since the epoch.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let last = 9_007_199_254_740_991;
        assert_eq!((UnixMillis::MIN.get(), UnixMillis::MAX.get()), (-last, last));
        for end in [i64::MAX, UnixMillis::MAX.get(), UnixMillis::MAX.get() + 1] {
            assert_eq!(UnixMillis::new(end), UnixMillis::MAX);
            assert_eq!(UnixMillis::new(-end), UnixMillis::MIN);
        }
        assert_eq!(UnixMillis::new(i64::MIN), UnixMillis::MIN);
        for from in [UnixMillis::MIN, UnixMillis::default(), UnixMillis::MAX] {
            assert_eq!(from.saturating_add(Duration::MAX), UnixMillis::MAX);
        }
        let range = UnixMillis::MAX.saturating_since(UnixMillis::MIN);
        assert_eq!(range, Duration::from_millis((1 << 54) - 2));
        assert_eq!(UnixMillis::MIN.saturating_since(UnixMillis::MAX), Duration::ZERO);
    }

    #[test]
    fn dates_are_rounded_down() {
        for (millis, seconds) in [(1999, 1), (1000, 1), (-1, -1), (-1000, -1), (-1001, -2)] {
            assert_eq!(NumericDate::from(UnixMillis::new(millis)).seconds(), seconds, "{millis}");
        }
        for (seconds, millis) in [(1, 1000), (-1, -1000), (i64::MAX, UnixMillis::MAX.get())] {
            assert_eq!(UnixMillis::from(NumericDate::from_seconds(seconds)).get(), millis);
        }
        assert_eq!(UnixMillis::new(-1001).to_string(), "-1001");
    }
}
