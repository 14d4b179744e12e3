//! Judges the sizes that a soak of the auth server has sampled. The log and its checker are those
//! of `kippu-simulation`.

pub mod flat;
