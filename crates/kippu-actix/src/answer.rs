//! The responses of kippu-web as responses of actix-web: tokens, cookies, and the errors of RFC
//! 6749 and RFC 6750.

use std::{error::Error, fmt};

use actix_web::{
    HttpRequest, HttpResponse, Responder, ResponseError,
    body::BoxBody,
    http::{
        StatusCode,
        header::{CACHE_CONTROL, HeaderName, HeaderValue, SET_COOKIE},
    },
};
use kippu::session::{SessionError, TokenResponse};
use kippu_web::SetCookies;

/// Why a request is not let in: [`kippu_web::Rejection`] as an error of actix-web. Every type that
/// converts into `kippu_web::Rejection` converts into this one, so that `?` works in a handler.
///
/// ```
/// use actix_web::HttpResponse;
/// use kippu::session::{MemoryStore, NoClaims, Sessions};
/// use kippu_actix::{Access, Rejection};
///
/// async fn close_account(
///     token: Access<NoClaims>,
///     sessions: actix_web::web::Data<Sessions<MemoryStore>>,
/// ) -> Result<HttpResponse, Rejection> {
///     token.require_recent(std::time::Duration::from_secs(300))?;
///     sessions.logout_all(&token.subject).await?;
///     Ok(HttpResponse::NoContent().finish())
/// }
/// ```
pub struct Rejection(pub kippu_web::Rejection);

impl<E: Into<kippu_web::Rejection>> From<E> for Rejection {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Error for Rejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl ResponseError for Rejection {
    fn status_code(&self) -> StatusCode {
        status(self.0.status())
    }

    fn error_response(&self) -> HttpResponse {
        response(self.0.to_http())
    }
}

/// The response to a login or a refresh that has failed (RFC 6749 §5.2): [`kippu_web::GrantError`]
/// as an error of actix-web.
#[derive(Debug)]
pub struct GrantError(Rejection);

impl From<SessionError> for GrantError {
    fn from(error: SessionError) -> Self {
        Self(kippu_web::GrantError(error).into())
    }
}

impl fmt::Display for GrantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for GrantError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl ResponseError for GrantError {
    fn status_code(&self) -> StatusCode {
        self.0.status_code()
    }

    fn error_response(&self) -> HttpResponse {
        self.0.error_response()
    }
}

/// The response to a login or a refresh that has succeeded (RFC 6749 §5.1): the tokens as JSON,
/// which no cache stores.
///
/// ```
/// use actix_web::web::Data;
/// use kippu::session::{MemoryStore, NoClaims, Sessions};
/// use kippu_actix::{GrantError, Tokens};
///
/// async fn login(sessions: Data<Sessions<MemoryStore>>) -> Result<Tokens, GrantError> {
///     // … after the password was checked:
///     Ok(Tokens(sessions.login("user-12345", &NoClaims {}).await?))
/// }
/// ```
#[derive(Debug)]
pub struct Tokens(pub TokenResponse);

impl Responder for Tokens {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        response(kippu_web::Tokens(self.0).into_http())
    }
}

/// Adds the headers of [`Guard::set_cookies`](crate::Guard::set_cookies) or
/// [`Cookies::clear`](crate::Cookies::clear) to a response, which no cache may then store.
pub fn with_cookies(response: impl Into<HttpResponse>, cookies: SetCookies) -> HttpResponse {
    let mut response = response.into();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for value in cookies.into_values() {
        headers.append(SET_COOKIE, header_value(&value));
    }
    response
}

/// Converts a response of kippu-web.
pub(super) fn response(response: http::Response<String>) -> HttpResponse {
    let (head, body) = response.into_parts();
    let mut response = HttpResponse::with_body(status(head.status), BoxBody::new(body));
    for (name, value) in &head.headers {
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        let name = name.expect("both versions of http have the same header names");
        response.headers_mut().append(name, header_value(value));
    }
    response
}

fn status(status: http::StatusCode) -> StatusCode {
    StatusCode::from_u16(status.as_u16()).expect("both versions of http have the same codes")
}

fn header_value(value: &http::HeaderValue) -> HeaderValue {
    let mut converted = HeaderValue::from_bytes(value.as_bytes())
        .expect("both versions of http have the same header values");
    converted.set_sensitive(value.is_sensitive());
    converted
}
