//! The web: a request with an access token in, what it says out, or the answer that RFC 6750 has for it. A request
//! with two credentials, and one that another site made a browser send with its cookies, are refused.
//!
//! ```
//! use std::sync::Arc;
//!
//! use axum::{Router, extract::FromRef, routing::get};
//! use kippu::{Algorithm, Key, session::{AccessVerifier, NoClaims}, web::{Access, Guard}};
//!
//! #[derive(Clone, FromRef)]
//! struct App { guard: Guard }
//!
//! async fn hello(Access(token): Access<NoClaims>) -> String {
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
//! - [`Access`] hands a handler the token of a request, `Option<Access>` that of one who may have none, [`Live`] one
//!   whose session has not been logged out.
//! - [`Guard::layer`] stands before a whole router.
//! - [`Guard::remember`] spares a server the verification of a token that it verified a moment ago.
//! - [`SessionRoutes`] answers `refresh`, `logout`, `logout_others`, `logout_all` and `sessions`. The login is the
//!   application's.
//! - [`Cookies`] keeps both tokens where no script reads them; with it comes the defence against forged requests.
//!
//! It is made of [`http`], [`tower_layer`] and [`tower_service`], and of [`axum_core`] where a handler of axum asks.
//! For servers that are none of these, see [`servers`](crate::servers).

mod answer;
mod bearer;
mod cookie;
mod csrf;
mod extract;
mod layer;
mod memory;
mod rejection;
mod routes;

use alloc::sync::Arc;

use http::request::Parts;
use serde::de::DeserializeOwned;

use self::memory::Memory;
pub use self::{
    cookie::{CookieError, Cookies, SetCookies},
    extract::{Access, Live},
    layer::{GuardLayer, Guarded},
    rejection::{Rejection, Scoped},
    routes::SessionRoutes,
};
use crate::{
    error::DecodeError,
    session::{AccessToken, AccessVerifier, TokenResponse},
};

/// How requests are let in: with which keys their access tokens are verified, and where tokens may stand. It is cheap
/// to clone, and belongs into the state of the application.
///
/// A token stands in the header `Authorization` (RFC 6750 §2.1), and, when [`Guard::cookies`] says so, in a
/// cookie. It is never read from the URL or a form (RFC 9700 §4.3.2).
#[derive(Clone, Debug)]
pub struct Guard(Arc<Admission>);

/// What every clone of a guard shares.
#[derive(Clone, Debug)]
struct Admission {
    verifier: Arc<AccessVerifier>,
    cookies: Option<Cookies>,
    memory: Arc<Memory>,
}

impl Guard {
    /// Lets in who has an access token that `verifier` verifies, for one the
    /// [`verifier`](crate::session::Sessions::verifier) of the sessions.
    pub fn new(verifier: impl Into<Arc<AccessVerifier>>) -> Self {
        let memory = Arc::new(Memory::new(0));
        Self(Arc::new(Admission { verifier: verifier.into(), cookies: None, memory }))
    }

    /// Lets in who has the token in a cookie too. A request that changes something, and has it there, has to come
    /// from a page of the same site: see [`Cookies`].
    #[must_use]
    pub fn cookies(self, cookies: Cookies) -> Self {
        self.with(|admission| admission.cookies = Some(cookies))
    }

    /// Remembers about as many access tokens as this, of those that [`Access`] and [`Guard::layer`] verified last,
    /// with what they say. The same token again is not verified again as long as it would be verified: until it
    /// expires, its key retires or the keys are replaced, by the clock of each request.
    ///
    /// It saves the MAC and the reading of the claims, and costs a copy of each of these tokens in memory until
    /// another one takes its place. Nothing is remembered unless this is said. What holds of access tokens holds as before:
    /// that a session has ended is seen by [`Live`] alone.
    #[must_use]
    pub fn remember(self, tokens: usize) -> Self {
        self.with(|admission| admission.memory = Arc::new(Memory::new(tokens)))
    }

    fn with(self, change: impl FnOnce(&mut Admission)) -> Self {
        let mut admission = Arc::unwrap_or_clone(self.0);
        change(&mut admission);
        Self(Arc::new(admission))
    }

    /// The access token of a request, verified. A handler has [`Access`] for this.
    ///
    /// # Errors
    /// [`Rejection`], which is the answer.
    pub fn authenticate<C: DeserializeOwned>(
        &self,
        request: &Parts,
    ) -> Result<AccessToken<C>, Rejection> {
        Ok(self.authenticate_by(request, |token| self.0.verifier.verify(token))?.0)
    }

    /// As [`Guard::authenticate`], by the memory.
    fn admit<C: DeserializeOwned + Send + Sync + 'static>(
        &self,
        request: &Parts,
    ) -> Result<Arc<AccessToken<C>>, Rejection> {
        let Admission { verifier, memory, .. } = &*self.0;
        Ok(self.authenticate_by(request, |token| memory.verify(token, verifier))?.0)
    }

    /// What `verify` says of the token of a request, with the cookies, if it is they that it stands in.
    fn authenticate_by<T>(
        &self,
        request: &Parts,
        verify: impl FnOnce(&str) -> Result<T, DecodeError>,
    ) -> Result<(T, Option<&Cookies>), Rejection> {
        let (token, cookies) = self.credential(request)?;
        if cookies.is_some() {
            self.check_origin(request)?;
        }
        let verified = verify(token).map_err(|error| match cookies {
            None if !bearer::is_token(token) => Rejection::MalformedHeader,
            _ => error.into(),
        });
        Ok((verified?, cookies))
    }

    /// The headers that put the tokens of a login into the browser, when [`Guard::cookies`] was said:
    /// `(guard.set_cookies(&tokens)?, StatusCode::NO_CONTENT)`.
    ///
    /// # Errors
    /// [`Rejection::Cookies`], for one where the access token is too long for a cookie.
    pub fn set_cookies(&self, tokens: &TokenResponse) -> Result<SetCookies, Rejection> {
        let cookies = self.0.cookies.as_ref().ok_or(CookieError::None)?;
        Ok(cookies.set(tokens)?)
    }

    /// That a request which a browser may have sent with its cookies was meant by a page of the same site; without
    /// [`Guard::cookies`] it always was. The routes and extractors here ask by themselves; a login that sets cookies
    /// has to, or another site logs the user into somebody else's account:
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use axum::{extract::State, http::{StatusCode, request::Parts}, response::IntoResponse};
    /// # use kippu::{session::{MemoryStore, NoClaims, Sessions}, web::{Guard, Rejection}};
    /// # #[derive(Clone)] struct App { guard: Guard, sessions: Arc<Sessions<MemoryStore>> }
    /// async fn login(State(app): State<App>, request: Parts) -> Result<impl IntoResponse, Rejection> {
    ///     app.guard.check_origin(&request)?;
    ///     // … after the password was checked:
    ///     let tokens = app.sessions.login("user-12345", &NoClaims {}).await?;
    ///     Ok((app.guard.set_cookies(&tokens)?, StatusCode::NO_CONTENT))
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Rejection::CrossSite`].
    pub fn check_origin(&self, request: &Parts) -> Result<(), Rejection> {
        match &self.0.cookies {
            Some(cookies) if !csrf::is_meant(cookies, request) => Err(Rejection::CrossSite),
            _ => Ok(()),
        }
    }

    /// The only token of a request, and the cookies, if it is they that it stands in.
    fn credential<'r>(&self, request: &'r Parts) -> Result<(&'r str, Option<&Cookies>), Rejection> {
        let cookies = self.0.cookies.as_ref();
        let in_header = bearer::token(&request.headers)?;
        let in_cookie = match cookies {
            Some(cookies) => cookies.access(&request.headers)?,
            None => None,
        };
        match (in_header, in_cookie) {
            (None, None) => Err(Rejection::MissingToken),
            (Some(_), Some(_)) => Err(Rejection::TwoTokens),
            (Some(token), None) => Ok((token, None)),
            (None, Some(token)) => Ok((token, cookies)),
        }
    }
}
