//! Issues access tokens.

use alloc::string::String;

use serde::Serialize;

use super::TYP;
use crate::{
    claims::Audience,
    error::EncodeError,
    jwt,
    key::{Key, KeyError},
    numeric_date::NumericDate,
    session::id::{self, SessionId},
};

/// The claims that are written into every access token: those of RFC 9068 §2.2, and `sid`.
#[derive(Serialize)]
struct Written<'w> {
    iss: &'w str,
    aud: &'w Audience,
    sub: &'w str,
    client_id: &'w str,
    iat: NumericDate,
    exp: NumericDate,
    auth_time: NumericDate,
    jti: &'w str,
    sid: &'w SessionId,
}

/// The claims that the session adds to those of the application.
#[derive(Clone, Copy, Debug)]
pub(in crate::session) struct Grant<'g> {
    pub(in crate::session) issuer: &'g str,
    pub(in crate::session) audience: &'g Audience,
    pub(in crate::session) subject: &'g str,
    pub(in crate::session) client: &'g str,
    pub(in crate::session) session: &'g SessionId,
    pub(in crate::session) issued_at: NumericDate,
    pub(in crate::session) expires_at: NumericDate,
    pub(in crate::session) auth_time: NumericDate,
}

/// Returns a signed access token with the claims of the session and of the application in one
/// object. The application's claims must not have a member that the session's have.
///
/// Everything that can fail is done here, before anything is stored or used up.
pub(in crate::session) fn issue<C: Serialize>(
    grant: &Grant<'_>,
    claims: &C,
    key: &Key,
    token_len_limit: usize,
) -> Result<String, IssueError> {
    let jti = id::random_name()?;
    let written = Written {
        iss: grant.issuer,
        aud: grant.audience,
        sub: grant.subject,
        client_id: grant.client,
        iat: grant.issued_at,
        exp: grant.expires_at,
        auth_time: grant.auth_time,
        jti: &jti,
        sid: grant.session,
    };
    // Checked separately: an array or a number must not become a part of the object.
    let own = jwt::to_json(claims)?;
    let mut payload = jwt::to_json(&written)?;
    if own != b"{}" {
        // Joins the two objects: a comma replaces the closing brace of the first and the opening
        // brace of the second.
        payload.pop();
        payload.push(b',');
        payload.extend(own.into_iter().skip(1));
        // Refuses a member that both objects have.
        jwt::check_payload(&payload)?;
    }
    let token = jwt::sign_payload(&payload, key, TYP)?;
    match (token.len(), token_len_limit) {
        (length, limit) if length > limit => Err(IssueError::TooLong { length, limit }),
        _ => Ok(token),
    }
}

/// Why an access token cannot be issued.
#[derive(Debug, thiserror::Error)]
pub(in crate::session) enum IssueError {
    #[error(transparent)]
    Claims(#[from] EncodeError),
    #[error(transparent)]
    Randomness(#[from] KeyError),
    #[error("a token of {length} bytes is longer than the {limit} that are accepted")]
    TooLong { length: usize, limit: usize },
}
