//! The log of a run in, every breach of a rule out. What is in doubt may have been done or not: a breach is what neither
//! explains.

mod clock;
mod rules;
mod story;

use std::collections::BTreeMap;

use self::{rules::RULES, story::Story};
use crate::log::Log;

/// What was found, by the name of the rule.
pub type Breaches = BTreeMap<&'static str, Vec<String>>;

pub fn check(log: &Log) -> Breaches {
    let story = Story::of(log);
    let checked = RULES.iter().map(|(name, rule)| (*name, rule(&story)));
    checked.filter(|(_, found)| !found.is_empty()).collect()
}

/// What is checked, in words.
pub fn rules() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|(name, _)| *name)
}
