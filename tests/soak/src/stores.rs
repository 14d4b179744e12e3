//! The stores, and what is done to them: each fault returns the line of the log that the checker
//! needs. Servers run on free loopback ports and in temporary folders.

mod mysql;
mod postgres;
mod redis;
mod sqlite;

use std::{fs, ops::Range, path::Path, sync::Arc, thread, time::Duration};

use fastrand::Rng;
use kippu_simulation::log::{Fault, FaultKind, Micros};
use tokio::{runtime::Runtime, sync::RwLock};

use crate::{auth_server::AuthServer, client::Recorder, users::Pace};

/// The things that a fault needs besides the store.
pub(crate) struct Scene<'s> {
    pub(crate) server: &'s mut AuthServer,
    pub(crate) rng: &'s mut Rng,
    pub(crate) recorder: &'s Recorder,
    pub(crate) runtime: &'s Runtime,
    /// Held for writing while changes may be lost: the checker does not know which accounts there
    /// are.
    pub(crate) accounts: Arc<RwLock<()>>,
    pub(crate) pace: Pace,
}

impl Scene<'_> {
    fn now(&self) -> Micros {
        self.recorder.now()
    }

    /// Waits for a time in this range, in seconds.
    fn wait(&mut self, seconds: Range<f64>) {
        let length = seconds.start + self.rng.f64() * (seconds.end - seconds.start);
        thread::sleep(Duration::from_secs_f64(length));
    }

    /// Waits for longer than the grace: so that requests are answered after it, or so that they are
    /// not.
    fn wait_out_the_grace(&mut self) {
        let grace = Duration::from_secs(self.pace.grace).as_secs_f64();
        let deadline = Duration::from_secs(DEADLINE).as_secs_f64();
        let is_short = self.pace.is_short || self.rng.bool();
        self.wait(if is_short { 1.1 * grace..deadline - 0.2 } else { deadline + 0.5..8.0 });
    }
}

/// How long the server lets a step of its store take, in seconds.
pub(crate) const DEADLINE: u64 = 3;

pub(crate) trait Store {
    /// Where the auth server finds it.
    fn url(&self) -> String;

    /// Bytes of its files.
    fn files(&self) -> u64;

    /// The faults that it can have.
    fn kinds(&self) -> [FaultKind; 3];

    fn suffer(&mut self, kind: FaultKind, scene: &mut Scene<'_>) -> Fault;
}

/// Returns nothing for a store that is not known.
pub(crate) fn start(name: &str, server: &AuthServer, runtime: &Runtime) -> Option<Box<dyn Store>> {
    Some(match name {
        "sqlite" => Box::new(sqlite::Sqlite::new(server.folder())),
        "postgres" => Box::new(postgres::PostgresPair::start(runtime)),
        "mysql" => Box::new(mysql::MySqlPair::start(runtime)),
        "redis" => Box::new(redis::RedisPair::start(runtime)),
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
