//! Whether a request that carries cookies was meant by a page of the same site, or sent by the browser on behalf of
//! another (cross-site request forgery).

use http::{
    Method,
    header::{HOST, ORIGIN, UPGRADE},
    request::Parts,
};
use subtle::ConstantTimeEq;

use super::cookie::{Cookies, is_this_machine};

/// The header in which a script repeats the CSRF cookie, where a client tells nothing of where a request comes from.
const CSRF_HEADER: &str = "x-csrf-token";

/// Judged by what browsers say and no page can change (Fetch Metadata, then `Origin`), else by a double submit.
pub(super) fn is_meant(cookies: &Cookies, request: &Parts) -> bool {
    // A page of another origin can send these, and does not get to read the answer; but for a WebSocket, which every
    // page may open and read (RFC 6455 §10.2).
    let is_safe = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if is_safe && !request.headers.contains_key(UPGRADE) {
        return true;
    }
    let origin = one(request, ORIGIN.as_str());
    let is_allowed = || matches!(origin, Ok(Some(origin)) if cookies.allowed_origins.iter().any(|allowed| allowed == origin));
    match (one(request, "sec-fetch-site"), origin) {
        // `none` is the user, at the address bar.
        (Ok(Some("same-origin" | "none")), _) => true,
        (Ok(None), Ok(Some(origin))) => is_allowed() || is_own(request, origin),
        (Ok(None), Ok(None)) => is_repeated(cookies, request),
        _ => is_allowed(),
    }
}

/// The only value of a header, if it has one.
fn one<'r>(request: &'r Parts, name: &str) -> Result<Option<&'r str>, ()> {
    let mut values = request.headers.get_all(name).iter();
    let value = values.next().map(|value| value.to_str().map_err(|_| ())).transpose();
    if values.next().is_some() { Err(()) } else { value }
}

/// Whether a page has the origin that the request goes to: HTTPS, or HTTP to this machine.
fn is_own(request: &Parts, origin: &str) -> bool {
    let asked = match request.uri.authority() {
        Some(authority) => authority.as_str(),
        None => match one(request, HOST.as_str()) {
            Ok(Some(host)) => host,
            _ => return false,
        },
    };
    match (origin.strip_prefix("https://"), origin.strip_prefix("http://")) {
        (Some(host), _) => host.eq_ignore_ascii_case(asked),
        (_, Some(host)) => is_this_machine(host) && host.eq_ignore_ascii_case(asked),
        _ => false,
    }
}

fn is_repeated(cookies: &Cookies, request: &Parts) -> bool {
    match (cookies.csrf(&request.headers), one(request, CSRF_HEADER)) {
        (Ok(Some(cookie)), Ok(Some(header))) => cookie.as_bytes().ct_eq(header.as_bytes()).into(),
        _ => false,
    }
}
