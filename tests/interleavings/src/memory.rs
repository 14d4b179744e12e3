//! The modules that the source file finds in its crate.

mod sync {
    pub(super) use std::sync::PoisonError;

    pub(super) use loom::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    };
}

pub(crate) use kippu::session::{
    RefreshStore, StoreError,
    store::{EndedCursor, EndedPage, InsertOutcome, InsertRequest, ListRequest, Room},
};

#[path = "../../../src/session/store/memory.rs"]
mod file;
pub use file::MemoryStore;
