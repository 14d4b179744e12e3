//! The clocks of the hosts: skewed, set back or forward, standing still.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kippu::Clock;

use crate::{
    executor::Machine,
    log::{Micros, Stepped},
};

/// The Unix time at which a run begins, in seconds.
pub const BEGAN: u64 = 1_700_000_000;

/// The wall clock of a host. A clone is the same clock.
#[derive(Clone, Debug)]
pub struct HostClock {
    machine: Machine,
    host: u32,
    state: Arc<Mutex<Set>>,
}

#[derive(Debug, Default)]
struct Set {
    /// Seconds ahead of the run.
    offset: i64,
    /// From when on it stands still.
    still_since: Option<Micros>,
    steps: Vec<Stepped>,
}

impl HostClock {
    /// The clock of a host that is so many seconds ahead.
    pub fn new(machine: &Machine, host: u32, offset: i64) -> Self {
        let clock = Self { machine: machine.clone(), host, state: Arc::default() };
        if offset != 0 {
            clock.set(offset);
        }
        clock
    }

    fn state(&self) -> MutexGuard<'_, Set> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets it to so many seconds ahead of the run.
    pub fn set(&self, offset: i64) {
        let now = self.machine.now();
        let mut state = self.state();
        state.still_since = None;
        state.offset = offset;
        state.steps.push(Stepped { host: self.host, from: now, to: now, offset });
    }

    /// It stands still from now on.
    pub fn stop(&self) {
        let now = self.machine.now();
        self.state().still_since = Some(now);
    }

    /// It goes on within a second of where it stood still.
    ///
    /// A log has no word for a clock that stands still: it is between two clocks, each of which was
    /// set back by a second once a second.
    pub fn go_on(&self) {
        let now = self.machine.now();
        let mut state = self.state();
        let Some(since) = state.still_since.take() else { return };
        let mut from = since;
        while from < now {
            let to = from.saturating_add(1_000_000).min(now);
            state.offset -= 1;
            let step = Stepped { host: self.host, from, to, offset: state.offset };
            state.steps.push(step);
            from = to;
        }
    }

    /// How often it was set, and to what.
    pub fn steps(&self) -> Vec<Stepped> {
        self.go_on();
        self.state().steps.clone()
    }
}

impl Clock for HostClock {
    fn unix_millis(&self) -> i64 {
        let now = self.machine.now();
        let state = self.state();
        let shown = i64::try_from(state.still_since.unwrap_or(now) / 1000).unwrap_or(i64::MAX);
        let began = i64::try_from(BEGAN * 1000).unwrap_or(i64::MAX);
        began.saturating_add(shown).saturating_add(state.offset.saturating_mul(1000))
    }
}
