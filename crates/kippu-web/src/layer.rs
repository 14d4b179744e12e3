//! A guard for a whole router: requests with a valid token go on, with the token in their extensions; all others
//! are answered here.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, request::Parts};
use serde::de::DeserializeOwned;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    Guard,
    access::{Access, Scoped},
    live::Boxed,
    rejection::Rejection,
};

impl Guard {
    /// Returns a layer that requires a valid access token, and puts the [`Access`] into the extensions of the request.
    ///
    /// ```
    /// use axum::{Extension, Router, routing::get};
    /// use kippu::{Algorithm, Key, session::{AccessVerifier, NoClaims}};
    /// use kippu_web::{Access, Guard};
    ///
    /// # fn main() -> Result<(), kippu::KeyError> {
    /// # let key = Key::generate(Algorithm::Hs256)?;
    /// let guard = Guard::new(AccessVerifier::new(key, "https://auth.example", "api"));
    /// let hello = async |Extension(token): Extension<Access<NoClaims>>| token.subject.clone();
    /// let app: Router = Router::new().route("/hello", get(hello)).layer(guard.layer::<NoClaims>());
    /// # let _ = app;
    /// # Ok(())
    /// # }
    /// ```
    pub fn layer<C>(&self) -> GuardLayer<C> {
        GuardLayer { guard: self.clone(), scopes: Vec::new(), max_age: None, is_live: false }
    }
}

/// Made by [`Guard::layer`]. It answers preflights of CORS as it does all requests without a token: a `CorsLayer` belongs
/// around it.
pub struct GuardLayer<C> {
    guard: Guard,
    scopes: Vec<(Arc<str>, HasScope<C>)>,
    /// How long ago the user may have authenticated.
    max_age: Option<Duration>,
    is_live: bool,
}

type HasScope<C> = fn(&Access<C>, &str) -> Result<(), Rejection>;

impl<C> GuardLayer<C> {
    /// Requires a token that is good for `scope`; called again, for all of the scopes.
    #[must_use]
    pub fn require_scope(mut self, scope: &str) -> Self
    where
        C: Scoped,
    {
        self.scopes.push((scope.into(), Access::require_scope));
        self
    }

    /// Requires that the user authenticated at most `max_age` ago; see [`Access::require_recent`].
    #[must_use]
    pub fn require_recent(self, max_age: Duration) -> Self {
        Self { max_age: Some(max_age), ..self }
    }

    /// Requires a session that has not ended: one read of the store for each request. The guard has to be one of
    /// [`Guard::for_sessions`]: any other rejects every request with [`Rejection::NoSessions`].
    #[must_use]
    pub fn live(self) -> Self {
        Self { is_live: true, ..self }
    }

    async fn admit(&self, request: &mut Parts) -> Result<(), Rejection>
    where
        C: DeserializeOwned + Send + Sync + 'static,
    {
        let access: Access<C> = self.guard.authenticate(request)?;
        for (scope, has_scope) in &self.scopes {
            has_scope(&access, scope)?;
        }
        if let Some(max_age) = self.max_age {
            access.require_recent(max_age)?;
        }
        if self.is_live {
            self.guard.check_live(&access).await?;
        }
        request.extensions.insert(access);
        Ok(())
    }
}

impl<C> Clone for GuardLayer<C> {
    fn clone(&self) -> Self {
        let Self { guard, scopes, max_age, is_live } = self;
        Self { guard: guard.clone(), scopes: scopes.clone(), max_age: *max_age, is_live: *is_live }
    }
}

impl<C> fmt::Debug for GuardLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardLayer")
            .field("guard", &self.guard)
            .field("scopes", &self.scopes.iter().map(|(scope, _)| scope).collect::<Vec<_>>())
            .field("max_age", &self.max_age)
            .field("is_live", &self.is_live)
            .finish()
    }
}

impl<T, C> Layer<T> for GuardLayer<C> {
    type Service = Guarded<T, C>;

    fn layer(&self, inner: T) -> Guarded<T, C> {
        Guarded { layer: self.clone(), inner }
    }
}

/// A service with a [`GuardLayer`] before it.
#[derive(Debug)]
pub struct Guarded<T, C> {
    layer: GuardLayer<C>,
    inner: T,
}

impl<T: Clone, C> Clone for Guarded<T, C> {
    fn clone(&self) -> Self {
        Self { layer: self.layer.clone(), inner: self.inner.clone() }
    }
}

impl<T, C, B, R> Service<Request<B>> for Guarded<T, C>
where
    T: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    T::Future: Send,
    C: DeserializeOwned + Send + Sync + 'static,
    B: Send + 'static,
    R: From<String>,
{
    type Response = Response<R>;
    type Error = T::Error;
    type Future = Boxed<'static, Result<Response<R>, T::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), T::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that is ready, not its clone.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let layer = self.layer.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            match layer.admit(&mut parts).await {
                Ok(()) => inner.call(Request::from_parts(parts, body)).await,
                Err(rejection) => Ok(rejection.into_http()),
            }
        })
    }
}
