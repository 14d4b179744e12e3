//! The tests of this package run what others have written around kippu-web; it has no code of its own.

/// The README of kippu-web: its examples stand on servers that kippu-web itself does not need.
#[cfg(doctest)]
#[doc = include_str!("../../../crates/kippu-web/README.md")]
struct Readme;
