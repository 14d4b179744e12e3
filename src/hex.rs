//! Hexadecimal secrets: decodes two digits to a byte. Any other character, including white space,
//! is refused.

use alloc::{vec, vec::Vec};

use subtle::{Choice, ConditionallySelectable, ConstantTimeGreater, ConstantTimeLess};
use zeroize::Zeroizing;

/// Decodes digits of either case. Branches and memory accesses depend only on the number of digits.
/// The result does not show which digit is wrong, since that would disclose part of the secret.
pub(crate) fn decode_secret(digits: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; digits.len() / 2]);
    let mut known = Choice::from(u8::from(digits.len() % 2 == 0));
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        for digit in pair {
            let (value, is_digit) = value(*digit);
            *byte = *byte << 4 | value;
            known &= is_digit;
        }
    }
    // Decided once, after all digits, so that the time does not show which digit is wrong.
    bool::from(known).then_some(bytes)
}

/// Returns whether a text consists of digits, an even number of them. It looks at every byte, so
/// the time depends only on the length.
pub(crate) fn is_hex(text: &[u8]) -> Choice {
    let is_even = Choice::from(u8::from(!text.is_empty() && text.len() % 2 == 0));
    text.iter().fold(is_even, |all, byte| all & value(*byte).1)
}

/// The runs of digits: first, last, value of the first.
const RUNS: [(u8, u8, u8); 3] = [(b'0', b'9', 0), (b'a', b'f', 10), (b'A', b'F', 10)];

/// Returns the value of a digit, and whether the byte is a digit. The work is the same for every
/// byte.
fn value(digit: u8) -> (u8, Choice) {
    RUNS.into_iter().fold((0, Choice::from(0)), |(value, known), (first, last, base)| {
        let inside = !digit.ct_lt(&first) & !digit.ct_gt(&last);
        let candidate = digit.wrapping_sub(first).wrapping_add(base);
        (u8::conditional_select(&value, &candidate, inside), known | inside)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares every pair of bytes with the parser of the standard library.
    #[test]
    fn every_pair_of_digits_agrees_with_the_standard_library() {
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                let digit = |byte| char::from(byte).to_digit(16);
                let wanted = digit(first)
                    .zip(digit(second))
                    .map(|(high, low)| vec![u8::try_from(high * 16 + low).unwrap()]);
                assert_eq!(decode_secret(&[first, second]).map(|bytes| bytes.to_vec()), wanted);
            }
        }
    }

    #[test]
    fn digits_are_decoded_and_any_other_text_is_refused() {
        assert_eq!(decode_secret(b"").as_deref(), Some(&vec![]));
        assert_eq!(decode_secret(b"00Ff7a").as_deref(), Some(&vec![0x00, 0xff, 0x7a]));
        for text in ["0", "0Ff", "00Ff7a\n", " 00Ff7a", "0x00", "00:ff", "g0ff", "0gff", "00fg"] {
            assert!(decode_secret(text.as_bytes()).is_none(), "{text:?}");
        }
    }
}
