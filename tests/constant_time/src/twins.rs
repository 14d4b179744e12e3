//! Code that leaks a secret, on purpose.

use kippu::{Algorithm, base64url, hmac::Hmac, session::REFRESH_TOKEN_PREFIX};

/// Ends at the first byte that differs.
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).all(|(one, other)| std::hint::black_box(one) == other)
}

/// Leaky twin of [`Hmac::verify`].
pub fn verify(hmac: &Hmac, message: &[u8], tag: &[u8]) -> bool {
    is_same(hmac.tag(message).as_ref(), tag)
}

/// Returns whether a refresh token has the correct tag.
pub fn check_refresh_token(hmac: &Hmac, token: &str) -> bool {
    let (prefix, symbols) = token.split_at(REFRESH_TOKEN_PREFIX.len());
    let body = base64url::decode(symbols).expect("a token is base64url");
    let (signed, tag) = body.split_at(body.len() - 32);
    verify(hmac, &[prefix.as_bytes(), signed].concat(), tag)
}

/// Leaky twin of [`Hmac::new`], which skips the zeros of the secret.
pub fn new_hmac(secret: &[u8]) -> Hmac {
    let secret: Vec<u8> = secret.iter().copied().filter(|byte| *byte != 0).collect();
    Hmac::new(Algorithm::Hs256, &secret)
}

/// Looks for the text of a key file, for as long as the secret may be one.
pub fn is_key_file(secret: &[u8]) -> bool {
    secret.windows(11).any(|window| window == b"-----BEGIN ")
}

/// Looks digits up in a table.
pub fn decode_hex(digits: &[u8]) -> Vec<u8> {
    const VALUES: [u8; 256] = {
        let mut values = [0; 256];
        let mut value = 0_u8;
        while value < 16 {
            values[b"0123456789abcdef"[value as usize] as usize] = value;
            value += 1;
        }
        values
    };
    digits.iter().map(|digit| VALUES[usize::from(*digit)]).collect()
}

/// Looks symbols up by searching the alphabet: a later symbol takes longer.
pub fn decode_base64url(symbols: &[u8]) -> Vec<usize> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // Hidden from the compiler, which would otherwise build a table.
    let alphabet = std::hint::black_box(ALPHABET);
    let value = |symbol: &u8| alphabet.iter().position(|known| known == symbol).unwrap_or_default();
    symbols.iter().map(value).collect()
}
