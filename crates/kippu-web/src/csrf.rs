//! Whether a request that carries cookies was meant by a page of the same site, or sent by the
//! browser on behalf of another (cross-site request forgery), and whether it may refresh the
//! session. A request that says nothing of where it comes from is refused, too, for another reason.

use http::{
    Method,
    header::{HOST, ORIGIN},
    request::Parts,
};
use subtle::ConstantTimeEq;

use super::{cookie::Cookies, handshake::is_handshake, origin, rejection::Rejection};

/// The header in which a script repeats the CSRF cookie, where the client does not say where a
/// request comes from.
const CSRF_HEADER: &str = "x-csrf-token";

/// Which site sent a request (Fetch Metadata Request Headers, §2.3).
const SITE: &str = "sec-fetch-site";

/// Checks the headers that browsers set and no page can change: Fetch Metadata, then `Origin`. If
/// both are missing, checks the double submit. The handshake of a WebSocket needs `Origin`.
///
/// # Errors
/// [`Rejection::CrossSite`] if another site sent the request. [`Rejection::UnknownOrigin`] if the
/// request does not show which site sent it.
pub(super) fn check(cookies: &Cookies, request: &Parts) -> Result<(), Rejection> {
    // A page of another origin can send these, and does not get to read the answer; but for a
    // WebSocket, which every page may open and read (RFC 6455 §10.2).
    let is_safe = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if is_safe && !is_handshake(request) {
        return Ok(());
    }
    check_sender(cookies, request)
}

/// Returns whether a request that passes [`check`] may use the refresh token up. It is sent by a
/// page of this site, or it is a navigation, whose response the user sees.
///
/// Browsers may drop the response to a speculative request, and some drop the cookies of a
/// WebSocket handshake. The next request would then present the used-up token, perhaps after the
/// grace.
pub(super) fn may_refresh(cookies: &Cookies, request: &Parts) -> bool {
    let Parts { method, headers, .. } = request;
    let is_unsuitable = matches!(*method, Method::OPTIONS | Method::CONNECT | Method::TRACE)
        || is_handshake(request)
        || SPECULATIVE.iter().any(|name| headers.contains_key(*name));
    !is_unsuitable && (check_sender(cookies, request).is_ok() || is_navigation(cookies, request))
}

/// The headers of requests that a browser sends before the user asks for the page.
const SPECULATIVE: [&str; 4] = ["sec-purpose", "purpose", "x-purpose", "x-moz"];

/// Returns whether the user sees the response as a page, in a window or in a frame. Without Fetch
/// Metadata this is not known, except that browsers never send them over plain HTTP.
fn is_navigation(cookies: &Cookies, request: &Parts) -> bool {
    let is = |name, value: &str| one(request, name) == Ok(Some(value));
    let is_embedded = is("sec-fetch-dest", "object") || is("sec-fetch-dest", "embed");
    request.method == Method::GET
        && match one(request, SITE) {
            Ok(Some("cross-site" | "same-site")) => {
                is("sec-fetch-mode", "navigate") && !is_embedded
            }
            Ok(None) => cookies.are_insecure() && !request.headers.contains_key(ORIGIN),
            _ => false,
        }
}

/// Checks that a page of this site, or of one that is allowed, sent a request.
fn check_sender(cookies: &Cookies, request: &Parts) -> Result<(), Rejection> {
    let opens_socket = is_handshake(request);
    let origin = one(request, ORIGIN.as_str());
    let is_allowed = || matches!(origin, Ok(Some(origin)) if cookies.allows(origin));
    let is_meant = match (one(request, SITE), origin) {
        // Every browser sends `Origin` with a handshake (RFC 6455 §4.1): nothing replaces it.
        (_, Ok(None)) if opens_socket => return Err(Rejection::UnknownOrigin),
        // `none` is the user, at the address bar.
        (Ok(Some("same-origin" | "none")), _) if !opens_socket => true,
        (Ok(None | Some("same-origin" | "none")), Ok(Some(origin))) => {
            is_allowed() || is_own(request, origin)
        }
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
