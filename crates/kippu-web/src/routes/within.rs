//! The refresh within a request, by the sessions and the `authorize` of the session routes.

use std::{error::Error, future::Future, sync::Arc};

use http::request::Parts;
use kippu::session::{IntoRenewal, RefreshStore, Session};

use super::{Inner, SessionRoutes};
use crate::{
    answer::GrantError,
    cookie::{CookieError, Cookies},
    csrf,
    live::Boxed,
    rejection::Rejection,
    renewal::{FreshTokens, Refresh, RefreshLayer},
};

impl<S: RefreshStore, A> SessionRoutes<S, A> {
    /// Returns a layer that refreshes within the request, for pages that a server makes and for a
    /// backend of a frontend: see [the guide](crate::refresh_in_requests). It goes in front of all
    /// handlers and guards that are to refresh.
    ///
    /// # Errors
    /// [`CookieError::None`] for a guard without cookies, [`CookieError::Confined`] without
    /// [`Cookies::to_every_path`], and [`CookieError::Limit`] for sessions whose access tokens may
    /// be too long for a cookie.
    pub fn refresh_layer<F, C, E>(&self) -> Result<RefreshLayer, CookieError>
    where
        A: FnOnce(Session) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Option<C>, E>> + Send,
        C: IntoRenewal<Claims: Send> + Send,
        E: Into<Box<dyn Error + Send + Sync>> + Send,
    {
        let cookies = self.0.cookies().ok_or(CookieError::None)?;
        if !cookies.are_to_every_path() {
            return Err(CookieError::Confined);
        }
        Cookies::check_limit(self.0.sessions.max_access_token_len())?;
        let verifier = Arc::clone(&self.0.guard.0.verifier);
        Ok(RefreshLayer::new(self.clone(), cookies.clone(), verifier))
    }
}

impl<S, A, F, C, E> Refresh for SessionRoutes<S, A>
where
    S: RefreshStore,
    A: FnOnce(Session) -> F + Clone + Send + Sync,
    F: Future<Output = Result<Option<C>, E>> + Send,
    C: IntoRenewal<Claims: Send> + Send,
    E: Into<Box<dyn Error + Send + Sync>> + Send,
{
    fn refresh<'r>(
        &'r self,
        request: &'r Parts,
    ) -> Boxed<'r, Result<Option<FreshTokens>, Rejection>> {
        Box::pin(async move {
            let Inner { sessions, guard, authorize } = &*self.0;
            let Some(cookies) = self.0.cookies() else { return Ok(None) };
            let Some((token, csrf)) = cookies.refresh(&request.headers)? else { return Ok(None) };
            guard.check_origin(request)?;
            if !csrf::may_refresh(cookies, request) {
                return Ok(None);
            }
            let tokens = sessions.refresh(token, authorize.clone()).await;
            let tokens = tokens.map_err(GrantError)?;
            let set = cookies.renew(&request.headers, &tokens, csrf);
            Ok(Some(FreshTokens { access_token: tokens.access_token, set }))
        })
    }
}
