//! The promises of the documentation of `NumericDate`, in 128-bit integers of seconds.
//!
//! Whole seconds; what lies outside 64 bits is the nearest end of that range.

use std::time::Duration;

use kippu::NumericDate;

use crate::decimal::Decimal;

/// The last instant.
pub const END: i128 = (1 << 63) - 1;

/// The first instant.
pub const START: i128 = -(1 << 63);

/// The instant nearest to so many seconds.
pub fn within(seconds: i128) -> i128 {
    seconds.clamp(START, END)
}

/// `date` and the whole seconds of `duration` more.
pub fn add(date: i128, duration: Duration) -> i128 {
    within(date + i128::from(duration.as_secs()))
}

/// A number of seconds between the nearest two instants.
pub fn between(spelled: &str) -> (i128, i128) {
    let (floor, ceiling) = Decimal::from_json(spelled).bounds(0);
    (within(floor), within(ceiling))
}

/// The instant, as kippu has it.
pub fn to_kippu(seconds: i128) -> NumericDate {
    NumericDate::from_seconds(i64::try_from(seconds).expect("within the range"))
}

/// The instant of a date of kippu's, by what it prints.
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
