//! A package of tests and benchmarks that run on every store. It has no code.

/// The page of kippu on secret managers, whose examples need an HTTP client. The tests of kippu do
/// not build one.
#[cfg(doctest)]
#[doc = include_str!("../../../src/secret_managers.md")]
pub struct SecretManagers;
