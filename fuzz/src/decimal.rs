//! Decimal numbers of any size. Reads the spelling of a JSON number, and returns exact bounds in
//! any unit.

/// A number as it is spelled: the sign, the digits, and how many places to shift the point right.
#[derive(Clone, Debug)]
pub struct Decimal {
    negative: bool,
    /// Without leading zeros; empty for zero.
    digits: String,
    exponent: i64,
}

/// Stands for everything that is further away. No clock and no duration reaches it.
pub const FAR: i128 = 10_i128.pow(DIGITS);

/// Enough for the nanoseconds of the longest `Duration`, and more than a time needs.
const DIGITS: u32 = 36;

impl Decimal {
    /// Reads a number in the grammar of RFC 8259 §6.
    pub fn from_json(spelled: &str) -> Self {
        let (negative, magnitude) = match spelled.strip_prefix('-') {
            Some(magnitude) => (true, magnitude),
            None => (false, spelled),
        };
        let lower = magnitude.to_ascii_lowercase();
        let (mantissa, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let exponent = exponent.parse().unwrap_or(if exponent.starts_with('-') {
            i64::MIN / 2
        } else {
            i64::MAX / 2
        });
        let places = i64::try_from(fraction.len()).expect("shorter than the address space");
        let digits = format!("{whole}{fraction}").trim_start_matches('0').to_owned();
        Self { negative, digits, exponent: exponent.saturating_sub(places) }
    }

    /// Returns whether this number is nearer to zero than `other`.
    pub fn is_nearer_to_zero_than(&self, other: &Self) -> bool {
        if self.digits.is_empty() || other.digits.is_empty() {
            return self.digits.is_empty() && !other.digits.is_empty();
        }
        // The place of the first digit, and then the digits.
        let key = |number: &Self| {
            let length =
                i64::try_from(number.digits.len()).expect("shorter than the address space");
            let digits = number.digits.trim_end_matches('0').to_owned();
            (number.exponent.saturating_add(length), digits)
        };
        key(self) < key(other)
    }

    /// Returns the two integers around this number multiplied by 10^`shift`; the same one twice if
    /// it is an integer. Neither is further away than [`FAR`].
    pub fn bounds(&self, shift: i64) -> (i128, i128) {
        let (magnitude, exact) = self.magnitude(shift);
        let next = magnitude + i128::from(!exact);
        if self.negative { (-next, -magnitude) } else { (magnitude, next) }
    }

    /// Returns the integer part of the magnitude, and whether nothing remains.
    fn magnitude(&self, shift: i64) -> (i128, bool) {
        let most = usize::try_from(DIGITS).expect("fits");
        let places = self.exponent.saturating_add(shift);
        let count = usize::try_from(places.unsigned_abs()).unwrap_or(usize::MAX);
        if self.digits.is_empty() {
            return (0, true);
        }
        let (whole, rest) = if places >= 0 {
            if self.digits.len().saturating_add(count) > most {
                return (FAR, true);
            }
            (format!("{}{}", self.digits, "0".repeat(count)), "")
        } else {
            let (whole, rest) = self.digits.split_at(self.digits.len().saturating_sub(count));
            (whole.to_owned(), rest)
        };
        if whole.len() > most {
            return (FAR, true);
        }
        let value = if whole.is_empty() { 0 } else { whole.parse().expect("few enough digits") };
        (value, rest.bytes().all(|digit| digit == b'0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_magnitudes() {
        let numbers =
            ["0", "1e-400", "0.09", "-0.1", "1", "1.5", "-9.99", "10", "1e308", "1.1e308"];
        for (index, one) in numbers.iter().enumerate() {
            for (other_index, other) in numbers.iter().enumerate() {
                let [one, other] = [one, other].map(|spelled| Decimal::from_json(spelled));
                assert_eq!(one.is_nearer_to_zero_than(&other), index < other_index);
            }
        }
        let [one, other] = ["-0.0100e3", "10"].map(Decimal::from_json);
        assert!(!one.is_nearer_to_zero_than(&other) && !other.is_nearer_to_zero_than(&one));
    }

    #[test]
    fn bounds_are_exact() {
        for (spelled, shift, bounds) in [
            ("0", 6, (0, 0)),
            ("-0.000e7", 6, (0, 0)),
            ("1", 6, (1_000_000, 1_000_000)),
            ("1.5", 0, (1, 2)),
            ("-1.5", 0, (-2, -1)),
            ("1.5", 1, (15, 15)),
            ("15e-1", 1, (15, 15)),
            ("0.15E+2", 0, (15, 15)),
            ("1.50e1", 0, (15, 15)),
            ("0.0000001", 6, (0, 1)),
            ("-0.0000001", 6, (-1, 0)),
            ("1e-99999999999999999999", 6, (0, 1)),
            ("0e99999999999999999999", 6, (0, 0)),
            ("1e35", 0, (10_i128.pow(35), 10_i128.pow(35))),
            ("1e36", 0, (FAR, FAR)),
            ("-1e99999999999999999999", 6, (-FAR, -FAR)),
            ("123456789012345678901234567890123456789.5", 0, (FAR, FAR)),
            ("1759999999.9999999999", 6, (1_759_999_999_999_999, 1_760_000_000_000_000)),
        ] {
            assert_eq!(Decimal::from_json(spelled).bounds(shift), bounds, "{spelled} {shift}");
        }
    }
}
