//! The summary of a log, in lines for people.

use std::collections::BTreeMap;

use kippu_simulation::{
    checker,
    log::{Answer, Fault, FaultKind, Log, Micros, What, Who},
    run::faults,
};
use kippu_soak::flat::{Bound, growth};

/// A thread of a server takes 19 MiB with the first password that it hashes, and keeps them.
const MEMORY: Bound = Bound { percent: 25, bytes: 48 << 20 };
/// Redis rewrites its file when it has become twice as large, and PostgreSQL and SQLite keep what
/// they once had.
const FILES: Bound = Bound { percent: 50, bytes: 4 << 20 };
/// A run of so many microseconds has time for each kind of fault.
const LONG: Micros = 120_000_000;
/// In fewer samples, everything is still growing.
const SAMPLES: usize = 100;

/// Prints the report. Says whether nothing was broken, and nothing left out.
pub(crate) fn print(log: &Log) -> bool {
    println!("{:?}", log.settings);
    count(log);
    let mut is_well = true;
    for (rule, found) in checker::check(log) {
        is_well = false;
        println!("BROKEN, {} times: {rule}", found.len());
        for one in found.iter().take(5) {
            println!("    {one}");
        }
    }
    let acknowledged = log.requests.iter().filter(|request| {
        let (sent, ended) = request.span();
        let mut lost = log.faults.iter().filter_map(|fault| fault.lost);
        request.is_done() && lost.any(|(from, to)| sent <= to && from <= ended)
    });
    println!(
        "{} requests were answered whose changes a failover or a backup may lose; {} findings are excused by that",
        acknowledged.count(),
        checker::lost(log)
    );
    for missing in missing(log) {
        is_well = false;
        println!("MISSING: {missing}");
    }
    if !log.samples.is_empty() {
        let memory: Vec<u64> = log.samples.iter().map(|sample| sample.memory).collect();
        let files: Vec<u64> = log.samples.iter().map(|sample| sample.files).collect();
        is_well &= stays_flat("memory of the servers", &memory, MEMORY);
        is_well &= stays_flat("files of the store", &files, FILES);
    }
    if is_well {
        println!("all {} rules held", checker::rules().count());
    }
    is_well
}

fn count(log: &Log) {
    let mut counts: BTreeMap<(What, Who, Answer), usize> = BTreeMap::new();
    for request in &log.requests {
        *counts.entry((request.what, request.who, request.answer)).or_default() += 1;
    }
    for ((what, who, answer), count) in &counts {
        println!("{count:8} {what:?} by {who:?}: {answer:?}");
    }
    let mut said: BTreeMap<(&str, Option<&str>), usize> = BTreeMap::new();
    for one in &log.said {
        *said.entry((&one.message, one.reason.as_deref())).or_default() += 1;
    }
    for ((message, reason), count) in &said {
        let reason = reason.map(|reason| format!(", {reason}")).unwrap_or_default();
        println!("{count:8} the server said: {message}{reason}");
    }
    let in_doubt = log.requests.iter().filter(|request| request.is_in_doubt()).count();
    let mut named: BTreeMap<(FaultKind, &str), Vec<&Fault>> = BTreeMap::new();
    for fault in &log.faults {
        named.entry((fault.kind, &fault.what)).or_default().push(fault);
    }
    for ((kind, what), all) in &named {
        let lasted: u64 = all.iter().map(|fault| fault.span.1 - fault.span.0).sum();
        let back = all.iter().filter_map(|fault| first_write(log, fault)).max();
        println!(
            "{:8} {kind:?}: {what}; for {} ms in all, the next write after {} ms at most",
            all.len(),
            lasted / 1000,
            back.map_or("more".to_owned(), |back| (back / 1000).to_string())
        );
    }
    let kinds = faults(log).into_iter().map(|(kind, count)| format!("{kind:?} {count}"));
    println!(
        "{} requests, {in_doubt} of them in doubt; faults: {}; clocks were set {} times",
        log.requests.len(),
        kinds.collect::<Vec<_>>().join(", "),
        log.stepped.len()
    );
}

/// How long after a fault a write succeeded that had begun after it.
fn first_write(log: &Log, fault: &Fault) -> Option<Micros> {
    let end = fault.span.1;
    let writes = log.requests.iter().filter(|request| {
        request.is_done() && request.what == What::Refresh && request.sent >= end
    });
    writes.map(|request| request.ended - end).min()
}

/// The events without which a run shows nothing.
fn missing(log: &Log) -> Vec<String> {
    let mut missing = Vec::new();
    let has = |what: What, answer: Answer| {
        log.requests.iter().any(|request| request.what == what && request.answer == answer)
    };
    // A short run has no time for what is rare.
    let is_long = log.requests.iter().any(|request| request.sent > LONG);
    let usual = [What::Login, What::Refresh, What::Logout, What::Me, What::Live, What::List];
    let rare = [What::LogoutAll, What::LogoutOthers];
    for what in usual.into_iter().chain(rare.into_iter().filter(|_| is_long)) {
        if !has(what, Answer::Done) {
            missing.push(format!("no {what:?} was answered"));
        }
    }
    for what in [What::Refresh, What::Forged] {
        if !has(what, Answer::Refused) {
            missing.push(format!("no {what:?} was refused"));
        }
    }
    if is_long && !has(What::Login, Answer::NoRoom) {
        missing.push("no login was refused for its limit".to_owned());
    }
    if is_long && !log.said.iter().any(|said| said.reason.as_deref() == Some("limit")) {
        missing.push("no session made room for a login".to_owned());
    }
    for message in ["rotated", "replayed", "reuse detected", "revoked"] {
        if !log.said.iter().any(|said| said.message == message) {
            missing.push(format!("the server never said: {message}"));
        }
    }
    let (stall, of_store) = (FaultKind::Stall, [FaultKind::Failover, FaultKind::Replacement]);
    if !log.faults.iter().any(|fault| fault.kind == stall || of_store.contains(&fault.kind)) {
        missing.push("there was no fault".to_owned());
    }
    if is_long && !log.faults.iter().any(|fault| of_store.contains(&fault.kind)) {
        missing.push("no other server took over, and no other file".to_owned());
    }
    if is_long && log.stepped.is_empty() {
        missing.push("no clock was set".to_owned());
    }
    missing
}

fn stays_flat(what: &str, samples: &[u64], bound: Bound) -> bool {
    let Some(growth) = growth(samples, bound).filter(|_| samples.len() >= SAMPLES) else {
        println!("{what}: {} samples are too few to judge", samples.len());
        return true;
    };
    let kib = |bytes: u64| bytes / 1024;
    println!(
        "{what}: {} KiB in the second quarter, {} KiB in the last (medians), {} KiB at most, in {} samples",
        kib(growth.second),
        kib(growth.last),
        kib(samples.iter().copied().max().unwrap_or_default()),
        samples.len()
    );
    if !growth.is_flat {
        println!(
            "BROKEN: {what}: it grows by more than {} % and {} KiB",
            bound.percent,
            kib(bound.bytes)
        );
    }
    growth.is_flat
}

/// Returns whether a text has no token in it, of either kind. The id of a session may contain
/// `eyJ`; an access token begins with it, and has two dots.
pub(crate) fn tells_no_token(what: &str, text: &str) -> bool {
    let is_of_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_silent = !text.contains("kippu_rt_")
        && !text
            .split(|c| !is_of_token(c))
            .any(|word| word.starts_with("eyJ") && word.matches('.').count() == 2);
    if !is_silent {
        println!("BROKEN: R15 there is a token in {what}");
    }
    is_silent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_tokens_and_not_the_ids_of_sessions() {
        for text in [
            r#"{"token":"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"}"#,
            "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln\n",
            r#""kippu_rt_AAAA""#,
        ] {
            assert!(!tells_no_token("a test", text), "{text}");
        }
        assert!(tells_no_token("a test", r#"{"session":"JfBs9w27lwGbsknnEeyJg","at":1.5}"#));
        assert!(tells_no_token("a test", r#"{"session":"eyJs9w27lwGbsknnEsDBEw"}"#));
    }
}
