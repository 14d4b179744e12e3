//! What a soak of the auth server leaves behind, and what is made of it: a log in, the rules that it breaks out.

pub mod checker;
pub mod flat;
pub mod log;
