//! The minimum work for the MAC of a token.

use kippu::Algorithm;
use sha2::block_api::{compress256, compress512};

use crate::{fixture::Tokens, rounds::Candidate};

pub(crate) const LIMIT: &str = "the limit: hashing the blocks";

/// The compression function over the blocks of an HMAC with prepared key states: the blocks of the
/// signing input with its padding, and the outer one. The outer block contains the inner hash, so
/// that it cannot begin before the inner hash ends.
pub(super) fn candidate(tokens: &Tokens) -> Candidate<'_> {
    let bytes = tokens.token.rfind('.').expect("three segments");
    if tokens.algorithm == Algorithm::Hs256 {
        const INITIAL: [u32; 8] = [0x5a5a_5a5a; 8];
        let blocks = vec![[0x36; 64]; (bytes + 1 + 8).div_ceil(64)];
        let operation = move || {
            let mut state = INITIAL;
            compress256(&mut state, &blocks);
            let mut block = [0x5c; 64];
            for (bytes, word) in block.chunks_exact_mut(4).zip(state) {
                bytes.copy_from_slice(&word.to_be_bytes());
            }
            state = INITIAL;
            compress256(&mut state, &[block]);
            state
        };
        assert_ne!(operation(), INITIAL);
        Candidate::new(LIMIT, operation)
    } else {
        const INITIAL: [u64; 8] = [0x5a5a_5a5a_5a5a_5a5a; 8];
        let blocks = vec![[0x36; 128]; (bytes + 1 + 16).div_ceil(128)];
        let operation = move || {
            let mut state = INITIAL;
            compress512(&mut state, &blocks);
            let mut block = [0x5c; 128];
            for (bytes, word) in block.chunks_exact_mut(8).zip(state) {
                bytes.copy_from_slice(&word.to_be_bytes());
            }
            state = INITIAL;
            compress512(&mut state, &[block]);
            state
        };
        assert_ne!(operation(), INITIAL);
        Candidate::new(LIMIT, operation)
    }
}
