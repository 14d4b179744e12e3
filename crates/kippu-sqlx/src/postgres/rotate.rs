//! Rotates a session. A live session whose token is current, the most frequent case by far, takes
//! one statement. In other cases, and for a reauthentication, the store reads the record, decides,
//! and changes it if it is unchanged since the read.

use kippu::session::{
    RevokeReason, SessionData, SessionRecord, StoreError, StoreErrorKind, UnixMillis,
    rotation::{Change, MAX_GENERATION, RotateOutcome, RotateRequest, Successor},
};

use super::{call::Call, load, row};
use crate::columns::millis;

/// Locks the row before it reads the clock. `millis` therefore includes every wait since the server
/// received the statement: for the table, the row or the processor. `now()` is the time of receipt.
/// `statement_timestamp()` would be later: it advances when a prepared statement is executed after
/// its wait for the table. Without a separate part for the lock, the server would read the clock
/// before it waits for a row whose holder changes nothing.
///
/// The last part reads the snapshot, which was taken before any wait for the row. It returns a row
/// if the generation was the expected one and nothing was changed: another request has overtaken
/// this one.
const ADVANCE: &str = "\
    WITH held AS ( \
        SELECT id FROM kippu_sessions \
        WHERE id = $1 AND generation = $2 AND revoked_at IS NULL \
        AND expires_at > $5 AND absolute_expires_at > $5 FOR UPDATE \
    ), stall AS ( \
        SELECT id, \
        GREATEST(0, floor(date_part('epoch', clock_timestamp() - now()) * 1000))::bigint AS millis \
        FROM held \
    ), moved AS ( \
        UPDATE kippu_sessions AS session SET generation = $3, kid = $4, \
        rotated_at = LEAST($6 + millis, $8), \
        expires_at = LEAST(LEAST($6 + millis, $8) + COALESCE(idle_lifetime, $7), absolute_expires_at), \
        auth_time = COALESCE($9, auth_time), data = COALESCE($10, data) \
        FROM stall WHERE session.id = stall.id RETURNING session.rotated_at, session.expires_at \
    ) \
    SELECT rotated_at, expires_at FROM moved \
    UNION ALL \
    SELECT NULL, NULL FROM kippu_sessions \
    WHERE id = $1 AND generation = $2 AND NOT EXISTS (SELECT FROM moved)";

/// Changes neither `rotated_at` nor `expires_at`, because another transaction may correct them
/// concurrently.
pub(super) const REAUTHENTICATE: &str = "\
    UPDATE kippu_sessions SET auth_time = $3, data = COALESCE($4, data) \
    WHERE id = $1 AND generation = $2 AND revoked_at IS NULL RETURNING id";

/// Does nothing if the time of the rotation was corrected since the record was read, because the
/// decision may be different.
const REVOKE: &str = "\
    UPDATE kippu_sessions SET revoked_at = $4, revoked_reason = $5 \
    WHERE id = $1 AND generation = $2 AND rotated_at = $3 AND revoked_at IS NULL RETURNING id";

/// How often the store reads the record. A try fails when another request has advanced or revoked
/// the session meanwhile, and few requests do within one grace period.
const TRIES: usize = 8;

pub(super) async fn rotate(
    mut call: Call,
    mut request: RotateRequest,
) -> Result<RotateOutcome, StoreError> {
    // A reauthentication needs the record to decide whether it rotates.
    let is_plain = request.auth_time.is_none() && request.generation < MAX_GENERATION;
    let mut expected = is_plain.then_some(request.generation);
    for _ in 0..TRIES {
        if let Some(expected) = expected {
            match advance(&mut call, &request, expected).await? {
                Advanced::To(successor) if request.generation == expected => {
                    return Ok(RotateOutcome::Rotated(successor));
                }
                Advanced::To(successor) => {
                    let lost = request.generation - expected;
                    return Ok(RotateOutcome::Healed { successor, lost });
                }
                Advanced::Overtaken => request.was_current = true,
                Advanced::Nothing => {}
            }
        }
        let Some(record) = load(&mut call, &request.id).await? else {
            return Ok(RotateOutcome::Unknown);
        };
        let decision = request.decide(&record);
        match decision.change {
            None => return Ok(decision.outcome),
            // The token is the current one now. If another rotation is stored from now on, it has
            // overtaken this one.
            Some(Change::Advance { .. }) => {
                (expected, request.was_current) = (Some(record.generation), true);
            }
            Some(Change::Reauthenticate { auth_time, data }) => {
                if reauthenticate(&mut call, &record, auth_time, data.as_ref()).await? {
                    return Ok(decision.outcome);
                }
            }
            Some(Change::Revoke { at, reason }) => {
                if revoke(&mut call, &record, at, reason).await? {
                    return Ok(decision.outcome);
                }
            }
        }
    }
    Err(StoreError::new(
        StoreErrorKind::Contention,
        "other callers changed the session during every try: try again",
    ))
}

/// The outcome of [`advance`].
enum Advanced {
    To(Successor),
    /// The session had the expected generation, and another request changed it first.
    Overtaken,
    /// The session did not have the expected generation, or has ended.
    Nothing,
}

/// Advances the session if it is live and has the `expected` generation.
async fn advance(
    call: &mut Call,
    request: &RotateRequest,
    expected: u64,
) -> Result<Advanced, StoreError> {
    let (from, to) = (row::generation(expected)?, row::generation(request.generation + 1)?);
    // Preparing may wait for a table lock, and the statement does not measure that wait. So it
    // happens first.
    call.prepare(ADVANCE).await?;
    let began = call.rotating(request);
    let rows = call
        .run(|| {
            let present = request.after(began.elapsed());
            sqlx::query(ADVANCE)
                .bind(request.id.as_bytes().as_slice())
                .bind(from)
                .bind(to)
                .bind(request.kid.as_str())
                .bind(request.now.get())
                .bind(present.rotated_at().get())
                .bind(millis(request.idle_lifetime))
                .bind(UnixMillis::MAX.get())
                .bind(request.auth_time.map(UnixMillis::get))
                .bind(request.data.as_ref().map(SessionData::as_bytes))
        })
        .await?;
    let Some(row) = rows.first() else {
        let is_overtaken = call.was_overtaken;
        return Ok(if is_overtaken { Advanced::Overtaken } else { Advanced::Nothing });
    };
    let Some(rotated_at) = row::time_or_none(row, "rotated_at")? else {
        return Ok(Advanced::Overtaken);
    };
    let expires_at = match call.correct(rotated_at).await {
        Some(expires_at) => expires_at,
        None => row::time(row, "expires_at")?,
    };
    let (generation, kid) = (request.generation + 1, request.kid.clone());
    Ok(Advanced::To(Successor::new(generation, kid, expires_at)))
}

/// Stores a new authentication if the token that was read is still the current one.
async fn reauthenticate(
    call: &mut Call,
    read: &SessionRecord,
    auth_time: UnixMillis,
    data: Option<&SessionData>,
) -> Result<bool, StoreError> {
    let generation = row::generation(read.generation)?;
    let rows = call
        .run(|| {
            sqlx::query(REAUTHENTICATE)
                .bind(read.id.as_bytes().as_slice())
                .bind(generation)
                .bind(auth_time.get())
                .bind(data.map(SessionData::as_bytes))
        })
        .await?;
    Ok(!rows.is_empty())
}

/// Revokes the session if its record is unchanged since it was read.
async fn revoke(
    call: &mut Call,
    read: &SessionRecord,
    at: UnixMillis,
    reason: RevokeReason,
) -> Result<bool, StoreError> {
    let generation = row::generation(read.generation)?;
    let rows = call
        .run(|| {
            sqlx::query(REVOKE)
                .bind(read.id.as_bytes().as_slice())
                .bind(generation)
                .bind(read.rotated_at.get())
                .bind(at.get())
                .bind(reason.as_str())
        })
        .await?;
    Ok(!rows.is_empty())
}
