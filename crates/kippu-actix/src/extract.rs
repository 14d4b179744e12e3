//! Extractors for handlers: the verified access token of the request, or the rejection.

use std::{
    future::{Ready, ready},
    ops::Deref,
    time::Duration,
};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, web::Data};
use futures_util::future::LocalBoxFuture;
use kippu_web::{Guard, Scoped};
use serde::de::DeserializeOwned;

use super::{answer::Rejection, head::Head};

/// The verified access token of a request: [`kippu_web::Access`] as an extractor. It finds the
/// [`Guard`] in the application's data, as `Data<Guard>`.
///
/// **Do not use `Option<Access<C>>`.** actix-web turns every error into `None`, even that of an
/// expired token, so the client does not learn that it has to refresh.
/// [`Optional<Access<C>>`](Optional) is `None` only for a request without a token.
///
/// ```
/// use kippu_actix::{Access, Rejection, Scoped};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Claims { scope: String }
///
/// impl Scoped for Claims {
///     fn scope(&self) -> &str { &self.scope }
/// }
///
/// async fn delete_order(token: Access<Claims>) -> Result<String, Rejection> {
///     token.require_scope("orders:write")?;
///     Ok(format!("by {}", token.subject))
/// }
/// ```
#[derive(Debug)]
pub struct Access<C>(pub kippu_web::Access<C>);

// Repeats the methods of `kippu_web::Access`, whose error is not a response of actix-web.
impl<C> Access<C> {
    /// Requires that the user authenticated at most `max_age` ago; see
    /// [`kippu_web::Access::require_recent`].
    ///
    /// # Errors
    /// 401 `insufficient_user_authentication` (RFC 9470 §3).
    pub fn require_recent(&self, max_age: Duration) -> Result<(), Rejection> {
        Ok(self.0.require_recent(max_age)?)
    }

    /// Requires that `scope` is among the scopes of the token.
    ///
    /// # Errors
    /// 403 `insufficient_scope` (RFC 6750 §3.1).
    pub fn require_scope(&self, scope: &str) -> Result<(), Rejection>
    where
        C: Scoped,
    {
        Ok(self.0.require_scope(scope)?)
    }
}

// Derived, it would ask for claims that are `Clone`.
impl<C> Clone for Access<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> Deref for Access<C> {
    type Target = kippu_web::Access<C>;

    fn deref(&self) -> &kippu_web::Access<C> {
        &self.0
    }
}

impl<C: DeserializeOwned + 'static> FromRequest for Access<C> {
    type Error = Rejection;
    type Future = Ready<Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(guard(request).and_then(|guard| admitted(request, guard)))
    }
}

/// The verified access token of a session that has not ended. The extractor reads the store once.
/// It needs a guard made by [`Guard::for_sessions`]; with any other guard it rejects every request.
///
/// ```
/// use kippu::session::NoClaims;
/// use kippu_actix::Live;
///
/// async fn change_password(token: Live<NoClaims>) -> String {
///     token.subject.clone()
/// }
/// ```
#[derive(Debug)]
pub struct Live<C>(pub Access<C>);

impl<C> Clone for Live<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> Deref for Live<C> {
    type Target = Access<C>;

    fn deref(&self) -> &Access<C> {
        &self.0
    }
}

impl<C: DeserializeOwned + 'static> FromRequest for Live<C> {
    type Error = Rejection;
    type Future = LocalBoxFuture<'static, Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let guard = guard(request).cloned();
        let found = guard.and_then(|guard| Ok((admitted(request, &guard)?, guard)));
        Box::pin(async move {
            let (access, guard) = found?;
            guard.check_live(&access.0).await?;
            Ok(Self(access))
        })
    }
}

/// `Optional<Access<C>>` or `Optional<Live<C>>` is `None` for a request without a token. Unlike
/// with `Option`, an invalid token is rejected.
///
/// ```
/// use kippu::session::NoClaims;
/// use kippu_actix::{Access, Optional};
///
/// async fn front_page(Optional(token): Optional<Access<NoClaims>>) -> String {
///     token.map_or_else(|| "Hello!".into(), |token| format!("Hello {}!", token.subject))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Optional<T>(pub Option<T>);

impl<T> FromRequest for Optional<T>
where
    T: FromRequest<Error = Rejection>,
    T::Future: 'static,
{
    type Error = Rejection;
    type Future = LocalBoxFuture<'static, Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let extracted = T::from_request(request, payload);
        Box::pin(async move {
            match extracted.await {
                Err(Rejection(kippu_web::Rejection::MissingToken)) => Ok(Self(None)),
                extracted => extracted.map(|token| Self(Some(token))),
            }
        })
    }
}

fn guard(request: &HttpRequest) -> Result<&Guard, Rejection> {
    let missing = "call .app_data(web::Data::new(guard.clone())) on the App or the scope";
    let guard = request.app_data::<Data<Guard>>();
    Ok(guard.ok_or(kippu_web::Rejection::NoGuard(missing))?)
}

/// Returns the token that a middleware with the same verifier has verified, or that of the request.
fn admitted<C>(request: &HttpRequest, guard: &Guard) -> Result<Access<C>, Rejection>
where
    C: DeserializeOwned + 'static,
{
    match request.extensions().get::<Access<C>>() {
        Some(access) if guard.has_verified(&access.0) => Ok(access.clone()),
        _ => Ok(Access(guard.authenticate(&Head::from(request))?)),
    }
}
