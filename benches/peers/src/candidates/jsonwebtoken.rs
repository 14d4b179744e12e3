//! jsonwebtoken with both of its backends.
//!
//! A process can install one provider of cryptography, once. Here that is one that hands on to the
//! backend of the candidate whose turn it is, for the price of a thread-local read.

use std::cell::Cell;

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    crypto::{CryptoProvider, KeyUtils, aws_lc, rust_crypto},
    decode, encode,
    errors::ErrorKind,
};

use super::{Operation, assert_is_token, given};
use crate::{
    fixture::{Claims, SECRET, Tokens},
    measure::Candidate,
};

thread_local! {
    static BACKEND: Cell<&'static CryptoProvider> = const { Cell::new(&rust_crypto::DEFAULT_PROVIDER) };
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| (BACKEND.get().signer_factory)(algorithm, key),
    verifier_factory: |algorithm, key| (BACKEND.get().verifier_factory)(algorithm, key),
    key_utils: KeyUtils::new_unimplemented(),
};

pub(super) fn candidates(tokens: &Tokens, operation: Operation) -> Vec<Candidate<'_>> {
    // It is installed already when this is not the first case.
    let _ = PROVIDER.install_default();
    let backends = [
        ("jsonwebtoken, rust_crypto", &rust_crypto::DEFAULT_PROVIDER),
        ("jsonwebtoken, aws_lc_rs", &aws_lc::DEFAULT_PROVIDER),
    ];
    backends.map(|(name, backend)| candidate(name, backend, tokens, operation)).into()
}

fn candidate<'t>(
    name: &'static str,
    backend: &'static CryptoProvider,
    tokens: &'t Tokens,
    operation: Operation,
) -> Candidate<'t> {
    BACKEND.set(backend);
    let algorithm = match tokens.algorithm {
        kippu::Algorithm::Hs256 => Algorithm::HS256,
        kippu::Algorithm::Hs384 => Algorithm::HS384,
        _ => Algorithm::HS512,
    };
    let claims = &tokens.claims;
    let candidate = if operation == Operation::Encode {
        let (header, key) = (Header::new(algorithm), EncodingKey::from_secret(SECRET));
        Candidate::new(
            name,
            move || encode(&header, claims, &key).expect("strings and numbers"),
            |token| assert_is_token(tokens, &token),
        )
    } else {
        let (token, key) = (given(tokens, operation), DecodingKey::from_secret(SECRET));
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[&claims.iss]);
        validation.set_audience(&[&claims.aud]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        Candidate::new(
            name,
            move || decode::<Claims>(token, &key, &validation),
            |result| match result {
                Ok(data) => {
                    assert!(operation != Operation::Refuse);
                    assert_eq!(data.claims, *claims);
                }
                Err(error) => {
                    assert!(operation == Operation::Refuse);
                    assert_eq!(*error.kind(), ErrorKind::InvalidSignature);
                }
            },
        )
    };
    candidate.after(move || BACKEND.set(backend))
}
