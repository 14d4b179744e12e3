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

/// The rules that are checked, in words.
pub fn rules() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|(name, _)| *name)
}
