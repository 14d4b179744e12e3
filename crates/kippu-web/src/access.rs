//! The verified access token that handlers get: its claims, the checks of its scopes and its age,
//! and its end.

use std::{future::Future, ops::Deref, sync::Arc, time::Duration};

use kippu::session::{AccessToken, AccessVerifier, TokenEnd};

use super::rejection::Rejection;

/// The verified access token of a request. It dereferences to [`AccessToken`]; a clone shares the
/// token.
///
/// There are three ways to get one: [`Guard::authenticate`](super::Guard::authenticate) returns it;
/// [`Guard::layer`](super::Guard::layer) puts it into the extensions of the request; and with the
/// feature `axum` it is an extractor, which takes the [`Guard`](super::Guard) from the state of the
/// application. The extractor `Option<Access<C>>` is `None` for a request without credentials. It
/// also rejects invalid credentials.
///
/// ```
/// use kippu_web::{Access, Rejection, Scoped};
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
pub struct Access<C> {
    token: Arc<AccessToken<C>>,
    verifier: Arc<AccessVerifier>,
}

impl<C> Access<C> {
    pub(super) fn new(token: AccessToken<C>, verifier: Arc<AccessVerifier>) -> Self {
        Self { token: Arc::new(token), verifier }
    }

    /// Returns whether `verifier` has verified the token.
    pub(super) fn is_verified_by(&self, verifier: &Arc<AccessVerifier>) -> bool {
        Arc::ptr_eq(&self.verifier, verifier)
    }

    /// Requires that the user authenticated at most `max_age` ago; see
    /// [`AccessToken::require_recent`].
    ///
    /// # Errors
    /// [`Rejection::NotRecent`].
    pub fn require_recent(&self, max_age: Duration) -> Result<(), Rejection> {
        Ok(self.token.require_recent(max_age)?)
    }

    /// Returns a future that completes with the reason when the token is no longer valid: the token
    /// has expired, its session has ended, or the verifier cannot know whether the session has
    /// ended. A socket or a stream then closes: see [`sockets`](crate::sockets). `sleep` is the
    /// timer of the runtime. Without [`EndedSessions`](kippu::session::EndedSessions) in the
    /// verifier, the future completes only when the token expires. See [`AccessVerifier::ended`]
    /// for details.
    ///
    /// ```
    /// # use kippu::session::{NoClaims, TokenEnd};
    /// # use kippu_web::Access;
    /// # async fn talk() {}
    /// # async fn close(reason: TokenEnd) {}
    /// # async fn example(token: Access<NoClaims>) {
    /// tokio::select! {
    ///     () = talk() => {} // until the client leaves
    ///     end = token.ended(tokio::time::sleep) => close(end).await,
    /// }
    /// # }
    /// ```
    pub fn ended<T, F>(&self, sleep: T) -> impl Future<Output = TokenEnd> + use<C, T, F>
    where
        T: FnMut(Duration) -> F,
        F: Future<Output = ()>,
    {
        self.verifier.ended(&self.token, sleep)
    }
}

impl<C: Scoped> Access<C> {
    /// Requires that `scope` is among the scopes of the token.
    ///
    /// # Errors
    /// [`Rejection::InsufficientScope`].
    pub fn require_scope(&self, scope: &str) -> Result<(), Rejection> {
        let granted = self.token.claims.scope();
        let is_granted = !scope.is_empty() && granted.split(' ').any(|granted| granted == scope);
        if is_granted { Ok(()) } else { Err(Rejection::InsufficientScope { scope: scope.into() }) }
    }
}

// Derived, it would ask for claims that are `Clone`.
impl<C> Clone for Access<C> {
    fn clone(&self) -> Self {
        Self { token: Arc::clone(&self.token), verifier: Arc::clone(&self.verifier) }
    }
}

impl<C> Deref for Access<C> {
    type Target = AccessToken<C>;

    fn deref(&self) -> &AccessToken<C> {
        &self.token
    }
}

/// The verified access token of a session that has not ended. The extractor reads the store once.
/// It needs a guard made by [`Guard::for_sessions`](super::Guard::for_sessions) in the state of the
/// application; with any other guard it rejects every request with [`Rejection::NoSessions`].
///
/// ```
/// use kippu::session::NoClaims;
/// use kippu_web::Live;
///
/// async fn change_password(token: Live<NoClaims>) -> String {
///     token.subject.clone()
/// }
/// ```
#[cfg(feature = "axum")]
#[derive(Debug)]
pub struct Live<C>(pub Access<C>);

#[cfg(feature = "axum")]
impl<C> Clone for Live<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(feature = "axum")]
impl<C> Deref for Live<C> {
    type Target = Access<C>;

    fn deref(&self) -> &Access<C> {
        &self.0
    }
}

/// Claims with the scopes of their token.
pub trait Scoped {
    /// Returns the claim `scope` (RFC 9068 §2.2.3): names with spaces between them.
    fn scope(&self) -> &str;
}
