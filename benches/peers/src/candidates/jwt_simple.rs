//! jwt-simple, with its Rust backend.

use std::collections::HashSet;

use jwt_simple::prelude::*;

use super::{Operation, assert_is_token, given};
use crate::{
    fixture::{self, SECRET, Tokens},
    measure::Candidate,
};

const NAME: &str = "jwt-simple";

/// The claims that the crate has no fields for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Custom {
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<String>>,
}

pub(super) fn candidate(tokens: &Tokens, operation: Operation) -> Candidate<'_> {
    match tokens.algorithm {
        kippu::Algorithm::Hs256 => with(tokens, operation, HS256Key::from_bytes(SECRET)),
        kippu::Algorithm::Hs384 => with(tokens, operation, HS384Key::from_bytes(SECRET)),
        _ => with(tokens, operation, HS512Key::from_bytes(SECRET)),
    }
}

fn with<'t>(
    tokens: &'t Tokens,
    operation: Operation,
    key: impl MACLike + Sync + 't,
) -> Candidate<'t> {
    let fixture::Claims { iss, sub, aud, exp, iat, jti, groups } = tokens.claims.clone();
    if operation == Operation::Encode {
        let mut claims = Claims::with_custom_claims(Custom { groups }, Duration::from_hours(1))
            .with_issuer(iss)
            .with_subject(sub)
            .with_audience(aud);
        claims.expires_at = Some(Duration::from_secs(exp));
        claims.issued_at = iat.map(Duration::from_secs);
        claims.invalid_before = None;
        claims.jwt_id = jti;
        return Candidate::new(
            NAME,
            // It takes the claims for itself.
            move || key.authenticate(claims.clone()).expect("strings and numbers"),
            |token| assert_is_token(tokens, &token),
        );
    }
    let token = given(tokens, operation);
    let options = VerificationOptions {
        allowed_issuers: Some(HashSet::from([iss.clone()])),
        allowed_audiences: Some(HashSet::from([aud.clone()])),
        time_tolerance: Some(Duration::from_secs(60)),
        ..VerificationOptions::default()
    };
    Candidate::new(
        NAME,
        // It takes the options for itself.
        move || key.verify_token::<Custom>(token, Some(options.clone())),
        |result| match result {
            Ok(claims) => {
                assert!(operation != Operation::Refuse);
                assert_eq!((claims.issuer, claims.subject), (Some(iss), Some(sub)));
                assert_eq!(claims.audiences, Some(Audiences::AsString(aud)));
                assert_eq!(claims.expires_at, Some(Duration::from_secs(exp)));
                assert_eq!(claims.issued_at, iat.map(Duration::from_secs));
                assert_eq!((claims.jwt_id, claims.custom), (jti, Custom { groups }));
            }
            Err(error) => {
                assert!(operation == Operation::Refuse);
                assert_eq!(error.to_string(), "Authentication tag didn't verify");
            }
        },
    )
}
