//! Decoding accepts exactly what the `base64` crate's strict engine accepts, with the same result.
//! For every other text the error names its first fault.
#![no_main]

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kippu::{
    Algorithm, Jwk, JwkError,
    base64url::{
        Base64urlError, decode, decode_to_slice, decoded_len, encode, encode_to_slice, encoded_len,
    },
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    encodes(data);
    decodes(data);
    if let Ok(k) = str::from_utf8(data) {
        decodes_a_secret(k);
    }
});

/// Checks these bytes: they have one spelling, which decodes to them.
fn encodes(bytes: &[u8]) {
    let symbols = encode(bytes);
    assert_eq!(symbols, URL_SAFE_NO_PAD.encode(bytes));
    assert_eq!(symbols.len(), encoded_len(bytes.len()));
    assert_eq!(decoded_len(symbols.len()), bytes.len());
    assert_eq!(decode(&symbols).as_deref(), Ok(bytes));

    let needed = symbols.len();
    for extra in [0, 5] {
        let mut output = vec![b'!'; needed + extra];
        assert_eq!(encode_to_slice(bytes, &mut output).unwrap(), symbols.as_bytes());
        assert!(
            output[needed..].iter().all(|&byte| byte == b'!'),
            "bytes after the result were written"
        );
    }
    if let Some(given) = needed.checked_sub(1) {
        let too_short = Err(Base64urlError::OutputTooShort { needed, given });
        assert_eq!(encode_to_slice(bytes, &mut vec![0; given]), too_short);
    }
}

/// Checks these symbols.
fn decodes(symbols: &[u8]) {
    let decoded = decode(symbols);
    assert_eq!(decoded, obviously(symbols));
    assert_eq!(decoded.as_deref().ok(), URL_SAFE_NO_PAD.decode(symbols).as_deref().ok());
    if let Ok(bytes) = &decoded {
        assert_eq!(encode(bytes).as_bytes(), symbols, "a second spelling");
    }

    let needed = decoded_len(symbols.len());
    for extra in [0, 5] {
        let mut output = vec![b'!'; needed + extra];
        let result = decode_to_slice(symbols, &mut output).map(|bytes| bytes.to_vec());
        assert_eq!(result, decoded);
        assert!(
            output[needed..].iter().all(|&byte| byte == b'!'),
            "bytes after the result were written"
        );
    }
    if let Some(given) = needed.checked_sub(1) {
        let too_short = Err(Base64urlError::OutputTooShort { needed, given });
        assert_eq!(decode_to_slice(symbols, &mut vec![0; given]).map(|bytes| &*bytes), too_short);
    }
}

/// Decodes as RFC 4648 §5 describes, bit by bit.
fn obviously(symbols: &[u8]) -> Result<Vec<u8>, Base64urlError> {
    let mut bits = Vec::new();
    for (offset, &byte) in symbols.iter().enumerate() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return Err(Base64urlError::Symbol { offset, byte }),
        };
        bits.extend((0..6).rev().map(|place| value >> place & 1));
    }
    let length = symbols.len();
    if length % 4 == 1 {
        return Err(Base64urlError::Length { length });
    }
    let mut octets = bits.chunks_exact(8);
    let bytes =
        octets.by_ref().map(|octet| octet.iter().fold(0, |byte, bit| byte << 1 | bit)).collect();
    if octets.remainder().contains(&1) {
        return Err(Base64urlError::TrailingBits { offset: length - 1 });
    }
    Ok(bytes)
}

/// Checks the separate codec for secrets, through a JWK: it accepts the same spellings, and writes
/// the same.
fn decodes_a_secret(k: &str) {
    let json = serde_json::json!({ "kty": "oct", "alg": "HS256", "k": k }).to_string();
    match (Jwk::from_json(&json), decode(k)) {
        (Ok(jwk), Ok(secret)) => {
            assert_eq!(jwk.algorithm(), Algorithm::Hs256);
            assert!(secret.len() >= 32);
            let exposed: serde_json::Value =
                serde_json::from_str(&jwk.expose_json()).expect("a JWK is JSON");
            assert_eq!(exposed["k"], k);
        }
        // The bytes may be too short for a secret, or the text of a key file.
        (Err(JwkError::Secret { .. }), Err(_)) | (Err(JwkError::Key(_)), Ok(_)) => {}
        (jwk, decoded) => panic!("{jwk:?} {decoded:?}"),
    }
}
