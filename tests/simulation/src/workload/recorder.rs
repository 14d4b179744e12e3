//! The history of a run. Tokens and sessions are numbers in it, in the order in which they were
//! first seen, so that what is random about them does not show.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Tokens;
use crate::log::{Fault, Got, Line, Log, Request, Said, Sample, Stepped};

/// Where the history is written. A clone writes the same one.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Recorded>>);

#[derive(Default)]
struct Recorded {
    log: Log,
    tokens: BTreeMap<String, u64>,
    sessions: BTreeMap<String, u64>,
}

impl Recorder {
    fn recorded(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a token.
    pub fn number(&self, token: &str) -> u64 {
        let mut recorded = self.recorded();
        let next = u64::try_from(recorded.tokens.len()).unwrap_or(u64::MAX);
        *recorded.tokens.entry(token.to_owned()).or_insert(next)
    }

    /// The name of a session.
    pub fn session(&self, id: &str) -> String {
        let mut recorded = self.recorded();
        let next = u64::try_from(recorded.sessions.len()).unwrap_or(u64::MAX);
        let number = *recorded.sessions.entry(id.to_owned()).or_insert(next);
        format!("s{number:03}")
    }

    /// The tokens of an answer, as the history has them.
    pub fn got(&self, tokens: &Tokens) -> Got {
        Got {
            token: self.number(&tokens.refresh),
            access: self.number(&tokens.access),
            session: self.session(&tokens.session),
            subject: tokens.subject.clone(),
            expires_at: tokens.expires_at,
        }
    }

    pub fn request(&self, request: Request) {
        self.recorded().log.requests.push(request);
    }

    pub fn said(&self, said: Said) {
        self.recorded().log.said.push(said);
    }

    pub fn stepped(&self, step: Stepped) {
        self.recorded().log.stepped.push(step);
    }

    pub fn sample(&self, sample: Sample) {
        self.recorded().log.samples.push(sample);
    }

    pub fn fault(&self, fault: Fault) {
        self.recorded().log.faults.push(fault);
    }

    /// How many requests were answered.
    pub fn requests(&self) -> usize {
        self.recorded().log.requests.len()
    }

    /// The history, and an empty one in its place.
    pub fn take(&self) -> Log {
        std::mem::take(&mut self.recorded().log)
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("requests", &self.requests()).finish_non_exhaustive()
    }
}

/// The lines of a history.
pub fn lines(log: &Log) -> Vec<String> {
    let settings = [Line::Settings(log.settings.clone())].into_iter();
    let all = settings
        .chain(log.requests.iter().cloned().map(Line::Request))
        .chain(log.said.iter().cloned().map(Line::Said))
        .chain(log.faults.iter().cloned().map(Line::Fault))
        .chain(log.stepped.iter().copied().map(Line::Stepped))
        .chain(log.samples.iter().cloned().map(Line::Sample));
    all.map(|line| serde_json::to_string(&line).unwrap_or_default()).collect()
}
