//! A package of tests and benchmarks that run on every store. It has no code.
