//! What is answered at the token endpoint (RFC 6749 §5): tokens, or an error, and never cached.

use alloc::string::String;

use axum_core::response::{IntoResponse, Response};
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA},
};
use serde::Serialize;

use super::rejection::{Rejection, Told};
use crate::session::{SessionError, TokenResponse};

/// Why a request to a route of sessions is refused.
pub(super) enum Refusal {
    /// As everywhere.
    Rejection(Rejection),
    /// By the sessions.
    Session(SessionError),
    /// There is no refresh token.
    NoRefreshToken,
    /// A form that is none, or has a parameter twice.
    MalformedForm,
    /// Another grant than a refresh token.
    GrantType,
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Rejection(rejection)
    }
}

impl From<SessionError> for Refusal {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl Refusal {
    pub(super) fn into_http<B: From<String>>(self) -> http::Response<B> {
        let (error, error_description) = match self {
            Self::Rejection(rejection) => return rejection.into_http(),
            Self::Session(error) => return of_session(error),
            Self::NoRefreshToken => ("invalid_request", "a refresh token is missing"),
            Self::MalformedForm => ("invalid_request", "the form is malformed"),
            Self::GrantType => ("unsupported_grant_type", "only refresh_token is supported"),
        };
        json(StatusCode::BAD_REQUEST, &Told { error, error_description })
    }
}

/// Of a refresh token 400, where an access token would get a challenge; all else is as everywhere.
fn of_session<B: From<String>>(error: SessionError) -> http::Response<B> {
    if error.oauth_error() != "invalid_grant" {
        return Rejection::from(error).into_http();
    }
    let told = Told { error: "invalid_grant", error_description: "log in again" };
    json(StatusCode::BAD_REQUEST, &told)
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
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
}

/// The answer to a login, as RFC 6749 §5.1 has it.
impl IntoResponse for TokenResponse {
    fn into_response(self) -> Response {
        json(StatusCode::OK, &self)
    }
}

/// The answer of RFC 6749 §5.2 to a login or a refresh; what it was goes to the log where the server is at fault.
/// For [`Sessions::verify_live`](crate::session::Sessions::verify_live) a [`Rejection`] is made of it, which has the challenge.
impl IntoResponse for SessionError {
    fn into_response(self) -> Response {
        of_session(self)
    }
}
