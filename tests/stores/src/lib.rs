//! The tests and benches of this package run every store; it has no code of its own.
