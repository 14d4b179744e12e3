//! The crate `jwt`. It checks the signature and no claim, so that its user compares them.

use std::time::{SystemTime, UNIX_EPOCH};

use jwt::{
    AlgorithmType, Error, Header, SignWithKey, SigningAlgorithm, Token, VerifyWithKey,
    VerifyingAlgorithm, header::HeaderType,
};
use old_hmac::{Hmac, Mac};
use old_sha2::{Sha256, Sha384, Sha512};

use crate::{
    fixture::{Claims, SECRET},
    rounds::Candidate,
    work::{self, Fault, Given, Operation, Peer, Refusal, check_parties},
};

pub(super) fn candidate(given: &Given, operation: Operation) -> Candidate<'_> {
    match given.tokens.algorithm {
        kippu::Algorithm::Hs256 => {
            with(given, operation, AlgorithmType::Hs256, Hmac::<Sha256>::new_from_slice(SECRET))
        }
        kippu::Algorithm::Hs384 => {
            with(given, operation, AlgorithmType::Hs384, Hmac::<Sha384>::new_from_slice(SECRET))
        }
        _ => with(given, operation, AlgorithmType::Hs512, Hmac::<Sha512>::new_from_slice(SECRET)),
    }
}

fn with<'g, K: SigningAlgorithm + VerifyingAlgorithm + Sync + 'g, E: std::fmt::Debug>(
    given: &'g Given,
    operation: Operation,
    algorithm: AlgorithmType,
    key: Result<K, E>,
) -> Candidate<'g> {
    let key = key.expect("of any length");
    let peer = Jwt { algorithm, key, claims: &given.tokens.claims };
    work::candidate("jwt", peer, given, operation)
}

struct Jwt<'t, K> {
    algorithm: AlgorithmType,
    key: K,
    claims: &'t Claims,
}

impl<K: SigningAlgorithm + VerifyingAlgorithm + Sync> Peer for Jwt<'_, K> {
    type Claims = Claims;
    type Error = Fault<Error>;

    fn verify(&self, token: &str) -> Result<Claims, Fault<Error>> {
        let claims: Claims = token.verify_with_key(&self.key)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        if now >= claims.exp + 60 {
            return Err(Fault::Claim(Refusal::Expired));
        }
        check_parties(self.claims, &claims.iss, &claims.aud)?;
        Ok(claims)
    }

    fn sign(&self) -> String {
        let header = Header {
            algorithm: self.algorithm,
            type_: Some(HeaderType::JsonWebToken),
            ..Header::default()
        };
        let token = Token::new(header, self.claims).sign_with_key(&self.key);
        token.expect("strings and numbers").into()
    }

    fn claims(claims: Claims) -> Claims {
        claims
    }

    fn refusal(error: &Fault<Error>) -> Refusal {
        match error {
            Fault::Crate(Error::InvalidSignature | Error::RustCryptoMac(_)) => Refusal::Signature,
            Fault::Crate(_) => Refusal::Other,
            Fault::Claim(refusal) => *refusal,
        }
    }
}
