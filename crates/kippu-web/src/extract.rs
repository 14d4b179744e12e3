//! Extractors for handlers of axum: the verified access token of the request, or the rejection.

use axum_core::extract::{FromRef, FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::{
    Guard,
    access::{Access, Live},
    rejection::Rejection,
};

impl<C, S> FromRequestParts<S> for Access<C>
where
    C: DeserializeOwned + Send + Sync + 'static,
    S: Send + Sync,
    Guard: FromRef<S>,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        admitted(parts, &Guard::from_ref(state)).await
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

impl<C, S> FromRequestParts<S> for Live<C>
where
    C: DeserializeOwned + Send + Sync + 'static,
    S: Send + Sync,
    Guard: FromRef<S>,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        let guard = Guard::from_ref(state);
        let access = admitted(parts, &guard).await?;
        guard.check_live(&access).await?;
        Ok(Self(access))
    }
}

impl<C, S> OptionalFromRequestParts<S> for Live<C>
where
    Self: FromRequestParts<S, Rejection = Rejection>,
    S: Send + Sync,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Rejection> {
        or_none(<Self as FromRequestParts<S>>::from_request_parts(parts, state).await)
    }
}

/// The token that a layer of the same verifier has found, or else that of the request.
async fn admitted<C>(parts: &Parts, guard: &Guard) -> Result<Access<C>, Rejection>
where
    C: DeserializeOwned + Send + Sync + 'static,
{
    match parts.extensions.get::<Access<C>>() {
        Some(access) if guard.has_verified(access) => Ok(access.clone()),
        _ => guard.admit(parts).await,
    }
}

/// Accepts a request without a token; an invalid one is rejected all the same.
fn or_none<T>(extracted: Result<T, Rejection>) -> Result<Option<T>, Rejection> {
    match extracted {
        // Not for a token that is rejected: its client has to learn that it has to refresh.
        Err(Rejection::MissingToken) => Ok(None),
        extracted => extracted.map(Some),
    }
}
