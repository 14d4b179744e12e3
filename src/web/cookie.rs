//! Tokens in cookies, where no script of the page reads them: the headers that set, read and clear them.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::{convert::Infallible, time::Duration};

use axum_core::response::{IntoResponseParts, ResponseParts};
use http::{
    HeaderMap, HeaderValue,
    header::{COOKIE, SET_COOKIE},
};

use super::rejection::Rejection;
use crate::{base64url, key::KeyError, session::TokenResponse};

/// Both tokens in cookies of the browser, instead of in its scripts: `__Host-access`, sent to every path, and
/// `__Secure-refresh`, sent to the path of the [`SessionRoutes`](super::SessionRoutes) alone. Both are `Secure`, `HttpOnly`
/// and `SameSite=Strict`; they end with their tokens.
///
/// A browser sends cookies whoever makes it. A request with one, of a method other than GET, HEAD and OPTIONS,
/// is let in only when it comes from a page of the same origin, or of one that was [allowed](Cookies::allow_origin):
/// by `Sec-Fetch-Site`, else by `Origin`, else, from a client that sends neither, when its header `X-CSRF-Token` has the value
/// of the third cookie, `__Host-csrf`, which scripts can read.
///
/// So GET, HEAD and OPTIONS must change nothing.
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
    pub(super) csrf: String,
    refresh_path: String,
    pub(super) allowed_origins: Vec<String>,
}

/// Why there are no such cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CookieError {
    /// A path begins with a slash, and has none of what ends an attribute.
    #[error(
        "the path of the refresh cookie is no path: give the one of the session routes, as /auth"
    )]
    Path,
    /// A name is made of letters, digits and hyphens.
    #[error("a cookie is named by 1 to 32 letters, digits and hyphens")]
    Name,
    /// An origin has a scheme, a host, a port where it is not the usual one, and nothing else.
    #[error("an origin is written as https://host or https://host:port, in small letters")]
    Origin,
}

impl Cookies {
    /// Cookies for session routes that are mounted at `refresh_path`: `/auth` for one, and no slash at its end.
    ///
    /// # Errors
    /// [`CookieError::Path`].
    pub fn new(refresh_path: &str) -> Result<Self, CookieError> {
        let is_path = refresh_path.starts_with('/')
            && (refresh_path.len() == 1 || !refresh_path.ends_with('/'))
            && refresh_path.bytes().all(|b| b.is_ascii_graphic() && b != b';' && b != b',');
        if !is_path {
            return Err(CookieError::Path);
        }
        Ok(Self {
            access: "__Host-access".to_string(),
            refresh: "__Secure-refresh".to_string(),
            csrf: "__Host-csrf".to_string(),
            refresh_path: refresh_path.to_string(),
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

    /// Lets pages of another origin of the same site in: `https://app.example.org`, for one. Pages of other sites
    /// get no cookies sent, since they are `SameSite=Strict`.
    ///
    /// # Errors
    /// [`CookieError::Origin`].
    pub fn allow_origin(mut self, origin: &str) -> Result<Self, CookieError> {
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        let is_origin = host.is_some_and(|host| {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.:[]".contains(&b))
        });
        if !is_origin {
            return Err(CookieError::Origin);
        }
        self.allowed_origins.push(origin.to_string());
        Ok(self)
    }

    /// The headers that put the tokens of a login into the browser. They are response parts:
    /// `(cookies.set(&tokens)?, StatusCode::NO_CONTENT)`.
    ///
    /// # Errors
    /// [`KeyError::NoRandomness`] when the operating system gives no random bytes.
    pub fn set(&self, tokens: &TokenResponse) -> Result<SetCookies, KeyError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| KeyError::NoRandomness)?;
        Ok(self.set_with(tokens, &base64url::encode(&random)))
    }

    /// As [`set`](Self::set), of a refresh: other tabs go on with the CSRF token that they have read.
    pub(super) fn renew(
        &self,
        tokens: &TokenResponse,
        headers: &HeaderMap,
    ) -> Result<SetCookies, KeyError> {
        match read(headers, &self.csrf) {
            Ok(Some(csrf)) if is_random(csrf) => Ok(self.set_with(tokens, csrf)),
            _ => self.set(tokens),
        }
    }

    /// The headers that take them out again.
    pub fn clear(&self) -> SetCookies {
        self.headers(["", "", ""], Duration::ZERO, Duration::ZERO)
    }

    fn set_with(&self, tokens: &TokenResponse, csrf: &str) -> SetCookies {
        let values = [&*tokens.access_token, &*tokens.refresh_token, csrf];
        self.headers(values, tokens.expires_in, tokens.refresh_expires_in)
    }

    fn headers(&self, values: [&str; 3], access: Duration, refresh: Duration) -> SetCookies {
        let [access_token, refresh_token, csrf] = values;
        let cookie = |name: &str, value: &str, path: &str, age: Duration, rest: &str| {
            format!(
                "{name}={value}; Path={path}; Max-Age={}; Secure{rest}; SameSite=Strict",
                age.as_secs()
            )
        };
        let cookies = [
            cookie(&self.access, access_token, "/", access, "; HttpOnly"),
            cookie(&self.refresh, refresh_token, &self.refresh_path, refresh, "; HttpOnly"),
            cookie(&self.csrf, csrf, "/", refresh, ""),
        ];
        SetCookies(cookies.map(|cookie| {
            let mut value =
                HeaderValue::try_from(cookie).expect("tokens, names and paths are visible ASCII");
            value.set_sensitive(true);
            value
        }))
    }

    pub(super) fn access<'h>(&self, headers: &'h HeaderMap) -> Result<Option<&'h str>, Rejection> {
        read(headers, &self.access)
    }

    pub(super) fn refresh<'h>(&self, headers: &'h HeaderMap) -> Result<Option<&'h str>, Rejection> {
        read(headers, &self.refresh)
    }

    pub(super) fn csrf<'h>(&self, headers: &'h HeaderMap) -> Result<Option<&'h str>, Rejection> {
        read(headers, &self.csrf)
    }
}

/// The value of a cookie (RFC 6265 §4.2). Two of one name are two credentials: one of them may be planted.
fn read<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Rejection> {
    let mut found = None;
    for header in headers.get_all(COOKIE) {
        // What other cookies have in them is not ours to judge.
        for pair in header.as_bytes().split(|byte| *byte == b';') {
            let Some(rest) = pair.trim_ascii().strip_prefix(name.as_bytes()) else { continue };
            let Some(value) = rest.strip_prefix(b"=") else { continue };
            let value = core::str::from_utf8(value).map_err(|_| Rejection::MalformedHeader)?;
            if found.replace(value).is_some() {
                return Err(Rejection::TwoTokens);
            }
        }
    }
    // What is cleared.
    Ok(found.filter(|value| !value.is_empty()))
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

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Infallible> {
        for value in self.0 {
            response.headers_mut().append(SET_COOKIE, value);
        }
        Ok(response)
    }
}
