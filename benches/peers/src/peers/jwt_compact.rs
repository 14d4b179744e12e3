//! jwt-compact. It checks `exp` on request and leaves `iss` and `aud` to its users, so that they
//! are compared here.

use jwt_compact::{
    Algorithm, AlgorithmExt, Claims, Header, TimeOptions, Token, UntrustedToken, ValidationError,
    alg::{Hs256, Hs256Key, Hs384, Hs384Key, Hs512, Hs512Key},
};
use serde::{Deserialize, Serialize};

use crate::{
    fixture::{self, SECRET},
    rounds::Candidate,
    work::{self, Fault, Given, Operation, Peer, Refusal, check_parties},
};

pub(super) fn candidate(given: &Given, operation: Operation) -> Candidate<'_> {
    match given.tokens.algorithm {
        kippu::Algorithm::Hs256 => with(given, operation, Hs256, Hs256Key::new(SECRET)),
        kippu::Algorithm::Hs384 => with(given, operation, Hs384, Hs384Key::new(SECRET)),
        _ => with(given, operation, Hs512, Hs512Key::new(SECRET)),
    }
}

fn with<'g, K: Sync + 'g, A: Algorithm<SigningKey = K, VerifyingKey = K> + Sync + 'g>(
    given: &'g Given,
    operation: Operation,
    algorithm: A,
    key: K,
) -> Candidate<'g> {
    let expected = &given.tokens.claims;
    let fixture::Claims { iss, sub, aud, exp, iat, jti, groups } = expected.clone();
    let time =
        |seconds: u64| chrono::DateTime::from_timestamp(i64::try_from(seconds).expect("now"), 0);
    let mut claims = Claims::new(Custom { iss, sub, aud, jti, groups });
    (claims.expiration, claims.issued_at) = (time(exp), iat.and_then(time));
    let header = Header::empty().with_token_type("JWT");
    let times = TimeOptions::default();
    let peer = JwtCompact { algorithm, key, header, times, claims, expected };
    work::candidate("jwt-compact", peer, given, operation)
}

/// The claims that the crate has no fields for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Custom {
    iss: String,
    sub: String,
    aud: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<String>>,
}

struct JwtCompact<'t, A, K> {
    algorithm: A,
    key: K,
    header: Header,
    times: TimeOptions,
    claims: Claims<Custom>,
    expected: &'t fixture::Claims,
}

impl<K: Sync, A: Algorithm<SigningKey = K, VerifyingKey = K> + Sync> Peer for JwtCompact<'_, A, K> {
    type Claims = Token<Custom>;
    type Error = Fault<ValidationError>;

    fn verify(&self, token: &str) -> Result<Token<Custom>, Fault<ValidationError>> {
        let token = UntrustedToken::new(token).expect("a token");
        let verified: Token<Custom> = self.algorithm.validator(&self.key).validate(&token)?;
        let claims = verified.claims().validate_expiration(&self.times)?;
        check_parties(self.expected, &claims.custom.iss, &claims.custom.aud)?;
        Ok(verified)
    }

    fn sign(&self) -> String {
        let token = self.algorithm.token(&self.header, &self.claims, &self.key);
        token.expect("strings and numbers")
    }

    fn claims(token: Token<Custom>) -> fixture::Claims {
        let (_, Claims { expiration, issued_at, custom, .. }) = token.into_parts();
        let seconds = |time: chrono::DateTime<chrono::Utc>| time.timestamp().cast_unsigned();
        let Custom { iss, sub, aud, jti, groups } = custom;
        let exp = expiration.map(seconds).expect("it was checked");
        fixture::Claims { iss, sub, aud, exp, iat: issued_at.map(seconds), jti, groups }
    }

    fn refusal(error: &Fault<ValidationError>) -> Refusal {
        match error {
            Fault::Crate(ValidationError::InvalidSignature) => Refusal::Signature,
            Fault::Crate(ValidationError::Expired) => Refusal::Expired,
            Fault::Crate(_) => Refusal::Other,
            Fault::Claim(refusal) => *refusal,
        }
    }
}
