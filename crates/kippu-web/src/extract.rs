//! Extractors for handlers of axum: the access token of the request, verified, or the refusal that is sent instead.

use std::{marker::PhantomData, sync::Arc, time::Duration};

use axum_core::extract::{FromRef, FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;
use kippu::session::{AccessToken, BoxStore, RefreshStore, Sessions};
use serde::de::DeserializeOwned;

use super::{
    Guard,
    layer::Admitted,
    rejection::{Rejection, Scoped, require_scope},
};

/// The access token of a request: no store is asked. The state of the application gives the [`Guard`].
///
/// As `Option<Access<C>>` it is `None` for a request without credentials; invalid ones are refused all the same.
///
/// ```
/// use kippu_web::{Access, Rejection, Scoped};
/// use serde::Deserialize;
///
/// #[derive(Clone, Deserialize)]
/// struct Claims { scope: String }
///
/// impl Scoped for Claims {
///     fn scope(&self) -> &str { &self.scope }
/// }
///
/// async fn delete_order(access: Access<Claims>) -> Result<String, Rejection> {
///     access.require_scope("orders:write")?;
///     Ok(format!("by {}", access.0.subject))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Access<C>(pub Arc<AccessToken<C>>);

impl<C: Scoped> Access<C> {
    /// Requires that the token is good for `scope`.
    ///
    /// # Errors
    /// [`Rejection::InsufficientScope`].
    pub fn require_scope(&self, scope: &str) -> Result<(), Rejection> {
        require_scope(&self.0.claims, scope)
    }
}

impl<C> Access<C> {
    /// Requires that the user authenticated at most `max_age` ago; see [`AccessToken::require_recent`].
    ///
    /// # Errors
    /// [`Rejection::NotRecent`].
    pub fn require_recent(&self, max_age: Duration) -> Result<(), Rejection> {
        Ok(self.0.require_recent(max_age)?)
    }
}

impl<C, S> FromRequestParts<S> for Access<C>
where
    C: DeserializeOwned + Send + Sync + 'static,
    S: Send + Sync,
    Guard: FromRef<S>,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        let guard = Guard::from_ref(state);
        // A layer in front has verified it, by the same keys and for the same audience.
        match parts.extensions.get::<Admitted<C>>() {
            Some(admitted) if Arc::ptr_eq(&admitted.verifier, &guard.0.verifier) => {
                Ok(Self(Arc::clone(&admitted.token)))
            }
            _ => Ok(Self(Arc::new(guard.authenticate(parts)?))),
        }
    }
}

impl<C, S> OptionalFromRequestParts<S> for Access<C>
where
    Self: FromRequestParts<S, Rejection = Rejection>,
    S: Send + Sync,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Rejection> {
        or_none(<Self as FromRequestParts<S>>::from_request_parts(parts, state).await)
    }
}

/// As [`Access`], of a session that has not ended: one read of the store. The state gives the [`Guard`] and an
/// `Arc` of the [`Sessions`].
///
/// ```
/// use kippu::session::{MemoryStore, NoClaims};
/// use kippu_web::Live;
///
/// async fn change_password(Live { token, .. }: Live<NoClaims, MemoryStore>) -> String {
///     token.subject.clone()
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Live<C, S = BoxStore> {
    /// The token.
    pub token: Arc<AccessToken<C>>,
    store: PhantomData<fn() -> S>,
}

impl<C, S, State> FromRequestParts<State> for Live<C, S>
where
    C: DeserializeOwned + Send + Sync + 'static,
    S: RefreshStore + 'static,
    State: Send + Sync,
    Guard: FromRef<State>,
    Arc<Sessions<S>>: FromRef<State>,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Rejection> {
        let Access(token) =
            <Access<C> as FromRequestParts<State>>::from_request_parts(parts, state).await?;
        let sessions = Arc::<Sessions<S>>::from_ref(state);
        sessions.check_live(&token.session_id, &token.subject).await?;
        Ok(Self { token, store: PhantomData })
    }
}

impl<C, S, State> OptionalFromRequestParts<State> for Live<C, S>
where
    Self: FromRequestParts<State, Rejection = Rejection>,
    State: Send + Sync,
{
    type Rejection = Rejection;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &State,
    ) -> Result<Option<Self>, Rejection> {
        or_none(<Self as FromRequestParts<State>>::from_request_parts(parts, state).await)
    }
}

/// Accepts a request without a token; an invalid one is refused all the same.
fn or_none<T>(extracted: Result<T, Rejection>) -> Result<Option<T>, Rejection> {
    match extracted {
        Err(Rejection::MissingToken) => Ok(None),
        extracted => extracted.map(Some),
    }
}
