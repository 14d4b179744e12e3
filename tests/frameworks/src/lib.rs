//! The tests of this package run kippu-web with the servers, layers and clients of other projects;
//! the library is empty.

/// The README of kippu-web: its examples stand on servers that kippu-web itself does not need.
#[cfg(doctest)]
#[doc = include_str!("../../../crates/kippu-web/README.md")]
struct Readme;

/// The page of the client: its example needs reqwest.
#[cfg(doctest)]
#[doc = include_str!("../../../src/client.md")]
struct ClientPage;
