//! The compared crates. Each is used as its documentation shows, with keys and options made once.
//! All check the signature, `exp`, `iss` and `aud`, and read the claims into a struct.

#[cfg(feature = "josekit")]
mod josekit;
mod jsonwebtoken;
mod jwt;
mod jwt_compact;
mod jwt_simple;
mod kippu;
mod limit;
mod parts;

pub(crate) use self::{
    kippu::{AGAIN, BORROWED, OWNED},
    limit::LIMIT,
    parts::{are_parts, each_part},
};
use crate::{
    rounds::Candidate,
    work::{Given, Operation},
};

/// Returns every crate that supports `operation`, the parts of the operation, and the limit.
pub(crate) fn all(given: &Given, operation: Operation) -> Vec<Candidate<'_>> {
    let mut all = vec![limit::candidate(&given.tokens)];
    all.extend(parts::together(given, operation));
    all.extend(kippu::candidates(given, operation));
    all.extend(jsonwebtoken::candidates(given, operation));
    all.push(jwt::candidate(given, operation));
    all.push(jwt_compact::candidate(given, operation));
    all.push(jwt_simple::candidate(given, operation));
    #[cfg(feature = "josekit")]
    all.push(josekit::candidate(given, operation));
    all
}
