//! Time, randomness and tasks, as each world has them. Code that is written over them runs
//! on virtual time, where a seed decides everything, and on the clock of the machine, over real
//! stores.

use std::future::Future;

use crate::log::Micros;

/// Tasks that end together: those of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(pub u64);

/// A clone is another handle.
pub trait Time: Clone + Send + Sync + 'static {
    /// The scope of what is never ended.
    const FOREVER: Scope = Scope(0);

    /// Microseconds since the run began, by a clock that never steps.
    fn now(&self) -> Micros;

    /// The Unix time at which the run began, in microseconds.
    fn began(&self) -> Micros;

    fn sleep(&self, micros: Micros) -> impl Future<Output = ()> + Send;

    /// A number below `end`; 0 where nothing is left to chance.
    fn random(&self, end: u64) -> u64;

    /// A scope that nothing else has.
    fn scope(&self) -> Scope;

    /// Spawns a task with a label, by which states are compared.
    fn spawn_as(&self, label: u32, scope: Scope, task: impl Future<Output = ()> + Send + 'static);

    /// Ends the tasks of a scope where they are.
    fn end(&self, scope: Scope);

    /// Whether only the order of tasks is chosen, and nothing takes time.
    fn is_scripted(&self) -> bool {
        false
    }

    /// Adds a mark to a label, where states are compared.
    fn mark(&self, _label: u32, _what: impl FnOnce() -> String) {}

    fn spawn(&self, scope: Scope, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_as(u32::MAX, scope, task);
    }

    /// Lets time pass, or other tasks, where nothing takes time.
    fn pass(&self, micros: Micros) -> impl Future<Output = ()> + Send {
        self.sleep(micros)
    }

    /// Whether something happens that does so `percent` times in a hundred.
    fn happens(&self, percent: u64) -> bool {
        !self.is_scripted() && self.random(100) < percent
    }

    /// Microseconds between two bounds. Small ones are more likely, as in a network.
    fn between(&self, least: Micros, most: Micros) -> Micros {
        let span = most.saturating_sub(least);
        let part = self.random(1 << 10) * self.random(1 << 10);
        least + span * part / (1 << 20)
    }

    /// One of these at random.
    fn any<'a, T>(&self, all: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(all.len()).unwrap_or(1);
        all.get(usize::try_from(self.random(count)).unwrap_or(0))
    }
}
