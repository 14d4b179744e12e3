//! The bodies of the answers of the session routes.

use kippu::session::{Session, SessionId, TokenResponse};
use serde::Serialize;

/// The response to a refresh. It names the scope if the client has sent a scope.
#[derive(Serialize)]
pub(super) struct Granted<'t> {
    #[serde(flatten)]
    pub(super) tokens: &'t TokenResponse,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<String>,
}

/// For a page whose tokens are in cookies.
#[derive(Serialize)]
pub(super) struct Renewed {
    pub(super) expires_in: u64,
}

#[derive(Serialize)]
pub(super) struct Ended {
    pub(super) ended: u64,
}

#[derive(Serialize)]
pub(super) struct List<'s> {
    pub(super) sessions: Vec<Listed<'s>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Listed<'s> {
    id: SessionId,
    client: &'s str,
    label: Option<&'s str>,
    created_at: i64,
    last_used_at: i64,
    expires_at: i64,
    remembered: bool,
    current: bool,
}

impl<'s> Listed<'s> {
    pub(super) fn new(session: &'s Session, current: &SessionId) -> Self {
        Self {
            id: session.id,
            client: &session.client,
            label: session.label.as_deref(),
            created_at: session.created_at.seconds(),
            last_used_at: session.last_used_at.seconds(),
            expires_at: session.expires_at.seconds(),
            remembered: session.remembered,
            current: session.id == *current,
        }
    }
}
