//! The documented guarantees of `NumericDate`, in 128-bit integers of seconds.
//!
//! Times are whole seconds. A time outside of 64 bits becomes the nearest end of that range.

use std::time::Duration;

use kippu::NumericDate;

use crate::decimal::Decimal;

/// The last time.
pub const END: i128 = (1 << 63) - 1;

/// The first time.
pub const START: i128 = -(1 << 63);

/// Returns the nearest time in the range.
pub fn within(seconds: i128) -> i128 {
    seconds.clamp(START, END)
}

/// Adds the whole seconds of `duration` to `date`.
pub fn add(date: i128, duration: Duration) -> i128 {
    within(date + i128::from(duration.as_secs()))
}

/// Returns the two nearest times around a number of seconds.
pub fn between(spelled: &str) -> (i128, i128) {
    let (floor, ceiling) = Decimal::from_json(spelled).bounds(0);
    (within(floor), within(ceiling))
}

/// Converts a time to kippu's type.
pub fn to_kippu(seconds: i128) -> NumericDate {
    NumericDate::from_seconds(i64::try_from(seconds).expect("within the range"))
}

/// Converts a date of kippu back, by its text.
pub fn from_kippu(date: NumericDate) -> i128 {
    date.to_string().parse().expect("a date prints its seconds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_whole_seconds_then_the_ends() {
        for (spelled, instants) in [
            ("1.0000005", (1, 2)),
            ("-1.0000005", (-2, -1)),
            ("1.5e1", (15, 15)),
            ("9223372036854775806.5", (END - 1, END)),
            ("9223372036854775807.5", (END, END)),
            ("1e308", (END, END)),
            ("-1e308", (START, START)),
        ] {
            assert_eq!(between(spelled), instants, "{spelled}");
        }
        assert_eq!(add(1, Duration::from_nanos(1_999_999_999)), 2);
        assert_eq!(add(0, Duration::MAX), END);
    }

    #[test]
    fn an_instant_is_read_back() {
        for seconds in [0, 1, -1, 1_760_000_000, END, START] {
            assert_eq!(from_kippu(to_kippu(seconds)), seconds);
            assert_eq!(between(&seconds.to_string()), (seconds, seconds));
        }
    }
}
