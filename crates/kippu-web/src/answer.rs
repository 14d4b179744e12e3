//! The responses of the token endpoint (RFC 6749 §5): tokens or an error, which no cache stores.

use std::borrow::Cow;

use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA},
};
use kippu::session::{OAuthError, SessionError, TokenResponse};
use serde::Serialize;

use super::rejection::Rejection;

/// Why a request to a route of sessions is refused.
pub(super) enum Refusal {
    /// As everywhere.
    Rejection(Rejection),
    /// 400 for a request that lacks something, or has it wrong (RFC 6749 §5.2): the code and the
    /// words.
    BadRequest(&'static str, Cow<'static, str>),
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Rejection(rejection)
    }
}

impl From<SessionError> for Refusal {
    /// Of a refresh token, or of an access token.
    fn from(error: SessionError) -> Self {
        Self::Rejection(GrantError(error).into())
    }
}

impl Refusal {
    /// `invalid_request`, with what is missing or malformed.
    pub(super) fn invalid_request(description: impl Into<Cow<'static, str>>) -> Self {
        Self::BadRequest("invalid_request", description.into())
    }

    pub(super) fn into_http<B: From<String>>(self) -> http::Response<B> {
        match self {
            Self::Rejection(rejection) => rejection.into_http(),
            Self::BadRequest(error, reason) => {
                tracing::debug!(target: "kippu_web", reason = &*reason, "a request was refused");
                json(StatusCode::BAD_REQUEST, &OAuthError::new(error, reason))
            }
        }
    }
}

/// A response without a body.
pub(super) fn empty<B: From<String>>(status: StatusCode) -> http::Response<B> {
    let mut response = http::Response::new(B::from(String::new()));
    *response.status_mut() = status;
    not_stored(&mut response);
    response
}

pub(super) fn json<B: From<String>>(
    status: StatusCode,
    body: &impl Serialize,
) -> http::Response<B> {
    let text = serde_json::to_string(body).expect("texts and numbers serialise");
    let mut response = http::Response::new(B::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    not_stored(&mut response);
    response
}

/// RFC 6749 §5.1.
fn not_stored<B>(response: &mut http::Response<B>) {
    // RFC 6749 §5.1 requires both headers.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
}

/// The answer to a login or a refresh that has succeeded (RFC 6749 §5.1): the tokens as JSON, which
/// no cache keeps.
///
/// ```
/// use kippu::session::{MemoryStore, NoClaims, Sessions};
/// use kippu_web::{GrantError, Tokens};
///
/// async fn login(sessions: &Sessions<MemoryStore>) -> Result<Tokens, GrantError> {
///     // … after the password was checked:
///     Ok(Tokens(sessions.login("user-12345", &NoClaims {}).await?))
/// }
/// ```
#[derive(Debug)]
pub struct Tokens(pub TokenResponse);

impl Tokens {
    /// Returns the response, with a body of any type that a `String` converts into.
    pub fn into_http<B: From<String>>(self) -> http::Response<B> {
        json(StatusCode::OK, &self.0)
    }
}

/// The response to a login or a refresh that has failed (RFC 6749 §5.2). If the server is at fault,
/// the log has the reason.
///
/// | error | status, `error` |
/// |---|---|
/// | `InvalidToken`, `Expired`, `Revoked`, `Reused`, `Ahead`, `Denied` | 400 `invalid_grant` |
/// | `AccessToken` | 401 `invalid_token` |
/// | `Subject` | 400 `invalid_request` |
/// | `TooManySessions` | 403 `access_denied` |
/// | `AccessToken(EndedUnknown)`, `Store` that is transient, `Authorize`, `Full`, `MissingRefreshKey`, `NoRandomness` | 503 `temporarily_unavailable` |
/// | `Store` that is not, `Client`, `Login`, `Claims`, `TooLong`, `RefreshKey`, `SigningKey` | 500 `server_error` |
///
/// For [`Sessions::verify_live`](kippu::session::Sessions::verify_live) convert the error into a
/// [`Rejection`], which has the challenge.
#[derive(Debug)]
pub struct GrantError(pub SessionError);

impl From<SessionError> for GrantError {
    fn from(error: SessionError) -> Self {
        Self(error)
    }
}

impl From<GrantError> for Rejection {
    /// Converts the error of a login or a refresh, whose response is about the grant. The response
    /// to a [`SessionError`] is about an access token.
    fn from(GrantError(error): GrantError) -> Self {
        match Self::from(error) {
            Self::Ended(error) => Self::InvalidGrant(error),
            rejection => rejection,
        }
    }
}

impl GrantError {
    /// Returns the response, with a body of any type that a `String` converts into.
    pub fn into_http<B: From<String>>(self) -> http::Response<B> {
        Rejection::from(self).into_http()
    }
}
