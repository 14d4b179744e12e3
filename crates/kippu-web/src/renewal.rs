//! The refresh within a request: a handler asks for an access token, and the access cookie of the
//! request is missing or not valid. The refresh cookie then gets new tokens, for the handler and
//! for the response. A response that sets the cookies itself keeps its own.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response,
    header::{CACHE_CONTROL, SET_COOKIE},
    request::Parts,
};
use kippu::session::AccessVerifier;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    cookie::{Cookies, SetCookies},
    live::Boxed,
    rejection::Rejection,
};

/// Exchanges the refresh cookie of a request for new tokens. Returns `None` if the request has no
/// refresh cookie, or may not refresh.
pub(super) trait Refresh: Send + Sync {
    fn refresh<'r>(
        &'r self,
        request: &'r Parts,
    ) -> Boxed<'r, Result<Option<FreshTokens>, Rejection>>;
}

/// The tokens of a refresh: the access token for the handler, and the headers for the browser.
pub(super) struct FreshTokens {
    pub(super) access_token: String,
    pub(super) set: SetCookies,
}

/// A layer of tower that [`SessionRoutes::refresh_layer`](super::SessionRoutes::refresh_layer)
/// returns. Behind it, the extractors, [`GuardLayer`](super::GuardLayer) and the session routes
/// refresh within the request. [The guide](super::refresh_in_requests) says which requests do, and
/// what a server has to be set to.
#[derive(Clone)]
pub struct RefreshLayer(Arc<Refresher>);

struct Refresher {
    by: Box<dyn Refresh>,
    cookies: Cookies,
    verifier: Arc<AccessVerifier>,
}

impl RefreshLayer {
    pub(super) fn new(
        by: impl Refresh + 'static,
        cookies: Cookies,
        verifier: Arc<AccessVerifier>,
    ) -> Self {
        Self(Arc::new(Refresher { by: Box::new(by), cookies, verifier }))
    }
}

impl fmt::Debug for RefreshLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshLayer").field("cookies", &self.0.cookies).finish_non_exhaustive()
    }
}

impl<T> Layer<T> for RefreshLayer {
    type Service = Refreshing<T>;

    fn layer(&self, inner: T) -> Refreshing<T> {
        Refreshing { layer: self.clone(), inner }
    }
}

/// A service behind a [`RefreshLayer`].
#[derive(Clone, Debug)]
pub struct Refreshing<T> {
    layer: RefreshLayer,
    inner: T,
}

impl<T, B, R> Service<Request<B>> for Refreshing<T>
where
    T: Service<Request<B>, Response = Response<R>>,
    T::Future: Send + 'static,
{
    type Response = Response<R>;
    type Error = T::Error;
    type Future = Boxed<'static, Result<Response<R>, T::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), T::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let renewal = Renewal(Arc::new(Slot {
            layer: self.layer.clone(),
            renewed: OnceLock::new(),
            is_answered: AtomicBool::new(false),
        }));
        request.extensions_mut().insert(renewal.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            renewal.finish(response.headers_mut());
            Ok(response)
        })
    }
}

/// The refresh of one request, in its extensions.
#[derive(Clone)]
pub(super) struct Renewal(Arc<Slot>);

struct Slot {
    layer: RefreshLayer,
    renewed: OnceLock<FreshTokens>,
    /// Whether the head of the response has been sent, so that new cookies cannot reach the
    /// browser.
    is_answered: AtomicBool,
}

impl Renewal {
    /// Returns the refresh of a request, if the guard has the verifier of the layer.
    pub(super) fn of<'r>(request: &'r Parts, verifier: &Arc<AccessVerifier>) -> Option<&'r Self> {
        let renewal = request.extensions.get::<Self>()?;
        Arc::ptr_eq(&renewal.0.layer.0.verifier, verifier).then_some(renewal)
    }

    /// Returns the access token of the refresh, if there was one.
    pub(super) fn access_token(&self) -> Option<&str> {
        self.0.renewed.get().map(|renewed| &*renewed.access_token)
    }

    /// Refreshes, at most once for a request. Returns whether there is a new token.
    pub(super) async fn renew(&self, request: &Parts) -> Result<bool, Rejection> {
        let Slot { layer, renewed, is_answered } = &*self.0;
        if renewed.get().is_some() || is_answered.load(Ordering::Acquire) {
            return Ok(false);
        }
        let Some(tokens) = layer.0.by.refresh(request).await? else { return Ok(false) };
        // Two extractors may refresh at once. Within the grace both get the same refresh token
        // (R2).
        let _ = renewed.set(tokens);
        Ok(true)
    }

    /// Adds the cookies of the refresh to the response, whatever its status, because the token in
    /// the browser is used up. If a handler has set cookies by a login or a logout, they stay.
    fn finish(&self, response: &mut HeaderMap) {
        let Slot { layer, renewed, is_answered } = &*self.0;
        is_answered.store(true, Ordering::Release);
        let Some(FreshTokens { set, .. }) = renewed.get() else { return };
        if layer.0.cookies.are_set_by(response) {
            return;
        }
        for value in set.clone().into_values() {
            response.append(SET_COOKIE, value);
        }
        response.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // They outrank Cache-Control in the caches that they name (RFC 9213 §2).
        let is_targeted = |name: &&HeaderName| {
            name.as_str().ends_with("-cache-control") || *name == "surrogate-control"
        };
        let targeted: Vec<_> = response.keys().filter(is_targeted).cloned().collect();
        for name in targeted {
            response.remove(name);
        }
    }
}
