//! The stores, and what is done to them: each fault returns the line of the log that the checker
//! needs. Servers run on free loopback ports and in temporary folders.

mod address;
mod cluster;
mod disk;
mod mysql;
mod postgres;
mod redis;
mod sentinel;
mod sqlite;

use std::{fs, ops::Range, path::Path, pin::Pin, sync::Arc, thread, time::Duration};

use fastrand::Rng;
use kippu::session::BoxStore;
use kippu_simulation::{
    log::{Fault, FaultKind, Micros, Span},
    time::Time,
    workload::Recorder,
};
use tokio::{runtime::Runtime, sync::RwLock};

use self::disk::SmallDisk;
use crate::{live::Live, servers::Servers};

/// The things that a fault needs besides the store.
pub(crate) struct Scene<'s> {
    pub(crate) servers: &'s mut dyn Servers,
    pub(crate) rng: Rng,
    pub(crate) time: &'s Live,
    pub(crate) recorder: &'s Recorder,
    pub(crate) runtime: &'s Runtime,
    /// Held for writing while changes may be lost: the checker does not know which accounts there
    /// are.
    pub(crate) accounts: Arc<RwLock<()>>,
    pub(crate) grace: Duration,
    /// Whether all of the run is of seconds, and stalls too.
    pub(crate) is_short: bool,
}

impl Scene<'_> {
    pub(crate) fn now(&self) -> Micros {
        self.time.now()
    }

    /// Waits for a time in this range, in seconds.
    pub(crate) fn wait(&mut self, seconds: Range<f64>) {
        let length = seconds.start + self.rng.f64() * (seconds.end - seconds.start);
        thread::sleep(Duration::from_secs_f64(length));
    }

    /// Waits for longer than the grace: so that requests are answered after it, or so that they are
    /// not. Returns the time that has passed.
    pub(crate) fn wait_out_the_grace(&mut self) -> Span {
        let from = self.now();
        let grace = self.grace.as_secs_f64();
        let deadline = Duration::from_secs(DEADLINE).as_secs_f64();
        let is_short = self.is_short || self.rng.bool();
        self.wait(if is_short { 1.1 * grace..deadline - 0.2 } else { deadline + 0.5..8.0 });
        (from, self.now())
    }

    /// A fault that lasts until now.
    pub(crate) fn fault(
        &self,
        kind: FaultKind,
        what: &str,
        from: Micros,
        still: Option<Span>,
        lost: Option<Span>,
    ) -> Fault {
        Fault { still, lost, ..Fault::new(kind, what, (from, self.now())) }
    }
}

/// How long a server lets a step of its store take, in seconds.
pub(crate) const DEADLINE: u64 = 3;

/// Opens the store at a URL.
pub(crate) type Open = fn(String) -> Pin<Box<dyn Future<Output = BoxStore> + Send>>;

pub(crate) trait Store {
    /// Where the server with a number finds it.
    fn url(&self, server: u32) -> String;

    fn open(&self) -> Open;

    /// Bytes of its files.
    fn files(&self) -> u64;

    /// The faults that it can have.
    fn kinds(&self) -> Vec<FaultKind>;

    fn suffer(&mut self, kind: FaultKind, scene: &mut Scene<'_>) -> Fault;
}

/// Returns nothing for a store that is not known.
pub(crate) fn start(
    name: &str,
    folder: &Path,
    servers: usize,
    runtime: &Runtime,
) -> Option<Box<dyn Store>> {
    Some(match name {
        "sqlite" => Box::new(sqlite::Sqlite::new(folder)),
        "postgres" => Box::new(postgres::PostgresPair::start(runtime, servers)),
        "mysql" => Box::new(mysql::MySqlPair::start(runtime, servers)),
        "redis" => Box::new(redis::RedisPair::start(runtime, servers)),
        "sentinel" => Box::new(sentinel::Sentinel::start()),
        "cluster" => Box::new(cluster::Cluster::start()),
        _ => return None,
    })
}

/// Bytes of a file, or of all in a folder. A file that is removed meanwhile has none.
fn size(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| size(&entry.path())).sum()
}
