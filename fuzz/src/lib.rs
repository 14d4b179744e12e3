//! A second opinion on tokens: a verifier that is slow and obvious, and shares no code with kippu's.
//!
//! The fuzz targets hold kippu against it. It reads JSON by recursive descent, numbers by their
//! decimal digits, base64url and MACs through other crates, and it does not stop at the first
//! defect of a token but lists what there is.

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
