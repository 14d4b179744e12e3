//! A guard for a whole server. It passes requests with a valid token on to the service behind it,
//! with the token in their extensions, and requests of exempt paths without one. It answers all
//! other requests itself.

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

#[cfg(feature = "grpc")]
use super::grpc;
use super::{
    Guard,
    access::{Access, Scoped},
    body::GuardedBody,
    exempt::Exempt,
    live::Boxed,
    rejection::Rejection,
};

impl Guard {
    /// Returns a layer that requires a valid access token, and puts the [`Access`] into the
    /// extensions of the request.
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
        GuardLayer(Arc::new(Rules {
            guard: self.clone(),
            exempt: Exempt::default(),
            scopes: Vec::new(),
            max_age: None,
            is_live: false,
        }))
    }
}

/// A layer of tower that [`Guard::layer`] makes, for every service over `http`: a router of axum, a
/// server of tonic or hyper. The bodies of requests and responses can be of any type, so that other
/// layers can be on either side of the guard.
///
/// # Order
/// Put a `CorsLayer` in front of the guard: the preflight of a browser never has a token, and a
/// page of another origin can read a rejection only if it has the headers of CORS. Layers that log
/// or compress also go in front. In a `ServiceBuilder` the first layer is in front; of a `Router`
/// it is the last one.
///
/// # gRPC
/// With the feature `grpc`, the guard rejects a request whose `Content-Type` begins with
/// `application/grpc` as gRPC requires: with HTTP 200, and the status in the headers. See
/// `Rejection::grpc_status`.
/// A method of tonic finds the token in `request.extensions().get::<Access<Claims>>()`.
pub struct GuardLayer<C>(Arc<Rules<C>>);

/// The rules of a layer: which requests pass, and which paths are exempt.
struct Rules<C> {
    guard: Guard,
    exempt: Exempt,
    scopes: Vec<(Arc<str>, HasScope<C>)>,
    /// The maximum age of the user's authentication.
    max_age: Option<Duration>,
    is_live: bool,
}

type HasScope<C> = fn(&Access<C>, &str) -> Result<(), Rejection>;

impl<C> GuardLayer<C> {
    /// Lets requests of this path pass without a token, for example `/login`. Call it again for
    /// each further path. A path that ends with `/*` means every path below it, for example
    /// `/grpc.health.v1.Health/*` all methods of a gRPC service. The layer reads no token from
    /// exempt requests.
    ///
    /// The layer compares the path byte for byte, without the query, as it sees the path: within a
    /// nested router of axum, the prefix of that router is missing. Below a `/*`, a path with an
    /// empty segment, a dot segment, a backslash or an encoded `.`, `/` or `\` is not exempt,
    /// because the service might resolve it to another path.
    #[must_use]
    pub fn exempt(self, path: &str) -> Self {
        self.with(|rules| rules.exempt.add(path))
    }

    /// Requires a token with this scope. Call it again to require further scopes.
    #[must_use]
    pub fn require_scope(self, scope: &str) -> Self
    where
        C: Scoped,
    {
        self.with(|rules| rules.scopes.push((scope.into(), Access::require_scope)))
    }

    /// Requires that the user authenticated at most `max_age` ago; see [`Access::require_recent`].
    #[must_use]
    pub fn require_recent(self, max_age: Duration) -> Self {
        self.with(|rules| rules.max_age = Some(max_age))
    }

    /// Requires a session that has not ended, with one read of the store for each request. The
    /// guard has to be made with [`Guard::for_sessions`]. Any other guard rejects every request
    /// with [`Rejection::NoSessions`].
    #[must_use]
    pub fn live(self) -> Self {
        self.with(|rules| rules.is_live = true)
    }

    fn with(self, change: impl FnOnce(&mut Rules<C>)) -> Self {
        let mut rules = Arc::unwrap_or_clone(self.0);
        change(&mut rules);
        Self(Arc::new(rules))
    }
}

impl<C: DeserializeOwned> GuardLayer<C> {
    /// Checks the head of a request as the layer does, for a server without layers of tower.
    /// Returns `None` for a request of an exempt path.
    ///
    /// # Errors
    /// The [`Rejection`] to answer the request with.
    pub async fn admit(&self, request: &Parts) -> Result<Option<Access<C>>, Rejection> {
        let Rules { guard, exempt, scopes, max_age, is_live } = &*self.0;
        if exempt.contains(request.uri.path()) {
            return Ok(None);
        }
        let access: Access<C> = guard.admit(request).await?;
        // The read of the store is the last check, so that a request which the token alone rejects
        // makes none.
        for (scope, has_scope) in scopes {
            has_scope(&access, scope)?;
        }
        if let Some(max_age) = max_age {
            access.require_recent(*max_age)?;
        }
        if *is_live {
            guard.check_live(&access).await?;
        }
        Ok(Some(access))
    }
}

// Derived, these would ask for claims that are `Clone`.
impl<C> Clone for Rules<C> {
    fn clone(&self) -> Self {
        let Self { guard, exempt, scopes, max_age, is_live } = self;
        Self {
            guard: guard.clone(),
            exempt: exempt.clone(),
            scopes: scopes.clone(),
            max_age: *max_age,
            is_live: *is_live,
        }
    }
}

impl<C> Clone for GuardLayer<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> fmt::Debug for GuardLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rules { guard, exempt, scopes, max_age, is_live } = &*self.0;
        f.debug_struct("GuardLayer")
            .field("guard", guard)
            .field("exempt", exempt)
            .field("scopes", &scopes.iter().map(|(scope, _)| scope).collect::<Vec<_>>())
            .field("max_age", max_age)
            .field("is_live", is_live)
            .finish()
    }
}

impl<T, C> Layer<T> for GuardLayer<C> {
    type Service = Guarded<T, C>;

    fn layer(&self, inner: T) -> Guarded<T, C> {
        Guarded { layer: self.clone(), inner }
    }
}

/// A service behind a [`GuardLayer`].
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
{
    type Response = Response<GuardedBody<R>>;
    type Error = T::Error;
    type Future = Boxed<'static, Result<Self::Response, T::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), T::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // `poll_ready` has made this service ready, and not its clone.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let layer = self.layer.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            match layer.admit(&parts).await {
                Ok(access) => {
                    if let Some(access) = access {
                        parts.extensions.insert(access);
                    }
                    let response = inner.call(Request::from_parts(parts, body)).await?;
                    Ok(response.map(GuardedBody::of_service))
                }
                #[cfg(feature = "grpc")]
                Err(rejection) if grpc::is_call(&parts.headers) => Ok(rejection.into_grpc()),
                Err(rejection) => Ok(rejection.into_http()),
            }
        })
    }
}
