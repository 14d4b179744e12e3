//! A custom session store, from the trait to a passed conformance suite: sessions in one JSON file.
//! `cargo run --example custom_store --features conformance`.
//!
//! `json_store.rs` is the store. This file is what its tests would be.

mod json_store;

use std::{env, error::Error, fs, process};

use kippu::session::conformance::{Harness, Stall, Suite};

use json_store::JsonStore;

struct OneFile(JsonStore);

impl Harness for OneFile {
    type Store = JsonStore;

    /// For a store that other processes may share, this opens the data again: another connection,
    /// another pool. A file with a lock in one process has no more than this to offer.
    async fn open(&self) -> JsonStore {
        self.0.clone()
    }

    /// For a store in a database, another connection takes a lock here.
    async fn stall(&self) -> Option<Stall> {
        let held = self.0.hold_up().await;
        Some(Stall::new(async { drop(held) }))
    }
}

// In a test: #[tokio::test(flavor = "multi_thread")].
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::temp_dir().join(format!("kippu-custom-store-{}", process::id()));
    fs::create_dir(&folder)?;
    let store = JsonStore::open(folder.join("sessions.json"));
    let passed = match store {
        Ok(store) => {
            // Every change writes the file and waits for the disk, so two rounds of each race have
            // to do.
            let report = Suite::new().rounds(2).run(&OneFile(store)).await;
            println!("{report}");
            report.passed()
        }
        Err(ref error) => {
            println!("{error}");
            false
        }
    };
    fs::remove_dir_all(folder)?;
    // In a test: report.assert_passed().
    if passed { Ok(()) } else { Err("the store does not keep to the contract".into()) }
}
