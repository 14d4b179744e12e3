//! The history of a run. Tokens and sessions are numbers in it, in the order in which they were
//! first seen, so that what is random about them does not show.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use parking_lot::Mutex;

use super::Tokens;
use crate::log::{Got, Leak, Line, Log};

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
    /// The number of a token.
    pub fn number(&self, token: &str) -> u64 {
        let mut recorded = self.0.lock();
        let next = u64::try_from(recorded.tokens.len()).unwrap_or(u64::MAX);
        *recorded.tokens.entry(token.to_owned()).or_insert(next)
    }

    /// The name of a session.
    pub fn session(&self, id: &str) -> String {
        let mut recorded = self.0.lock();
        let next = u64::try_from(recorded.sessions.len()).unwrap_or(u64::MAX);
        let number = *recorded.sessions.entry(id.to_owned()).or_insert(next);
        format!("s{number:03}")
    }

    /// The tokens of an answer, as the history has them.
    pub fn got(&self, tokens: &Tokens) -> Got {
        let (key, generation) = read(&tokens.refresh).unzip();
        Got {
            token: self.number(&tokens.refresh),
            access: self.number(&tokens.access),
            session: self.session(&tokens.session),
            subject: tokens.subject.clone(),
            expires_at: tokens.expires_at,
            is_forgotten: tokens.is_forgotten,
            key,
            generation,
        }
    }

    pub fn note(&self, line: Line) {
        self.0.lock().log.add(line);
    }

    /// Searches what the servers have logged for every token that was given, and for `secrets`.
    pub fn search(&self, logged: &str, secrets: &[String]) {
        let mut recorded = self.0.lock();
        // Of a token, two parts that no other has: of its content, and of its tag.
        let of_token = |(token, number): (&String, &u64)| {
            let ends = [token.len().checked_sub(PART), token.len().checked_sub(3 * PART)];
            let parts = ends.into_iter().flatten().filter_map(|at| token.get(at..at + PART));
            parts.map(|part| (part.as_bytes().to_vec(), *number)).collect::<Vec<_>>()
        };
        let parts: HashMap<_, _> = recorded.tokens.iter().flat_map(of_token).collect();
        let shown = logged.as_bytes().windows(PART).filter_map(|window| parts.get(window));
        let shown = shown.collect::<BTreeSet<_>>().into_iter();
        let tokens = shown.map(|number| format!("token {number} is in a log"));
        let secrets = secrets.iter().filter(|secret| logged.contains(&**secret));
        let secrets = secrets.map(|_| "a key is in a log".to_owned());
        let found: Vec<_> = tokens.chain(secrets).map(|what| Leak { what }).collect();
        recorded.log.leaks.extend(found);
    }

    /// The history, and an empty one in its place.
    pub fn take(&self) -> Log {
        std::mem::take(&mut self.0.lock().log)
    }
}

/// The length of a part of a token that no other token has.
const PART: usize = 16;

/// Reads the number of the key and the generation out of a refresh token whose key has a number at
/// the end of its id.
fn read(token: &str) -> Option<(u64, usize)> {
    let body = BASE64_URL_SAFE_NO_PAD.decode(token.strip_prefix("kippu_rt_")?).ok()?;
    let (kid, rest) = body.get(2..)?.split_at_checked(usize::from(*body.get(1)?))?;
    let number = std::str::from_utf8(kid).ok()?.rsplit('-').next()?.parse().ok()?;
    // Behind the id of the session and its origin.
    let generation = u64::from_be_bytes(*rest.get(32..)?.first_chunk()?);
    Some((number, usize::try_from(generation).ok()?))
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
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
        .chain(log.samples.iter().cloned().map(Line::Sample))
        .chain(log.keys.iter().cloned().map(Line::Keys))
        .chain(log.leaks.iter().cloned().map(Line::Leak));
    all.map(|line| serde_json::to_string(&line).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_token_and_a_key_in_a_log() {
        let token = "kippu_rt_AQNyLTGvYXNpbXVsYXRlZC1zZXNzaW9uLWlkLWFuZC1hLXRhZw";
        let recorder = Recorder::default();
        recorder.number(token);
        let secrets = ["secret-key-bytes".to_owned()];
        recorder.search("a session, kippu_rt_, and its user", &secrets);
        assert!(recorder.take().leaks.is_empty());
        recorder.search(&format!("a refresh with {token}, secret-key-bytes"), &secrets);
        let leaks: Vec<_> = recorder.take().leaks.into_iter().map(|leak| leak.what).collect();
        assert_eq!(leaks, ["token 0 is in a log", "a key is in a log"]);
    }
}
