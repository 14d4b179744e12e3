//! The API that access tokens are for.

use axum::{
    Json,
    extract::State,
    http::header::CACHE_CONTROL,
    response::{IntoResponse, Response},
};
use kippu::session::{AccessToken, SessionId};
use kippu_web::{Access, Live};
use serde::{Deserialize, Serialize};

use crate::{accounts::Account, app::Policy};

/// The application's own claims in an access token.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Profile {
    email: String,
    role: String,
}

impl From<Account> for Profile {
    fn from(account: Account) -> Self {
        Self { email: account.address().to_owned(), role: account.role }
    }
}

/// The answer of the API: the claims of the access token.
#[derive(Serialize)]
struct Me<'t> {
    subject: &'t str,
    email: &'t str,
    role: &'t str,
    session: SessionId,
    expires_at: i64,
}

impl<'t> From<&'t AccessToken<Profile>> for Me<'t> {
    fn from(token: &'t AccessToken<Profile>) -> Self {
        let Profile { email, role } = &token.claims;
        Self {
            subject: &token.subject,
            email,
            role,
            session: token.session_id,
            expires_at: token.expires_at.seconds(),
        }
    }
}

/// Asks no database: the token says it all, and a task that follows the log of ended sessions
/// whether it still holds.
pub(crate) async fn me(token: Access<Profile>) -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(Me::from(&*token))).into_response()
}

/// The same answer without a token, for `scripts/load` to compare with.
pub(crate) async fn public() -> Response {
    let nobody = Me {
        subject: "0000000000000000000000",
        email: "nobody@example.com",
        role: "guest",
        session: SessionId::from_bytes([0; 16]),
        expires_at: 0,
    };
    ([(CACHE_CONTROL, "no-store")], Json(nobody)).into_response()
}

/// Reads the session once, for what must not wait until the token expires.
pub(crate) async fn live(live: Live<Profile>) -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(Me::from(&**live))).into_response()
}

/// How long an access token and the grace last, in seconds, so that the page can count them.
pub(crate) async fn lifetimes(State(policy): State<Policy>) -> Response {
    let seconds = serde_json::json!({
        "access": policy.access.as_secs(),
        "grace": policy.grace.as_secs(),
    });
    Json(seconds).into_response()
}
