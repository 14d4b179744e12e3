//! jwt-simple, with its Rust backend. It takes ownership of claims and options, so that they are
//! cloned; its times include that.

use std::collections::HashSet;

use jwt_simple::{JWTError, prelude::*};

use crate::{
    fixture::{self, SECRET, Tokens},
    rounds::Candidate,
    work::{self, Given, Operation, Peer, Refusal},
};

pub(super) fn candidate(given: &Given, operation: Operation) -> Candidate<'_> {
    match given.tokens.algorithm {
        kippu::Algorithm::Hs256 => with(given, operation, HS256Key::from_bytes(SECRET)),
        kippu::Algorithm::Hs384 => with(given, operation, HS384Key::from_bytes(SECRET)),
        _ => with(given, operation, HS512Key::from_bytes(SECRET)),
    }
}

fn with<'g>(
    given: &'g Given,
    operation: Operation,
    key: impl MACLike + Sync + 'g,
) -> Candidate<'g> {
    work::candidate("jwt-simple", JwtSimple::new(&given.tokens, key), given, operation)
}

/// The claims that the crate has no fields for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Custom {
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<String>>,
}

struct JwtSimple<K> {
    key: K,
    options: VerificationOptions,
    claims: JWTClaims<Custom>,
}

impl<K> JwtSimple<K> {
    fn new(tokens: &Tokens, key: K) -> Self {
        let fixture::Claims { iss, sub, aud, exp, iat, jti, groups } = tokens.claims.clone();
        let options = VerificationOptions {
            allowed_issuers: Some(HashSet::from([iss.clone()])),
            allowed_audiences: Some(HashSet::from([aud.clone()])),
            time_tolerance: Some(Duration::from_secs(60)),
            ..VerificationOptions::default()
        };
        let mut claims = Claims::with_custom_claims(Custom { groups }, Duration::from_hours(1))
            .with_issuer(iss)
            .with_subject(sub)
            .with_audience(aud);
        claims.expires_at = Some(Duration::from_secs(exp));
        claims.issued_at = iat.map(Duration::from_secs);
        claims.invalid_before = None;
        claims.jwt_id = jti;
        Self { key, options, claims }
    }
}

impl<K: MACLike + Sync> Peer for JwtSimple<K> {
    type Claims = JWTClaims<Custom>;
    type Error = jwt_simple::Error;

    fn verify(&self, token: &str) -> Result<JWTClaims<Custom>, jwt_simple::Error> {
        self.key.verify_token(token, Some(self.options.clone()))
    }

    fn sign(&self) -> String {
        self.key.authenticate(self.claims.clone()).expect("strings and numbers")
    }

    fn claims(claims: JWTClaims<Custom>) -> fixture::Claims {
        let aud = match claims.audiences {
            Some(Audiences::AsString(aud)) => aud,
            other => panic!("{other:?}"),
        };
        fixture::Claims {
            iss: claims.issuer.expect("it was checked"),
            sub: claims.subject.expect("each token has one"),
            aud,
            exp: claims.expires_at.expect("it was checked").as_secs(),
            iat: claims.issued_at.map(|time| time.as_secs()),
            jti: claims.jwt_id,
            groups: claims.custom.groups,
        }
    }

    fn refusal(error: &jwt_simple::Error) -> Refusal {
        match error.downcast_ref() {
            Some(JWTError::InvalidAuthenticationTag) => Refusal::Signature,
            Some(JWTError::TokenHasExpired) => Refusal::Expired,
            Some(JWTError::RequiredAudienceMismatch) => Refusal::Audience,
            _ => Refusal::Other,
        }
    }
}
