//! The servers of a run: in this process, over a store that each opens, or auth servers, each a
//! process.

mod auth_server;
mod direct;

use fastrand::Rng;
use kippu_simulation::workload::Recorder;

pub(crate) use self::{auth_server::AuthServers, direct::Direct};
use crate::live::Live;

/// The servers, as faults see them.
pub(crate) trait Servers {
    /// Ends all of them: as `kill -9` does, or in order. Afterwards they change nothing.
    fn end(&mut self, is_kill: bool);

    fn start(&mut self);

    /// Sets a clock, or stops a server for a moment. Servers of this process have tasks for that.
    fn suffer(&mut self, _rng: &mut Rng, _time: &Live, _recorder: &Recorder) {}

    fn are_running(&mut self) -> bool {
        true
    }

    /// Bytes of memory that they have, where they are not in this process.
    fn memory(&self) -> Option<u64> {
        None
    }
}
