//! Tokens with any header and payload and a correct MAC, as another issuer might send them.

use kippu::{Algorithm, Key, base64url, hmac::Hmac};

/// The secret of [`key`].
pub const SECRET: [u8; 64] = [0x5a; 64];

/// The header that this crate writes for [`key`].
pub const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// The key that most tests verify with.
pub fn key() -> Key {
    Key::hs256(SECRET).unwrap()
}

/// Returns a token with this payload, which need not be JSON.
pub fn signed(payload: impl AsRef<[u8]>) -> String {
    signed_with_header(HEADER, payload)
}

/// Returns a token with this header and payload, neither of which need be JSON.
pub fn signed_with_header(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    let header = base64url::encode(header.as_ref());
    signed_segments(&header, &base64url::encode(payload.as_ref()))
}

/// Returns a token of these segments, which need not be base64url.
pub fn signed_segments(header: &str, payload: &str) -> String {
    let signing_input = format!("{header}.{payload}");
    let tag = Hmac::new(Algorithm::Hs256, &SECRET).tag(signing_input.as_bytes());
    format!("{signing_input}.{}", base64url::encode(tag.as_ref()))
}
