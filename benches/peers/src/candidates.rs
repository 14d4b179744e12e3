//! The crates that are compared, each used as its documentation shows, with keys and options made
//! once. All check the signature, `exp`, `iss` and `aud`, and read the claims into a struct.

mod jsonwebtoken;
mod jwt_compact;
mod jwt_simple;
mod kippu;
mod limit;

pub(crate) use self::{
    kippu::{AGAIN, BORROWED, OWNED},
    limit::LIMIT,
};
use crate::{fixture::Tokens, measure::Candidate};

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A good token, to its claims.
    Decode,
    /// A good token whose header was written by another crate: `typ` before `alg`.
    DecodeForeign,
    /// A token with a wrong MAC, to an error.
    Refuse,
    /// Claims, to a token.
    Encode,
}

/// Everyone who can do `operation`, and the limit.
pub(crate) fn all(tokens: &Tokens, operation: Operation) -> Vec<Candidate<'_>> {
    let mut all = vec![limit::candidate(tokens)];
    all.extend(kippu::candidates(tokens, operation));
    all.extend(jsonwebtoken::candidates(tokens, operation));
    all.push(jwt_compact::candidate(tokens, operation));
    all.push(jwt_simple::candidate(tokens, operation));
    all
}

/// The token that `operation` is given.
fn given(tokens: &Tokens, operation: Operation) -> &str {
    match operation {
        Operation::DecodeForeign => &tokens.foreign,
        Operation::Refuse => &tokens.forged,
        Operation::Decode | Operation::Encode => &tokens.token,
    }
}

/// Whether `token` is one that kippu reads back as the claims. Crates write headers of their own.
fn assert_is_token(tokens: &Tokens, token: &str) {
    let key = ::kippu::Key::new(tokens.algorithm, crate::fixture::SECRET).expect("long enough");
    let validation = kippu::validation(tokens);
    assert_eq!(::kippu::decode(token, &key, &validation).as_ref(), Ok(&tokens.claims));
}
