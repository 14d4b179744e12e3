use kippu::{DecodeError, Key, Validation, decode, decode_borrowed, encode};

use super::{Operation, assert_is_token, given};
use crate::{
    fixture::{BorrowedClaims, Claims, SECRET, Tokens},
    measure::Candidate,
};

pub(crate) const OWNED: &str = "kippu";
pub(crate) const BORROWED: &str = "kippu, borrowed";
/// The same as [`OWNED`], at another place in the round: its ratio shows the noise.
pub(crate) const AGAIN: &str = "kippu, again";

pub(super) fn validation(tokens: &Tokens) -> Validation {
    Validation::new().issuer(tokens.claims.iss.clone()).audience(tokens.claims.aud.clone())
}

pub(super) fn candidates(tokens: &Tokens, operation: Operation) -> Vec<Candidate<'_>> {
    match operation {
        Operation::Encode => vec![encoder(tokens)],
        Operation::Decode => vec![
            borrowing(tokens, operation),
            owning(OWNED, tokens, operation),
            owning(AGAIN, tokens, operation),
        ],
        Operation::DecodeForeign | Operation::Refuse => {
            vec![borrowing(tokens, operation), owning(OWNED, tokens, operation)]
        }
    }
}

fn key(tokens: &Tokens) -> Key {
    Key::new(tokens.algorithm, SECRET).expect("long enough")
}

fn owning<'t>(name: &'static str, tokens: &'t Tokens, operation: Operation) -> Candidate<'t> {
    let (token, key, validation) = (given(tokens, operation), key(tokens), validation(tokens));
    Candidate::new(
        name,
        move || decode::<Claims>(token, &key, &validation),
        |result| {
            if operation == Operation::Refuse {
                assert_eq!(result, Err(DecodeError::Signature));
            } else {
                assert_eq!(result.as_ref(), Ok(&tokens.claims));
            }
        },
    )
}

fn borrowing(tokens: &Tokens, operation: Operation) -> Candidate<'_> {
    let (token, key, validation) = (given(tokens, operation), key(tokens), validation(tokens));
    let verify = move |buffer: &mut [u8]| {
        // `map` would let the claims outlive the buffer.
        match decode_borrowed::<BorrowedClaims<'_>>(token, &key, &validation, buffer) {
            Ok(claims) => {
                std::hint::black_box(&claims);
                assert!(operation != Operation::Refuse);
            }
            Err(error) => {
                assert!(operation == Operation::Refuse && error == DecodeError::Signature);
            }
        }
    };
    let mut buffer = vec![0; token.len()];
    if operation != Operation::Refuse {
        let (key, validation) = (self::key(tokens), self::validation(tokens));
        let claims = decode_borrowed(token, &key, &validation, &mut buffer);
        assert_eq!(claims, Ok(tokens.claims.borrowed()));
    }
    Candidate::with_buffer(BORROWED, token.len(), verify)
}

fn encoder(tokens: &Tokens) -> Candidate<'_> {
    let (claims, key) = (&tokens.claims, key(tokens));
    Candidate::new(
        OWNED,
        move || encode(claims, &key).expect("strings and numbers"),
        |token| assert_is_token(tokens, &token),
    )
}
