//! The tests of this package run kippu-web with the servers, layers and clients of other projects;
//! the library has the server of sockets that the tests of the browser use, too.

pub mod feeds;

/// The README of kippu-web.
#[cfg(doctest)]
#[doc = include_str!("../../../crates/kippu-web/README.md")]
struct Readme;

/// The page of the client: its example needs reqwest.
#[cfg(doctest)]
#[doc = include_str!("../../../src/client.md")]
struct ClientPage;

/// The page of kippu-web about sockets: its examples need tonic, and the feature `ws` of axum.
#[cfg(doctest)]
#[doc = include_str!("../../../crates/kippu-web/src/sockets.md")]
struct Sockets;
