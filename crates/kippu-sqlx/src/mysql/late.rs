//! Corrects the time of a rotation whose answer came late because its commit stalled: the grace
//! period begins with the commit.

use kippu::session::{UnixMillis, rotation::RotateRequest};
use sqlx::{Error, MySqlConnection, mysql::MySqlQueryResult};
use tokio::time::Instant;

use super::dialect::{CORRECT, UNSIGNED};
use crate::columns::millis;

/// A rotation that was sent to the server.
pub(super) struct Late {
    request: RotateRequest,
    /// The time when the request reached the store.
    began: Instant,
    /// The earliest `rotated_at` that the rotation can have stored.
    from: UnixMillis,
}

impl Late {
    pub(super) fn new(request: &RotateRequest, began: Instant) -> Self {
        let from = request.after(began.elapsed()).rotated_at();
        Self { request: request.clone(), began, from }
    }

    /// Moves the rotation to the current time if more than an eighth of the grace period has passed
    /// since it was stored. Returns the new end of the session, or `None` if nothing changed.
    pub(super) async fn correct(
        &self,
        connection: &mut MySqlConnection,
    ) -> Result<Option<UnixMillis>, Error> {
        let present = self.request.after(self.began.elapsed());
        let at = present.rotated_at();
        let accepted = present.grace / 8;
        if present.grace.is_zero() || at.saturating_since(self.from) <= accepted {
            return Ok(None);
        }
        // Both were in range when the rotation was sent.
        let generation = i64::try_from(present.generation + 1).unwrap_or(i64::MAX);
        let result = sqlx::query(CORRECT)
            .bind(at.get())
            .bind(at.get())
            .bind(millis(present.idle_lifetime))
            .bind(present.id.as_bytes().as_slice())
            .bind(generation)
            .bind(present.kid.as_bytes())
            .bind(self.from.get())
            // A rotation that was stored after this time is late by less than an eighth.
            .bind(at.get() - millis(accepted))
            .execute(connection)
            .await?;
        Ok((result.rows_affected() > 0).then(|| returned(&result)))
    }
}

/// Returns the time that an update has returned as its last id.
pub(super) fn returned(result: &MySqlQueryResult) -> UnixMillis {
    let time = i64::try_from(result.last_insert_id()).unwrap_or(i64::MAX);
    UnixMillis::new(time.saturating_sub(UNSIGNED))
}
