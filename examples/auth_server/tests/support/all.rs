//! The modules that the tests of the server share, and the servers of the databases.
#![allow(dead_code, unused_imports, reason = "not every test file needs all of it")]

pub(crate) mod auth_server;
pub(crate) mod client;
pub(crate) mod lock;
pub(crate) mod program;

pub(crate) use kippu_test_support::{moto, mysql, postgres, redis, servers};
