//! Stores the sessions of [`kippu`] in SQLite, PostgreSQL, MariaDB or MySQL, through [`sqlx`].
//! [`SqliteStore`] opens a file itself; [`PostgresStore`] and [`MySqlStore`] use a pool that the
//! application already has.
//!
//! ```no_run
//! use kippu::session::Sessions;
//! use kippu_sqlx::SqliteStore;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let sessions = Sessions::builder(SqliteStore::open("sessions.db").await?)
//!     .issuer("https://auth.example").audience("api").client("web");
//!     // … and the keys
//! # let _ = sessions;
//! # Ok(())
//! # }
//! ```
//!
//! This release uses sqlx 0.9 and re-exports it as [`sqlx`](mod@sqlx). A pool of another major
//! version of sqlx is a different type, which the stores do not accept.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `sqlite` | yes | [`SqliteStore`]; builds SQLite, which needs a C compiler |
//! | `postgres` | no | [`PostgresStore`] |
//! | `mysql` | no | [`MySqlStore`], for MariaDB and MySQL |
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod columns;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use sqlx;

#[cfg(feature = "mysql")]
pub use self::mysql::MySqlStore;
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresStore;
#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteStore;

/// Runs the example of the README as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
