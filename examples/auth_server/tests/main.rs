//! The server as its clients and its operator see it, each file from another side.

mod accounts;
#[cfg(feature = "aws")]
mod aws;
mod connections;
mod proxies;
mod ready;
mod server;
mod starting;
mod stopping;
#[path = "support/all.rs"]
mod support;
