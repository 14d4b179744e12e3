//! The headers that set and clear cookies. Everything that can fail is checked before tokens are
//! made: every token that a session can issue fits.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use kippu::session::TokenResponse;

use super::{
    CookieError, Cookies,
    place::Place,
    read::binding,
    settings::{SameSite, Settings},
};

/// The length that every browser accepts, including the name and the attributes (RFC 6265 §6.1).
pub(super) const MAX_COOKIE_LEN: usize = 4096;

impl Cookies {
    /// Returns the headers that put the tokens of a login into the browser, and that remove the
    /// cookies of old names that its request has. `csrf` is [new](super::new_csrf).
    pub(crate) fn set(
        &self,
        request: &HeaderMap,
        tokens: &TokenResponse,
        csrf: &str,
    ) -> Result<SetCookies, CookieError> {
        // A `;` would end the value and begin an attribute (RFC 6265 §4.1.1).
        let is_token =
            |token: &str| token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !is_token(&tokens.access_token) || !is_token(&tokens.refresh_token) {
            return Err(CookieError::NoToken);
        }
        let set = self.renew(request, tokens, csrf);
        match set.values.iter().map(HeaderValue::len).find(|&len| len > MAX_COOKIE_LEN) {
            Some(length) => Err(CookieError::TooLong { length }),
            None => Ok(set),
        }
    }

    /// Returns the headers of [`set`](Self::set) for tokens within [the limit](Self::check_limit),
    /// so that nothing can fail after a refresh. The CSRF token stays, because other tabs have read
    /// it.
    pub(crate) fn renew(
        &self,
        request: &HeaderMap,
        tokens: &TokenResponse,
        csrf: &str,
    ) -> SetCookies {
        let TokenResponse { access_token, refresh_token, expires_in, refresh_expires_in, .. } =
            tokens;
        let bound = format!("{refresh_token}.{}", binding(csrf));
        // Without an age a cookie ends with the browser (RFC 6265 §5.3).
        let ages = tokens.remembered.then_some([*expires_in, *refresh_expires_in]);
        let mut values = self.headers([access_token, &bound, csrf], ages);
        // The request may lack an old cookie because of its path. That cookie is bound to the CSRF
        // cookie of an earlier login, or it is replaced when a request has it.
        values.extend(self.earlier().filter(|place| place.is_in(request)).map(gone));
        SetCookies { values, expires_in: *expires_in }
    }

    /// Returns the headers that remove the cookies.
    pub fn clear(&self) -> SetCookies {
        let zero = Duration::ZERO;
        let mut values = self.headers([""; 3], Some([zero; 2]));
        values.extend(self.earlier().map(gone));
        SetCookies { values, expires_in: zero }
    }

    /// `ages` are those of the access token and of the refresh token.
    fn headers(&self, values: [&str; 3], ages: Option<[Duration; 2]>) -> Vec<HeaderValue> {
        let [access_token, refresh_token, csrf] = values;
        let max_age = |age: Duration| format!(" Max-Age={};", age.as_secs());
        let [access, refresh] = ages.map(|ages| ages.map(max_age)).unwrap_or_default();
        let Settings { same_site, is_insecure, is_to_every_path, .. } = self.settings;
        let secure = if is_insecure { "" } else { " Secure;" };
        // Only a request for a page, which a link may begin, needs the refresh cookie.
        let of_refresh = match same_site {
            SameSite::Lax if !is_to_every_path => SameSite::Strict,
            same_site => same_site,
        };
        let (of_access, of_refresh) = (same_site.attribute(), of_refresh.attribute());
        let cookie = |Place { name, path }: &Place, value: &str, age: &str, rest: &str| {
            header(format!("{name}={value}; Path={path};{age}{secure} {rest}"))
        };
        vec![
            cookie(&self.access.current, access_token, &access, &format!("HttpOnly; {of_access}")),
            cookie(
                &self.refresh.current,
                refresh_token,
                &refresh,
                &format!("HttpOnly; {of_refresh}"),
            ),
            cookie(&self.csrf, csrf, &refresh, of_refresh),
        ]
    }

    fn earlier(&self) -> impl Iterator<Item = &Place> {
        self.access.earlier.iter().chain(&self.refresh.earlier)
    }
}

/// Returns the header that removes a cookie of an earlier name.
fn gone(Place { name, path }: &Place) -> HeaderValue {
    header(format!("{name}=; Path={path}; Max-Age=0; Secure; HttpOnly; SameSite=Strict"))
}

/// Returns the header of a cookie, which is visible ASCII.
fn header(cookie: String) -> HeaderValue {
    let mut value =
        HeaderValue::try_from(cookie).expect("tokens, names and paths are visible ASCII");
    // `Debug` then hides the token, and HTTP/2 keeps it out of its table of headers (RFC 7541
    // §7.1.3).
    value.set_sensitive(true);
    value
}

/// The `Set-Cookie` headers of [`Guard::set_cookies`](crate::Guard::set_cookies) and
/// [`Cookies::clear`]; their `Debug` shows no token.
#[derive(Clone, Debug)]
#[must_use = "they set nothing until they are sent"]
pub struct SetCookies {
    values: Vec<HeaderValue>,
    expires_in: Duration,
}

impl SetCookies {
    /// Returns how long the access token is accepted, for a page that cannot read the token and has
    /// to refresh in time. It is zero if the cookies are cleared.
    pub fn expires_in(&self) -> Duration {
        self.expires_in
    }

    /// Returns the values, one header for each, for servers other than axum.
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

    use super::{super::MAX_PATH_LEN, *};
    use crate::cookie::new_csrf;

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

    /// The checks before a login are enough for the longest names, path, key id, lifetimes and
    /// access token.
    #[tokio::test]
    async fn the_longest_cookies_fit() {
        let mut tokens = sessions().login("alice", &NoClaims {}).await.unwrap();
        tokens.access_token = "a".repeat(Cookies::MAX_ACCESS_TOKEN_LEN);
        (tokens.expires_in, tokens.refresh_expires_in) = (Duration::MAX, Duration::MAX);
        let path = format!("/{}", "p".repeat(MAX_PATH_LEN - 1));
        let cookies = Cookies::new(&path).unwrap().named(&"n".repeat(32)).unwrap();
        let cookies = cookies.partitioned().unwrap();
        let csrf = new_csrf().unwrap();
        let set = cookies.set(&HeaderMap::new(), &tokens, &csrf).unwrap();
        let lengths: Vec<_> = set.values.iter().map(HeaderValue::len).collect();
        assert!(lengths.iter().all(|length| *length <= MAX_COOKIE_LEN), "{lengths:?}");

        tokens.access_token = "a".repeat(MAX_COOKIE_LEN);
        let error = cookies.set(&HeaderMap::new(), &tokens, &csrf).unwrap_err();
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
                let values =
                    cookies.set(&HeaderMap::new(), &tokens, &new_csrf().unwrap()).unwrap().values;
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
}
