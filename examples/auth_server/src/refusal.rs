//! Errors as clients see them. Every error is a JSON object with `error` and `error_description`,
//! as in RFC 6749 §5.2, and is not cached. The log gets the details of a fault of the server; the
//! client does not.

use std::time::Duration;

use axum::{
    Json,
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use kippu::session::SessionError;
use kippu_web::{GrantError, Rejection};

use crate::{
    accounts::AccountsError,
    body::BodyError,
    hashing::HashingError,
    limits::TooOften,
    logs::with_sources,
    passwords::{BadPassword, PasswordError},
};

/// Why the server does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The client does not learn which of the two is wrong.
    #[error("the email address or the password is wrong")]
    Credentials,
    /// The session of the request is valid, and the password in its body is not.
    #[error("the current password is wrong")]
    CurrentPassword,
    #[error("this is not an email address: it has the form name@example.com")]
    Email,
    #[error("there is an account with this email address")]
    EmailTaken,
    #[error("too many tries: wait {} seconds", .0.as_secs())]
    TooOften(Duration),
    /// Other requests kept changing the same account, or ended the session that a login had begun.
    #[error("another request changed the account or ended its sessions: try again")]
    Changed,
    /// The account was changed, but its sessions could not be ended. The text says what to do.
    #[error("{0}")]
    SessionsLeft(&'static str, #[source] SessionError),
    #[error(transparent)]
    BadPassword(#[from] BadPassword),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Web(#[from] Rejection),
    #[error("no random bytes from the operating system")]
    NoRandomness,
    /// The answer took longer than a request may take.
    #[error("the server could not answer in time: try again")]
    Late,
}

impl From<TooOften> for Refusal {
    /// Rounds up to whole seconds, so that the next try is not too early.
    fn from(TooOften(wait): TooOften) -> Self {
        Self::TooOften(Duration::from_secs(wait.as_secs() + 1))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let refusal = match self {
            Self::Session(error) => return GrantError(error).into_response(),
            Self::Web(rejection) => return rejection.into_response(),
            refusal => refusal,
        };
        let (status, error) = match &refusal {
            Self::Credentials => (StatusCode::UNAUTHORIZED, "invalid_credentials"),
            Self::CurrentPassword => (StatusCode::FORBIDDEN, "invalid_credentials"),
            Self::Body(error) => (error.status(), "invalid_request"),
            Self::Email | Self::BadPassword(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::EmailTaken => (StatusCode::CONFLICT, "email_taken"),
            Self::TooOften(_) => (StatusCode::TOO_MANY_REQUESTS, "too_many_tries"),
            Self::Accounts(_)
            | Self::Changed
            | Self::SessionsLeft(..)
            | Self::Password(PasswordError::Hashing(HashingError::Busy))
            | Self::Late => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
            Self::Password(_) | Self::Session(_) | Self::Web(_) | Self::NoRandomness => {
                (StatusCode::INTERNAL_SERVER_ERROR, "server_error")
            }
        };
        if status.is_server_error() {
            tracing::error!(error = with_sources(&refusal), "a request failed");
        }
        let description = match &refusal {
            Self::Password(PasswordError::Hashing(busy @ HashingError::Busy)) => busy.to_string(),
            Self::Accounts(_) | Self::Password(_) | Self::NoRandomness => {
                "the server is at fault: try again in a moment".to_owned()
            }
            refusal => refusal.to_string(),
        };
        let mut response = error_response(status, error, &description);
        if let Self::TooOften(wait) = refusal {
            response.headers_mut().insert(RETRY_AFTER, wait.as_secs().into());
        }
        response
    }
}

fn error_response(status: StatusCode, error: &str, description: &str) -> Response {
    let body = serde_json::json!({ "error": error, "error_description": description });
    (status, [(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// Replaces the body of an error that is not JSON, and keeps its headers.
pub(crate) async fn in_json(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || response.headers().get(CONTENT_TYPE).is_some_and(is_json) {
        return response;
    }
    let (error, description) = match status {
        StatusCode::UNAUTHORIZED => ("missing_token", "the request has no access token"),
        StatusCode::FORBIDDEN => ("access_denied", "the request is not allowed"),
        StatusCode::NOT_FOUND => ("not_found", "there is nothing at this path"),
        StatusCode::METHOD_NOT_ALLOWED => {
            ("method_not_allowed", "this path has other methods: see the header Allow")
        }
        StatusCode::REQUEST_TIMEOUT => ("request_timeout", "the request did not arrive in time"),
        StatusCode::PAYLOAD_TOO_LARGE => ("invalid_request", "the body is too large"),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            ("temporarily_unavailable", "try again in a moment")
        }
        _ if status.is_server_error() => ("server_error", "the server is at fault"),
        _ => ("invalid_request", "the request is malformed"),
    };
    let (mut parts, _) = response.into_parts();
    let (json, body) = error_response(status, error, description).into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    for name in [CONTENT_TYPE, CACHE_CONTROL] {
        if let Some(value) = json.headers.get(&name) {
            parts.headers.insert(name, value.clone());
        }
    }
    Response::from_parts(parts, body)
}

fn is_json(value: &HeaderValue) -> bool {
    value.as_bytes().starts_with(b"application/json")
}
