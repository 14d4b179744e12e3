//! Whether a request that carries cookies was meant by a page of the same site, or sent by the
//! browser on behalf of another (cross-site request forgery). A request that says nothing of where
//! it comes from is refused, too, for another reason.

use http::{
    Method,
    header::{HOST, ORIGIN, UPGRADE},
    request::Parts,
};
use subtle::ConstantTimeEq;

use super::{cookie::Cookies, origin, rejection::Rejection};

/// The header in which a script repeats the CSRF cookie, where the client does not say where a
/// request comes from.
const CSRF_HEADER: &str = "x-csrf-token";

/// Checks the headers that browsers set and no page can change: Fetch Metadata, then `Origin`. If
/// both are missing, checks the double submit.
///
/// # Errors
/// [`Rejection::CrossSite`] if another site sent the request. [`Rejection::UnknownOrigin`] if the
/// request does not show which site sent it.
pub(super) fn check(cookies: &Cookies, request: &Parts) -> Result<(), Rejection> {
    // A page of another origin can send these, and does not get to read the answer; but for a
    // WebSocket, which every page may open and read (RFC 6455 §10.2).
    let is_safe = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if is_safe && !request.headers.contains_key(UPGRADE) {
        return Ok(());
    }
    let origin = one(request, ORIGIN.as_str());
    let is_allowed = || matches!(origin, Ok(Some(origin)) if cookies.allows(origin));
    let is_meant = match (one(request, "sec-fetch-site"), origin) {
        // `none` is the user, at the address bar.
        (Ok(Some("same-origin" | "none")), _) => true,
        (Ok(None), Ok(Some(origin))) => is_allowed() || is_own(request, origin),
        (Ok(None), Ok(None)) if is_repeated(cookies, request) => true,
        (Ok(None), Ok(None)) => return Err(Rejection::UnknownOrigin),
        _ => is_allowed(),
    };
    if is_meant { Ok(()) } else { Err(Rejection::CrossSite) }
}

/// The only value of a header, if it has one.
fn one<'r>(request: &'r Parts, name: &str) -> Result<Option<&'r str>, ()> {
    let mut values = request.headers.get_all(name).iter();
    let value = values.next().map(|value| value.to_str().map_err(|_| ())).transpose();
    if values.next().is_some() { Err(()) } else { value }
}

/// Returns whether a page of `origin` belongs to the host that the request goes to. HTTP/2 has the
/// host in the URI.
fn is_own(request: &Parts, origin: &str) -> bool {
    let asked = match request.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => one(request, HOST.as_str()).ok().flatten(),
    };
    asked.is_some_and(|asked| origin::is_own(origin, asked))
}

fn is_repeated(cookies: &Cookies, request: &Parts) -> bool {
    match (cookies.csrf(&request.headers), one(request, CSRF_HEADER)) {
        (Ok(Some(cookie)), Ok(Some(header))) => cookie.as_bytes().ct_eq(header.as_bytes()).into(),
        _ => false,
    }
}
