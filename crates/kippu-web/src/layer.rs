//! A guard for a whole router: requests with a valid token go on, with the token in their extensions; all others
//! are answered here.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, request::Parts};
use kippu::session::{
    AccessToken, AccessVerifier, RefreshStore, SessionError, SessionId, Sessions,
};
use serde::de::DeserializeOwned;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    Guard,
    rejection::{Rejection, Scoped, require_scope},
};

impl Guard {
    /// Returns a layer that requires a valid access token, and puts an [`Arc`] of the [`AccessToken`] into the extensions
    /// of the request, where [`Access`](super::Access) finds it.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use axum::{Extension, Router, routing::get};
    /// use kippu::{Algorithm, Key, session::{AccessToken, AccessVerifier, NoClaims}};
    /// use kippu_web::Guard;
    ///
    /// # fn main() -> Result<(), kippu::KeyError> {
    /// # let key = Key::generate(Algorithm::Hs256)?;
    /// let guard = Guard::new(AccessVerifier::new(key, "https://auth.example", "api"));
    /// let hello = async |Extension(token): Extension<Arc<AccessToken<NoClaims>>>| token.subject.clone();
    /// let app: Router = Router::new().route("/hello", get(hello)).layer(guard.layer::<NoClaims>());
    /// # let _ = app;
    /// # Ok(())
    /// # }
    /// ```
    pub fn layer<C>(&self) -> GuardLayer<C> {
        GuardLayer { guard: self.clone(), scopes: Vec::new(), max_age: None, is_live: None }
    }
}

/// A token that a layer has verified, and its verifier: a guard with another verifier does not take it.
pub(super) struct Admitted<C> {
    pub(super) verifier: Arc<AccessVerifier>,
    pub(super) token: Arc<AccessToken<C>>,
}

impl<C> Clone for Admitted<C> {
    fn clone(&self) -> Self {
        let Self { verifier, token } = self;
        Self { verifier: Arc::clone(verifier), token: Arc::clone(token) }
    }
}

/// Made by [`Guard::layer`]. It answers preflights of CORS as it does all requests without a token: a `CorsLayer` belongs
/// around it.
pub struct GuardLayer<C> {
    guard: Guard,
    scopes: Vec<(Arc<str>, HasScope<C>)>,
    /// How long ago the user may have authenticated.
    max_age: Option<Duration>,
    is_live: Option<Arc<IsLive>>,
}

type HasScope<C> = fn(&C, &str) -> Result<(), Rejection>;
type IsLive = dyn Fn(SessionId, String) -> Boxed<Result<(), SessionError>> + Send + Sync;
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<C> GuardLayer<C> {
    /// Requires a token that is good for `scope`; called again, for all of the scopes.
    #[must_use]
    pub fn require_scope(mut self, scope: &str) -> Self
    where
        C: Scoped,
    {
        self.scopes.push((scope.into(), require_scope));
        self
    }

    /// Requires that the user authenticated at most `max_age` ago; see [`AccessToken::require_recent`].
    #[must_use]
    pub fn require_recent(self, max_age: Duration) -> Self {
        Self { max_age: Some(max_age), ..self }
    }

    /// Requires a session that has not ended: one read of the store for each request.
    #[must_use]
    pub fn live<S: RefreshStore + 'static>(self, sessions: Arc<Sessions<S>>) -> Self {
        let is_live = move |id, subject: String| -> Boxed<_> {
            let sessions = Arc::clone(&sessions);
            Box::pin(async move { sessions.check_live(&id, &subject).await })
        };
        Self { is_live: Some(Arc::new(is_live)), ..self }
    }

    async fn admit(&self, request: &mut Parts) -> Result<(), Rejection>
    where
        C: DeserializeOwned + Send + Sync + 'static,
    {
        let token: Arc<AccessToken<C>> = Arc::new(self.guard.authenticate(request)?);
        for (scope, has_scope) in &self.scopes {
            has_scope(&token.claims, scope)?;
        }
        if let Some(max_age) = self.max_age {
            token.require_recent(max_age)?;
        }
        if let Some(is_live) = &self.is_live {
            is_live(token.session_id, token.subject.clone()).await?;
        }
        let verifier = Arc::clone(&self.guard.0.verifier);
        request.extensions.insert(Admitted { verifier, token: Arc::clone(&token) });
        request.extensions.insert(token);
        Ok(())
    }
}

impl<C> Clone for GuardLayer<C> {
    fn clone(&self) -> Self {
        let Self { guard, scopes, max_age, is_live } = self;
        Self {
            guard: guard.clone(),
            scopes: scopes.clone(),
            max_age: *max_age,
            is_live: is_live.clone(),
        }
    }
}

impl<C> fmt::Debug for GuardLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardLayer")
            .field("guard", &self.guard)
            .field("scopes", &self.scopes.iter().map(|(scope, _)| scope).collect::<Vec<_>>())
            .field("max_age", &self.max_age)
            .field("is_live", &self.is_live.is_some())
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
    type Future = Boxed<Result<Response<R>, T::Error>>;

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
