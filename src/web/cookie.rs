//! Tokens in cookies, where no script of the page reads them: the headers that set, read and clear them.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::{convert::Infallible, time::Duration};

use axum_core::response::{IntoResponseParts, ResponseParts};
use http::{
    HeaderMap, HeaderValue, Uri,
    header::{CACHE_CONTROL, COOKIE, SET_COOKIE},
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::rejection::Rejection;
use crate::{base64url, debug::debug_by_message, session::TokenResponse};

/// Both tokens in cookies of the browser, instead of in its scripts: `__Host-access`, sent to every path, and
/// `__Secure-refresh`, sent to the path of the [`SessionRoutes`](super::SessionRoutes) alone. Both are `Secure`, `HttpOnly`
/// and `SameSite=Strict`; they end with their tokens.
///
/// # Requests of other sites
/// A browser sends cookies whoever makes it. A request with one, of a method other than GET, HEAD and OPTIONS, or
/// one for a WebSocket, is let in only when it comes from a page of the same origin, or of one that was
/// [allowed](Cookies::allow_origin): by `Sec-Fetch-Site`, else by `Origin`, else, from a client that sends neither, when its
/// header `X-CSRF-Token` has the value of the third cookie, `__Host-csrf`, which scripts can read.
///
/// So GET, HEAD and OPTIONS must change nothing, and a login has to ask
/// [`Guard::check_origin`](super::Guard::check_origin). Behind a proxy that changes `Host`, the origin that users see has to be
/// allowed for browsers without Fetch Metadata.
///
/// The refresh cookie, which another host of the domain could set, is bound to `__Host-csrf`, which it cannot: one that
/// is not is as good as none.
///
/// # Strict
/// A link in a mail or on another site, and the way back from another login page, arrive without these cookies: a page
/// that a server makes for its user looks logged out then, until it is loaded again from the site itself. Where that
/// matters, [`Cookies::lax`] sends the access cookie along with such links. Answers to requests with cookies should not be
/// cached by others: `Cache-Control: private`, at least.
///
/// ```
/// use kippu::web::Cookies;
///
/// let cookies = Cookies::new("/auth")?.named("shop")?; // __Host-shop-access, …
/// # Ok::<(), kippu::web::CookieError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Cookies {
    access: String,
    refresh: String,
    csrf: String,
    refresh_path: String,
    access_same_site: &'static str,
    pub(super) allowed_origins: Vec<String>,
}

/// Why there are no such cookies.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CookieError {
    /// A path is made of letters, digits, `-`, `_`, `.`, `~` and single slashes, of which one begins it and none ends it.
    #[error(
        "the path of the refresh cookie is no path: give the one of the session routes, as /auth"
    )]
    Path,
    /// A name is made of letters, digits and hyphens.
    #[error("a cookie is named by 1 to 32 letters, digits and hyphens")]
    Name,
    /// An origin has a scheme, a host, a port where it is not the usual one, and nothing else.
    #[error(
        "an origin is written as https://host or https://host:port, in small letters; http is for this machine alone"
    )]
    Origin,
    /// A browser would drop it without a word (RFC 6265 §6.1).
    #[error(
        "a cookie of {length} bytes is too long, {MAX_COOKIE_LEN} is the limit: put fewer claims into the access token"
    )]
    TooLong {
        /// The bytes of the cookie.
        length: usize,
    },
    /// A token has a character that no token has.
    #[error("something that is no token cannot go into a cookie")]
    NoToken,
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system")]
    NoRandomness,
    /// The guard was not told of any.
    #[error("this guard has no cookies: call Guard::cookies")]
    None,
}

debug_by_message!(CookieError);

/// What every browser takes, names and attributes included (RFC 6265 §6.1).
const MAX_COOKIE_LEN: usize = 4096;

impl Cookies {
    /// Cookies for session routes that are mounted at `refresh_path`, as the browser sees it: `/auth` for one. With another
    /// path the refresh cookie never arrives.
    ///
    /// # Errors
    /// [`CookieError::Path`].
    pub fn new(refresh_path: &str) -> Result<Self, CookieError> {
        let is_segment = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b))
        };
        match refresh_path.strip_prefix('/') {
            Some("") => {}
            Some(path) if path.split('/').all(is_segment) => {}
            _ => return Err(CookieError::Path),
        }
        Ok(Self {
            access: "__Host-access".to_string(),
            refresh: "__Secure-refresh".to_string(),
            csrf: "__Host-csrf".to_string(),
            refresh_path: refresh_path.to_string(),
            access_same_site: "Strict",
            allowed_origins: Vec::new(),
        })
    }

    /// Puts `name` into their names, for two applications of one host: ports do not keep cookies apart.
    ///
    /// # Errors
    /// [`CookieError::Name`].
    pub fn named(self, name: &str) -> Result<Self, CookieError> {
        let is_name = (1..=32).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !is_name {
            return Err(CookieError::Name);
        }
        Ok(Self {
            access: format!("__Host-{name}-access"),
            refresh: format!("__Secure-{name}-refresh"),
            csrf: format!("__Host-{name}-csrf"),
            ..self
        })
    }

    /// Has the access cookie sent along when a link of another site is followed (`SameSite=Lax`). The refresh cookie
    /// stays strict.
    #[must_use]
    pub fn lax(self) -> Self {
        Self { access_same_site: "Lax", ..self }
    }

    /// Lets pages of another origin of the same site in: `https://app.example.org`, for one. Pages of other sites
    /// get no cookies sent.
    ///
    /// # Errors
    /// [`CookieError::Origin`].
    pub fn allow_origin(mut self, origin: &str) -> Result<Self, CookieError> {
        if !is_origin(origin) {
            return Err(CookieError::Origin);
        }
        self.allowed_origins.push(origin.to_string());
        Ok(self)
    }

    /// The headers that put the tokens of a login into the browser; see [`Guard::set_cookies`](super::Guard::set_cookies).
    ///
    /// # Errors
    /// [`CookieError::TooLong`], [`CookieError::NoToken`] and [`CookieError::NoRandomness`].
    pub fn set(&self, tokens: &TokenResponse) -> Result<SetCookies, CookieError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| CookieError::NoRandomness)?;
        self.set_with(tokens, &base64url::encode(&random))
    }

    /// As [`set`](Self::set), of a refresh: other tabs go on with the CSRF token that they have read.
    pub(super) fn renew(
        &self,
        tokens: &TokenResponse,
        headers: &HeaderMap,
    ) -> Result<SetCookies, CookieError> {
        match self.csrf(headers) {
            Ok(Some(csrf)) if is_random(csrf) => self.set_with(tokens, csrf),
            _ => self.set(tokens),
        }
    }

    /// The headers that take them out again.
    pub fn clear(&self) -> SetCookies {
        SetCookies(self.headers(["", "", ""], Duration::ZERO, Duration::ZERO).map(header))
    }

    fn set_with(&self, tokens: &TokenResponse, csrf: &str) -> Result<SetCookies, CookieError> {
        let TokenResponse { access_token, refresh_token, expires_in, refresh_expires_in, .. } =
            tokens;
        let is_token =
            |token: &str| token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !is_token(access_token) || !is_token(refresh_token) {
            return Err(CookieError::NoToken);
        }
        let bound = format!("{refresh_token}.{}", binding(csrf));
        let values = [&**access_token, &bound, csrf];
        let cookies = self.headers(values, *expires_in, *refresh_expires_in);
        if let Some(length) = cookies.iter().map(String::len).find(|&len| len > MAX_COOKIE_LEN) {
            return Err(CookieError::TooLong { length });
        }
        Ok(SetCookies(cookies.map(header)))
    }

    fn headers(&self, values: [&str; 3], access: Duration, refresh: Duration) -> [String; 3] {
        let [access_token, refresh_token, csrf] = values;
        let cookie = |name: &str, value: &str, path: &str, age: Duration, rest: &str| {
            format!("{name}={value}; Path={path}; Max-Age={}; Secure; {rest}", age.as_secs())
        };
        let http_only = |same_site: &str| format!("HttpOnly; SameSite={same_site}");
        let [access_rest, refresh_rest] = [self.access_same_site, "Strict"].map(http_only);
        [
            cookie(&self.access, access_token, "/", access, &access_rest),
            cookie(&self.refresh, refresh_token, &self.refresh_path, refresh, &refresh_rest),
            cookie(&self.csrf, csrf, "/", refresh, "SameSite=Strict"),
        ]
    }

    pub(super) fn access<'h>(&self, headers: &'h HeaderMap) -> Result<Option<&'h str>, Rejection> {
        the_only(headers, &self.access)
    }

    pub(super) fn csrf<'h>(&self, headers: &'h HeaderMap) -> Result<Option<&'h str>, Rejection> {
        the_only(headers, &self.csrf)
    }

    /// The refresh token that is bound to the CSRF cookie, among whatever else was planted beside it.
    pub(super) fn refresh<'h>(&self, headers: &'h HeaderMap) -> Result<Option<&'h str>, Rejection> {
        let Some(csrf) = self.csrf(headers)? else { return Ok(None) };
        let wanted = binding(csrf);
        let mut bound = all(headers, &self.refresh).filter_map(|value| {
            let (token, binding) = core::str::from_utf8(value).ok()?.rsplit_once('.')?;
            bool::from(binding.as_bytes().ct_eq(wanted.as_bytes())).then_some(token)
        });
        match (bound.next(), bound.next()) {
            (_, Some(_)) => Err(Rejection::TwoTokens),
            (token, None) => Ok(token),
        }
    }

    /// Whether a browser has been logged in with these cookies, as far as others than the refresh cookie tell.
    pub(super) fn are_in(&self, headers: &HeaderMap) -> bool {
        [&self.access, &self.csrf].into_iter().any(|name| all(headers, name).next().is_some())
    }
}

/// A cookie of visible ASCII.
fn header(cookie: String) -> HeaderValue {
    let mut value =
        HeaderValue::try_from(cookie).expect("tokens, names and paths are visible ASCII");
    value.set_sensitive(true);
    value
}

/// What the refresh cookie says of the CSRF cookie that it was set with.
fn binding(csrf: &str) -> String {
    let digest = Sha256::new_with_prefix(b"kippu refresh cookie\0").chain_update(csrf).finalize();
    let digest: [u8; 32] = digest.into();
    base64url::encode(digest.first_chunk::<16>().expect("32 bytes begin with 16"))
}

/// As browsers write one: no path, no usual port.
fn is_origin(origin: &str) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return false };
    let host = authority.as_str();
    let is_right_scheme = match scheme {
        "https" => uri.port_u16() != Some(443),
        "http" => is_this_machine(host) && uri.port_u16() != Some(80),
        _ => false,
    };
    is_right_scheme
        && origin == format!("{scheme}://{host}")
        && host == host.to_ascii_lowercase()
        && !host.contains('@')
        && !host.ends_with(':')
}

/// Whether a host, with its port, is the machine itself, whose HTTP nobody else reads.
pub(super) fn is_this_machine(host: &str) -> bool {
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| {
        host.strip_prefix(name).is_some_and(|port| port.is_empty() || port.starts_with(':'))
    })
}

/// The values of all cookies of a name (RFC 6265 §4.2). What is cleared is none; what other cookies have in them
/// is not ours to judge.
fn all<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h [u8]> {
    let pairs = headers.get_all(COOKIE).into_iter();
    pairs.flat_map(|header| header.as_bytes().split(|byte| *byte == b';')).filter_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        (!value.is_empty()).then_some(value)
    })
}

/// The value of a cookie. Two of one name are two credentials: one of them may be planted.
fn the_only<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Rejection> {
    let mut values = all(headers, name);
    let value = values.next().map(core::str::from_utf8).transpose();
    match values.next() {
        Some(_) => Err(Rejection::TwoTokens),
        None => value.map_err(|_| Rejection::MalformedHeader),
    }
}

fn is_random(csrf: &str) -> bool {
    base64url::decode(csrf).is_ok_and(|bytes| bytes.len() == 16)
}

/// The `Set-Cookie` headers of [`Cookies::set`] and [`Cookies::clear`]; their `Debug` shows no token.
#[derive(Clone, Debug)]
#[must_use = "they set nothing until they are sent"]
pub struct SetCookies([HeaderValue; 3]);

impl SetCookies {
    /// Their values, one header each, for servers other than axum.
    pub fn into_values(self) -> impl Iterator<Item = HeaderValue> {
        self.0.into_iter()
    }
}

impl IntoResponseParts for SetCookies {
    type Error = Infallible;

    /// They are tokens, which no cache may keep.
    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Infallible> {
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for value in self.0 {
            headers.append(SET_COOKIE, value);
        }
        Ok(response)
    }
}
