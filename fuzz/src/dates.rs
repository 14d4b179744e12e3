//! What the documentation of `NumericDate` promises, in 128-bit integers of microseconds.
//!
//! Whole microseconds until the year 2106 and as long before 1970; whole seconds beyond; what lies
//! outside some 290,000 years is the nearest end of that range.

use std::time::Duration;

use kippu::NumericDate;

use crate::decimal::Decimal;

/// Microseconds in a second.
pub const SECOND: i128 = 1_000_000;

/// From here on, on both sides, there are only whole seconds: 2^32 seconds.
pub const FRACTIONS_END: i128 = (1 << 32) * SECOND;

/// The last instant, and with the other sign the first: whole seconds that fit 64 bits of microseconds.
pub const END: i128 = 9_223_372_036_854 * SECOND;

/// The last instant that is not later.
pub fn down(micros: i128) -> i128 {
    round(micros, i128::div_euclid)
}

/// The first instant that is not earlier.
pub fn up(micros: i128) -> i128 {
    round(micros, |micros, unit| -(-micros).div_euclid(unit))
}

fn round(micros: i128, divide: fn(i128, i128) -> i128) -> i128 {
    let unit = if micros.abs() < FRACTIONS_END { 1 } else { SECOND };
    (divide(micros, unit) * unit).clamp(-END, END)
}

/// `date` and `duration` more, without the nanoseconds that are no microsecond.
pub fn add(date: i128, duration: Duration) -> i128 {
    down(date + i128::try_from(duration.as_micros()).expect("a duration is far below 2^127"))
}

/// A number of seconds between the nearest two instants.
pub fn between(spelled: &str) -> (i128, i128) {
    let (floor, ceiling) = Decimal::from_json(spelled).bounds(6);
    (down(floor), up(ceiling))
}

/// The instant, as kippu has it.
pub fn to_kippu(micros: i128) -> NumericDate {
    let seconds = i64::try_from(micros.div_euclid(SECOND)).expect("within the range");
    let rest = u64::try_from(micros.rem_euclid(SECOND)).expect("not negative");
    NumericDate::from_seconds(seconds).saturating_add(Duration::from_micros(rest))
}

/// The instant of a date of kippu's, by what it prints.
pub fn from_kippu(date: NumericDate) -> i128 {
    let (floor, ceiling) = Decimal::from_json(&date.to_string()).bounds(6);
    assert_eq!(floor, ceiling, "a date has whole microseconds: {date}");
    floor
}

/// Seconds with as many decimals as there are.
pub fn spelled(micros: i128) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let (seconds, rest) = (micros.abs() / SECOND, micros.abs() % SECOND);
    let spelled = format!("{sign}{seconds}.{rest:06}");
    spelled.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_whole_microseconds_then_whole_seconds_then_the_ends() {
        for (spelled, instants) in [
            ("1.0000005", (1_000_000, 1_000_001)),
            ("-1.0000005", (-1_000_001, -1_000_000)),
            ("4294967295.9999999", (FRACTIONS_END - 1, FRACTIONS_END)),
            ("4294967296.5", (FRACTIONS_END, FRACTIONS_END + SECOND)),
            ("-4294967296.5", (-FRACTIONS_END - SECOND, -FRACTIONS_END)),
            ("9223372036854.5", (END, END)),
            ("1e308", (END, END)),
            ("-1e308", (-END, -END)),
        ] {
            assert_eq!(between(spelled), instants, "{spelled}");
        }
        assert_eq!(add(FRACTIONS_END - 1, Duration::from_nanos(2_999)), FRACTIONS_END);
        assert_eq!(add(0, Duration::MAX), END);
    }

    #[test]
    fn an_instant_is_spelled_and_read_back() {
        for micros in [0, 1, -1, 1_500_000, -1_500_000, 1_760_000_000_000_010, END, -END] {
            assert_eq!(from_kippu(to_kippu(micros)), micros);
            assert_eq!(between(&spelled(micros)), (micros, micros));
        }
    }
}
