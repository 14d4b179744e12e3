//! Tasks, timers and choices of one thread. Time is virtual: it moves when no task can go on, to
//! the next timer. Which task goes on next, and everything that is random, is a choice, and a seed
//! or a script makes all of them: the same choices, the same run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::{Future, poll_fn},
    mem,
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use fastrand::Rng;
use parking_lot::Mutex;

use crate::{
    log::Micros,
    time::{Scope, Time},
};

/// Where choices come from.
#[derive(Debug)]
pub enum Choices {
    /// A seed makes them.
    Random(Rng),
    /// These numbers choose the task that goes on; behind the last number, the first task does.
    /// Nothing else is left to chance.
    Scripted {
        script: Vec<usize>,
        /// How many there were to choose from, each time.
        taken: Vec<usize>,
    },
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The Unix time at which a run begins, in seconds.
const BEGAN: u64 = 1_700_000_000;

/// The machine that everything runs on. A clone is another handle.
#[derive(Clone)]
pub struct Machine(Arc<Shared>);

struct Shared(Mutex<State>);

struct State {
    now: Micros,
    /// The last number that a task, a timer or a scope got.
    last: u64,
    tasks: BTreeMap<u64, Entry>,
    ready: BTreeSet<u64>,
    timers: BTreeMap<(Micros, u64), Waker>,
    choices: Choices,
    steps: u64,
    /// The marks of each label.
    marks: BTreeMap<u32, String>,
}

struct Entry {
    scope: Scope,
    label: u32,
    /// How often it went on.
    steps: u64,
    /// None while it goes on.
    task: Option<Task>,
}

impl State {
    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

/// Wakes a task.
struct Bell {
    machine: Weak<Shared>,
    task: u64,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if let Some(machine) = self.machine.upgrade() {
            let mut state = machine.0.lock();
            if state.tasks.contains_key(&self.task) {
                state.ready.insert(self.task);
            }
        }
    }
}

impl Machine {
    pub fn new(choices: Choices) -> Self {
        Self(Arc::new(Shared(Mutex::new(State {
            now: 0,
            last: 0,
            tasks: BTreeMap::new(),
            ready: BTreeSet::new(),
            timers: BTreeMap::new(),
            choices,
            steps: 0,
            marks: BTreeMap::new(),
        }))))
    }

    /// How often a task went on.
    pub fn steps(&self) -> u64 {
        self.0.0.lock().steps
    }

    /// How many tasks there were to choose from, each time.
    pub fn choices(&self) -> Vec<usize> {
        match &self.0.0.lock().choices {
            Choices::Random(_) => Vec::new(),
            Choices::Scripted { taken, .. } => taken.clone(),
        }
    }

    /// How far each task is, and what was marked.
    pub fn progress(&self) -> String {
        let state = self.0.0.lock();
        let tasks = state.tasks.iter();
        let mut tasks: Vec<_> = tasks
            .map(|(number, Entry { label, steps, .. })| {
                (label, steps, state.ready.contains(number))
            })
            .collect();
        tasks.sort_unstable();
        format!("{tasks:?} {:?}", state.marks)
    }

    /// Lets other tasks go first.
    pub async fn turn(&self) {
        let mut is_back = false;
        poll_fn(|context| {
            if mem::replace(&mut is_back, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Ends all tasks: each holds a handle on the machine that holds it.
    pub fn clear(&self) {
        let ended = {
            let mut state = self.0.0.lock();
            state.ready.clear();
            mem::take(&mut state.tasks)
        };
        drop(ended);
    }

    /// Runs until nothing is left to do, or until this time. Returns whether a task or a timer is
    /// left.
    pub fn run(&self, until: Micros) -> bool {
        loop {
            if !self.step(until) {
                let state = self.0.0.lock();
                return !(state.ready.is_empty() && state.timers.is_empty());
            }
        }
    }

    /// One task goes on, or time does. Says no where nothing can.
    pub fn step(&self, until: Micros) -> bool {
        let Some((number, mut task)) = self.next() else { return self.advance(until) };
        let waker = Waker::from(Arc::new(Bell { machine: Arc::downgrade(&self.0), task: number }));
        let is_over = task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let ended = {
            let mut state = self.0.0.lock();
            match state.tasks.get_mut(&number) {
                Some(entry) if !is_over => {
                    entry.task = Some(task);
                    None
                }
                // The task is done, or has ended its own scope.
                _ => {
                    state.tasks.remove(&number);
                    state.ready.remove(&number);
                    Some(task)
                }
            }
        };
        drop(ended);
        true
    }

    /// The task that goes on.
    fn next(&self) -> Option<(u64, Task)> {
        let mut state = self.0.0.lock();
        let count = state.ready.len();
        let choice = match &mut state.choices {
            _ if count == 0 => return None,
            Choices::Random(rng) => rng.usize(..count),
            Choices::Scripted { script, taken } => {
                let choice = script.get(taken.len()).copied().unwrap_or_default();
                taken.push(count);
                choice
            }
        };
        let number = state.ready.iter().nth(choice).copied()?;
        state.ready.remove(&number);
        state.steps += 1;
        if matches!(state.choices, Choices::Scripted { .. }) {
            // So that each step has a separate time in the history.
            state.now += 1;
        }
        let entry = state.tasks.get_mut(&number)?;
        entry.steps += 1;
        Some((number, entry.task.take()?))
    }

    /// Time goes on to the next timer.
    fn advance(&self, until: Micros) -> bool {
        let mut due = Vec::new();
        {
            let mut state = self.0.0.lock();
            let Some(((at, _), _)) = state.timers.first_key_value() else { return false };
            let at = *at;
            if at > until {
                state.now = state.now.max(until);
                return false;
            }
            state.now = state.now.max(at);
            while let Some(first) = state.timers.first_entry() {
                if first.key().0 > at {
                    break;
                }
                due.push(first.remove());
            }
        }
        due.into_iter().for_each(Waker::wake);
        true
    }
}

impl Time for Machine {
    fn now(&self) -> Micros {
        self.0.0.lock().now
    }

    fn began(&self) -> Micros {
        BEGAN * 1_000_000
    }

    async fn sleep(&self, micros: Micros) {
        let until = self.now().saturating_add(micros);
        Timer { machine: self.clone(), until, number: None }.await;
    }

    fn random(&self, end: u64) -> u64 {
        match &mut self.0.0.lock().choices {
            Choices::Random(rng) => rng.u64(..end.max(1)),
            Choices::Scripted { .. } => 0,
        }
    }

    fn scope(&self) -> Scope {
        Scope(self.0.0.lock().number())
    }

    fn spawn_as(&self, label: u32, scope: Scope, task: impl Future<Output = ()> + Send + 'static) {
        let mut state = self.0.0.lock();
        let number = state.number();
        let task: Task = Box::pin(task);
        state.tasks.insert(number, Entry { scope, label, steps: 0, task: Some(task) });
        state.ready.insert(number);
    }

    fn end(&self, scope: Scope) {
        let ended: Vec<_> = {
            let mut state = self.0.0.lock();
            let of_scope = state.tasks.iter().filter(|(_, entry)| entry.scope == scope);
            let numbers: Vec<u64> = of_scope.map(|(number, _)| *number).collect();
            numbers
                .iter()
                .filter_map(|number| {
                    state.ready.remove(number);
                    state.tasks.remove(number)
                })
                .collect()
        };
        // Dropped without the lock: they may wake other tasks.
        drop(ended);
    }

    fn is_scripted(&self) -> bool {
        matches!(self.0.0.lock().choices, Choices::Scripted { .. })
    }

    fn mark(&self, label: u32, what: impl FnOnce() -> String) {
        if self.is_scripted() {
            let what = what();
            let mut state = self.0.0.lock();
            let marks = state.marks.entry(label).or_default();
            marks.push_str(&what);
            marks.push(' ');
        }
    }

    async fn pass(&self, micros: Micros) {
        if self.is_scripted() {
            self.turn().await;
        } else {
            self.sleep(micros).await;
        }
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("now", &self.now()).finish_non_exhaustive()
    }
}

/// Waits for a time.
struct Timer {
    machine: Machine,
    until: Micros,
    number: Option<u64>,
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { machine, until, number } = &mut *self;
        let mut state = machine.0.0.lock();
        if state.now >= *until {
            return Poll::Ready(());
        }
        let number = *number.get_or_insert_with(|| state.number());
        state.timers.insert((*until, number), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let removed = self.machine.0.0.lock().timers.remove(&(self.until, number));
            drop(removed);
        }
    }
}

/// Returns the output of a future, unless another future is ready before.
pub async fn unless<T>(
    future: impl Future<Output = T>,
    other: impl Future<Output = ()>,
) -> Option<T> {
    let (mut future, mut other) = (pin!(future), pin!(other));
    poll_fn(|context| {
        if let Poll::Ready(result) = future.as_mut().poll(context) {
            return Poll::Ready(Some(result));
        }
        other.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// Microseconds of a time.
pub fn micros(time: Duration) -> Micros {
    Micros::try_from(time.as_micros()).unwrap_or(Micros::MAX)
}
