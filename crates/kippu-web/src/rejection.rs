//! Why a request is not let in, and the response to its client: the status, the challenge and the
//! description of RFC 6750 §3. They help the client to correct its request, and do not say which
//! check its token failed.

use std::{
    error::Error,
    fmt::{self, Write},
    time::Duration,
};

use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use kippu::{
    DecodeError,
    session::{NotRecent, OAuthError, SessionError},
};

use super::cookie::{CookieError, Unreadable};

/// Why a request is not let in. It converts into the response. Its `Display` is for the operator,
/// and says more.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// 401 with a bare challenge: there is no token.
    #[error("the request has no access token")]
    MissingToken,
    /// 400 `invalid_request`: the request has two credentials of one kind. One of them may be
    /// planted.
    #[error(
        "the request has more than one Authorization header, or more than one cookie of a name"
    )]
    TwoTokens,
    /// 400 `invalid_request`: the header with the token cannot be read.
    #[error("the request's {header} header is malformed")]
    MalformedHeader {
        /// `Authorization` or `Cookie`.
        header: &'static str,
    },
    /// 400 `invalid_request`: the subprotocols of a WebSocket's handshake have a token that cannot
    /// be used; see [`Guard::subprotocol_tokens`](super::Guard::subprotocol_tokens).
    #[error("the request's subprotocols: {reason}")]
    Subprotocols {
        /// Why not.
        reason: &'static str,
    },
    /// 401 `invalid_token`: the verifier refuses the token, for example because it has expired.
    #[error("the access token: {0}")]
    InvalidToken(DecodeError),
    /// 401 `invalid_token`: the session of the token was logged out, or has expired.
    #[error("the session of the access token: {0}")]
    Ended(SessionError),
    /// 400 `invalid_grant`: the user has to log in again.
    #[error(transparent)]
    InvalidGrant(SessionError),
    /// 400 `invalid_request`: the client sent a name that a session cannot have.
    #[error(transparent)]
    InvalidRequest(SessionError),
    /// 403 `insufficient_scope`: the token is valid, but does not have the scope.
    #[error("the access token lacks the scope {scope}")]
    InsufficientScope {
        /// The scope.
        scope: String,
    },
    /// 401 `insufficient_user_authentication` (RFC 9470 §3): the user authenticated too long ago.
    #[error(transparent)]
    NotRecent(#[from] NotRecent),
    /// 403 `access_denied`: the user has reached the limit of sessions.
    #[error(transparent)]
    TooManySessions(SessionError),
    /// 403 `access_denied`: a page of another site made the browser send the request.
    #[error(
        "the request comes from another site: where that is a page of yours, call Cookies::allow_origin"
    )]
    CrossSite,
    /// 403 `access_denied`: the request, to which a browser may have added its cookies, does not
    /// show which site sent it.
    #[error(
        "the request has none of Sec-Fetch-Site, Origin, and X-CSRF-Token with the value of the CSRF \
         cookie, or it is the handshake of a WebSocket without Origin"
    )]
    UnknownOrigin,
    /// 503 with `Retry-After`: for example, the store is unavailable, or the verifier does not know
    /// which sessions have ended.
    #[error(transparent)]
    Unavailable(SessionError),
    /// 500: for example, the store is set up wrongly, or the application's claims are too long.
    #[error(transparent)]
    Fault(SessionError),
    /// 500: the cookies are set up wrongly.
    #[error(transparent)]
    Cookies(#[from] CookieError),
    /// 500: the request needs a live session, and the guard cannot read the store.
    #[error("the guard does not know the sessions: make it with Guard::for_sessions(&sessions)")]
    NoSessions,
    /// 500: the application has not given its framework a guard.
    #[error("the application has no guard: {0}")]
    NoGuard(
        /// The call that gives it one.
        &'static str,
    ),
}

impl fmt::Debug for Rejection {
    /// Prints the message with its causes, for a `main` that returns the error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut source = self.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl From<DecodeError> for Rejection {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::EndedUnknown { .. } => Self::Unavailable(error.into()),
            error => Self::InvalidToken(error),
        }
    }
}

/// When a client should try again if the store is unavailable.
const RETRY: Duration = Duration::from_secs(1);

impl Rejection {
    /// Returns the status of the response.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::MissingToken | Self::InvalidToken(_) | Self::Ended(_) | Self::NotRecent(_) => {
                StatusCode::UNAUTHORIZED
            }
            Self::TwoTokens
            | Self::MalformedHeader { .. }
            | Self::Subprotocols { .. }
            | Self::InvalidGrant(_)
            | Self::InvalidRequest(_) => StatusCode::BAD_REQUEST,
            Self::InsufficientScope { .. }
            | Self::TooManySessions(_)
            | Self::CrossSite
            | Self::UnknownOrigin => StatusCode::FORBIDDEN,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Fault(_) | Self::Cookies(_) | Self::NoSessions | Self::NoGuard(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    /// Returns the description for the client, or `None` for a client without credentials (RFC 6750
    /// §3.1).
    #[cfg(feature = "grpc")]
    pub(super) fn words(&self) -> Option<&'static str> {
        self.error().map(|(_, words)| words)
    }

    /// Returns the code and the description for the client.
    fn error(&self) -> Option<(&'static str, &'static str)> {
        Some(match self {
            Self::MissingToken => return None,
            Self::TwoTokens => (
                "invalid_request",
                "more than one Authorization header, or more than one cookie of a name",
            ),
            Self::MalformedHeader { header: "Cookie" } => {
                ("invalid_request", "the cookie of a token is malformed")
            }
            Self::MalformedHeader { .. } => {
                ("invalid_request", "the header Authorization is not Bearer and a token")
            }
            Self::Subprotocols { reason } => ("invalid_request", *reason),
            // The only reason that a client can act on: it refreshes.
            Self::InvalidToken(error) if error.is_expired() => {
                ("invalid_token", "the access token has expired")
            }
            Self::InvalidToken(DecodeError::SessionEnded) | Self::Ended(_) => {
                ("invalid_token", "the session has ended")
            }
            Self::InvalidToken(_) => ("invalid_token", "the access token is not valid"),
            Self::InvalidGrant(_) => ("invalid_grant", "log in again"),
            Self::InvalidRequest(_) => (
                "invalid_request",
                "the name of a user has 1 to 512 bytes and no control characters",
            ),
            Self::InsufficientScope { .. } => {
                ("insufficient_scope", "the access token is not good for this")
            }
            Self::NotRecent(_) => {
                ("insufficient_user_authentication", "the user has to authenticate again")
            }
            Self::TooManySessions(_) => (
                "access_denied",
                "the user has as many sessions as he may: log one of them out first",
            ),
            Self::CrossSite => ("access_denied", "the request comes from another site"),
            Self::UnknownOrigin => (
                "access_denied",
                "the request does not say where it comes from: it needs Sec-Fetch-Site or Origin, \
                 as browsers send them, or X-CSRF-Token with the value of the CSRF cookie",
            ),
            Self::Unavailable(_) => ("temporarily_unavailable", "try again in a moment"),
            Self::Fault(_) | Self::Cookies(_) | Self::NoSessions | Self::NoGuard(_) => {
                ("server_error", "the server is at fault")
            }
        })
    }

    /// Returns the challenge, if another access token may help the client.
    pub(super) fn challenge(&self) -> Option<HeaderValue> {
        let Some((code, description)) = self.error() else {
            return Some(HeaderValue::from_static("Bearer"));
        };
        if !matches!(
            self,
            Self::TwoTokens
                | Self::MalformedHeader { .. }
                | Self::Subprotocols { .. }
                | Self::InvalidToken(_)
                | Self::Ended(_)
                | Self::InsufficientScope { .. }
                | Self::NotRecent(_)
        ) {
            return None;
        }
        let mut challenge = format!("Bearer error=\"{code}\", error_description=\"{description}\"");
        // Characters of RFC 6749 §3.3 alone: others would end the parameter, or the header.
        let is_scope = |scope: &str| {
            scope.bytes().all(|b| matches!(b, 0x20..=0x7e) && b != b'"' && b != b'\\')
        };
        match self {
            Self::InsufficientScope { scope } if is_scope(scope) => {
                // A string takes all that is written.
                let _ = write!(challenge, ", scope=\"{scope}\"");
            }
            Self::NotRecent(NotRecent { max_age, .. }) => {
                let _ = write!(challenge, ", max_age=\"{}\"", max_age.as_secs());
            }
            _ => {}
        }
        HeaderValue::try_from(challenge).ok()
    }

    /// Returns the response, with the error as JSON in a body of any type that a `String` converts
    /// into.
    pub fn into_http<B: From<String>>(self) -> http::Response<B> {
        self.to_http()
    }

    /// Returns the response, like [`into_http`](Self::into_http), for a framework that only lends
    /// its errors.
    pub fn to_http<B: From<String>>(&self) -> http::Response<B> {
        self.log();
        let body = self.error().map(|(error, words)| OAuthError::new(error, words));
        let text = body.as_ref().and_then(|body| serde_json::to_string(body).ok());
        let text = text.unwrap_or_default();
        let mut response = http::Response::new(B::from(text));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(challenge) = self.challenge() {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Self::Unavailable(_) = self {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY.as_secs()));
        }
        response
    }

    /// Logs the reason, for the operator.
    pub(super) fn log(&self) {
        if self.status().is_server_error() {
            tracing::error!(target: "kippu_web", error = %self, "a request failed");
        } else {
            tracing::debug!(target: "kippu_web", reason = %self, "a request was refused");
        }
    }
}

impl From<SessionError> for Rejection {
    /// Converts an error of [`Sessions::verify_live`](kippu::session::Sessions::verify_live).
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::AccessToken(error) => error.into(),
            // Only a refresh or a login returns these.
            SessionError::Reused | SessionError::Ahead { .. } | SessionError::Denied => {
                Self::InvalidGrant(error)
            }
            error => match error.oauth_error() {
                "temporarily_unavailable" => Self::Unavailable(error),
                "invalid_grant" => Self::Ended(error),
                "invalid_request" => Self::InvalidRequest(error),
                "access_denied" => Self::TooManySessions(error),
                _ => Self::Fault(error),
            },
        }
    }
}

impl From<Unreadable> for Rejection {
    fn from(cookie: Unreadable) -> Self {
        match cookie {
            Unreadable::Several => Self::TwoTokens,
            Unreadable::Malformed => Self::MalformedHeader { header: "Cookie" },
        }
    }
}
