//! Shared by several benches: verifies on several threads concurrently.

use std::{
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

/// Verifies `times` times on each of `threads` threads, and passes the number of each time. Returns
/// the time of the slowest thread.
///
/// # Panics
/// When a token is rejected.
pub fn at_once(threads: usize, times: u64, verify: impl Fn(u64) -> bool + Sync) -> Duration {
    let start = Barrier::new(threads);
    let work = || {
        start.wait();
        let begun = Instant::now();
        assert!((0..times).all(&verify));
        begun.elapsed()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let elapsed = threads.into_iter().map(|thread| thread.join().expect("no thread panics"));
        elapsed.max().unwrap_or_default()
    })
}
