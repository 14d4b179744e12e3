//! base64url without padding (RFC 4648 §5, RFC 7515 §2): bytes to symbols and back.
//!
//! The codec is strict and canonical: each sequence of bytes has exactly one spelling. Refused are
//! symbols outside `A–Z a–z 0–9 - _` (therefore also padding, white space and the `+ /` of the
//! standard alphabet), a length that no encoder produces, and bits that are set after the last byte
//! (RFC 4648 §3.5).
//!
//! [`encode`] and [`decode`] look symbols up in tables, so their timing can depend on the text.
//! They are for tokens, which anyone who could observe the timing has already seen. Secrets, such
//! as the `k` of a JWK, go through a variant inside the crate whose branches and memory accesses
//! depend only on the length.

use alloc::{string::String, vec, vec::Vec};

use subtle::{Choice, ConditionallySelectable, ConstantTimeGreater, ConstantTimeLess};
use zeroize::Zeroizing;

use crate::debug::debug_by_message;

/// Why a text is not canonical base64url. Offsets are counted from the start of the encoded text.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Base64urlError {
    /// A byte outside the alphabet. Padding (`=`) and white space are outside it.
    #[error("byte 0x{byte:02x} at offset {offset} is not a base64url symbol")]
    Symbol {
        /// The offset of the first such byte.
        offset: usize,
        /// The byte.
        byte: u8,
    },
    /// The length is 1 more than a multiple of 4. No encoder produces such a length.
    #[error("a base64url text cannot have {length} symbols")]
    Length {
        /// The number of symbols.
        length: usize,
    },
    /// Bits after the last byte are set. If they were ignored, the same bytes would have a second
    /// spelling.
    #[error("the symbol at offset {offset} sets bits after the last byte")]
    TrailingBits {
        /// The offset of the last symbol.
        offset: usize,
    },
    /// The caller's slice is shorter than the result.
    #[error("the result has {needed} bytes, the output slice {given}")]
    OutputTooShort {
        /// The length of the result: that of [`encoded_len`] or [`decoded_len`].
        needed: usize,
        /// The length of the caller's slice.
        given: usize,
    },
}

debug_by_message!(Base64urlError);

/// Returns the number of symbols that encode `bytes` bytes: 4 for every 3 bytes, and 2 or 3 for the
/// rest.
pub const fn encoded_len(bytes: usize) -> usize {
    let rest = match bytes % 3 {
        0 => 0,
        rest => rest + 1,
    };
    (bytes / 3).saturating_mul(4).saturating_add(rest)
}

/// Returns the number of bytes that `symbols` symbols decode to. If the length is 1 more than a
/// multiple of 4, the last symbol is not counted; decoding refuses such a text.
pub const fn decoded_len(symbols: usize) -> usize {
    (symbols / 4) * 3 + (symbols % 4).saturating_sub(1)
}

/// Encodes `bytes` to a new string.
///
/// ```
/// assert_eq!(kippu::base64url::encode(b"foob"), "Zm9vYg");
/// ```
#[expect(clippy::missing_panics_doc, reason = "the invariant is this file's own")]
pub fn encode(bytes: &[u8]) -> String {
    let mut symbols = vec![0; encoded_len(bytes.len())];
    encode_exact(bytes, &mut symbols);
    String::from_utf8(symbols).expect("every symbol is ASCII")
}

/// Encodes `bytes` into the front of `output` and returns the written part, which is ASCII.
///
/// # Errors
/// [`Base64urlError::OutputTooShort`] if `output` is shorter than [`encoded_len`] of `bytes`.
///
/// ```
/// let mut output = [0; 8];
/// let symbols = kippu::base64url::encode_to_slice(b"foo", &mut output)?;
/// assert_eq!(symbols, b"Zm9v");
/// # Ok::<(), kippu::base64url::Base64urlError>(())
/// ```
pub fn encode_to_slice<'o>(
    bytes: &[u8],
    output: &'o mut [u8],
) -> Result<&'o mut [u8], Base64urlError> {
    let symbols = front(output, encoded_len(bytes.len()))?;
    encode_exact(bytes, symbols);
    Ok(symbols)
}

/// Decodes `symbols` to a new vector.
///
/// # Errors
/// [`Base64urlError`] if the text is not canonical base64url, with the first offset at which it is
/// not.
///
/// ```
/// use kippu::base64url::{Base64urlError, decode};
///
/// assert_eq!(decode("Zm9vYg"), Ok(b"foob".to_vec()));
/// assert_eq!(decode("Zm9vYg=="), Err(Base64urlError::Symbol { offset: 6, byte: b'=' }));
/// assert_eq!(decode("Zm9vYh"), Err(Base64urlError::TrailingBits { offset: 5 }));
/// ```
pub fn decode(symbols: impl AsRef<[u8]>) -> Result<Vec<u8>, Base64urlError> {
    let symbols = symbols.as_ref();
    let mut bytes = vec![0; decoded_len(symbols.len())];
    decode_exact(symbols, &mut bytes)?;
    Ok(bytes)
}

/// Decodes `symbols` into the front of `output` and returns the written part.
///
/// # Errors
/// [`Base64urlError`] if the text is not canonical base64url, or if `output` is shorter than
/// [`decoded_len`] of the text. After an error the content of `output` is not specified.
///
/// ```
/// let mut output = [0; 8];
/// let bytes = kippu::base64url::decode_to_slice("Zm9v", &mut output)?;
/// assert_eq!(bytes, b"foo");
/// # Ok::<(), kippu::base64url::Base64urlError>(())
/// ```
pub fn decode_to_slice(
    symbols: impl AsRef<[u8]>,
    output: &mut [u8],
) -> Result<&mut [u8], Base64urlError> {
    let symbols = symbols.as_ref();
    let bytes = front(output, decoded_len(symbols.len()))?;
    decode_exact(symbols, bytes)?;
    Ok(bytes)
}

/// The encoding, in place, of the bytes at the end of a buffer.
///
/// A symbol is never written over a byte that has not been read: the bytes end where the last
/// symbol will end, and the symbols of the bytes that are left take more room than these bytes.
pub(crate) struct InPlace {
    read: usize,
    written: usize,
}

impl InPlace {
    /// Moves the `bytes` bytes at `start` to the end of `buffer`. Their symbols will fill the
    /// buffer from `start` to its end.
    pub(crate) fn new(buffer: &mut [u8], start: usize, bytes: usize) -> Self {
        let read = buffer.len() - bytes;
        buffer.copy_within(start..start + bytes, read);
        Self { read, written: start }
    }

    /// Writes symbols into the same buffer up to `end` or beyond it.
    pub(crate) fn write_to(&mut self, buffer: &mut [u8], end: usize) {
        while self.written < end {
            let unread = buffer.split_at(self.read).1;
            let Some(twelve) = unread.first_chunk().copied() else {
                let mut last = [0; 12];
                let last = last.split_at_mut(unread.len()).0;
                last.copy_from_slice(unread);
                encode_exact(last, buffer.split_at_mut(self.written).1);
                (self.read, self.written) = (buffer.len(), buffer.len());
                return;
            };
            encode_twelve(twelve, buffer.split_at_mut(self.written).1);
            (self.read, self.written) = (self.read + 12, self.written + 16);
        }
    }
}

/// Encodes a secret. Unlike [`encode`], the timing depends only on the length.
pub(crate) fn encode_secret(secret: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(encoded_len(secret.len())));
    for group in secret.chunks(3) {
        for sextet in sextets(group).into_iter().take(group.len() + 1) {
            text.push(char::from(secret_symbol(sextet)));
        }
    }
    text
}

/// Decodes a secret. Unlike [`decode`], the timing depends only on the length, and the result does
/// not show which symbol is wrong, since that would disclose part of the secret.
pub(crate) fn decode_secret(symbols: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    decode_runs(symbols, &RUNS)
}

/// Decodes a secret in the standard alphabet of base64 (RFC 4648 §4), without padding. Like
/// [`decode_secret`], it discloses nothing but the length.
pub(crate) fn decode_standard_secret(symbols: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    decode_runs(symbols, &STANDARD_RUNS)
}

fn decode_runs(symbols: &[u8], runs: &Runs) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; decoded_len(symbols.len())]);
    // The length is public, so it may decide at once.
    let mut canonical = Choice::from(u8::from(symbols.len() % 4 != 1));
    for (quad, group) in symbols.chunks(4).zip(bytes.chunks_mut(3)) {
        let mut values = [0; 4];
        for (value, &symbol) in values.iter_mut().zip(quad) {
            let (sextet, known) = secret_value(symbol, runs);
            *value = sextet;
            canonical &= known;
        }
        let rest = split_group(join(values), group);
        canonical &= !rest.ct_gt(&0);
    }
    // Decided once, after all symbols, so that the time does not show which symbol is wrong.
    bool::from(canonical).then_some(bytes)
}

/// Returns the first `needed` bytes of `output`.
fn front(output: &mut [u8], needed: usize) -> Result<&mut [u8], Base64urlError> {
    let given = output.len();
    output.get_mut(..needed).ok_or(Base64urlError::OutputTooShort { needed, given })
}

/// Encodes into a slice that has exactly the length of the result.
pub(crate) fn encode_exact(bytes: &[u8], symbols: &mut [u8]) {
    // 12 bytes are 16 symbols: blocks that start at whole bytes and at whole symbols.
    let mut twelves = bytes.chunks_exact(12);
    let mut sixteens = symbols.chunks_exact_mut(16);
    for (twelve, sixteen) in twelves.by_ref().zip(sixteens.by_ref()) {
        if let Some(twelve) = twelve.first_chunk() {
            encode_twelve(*twelve, sixteen);
        }
    }
    let (mut bytes, mut symbols) = (twelves.remainder(), sixteens.into_remainder());
    while let Some((three, behind)) = bytes.split_first_chunk() {
        let (four, room) = core::mem::take(&mut symbols).split_at_mut(4);
        four.copy_from_slice(&four_symbols(*three));
        (bytes, symbols) = (behind, room);
    }
    match *bytes {
        [last] => symbols.copy_from_slice(&two_symbols(last)),
        [first, second] => symbols.copy_from_slice(&three_symbols(first, second)),
        _ => {}
    }
}

/// Encodes 12 bytes, two symbols at a time. Without the hint here and at [`pair`], a token of 167
/// bytes of claims takes 3 % longer to encode.
#[inline]
#[expect(clippy::many_single_char_names, reason = "bytes in their order")]
fn encode_twelve([a, b, c, d, e, f, g, h, i, j, k, l]: [u8; 12], symbols: &mut [u8]) {
    // Two registers of six bytes each: 8 symbols of 6 bits.
    let words = [[a, b, c, d], [e, f, g, h], [i, j, k, l]];
    let [front, middle, back] = words.map(|word| u64::from(u32::from_be_bytes(word)));
    let (front, back) = (front << 16 | middle >> 16, middle << 32 | back);
    let bits =
        [front >> 36, front >> 24, front >> 12, front, back >> 36, back >> 24, back >> 12, back];
    for (two, bits) in symbols.chunks_exact_mut(2).zip(bits) {
        two.copy_from_slice(&pair(bits).to_le_bytes());
    }
}

/// Returns the symbols of 3 bytes.
fn four_symbols([a, b, c]: [u8; 3]) -> [u8; 4] {
    let bits = u64::from(u32::from_be_bytes([0, a, b, c]));
    (u32::from(pair(bits >> 12)) | u32::from(pair(bits)) << 16).to_le_bytes()
}

/// Returns the symbols of the last 2 bytes of a text.
fn three_symbols(first: u8, second: u8) -> [u8; 3] {
    let [symbols @ .., _] = four_symbols([first, second, 0]);
    symbols
}

/// Returns the symbols of the last byte of a text.
fn two_symbols(last: u8) -> [u8; 2] {
    pair(u64::from(last) << 4).to_le_bytes()
}

/// Decodes into a slice that has exactly the length of the result.
///
/// The common path does not branch on a symbol. It joins the values, and a byte outside the
/// alphabet adds the bit [`UNKNOWN`]. If the text turns out to be wrong, [`locate`] searches for
/// the reason.
fn decode_exact(symbols: &[u8], bytes: &mut [u8]) -> Result<(), Base64urlError> {
    // The bits of all values, to find an unknown symbol with one test at the end.
    let mut seen = 0;
    let mut eights = symbols.chunks_exact(8);
    let mut sixes = bytes.chunks_exact_mut(6);
    for (eight, six) in eights.by_ref().zip(sixes.by_ref()) {
        if let [a, b, c, d, e, f, g, h] = *eight {
            let (front, back) = (joined([a, b, c, d]), joined([e, f, g, h]));
            seen |= front | back;
            let [_, _, six_bytes @ ..] = (u64::from(front) << 24 | u64::from(back)).to_be_bytes();
            six.copy_from_slice(&six_bytes);
        }
    }
    let mut rest = 0;
    for (quad, group) in eights.remainder().chunks(4).zip(sixes.into_remainder().chunks_mut(3)) {
        let bits = match *quad {
            [a, b, c, d] => joined([a, b, c, d]),
            // A missing symbol counts as zero bits.
            [a, b, c] => joined([a, b, c, ALPHABET_START]),
            [a, b] => joined([a, b, ALPHABET_START, ALPHABET_START]),
            // A single symbol has too few bits for a byte, so that no encoder ends with one.
            _ => UNKNOWN,
        };
        seen |= bits;
        let [_, first, second, third] = bits.to_be_bytes();
        match group {
            [x, y, z] => [*x, *y, *z] = [first, second, third],
            [x, y] => ([*x, *y], rest) = ([first, second], third),
            [x] => (*x, rest) = (first, second | third),
            _ => {}
        }
    }
    // `rest` has the bits after the last byte, which have to be zero (RFC 4648 §3.5). A single
    // symbol of a group has 6 bits, fewer than a byte.
    if seen & UNKNOWN != 0 || rest != 0 || symbols.len() % 4 == 1 {
        return Err(locate(symbols));
    }
    Ok(())
}

/// Returns what is wrong with `symbols`, which are known not to be canonical.
#[cold]
fn locate(symbols: &[u8]) -> Base64urlError {
    let length = symbols.len();
    // A wrong symbol comes first, because it is what a user has to look at: often the padding.
    match symbols.iter().enumerate().find(|(_, symbol)| !ALPHABET.contains(symbol)) {
        Some((offset, &byte)) => Base64urlError::Symbol { offset, byte },
        None if length % 4 == 1 => Base64urlError::Length { length },
        None => Base64urlError::TrailingBits { offset: length.saturating_sub(1) },
    }
}

/// Splits a group of up to 3 bytes into 4 values of 6 bits. Missing bytes count as zero.
fn sextets(group: &[u8]) -> [u8; 4] {
    let mut bytes = [0; 3];
    for (to, &from) in bytes.iter_mut().zip(group) {
        *to = from;
    }
    let [a, b, c] = bytes;
    [a >> 2, (a << 4 | b >> 4) & 63, (b << 2 | c >> 6) & 63, c & 63]
}

/// Joins 4 values of 6 bits to 3 bytes.
fn join([a, b, c, d]: [u8; 4]) -> [u8; 3] {
    [a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]
}

/// Copies the front of `joined` into `group` and returns the bits of the bytes that did not fit,
/// for the check of RFC 4648 §3.5.
fn split_group(joined: [u8; 3], group: &mut [u8]) -> u8 {
    for (to, from) in group.iter_mut().zip(joined) {
        *to = from;
    }
    joined.into_iter().skip(group.len()).fold(0, |rest, byte| rest | byte)
}

/// The alphabet of RFC 4648 §5, table 2.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The symbol whose 6 bits are zero.
const ALPHABET_START: u8 = b'A';

/// Returns the two symbols of the lower 12 bits, the first one in the lower byte.
#[inline]
#[expect(clippy::indexing_slicing, reason = "12 bits index 4096 entries")]
#[expect(clippy::as_conversions, reason = "12 bits are kept")]
fn pair(bits: u64) -> u16 {
    PAIRS[(bits & 0x0fff) as usize]
}

/// Returns the 24 bits of 4 symbols, with the bit [`UNKNOWN`] if one of them is not in the
/// alphabet.
#[expect(clippy::indexing_slicing, reason = "8 bits index 256 entries")]
fn joined([a, b, c, d]: [u8; 4]) -> u32 {
    let [first, second, third, fourth] = &VALUES;
    first[usize::from(a)] | second[usize::from(b)] | third[usize::from(c)] | fourth[usize::from(d)]
}

/// A bit that the value of no symbol has.
const UNKNOWN: u32 = 1 << 31;

/// The value of each byte as the first, second, third and fourth symbol of four.
static VALUES: [[u32; 256]; 4] = [values(18), values(12), values(6), values(0)];

/// The two symbols of each value of 12 bits. The table takes 8 KiB, and needs half as many loads
/// and stores as one with 64 symbols.
static PAIRS: [u16; 4096] = {
    let mut pairs = [0; 4096];
    let mut bits = 0;
    while bits < pairs.len() {
        #[expect(clippy::indexing_slicing, reason = "an index out of range does not compile")]
        {
            pairs[bits] = u16::from_le_bytes([ALPHABET[bits >> 6], ALPHABET[bits & 63]]);
        }
        bits += 1;
    }
    pairs
};

const fn values(shift: u32) -> [u32; 256] {
    let mut values = [UNKNOWN; 256];
    let mut value = 0_u8;
    while value < 64 {
        #[expect(clippy::as_conversions, reason = "From is not const, and each of them widens")]
        #[expect(clippy::indexing_slicing, reason = "an index out of range does not compile")]
        {
            values[ALPHABET[value as usize] as usize] = (value as u32) << shift;
        }
        value += 1;
    }
    values
}

/// The five runs of an alphabet: first symbol, last symbol, value of the first.
type Runs = [(u8, u8, u8); 5];

const RUNS: Runs =
    [(b'A', b'Z', 0), (b'a', b'z', 26), (b'0', b'9', 52), (b'-', b'-', 62), (b'_', b'_', 63)];

/// The runs of the alphabet of RFC 4648 §4.
const STANDARD_RUNS: Runs =
    [(b'A', b'Z', 0), (b'a', b'z', 26), (b'0', b'9', 52), (b'+', b'+', 62), (b'/', b'/', 63)];

/// Returns the symbol of 6 bits, with the same work for each value.
fn secret_symbol(sextet: u8) -> u8 {
    RUNS.into_iter().fold(0, |symbol, (first, _, base)| {
        let candidate = sextet.wrapping_sub(base).wrapping_add(first);
        // The runs are in the order of their values, so the last run whose base is not above the
        // value contains it.
        u8::conditional_select(&symbol, &candidate, !sextet.ct_lt(&base))
    }) & 0x7f // It is ASCII, so `String::push` need not encode it.
}

/// Returns the value of a symbol, and whether the symbol is in the alphabet. The work is the same
/// for every byte.
fn secret_value(symbol: u8, runs: &Runs) -> (u8, Choice) {
    runs.iter().fold((0, Choice::from(0)), |(value, known), &(first, last, base)| {
        let inside = !symbol.ct_lt(&first) & !symbol.ct_gt(&last);
        let candidate = symbol.wrapping_sub(first).wrapping_add(base);
        (u8::conditional_select(&value, &candidate, inside), known | inside)
    })
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn an_error_has_the_fault_and_its_offset() {
        let refused = |text: &str| decode(text).unwrap_err();
        for (text, length) in [("A", 1), ("AAAAA", 5), ("AAAAAAAAAAAAAAAAA", 17)] {
            assert_eq!(refused(text), Base64urlError::Length { length });
        }
        for (text, offset) in [("AB", 1), ("AAB", 2), ("AAAAAAAAAAAAAAAAAB", 17)] {
            assert_eq!(refused(text), Base64urlError::TrailingBits { offset });
        }
        for (text, offset, byte) in [("AA=", 2, b'='), ("A+AAA", 1, b'+'), (" B", 0, b' ')] {
            assert_eq!(refused(text), Base64urlError::Symbol { offset, byte });
        }
    }

    /// Compares the variant for secrets with the one that uses tables, for every byte and every
    /// length.
    #[test]
    fn the_codec_for_secrets_agrees_with_the_one_with_tables() {
        for byte in 0..=u8::MAX {
            let (sextet, known) = secret_value(byte, &RUNS);
            let value = ALPHABET.iter().position(|symbol| *symbol == byte);
            assert_eq!(bool::from(known), value.is_some(), "{byte}");
            if let Some(value) = value {
                assert_eq!(usize::from(sextet), value, "{byte}");
                assert_eq!(secret_symbol(sextet), byte, "{byte}");
            }
        }
        let secret: Vec<u8> = (0..=u8::MAX).collect();
        for length in 0..=secret.len() {
            let secret = &secret[..length];
            let text = encode(secret);
            assert_eq!(*encode_secret(secret), text);
            assert_eq!(decode_secret(text.as_bytes()).as_deref(), Some(&secret.to_vec()));
        }
    }

    /// The standard alphabet differs from that of base64url in two symbols.
    #[test]
    fn standard_symbols_have_the_values_of_rfc_4648() {
        for byte in 0..=u8::MAX {
            let (sextet, known) = secret_value(byte, &STANDARD_RUNS);
            let symbol = match byte {
                b'+' => b'-',
                b'/' => b'_',
                b'-' | b'_' => b'!',
                other => other,
            };
            let value = ALPHABET.iter().position(|known| *known == symbol);
            assert_eq!(bool::from(known), value.is_some(), "{byte}");
            assert!(value.is_none_or(|value| usize::from(sextet) == value), "{byte}");
        }
    }

    #[test]
    fn rejects_a_second_spelling_of_a_secret() {
        for text in ["A", "AAAAA", "AB", "AAB", "AA==", "AAA=", "AA AA", "+AAA", "/AAA", "AAA\n"] {
            assert!(decode_secret(text.as_bytes()).is_none(), "{text:?}");
        }
    }

    /// Encoding in place gives the same text as [`encode`], at every length and in steps of any
    /// size, and leaves the bytes before it.
    #[test]
    fn encoding_in_place_agrees_with_encode() {
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(400).collect();
        for length in 0..=bytes.len() {
            for step in [1, 15, 16, 17, 64, 1000] {
                let mut output = b"before.".to_vec();
                let start = output.len();
                output.extend_from_slice(&bytes[..length]);
                output.resize(start + encoded_len(length), b'!');
                let mut encoding = InPlace::new(&mut output, start, length);
                let expected = format!("before.{}", encode(&bytes[..length]));
                for end in (start..output.len()).step_by(step) {
                    encoding.write_to(&mut output, end);
                    assert_eq!(output[..end], expected.as_bytes()[..end], "{length} {end}");
                }
                let end = output.len();
                encoding.write_to(&mut output, end);
                assert_eq!(output, expected.as_bytes(), "{length} {step}");
            }
        }
    }

    /// Puts every byte outside the alphabet at every offset, with other wrong bytes after it.
    #[test]
    fn rejects_a_byte_outside_the_alphabet_at_every_offset() {
        let foreign: Vec<u8> = (0..=u8::MAX).filter(|byte| !ALPHABET.contains(byte)).collect();
        for length in 1..40 {
            for offset in 0..length {
                let mut text = vec![b'A'; length];
                for &byte in &foreign {
                    text[offset] = byte;
                    assert_eq!(decode(&text), Err(Base64urlError::Symbol { offset, byte }));
                }
                let byte = text[offset];
                for other in offset + 1..length {
                    text[other] = b'=';
                    assert_eq!(decode(&text), Err(Base64urlError::Symbol { offset, byte }));
                    text[other] = b'A';
                }
                // Another test checks which bytes are outside the alphabet.
                assert!(decode_secret(&text).is_none());
            }
        }
    }
}
