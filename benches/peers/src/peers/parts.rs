//! The work to verify a token with only the signature and `exp` checked: a lower bound for a crate
//! that consists of these parts.
//!
//! The token is split at known places, and its header is not read. serde_json reads the JSON; it
//! knows no claims and accepts duplicate names. The HMAC, over keyed states, and the codec are
//! those of kippu.

use std::{
    hint::black_box,
    str::from_utf8,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use kippu::{base64url, hmac::Hmac};
use serde::Deserialize;

use crate::{
    fixture::{BorrowedClaims, Claims, SECRET, Tokens},
    rounds::Candidate,
    work::{Given, Operation, Turns},
};

const TOGETHER: &str = "the parts of a call";
/// The same as [`TOGETHER`], into borrowed claims.
const BORROWED: &str = "the parts of a call, borrowed";

/// Returns whether the candidate is a sum of parts, and not a crate.
pub(crate) fn are_parts(name: &str) -> bool {
    [TOGETHER, BORROWED].contains(&name)
}

/// Returns the parts of an operation together, if the operation has a target.
pub(super) fn together(given: &Given, operation: Operation) -> Vec<Candidate<'_>> {
    let Given { tokens, .. } = given;
    let parts = || {
        let hmac = Arc::new(Hmac::new(tokens.algorithm, SECRET));
        Turns::of(given.tokens(operation).iter().map(|token| Parts::of(&hmac, token)))
    };
    match operation {
        Operation::Decode | Operation::DecodeVaried => {
            let (lending, owning) = (parts(), parts());
            let bytes = given.tokens(operation).iter().map(String::len).max().unwrap_or_default();
            let mut json = vec![0; bytes];
            let first = lending.next().decode::<BorrowedClaims<'_>>(&mut json, |claims| claims.exp);
            assert_eq!(first.iss, tokens.claims.iss);
            vec![
                Candidate::with_buffer(BORROWED, bytes, move |json| {
                    let parts = lending.next();
                    black_box(parts.decode::<BorrowedClaims<'_>>(json, |claims| claims.exp));
                }),
                Candidate::with_buffer(TOGETHER, bytes, move |json| {
                    black_box(owning.next().decode::<Claims>(json, |claims| claims.exp));
                }),
            ]
        }
        Operation::Forged => {
            let parts = parts();
            assert!(!parts.next().has_its_mac());
            vec![Candidate::new(TOGETHER, move || parts.next().has_its_mac())]
        }
        _ => vec![],
    }
}

/// Returns each part separately.
pub(crate) fn each_part(given: &Given) -> Vec<Candidate<'_>> {
    let Given { tokens: Tokens { token, claims, .. }, .. } = given;
    let hmac = Arc::new(Hmac::new(given.tokens.algorithm, SECRET));
    let parts = || Parts::of(&hmac, token);
    let (first, second, third) = (parts(), parts(), parts());
    let tag = first.hmac.tag(first.signed().as_bytes());
    let json = || serde_json::to_vec(claims).expect("strings and numbers");
    let (lending, owning) = (json(), json());
    vec![
        super::limit::candidate(&given.tokens),
        Candidate::new("HMAC, and a tag compared", move || {
            assert!(first.hmac.verify(first.signed().as_bytes(), tag.as_ref()));
        }),
        Candidate::with_buffer("base64url, payload decoded", token.len(), move |output| {
            assert!(base64url::decode_to_slice(second.payload(), output).is_ok());
        }),
        Candidate::with_buffer("base64url, signature decoded", token.len(), move |output| {
            assert!(base64url::decode_to_slice(third.signature(), output).is_ok());
        }),
        Candidate::new("serde_json, claims read borrowed", move || {
            assert!(black_box(read::<BorrowedClaims<'_>>(black_box(&lending))).is_ok());
        }),
        Candidate::new("serde_json, claims read owned", move || {
            assert!(black_box(read::<Claims>(black_box(&owning))).is_ok());
        }),
        Candidate::new("the clock", now),
    ]
}

struct Parts<'t> {
    hmac: Arc<Hmac>,
    token: &'t str,
    /// The start and the end of the payload.
    payload: [usize; 2],
}

impl<'t> Parts<'t> {
    fn of(hmac: &Arc<Hmac>, token: &'t str) -> Self {
        let dots = [token.find('.'), token.rfind('.')].map(|dot| dot.expect("three segments"));
        Self { hmac: Arc::clone(hmac), token, payload: [dots[0] + 1, dots[1]] }
    }

    fn signed(&self) -> &'t str {
        &self.token[..self.payload[1]]
    }

    fn payload(&self) -> &'t str {
        &self.token[self.payload[0]..self.payload[1]]
    }

    fn signature(&self) -> &'t str {
        &self.token[self.payload[1] + 1..]
    }

    fn has_its_mac(&self) -> bool {
        let mut tag = [0; 64];
        let tag = base64url::decode_to_slice(black_box(self.signature()), &mut tag);
        self.hmac.verify(black_box(self.signed()).as_bytes(), tag.expect("canonical"))
    }

    fn decode<'j, C: Deserialize<'j>>(&self, json: &'j mut [u8], exp: impl Fn(&C) -> u64) -> C {
        assert!(self.has_its_mac());
        let json = base64url::decode_to_slice(self.payload(), json).expect("canonical");
        let claims = read(json).expect("claims");
        assert!(exp(&claims) > now());
        claims
    }
}

fn read<'j, C: Deserialize<'j>>(json: &'j [u8]) -> serde_json::Result<C> {
    serde_json::from_str(from_utf8(json).expect("JSON is UTF-8"))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}
