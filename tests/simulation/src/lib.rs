//! Servers, clients and a replicated database in one thread, where a seed decides everything, and a
//! checker of what they were answered.
//!
//! The servers run the real `Sessions`, `AccessVerifier` and `EndedSessions`. Their clocks, their
//! store, the network and the order of their steps are simulated. A run is a history: what was
//! asked, when it was answered, and with what. The checker reads it, and knows nothing of the code.
//! `README.md` has the whole of it in two screens.
//!
//! # Why no library
//! `Sessions` needs no runtime, its clock is given, and its store is a trait, so that an executor
//! of 200 lines is enough. The libraries that were looked at solve another problem:
//! - turmoil simulates the sockets of programs that are written over tokio. Here there are none.
//! - madsim replaces tokio by a patched one, and the C functions for time and randomness by its
//!   own, which is unsafe code.
//! - shuttle tries orders of threads and locks, and has no time. Most rules here are about time.
//! - stateright checks models that are written as its actors. The rules would be held against a
//!   second program.

pub mod chaos;
pub mod checker;
pub mod database;
pub mod executor;
pub mod exhaustive;
pub mod flaw;
pub mod hosts;
pub mod log;
pub mod network;
pub mod run;
pub mod server;
pub mod store;
pub mod time;
pub mod workload;
