//! Sessions of [`kippu`] in Redis or Valkey: one server, Sentinel or Cluster, through the crate [`redis`].
//!
//! ```no_run
//! use kippu::session::Sessions;
//! use kippu_redis::{RedisStore, redis::Client};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = RedisStore::connect(Client::open("redis://127.0.0.1/")?).await?;
//! let sessions = Sessions::builder(store)
//!     .issuer("https://auth.example").audience("api").client("web");
//!     // … and the keys
//! # let _ = sessions;
//! # Ok(())
//! # }
//! ```
//!
//! This release tracks redis 1, and re-exports it as [`redis`](mod@redis): a client of another major version is another type.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod store;

pub use redis;

pub use self::store::{ClusterPrimaries, PrimaryConnection, RedisStore};

/// The example of the README is run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
