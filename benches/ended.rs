//! Measures the cost of checking ended sessions: a verifier checks the same tokens with and without
//! a million ended ids in memory, on one thread and on two concurrently.
//!
//! A time is that of one token on each thread.

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{BenchmarkId, Criterion};
use kippu::{
    Key,
    session::{
        AccessVerifier, EndedOptions, EndedSessions, MemoryStore, NoClaims, RefreshStore,
        RevokeReason, SessionId, Sessions, UnixMillis,
    },
};
use kippu_benches::at_once;
use tokio::runtime::Builder;

const ENDED: usize = 1_000_000;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let key = || Key::hs256([0x5a; 32]).expect("long enough").with_kid("2026-11");
    let verifier = || AccessVerifier::new(key(), "https://auth.example", "api");
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let (tokens, ended) = runtime.block_on(async {
        let store = Arc::new(MemoryStore::new(1000));
        let sessions = Sessions::builder(Arc::clone(&store))
            .issuer("https://auth.example")
            .audience("api")
            .client("web")
            .access_key(key())
            .refresh_key(Key::hs256([0x5b; 32]).expect("long enough").with_kid("1"))
            .build()
            .expect("the settings are complete");
        let mut tokens = Vec::new();
        for user in 0..512 {
            let login = sessions.login(format!("user-{user}"), &NoClaims {}).await;
            tokens.push(login.expect("there is room").access_token);
        }
        for _ in 0..ENDED {
            let id = SessionId::generate("leaver").expect("there are random bytes");
            let now = UnixMillis::now();
            store.revoke(&id, RevokeReason::Logout, now).await.expect("a store in memory");
        }
        // Fresh for the whole duration of the bench.
        let options = EndedOptions::new().max_lag(Duration::from_secs(3600)).capacity(ENDED);
        let ended = EndedSessions::follow(store, options);
        ended.poll().await.expect("a store in memory");
        (tokens, ended)
    });
    let each = [("alone", verifier()), ("with a million ended", verifier().ended_sessions(ended))];

    let mut group = criterion.benchmark_group("verify");
    for threads in [1, 2] {
        for (name, verifier) in &each {
            group.bench_function(BenchmarkId::new(*name, threads), |bencher| {
                bencher.iter_custom(|times| {
                    at_once(threads, times, |time| {
                        let number = usize::try_from(time).expect("it fits") % tokens.len();
                        let token = black_box(tokens.get(number).expect("it is a remainder"));
                        black_box(verifier.verify::<NoClaims>(token)).is_ok()
                    })
                });
            });
        }
    }
    group.finish();
    criterion.final_summary();
}
