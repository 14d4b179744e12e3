//! The results, as they are printed, drawn, and written as JSON.

use serde::{Deserialize, Serialize};

use crate::{
    codec,
    machine::Machine,
    peers::{self, AGAIN, BORROWED, LIMIT, OWNED},
    rounds::{Effort, Measured, Scaling, median},
    work::{Given, Operation},
};

#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) crates: Vec<String>,
    pub(crate) cases: Vec<Case>,
    pub(crate) parts: Vec<Part>,
    pub(crate) first: Vec<First>,
    pub(crate) base64url: Vec<Codec>,
    pub(crate) threads: Vec<Threads>,
    pub(crate) allocations: Vec<Allocations>,
}

impl Report {
    pub(crate) fn case(&self, operation: Operation, algorithm: &str, bytes: usize) -> &Case {
        let mut cases = self.of(operation, algorithm);
        cases.find(|case| case.claims_bytes == bytes).expect("a case that was measured")
    }

    /// Returns the cases from the smallest claims to the largest.
    pub(crate) fn of(&self, operation: Operation, algorithm: &str) -> impl Iterator<Item = &Case> {
        self.cases
            .iter()
            .filter(move |case| case.operation == operation.name() && case.algorithm == algorithm)
    }
}

/// One operation on one token, by every candidate.
#[derive(Serialize)]
pub(crate) struct Case {
    pub(crate) operation: &'static str,
    pub(crate) algorithm: String,
    pub(crate) claims_bytes: usize,
    pub(crate) token_bytes: usize,
    /// The time of kippu divided by its time at another place in the round.
    pub(crate) noise: Option<f64>,
    pub(crate) rows: Vec<Row>,
}

#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) nanoseconds: f64,
    pub(crate) times_limit: f64,
    pub(crate) times_kippu: f64,
    /// The ratio for borrowed claims, if the operation can borrow.
    pub(crate) times_kippu_borrowed: Option<f64>,
}

impl Case {
    pub(crate) fn new(given: &Given, operation: Operation, measured: &Measured) -> Self {
        let has = |name: &str| measured.names().contains(&name);
        let row = |name| Row {
            name,
            nanoseconds: measured.nanoseconds(name),
            times_limit: measured.ratio(name, LIMIT),
            times_kippu: measured.ratio(name, OWNED),
            times_kippu_borrowed: has(BORROWED).then(|| measured.ratio(name, BORROWED)),
        };
        Self {
            operation: operation.name(),
            algorithm: given.tokens.algorithm.to_string(),
            claims_bytes: given.bytes,
            token_bytes: given.tokens.token.len(),
            noise: has(AGAIN).then(|| measured.ratio(AGAIN, OWNED)),
            rows: measured
                .names()
                .iter()
                .filter(|&&name| name != AGAIN)
                .copied()
                .map(row)
                .collect(),
        }
    }

    pub(crate) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }
}

/// One part of a call, measured separately.
#[derive(Serialize)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) nanoseconds: f64,
    pub(crate) times_limit: f64,
}

impl Part {
    pub(crate) fn of_all(given: &Given, effort: Effort) -> Vec<Self> {
        let measured = Measured::of(&peers::each_part(given), effort);
        let part = |&name: &&'static str| Self {
            name,
            nanoseconds: measured.nanoseconds(name),
            times_limit: measured.ratio(name, LIMIT),
        };
        measured.names().iter().map(part).collect()
    }
}

/// The first decode of a process.
#[derive(Serialize)]
pub(crate) struct First {
    pub(crate) name: &'static str,
    /// The median of many processes.
    pub(crate) nanoseconds: f64,
    pub(crate) fastest: f64,
}

impl First {
    pub(crate) fn new(name: &'static str, times: Vec<f64>) -> Self {
        let fastest = times.iter().copied().fold(f64::INFINITY, f64::min);
        Self { name, nanoseconds: median(times), fastest }
    }
}

/// The codec of kippu compared with the `base64` crate, in nanoseconds.
#[derive(Serialize)]
pub(crate) struct Codec {
    pub(crate) symbols: usize,
    pub(crate) decode: [f64; 2],
    pub(crate) encode: [f64; 2],
    /// The time of the other crate divided by that of kippu.
    pub(crate) ratios: [f64; 2],
}

impl Codec {
    pub(crate) fn of(symbols: usize, effort: Effort) -> Self {
        let length = kippu::base64url::decoded_len(symbols);
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
        let text = kippu::base64url::encode(&bytes);
        let [decode, encode] = [codec::decoders(&text), codec::encoders(&bytes)]
            .map(|candidates| Measured::of(&candidates, effort));
        let times = |of: &Measured| [codec::KIPPU, codec::BASE64].map(|name| of.nanoseconds(name));
        let ratio = |of: &Measured| of.ratio(codec::BASE64, codec::KIPPU);
        Self {
            symbols: text.len(),
            decode: times(&decode),
            encode: times(&encode),
            ratios: [ratio(&decode), ratio(&encode)],
        }
    }
}

/// Operations a second.
#[derive(Serialize)]
pub(crate) struct Threads {
    pub(crate) operation: &'static str,
    pub(crate) name: &'static str,
    pub(crate) one: f64,
    pub(crate) two: f64,
    pub(crate) two_over_one: f64,
}

impl Threads {
    pub(crate) fn of(given: &Given, operation: Operation, effort: Effort) -> Vec<Self> {
        let candidates = peers::all(given, operation);
        let scalings = Scaling::of(&candidates, effort);
        let all =
            candidates.iter().zip(scalings).map(|(candidate, Scaling { one, two, ratio })| {
                let (operation, name) = (operation.name(), candidate.name);
                Self { operation, name, one, two, two_over_one: ratio }
            });
        all.filter(|threads| threads.name != AGAIN).collect()
    }
}

/// Converts a number that is far below 2^32.
pub(crate) fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).expect("at most some hundred thousand"))
}

/// The allocations of one call.
#[derive(Serialize, Deserialize)]
pub(crate) struct Allocations {
    pub(crate) operation: String,
    pub(crate) name: String,
    pub(crate) count: u64,
    pub(crate) bytes: u64,
}
