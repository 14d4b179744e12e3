//! The modules that the tests of the server share, and the servers of the databases.
#![allow(dead_code, reason = "not every test file needs all of it")]

pub(crate) mod auth_server;
pub(crate) mod client;
pub(crate) mod lock;
#[path = "../../../../tests/support/postgres.rs"]
pub(crate) mod postgres;
pub(crate) mod program;
#[path = "../../../../tests/support/redis.rs"]
pub(crate) mod redis;
#[path = "../../../../tests/support/servers.rs"]
pub(crate) mod servers;
