//! The login of [`kippu`] in actix-web 4: a request with an access token in, its claims out, or the
//! response that RFC 6750 defines. The crate [`kippu_web`] decides which requests are accepted, and
//! writes the responses, like for axum, hyper and tonic.
//!
//! ```
//! use actix_web::{App, HttpServer, web::{self, Data}};
//! use kippu::{Algorithm, Key, session::{AccessVerifier, NoClaims}};
//! use kippu_actix::{Access, Guard};
//!
//! async fn hello(token: Access<NoClaims>) -> String {
//!     format!("Hello {}!", token.subject)
//! }
//!
//! # fn main() -> Result<(), kippu::KeyError> {
//! let key = Key::generate(Algorithm::Hs256)?; // from the secret manager, the one that logins sign with
//! let guard = Guard::new(AccessVerifier::new(key, "https://auth.example", "api"));
//! let server = HttpServer::new(move || {
//!     App::new().app_data(Data::new(guard.clone())).route("/hello", web::get().to(hello))
//! });
//! # let _ = server;
//! # Ok(())
//! # }
//! ```
//!
//! - [`Access`] gives a handler the token of its request, [`Optional`] also accepts requests
//!   without one, [`Live`] refuses a token whose session has ended.
//! - [`GuardMiddleware`] protects an application or a scope.
//! - [`session_routes`] mounts `refresh` (RFC 6749 §6), `revoke` (RFC 7009), `logout`,
//!   `logout_others`, `logout_all` and `sessions`. The login is the application's: it answers with
//!   [`Tokens`] or [`GrantError`], or with [`with_cookies`].
//! - [`Cookies`] keeps both tokens where no script reads them, and refuses forged requests.
//!
//! `examples/login.rs` is a whole login over SQLite.
//!
//! The types of actix-web are those of `http` 0.2. [`Head`] is a request with the types of `http` 1
//! for the functions of [`kippu_web`]. This release is for actix-web 4, and re-exports it as
//! [`actix_web`].
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod answer;
mod extract;
mod head;
mod middleware;
mod routes;

pub use actix_web;
pub use kippu_web::{CookieError, Cookies, Guard, GuardLayer, Scoped, SessionRoutes, login_from};

pub use self::{
    answer::{GrantError, Rejection, Tokens, with_cookies},
    extract::{Access, Live, Optional},
    head::Head,
    middleware::{GuardMiddleware, Guarded},
    routes::session_routes,
};

/// Runs the examples of the README as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
