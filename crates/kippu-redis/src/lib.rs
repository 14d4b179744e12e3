//! Stores the sessions of [`kippu`] in Redis or Valkey, through the crate [`redis`]: one server,
//! Sentinel or Cluster.
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
//! This release uses redis 1 and re-exports it as [`redis`](mod@redis). A client of another major
//! version is a different type, which the store does not accept.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod store;

pub use redis;

pub use self::store::{ClusterPrimaries, PrimaryConnection, RedisStore};

/// Runs the example of the README as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
