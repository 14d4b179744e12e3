//! Answers health checks. `/healthz` is liveness: it does no I/O. `/readyz` is readiness: it asks
//! the session store for a write and the accounts for a read.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header::CACHE_CONTROL},
    response::{IntoResponse, Response},
};
use tokio::{sync::Mutex, time::timeout};
use tracing::warn;

use crate::{app::App, logs::with_sources};

/// The last result of a readiness check. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Readiness(Arc<Mutex<Option<Check>>>);

struct Check {
    at: Instant,
    not_ready: Vec<&'static str>,
}

/// How long the store and the accounts may each take.
const DEADLINE: Duration = Duration::from_secs(1);

/// How long a result is reused: any client may ask, and must not keep the databases busy.
const KEPT: Duration = Duration::from_secs(1);

/// A subject without sessions: the ids of accounts have 22 characters.
const NO_SUBJECT: &str = "readyz";

/// Answers that the process runs.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Answers whether the server can serve logins: 200, or 503 with the names of the parts that are
/// not ready. The reasons are only in the log. Shows the keys in use too: with old ones the server
/// is ready.
pub(crate) async fn readyz(State(app): State<App>) -> Response {
    let not_ready = app.readiness.check(&app).await;
    let status = match not_ready[..] {
        [] => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = serde_json::json!({
        "ready": not_ready.is_empty(),
        "not_ready": not_ready,
        "keys": app.keys.status(),
    });
    (status, [(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

impl Readiness {
    /// Returns the names of the parts that are not ready.
    async fn check(&self, app: &App) -> Vec<&'static str> {
        // Requests that arrive during a check wait for its result.
        let mut last = self.0.lock().await;
        if let Some(check) = last.as_ref().filter(|check| check.at.elapsed() < KEPT) {
            return check.not_ready.clone();
        }
        let (sessions, accounts) = tokio::join!(
            // It changes nothing, but each store runs it as a write, which a replica refuses.
            probe("sessions", app.sessions.logout_all(NO_SUBJECT)),
            probe("accounts", app.accounts.ping()),
        );
        let not_ready: Vec<_> = [sessions, accounts].into_iter().flatten().collect();
        *last = Some(Check { at: Instant::now(), not_ready: not_ready.clone() });
        not_ready
    }
}

/// Returns the name of the part if it is not ready, and logs why.
async fn probe<T, E: Error + 'static>(
    part: &'static str,
    call: impl Future<Output = Result<T, E>>,
) -> Option<&'static str> {
    match timeout(DEADLINE, call).await {
        Ok(Ok(_)) => return None,
        Ok(Err(error)) => warn!(part, error = with_sources(&error), "not ready"),
        Err(_) => warn!(part, within = DEADLINE.as_secs(), "not ready: no answer in time"),
    }
    Some(part)
}
