//! Compares the base64url codec with the `base64` crate, into slices.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kippu::base64url;

use crate::rounds::Candidate;

pub(crate) const KIPPU: &str = "kippu";
pub(crate) const BASE64: &str = "base64";

pub(crate) fn decoders(text: &str) -> [Candidate<'_>; 2] {
    let bytes = URL_SAFE_NO_PAD.decode(text).expect("canonical");
    let mut output = vec![0; bytes.len()];
    assert_eq!(base64url::decode_to_slice(text, &mut output).as_deref(), Ok(&bytes[..]));
    [
        Candidate::with_buffer(KIPPU, bytes.len(), move |output| {
            assert!(base64url::decode_to_slice(text, output).is_ok());
        }),
        Candidate::with_buffer(BASE64, bytes.len(), move |output| {
            assert!(URL_SAFE_NO_PAD.decode_slice(text, output).is_ok());
        }),
    ]
}

pub(crate) fn encoders(bytes: &[u8]) -> [Candidate<'_>; 2] {
    let text = URL_SAFE_NO_PAD.encode(bytes);
    let mut output = vec![0; text.len()];
    assert_eq!(base64url::encode_to_slice(bytes, &mut output).as_deref(), Ok(text.as_bytes()));
    [
        Candidate::with_buffer(KIPPU, text.len(), move |output| {
            assert!(base64url::encode_to_slice(bytes, output).is_ok());
        }),
        Candidate::with_buffer(BASE64, text.len(), move |output| {
            assert!(URL_SAFE_NO_PAD.encode_slice(bytes, output).is_ok());
        }),
    ]
}
