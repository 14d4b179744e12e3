//! A second verifier for tokens, which is slow and obvious, and shares no code with kippu.
//!
//! The fuzz targets compare kippu with it. It reads JSON by recursive descent and numbers by their
//! decimal digits. It reads base64url and computes MACs with other crates. It does not stop at the
//! first defect of a token, but lists all of them.

pub mod claims;
pub mod dates;
pub mod decimal;
pub mod documents;
pub mod expectations;
pub mod input;
pub mod json;
pub mod key_sets;
pub mod keyring;
pub mod model;
pub mod peer;
pub mod presentable;
pub mod seeds;
pub mod sessions;
pub mod trial;
pub mod web;
