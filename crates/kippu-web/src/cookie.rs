//! Tokens in cookies that no script can read: the settings of the cookies, and the requests that
//! are accepted with them. Refuses settings that browsers would ignore.

mod place;
mod read;
mod settings;
mod write;

use std::fmt;

pub use self::write::SetCookies;
pub(super) use self::{place::Unreadable, read::new_csrf};
use self::{
    place::{Place, Places},
    settings::{SameSite, Settings},
    write::MAX_COOKIE_LEN,
};
use super::origin;

/// Both tokens in cookies of the browser, instead of in its scripts: `__Host-Http-access`, sent to
/// every path, and `__Http-refresh`, sent to the path of the
/// [`SessionRoutes`](super::SessionRoutes) alone. Both are `Secure`, `HttpOnly` and
/// `SameSite=Strict`. They end with their tokens, or with the browser, for a login with
/// [`remember(false)`](kippu::session::Login::remember).
///
/// # Requests of other sites
/// A browser adds its cookies to the requests of every page, those of other sites included. A
/// request with a cookie and a method other than GET, HEAD and OPTIONS therefore has to come from a
/// page of the same origin, or of an [allowed](Cookies::allow_origin) one:
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
/// So GET, HEAD and OPTIONS must change nothing. A page of any site may open a WebSocket and read
/// it: its handshake (`Upgrade`, or CONNECT in HTTP/2) has to have an `Origin` that is the one of
/// its `Host`, or allowed, whatever other headers it has.
/// [`Guard::set_cookies`](super::Guard::set_cookies) asks before a login. Behind a proxy that
/// changes `Host`, the origin that users see has to be allowed for browsers without Fetch Metadata;
/// a `Host` with the usual port of the scheme is the same as one without.
///
/// Another host of the domain can set the refresh cookie, but not `__Host-csrf`. A refresh
/// therefore accepts only a refresh cookie that is bound to `__Host-csrf`.
///
/// # Names
/// Browsers accept a cookie whose name begins with `__Host-Http-` only from a response of this host
/// over HTTPS, for all of its paths, and `HttpOnly`; one with `__Http-` only over HTTPS and
/// `HttpOnly` ([RFC 6265bis](https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis)
/// and its successor, "Cookies: HTTP State Management Mechanism"). No script can set them. A
/// browser that does not know these prefixes protects `__Host-Http-access` like `__Host-`, with
/// which it begins, and does not protect `__Http-refresh`. There, the binding to `__Host-csrf`
/// makes a planted cookie useless.
///
/// Earlier versions wrote `__Host-access` and `__Secure-refresh`. They are still read, for a
/// request without the new cookie of the same kind, so that sessions continue after an upgrade. The
/// next login or refresh writes the new names and removes the old ones, and
/// [`clear`](Cookies::clear) removes both. A script can set the old names. So when the sessions
/// from before the upgrade have ended, call [`forget_old_names`](Cookies::forget_old_names).
///
/// # Strict
/// The browser sends no cookies when the user follows a link in a mail or on another site, or comes
/// back from another login page. A page that the server makes for its user then looks logged out,
/// until it is loaded again from the site itself. If that matters, [`Cookies::lax`] also sends the
/// access cookie with such links. Shared caches must not store responses to requests with cookies:
/// send at least `Cache-Control: private`.
///
/// # Other settings
/// - Pages that a server makes, without a script that refreshes: [`Cookies::to_every_path`].
/// - Pages within frames of other sites: [`Cookies::same_site_none`], [`Cookies::partitioned`].
///   Each of these two and [`Cookies::lax`] replaces the others.
/// - A machine of the local network without HTTPS: [`Cookies::insecure_for_development`].
///
/// # Length
/// A browser drops a cookie that is too long, without an error. The sessions therefore refuse to
/// issue longer tokens, before a login is stored or a refresh token used up:
/// [`Guard::cookies`](super::Guard::cookies) asks for `max_access_token_len`.
///
/// ```
/// use kippu_web::Cookies;
///
/// let cookies = Cookies::new("/auth")?.named("shop")?; // __Host-Http-shop-access, …
/// # Ok::<(), kippu_web::CookieError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Cookies {
    settings: Settings,
    access: Places,
    refresh: Places,
    csrf: Place,
    allowed_origins: Vec<String>,
}

/// Why cookies cannot be made or used.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CookieError {
    /// The path is invalid. A path begins with a slash, does not end with one, and has up to 1,024
    /// bytes: letters, digits, `-`, `_`, `.`, `~` and single slashes.
    #[error(
        "the path of the refresh cookie is invalid: give the path of the session routes, for example /auth"
    )]
    Path,
    /// The name is invalid. A name has 1 to 32 letters, digits and hyphens.
    #[error("a cookie is named by 1 to 32 letters, digits and hyphens")]
    Name,
    /// No browser sends this origin, so that it would never match.
    #[error(
        "browsers never send the origin {given:?}: {reason}. Write https://host or https://host:port"
    )]
    Origin {
        /// The text.
        given: String,
        /// Why browsers do not send it.
        reason: &'static str,
    },
    /// The URL has HTTPS, and insecure cookies are for plain HTTP.
    #[error(
        "{given:?} has HTTPS, and insecure cookies are for plain HTTP in development: use \
         Cookies::new instead of Cookies::insecure_for_development"
    )]
    InsecureHttps {
        /// The URL.
        given: String,
    },
    /// Browsers accept `SameSite=None` and `Partitioned` only for secure cookies.
    #[error(
        "browsers drop insecure cookies with SameSite=None or Partitioned: use Cookies::new, and \
         HTTPS"
    )]
    InsecureCrossSite,
    /// The refresh cookie does not reach the pages whose requests are to refresh it.
    #[error(
        "the refresh cookie is sent to the path of the session routes alone: call \
         Cookies::to_every_path before Guard::cookies"
    )]
    Confined,
    /// Access tokens may be longer than a cookie, and browsers would drop such a cookie.
    #[error(
        "access tokens may have {limit} bytes, and a cookie holds {}: call \
         .max_access_token_len(Cookies::MAX_ACCESS_TOKEN_LEN)? on the builder of the sessions, or \
         .max_token_len(Cookies::MAX_ACCESS_TOKEN_LEN) on a verifier without sessions",
        Cookies::MAX_ACCESS_TOKEN_LEN
    )]
    Limit {
        /// The maximum length of an access token, in bytes.
        limit: usize,
    },
    /// A token is too long for a cookie. It comes from other sessions than those of the guard.
    #[error("a cookie of {length} bytes is too long, {MAX_COOKIE_LEN} is the limit")]
    TooLong {
        /// The length of the cookie, in bytes.
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
    /// Prints the message, for a `main` that returns the error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Browsers ignore a longer attribute, and would send the cookie to another path (RFC 6265bis
/// §5.6).
const MAX_PATH_LEN: usize = 1024;

impl Cookies {
    /// The maximum length of an access token in a cookie, in bytes: the 4,096 bytes that every
    /// browser accepts, without the name and the attributes (RFC 6265 §6.1).
    pub const MAX_ACCESS_TOKEN_LEN: usize = 3900;

    /// Returns cookies for session routes that are mounted at `refresh_path`, as the browser sees
    /// the path, for example `/auth`. With a wrong path the server never receives the refresh
    /// cookie.
    ///
    /// # Errors
    /// [`CookieError::Path`].
    pub fn new(refresh_path: &str) -> Result<Self, CookieError> {
        // Browsers remove dot segments from the URL of a request, so a path with them would never
        // match.
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
        let settings = Settings {
            name: String::new(),
            refresh_path: refresh_path.to_string(),
            is_to_every_path: false,
            same_site: SameSite::Strict,
            is_insecure: false,
            reads_old_names: true,
        };
        Ok(Self::with(settings, Vec::new()))
    }

    /// Returns cookies without `Secure` and without a prefix, for development on another machine of
    /// the local network. `page` is the URL of the site in the browser, for example
    /// `http://192.168.1.7:8080` or `http://devbox:8080`. Everyone in the network can read and
    /// change these cookies. [The guide](super::cookies_in_development) says when they are needed.
    ///
    /// They are named `insecure-access`, `insecure-refresh` and `insecure-csrf`. Pages of `page`
    /// are [allowed](Self::allow_origin).
    ///
    /// # Errors
    /// [`CookieError::InsecureHttps`] if `page` has HTTPS: a server with a certificate sets secure
    /// cookies. [`CookieError::Origin`] if `page` is not `http://host` or `http://host:port`, and
    /// [`CookieError::Path`].
    pub fn insecure_for_development(refresh_path: &str, page: &str) -> Result<Self, CookieError> {
        let Self { settings, allowed_origins, .. } = Self::new(refresh_path)?;
        let settings = Settings { is_insecure: true, reads_old_names: false, ..settings };
        let cookies = Self::with(settings, allowed_origins).allow_origin(page)?;
        tracing::warn!(
            target: "kippu_web",
            page,
            "cookies are insecure: everybody in the network can read the tokens"
        );
        Ok(cookies)
    }

    fn with(settings: Settings, allowed_origins: Vec<String>) -> Self {
        let [access, refresh] = [settings.access(), settings.refresh()];
        let csrf = Place::new(settings.current("__Host-", "csrf"), "/");
        Self { settings, access, refresh, csrf, allowed_origins }
    }

    fn set_to(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.settings;
        change(&mut settings);
        Self::with(settings, self.allowed_origins)
    }

    /// Adds `name` to the names of the cookies. Applications on one host need different names,
    /// because a browser sends the cookies of one port to all ports.
    ///
    /// # Errors
    /// [`CookieError::Name`].
    pub fn named(self, name: &str) -> Result<Self, CookieError> {
        let is_name = (1..=32).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !is_name {
            return Err(CookieError::Name);
        }
        Ok(self.set_to(|settings| settings.name = format!("{name}-")))
    }

    /// Stops reading the cookies with the names of earlier versions: see [Names](Self#names). Does
    /// not remove them from browsers.
    #[must_use]
    pub fn forget_old_names(self) -> Self {
        self.set_to(|settings| settings.reads_old_names = false)
    }

    /// Has the refresh cookie sent to every path, as `__Host-Http-refresh` and with the `SameSite`
    /// of the access cookie, for
    /// [`SessionRoutes::refresh_layer`](super::SessionRoutes::refresh_layer): it refreshes within
    /// the request for a page. By default the refresh cookie reaches only the session routes, so
    /// that no other handler, proxy or log sees it.
    #[must_use]
    pub fn to_every_path(self) -> Self {
        self.set_to(|settings| settings.is_to_every_path = true)
    }

    /// Lets browsers send the access cookie when a user follows a link of another site
    /// (`SameSite=Lax`).
    /// The refresh cookie stays strict, unless it is sent [to every path](Self::to_every_path).
    #[must_use]
    pub fn lax(self) -> Self {
        self.set_to(|settings| settings.same_site = SameSite::Lax)
    }

    /// Makes the browser send all cookies with every request, also with those of other sites
    /// (`SameSite=None`), for a page within a frame of another site. Browsers that block
    /// third-party cookies send none there: see [`partitioned`](Self::partitioned).
    ///
    /// # Requests of other sites
    /// The check of `Sec-Fetch-Site`, `Origin` and `X-CSRF-Token` is then **the only defence**
    /// against forged requests, because browsers add the cookies to such requests. Every handler
    /// that changes something has to use the extractors, the layer or
    /// [`Guard::check_origin`](super::Guard::check_origin). Another site can send GET requests with
    /// the cookies of its visitors. Such requests must change nothing, and their duration and size
    /// may disclose something to the site. Any site can put the page into a frame and make its
    /// visitors click there: send `Content-Security-Policy: frame-ancestors` with the sites that
    /// may.
    ///
    /// # Errors
    /// [`CookieError::InsecureCrossSite`] for insecure cookies.
    pub fn same_site_none(self) -> Result<Self, CookieError> {
        self.cross_site(SameSite::None)
    }

    /// Makes the browser send all cookies, like [`same_site_none`](Self::same_site_none) and with
    /// the same consequences for forged requests, but keep them `Partitioned` (CHIPS). The browser
    /// then has separate cookies for each site in whose frames the page is, and for the page
    /// itself. A user logs in once within each site, and no site can follow the user by these
    /// cookies. Browsers that block other third-party cookies accept them.
    ///
    /// The names contain `partitioned-`, because a browser sends a partitioned cookie and one that
    /// is not partitioned together, even with the same name. Users log in again after the change.
    ///
    /// # Errors
    /// [`CookieError::InsecureCrossSite`] for insecure cookies.
    pub fn partitioned(self) -> Result<Self, CookieError> {
        self.cross_site(SameSite::Partitioned)
    }

    fn cross_site(self, same_site: SameSite) -> Result<Self, CookieError> {
        if self.settings.is_insecure {
            return Err(CookieError::InsecureCrossSite);
        }
        Ok(self.set_to(|settings| settings.same_site = same_site))
    }

    /// Also accepts requests of pages of this origin, for example `https://app.example.org`. Call
    /// it again for each further origin. If the origin belongs to another site, browsers send
    /// cookies only with [`same_site_none`](Self::same_site_none).
    ///
    /// # Errors
    /// [`CookieError::Origin`] for a text that browsers never send: a wildcard, a path, upper case,
    /// or the default port. [`CookieError::InsecureHttps`] for insecure cookies and an origin with
    /// HTTPS, where browsers do not send them.
    pub fn allow_origin(mut self, origin: &str) -> Result<Self, CookieError> {
        let given = origin.to_string();
        let is_https = origin.get(..6).is_some_and(|text| text.eq_ignore_ascii_case("https:"));
        if self.settings.is_insecure && is_https {
            return Err(CookieError::InsecureHttps { given });
        }
        match origin::check(origin, self.settings.is_insecure) {
            Ok(()) => self.allowed_origins.push(given),
            Err(reason) => return Err(CookieError::Origin { given, reason }),
        }
        Ok(self)
    }

    pub(super) fn allows(&self, origin: &str) -> bool {
        self.allowed_origins.iter().any(|allowed| allowed == origin)
    }

    /// Returns whether these cookies are for plain HTTP, over which browsers do not send
    /// `Sec-Fetch-Site`.
    pub(super) fn are_insecure(&self) -> bool {
        self.settings.is_insecure
    }

    pub(super) fn are_to_every_path(&self) -> bool {
        self.settings.is_to_every_path
    }

    /// Checks that every access token of `limit` bytes fits.
    pub(super) fn check_limit(limit: usize) -> Result<(), CookieError> {
        if limit > Self::MAX_ACCESS_TOKEN_LEN { Err(CookieError::Limit { limit }) } else { Ok(()) }
    }
}
