//! Compares base64url with the `base64` crate, into a slice and into a new vector or string.
//!
//! Throughput counts the decoded bytes, both ways.

use std::{hint::black_box, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use criterion::{BenchmarkId, Criterion, Throughput};
use kippu::base64url;

/// Encoded lengths: the signature of HS256, the claims of a usual token, and longer ones.
const SYMBOLS: [usize; 4] = [43, 223, 1024, 4096];

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    decode(&mut criterion);
    encode(&mut criterion);
    criterion.final_summary();
}

/// Returns bytes that use the whole alphabet.
fn bytes(symbols: usize) -> Vec<u8> {
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(base64url::decoded_len(symbols)).collect();
    assert_eq!(base64url::encoded_len(bytes.len()), symbols);
    bytes
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for symbols in SYMBOLS {
        let bytes = bytes(symbols);
        let text = URL_SAFE_NO_PAD.encode(&bytes);
        let mut output = vec![0; bytes.len()];
        group.throughput(Throughput::Bytes(u64::try_from(bytes.len()).expect("a few KiB")));

        assert_eq!(base64url::decode_to_slice(&text, &mut output).as_deref(), Ok(&bytes[..]));
        group.bench_function(BenchmarkId::new("slice/kippu", symbols), |bencher| {
            bencher.iter(|| base64url::decode_to_slice(black_box(&text), &mut output).is_ok());
        });
        assert_eq!(URL_SAFE_NO_PAD.decode_slice(&text, &mut output), Ok(bytes.len()));
        assert_eq!(output, bytes);
        group.bench_function(BenchmarkId::new("slice/base64", symbols), |bencher| {
            bencher.iter(|| URL_SAFE_NO_PAD.decode_slice(black_box(&text), &mut output).is_ok());
        });
        assert_eq!(base64url::decode(&text).as_ref(), Ok(&bytes));
        group.bench_function(BenchmarkId::new("vec/kippu", symbols), |bencher| {
            bencher.iter(|| base64url::decode(black_box(&text)));
        });
        assert_eq!(URL_SAFE_NO_PAD.decode(&text).as_ref(), Ok(&bytes));
        group.bench_function(BenchmarkId::new("vec/base64", symbols), |bencher| {
            bencher.iter(|| URL_SAFE_NO_PAD.decode(black_box(&text)));
        });
    }
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for symbols in SYMBOLS {
        let bytes = bytes(symbols);
        let text = URL_SAFE_NO_PAD.encode(&bytes);
        let mut output = vec![0; symbols];
        group.throughput(Throughput::Bytes(u64::try_from(bytes.len()).expect("a few KiB")));

        assert_eq!(base64url::encode_to_slice(&bytes, &mut output).as_deref(), Ok(text.as_bytes()));
        group.bench_function(BenchmarkId::new("slice/kippu", symbols), |bencher| {
            bencher.iter(|| base64url::encode_to_slice(black_box(&bytes), &mut output).is_ok());
        });
        assert_eq!(URL_SAFE_NO_PAD.encode_slice(&bytes, &mut output), Ok(symbols));
        assert_eq!(output, text.as_bytes());
        group.bench_function(BenchmarkId::new("slice/base64", symbols), |bencher| {
            bencher.iter(|| URL_SAFE_NO_PAD.encode_slice(black_box(&bytes), &mut output).is_ok());
        });
        assert_eq!(base64url::encode(&bytes), text);
        group.bench_function(BenchmarkId::new("string/kippu", symbols), |bencher| {
            bencher.iter(|| base64url::encode(black_box(&bytes)));
        });
        group.bench_function(BenchmarkId::new("string/base64", symbols), |bencher| {
            bencher.iter(|| URL_SAFE_NO_PAD.encode(black_box(&bytes)));
        });
    }
    group.finish();
}
