//! Tokens: which are issued, which are accepted, and which are rejected for which reason.
#![allow(
    clippy::indexing_slicing,
    clippy::items_after_statements,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod attacks;
mod decoding;
mod errors;
mod exhaustive;
mod interop;
mod interop_vectors;
mod json_twin;
mod key_forms;
mod key_sources;
mod keys;
mod migration;
mod properties;
mod rfc_vectors;
mod round_trips;
mod validation;
mod wycheproof;
