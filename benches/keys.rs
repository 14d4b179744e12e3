//! Measures the keys of a running server: one thread that verifies, and two concurrently, with a
//! single key, a set behind a lock, and a `SharedKeySet`.
//!
//! A time is that of one token on each thread. If threads do not wait for each other, it is the
//! same for one and two.

use std::{
    hint::black_box,
    sync::{Arc, RwLock},
    time::Duration,
};

use criterion::{BenchmarkId, Criterion};
use kippu::{Candidates, Key, KeySet, Keys, NumericDate, SharedKeySet, Validation, decode, encode};
use kippu_benches::at_once;
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    exp: NumericDate,
}

/// A server without a `SharedKeySet`: it copies a pointer under a lock.
struct Locked(RwLock<Arc<KeySet>>);

impl Keys for Locked {
    fn find(&self, kid: Option<&str>, candidates: &mut Candidates<'_>) {
        let keys = Arc::clone(&self.0.read().expect("no reader panics"));
        keys.find(kid, candidates);
    }

    fn find_by_header(&self, token: &str, candidates: &mut Candidates<'_>) {
        let keys = Arc::clone(&self.0.read().expect("no reader panics"));
        keys.find_by_header(token, candidates);
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let key = || Key::hs256([0x5a; 32]).expect("long enough").with_kid("2026-11");
    let [iss, aud, sub] = ["https://auth.example", "api", "user-12345"].map(String::from);
    let claims = Claims { iss, aud, sub, exp: NumericDate::in_seconds(86_400) };
    let token = encode(&claims, &key()).expect("strings and numbers");
    let validation = Validation::new().issuer(&*claims.iss).audience(&*claims.aud);
    let each: [(&str, &(dyn Keys + Sync)); 3] = [
        ("Key", &key()),
        ("RwLock<Arc<KeySet>>", &Locked(RwLock::new(Arc::new(key().into())))),
        ("SharedKeySet", &SharedKeySet::from(key())),
    ];

    let mut group = criterion.benchmark_group("keys that threads share");
    for (name, keys) in each {
        assert_eq!(decode::<Claims>(&token, keys, &validation).as_ref(), Ok(&claims), "{name}");
        for threads in [1, 2] {
            group.bench_function(BenchmarkId::new(name, threads), |bencher| {
                bencher.iter_custom(|times| {
                    at_once(threads, times, |_| {
                        black_box(decode::<Claims>(black_box(&token), keys, &validation)).is_ok()
                    })
                });
            });
        }
    }
    group.finish();
    criterion.final_summary();
}
