//! The tests that a session store has to pass: a harness goes in that opens handles on one store; a report comes out
//! that names each rule the store breaks, with what to do about it.
//!
//! # Writing a store
//!
//! 1. Implement [`RefreshStore`] with `async fn`s. The decision is not yours to write:
//!    [`RotateRequest::decide`](super::rotation::RotateRequest::decide) takes it. What a store adds is that nothing
//!    happens between reading the record, deciding, and writing the change: a transaction that holds the row, one
//!    statement, a script; or [`rotate_by_swapping`](super::store::rotate_by_swapping) for a store that can compare and
//!    swap.
//! 2. Implement [`Harness`]: how another process would open your data.
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
//!     // A store in a database opens a connection of its own here.
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
//!     // Its only clock is the caller's.
//!     let suite = Suite::new().shares_the_clock();
//!     let report = suite.run(&Memory(Arc::new(MemoryStore::new(10_000)))).await;
//!     println!("{report}");
//!     report.assert_passed();
//! }
//! ```
//!
//! The example `custom_store` is a whole store of this kind, in one JSON file. [`Suite`] has the settings: how many
//! rounds, which cases, and what to say of a store that removes sessions by itself, as Redis does with a TTL.
//!
//! # What it does to the data
//!
//! Ids and subjects are new with every run, so the store need not be empty. The sessions are of January 1970, when
//! nobody else's was over, so that the tests of [`purge_expired`](RefreshStore::purge_expired) remove none but the
//! suite's own. One case purges by a clock that is years ahead, which a store that trusts the caller's clock obeys: never run
//! the suite on data that matters. A run leaves some ten sessions behind that last for decades. Two runs at once on the same data disturb
//! each other's purges: give each a database, or let one follow the other.
//!
//! # The rules
//!
//! | rule | what it says |
//! |---|---|
//! | R1 | Of all that present one generation at once, exactly one is answered `Rotated`, the rest `Replayed`, with one successor. A reauthentication within the grace of a rotation keeps the token that the rotation made. |
//! | R2 | The generation before the current one is replayed for the grace, to the millisecond; a replay writes nothing. The grace begins when the record is changed, however long the store stalls. |
//! | R3 | An older one, or one after the grace, is reuse: the session is revoked, durably, before `Reused` is answered. |
//! | R4 | What is revoked or expired never replays, grace or not. |
//! | R6 | A generation ahead of the store is healed, or refused, as the request says. |
//! | R7 | Expiry is decided at use, to the millisecond, and the absolute end never moves. |
//! | R8 | A clock that steps prolongs nothing, and no time or duration makes a step fail. |
//! | R10 | After a revocation is answered no rotation succeeds, those under way included; the first reason stays. |
//! | R11 | No update brings back, or makes, a session that is not there. |
//! | R12 | A step whose answer got lost can be repeated, and loses nothing. |
//! | R13 | A replay is answered with the key that the current token was made with. |
//! | R18 | Every step ends within the store's deadline, whatever holds the store up. |
//! | R19 | The id of a session that a step has ended is in the log of ended sessions when the step is answered, and no other id is. |
//! | R20 | Where an insert has a limit, no more sessions of the subject are live once it is answered, however many logins run at once; what made room is revoked and in the log. |
//! | C1 | What was inserted is loaded exactly. |
//! | C2 | An insert never overwrites. |
//! | C3 | Absence is an outcome. |
//! | C4 | A list is complete, only of live sessions, and in order, whole or in pages. |
//! | C5 | Subjects are compared byte for byte. |
//! | C6 | A purge removes what has ended by the caller's clock and the store's, nothing else, and no more than it may. |
//! | C7 | Every handle sees what any other was answered. |
//!
//! R5, R9, R14 and R15 are for those who call stores. [`Faulty`] helps to test them.

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

/// Opens handles on one and the same data.
pub trait Harness: Send + Sync + 'static {
    /// The store under test.
    type Store: RefreshStore;

    /// Another handle on the same data, as independent of the others as one that another process opens. It panics when
    /// it cannot be had.
    fn open(&self) -> impl Future<Output = Self::Store> + Send;

    /// Holds up every rotation of the data, as a lock that another program has taken does, until the suite ends the
    /// [`Stall`]: after the deadline of the store and two seconds at the latest. `None` for a store that nothing can hold up.
    fn stall(&self) -> impl Future<Output = Option<Stall>> + Send;
}

/// A lock or the like that holds a store up until the suite ends it.
pub struct Stall(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Stall {
    /// A stall that `end` ends: it gives the lock back, and is polled to its end.
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
/// When the harness does, and outside of a tokio runtime, or in one without a timer.
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
    /// The deadline of a store that says nothing else: 3 seconds.
    const DEADLINE: Duration = Duration::from_secs(3);

    /// Every case, races in 8 rounds, another seed with every run.
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

    /// How often each race is run, and how many times 60 random operations: at least once. Two will do where a step
    /// is slow, or where a purge reads through all sessions.
    pub fn rounds(self, rounds: u32) -> Self {
        Self { rounds: if rounds == 0 { 1 } else { rounds }, ..self }
    }

    /// Where the random operations begin: the same ones as in the run that [reported](Report::seed) it.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Runs only the cases whose names begin with `prefix`.
    pub fn only(self, prefix: impl Into<String>) -> Self {
        Self { only: Some(prefix.into()), ..self }
    }

    /// For a store whose server removes sessions by itself, some time after they are over by the server's clock.
    ///
    /// All sessions are then of the present, and what `purge_expired` removes is not tested: only that no live session
    /// is among it.
    pub fn removes_by_itself(self) -> Self {
        Self { removes_by_itself: true, ..self }
    }

    /// For a store within one process, which has no clock but the caller's: what `purge_expired` removes for a caller whose
    /// clock is ahead is not tested.
    pub fn shares_the_clock(self) -> Self {
        Self { shares_the_clock: true, ..self }
    }

    /// The time within which the store promises to end every step, 3 seconds unless this is called. It has to be longer
    /// than the 200 ms for which other cases hold the store up.
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// How long a case may take before it fails, for it may hang: a minute unless said otherwise.
    pub fn time_limit(self, limit: Duration) -> Self {
        Self { time_limit: limit, ..self }
    }

    /// Runs it.
    ///
    /// # Panics
    /// When the harness does, and outside of a tokio runtime, or in one without a timer. A store that panics fails the
    /// case.
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

/// Any will do, as long as the report tells which one it was.
fn some_seed() -> u64 {
    let mut seed = [0; 8];
    // Without randomness there are no ids, which every case will say.
    let _ = getrandom::fill(&mut seed);
    u64::from_le_bytes(seed)
}
