//! Several benches share this: it verifies on several threads at once.

use std::{
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

/// Verifies so many times on each of so many threads: each time is given its number. Returns the time of the slowest thread.
///
/// # Panics
/// When a token is refused.
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
