//! kippu, with owned claims and with borrowed claims.

use kippu::{ClaimError, DecodeError, Key, Validation, decode, decode_borrowed, encode};

use crate::{
    fixture::{BorrowedClaims, Claims, SECRET, Tokens},
    rounds::Candidate,
    work::{self, Given, Operation, Peer, Refusal, Turns},
};

pub(crate) const OWNED: &str = "kippu";
pub(crate) const BORROWED: &str = "kippu, borrowed";
/// The same as [`OWNED`], at another place in the round: the ratio of the two shows the noise.
pub(crate) const AGAIN: &str = "kippu, again";

pub(super) fn candidates(given: &Given, operation: Operation) -> Vec<Candidate<'_>> {
    let owning = |name| work::candidate(name, Kippu::new(&given.tokens), given, operation);
    match operation {
        Operation::Encode => vec![owning(OWNED)],
        Operation::Decode | Operation::DecodeVaried => {
            vec![borrowing(given, operation), owning(OWNED), owning(AGAIN)]
        }
        _ => vec![borrowing(given, operation), owning(OWNED)],
    }
}

struct Kippu<'t> {
    key: Key,
    validation: Validation,
    claims: &'t Claims,
}

impl<'t> Kippu<'t> {
    fn new(Tokens { algorithm, claims, .. }: &'t Tokens) -> Self {
        let key = Key::new(*algorithm, SECRET).expect("long enough");
        let validation = Validation::new().issuer(claims.iss.clone()).audience(claims.aud.clone());
        Self { key, validation, claims }
    }
}

impl Peer for Kippu<'_> {
    type Claims = Claims;
    type Error = DecodeError;

    fn verify(&self, token: &str) -> Result<Claims, DecodeError> {
        decode(token, &self.key, &self.validation)
    }

    fn sign(&self) -> String {
        encode(self.claims, &self.key).expect("strings and numbers")
    }

    fn claims(claims: Claims) -> Claims {
        claims
    }

    fn refusal(error: &DecodeError) -> Refusal {
        match error {
            DecodeError::Signature => Refusal::Signature,
            DecodeError::Claim(ClaimError::Expired { .. }) => Refusal::Expired,
            DecodeError::Claim(ClaimError::Audience { .. }) => Refusal::Audience,
            _ => Refusal::Other,
        }
    }
}

fn borrowing(given: &Given, operation: Operation) -> Candidate<'_> {
    let Kippu { key, validation, claims } = Kippu::new(&given.tokens);
    let mut buffer = vec![0; given.tokens.token.len()];
    let accepted = decode_borrowed(&given.tokens.token, &key, &validation, &mut buffer);
    assert_eq!(accepted, Ok(claims.borrowed()));
    let tokens = Turns::of(given.tokens(operation));
    let bytes = given.tokens(operation).iter().map(String::len).max().unwrap_or_default();
    let is_good = !matches!(operation, Operation::Forged | Operation::Expired);
    Candidate::with_buffer(BORROWED, bytes, move |buffer| {
        // Read here, because it cannot outlive the buffer.
        let token = tokens.next();
        let result = decode_borrowed::<BorrowedClaims<'_>>(token, &key, &validation, buffer);
        assert_eq!(std::hint::black_box(&result).is_ok(), is_good);
    })
}
