//! Logins over HTTP: a request with an access token in; its claims out, or the answer of RFC 6750.
//! Refuses a request with two credentials of one kind, and a request with cookies that a page of
//! another site has sent.
//!
//! ```
//! use std::sync::Arc;
//!
//! use axum::{Router, extract::FromRef, routing::get};
//! use kippu::{Algorithm, Key, session::{AccessVerifier, NoClaims}};
//! use kippu_web::{Access, Guard};
//!
//! #[derive(Clone, FromRef)]
//! struct App { guard: Guard }
//!
//! async fn hello(token: Access<NoClaims>) -> String {
//!     format!("Hello {}!", token.subject)
//! }
//!
//! # fn main() -> Result<(), kippu::KeyError> {
//! let key = Key::generate(Algorithm::Hs256)?; // from the secret manager, the one that logins sign with
//! let guard = Guard::new(AccessVerifier::new(key, "https://auth.example", "api"));
//! let app: Router = Router::new().route("/hello", get(hello)).with_state(App { guard });
//! # let _ = app;
//! # Ok(())
//! # }
//! ```
//!
//! - [`Access`] gives a handler the token of its request, `Option<Access>` also accepts requests
//!   without one, [`Live`] refuses a token whose session has ended.
//! - [`Guard::layer`] protects a whole server: a router of axum, a service of hyper, a server of
//!   tonic.
//! - [`SessionRoutes`] answers `refresh` (RFC 6749 §6), `revoke` (RFC 7009), `logout`,
//!   `logout_others`, `logout_all` and `sessions`. The login is the application's.
//! - [`Cookies`] keeps both tokens where no script reads them, and refuses forged requests.
//! - [`RefreshLayer`] refreshes within the request, for pages that a server makes.
//!
//! It is built on [`http`], [`tower_layer`] and [`tower_service`], and on [`axum_core`] for
//! handlers of axum. With the feature `grpc`, a guard answers the calls of gRPC as gRPC does. The
//! crate `kippu-actix` is for actix-web. The page [`servers`] lists the tests that run on each
//! server, and the functions that an integration of another framework calls.
//!
//! The page `axum_login` is a tutorial: a first login in axum, from `cargo new` to a test. The
//! program `examples/axum_login.rs` also has users with passwords, and keeps its sessions in
//! SQLite.

#[doc = include_str!("axum_login.md")]
#[cfg(feature = "axum")]
pub mod axum_login {}
#[doc = include_str!("cookies_in_development.md")]
pub mod cookies_in_development {}
#[doc = include_str!("production.md")]
pub mod production {}
#[doc = include_str!("proxies.md")]
pub mod proxies {}
#[doc = include_str!("refresh_in_requests.md")]
pub mod refresh_in_requests {}
#[doc = include_str!("servers.md")]
pub mod servers {}
// tests/frameworks compiles its examples, which need more of axum than this crate.
#[cfg_attr(not(doctest), doc = include_str!("sockets.md"))]
pub mod sockets {}

mod access;
mod answer;
mod asked;
#[cfg(feature = "axum")]
mod axum;
mod bearer;
mod bodies;
mod body;
mod cookie;
mod csrf;
mod exempt;
#[cfg(feature = "axum")]
mod extract;
mod form;
#[cfg(feature = "grpc")]
mod grpc;
mod handshake;
mod layer;
mod live;
mod login;
mod metadata;
mod origin;
mod rejection;
mod renewal;
mod routes;
#[cfg(feature = "testing")]
pub mod testing;

use std::{future::Future, sync::Arc};

use http::request::Parts;
use kippu::{
    DecodeError,
    session::{AccessVerifier, RefreshStore, SessionError, Sessions, TokenResponse},
};
use serde::de::DeserializeOwned;

#[cfg(feature = "axum")]
pub use self::access::Live;
pub use self::{
    access::{Access, Scoped},
    answer::{GrantError, Tokens},
    body::GuardedBody,
    cookie::{CookieError, Cookies, SetCookies},
    layer::{GuardLayer, Guarded},
    login::login_from,
    metadata::server_metadata,
    rejection::Rejection,
    renewal::{RefreshLayer, Refreshing},
    routes::SessionRoutes,
};
use self::{live::AnySessions, renewal::Renewal};

/// Decides which requests are accepted: it knows the keys of the access tokens, and where a request
/// may have its token. It is cheap to clone. Keep it in the state of the application.
///
/// | the request has | the guard checks |
/// |---|---|
/// | `Authorization: Bearer …` (RFC 6750 §2.1) | only this token. If it is not valid, a cookie does not replace it |
/// | the access cookie, with [`Guard::cookies`] | the cookie, and which site the request comes from: see [`Cookies`] |
/// | a token among the subprotocols of a WebSocket, with [`Guard::subprotocol_tokens`] | only this token, as above |
/// | `Authorization` of another scheme | the subprotocols or the cookie, if there is one |
/// | neither | 401, or `None` for `Option<Access>` |
///
/// A token is never read from the URL or a form (RFC 9700 §4.3.2). Two `Authorization` headers, two
/// cookies of one name, or tokens in both `Authorization` and the subprotocols are a 400.
#[derive(Clone, Debug)]
pub struct Guard(Arc<Admission>);

/// The state that all clones of a guard share.
#[derive(Clone, Debug)]
struct Admission {
    verifier: Arc<AccessVerifier>,
    /// `None` for a guard that only verifies.
    sessions: Option<AnySessions>,
    cookies: Option<Cookies>,
    /// Whether tokens may be among the subprotocols of a WebSocket.
    subprotocol_tokens: bool,
}

impl Guard {
    /// Returns a guard that accepts the access tokens that `verifier` accepts, for a server without
    /// `Sessions`.
    pub fn new(verifier: impl Into<Arc<AccessVerifier>>) -> Self {
        Self::with(verifier.into(), None)
    }

    /// Returns a guard that accepts the access tokens of these sessions. Only such a guard can
    /// check that a session has not ended ([`Live`], [`GuardLayer::live`]).
    pub fn for_sessions<S: RefreshStore>(sessions: &Arc<Sessions<S>>) -> Self {
        let any = AnySessions::new(Arc::clone(sessions));
        Self::with(Arc::clone(sessions.verifier()), Some(any))
    }

    fn with(verifier: Arc<AccessVerifier>, sessions: Option<AnySessions>) -> Self {
        let admission = Admission { verifier, sessions, cookies: None, subprotocol_tokens: false };
        Self(Arc::new(admission))
    }

    /// Also accepts requests with the token in a cookie. Such a request may change something only
    /// if it comes from a page of the same site: see [`Cookies`].
    ///
    /// Build the sessions with a limit for access tokens that fits into a cookie. A login or a
    /// refresh whose claims are too long then fails before anything is stored or used up:
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use kippu::session::{MemoryStore, Sessions};
    /// use kippu_web::{Cookies, Guard};
    /// # use kippu::{Algorithm, Key};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let sessions = Sessions::builder(MemoryStore::new(100_000))
    ///     .max_access_token_len(Cookies::MAX_ACCESS_TOKEN_LEN)?
    ///     .issuer("https://auth.example").audience("api").client("web")
    /// #   .access_key(Key::generate(Algorithm::Hs256)?)
    /// #   .refresh_key(Key::generate(Algorithm::Hs256)?.with_kid("2026-11"))
    ///     // … and the keys
    ///     .build()?;
    /// let guard = Guard::for_sessions(&Arc::new(sessions)).cookies(Cookies::new("/auth")?)?;
    /// # let _ = guard;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CookieError::Limit`] if the verifier accepts tokens that are longer than
    /// [`Cookies::MAX_ACCESS_TOKEN_LEN`].
    pub fn cookies(self, cookies: Cookies) -> Result<Self, CookieError> {
        Cookies::check_limit(self.0.verifier.token_len_limit())?;
        let mut admission = Arc::unwrap_or_clone(self.0);
        admission.cookies = Some(cookies);
        Ok(Self(Arc::new(admission)))
    }

    /// Also accepts a WebSocket handshake with the token among its subprotocols, the only header of
    /// a handshake that a page can set. The client offers two subprotocols: the token behind
    /// `kippu.bearer.`, and one that the server selects:
    ///
    /// ```js
    /// new WebSocket("wss://api.example/feed", ["feed.v1", `kippu.bearer.${accessToken}`])
    /// ```
    ///
    /// The server must select the other one and never repeat the token. It does so if it chooses
    /// from a fixed list, as `WebSocketUpgrade::protocols(["feed.v1"])` of axum does. A handshake
    /// with the token alone is a 400 ([`Rejection::Subprotocols`]). A page of any origin may send
    /// such a handshake: it proves with the token that it may.
    ///
    /// Proxies log `Sec-WebSocket-Protocol` more readily than `Authorization`: see
    /// [`proxies`].
    #[must_use]
    pub fn subprotocol_tokens(self) -> Self {
        let admission = Arc::unwrap_or_clone(self.0);
        Self(Arc::new(Admission { subprotocol_tokens: true, ..admission }))
    }

    /// Verifies the access token of a request. Handlers of axum extract an [`Access`] instead,
    /// which also refreshes behind a [`RefreshLayer`]. The page [`servers`] shows how an extractor
    /// for another framework calls this.
    ///
    /// # Errors
    /// The [`Rejection`] to answer the request with.
    pub fn authenticate<C: DeserializeOwned>(
        &self,
        request: &Parts,
    ) -> Result<Access<C>, Rejection> {
        let (token, _) = self.authenticate_by(request, |token| self.0.verifier.verify(token))?;
        Ok(Access::new(token, Arc::clone(&self.0.verifier)))
    }

    /// Verifies the access token of a request, like [`Guard::authenticate`], and refreshes behind a
    /// [`RefreshLayer`].
    async fn admit<C: DeserializeOwned>(&self, request: &Parts) -> Result<Access<C>, Rejection> {
        let (token, _) = self.admit_by(request, |token| self.0.verifier.verify(token)).await?;
        Ok(Access::new(token, Arc::clone(&self.0.verifier)))
    }

    /// Verifies a request, like [`Guard::authenticate_by`], and refreshes behind a
    /// [`RefreshLayer`].
    async fn admit_by<T>(
        &self,
        request: &Parts,
        verify: impl Fn(&str) -> Result<T, DecodeError>,
    ) -> Result<(T, Option<&Cookies>), Rejection> {
        match self.authenticate_by(request, &verify) {
            Ok(found) => return Ok(found),
            Err(rejection) => self.renew(request, rejection).await?,
        }
        self.authenticate_by(request, verify)
    }

    /// Refreshes for a rejected request, if a new token can help it and if it may refresh.
    ///
    /// # Errors
    /// The rejection, or that of the refresh. If the refresh token is refused, the request counts
    /// as one without a token.
    async fn renew(&self, request: &Parts, rejection: Rejection) -> Result<(), Rejection> {
        let is_curable = match &rejection {
            Rejection::MissingToken => self.0.cookies.is_some(),
            // A token in the header or among the subprotocols is not replaced by a cookie.
            Rejection::InvalidToken(_) => matches!(self.credential(request), Ok((_, Some(_)))),
            _ => false,
        };
        let Some(renewal) = Renewal::of(request, &self.0.verifier).filter(|_| is_curable) else {
            return Err(rejection);
        };
        match renewal.renew(request).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(rejection),
            Err(refused @ Rejection::InvalidGrant(_)) => {
                refused.log();
                Err(Rejection::MissingToken)
            }
            Err(failed) => Err(failed),
        }
    }

    /// Returns whether this guard, or another one with the same verifier, has verified a token. An
    /// extractor takes such a token from the extensions of a request, where a [layer](Guard::layer)
    /// has put it, and does not verify it again.
    pub fn has_verified<C>(&self, access: &Access<C>) -> bool {
        access.is_verified_by(&self.0.verifier)
    }

    /// Checks that the session of a token has not ended, with one read of the store. Handlers of
    /// axum extract a `Live` instead.
    ///
    /// # Errors
    /// [`Rejection::Ended`]; [`Rejection::NoSessions`] for a guard that was not made by
    /// [`Guard::for_sessions`]; [`Rejection::Unavailable`] while the store is unavailable, and
    /// [`Rejection::Fault`] if it is not set up correctly.
    pub async fn check_live<C>(&self, access: &Access<C>) -> Result<(), Rejection> {
        let sessions = self.0.sessions.as_ref().ok_or(Rejection::NoSessions)?;
        Ok(sessions.check_live(&access.session_id, &access.subject).await?)
    }

    /// Returns the result of `verify` for the token of a request, and the cookies, if the token is
    /// in one.
    fn authenticate_by<T>(
        &self,
        request: &Parts,
        verify: impl FnOnce(&str) -> Result<T, DecodeError>,
    ) -> Result<(T, Option<&Cookies>), Rejection> {
        let (token, cookies) = self.credential(request)?;
        if cookies.is_some() {
            self.check_origin(request)?;
        }
        // The form of a token is looked at only after a refusal, so that a valid token costs no
        // more.
        let verified = verify(token).map_err(|error| match cookies {
            None if !bearer::is_token(token) => bearer::MALFORMED,
            _ => error.into(),
        });
        Ok((verified?, cookies))
    }

    /// Runs `login`, and returns the headers that set the cookies with its tokens.
    ///
    /// Before it runs `login`, it checks that the guard has cookies and that the request comes from
    /// a page of this site ([`Guard::check_origin`]): a page of another site could log its visitors
    /// into an account of the attacker. So nothing fails after the session has been stored.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use axum::{extract::State, http::{StatusCode, request::Parts}, response::IntoResponse};
    /// # use kippu::session::{MemoryStore, NoClaims, Sessions};
    /// # use kippu_web::{Guard, Rejection};
    /// # #[derive(Clone)] struct App { guard: Guard, sessions: Arc<Sessions<MemoryStore>> }
    /// async fn login(State(app): State<App>, request: Parts) -> Result<impl IntoResponse, Rejection> {
    ///     // … after the password was checked:
    ///     let login = app.sessions.login("user-12345", &NoClaims {}); // not awaited here
    ///     Ok((app.guard.set_cookies(&request, login).await?, StatusCode::NO_CONTENT))
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Rejection::Cookies`] without [`Guard::cookies`], [`Rejection::CrossSite`],
    /// [`Rejection::UnknownOrigin`], [`Rejection::Unavailable`] without random bytes, and the error
    /// of `login`: no session was stored. After the login, [`Rejection::Cookies`] is returned only
    /// for tokens of other sessions than the guard's, which may be too long, and for texts that are
    /// not tokens.
    pub async fn set_cookies(
        &self,
        request: &Parts,
        login: impl Future<Output = Result<TokenResponse, SessionError>>,
    ) -> Result<SetCookies, Rejection> {
        let cookies = self.0.cookies.as_ref().ok_or(CookieError::None)?;
        self.check_origin(request)?;
        let csrf = cookie::new_csrf()?;
        let tokens = login.await.map_err(GrantError)?;
        Ok(cookies.set(&request.headers, &tokens, &csrf)?)
    }

    /// Checks that a request comes from a page of this site, because a browser may have added its
    /// cookies to it. Without [`Guard::cookies`] every request passes. The session routes, the
    /// extractors and [`Guard::set_cookies`] call it themselves. Also call it in the login before
    /// the password is checked, so that other sites cannot try passwords from the browsers of their
    /// visitors.
    ///
    /// # Errors
    /// [`Rejection::CrossSite`], or [`Rejection::UnknownOrigin`] if the request does not show which
    /// site sent it.
    pub fn check_origin(&self, request: &Parts) -> Result<(), Rejection> {
        self.0.cookies.as_ref().map_or(Ok(()), |cookies| csrf::check(cookies, request))
    }

    /// Returns the token to verify, and the cookies, if it is in one. A header that the client has
    /// set comes before the cookies, which a browser adds to every request.
    fn credential<'r>(&self, request: &'r Parts) -> Result<(&'r str, Option<&Cookies>), Rejection> {
        let header = bearer::token(&request.headers)?;
        let offered = if self.0.subprotocol_tokens { handshake::token(request)? } else { None };
        match (header, offered) {
            (Some(_), Some(_)) => return Err(handshake::BESIDE_HEADER),
            (Some(token), None) | (None, Some(token)) => return Ok((token, None)),
            (None, None) => {}
        }
        let cookies = self.0.cookies.as_ref().ok_or(Rejection::MissingToken)?;
        let renewal = Renewal::of(request, &self.0.verifier);
        // The cookie still has the token that this request's refresh has replaced.
        if let Some(token) = renewal.and_then(Renewal::access_token) {
            return Ok((token, Some(cookies)));
        }
        let token = cookies.access(&request.headers)?.ok_or(Rejection::MissingToken)?;
        Ok((token, Some(cookies)))
    }
}
