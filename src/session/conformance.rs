//! The tests that a session store has to pass. The caller provides a harness, which opens handles
//! on one store. The suite returns a report that names each rule that the store breaks, and what to
//! do about it.
//!
//! # Writing a store
//!
//! 1. Implement [`RefreshStore`] with `async fn`s. The store does not implement the decision
//!    itself: [`RotateRequest::decide`](super::rotation::RotateRequest::decide) makes it. The store
//!    guarantees that no other step happens between reading the record, deciding, and writing the
//!    change. It can use a transaction that holds the row, one statement, or a script. A store that
//!    can compare and swap uses [`rotate_by_swapping`](super::store::rotate_by_swapping).
//! 2. Implement [`Harness`]: how another process would open the data.
//! 3. Run the suite, on a runtime with several threads and with all of tokio's drivers enabled.
//!
//! ```
//! # use std::sync::Arc;
//! use kippu::session::{
//!     MemoryStore,
//!     conformance::{Harness, Stall, Suite},
//! };
//!
//! struct Memory(Arc<MemoryStore>);
//!
//! impl Harness for Memory {
//!     type Store = Arc<MemoryStore>;
//!
//!     // A store in a database opens another connection here.
//!     async fn open(&self) -> Arc<MemoryStore> {
//!         self.0.clone()
//!     }
//!
//!     // A store in a database takes a lock here that every rotation waits for.
//!     async fn stall(&self) -> Option<Stall> {
//!         None
//!     }
//! }
//!
//! // #[tokio::test(flavor = "multi_thread")]
//! #[tokio::main]
//! async fn main() {
//!     // Its only clock is that of the caller.
//!     let suite = Suite::new().shares_the_clock();
//!     let report = suite.run(&Memory(Arc::new(MemoryStore::new(10_000)))).await;
//!     println!("{report}");
//!     report.assert_passed();
//! }
//! ```
//!
//! The example `custom_store` is a complete store of this kind, in one JSON file. [`Suite`] has the
//! settings: the number of rounds, the cases to run, and whether the store removes sessions by
//! itself, like Redis with a TTL.
//!
//! # What it does to the data
//!
//! Ids and subjects are new in every run, so the store need not be empty. The sessions are in
//! January 1970, when no session of an application had ended, so that the tests of
//! [`purge_expired`](RefreshStore::purge_expired) remove only the suite's own sessions. One case
//! purges with a clock that is years ahead. A store that trusts the caller's clock obeys it: never
//! run the suite on data that matters. A run leaves about ten sessions that last for decades. Two
//! concurrent runs on the same data disturb each other's purges: use two databases, or run one
//! after the other.
//!
//! # The rules
//!
//! | rule | what it says |
//! |---|---|
//! | R1 | If several requests present one generation at once, exactly one is answered `Rotated` and the others `Replayed`, all with the same successor. A reauthentication within the grace of a rotation keeps the token that the rotation made. |
//! | R2 | The generation before the current one is replayed during the grace, to the millisecond. A replay writes nothing. The grace begins when the record is changed, however long the store stalls. |
//! | R3 | An older generation, or that generation after the grace, is a reuse: the session is revoked, durably, before `Reused` is answered. |
//! | R4 | A revoked or expired session never replays, even within the grace. |
//! | R6 | A generation ahead of the store is healed or refused, according to the request. |
//! | R7 | Expiry is decided at use, to the millisecond, and the absolute end never moves. |
//! | R8 | A clock step extends no lifetime, and no time or duration makes a step fail. |
//! | R10 | After a revocation is answered no rotation succeeds, including concurrent ones. The first reason stays. |
//! | R11 | No update creates a session, or restores one that was removed. |
//! | R12 | A step whose answer was lost can be repeated without losing anything. |
//! | R13 | A replay is answered with the key that made the current token. |
//! | R18 | Every step ends within the store's deadline, whatever makes the store wait. |
//! | R19 | When a step that ends a session is answered, the session's id is in the log of ended sessions. No other id is in the log. |
//! | R20 | After an insert with a limit is answered, no more sessions of the subject are live than the limit allows, however many logins run at once. The sessions that made room are revoked and in the log. |
//! | C1 | A load returns exactly what was inserted. |
//! | C2 | An insert never overwrites. |
//! | C3 | A missing session is an outcome, not an error. |
//! | C4 | A list has all live sessions and no others, in order, whole or in pages. |
//! | C5 | Subjects are compared byte for byte. |
//! | C6 | A purge removes only sessions that have ended by the caller's clock and by the store's, and no more than the limit. |
//! | C7 | Every handle sees each step that another handle has answered. |
//!
//! R5, R9, R14 and R15 are rules for the callers of stores. [`Faulty`] helps to test them.

mod cases;
mod faulty;
mod model;
mod races;
mod random;
mod report;
mod stage;

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::{fmt, future::Future, pin::Pin, time::Duration};

use self::{report::Book, stage::Stage};
use super::store::RefreshStore;

pub use self::{
    faulty::{Fault, Faulty, Method},
    report::{CaseReport, CaseResult, Report},
};

/// Opens handles on the same data.
pub trait Harness: Send + Sync + 'static {
    /// The store under test.
    type Store: RefreshStore;

    /// Opens another handle on the same data, as independent of the others as one that another
    /// process opens. It panics if that fails.
    fn open(&self) -> impl Future<Output = Self::Store> + Send;

    /// Blocks every rotation of the data, like a lock that another program has taken, until the
    /// suite ends the [`Stall`]. That is at the latest two seconds after the deadline of the store.
    /// Returns `None` for a store that nothing can block.
    fn stall(&self) -> impl Future<Output = Option<Stall>> + Send;
}

/// A lock or something similar that blocks a store until the suite ends it.
pub struct Stall(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Stall {
    /// Makes a stall that `end` ends, for example by releasing a lock. `end` is polled to its end.
    pub fn new(end: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Box::pin(end))
    }

    pub(crate) async fn end(self) {
        self.0.await;
    }
}

impl fmt::Debug for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stall").finish_non_exhaustive()
    }
}

/// Runs the suite with its defaults.
///
/// # Panics
/// If the harness panics, outside of a tokio runtime, or in a runtime without a timer.
pub async fn run(harness: &impl Harness) -> Report {
    Suite::new().run(harness).await
}

/// The suite, with its settings.
///
/// ```
/// use kippu::session::conformance::Suite;
///
/// // While working on the rotation of a slow database:
/// let suite = Suite::new().only("races/").rounds(2);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a suite does nothing until it is run"]
pub struct Suite {
    rounds: u32,
    seed: Option<u64>,
    only: Option<String>,
    removes_by_itself: bool,
    shares_the_clock: bool,
    deadline: Duration,
    time_limit: Duration,
}

/// Handles that stay open for the whole run.
const HANDLES: usize = 4;

impl Suite {
    /// The deadline if the settings have none: 3 seconds.
    const DEADLINE: Duration = Duration::from_secs(3);

    /// Returns a suite with every case, races in 8 rounds, and a new seed for every run.
    pub const fn new() -> Self {
        Self {
            rounds: 8,
            seed: None,
            only: None,
            removes_by_itself: false,
            shares_the_clock: false,
            deadline: Self::DEADLINE,
            time_limit: Duration::from_secs(60),
        }
    }

    /// Sets how often each race is run, and how many times 60 random operations are made: at least
    /// once. Two rounds are enough if a step is slow, or if a purge reads all sessions.
    pub fn rounds(self, rounds: u32) -> Self {
        Self { rounds: if rounds == 0 { 1 } else { rounds }, ..self }
    }

    /// Sets the seed of the random operations, to repeat those of the run that
    /// [reported](Report::seed) it.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Runs only the cases whose names begin with `prefix`.
    pub fn only(self, prefix: impl Into<String>) -> Self {
        Self { only: Some(prefix.into()), ..self }
    }

    /// Sets that the store's server removes sessions by itself, some time after they have ended by
    /// the server's clock.
    ///
    /// All sessions are then in the present. The suite does not test what `purge_expired` removes,
    /// only that it removes no live session.
    pub fn removes_by_itself(self) -> Self {
        Self { removes_by_itself: true, ..self }
    }

    /// Sets that the store is within one process and has no clock but the caller's. The suite then
    /// does not test what `purge_expired` removes for a caller whose clock is ahead.
    pub fn shares_the_clock(self) -> Self {
        Self { shares_the_clock: true, ..self }
    }

    /// Sets the time within which the store promises to end every step, 3 seconds by default. It
    /// has to be longer than the 200 ms for which other cases block the store.
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Sets the time after which a case fails because it may hang, a minute by default.
    pub fn time_limit(self, limit: Duration) -> Self {
        Self { time_limit: limit, ..self }
    }

    /// Runs the suite.
    ///
    /// # Panics
    /// If the harness panics, outside of a tokio runtime, or in a runtime without a timer. A panic
    /// of the store makes the case fail instead.
    pub async fn run<H: Harness>(self, harness: &H) -> Report {
        let mut handles = Vec::with_capacity(HANDLES);
        for _ in 0..HANDLES {
            handles.push(Arc::new(harness.open().await));
        }
        let seed = self.seed.unwrap_or_else(some_seed);
        let mut stage = Stage::new(handles, !self.removes_by_itself, self.rounds, seed);
        stage.shares_the_clock = self.shares_the_clock;
        stage.deadline = self.deadline;
        let mut book = Book::new(seed, self.only, self.time_limit);
        cases::run(harness, &stage, &mut book).await;
        races::run(&stage, &mut book).await;
        model::run(&stage, &mut book).await;
        book.sweep(&stage).await;
        book.close()
    }
}

impl Default for Suite {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns any seed. The report prints it.
fn some_seed() -> u64 {
    let mut seed = [0; 8];
    // Without randomness there are no ids, and every case will report that.
    let _ = getrandom::fill(&mut seed);
    u64::from_le_bytes(seed)
}
