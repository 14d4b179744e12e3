//! The tests of this package run kippu-web with the servers, layers and clients of other projects;
//! the library has the server of sockets that the tests of the browser use, too.

pub mod feeds;

/// The README of kippu-web: its examples stand on servers that kippu-web itself does not need.
#[cfg(doctest)]
#[doc = include_str!("../../../crates/kippu-web/README.md")]
struct Readme;

/// The page of the client: its example needs reqwest.
#[cfg(doctest)]
#[doc = include_str!("../../../src/client.md")]
struct ClientPage;
/// Its page about sockets, for which axum needs its feature `ws`.
#[cfg(doctest)]
#[doc = include_str!("../../../crates/kippu-web/src/sockets.md")]
struct Sockets;
