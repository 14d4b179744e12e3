//! The queue in front of SQLite, compiled from its source file, with a writer that keeps a list
//! instead of a database.

use kippu::session::{StoreError, StoreErrorKind};
use loom::sync::{Arc, Mutex};

use self::file::{Answer, Failure, Pending, Queue, Step, Writer};

/// The modules that the source file finds in its crate.
mod sync {
    pub(super) use crate::channels::{mpsc, oneshot, watch};
}

mod fault {
    use super::{StoreError, StoreErrorKind};

    pub(super) fn closed() -> StoreError {
        StoreError::new(StoreErrorKind::Unavailable, "the store is closed")
    }
}

#[path = "../../../crates/kippu-sqlx/src/sqlite/queue.rs"]
mod file;

/// The values that became durable, seen by all threads.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    values: Vec<u8>,
    /// The number of commits that still have to fail.
    failures: usize,
    disconnected: bool,
}

impl Disk {
    /// Makes a disk on which the first commits fail.
    pub fn failing(failures: usize) -> Self {
        Self(Arc::new(Mutex::new(State { failures, ..State::default() })))
    }

    pub fn values(&self) -> Vec<u8> {
        self.0.lock().unwrap().values.clone()
    }

    /// Returns whether a value is on the disk. Panics if it is there twice.
    pub fn has(&self, value: u8) -> bool {
        let found: Vec<u8> = self.values().into_iter().filter(|other| *other == value).collect();
        assert!(found.len() < 2, "{value} was committed twice");
        !found.is_empty()
    }

    pub fn is_disconnected(&self) -> bool {
        self.0.lock().unwrap().disconnected
    }
}

/// A step that adds a value; its answer is that value.
struct Add {
    value: u8,
    pending: Pending<u8>,
}

impl Step for Add {
    fn answer(&mut self) -> &mut dyn Answer {
        &mut self.pending
    }
}

struct ToDisk(Disk);

impl Writer for ToDisk {
    type Step = Add;

    async fn commit(&mut self, batch: &mut Vec<Add>) -> Result<(), Failure> {
        batch.retain_mut(|add| !add.answer().is_abandoned());
        if batch.is_empty() {
            return Ok(());
        }
        let mut state = self.0.0.lock().unwrap();
        assert!(!state.disconnected, "a commit after the connection was closed");
        // Settled before it is known whether the commit succeeds, as the real writer does.
        for add in &mut *batch {
            assert!(add.pending.settled().is_none(), "it was answered before");
            add.pending.settle(Ok(add.value));
        }
        if let Some(failures) = state.failures.checked_sub(1) {
            state.failures = failures;
            return Err(Box::new(|| StoreError::new(StoreErrorKind::Contention, "no commit")));
        }
        state.values.extend(batch.iter().map(|add| add.value));
        Ok(())
    }

    async fn disconnect(&mut self) {
        self.0.0.lock().unwrap().disconnected = true;
    }
}

/// The callers of the queue.
pub struct Callers(Queue<Add>);

impl Callers {
    /// Returns the callers, and the work of the writer, which has to run.
    pub fn new(disk: &Disk) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (queue, work) = Queue::new(ToDisk(disk.clone()));
        (Self(queue), work)
    }

    pub async fn add(&self, value: u8) -> Result<u8, StoreError> {
        self.0.ask(|pending| Add { value, pending }).await
    }

    pub async fn close(&self) {
        self.0.close().await;
    }
}
