//! A session store that counts its steps, so that each answer says how many its request took.

use std::{cell::Cell, time::Duration};

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use kippu::session::{
    RefreshStore, RevokeReason, SessionId, SessionRecord, StoreError, UnixMillis,
    rotation::{RotateOutcome, RotateRequest},
    store::{EndedCursor, EndedPage, InsertOutcome, InsertRequest, ListRequest},
};

tokio::task_local! {
    /// The steps of the request that the task answers.
    static STEPS: Cell<u32>;
}

const HEADER: HeaderName = HeaderName::from_static("store-steps");

/// Adds the number of steps to the answer. It is for the page, and tells a client nothing that it
/// could not measure.
pub(crate) async fn steps(request: Request, next: Next) -> Response {
    let answer = async {
        let mut response = next.run(request).await;
        let steps = STEPS.with(Cell::get);
        response.headers_mut().insert(HEADER, HeaderValue::from(steps));
        response
    };
    STEPS.scope(Cell::new(0), answer).await
}

/// The store within, counted.
pub(crate) struct Counted<S>(pub(crate) S);

impl<S: RefreshStore> Counted<S> {
    fn store(&self) -> &S {
        // Tasks that answer no request have no count.
        let _ = STEPS.try_with(|steps| steps.set(steps.get() + 1));
        &self.0
    }
}

impl<S: RefreshStore> RefreshStore for Counted<S> {
    async fn insert(&self, request: &InsertRequest) -> Result<InsertOutcome, StoreError> {
        self.store().insert(request).await
    }

    async fn load(&self, id: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
        self.store().load(id).await
    }

    async fn rotate(&self, request: &RotateRequest) -> Result<RotateOutcome, StoreError> {
        self.store().rotate(request).await
    }

    async fn revoke(
        &self,
        id: &SessionId,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        self.store().revoke(id, reason, now).await
    }

    async fn revoke_subject(
        &self,
        subject: &str,
        keep: Option<&SessionId>,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<u64, StoreError> {
        self.store().revoke_subject(subject, keep, reason, now).await
    }

    async fn list(&self, request: &ListRequest) -> Result<Vec<SessionRecord>, StoreError> {
        self.store().list(request).await
    }

    async fn purge_expired(&self, now: UnixMillis, limit: u32) -> Result<u64, StoreError> {
        self.store().purge_expired(now, limit).await
    }

    async fn ended_after(&self, cursor: &EndedCursor) -> Result<EndedPage, StoreError> {
        self.store().ended_after(cursor).await
    }

    async fn trim_ended(&self, kept_for: Duration) -> Result<u64, StoreError> {
        self.store().trim_ended(kept_for).await
    }
}
