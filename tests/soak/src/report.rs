//! The summary of a log, in lines for people.

use std::{collections::BTreeMap, fmt::Debug};

use kippu_simulation::{
    checker,
    log::{Answer, Fault, FaultKind, Log, Micros, What},
    run::faults,
};

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
    let breaches = checker::check(log);
    for (rule, found) in &breaches {
        println!("BROKEN, {} times: {rule}", found.len());
        found.iter().take(5).for_each(|one| println!("    {one}"));
    }
    let missing = missing(log);
    for missing in &missing {
        println!("MISSING: {missing}");
    }
    let sample = |size: fn(&_) -> u64| log.samples.iter().map(size).collect::<Vec<_>>();
    let is_flat = log.samples.is_empty()
        || stays_flat("memory of the servers", &sample(|sample| sample.memory), MEMORY)
            & stays_flat("files of the store", &sample(|sample| sample.files), FILES);
    let last = log.requests.iter().map(|request| request.sent).max().unwrap_or_default();
    println!(
        "SUMMARY {}, seed {}: {} s, {} requests, {} in doubt; faults: {}; clocks were set {} times; \
         {} of {} rules broken",
        log.settings.store,
        log.settings.seed,
        last / 1_000_000,
        log.requests.len(),
        log.requests.iter().filter(|request| request.is_in_doubt()).count(),
        listed(&faults(log)),
        log.stepped.len(),
        breaches.len(),
        checker::rules().count()
    );
    breaches.is_empty() && missing.is_empty() && is_flat
}

/// The answers to each kind of request, what the servers said, and how soon they got on after each
/// fault.
fn count(log: &Log) {
    let mut answers: BTreeMap<What, BTreeMap<Answer, usize>> = BTreeMap::new();
    for request in &log.requests {
        *answers.entry(request.what).or_default().entry(request.answer).or_default() += 1;
    }
    for (what, answers) in &answers {
        println!("{what:?}: {}", listed(answers));
    }
    let mut said: BTreeMap<_, usize> = BTreeMap::new();
    for one in &log.said {
        *said.entry((&*one.message, one.reason.as_deref().unwrap_or_default())).or_default() += 1;
    }
    println!("the servers said: {}", listed(&said));
    let mut named: BTreeMap<(FaultKind, &str), Vec<&Fault>> = BTreeMap::new();
    for fault in &log.faults {
        named.entry((fault.kind, &fault.what)).or_default().push(fault);
    }
    for ((kind, what), all) in &named {
        let lasted: u64 = all.iter().map(|fault| fault.span.1 - fault.span.0).sum();
        let back = all.iter().filter_map(|fault| first_write(log, fault)).max();
        println!(
            "{kind:?}, {} times: {what}; for {} ms in all, the next write after {} ms at most",
            all.len(),
            lasted / 1000,
            back.map_or("more".to_owned(), |back| (back / 1000).to_string())
        );
    }
}

fn listed<K: Debug>(counts: &BTreeMap<K, usize>) -> String {
    let counts = counts.iter().map(|(what, count)| format!("{what:?} {count}"));
    counts.collect::<Vec<_>>().join(", ")
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
    let rare = [What::LogoutAll, What::LogoutOthers, What::LogoutSession];
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
    for message in ["rotated", "replayed", "reuse detected", "revoked"] {
        if !log.said.iter().any(|said| said.message == message) {
            missing.push(format!("the server never said: {message}"));
        }
    }
    let (stall, of_store) = (FaultKind::Stall, [FaultKind::Failover, FaultKind::Replacement]);
    let is_of_store = |fault: &Fault| of_store.contains(&fault.kind);
    let has_fault = |is: &dyn Fn(&Fault) -> bool| log.faults.iter().any(is);
    let has_retired = log.keys.iter().any(|keys| !keys.retired.is_empty());
    let has_evicted = log.said.iter().any(|said| said.reason.as_deref() == Some("limit"));
    let rest = [
        (has_fault(&|fault| fault.kind == stall || is_of_store(fault)), "there was no fault"),
        (!is_long || has_fault(&is_of_store), "no other server took over, and no other file"),
        (!is_long || !log.stepped.is_empty(), "no clock was set"),
        (!is_long || has_retired, "no key was retired"),
        (!is_long || has(What::Login, Answer::NoRoom), "no login was refused for its limit"),
        (!is_long || has_evicted, "no session made room for a login"),
    ];
    let rest = rest.into_iter().filter(|(is_there, _)| !is_there);
    missing.extend(rest.map(|(_, what)| what.to_owned()));
    missing
}

/// The growth of a size that is allowed: so much for each hundred, and so many bytes more, for what
/// goes up and down.
#[derive(Clone, Copy)]
struct Bound {
    percent: u64,
    bytes: u64,
}

/// Compares the median of the last quarter of a run with that of the second.
fn stays_flat(what: &str, samples: &[u64], bound: Bound) -> bool {
    if samples.len() < SAMPLES {
        println!("{what}: {} samples are too few to judge", samples.len());
        return true;
    }
    let quarter = samples.len() / 4;
    let median = |samples: &[u64]| {
        let mut samples = samples.to_vec();
        samples.sort_unstable();
        samples[samples.len() / 2] / 1024
    };
    let second = median(&samples[quarter..2 * quarter]);
    let last = median(&samples[samples.len() - quarter..]);
    let is_flat = last <= second + second * bound.percent / 100 + bound.bytes / 1024;
    println!(
        "{}{what}: {second} KiB in the second quarter, {last} KiB in the last (medians), in {} samples",
        if is_flat { "" } else { "BROKEN: it grows too much: " },
        samples.len()
    );
    is_flat
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

    #[test]
    fn finds_what_grows() {
        const BOUND: Bound = Bound { percent: 10, bytes: 5 << 10 };
        let is_flat = |sizes: &[u64]| {
            let samples: Vec<_> = sizes.iter().flat_map(|size| [size << 10; 50]).collect();
            stays_flat("a test", &samples, BOUND)
        };
        assert!(!is_flat(&[100, 200, 300, 400]));
        // The beginning is not growth, and neither is a peak.
        assert!(is_flat(&[0, 100, 5000, 115]) && !is_flat(&[0, 100, 0, 116]));
        assert!(stays_flat("a test", &[1, 2, 3], BOUND));
    }
}
