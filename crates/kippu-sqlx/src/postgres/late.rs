//! Corrects the time of a rotation whose answer came late because its commit stalled: the grace
//! period begins with the commit.

use kippu::session::{UnixMillis, rotation::RotateRequest};
use sqlx::{PgConnection, Row};
use tokio::time::Instant;

use crate::columns::millis;

/// A rotation that was sent to the server.
pub(super) struct Late {
    request: RotateRequest,
    /// The time when the request reached the store.
    began: Instant,
    /// The earliest `rotated_at` that the rotation can have stored.
    pub(super) from: UnixMillis,
}

/// Changes neither a later generation, nor a rotation that another request had made before this one
/// was sent.
const CORRECT: &str = "\
    UPDATE kippu_sessions SET rotated_at = $4, \
    expires_at = LEAST($4 + COALESCE(idle_lifetime, $5), absolute_expires_at) \
    WHERE id = $1 AND generation = $2 AND kid = $3 AND revoked_at IS NULL \
    AND rotated_at BETWEEN $6 AND $7 RETURNING expires_at";

impl Late {
    pub(super) fn new(request: &RotateRequest, began: Instant) -> Self {
        let from = request.after(began.elapsed()).rotated_at();
        Self { request: request.clone(), began, from }
    }

    /// Moves the rotation to the current time if it was stored at `from` or soon after, and more
    /// than an eighth of the grace period has passed since then. Returns the new end of the
    /// session, or `None` if nothing changed.
    pub(super) async fn correct(
        &self,
        connection: &mut PgConnection,
        from: UnixMillis,
    ) -> Result<Option<UnixMillis>, sqlx::Error> {
        let present = self.request.after(self.began.elapsed());
        let at = present.rotated_at();
        let accepted = present.grace / 8;
        if present.grace.is_zero() || at.saturating_since(from) <= accepted {
            return Ok(None);
        }
        // Both were in range when the rotation was sent.
        let generation = i64::try_from(present.generation + 1).unwrap_or(i64::MAX);
        let accepted = i64::try_from(accepted.as_millis()).unwrap_or(i64::MAX);
        let row = sqlx::query(CORRECT)
            .bind(present.id.as_bytes().as_slice())
            .bind(generation)
            .bind(present.kid.as_str())
            .bind(at.get())
            .bind(millis(present.idle_lifetime))
            .bind(from.get())
            // A rotation that was stored after this time is late by less than an eighth.
            .bind(at.get() - accepted)
            .fetch_optional(connection)
            .await?;
        row.map(|row| row.try_get("expires_at").map(UnixMillis::new)).transpose()
    }
}
