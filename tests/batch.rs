//! Many tokens at once: what `decode_many` answers is what `decode` does, whoever does it.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::HashSet,
    sync::{Condvar, Mutex},
    thread::{self, ThreadId},
    time::Duration,
};

use kippu::{Clock, DecodeError, Key, NumericDate, Validation, decode, decode_many, encode};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

const NOW: i64 = 1_760_000_000;

fn key() -> Key {
    Key::hs256([0x5a; 32]).unwrap()
}

fn validation() -> Validation {
    Validation::new().audience("api").at(NumericDate::from_seconds(NOW))
}

/// Good ones, and of the bad ones each third is forged, expired, for somebody else, or no token.
fn tokens(count: usize) -> Vec<String> {
    let (key, other) = (key(), Key::hs256([1; 32]).unwrap());
    let token = |index: usize| {
        let claims = json!({ "sub": index.to_string(), "aud": "api", "exp": NOW + 900 });
        match index % 12 {
            2 => encode(&claims, &other).unwrap(),
            5 => encode(&json!({ "aud": "api", "exp": NOW - 900 }), &key).unwrap(),
            8 => encode(&json!({ "aud": "app", "exp": NOW + 900 }), &key).unwrap(),
            11 => index.to_string(),
            _ => encode(&claims, &key).unwrap(),
        }
    };
    (0..count).map(token).collect()
}

#[test]
fn the_results_are_those_of_a_loop_in_its_order() {
    let (key, validation) = (key(), validation());
    let all = tokens(5000);
    for count in [0, 1, 1000, 1024, 1025, 2047, 2048, 2049, 3071, 3072, 5000] {
        let tokens = &all[..count];
        let one = |token: &String| decode::<Value>(token, &key, &validation);
        let expected: Vec<Result<Value, DecodeError>> = tokens.iter().map(one).collect();
        assert_eq!(decode_many::<Value>(tokens, &key, &validation), expected, "{count}");
        let accepted = expected.iter().filter(|result| result.is_ok()).count();
        assert_eq!(accepted, (0..count).filter(|index| index % 3 != 2).count());
    }
}

/// Tells who asked, and holds the first thread, at its first token, until another has asked too, for the `patience` it has.
struct Meeting {
    seen: Mutex<HashSet<ThreadId>>,
    another: Condvar,
    patience: Duration,
}

impl Meeting {
    fn new(patience: Duration) -> &'static Self {
        let (seen, another) = (Mutex::default(), Condvar::new());
        Box::leak(Box::new(Self { seen, another, patience }))
    }
}

impl Clock for Meeting {
    fn now(&self) -> NumericDate {
        let mut seen = self.seen.lock().unwrap();
        if seen.insert(thread::current().id()) {
            self.another.notify_all();
            let is_alone = |seen: &mut HashSet<ThreadId>| seen.len() < 2;
            drop(self.another.wait_timeout_while(seen, self.patience, is_alone).unwrap());
        }
        NumericDate::from_seconds(NOW)
    }
}

/// The threads that verify `count` tokens.
fn threads(count: usize, patience: Duration) -> HashSet<ThreadId> {
    let meeting = Meeting::new(patience);
    let validation = validation().clock(meeting);
    let token = encode(&json!({ "aud": "api", "exp": NOW + 900 }), &key()).unwrap();
    let results = decode_many::<IgnoredAny>(&vec![token; count], &key(), &validation);
    assert!(results.len() == count && results.iter().all(Result::is_ok));
    meeting.seen.lock().unwrap().clone()
}

#[test]
fn few_stay_with_the_caller() {
    let own = HashSet::from([thread::current().id()]);
    assert_eq!(threads(2047, Duration::ZERO), own);
}

#[test]
fn many_are_shared() {
    if thread::available_parallelism().is_ok_and(|processors| processors.get() > 1) {
        // Nobody waits so long for a thread that there is.
        assert!(threads(2048, Duration::from_secs(60)).len() > 1);
    }
}
