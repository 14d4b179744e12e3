//! Tokens in cookies, where no script of the page reads them: the headers that set, read and clear
//! them. All that can fail is checked before there are tokens: what a session can make fits.

use std::{fmt, time::Duration};

use http::{HeaderMap, HeaderValue, header::COOKIE};
use kippu::{
    base64url,
    session::{SessionError, TokenResponse},
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::origin;

/// Both tokens in cookies of the browser, instead of in its scripts: `__Host-access`, sent to every
/// path, and `__Secure-refresh`, sent to the path of the [`SessionRoutes`](super::SessionRoutes)
/// alone. Both are `Secure`, `HttpOnly` and `SameSite=Strict`; they end with their tokens.
///
/// # Requests of other sites
/// A browser sends cookies with the requests of every page. So a request with one, of a method
/// other than GET, HEAD and OPTIONS, or one for a WebSocket, has to come from a page of the same
/// origin, or of one that was [allowed](Cookies::allow_origin):
///
/// | the request has | answer |
/// |---|---|
/// | `Sec-Fetch-Site: same-origin` or `none` | accepted |
/// | another `Sec-Fetch-Site`, with an `Origin` that is allowed | accepted |
/// | no `Sec-Fetch-Site`, and the `Origin` that its `Host` has, or one that is allowed | accepted |
/// | neither of the two, and an `X-CSRF-Token` with the value of the third cookie, `__Host-csrf`, which scripts can read | accepted |
/// | neither of the two, and no such `X-CSRF-Token` | 403: one of these headers is missing |
/// | anything else | 403: it comes from another site |
///
/// So GET, HEAD and OPTIONS must change nothing. [`Guard::set_cookies`](super::Guard::set_cookies)
/// asks before a login. Behind a proxy that changes `Host`, the origin that users see has to be
/// allowed for browsers without Fetch Metadata; a `Host` with the usual port of the scheme is the
/// same as one without.
///
/// The refresh cookie, which another host of the domain could set, is bound to `__Host-csrf`, which
/// it cannot: a refresh takes no other.
///
/// # Strict
/// A link in a mail or on another site, and the way back from another login page, arrive without
/// these cookies: a page that a server makes for its user looks logged out then, until it is loaded
/// again from the site itself. Where that matters, [`Cookies::lax`] sends the access cookie along
/// with such links. Answers to requests with cookies should not be cached by others:
/// `Cache-Control: private`, at least.
///
/// # Length
/// A browser drops a cookie that is too long, without an error. The sessions therefore refuse
/// longer tokens, before a login is stored or a refresh token used up:
/// [`Guard::cookies`](super::Guard::cookies) asks for `max_access_token_len`.
///
/// ```
/// use kippu_web::Cookies;
///
/// let cookies = Cookies::new("/auth")?.named("shop")?; // __Host-shop-access, …
/// # Ok::<(), kippu_web::CookieError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Cookies {
    access: String,
    refresh: String,
    csrf: String,
    refresh_path: String,
    access_same_site: &'static str,
    allowed_origins: Vec<String>,
}

/// Why cookies cannot be made or used like this.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CookieError {
    /// A path has up to 1,024 bytes: letters, digits, `-`, `_`, `.`, `~` and single slashes, of
    /// which one begins it and none ends it.
    #[error(
        "the path of the refresh cookie is invalid: give the path of the session routes, for example /auth"
    )]
    Path,
    /// A name is made of letters, digits and hyphens.
    #[error("a cookie is named by 1 to 32 letters, digits and hyphens")]
    Name,
    /// No browser sends this origin: it would never match.
    #[error(
        "browsers never send the origin {given:?}: {reason}. Write https://host or https://host:port"
    )]
    Origin {
        /// The text.
        given: String,
        /// Why browsers do not send it.
        reason: &'static str,
    },
    /// Access tokens may be longer than a cookie: the longest would be made, and then be lost.
    #[error(
        "access tokens may have {limit} bytes, and a cookie holds {}: call \
         .max_access_token_len(Cookies::MAX_ACCESS_TOKEN_LEN)? on the builder of the sessions, or \
         .max_token_len(Cookies::MAX_ACCESS_TOKEN_LEN) on a verifier without sessions",
        Cookies::MAX_ACCESS_TOKEN_LEN
    )]
    Limit {
        /// How long access tokens may be.
        limit: usize,
    },
    /// The tokens are of other sessions than the guard's, which may be longer.
    #[error("a cookie of {length} bytes is too long, {MAX_COOKIE_LEN} is the limit")]
    TooLong {
        /// The bytes of the cookie.
        length: usize,
    },
    /// A token has a character that tokens do not have.
    #[error("a text that is not a token cannot go into a cookie")]
    NoToken,
    /// The guard has no cookies.
    #[error("this guard has no cookies: call Guard::cookies")]
    None,
}

impl fmt::Debug for CookieError {
    /// As its message, for a `main` that returns it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The length that every browser accepts, including the name and the attributes (RFC 6265 §6.1).
const MAX_COOKIE_LEN: usize = 4096;

/// Browsers ignore a longer attribute, and would send the cookie to another path (RFC 6265bis
/// §5.6).
const MAX_PATH_LEN: usize = 1024;

/// A cookie that should hold a token, and cannot be read.
pub(super) enum Unreadable {
    /// There are two of the name: one of them may be planted.
    Several,
    /// It is not text.
    Malformed,
}

impl Cookies {
    /// The longest access token that a cookie holds, in bytes: what is left of the 4,096 bytes that
    /// every browser takes, name and attributes included (RFC 6265 §6.1).
    pub const MAX_ACCESS_TOKEN_LEN: usize = 3900;

    /// Cookies for session routes that are mounted at `refresh_path`, as the browser sees it, for
    /// example `/auth`. With another path the refresh cookie never arrives.
    ///
    /// # Errors
    /// [`CookieError::Path`].
    pub fn new(refresh_path: &str) -> Result<Self, CookieError> {
        let is_segment = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b))
        };
        match refresh_path.strip_prefix('/') {
            _ if refresh_path.len() > MAX_PATH_LEN => return Err(CookieError::Path),
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

    /// Puts `name` into their names, for several applications on one host: ports do not keep
    /// cookies apart.
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

    /// Has the access cookie sent along when a link of another site is followed (`SameSite=Lax`).
    /// The refresh cookie stays strict.
    #[must_use]
    pub fn lax(self) -> Self {
        Self { access_same_site: "Lax", ..self }
    }

    /// Accepts requests of pages of another origin of the same site, for example
    /// `https://app.example.org`; called again, of another one. Browsers send no cookies with the
    /// requests of other sites.
    ///
    /// # Errors
    /// [`CookieError::Origin`] for a text that browsers never send: a wildcard, a path, upper case,
    /// the usual port.
    pub fn allow_origin(mut self, origin: &str) -> Result<Self, CookieError> {
        match origin::check(origin) {
            Ok(()) => self.allowed_origins.push(origin.to_string()),
            Err(reason) => {
                return Err(CookieError::Origin { given: origin.to_string(), reason });
            }
        }
        Ok(self)
    }

    pub(super) fn allows(&self, origin: &str) -> bool {
        self.allowed_origins.iter().any(|allowed| allowed == origin)
    }

    /// Checks that every access token of `limit` bytes fits.
    pub(super) fn check_limit(limit: usize) -> Result<(), CookieError> {
        if limit > Self::MAX_ACCESS_TOKEN_LEN { Err(CookieError::Limit { limit }) } else { Ok(()) }
    }

    /// The headers that put the tokens of a login into the browser. `csrf` is [new](new_csrf).
    pub(super) fn set(
        &self,
        tokens: &TokenResponse,
        csrf: &str,
    ) -> Result<SetCookies, CookieError> {
        let is_token =
            |token: &str| token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !is_token(&tokens.access_token) || !is_token(&tokens.refresh_token) {
            return Err(CookieError::NoToken);
        }
        let set = self.renew(tokens, csrf);
        match set.values.iter().map(HeaderValue::len).find(|&len| len > MAX_COOKIE_LEN) {
            Some(length) => Err(CookieError::TooLong { length }),
            None => Ok(set),
        }
    }

    /// As [`set`](Self::set), for tokens that sessions made within [the limit](Self::check_limit):
    /// nothing can fail after a refresh. Other tabs go on with the CSRF token that they have read.
    pub(super) fn renew(&self, tokens: &TokenResponse, csrf: &str) -> SetCookies {
        let TokenResponse { access_token, refresh_token, expires_in, refresh_expires_in, .. } =
            tokens;
        let bound = format!("{refresh_token}.{}", binding(csrf));
        // Without an age a cookie ends with the browser (RFC 6265 §5.3).
        let ages = tokens.remembered.then_some([*expires_in, *refresh_expires_in]);
        let values = self.headers([access_token, &bound, csrf], ages);
        SetCookies { values: values.map(header), expires_in: *expires_in }
    }

    /// The headers that take them out again.
    pub fn clear(&self) -> SetCookies {
        let zero = Duration::ZERO;
        SetCookies { values: self.headers([""; 3], Some([zero; 2])).map(header), expires_in: zero }
    }

    /// `ages` are those of the access token and of the refresh token.
    fn headers(&self, values: [&str; 3], ages: Option<[Duration; 2]>) -> [String; 3] {
        let [access_token, refresh_token, csrf] = values;
        let max_age = |age: Duration| format!(" Max-Age={};", age.as_secs());
        let [access, refresh] = ages.map(|ages| ages.map(max_age)).unwrap_or_default();
        let cookie = |name: &str, value: &str, path: &str, age: &str, rest: &str| {
            format!("{name}={value}; Path={path};{age} Secure; {rest}")
        };
        let http_only = |same_site: &str| format!("HttpOnly; SameSite={same_site}");
        let [access_rest, refresh_rest] = [self.access_same_site, "Strict"].map(http_only);
        [
            cookie(&self.access, access_token, "/", &access, &access_rest),
            cookie(&self.refresh, refresh_token, &self.refresh_path, &refresh, &refresh_rest),
            cookie(&self.csrf, csrf, "/", &refresh, "SameSite=Strict"),
        ]
    }

    pub(super) fn access<'h>(&self, headers: &'h HeaderMap) -> Result<Option<&'h str>, Unreadable> {
        the_only(headers, &self.access)
    }

    pub(super) fn csrf<'h>(&self, headers: &'h HeaderMap) -> Result<Option<&'h str>, Unreadable> {
        the_only(headers, &self.csrf)
    }

    /// The refresh token that is bound to the CSRF cookie, and that cookie, among whatever else was
    /// planted beside it.
    pub(super) fn refresh<'h>(
        &self,
        headers: &'h HeaderMap,
    ) -> Result<Option<(&'h str, &'h str)>, Unreadable> {
        let Some(csrf) = self.csrf(headers)?.filter(|csrf| is_random(csrf)) else {
            return Ok(None);
        };
        let wanted = binding(csrf);
        let mut bound = texts(headers, &self.refresh).filter_map(|value| {
            let (token, binding) = value.rsplit_once('.')?;
            bool::from(binding.as_bytes().ct_eq(wanted.as_bytes())).then_some((token, csrf))
        });
        match (bound.next(), bound.next()) {
            (_, Some(_)) => Err(Unreadable::Several),
            (token, None) => Ok(token),
        }
    }

    /// The refresh tokens of all cookies that may hold one, whatever they are bound to: for a
    /// logout, which only ends what a token proves.
    pub(super) fn refresh_tokens<'h>(&self, headers: &'h HeaderMap) -> Vec<&'h str> {
        let values = texts(headers, &self.refresh);
        values.map(|value| value.rsplit_once('.').map_or(value, |(token, _)| token)).collect()
    }

    /// As [`refresh_tokens`](Self::refresh_tokens), of access tokens.
    pub(super) fn access_tokens<'h>(&self, headers: &'h HeaderMap) -> Vec<&'h str> {
        texts(headers, &self.access).collect()
    }

    /// Returns whether a browser that has the refresh cookie of a login sends it to another path
    /// than that of this request. The CSRF cookie, which it sends to every path, expires with the
    /// refresh cookie.
    pub(super) fn are_without_refresh(&self, headers: &HeaderMap) -> bool {
        all(headers, &self.csrf).next().is_some() && all(headers, &self.refresh).next().is_none()
    }
}

/// A cookie of visible ASCII.
fn header(cookie: String) -> HeaderValue {
    let mut value =
        HeaderValue::try_from(cookie).expect("tokens, names and paths are visible ASCII");
    value.set_sensitive(true);
    value
}

/// Binds a refresh cookie to the CSRF cookie that it is set with.
fn binding(csrf: &str) -> String {
    let digest = Sha256::new_with_prefix(b"kippu refresh cookie\0").chain_update(csrf).finalize();
    let digest: [u8; 32] = digest.into();
    base64url::encode(digest.first_chunk::<16>().expect("32 bytes begin with 16"))
}

/// The values of all cookies of a name (RFC 6265 §4.2), but for empty ones, which were cleared.
/// Other cookies may have anything in them.
fn all<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h [u8]> {
    let pairs = headers.get_all(COOKIE).into_iter();
    pairs.flat_map(|header| header.as_bytes().split(|byte| *byte == b';')).filter_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        (!value.is_empty()).then_some(value)
    })
}

/// Those that are text, as all tokens are.
fn texts<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h str> {
    all(headers, name).filter_map(|value| std::str::from_utf8(value).ok())
}

/// The value of a cookie. Two of one name are two credentials: one of them may be planted.
fn the_only<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Unreadable> {
    let mut values = all(headers, name);
    let value = values.next().map(std::str::from_utf8).transpose();
    match values.next() {
        Some(_) => Err(Unreadable::Several),
        None => value.map_err(|_| Unreadable::Malformed),
    }
}

/// A value for the CSRF cookie of a login.
///
/// # Errors
/// [`SessionError::NoRandomness`].
pub(super) fn new_csrf() -> Result<String, SessionError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| SessionError::NoRandomness)?;
    Ok(base64url::encode(&random))
}

fn is_random(csrf: &str) -> bool {
    base64url::decode(csrf).is_ok_and(|bytes| bytes.len() == 16)
}

/// The `Set-Cookie` headers of [`Guard::set_cookies`](super::Guard::set_cookies) and
/// [`Cookies::clear`]; their `Debug` shows no token.
#[derive(Clone, Debug)]
#[must_use = "they set nothing until they are sent"]
pub struct SetCookies {
    values: [HeaderValue; 3],
    expires_in: Duration,
}

impl SetCookies {
    /// How long the access token is accepted, for a page that cannot read it and refreshes in time.
    /// Zero where the cookies are cleared.
    pub fn expires_in(&self) -> Duration {
        self.expires_in
    }

    /// Their values, one header each, for servers other than axum.
    pub fn into_values(self) -> impl Iterator<Item = HeaderValue> {
        self.values.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use kippu::{
        Key,
        session::{Login, MemoryStore, NoClaims, Sessions},
    };

    use super::*;

    fn sessions() -> Sessions<MemoryStore> {
        Sessions::builder(MemoryStore::new(2))
            .issuer("https://auth.example")
            .audience("api")
            .client("web")
            .access_key(Key::hs256([1; 32]).unwrap())
            .refresh_key(Key::hs256([2; 32]).unwrap().with_kid("k".repeat(64)))
            .build()
            .unwrap()
    }

    /// All that is checked before a login makes what comes after it fit: the longest names, path,
    /// key id, lifetimes and access token that there are.
    #[tokio::test]
    async fn the_longest_cookies_fit() {
        let mut tokens = sessions().login("alice", &NoClaims {}).await.unwrap();
        tokens.access_token = "a".repeat(Cookies::MAX_ACCESS_TOKEN_LEN);
        (tokens.expires_in, tokens.refresh_expires_in) = (Duration::MAX, Duration::MAX);
        let path = format!("/{}", "p".repeat(MAX_PATH_LEN - 1));
        let cookies = Cookies::new(&path).unwrap().named(&"n".repeat(32)).unwrap();
        let csrf = new_csrf().unwrap();
        let set = cookies.set(&tokens, &csrf).unwrap();
        let lengths = set.values.clone().map(|value| value.len());
        assert!(lengths.iter().all(|length| *length <= MAX_COOKIE_LEN), "{lengths:?}");

        tokens.access_token = "a".repeat(MAX_COOKIE_LEN);
        let error = cookies.set(&tokens, &csrf).unwrap_err();
        assert!(matches!(error, CookieError::TooLong { length: 4097.. }), "{error}");
    }

    #[tokio::test]
    async fn the_cookies_of_a_session_that_is_not_remembered_have_no_age() {
        let sessions = sessions();
        let cookies = Cookies::new("/auth").unwrap();
        for remembered in [false, true] {
            let login = Login::new("alice").remember(remembered);
            let tokens = sessions.login(login, &NoClaims {}).await.unwrap();
            let again = sessions
                .refresh(&tokens.refresh_token, async |_| Ok::<_, CookieError>(Some(NoClaims {})));
            for tokens in [again.await.unwrap(), tokens] {
                let values = cookies.set(&tokens, &new_csrf().unwrap()).unwrap().values;
                for value in values {
                    let has_age = value.to_str().unwrap().contains("Max-Age=");
                    assert_eq!(has_age, remembered, "{value:?}");
                }
            }
        }
        for value in cookies.clear().values {
            assert!(value.to_str().unwrap().contains("Max-Age=0;"), "{value:?}");
        }
    }

    /// A CSRF cookie that no login has set is bound to nothing, whatever the refresh cookie says.
    #[test]
    fn a_refresh_cookie_is_bound_to_a_csrf_cookie_that_a_login_sets() {
        let cookies = Cookies::new("/auth").unwrap();
        let csrf = new_csrf().unwrap();
        for (csrf, is_bound) in [(&*csrf, true), ("x", false), ("", false), (&csrf[1..], false)] {
            let mut headers = HeaderMap::new();
            let pair = format!("__Host-csrf={csrf}; __Secure-refresh=token.{}", binding(csrf));
            headers.insert(COOKIE, HeaderValue::try_from(pair).unwrap());
            let found = cookies.refresh(&headers).ok().flatten();
            assert_eq!(found, is_bound.then_some(("token", csrf)), "{csrf}");
            assert_eq!(cookies.refresh_tokens(&headers), ["token"]);
        }
    }
}
