//! Code that the tests of several packages share: servers that they start and stop, a proxy in
//! front of them, a clock that a test sets, and stores that break one rule each. A helper that
//! fails panics.

/// Runs the examples of the README as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

pub mod broken_stores;
pub mod clock;
pub mod log;
pub mod moto;
pub mod mysql;
pub mod nginx;
pub mod postgres;
pub mod provider;
#[cfg(not(target_family = "wasm"))]
pub mod proxy;
pub mod races;
pub mod records;
pub mod redis;
pub mod servers;
pub mod signing;

/// Returns the number of rounds of a test: `full` in scripts/test, and fewer in `cargo test` alone,
/// in the proportion of `PROPTEST_CASES` to its default.
pub fn rounds(full: u32) -> u32 {
    let cases = std::env::var("PROPTEST_CASES").map_or(256, |cases| cases.parse().unwrap());
    (full * cases.min(256) / 256).max(1)
}
