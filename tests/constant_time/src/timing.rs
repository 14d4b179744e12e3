//! Measures how long kippu takes with two classes of inputs, as dudect does: the difference of the
//! means, in units of its standard error (Welch's t). A value above 10 counts as a leak; noise
//! usually stays below 5.
//!
//! Oscar Reparaz, Josep Balasch, Ingrid Verbauwhede: "Dude, is my code constant time?", 2016.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use kippu::{Algorithm, Key, hmac::Hmac};

use crate::{
    block_on,
    cases::{SECRET, login},
    twins,
};

const SAMPLES: usize = 200_000;
const LEAK: f64 = 10.0;

/// Measures all pairs. Returns whether kippu's code keeps its secrets and the twins do not.
pub fn measure() -> bool {
    println!("|t|, of {SAMPLES} samples of each class\n");
    println!("{:<44}{:>10}{:>12}", "", "kippu", "leaky twin");
    let mut is_as_expected = true;
    for (name, ours, twin) in pairs() {
        println!("{name:<44}{ours:>10.1}{twin:>12.1}");
        is_as_expected &= ours < LEAK && twin > LEAK;
    }
    is_as_expected
}

fn pairs() -> Vec<(&'static str, f64, f64)> {
    let message = [b'm'; 200];
    let hmac = Hmac::new(Algorithm::Hs256, &SECRET);
    let tag = hmac.tag(&message).as_ref().to_vec();
    let (first, last) = (changed(&tag, 0), changed(&tag, tag.len() - 1));
    let tags = [&*first, &*last];

    // The place of the wrong byte in the token: the first or the last byte of the tag.
    let (sessions, token) = login();
    let symbols = token.len() - 43;
    let tokens = [symbols, token.len() - 2].map(|place| {
        let mut token = token.clone().into_bytes();
        token[place] = if token[place] == b'A' { b'B' } else { b'A' };
        token
    });
    let tokens = [&*tokens[0], &*tokens[1]];
    let text = |token: &[u8]| String::from_utf8_lossy(token).into_owned();

    let zeros = [0; 64];
    let secrets = [&zeros[..], &SECRET[..]];
    // The last of 86 symbols has four bits after the last byte, which are zero.
    let (first_symbols, last_symbols) = ("A".repeat(86), "_".repeat(85) + "w");
    let symbols = [first_symbols.as_bytes(), last_symbols.as_bytes()];
    vec![
        (
            "a tag that is wrong at its start or its end",
            t(tags, |tag| hmac.verify(&message, tag)),
            t(tags, |presented| twins::is_same(&tag, presented)),
        ),
        (
            "a secret of zeros or of any bytes",
            t(secrets, |secret| Hmac::new(Algorithm::Hs256, secret).tag(&message)),
            t(secrets, |secret| twins::new_hmac(secret).tag(&message)),
        ),
        (
            "a secret in base64url, of A or of _",
            t(symbols, |symbols| Key::from_base64url(Algorithm::Hs256, symbols)),
            t(symbols, twins::decode_base64url),
        ),
        (
            "a refresh token that is wrong early or late",
            t(tokens, |token| block_on(sessions.logout(&text(token)))),
            t(tokens, |token| twins::check_refresh_token(&hmac, &text(token))),
        ),
    ]
}

fn changed(bytes: &[u8], place: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[place] ^= 1;
    bytes
}

/// Returns Welch's t of the times that `operation` takes with inputs of two classes, of the same
/// length, in random order.
fn t<T>(inputs: [&[u8]; 2], operation: impl Fn(&[u8]) -> T) -> f64 {
    let mut input = inputs[0].to_vec();
    let mut times = [Vec::with_capacity(SAMPLES), Vec::with_capacity(SAMPLES)];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..2 * SAMPLES {
        // xorshift64
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let class = usize::from(random >> 32 & 1 == 1);
        // One buffer takes all inputs, so that the addresses are the same.
        input.copy_from_slice(inputs[class]);
        let start = Instant::now();
        black_box(operation(black_box(&input)));
        times[class].push(start.elapsed());
    }
    let limit = longest(&times);
    let [one, other] = times.map(|times| {
        let kept = times.into_iter().filter(|time| *time <= limit).map(|time| time.as_secs_f64());
        mean_and_error(&kept.collect::<Vec<_>>())
    });
    (one.0 - other.0).abs() / (one.1 + other.1).sqrt().max(f64::MIN_POSITIVE)
}

/// Returns the time that nine of ten measurements do not exceed. Longer ones were interrupted.
fn longest(times: &[Vec<Duration>; 2]) -> Duration {
    let mut all = times.concat();
    all.sort_unstable();
    all[all.len() / 10 * 9]
}

/// Returns the mean and its variance.
#[expect(clippy::cast_precision_loss, reason = "a count below 2^53")]
fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (mean, squares / (count - 1.0) / count)
}
