//! Compares HMAC from a keyed state with the `hmac` crate and with the limit: the hash's
//! compression function over as many blocks. Throughput counts the bytes of the message.

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use hmac::{KeyInit, Mac};
use kippu::{Algorithm, hmac::Hmac};
use sha2::{
    Sha256, Sha384, Sha512,
    block_api::{compress256, compress512},
};

const SECRET: [u8; 64] = [0x5a; 64];

/// Bytes of the message. The signing input of a usual token has about 230.
const MESSAGES: [usize; 4] = [64, 230, 2048, 8192];

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for algorithm in [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512] {
        let mut group = criterion.benchmark_group(algorithm.as_str());
        for bytes in MESSAGES {
            let message: Vec<u8> = (0..=u8::MAX).cycle().take(bytes).collect();
            group.throughput(Throughput::Bytes(u64::try_from(bytes).expect("a few KiB")));
            kippu(&mut group, algorithm, &message);
            match algorithm {
                Algorithm::Hs256 => oracle::<hmac::Hmac<Sha256>>(&mut group, algorithm, &message),
                Algorithm::Hs384 => oracle::<hmac::Hmac<Sha384>>(&mut group, algorithm, &message),
                _ => oracle::<hmac::Hmac<Sha512>>(&mut group, algorithm, &message),
            }
            limit(&mut group, algorithm, bytes);
        }
        group.finish();
    }
    criterion.final_summary();
}

fn kippu(group: &mut BenchmarkGroup<'_, WallTime>, algorithm: Algorithm, message: &[u8]) {
    let hmac = Hmac::new(algorithm, &SECRET);
    let tag = hmac.tag(message);
    group.bench_function(BenchmarkId::new("tag/kippu", message.len()), |bencher| {
        bencher.iter(|| hmac.tag(black_box(message)));
    });
    assert!(hmac.verify(message, tag.as_ref()));
    group.bench_function(BenchmarkId::new("verify/kippu", message.len()), |bencher| {
        bencher.iter(|| hmac.verify(black_box(message), black_box(tag.as_ref())));
    });
}

fn oracle<M: Mac + KeyInit + Clone>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    algorithm: Algorithm,
    message: &[u8],
) {
    let hmac = <M as KeyInit>::new_from_slice(&SECRET).expect("any length will do");
    let tag = hmac.clone().chain_update(message).finalize().into_bytes();
    assert_eq!(*tag, *Hmac::new(algorithm, &SECRET).tag(message).as_ref());
    group.bench_function(BenchmarkId::new("tag/hmac crate", message.len()), |bencher| {
        bencher.iter(|| hmac.clone().chain_update(black_box(message)).finalize());
    });
    assert!(hmac.clone().chain_update(message).verify(&tag).is_ok());
    group.bench_function(BenchmarkId::new("verify/hmac crate", message.len()), |bencher| {
        bencher.iter(|| hmac.clone().chain_update(black_box(message)).verify(black_box(&tag)));
    });
}

/// The message's blocks with the padding, and the outer block. The states are arbitrary, which does
/// not change the work.
fn limit(group: &mut BenchmarkGroup<'_, WallTime>, algorithm: Algorithm, bytes: usize) {
    let id = BenchmarkId::new("limit", bytes);
    if algorithm == Algorithm::Hs256 {
        let blocks = vec![[0x36; 64]; (bytes + 1 + 8).div_ceil(64)];
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                let mut state = [0x5a5a_5a5a; 8];
                compress256(&mut state, black_box(&blocks));
                compress256(&mut state, black_box(&[[0x5c; 64]]));
                state
            });
        });
    } else {
        let blocks = vec![[0x36; 128]; (bytes + 1 + 16).div_ceil(128)];
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                let mut state = [0x5a5a_5a5a_5a5a_5a5a; 8];
                compress512(&mut state, black_box(&blocks));
                compress512(&mut state, black_box(&[[0x5c; 128]]));
                state
            });
        });
    }
}
