//! The refresh token: a key, a session and a generation in, an opaque text out, and back. A text
//! that the key did not make is refused before the store is asked, with the same error whatever the
//! fault.
//!
//! ```text
//! kippu_rt_ base64url( version 1 ‖ length of kid 1 ‖ kid ‖ session id 16 ‖ origin 16 ‖ generation 8, big-endian ‖ tag 32 )
//! ```
//!
//! The tag is the HMAC-SHA-256 of the prefix and of everything before the tag. The token has no
//! random part, so the token of a session's next generation can be made again at any time, and a
//! retry gets the same one. With the prefix, scanners for leaked secrets can find a token, and its
//! tag is never valid for a JWT. The origin is a digest of the session's unchanging fields, so that
//! an attacker who can write the store cannot turn a session into that of another user.

use alloc::{format, string::String};

use super::{
    id::SessionId,
    record::{MAX_GENERATION, MAX_KID_LEN, Origin},
};
use crate::{
    algorithm::Algorithm, base64url, debug::debug_by_message, key::Key, key_set::KeySet,
    numeric_date::NumericDate,
};

/// The prefix of every refresh token.
pub const REFRESH_TOKEN_PREFIX: &str = "kippu_rt_";

const VERSION: u8 = 1;
const TAG_LEN: usize = 32;
const MAX_BODY_LEN: usize =
    size_of::<([u8; 2], [u8; MAX_KID_LEN], [u8; 16], Origin, [u8; 8], [u8; TAG_LEN])>();

/// Why a key cannot make refresh tokens.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefreshKeyError {
    /// The algorithm of the key is not HS256, which makes the tag of a refresh token.
    #[error("a refresh key has to be for HS256, this one is for {given}")]
    Algorithm {
        /// The algorithm of the key.
        given: Algorithm,
    },
    /// The key has no id, so that its tokens could not be distinguished from those of its
    /// successor. Set one with [`Key::with_kid`].
    #[error("a refresh key needs a kid of 1 to {MAX_KID_LEN} bytes, this one has none")]
    MissingKid,
    /// The id is too long or empty. It is part of every token.
    #[error("a refresh key needs a kid of 1 to {MAX_KID_LEN} bytes, this one has {given}")]
    KidLength {
        /// The length of the key's id, in bytes.
        given: usize,
    },
    /// The id has a control character. It is stored as a text that every database accepts.
    #[error("a refresh key needs a kid without control characters")]
    KidControl,
}

debug_by_message!(RefreshKeyError);

/// Returns the id of a key, if the key can make refresh tokens.
pub(super) fn check_key(key: &Key) -> Result<&str, RefreshKeyError> {
    if key.algorithm() != Algorithm::Hs256 {
        return Err(RefreshKeyError::Algorithm { given: key.algorithm() });
    }
    let kid = key.kid().ok_or(RefreshKeyError::MissingKid)?;
    match kid.len() {
        1..=MAX_KID_LEN if kid.contains(char::is_control) => Err(RefreshKeyError::KidControl),
        1..=MAX_KID_LEN => Ok(kid),
        given => Err(RefreshKeyError::KidLength { given }),
    }
}

/// Makes the token of one generation of a session. The result is always the same for the same key.
pub(super) fn mint(
    key: &Key,
    id: &SessionId,
    origin: &Origin,
    generation: u64,
) -> Result<String, RefreshKeyError> {
    let kid = check_key(key)?;
    let kid_len = u8::try_from(kid.len()).expect("a kid that was checked is short");
    let mut signed = REFRESH_TOKEN_PREFIX.as_bytes().to_vec();
    signed.extend_from_slice(&[VERSION, kid_len]);
    signed.extend_from_slice(kid.as_bytes());
    signed.extend_from_slice(id.as_bytes());
    signed.extend_from_slice(origin);
    signed.extend_from_slice(&generation.to_be_bytes());
    let tag = key.hmac().tag(&signed);

    // The tag covers the prefix, which is text already and is not encoded.
    let mut body = signed.split_off(REFRESH_TOKEN_PREFIX.len());
    body.extend_from_slice(tag.as_ref());
    Ok(format!("{REFRESH_TOKEN_PREFIX}{}", base64url::encode(&body)))
}

/// The content of an authentic refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Presented {
    pub(super) id: SessionId,
    pub(super) origin: Origin,
    pub(super) generation: u64,
}

/// Reads a token that one of `keys` made whose time has not ended at `now`. Without `now`, a
/// retired key is accepted too. For any other text the result does not depend on the fault (R5).
pub(super) fn verify(text: &str, keys: &KeySet, now: Option<NumericDate>) -> Option<Presented> {
    let symbols = text.strip_prefix(REFRESH_TOKEN_PREFIX)?;
    let mut buffer = [0; MAX_BODY_LEN];
    // A text that is too long does not fit the buffer and is refused before it is decoded.
    let body = base64url::decode_to_slice(symbols, &mut buffer).ok()?;
    let (signed, tag) = body.split_last_chunk::<TAG_LEN>()?;
    let (kid, presented) = parse(signed)?;
    let message = [REFRESH_TOKEN_PREFIX.as_bytes(), signed].concat();
    // The `kid` is not authenticated yet. It only selects the key whose MAC decides.
    let (key, until) = keys.get(kid)?;
    // The builder has checked the algorithm only of the keys that it was given. A reload may have
    // replaced them.
    let is_authentic = key.algorithm() == Algorithm::Hs256
        && now.zip(until).is_none_or(|(now, until)| now < until)
        && key.hmac().verify(&message, tag);
    is_authentic.then_some(presented)
}

fn parse(signed: &[u8]) -> Option<(&str, Presented)> {
    let (&[version, kid_len], rest) = signed.split_first_chunk()?;
    let (kid, rest) = rest.split_at_checked(usize::from(kid_len))?;
    let (id, rest) = rest.split_first_chunk()?;
    let (origin, rest) = rest.split_first_chunk()?;
    let (generation, rest) = rest.split_first_chunk()?;
    let generation = u64::from_be_bytes(*generation);
    // Nothing may follow the generation, so that a token has exactly one spelling.
    let is_well_formed = version == VERSION
        && (1..=MAX_KID_LEN).contains(&kid.len())
        && generation <= MAX_GENERATION
        && rest.is_empty();
    let kid = core::str::from_utf8(kid).ok()?;
    let id = SessionId::from_bytes(*id);
    is_well_formed.then_some((kid, Presented { id, origin: *origin, generation }))
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};
    use proptest::prelude::*;

    use super::*;

    const NOW: Option<NumericDate> = Some(NumericDate::EPOCH);
    const ORIGIN: Origin = *b"what it began as";

    fn key(kid: &str) -> Key {
        Key::hs256([7; 32]).unwrap().with_kid(kid)
    }

    fn set(kid: &str) -> KeySet {
        KeySet::new(key(kid))
    }

    /// Makes the token of the first comment of this file by other means.
    fn by_hand(version: u8, kid: &[u8], id: [u8; 16], generation: u64, behind: &[u8]) -> String {
        let mut body = alloc::vec![version, u8::try_from(kid.len()).unwrap()];
        body.extend_from_slice(kid);
        body.extend_from_slice(&id);
        body.extend_from_slice(&ORIGIN);
        body.extend_from_slice(&generation.to_be_bytes());
        body.extend_from_slice(behind);
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&[7; 32]).unwrap();
        mac.update(b"kippu_rt_");
        mac.update(&body);
        body.extend_from_slice(&mac.finalize().into_bytes());
        format!("kippu_rt_{}", base64url::encode(&body))
    }

    #[test]
    fn the_token_has_the_documented_format() {
        let id = SessionId::from_bytes(*b"0123456789abcdef");
        let token = mint(&key("2026-11"), &id, &ORIGIN, 513).unwrap();
        assert_eq!(token, by_hand(1, b"2026-11", *id.as_bytes(), 513, b""));
        let presented = verify(&token, &set("2026-11"), NOW);
        assert_eq!(presented, Some(Presented { id, origin: ORIGIN, generation: 513 }));
    }

    /// The tag is right, but a content that a second reader could read differently is refused.
    #[test]
    fn rejects_a_malformed_body_with_a_valid_tag() {
        let keys = set("k");
        let token = |version, kid: &[u8], generation, behind: &[u8]| {
            by_hand(version, kid, [3; 16], generation, behind)
        };
        assert!(verify(&token(1, b"k", MAX_GENERATION, b""), &keys, NOW).is_some());
        for (what, token) in [
            ("version", token(2, b"k", 1, b"")),
            ("kid", token(1, b"l", 1, b"")),
            ("no kid", token(1, b"", 1, b"")),
            ("kid not UTF-8", token(1, b"\xff", 1, b"")),
            ("generation", token(1, b"k", MAX_GENERATION + 1, b"")),
            ("last generation", token(1, b"k", u64::MAX, b"")),
            ("something behind", token(1, b"k", 1, b"x")),
        ] {
            assert_eq!(verify(&token, &keys, NOW), None, "{what}");
        }
    }

    #[test]
    fn a_retired_key_reads_its_tokens_until_its_end_and_then_only_without_a_time() {
        let end = NumericDate::from_seconds(100);
        let keys = set("new").retire(key("old"), end).unwrap();
        let token = mint(&key("old"), &SessionId::from_bytes([9; 16]), &ORIGIN, 7).unwrap();
        let at = |now| verify(&token, &keys, now).is_some();
        let is_read = [Some(99), Some(100), None].map(|now| at(now.map(NumericDate::from_seconds)));
        assert_eq!(is_read, [true, false, true]);
        assert_eq!(verify(&token, &set("new"), None), None);
    }

    #[test]
    fn only_some_keys_make_tokens() {
        let id = SessionId::from_bytes([0; 16]);
        let unnamed = Key::hs256([7; 32]).unwrap();
        assert_eq!(mint(&unnamed, &id, &ORIGIN, 0), Err(RefreshKeyError::MissingKid));
        for (kid, given) in [(String::new(), 0), ("k".repeat(65), 65)] {
            assert_eq!(
                mint(&key(&kid), &id, &ORIGIN, 0),
                Err(RefreshKeyError::KidLength { given })
            );
        }
        let longest = key(&"k".repeat(64));
        let token = mint(&longest, &id, &ORIGIN, 0).unwrap();
        assert!(verify(&token, &KeySet::new(longest), NOW).is_some());
        assert_eq!(mint(&key("a\0b"), &id, &ORIGIN, 0), Err(RefreshKeyError::KidControl));
        let other = Key::hs512([7; 64]).unwrap().with_kid("k");
        let error = RefreshKeyError::Algorithm { given: Algorithm::Hs512 };
        assert_eq!(mint(&other, &id, &ORIGIN, 0), Err(error));
        assert_eq!(verify(&by_hand(1, b"k", [0; 16], 0, b""), &other.into(), NOW), None);
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_refused() {
        let keys = set("2026-11");
        let token =
            mint(keys.signing_key().unwrap(), &SessionId::from_bytes([9; 16]), &ORIGIN, 7).unwrap();
        for offset in 0..token.len() {
            assert_eq!(verify(&token[..offset], &keys, NOW), None);
            for byte in (0..=0x7f).filter(|byte| *byte != token.as_bytes()[offset]) {
                let mut changed = token.clone().into_bytes();
                changed[offset] = byte;
                assert_eq!(verify(core::str::from_utf8(&changed).unwrap(), &keys, NOW), None);
            }
        }
        for behind in ["A", "AA", "=", "\n", " ", ".", "\0", &"A".repeat(1 << 20)] {
            assert_eq!(verify(&format!("{token}{behind}"), &keys, NOW), None);
        }
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic(text in ".*", symbols in "[A-Za-z0-9_-]{0,200}") {
            prop_assert_eq!(verify(&text, &set("k"), NOW), None);
            prop_assert_eq!(verify(&format!("kippu_rt_{symbols}"), &set("k"), NOW), None);
        }

        #[test]
        fn a_token_round_trips(
            kid in "\\PC{1,16}", id: [u8; 16], origin: [u8; 16], generation in 0..=MAX_GENERATION,
        ) {
            let (keys, id) = (set(&kid), SessionId::from_bytes(id));
            let token = mint(keys.signing_key().unwrap(), &id, &origin, generation).unwrap();
            prop_assert_eq!(&token, &mint(keys.signing_key().unwrap(), &id, &origin, generation).unwrap());
            prop_assert_eq!(verify(&token, &keys, NOW), Some(Presented { id, origin, generation }));
        }
    }
}
