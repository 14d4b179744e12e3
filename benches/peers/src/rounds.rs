//! Measures operations in nanoseconds and as ratios.
//!
//! The candidates of a case take turns, in short batches, for many rounds. Other load on the
//! machine affects neighbouring batches in the same way, so that the ratio of two batches of one
//! round varies less than either time. The result is the median of those ratios. The cases take
//! turns, too, so that load that lasts for seconds affects all of them.

use std::{
    hint::black_box,
    sync::{Barrier, Mutex},
    thread,
    time::{Duration, Instant},
};

/// How long to measure.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// The number of passes over all cases.
    pub(crate) passes: usize,
    /// The number of rounds in each pass.
    pub(crate) rounds: usize,
    pub(crate) batch: Duration,
    /// With threads the batches are longer, because the threads have to meet before each.
    pub(crate) thread_rounds: usize,
    pub(crate) thread_batch: Duration,
    /// The number of processes whose first decode is measured.
    pub(crate) processes: usize,
}

impl Effort {
    pub(crate) const FULL: Self = Self {
        passes: 8,
        rounds: 75,
        batch: Duration::from_micros(200),
        thread_rounds: 100,
        thread_batch: Duration::from_millis(2),
        processes: 201,
    };

    pub(crate) const QUICK: Self = Self {
        passes: 2,
        rounds: 5,
        batch: Duration::from_micros(50),
        thread_rounds: 5,
        thread_batch: Duration::from_micros(500),
        processes: 3,
    };
}

/// A crate that does the operation of a case.
pub(crate) struct Candidate<'f> {
    pub(crate) name: &'static str,
    /// Runs it a number of times.
    run: Box<dyn Fn(u32) + Sync + 'f>,
}

impl<'f> Candidate<'f> {
    /// Makes a candidate. The result of `operation` has been asserted before.
    pub(crate) fn new<T>(name: &'static str, operation: impl Fn() -> T + Sync + 'f) -> Self {
        let run = move |times| {
            for _ in 0..times {
                // Passed by reference, because moving a result is not part of the operation.
                black_box(&operation());
            }
        };
        Self { name, run: Box::new(run) }
    }

    /// Makes a candidate like [`Candidate::new`], for an operation that writes into a buffer of
    /// `bytes` bytes and asserts its own result.
    pub(crate) fn with_buffer(
        name: &'static str,
        bytes: usize,
        operation: impl Fn(&mut [u8]) + Sync + 'f,
    ) -> Self {
        let run = move |times| {
            let mut buffer = vec![0; bytes];
            for _ in 0..times {
                operation(black_box(&mut buffer));
            }
        };
        Self { name, run: Box::new(run) }
    }

    /// Returns this candidate with `setup` before each batch.
    pub(crate) fn after(self, setup: impl Fn() + Sync + 'f) -> Self {
        let Self { name, run } = self;
        let run = move |times| {
            setup();
            run(times);
        };
        Self { name, run: Box::new(run) }
    }

    pub(crate) fn run(&self, times: u32) {
        (self.run)(times);
    }

    fn time(&self, times: u32) -> Duration {
        let start = Instant::now();
        self.run(times);
        start.elapsed()
    }

    /// Returns how many operations fill a batch. Also warms up.
    fn calibrate(&self, batch: Duration) -> u32 {
        let mut times = 1_u32;
        while self.time(times) < batch {
            times = times.saturating_mul(2);
        }
        let fastest = (0..5).map(|_| self.time(times)).min().expect("five times");
        let filling = u128::from(times) * batch.as_nanos() / fastest.as_nanos().max(1);
        u32::try_from(filling).unwrap_or(u32::MAX).max(1)
    }
}

fn calibrate(candidates: &[Candidate<'_>], batch: Duration) -> Vec<u32> {
    candidates.iter().map(|one| one.calibrate(batch)).collect()
}

/// The measurements of the candidates of a case.
pub(crate) struct Measured {
    names: Vec<&'static str>,
    /// By candidate, then by round: nanoseconds for each operation.
    samples: Vec<Vec<f64>>,
}

impl Measured {
    pub(crate) fn of(candidates: &[Candidate<'_>], effort: Effort) -> Self {
        let times = calibrate(candidates, effort.batch);
        let mut measured = Self::nothing_of(candidates);
        measured.add(candidates, &times, effort.passes * effort.rounds);
        measured
    }

    /// Measures each case like [`Measured::of`]. The cases take turns, so that a machine that is
    /// slow for some seconds affects all of them.
    pub(crate) fn of_each(cases: &[Vec<Candidate<'_>>], effort: Effort) -> Vec<Self> {
        let times: Vec<_> =
            cases.iter().map(|candidates| calibrate(candidates, effort.batch)).collect();
        let mut all: Vec<_> = cases.iter().map(|candidates| Self::nothing_of(candidates)).collect();
        for _ in 0..effort.passes {
            for ((measured, candidates), times) in all.iter_mut().zip(cases).zip(&times) {
                measured.add(candidates, times, effort.rounds);
            }
        }
        all
    }

    fn nothing_of(candidates: &[Candidate<'_>]) -> Self {
        let names = candidates.iter().map(|one| one.name).collect();
        Self { names, samples: vec![vec![]; candidates.len()] }
    }

    fn add(&mut self, candidates: &[Candidate<'_>], times: &[u32], rounds: usize) {
        for round in 0..rounds {
            for turn in 0..candidates.len() {
                // The order rotates, so that no candidate always runs after the same neighbour.
                let index = (round + turn) % candidates.len();
                let elapsed = candidates[index].time(times[index]);
                self.samples[index].push(elapsed.as_secs_f64() * 1e9 / f64::from(times[index]));
            }
        }
    }

    pub(crate) fn names(&self) -> &[&'static str] {
        &self.names
    }

    fn samples(&self, name: &str) -> &[f64] {
        let index = self.names.iter().position(|known| *known == name);
        &self.samples[index.expect("a candidate of the case")]
    }

    /// Returns the median nanoseconds of an operation.
    pub(crate) fn nanoseconds(&self, name: &str) -> f64 {
        median(self.samples(name).to_vec())
    }

    /// Returns the time of `name` divided by that of `base`.
    pub(crate) fn ratio(&self, name: &str, base: &str) -> f64 {
        let pairs = self.samples(name).iter().zip(self.samples(base));
        median(pairs.map(|(one, other)| one / other).collect())
    }
}

/// The throughput of a candidate.
pub(crate) struct Scaling {
    /// Operations a second on one thread.
    pub(crate) one: f64,
    /// Operations a second on two threads together.
    pub(crate) two: f64,
    /// The second divided by the first, in the same round.
    pub(crate) ratio: f64,
}

impl Scaling {
    /// Measures one thread and two, which also take turns.
    pub(crate) fn of(candidates: &[Candidate<'_>], effort: Effort) -> Vec<Self> {
        let times = calibrate(candidates, effort.thread_batch);
        let turns = || {
            (0..effort.thread_rounds)
                .flat_map(|_| candidates.iter().zip(&times).enumerate())
                .map(|(index, (candidate, times))| (index, candidate, *times))
        };
        let barrier = Barrier::new(2);
        let per_second = |candidate: &Candidate<'_>, times| {
            f64::from(times) / candidate.time(times).as_secs_f64()
        };
        let beside = Mutex::new(vec![vec![]; candidates.len()]);
        let (mut alone, mut first) =
            (vec![vec![]; candidates.len()], vec![vec![]; candidates.len()]);
        thread::scope(|scope| {
            scope.spawn(|| {
                for (index, candidate, times) in turns() {
                    barrier.wait();
                    let rate = per_second(candidate, times);
                    beside.lock().expect("no panic under the lock")[index].push(rate);
                    barrier.wait();
                }
            });
            for (index, candidate, times) in turns() {
                alone[index].push(per_second(candidate, times));
                barrier.wait();
                first[index].push(per_second(candidate, times));
                barrier.wait();
            }
        });
        let beside = beside.into_inner().expect("no panic under the lock");
        alone
            .into_iter()
            .zip(first.iter().zip(&beside))
            .map(|(alone, (first, second))| {
                let both: Vec<f64> = first.iter().zip(second).map(|(one, two)| one + two).collect();
                let ratio = median(both.iter().zip(&alone).map(|(two, one)| two / one).collect());
                Self { one: median(alone), two: median(both), ratio }
            })
            .collect()
    }
}

pub(crate) fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
