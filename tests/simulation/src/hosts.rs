//! The clocks of the hosts: skewed, set back or forward, standing still.

use std::sync::Arc;

use kippu::Clock;
use parking_lot::Mutex;

use crate::{
    executor::Machine,
    log::{Micros, Stepped},
    time::Time,
};

/// The wall clock of a host. A clone is the same clock.
#[derive(Clone, Debug)]
pub struct HostClock<T = Machine> {
    time: T,
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

impl<T: Time> HostClock<T> {
    /// The clock of a host that is so many seconds ahead.
    pub fn new(time: &T, host: u32, offset: i64) -> Self {
        let clock = Self { time: time.clone(), host, state: Arc::default() };
        if offset != 0 {
            clock.set(offset);
        }
        clock
    }

    /// Sets it to so many seconds ahead of the run.
    pub fn set(&self, offset: i64) {
        let now = self.time.now();
        let mut state = self.state.lock();
        state.still_since = None;
        state.offset = offset;
        state.steps.push(Stepped { host: self.host, from: now, to: now, offset });
    }

    /// It stands still from now on.
    pub fn stop(&self) {
        let now = self.time.now();
        self.state.lock().still_since = Some(now);
    }

    /// It goes on within a second of where it stood still.
    ///
    /// A log has no word for a clock that stands still: it is between two clocks, each of which was
    /// set back by a second once a second.
    pub fn go_on(&self) {
        let now = self.time.now();
        let mut state = self.state.lock();
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
        self.state.lock().steps.clone()
    }
}

impl<T: Time> Clock for HostClock<T> {
    fn unix_millis(&self) -> i64 {
        let now = self.time.now();
        let state = self.state.lock();
        let shown = i64::try_from(state.still_since.unwrap_or(now) / 1000).unwrap_or(i64::MAX);
        let began = i64::try_from(self.time.began() / 1000).unwrap_or(i64::MAX);
        began.saturating_add(shown).saturating_add(state.offset.saturating_mul(1000))
    }
}
