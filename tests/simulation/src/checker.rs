//! The log of a run in, every breach of a rule out. A request in doubt may have been done or not: a
//! breach is what neither explains.

mod clock;
mod keys;
mod limit;
mod outages;
mod rules;
mod server;
mod story;

use std::collections::BTreeMap;

use self::{rules::RULES, server::Server, story::Story};
use crate::log::Log;

/// The breaches, by the name of the rule.
pub type Breaches = BTreeMap<&'static str, Vec<String>>;

pub fn check(log: &Log) -> Breaches {
    let server = Server::of(log);
    let story = Story::of(log, &server);
    let checked = RULES.iter().map(|(name, rule)| (*name, rule(&story)));
    checked.filter(|(_, found)| !found.is_empty()).collect()
}

/// How many findings there would be besides, if a store could lose nothing of what it acknowledged.
pub fn lost(log: &Log) -> usize {
    let mut strict = log.clone();
    strict.faults.iter_mut().for_each(|fault| fault.lost = None);
    let count = |log: &Log| check(log).values().map(Vec::len).sum::<usize>();
    count(&strict).saturating_sub(count(log))
}

/// The rules that are checked, in words.
pub fn rules() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|(name, _)| *name)
}
