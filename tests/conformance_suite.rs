//! The conformance suite: stores that keep to the contract pass, and each way to break it is found by the case that is
//! there for it.
#![cfg(feature = "conformance")]
#![allow(
    clippy::indexing_slicing,
    clippy::items_after_statements,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use kippu::session::{
    BoxStore, MemoryStore,
    conformance::{self, Harness},
};

/// Handles that share one store.
struct Memory(Arc<MemoryStore>);

impl Harness for Memory {
    type Store = BoxStore;

    async fn open(&self) -> BoxStore {
        BoxStore::new(self.0.clone())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_memory_store_passes_again_and_again() {
    let harness = Memory(Arc::new(MemoryStore::new(10_000)));
    for _ in 0..2 {
        let report = conformance::run(&harness).await;
        println!("{report}");
        report.assert_passed();
    }
}
