//! The operations of a crate on the same tokens. Each result is asserted before it is timed.

use std::{
    fmt::Debug,
    slice,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::{
    fixture::{Claims, SECRET, Tokens},
    rounds::Candidate,
};

/// The compared operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Decodes a valid token to its claims.
    Decode,
    /// Decodes valid tokens, each with other claims than the one before, so that the processor
    /// cannot predict branches from the last time.
    DecodeVaried,
    /// Decodes a valid token whose header another crate has written: `typ` before `alg`.
    DecodeForeign,
    /// Rejects a token with a wrong MAC.
    Forged,
    /// Rejects an expired token.
    Expired,
    /// Encodes claims to a token.
    Encode,
}

impl Operation {
    /// Returns the name in JSON, and in tables with little room.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::DecodeVaried => "decode varied",
            Self::DecodeForeign => "decode foreign",
            Self::Forged => "forged",
            Self::Expired => "expired",
            Self::Encode => "encode",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Decode => "Decode",
            Self::DecodeVaried => "Decode 512 varied tokens",
            Self::DecodeForeign => "Decode, header of another crate",
            Self::Forged => "Refuse a forged token",
            Self::Expired => "Refuse an expired token",
            Self::Encode => "Encode",
        }
    }
}

/// Why a token is rejected, whatever the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Signature,
    Expired,
    Issuer,
    Audience,
    /// A reason that no token here should cause.
    Other,
}

/// The tokens of one algorithm and one size of claims, which all crates get.
pub(crate) struct Given {
    pub(crate) tokens: Tokens,
    /// The number of bytes of the claims.
    pub(crate) bytes: usize,
    /// Varied tokens, signed with the key.
    pub(crate) varied: Vec<String>,
    /// A token of yesterday, signed with the key.
    pub(crate) expired: String,
    /// A token for another audience, signed with the key.
    pub(crate) elsewhere: String,
}

impl Given {
    pub(crate) fn new(algorithm: kippu::Algorithm, bytes: usize) -> Self {
        let tokens = Tokens::new(algorithm, bytes);
        let key = kippu::Key::new(algorithm, SECRET).expect("long enough");
        let with = |change: &dyn Fn(&mut Claims)| {
            let mut claims = tokens.claims.clone();
            change(&mut claims);
            kippu::encode(&claims, &key).expect("strings and numbers")
        };
        let varied = (0..512).map(|number| with(&|claims| vary(claims, number))).collect();
        let expired = with(&|claims| claims.exp -= 2 * 86_400);
        let elsewhere = with(&|claims| claims.aud = claims.aud.replace("api", "app"));
        Self { tokens, bytes, varied, expired, elsewhere }
    }

    /// Returns the tokens that an operation reads.
    pub(crate) fn tokens(&self, operation: Operation) -> &[String] {
        slice::from_ref(match operation {
            Operation::Decode | Operation::Encode => &self.tokens.token,
            Operation::DecodeVaried => return &self.varied,
            Operation::DecodeForeign => &self.tokens.foreign,
            Operation::Forged => &self.tokens.forged,
            Operation::Expired => &self.expired,
        })
    }
}

/// Changes the subject and the token's id to another text and length, up to 23 bytes longer, and
/// the times to another second.
fn vary(claims: &mut Claims, number: u64) {
    // An odd factor, so that 512 numbers give 512 texts.
    let digits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let length = usize::try_from(digits >> 32).expect("64 bits") % 24;
    claims.sub = format!("user-{digits:020}{:.length$}", "abcdefghijklmnopqrstuvwxyz");
    claims.jti = claims.jti.take().map(|jti| format!("{digits:x}-{jti:.length$}"));
    claims.exp += number;
}

/// Values that are used in turn, repeatedly.
pub(crate) struct Turns<T> {
    all: Vec<T>,
    next: AtomicUsize,
}

impl<T> Turns<T> {
    pub(crate) fn of(all: impl IntoIterator<Item = T>) -> Self {
        Self { all: all.into_iter().collect(), next: AtomicUsize::new(0) }
    }

    /// Returns the next value. Threads may get the same one, which costs less than waiting for each
    /// other.
    pub(crate) fn next(&self) -> &T {
        let next = self.next.load(Ordering::Relaxed);
        self.next.store(if next + 1 < self.all.len() { next + 1 } else { 0 }, Ordering::Relaxed);
        &self.all[next]
    }
}

/// A crate, used as its documentation shows, with keys and options made once.
pub(crate) trait Peer: Sync {
    /// The claims that the crate returns: a struct with a field for each claim.
    type Claims;
    type Error: Debug;

    /// Checks the signature, `exp`, `iss` and `aud`.
    fn verify(&self, token: &str) -> Result<Self::Claims, Self::Error>;

    /// Returns a token of the claims that the peer was made with.
    fn sign(&self) -> String;

    /// Converts the claims to a common type, to compare them.
    fn claims(claims: Self::Claims) -> Claims;

    fn refusal(error: &Self::Error) -> Refusal;
}

/// Returns `peer` as a candidate for `operation`. First checks that it accepts the valid token, and
/// rejects the forged one, the expired one, and the one for another audience, each for that reason.
pub(crate) fn candidate<'g, P: Peer + 'g>(
    name: &'static str,
    peer: P,
    given: &'g Given,
    operation: Operation,
) -> Candidate<'g> {
    let tokens = &given.tokens;
    for good in [&tokens.token, &tokens.foreign] {
        let claims = peer.verify(good).expect("a good token");
        assert_eq!(P::claims(claims), tokens.claims, "{name}");
    }
    assert!(given.varied.iter().all(|token| peer.verify(token).is_ok()), "{name}");
    for (bad, reason) in [
        (&tokens.forged, Refusal::Signature),
        (&given.expired, Refusal::Expired),
        (&given.elsewhere, Refusal::Audience),
    ] {
        match peer.verify(bad) {
            Ok(_) => panic!("{name} accepts a token that it must reject: {reason:?}"),
            Err(error) => assert_eq!(P::refusal(&error), reason, "{name}: {error:?}"),
        }
    }
    assert_is_token(given, &peer.sign());

    if operation == Operation::Encode {
        return Candidate::new(name, move || peer.sign());
    }
    if let [token] = given.tokens(operation) {
        return Candidate::new(name, move || peer.verify(token));
    }
    let tokens = Turns::of(given.tokens(operation));
    Candidate::new(name, move || peer.verify(tokens.next()))
}

/// Checks that kippu reads the claims from `token`. The crates write different headers.
fn assert_is_token(given: &Given, token: &str) {
    let key = kippu::Key::new(given.tokens.algorithm, SECRET).expect("long enough");
    let claims = &given.tokens.claims;
    let validation =
        kippu::Validation::new().issuer(claims.iss.clone()).audience(claims.aud.clone());
    assert_eq!(kippu::decode(token, &key, &validation).as_ref(), Ok(claims));
}

/// The error of a crate, or of its user where the crate does not check a claim.
#[derive(Debug)]
pub(crate) enum Fault<E> {
    Crate(E),
    Claim(Refusal),
}

impl<E> From<E> for Fault<E> {
    fn from(error: E) -> Self {
        Self::Crate(error)
    }
}

/// Checks the issuer and the audience, for a crate that leaves that to its user.
pub(crate) fn check_parties<E>(expected: &Claims, iss: &str, aud: &str) -> Result<(), Fault<E>> {
    if iss != expected.iss {
        return Err(Fault::Claim(Refusal::Issuer));
    }
    if aud != expected.aud {
        return Err(Fault::Claim(Refusal::Audience));
    }
    Ok(())
}
