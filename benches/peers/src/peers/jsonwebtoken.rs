//! jsonwebtoken with both of its backends.
//!
//! A process can install one cryptography provider, once. Here it is one that forwards to the
//! backend of the current candidate, at the cost of a thread-local read.

use std::cell::Cell;

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    crypto::{CryptoProvider, KeyUtils, aws_lc, rust_crypto},
    decode, encode,
    errors::{Error, ErrorKind},
};

use crate::{
    fixture::{Claims, SECRET, Tokens},
    rounds::Candidate,
    work::{self, Given, Operation, Peer, Refusal},
};

thread_local! {
    static BACKEND: Cell<&'static CryptoProvider> = const { Cell::new(&rust_crypto::DEFAULT_PROVIDER) };
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| (BACKEND.get().signer_factory)(algorithm, key),
    verifier_factory: |algorithm, key| (BACKEND.get().verifier_factory)(algorithm, key),
    key_utils: KeyUtils::new_unimplemented(),
};

pub(super) fn candidates(given: &Given, operation: Operation) -> Vec<Candidate<'_>> {
    // It is already installed if this is not the first case.
    let _ = PROVIDER.install_default();
    let backends: [(_, &'static CryptoProvider); 2] = [
        ("jsonwebtoken, rust_crypto", &rust_crypto::DEFAULT_PROVIDER),
        ("jsonwebtoken, aws_lc_rs", &aws_lc::DEFAULT_PROVIDER),
    ];
    let candidate = |(name, backend): (_, &'static CryptoProvider)| {
        BACKEND.set(backend);
        let peer = JsonWebToken::new(&given.tokens);
        work::candidate(name, peer, given, operation).after(move || BACKEND.set(backend))
    };
    backends.map(candidate).into()
}

struct JsonWebToken<'t> {
    header: Header,
    encoding_key: EncodingKey,
    decoding_key: DecodingKey,
    validation: Validation,
    claims: &'t Claims,
}

impl<'t> JsonWebToken<'t> {
    fn new(Tokens { algorithm, claims, .. }: &'t Tokens) -> Self {
        let algorithm = match algorithm {
            kippu::Algorithm::Hs256 => Algorithm::HS256,
            kippu::Algorithm::Hs384 => Algorithm::HS384,
            _ => Algorithm::HS512,
        };
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[&claims.iss]);
        validation.set_audience(&[&claims.aud]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        Self {
            header: Header::new(algorithm),
            encoding_key: EncodingKey::from_secret(SECRET).expect("a secret"),
            decoding_key: DecodingKey::from_secret(SECRET).expect("a secret"),
            validation,
            claims,
        }
    }
}

impl Peer for JsonWebToken<'_> {
    type Claims = Claims;
    type Error = Error;

    fn verify(&self, token: &str) -> Result<Claims, Error> {
        decode(token, &self.decoding_key, &self.validation).map(|data| data.claims)
    }

    fn sign(&self) -> String {
        encode(&self.header, self.claims, &self.encoding_key).expect("strings and numbers")
    }

    fn claims(claims: Claims) -> Claims {
        claims
    }

    fn refusal(error: &Error) -> Refusal {
        match error.kind() {
            ErrorKind::InvalidSignature => Refusal::Signature,
            ErrorKind::ExpiredSignature => Refusal::Expired,
            ErrorKind::InvalidAudience => Refusal::Audience,
            _ => Refusal::Other,
        }
    }
}
