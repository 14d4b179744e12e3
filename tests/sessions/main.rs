//! Sessions: logins, refreshes, logouts, their events, and the suite that every store passes.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod boundaries;
mod client;
mod conformance_suite;
mod ended;
mod flows;
mod log;
mod policies;
mod sockets;
mod testing;
mod threats;
