//! jwt-compact. It checks `exp` when told to and leaves `iss` and `aud` to its users, so that they
//! are compared here.

use jwt_compact::{
    Algorithm, AlgorithmExt, Claims, Header, TimeOptions, Token, UntrustedToken, ValidationError,
    alg::{Hs256, Hs256Key, Hs384, Hs384Key, Hs512, Hs512Key},
};
use serde::{Deserialize, Serialize};

use super::{Operation, assert_is_token, given};
use crate::{
    fixture::{self, SECRET, Tokens},
    measure::Candidate,
};

const NAME: &str = "jwt-compact";

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

pub(super) fn candidate(tokens: &Tokens, operation: Operation) -> Candidate<'_> {
    match tokens.algorithm {
        kippu::Algorithm::Hs256 => with(tokens, operation, Hs256, Hs256Key::new(SECRET)),
        kippu::Algorithm::Hs384 => with(tokens, operation, Hs384, Hs384Key::new(SECRET)),
        _ => with(tokens, operation, Hs512, Hs512Key::new(SECRET)),
    }
}

fn with<'t, K: Sync + 't, A: Algorithm<SigningKey = K, VerifyingKey = K> + Sync + 't>(
    tokens: &'t Tokens,
    operation: Operation,
    algorithm: A,
    key: K,
) -> Candidate<'t> {
    let fixture::Claims { iss, sub, aud, exp, iat, jti, groups } = tokens.claims.clone();
    let custom = Custom { iss, sub, aud, jti, groups };
    if operation == Operation::Encode {
        let time = |seconds: u64| {
            chrono::DateTime::from_timestamp(i64::try_from(seconds).expect("now"), 0)
        };
        let mut claims = Claims::new(custom);
        (claims.expiration, claims.issued_at) = (time(exp), iat.and_then(time));
        let header = Header::empty().with_token_type("JWT");
        return Candidate::new(
            NAME,
            move || algorithm.token(&header, &claims, &key).expect("strings and numbers"),
            |token| assert_is_token(tokens, &token),
        );
    }
    let (token, time) = (given(tokens, operation), TimeOptions::default());
    let expected = custom.clone();
    let verify = move || -> Result<Token<Custom>, ValidationError> {
        let token = UntrustedToken::new(token).expect("a token");
        let verified: Token<Custom> = algorithm.validator(&key).validate(&token)?;
        let claims = verified.claims().validate_expiration(&time)?;
        assert!(claims.custom.iss == expected.iss && claims.custom.aud == expected.aud);
        Ok(verified)
    };
    Candidate::new(NAME, verify, |result| match result {
        Ok(token) => {
            assert!(operation != Operation::Refuse);
            assert_eq!(token.claims().custom, custom);
        }
        Err(error) => {
            assert!(operation == Operation::Refuse);
            assert!(matches!(error, ValidationError::InvalidSignature), "{error}");
        }
    })
}
