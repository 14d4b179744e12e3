//! The result of a run: every case with its rule; for a case that failed, also what was found and
//! what to do.

use alloc::{
    borrow::ToOwned,
    boxed::Box,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::{
    any::Any,
    fmt,
    future::{Future, poll_fn},
    panic::AssertUnwindSafe,
    task::Poll,
    time::Duration,
};
use std::panic::catch_unwind;

use super::stage::{Complaint, Stage, Verdict};
use crate::session::store::RefreshStore;

/// The result of a run of the suite. `Display` lists every case.
#[derive(Clone, Debug)]
#[must_use = "a report that is not read fails no test"]
pub struct Report {
    cases: Vec<CaseReport>,
    seed: u64,
}

/// The result of one case.
#[derive(Clone, Debug)]
pub struct CaseReport {
    name: &'static str,
    rule: &'static str,
    remedy: &'static str,
    result: CaseResult,
}

/// Whether a case passed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CaseResult {
    /// The case passed.
    Passed,
    /// The store did not do what it should have done. The text says what was found.
    Failed(String),
    /// The case does not apply. The text says why.
    NotRun(&'static str),
}

impl Report {
    /// Returns all cases, in the order in which they ran.
    pub fn cases(&self) -> &[CaseReport] {
        &self.cases
    }

    /// Returns the cases that failed.
    pub fn failures(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases.iter().filter(|case| matches!(case.result, CaseResult::Failed(_)))
    }

    /// Returns the seed of the random operations. [`Suite::seed`](super::Suite::seed) repeats them.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns whether at least one case passed and none failed.
    pub fn passed(&self) -> bool {
        let ran = self.cases.iter().any(|case| case.result == CaseResult::Passed);
        ran && self.failures().next().is_none()
    }

    /// Panics unless the run [passed](Self::passed).
    ///
    /// # Panics
    /// With the whole report, if a case failed or none ran.
    #[track_caller]
    pub fn assert_passed(&self) {
        assert!(self.passed(), "\n{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.cases {
            writeln!(f, "{case}")?;
        }
        let (count, failed) = (self.cases.len(), self.failures().count());
        write!(f, "{count} cases, {failed} failed; seed {}", self.seed)
    }
}

impl CaseReport {
    /// Returns the name, for example `rotate/reuse_revokes`. It stays the same from version to
    /// version.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the number of the rule that the case tests, from the [list](super#the-rules).
    pub fn rule(&self) -> &'static str {
        self.rule
    }

    /// Returns what a store has to do to pass the case.
    pub fn remedy(&self) -> &'static str {
        self.remedy
    }

    /// Returns the result.
    pub fn result(&self) -> &CaseResult {
        &self.result
    }
}

impl fmt::Display for CaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, rule, remedy, result } = self;
        match result {
            CaseResult::Passed => write!(f, "passed   {name} ({rule})"),
            CaseResult::NotRun(why) => write!(f, "not run  {name} ({rule}): {why}"),
            CaseResult::Failed(found) => {
                write!(f, "FAILED   {name} ({rule})\n    found: {found}\n    to do: {remedy}")
            }
        }
    }
}

/// A case: its name, its rule, and what a store has to do to pass it.
#[derive(Clone, Copy)]
pub(super) struct Case(pub(super) &'static str, pub(super) &'static str, pub(super) &'static str);

/// Runs cases, one after the other, and records the results.
pub(super) struct Book {
    report: Report,
    only: Option<String>,
    limit: Duration,
    sweeps: bool,
}

impl Book {
    pub(super) fn new(seed: u64, only: Option<String>, limit: Duration) -> Self {
        Self { report: Report { cases: Vec::new(), seed }, only, limit, sweeps: true }
    }

    pub(super) fn close(self) -> Report {
        self.report
    }

    /// Runs a case, unless the caller selected others.
    pub(super) async fn case(&mut self, case: Case, verdict: impl Future<Output = Verdict>) {
        if !self.wants(case) {
            return;
        }
        let result = match self.outcome(verdict).await {
            Ok(()) => CaseResult::Passed,
            Err(Complaint(found)) => CaseResult::Failed(found),
        };
        self.note(case, result);
    }

    /// Runs a case, like [`case`](Self::case), after removing the sessions of earlier cases: for
    /// cases that count what is purged.
    pub(super) async fn alone<S: RefreshStore>(
        &mut self,
        stage: &Stage<S>,
        case: Case,
        verdict: impl Future<Output = Verdict>,
    ) {
        if self.wants(case) {
            self.sweep(stage).await;
            self.case(case, verdict).await;
        }
    }

    /// Removes the sessions of earlier cases. If the store cannot do that, other cases report it,
    /// and no further attempt is made.
    pub(super) async fn sweep<S: RefreshStore>(&mut self, stage: &Stage<S>) {
        self.sweeps = self.sweeps && self.outcome(stage.sweep()).await.is_ok();
    }

    /// Records that a case does not apply.
    pub(super) fn not_run(&mut self, case: Case, why: &'static str) {
        if self.wants(case) {
            self.note(case, CaseResult::NotRun(why));
        }
    }

    fn wants(&self, Case(name, ..): Case) -> bool {
        self.only.as_ref().is_none_or(|only| name.starts_with(only))
    }

    fn note(&mut self, Case(name, rule, remedy): Case, result: CaseResult) {
        self.report.cases.push(CaseReport { name, rule, remedy, result });
    }

    /// Turns a panic, or a missing answer, into a complaint.
    async fn outcome(&self, verdict: impl Future<Output = Verdict>) -> Verdict {
        let mut verdict = Box::pin(verdict);
        let caught = poll_fn(|context| {
            match catch_unwind(AssertUnwindSafe(|| verdict.as_mut().poll(context))) {
                Ok(poll) => poll,
                Err(panic) => Poll::Ready(Err(Complaint(message(&*panic)))),
            }
        });
        let late = || format!("no answer within {:?}: is there a deadlock?", self.limit);
        let done = tokio::time::timeout(self.limit, caught).await;
        done.unwrap_or_else(|_| Err(Complaint(late())))
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    format!("a panic: {}", text.unwrap_or_else(|| "without a message".to_string()))
}
