//! Tokens in cookies, where no script of the page reads them: their settings, and the requests that
//! are accepted with them. Settings that browsers would not follow are refused.

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
/// every path, and `__Http-refresh`, sent to the path of the [`SessionRoutes`](super::SessionRoutes)
/// alone. Both are `Secure`, `HttpOnly` and `SameSite=Strict`. They end with their tokens, or with
/// the browser, for a login with [`remember(false)`](kippu::session::Login::remember).
///
/// # Requests of other sites
/// A browser sends cookies with the requests of every page. So a request with one, of a method
/// other than GET, HEAD and OPTIONS, has to come from a page of the same origin, or of one that was
/// [allowed](Cookies::allow_origin):
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
/// its `Host`, or allowed, whatever other headers it has. [`Guard::set_cookies`](super::Guard::set_cookies)
/// asks before a login. Behind a proxy that changes `Host`, the origin that users see has to be
/// allowed for browsers without Fetch Metadata; a `Host` with the usual port of the scheme is the
/// same as one without.
///
/// The refresh cookie, which another host of the domain could set, is bound to `__Host-csrf`, which
/// it cannot: a refresh takes no other.
///
/// # Names
/// Browsers accept a cookie whose name begins with `__Host-Http-` only from a response of this host
/// over HTTPS, for all of its paths, and `HttpOnly`; one with `__Http-` only over HTTPS and
/// `HttpOnly` ([RFC 6265bis](https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis)
/// and its successor, "Cookies: HTTP State Management Mechanism"). No script can set them. A
/// browser that does not know these prefixes gives `__Host-Http-access` the protection of
/// `__Host-`, with which it begins, and `__Http-refresh` none: there the binding to `__Host-csrf`
/// keeps a planted one out.
///
/// Earlier versions wrote `__Host-access` and `__Secure-refresh`. They are still read, for a
/// request without the new cookie of the same kind, so that sessions continue after an upgrade. The
/// next login or refresh writes the new names and removes the old ones, and
/// [`clear`](Cookies::clear) removes both. A script can set the old names. So when the sessions
/// from before the upgrade have ended, call [`forget_old_names`](Cookies::forget_old_names).
///
/// # Strict
/// A link in a mail or on another site, and the way back from another login page, arrive without
/// these cookies: a page that a server makes for its user looks logged out then, until it is loaded
/// again from the site itself. Where that matters, [`Cookies::lax`] sends the access cookie along
/// with such links. Answers to requests with cookies should not be cached by others:
/// `Cache-Control: private`, at least.
///
/// # Other settings
/// - Pages that a server makes, without a script that refreshes: [`Cookies::to_every_path`].
/// - Pages within frames of other sites: [`Cookies::same_site_none`], [`Cookies::partitioned`].
///   Each of these two and [`Cookies::lax`] replaces the others.
/// - A machine of the local network without HTTPS: [`Cookies::insecure_for_development`].
///
/// # Length
/// A browser drops a cookie that is too long, without an error. The sessions therefore refuse
/// longer tokens, before a login is stored or a refresh token used up:
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
    /// Insecure cookies are for plain HTTP, and this URL has HTTPS.
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

/// Browsers ignore a longer attribute, and would send the cookie to another path (RFC 6265bis
/// §5.6).
const MAX_PATH_LEN: usize = 1024;

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

    /// Cookies without `Secure` and without a prefix, for development on another machine of the
    /// local network: `page` is the URL of the site in the browser, for example
    /// `http://192.168.1.7:8080` or `http://devbox:8080`. Everybody in the network can read and
    /// change them. [The guide](super::cookies_in_development) says when they are needed.
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
        Ok(self.set_to(|settings| settings.name = format!("{name}-")))
    }

    /// Does not read the names of earlier versions: see [Names](Self#names). Their cookies are not
    /// removed either.
    #[must_use]
    pub fn forget_old_names(self) -> Self {
        self.set_to(|settings| settings.reads_old_names = false)
    }

    /// Has the refresh cookie sent to every path, as `__Host-Http-refresh` and with the `SameSite`
    /// of the access cookie, for [`SessionRoutes::refresh_layer`](super::SessionRoutes::refresh_layer):
    /// it refreshes within the request for a page. By default the refresh cookie reaches only the
    /// session routes, so that no other handler, proxy or log sees it.
    #[must_use]
    pub fn to_every_path(self) -> Self {
        self.set_to(|settings| settings.is_to_every_path = true)
    }

    /// Has the access cookie sent along when a link of another site is followed (`SameSite=Lax`).
    /// The refresh cookie stays strict, unless it is sent [to every path](Self::to_every_path).
    #[must_use]
    pub fn lax(self) -> Self {
        self.set_to(|settings| settings.same_site = SameSite::Lax)
    }

    /// Has all cookies sent with every request, also of other sites (`SameSite=None`), for a page
    /// within a frame of another site. Browsers that block third-party cookies still send none
    /// there: see [`partitioned`](Self::partitioned).
    ///
    /// # Requests of other sites
    /// The check of `Sec-Fetch-Site`, `Origin` and `X-CSRF-Token` is then **the only defence**
    /// against forged requests: browsers no longer keep the cookies of such requests back. Every
    /// handler that changes something has to use the extractors, the layer or
    /// [`Guard::check_origin`](super::Guard::check_origin). Another site can send GET requests with
    /// the cookies of its visitors: they must change nothing, and their duration and their size
    /// may show the site something. Any site can put the page into a frame and have its visitors
    /// click there, so send `Content-Security-Policy: frame-ancestors` with the sites that may.
    ///
    /// # Errors
    /// [`CookieError::InsecureCrossSite`] for insecure cookies.
    pub fn same_site_none(self) -> Result<Self, CookieError> {
        self.cross_site(SameSite::None)
    }

    /// As [`same_site_none`](Self::same_site_none), with the same consequences for forged requests,
    /// and `Partitioned` (CHIPS): the browser has separate cookies for each site in whose frames
    /// the page is, and for the page itself. So a user logs in once within each site, and no site
    /// can follow the user by these cookies. Browsers accept them where they block other
    /// third-party cookies.
    ///
    /// The names have `partitioned-` in them, because a browser sends a cookie of the same name
    /// that is not partitioned beside the one that is. Users log in again after the change.
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

    /// Accepts requests of pages of another origin, for example `https://app.example.org`; called
    /// again, of another one. Browsers send no cookies with the requests of other sites, unless
    /// they are [`same_site_none`](Self::same_site_none).
    ///
    /// # Errors
    /// [`CookieError::Origin`] for a text that browsers never send: a wildcard, a path, upper case,
    /// the usual port. [`CookieError::InsecureHttps`] for an origin with HTTPS and insecure
    /// cookies, which a page over HTTPS cannot use.
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

    /// Returns whether these cookies are for plain HTTP, over which browsers do not say which site
    /// a request comes from.
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
