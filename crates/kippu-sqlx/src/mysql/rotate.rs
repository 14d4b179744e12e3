//! Rotates a session: reads the record, decides, and changes it with one statement if it is
//! unchanged since the read. If the caller has already read the record, the first read is skipped.

use kippu::session::{
    RevokeReason, SessionData, SessionRecord, StoreError, StoreErrorKind, UnixMillis,
    rotation::{Change, MAX_GENERATION, RotateOutcome, RotateRequest, Successor},
};

use super::{
    call::{Call, repeated},
    dialect::{self, ADVANCE, REAUTHENTICATE},
    ended, late, load, row,
};
use crate::columns::millis;

/// How often the store reads the record. A try fails when another request has advanced or revoked
/// the session meanwhile, and few requests do within one grace period.
const TRIES: usize = 8;

pub(super) async fn rotate(
    mut call: Call,
    mut request: RotateRequest,
) -> Result<RotateOutcome, StoreError> {
    // The token was the current one when the caller read the record, and probably still is. A
    // reauthentication needs the record to decide whether it rotates.
    let is_plain = request.auth_time.is_none() && request.generation < MAX_GENERATION;
    if request.was_current && is_plain {
        let expected = request.generation;
        if let Some(successor) = repeated!(call, advance(&mut call, &request, expected))? {
            return Ok(RotateOutcome::Rotated(successor));
        }
    }
    for _ in 0..TRIES {
        let Some(record) = load(&mut call, &request.id).await? else {
            return Ok(RotateOutcome::Unknown);
        };
        let decision = request.decide(&record);
        match decision.change {
            None => return Ok(decision.outcome),
            Some(Change::Advance { .. }) => {
                // The token is the current one now. If another rotation is stored from now on, it
                // has overtaken this one.
                request.was_current = true;
                let expected = record.generation;
                let Some(successor) = repeated!(call, advance(&mut call, &request, expected))?
                else {
                    continue;
                };
                return Ok(match request.generation - expected {
                    0 => RotateOutcome::Rotated(successor),
                    lost => RotateOutcome::Healed { successor, lost },
                });
            }
            Some(Change::Reauthenticate { auth_time, data }) => {
                let read = &record;
                if repeated!(call, reauthenticate(&mut call, read, auth_time, data.as_ref()))? {
                    return Ok(decision.outcome);
                }
            }
            Some(Change::Revoke { at, reason }) => {
                if repeated!(call, revoke(&mut call, &record, at, reason))? {
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

/// Advances the session if it is live and has the `expected` generation.
async fn advance(
    call: &mut Call,
    request: &RotateRequest,
    expected: u64,
) -> Result<Option<Successor>, StoreError> {
    let (from, to) = (row::generation(expected)?, row::generation(request.generation + 1)?);
    // Preparing may wait for a table lock, and the statement does not measure that wait. So it
    // happens first.
    call.prepare(ADVANCE).await?;
    let began = call.rotating(request);
    let statement = sqlx::query(ADVANCE)
        .bind(to)
        .bind(request.kid.as_bytes())
        .bind(request.auth_time.map(UnixMillis::get))
        .bind(request.data.as_ref().map(SessionData::as_bytes))
        .bind(request.after(began.elapsed()).rotated_at().get())
        .bind(millis(request.idle_lifetime))
        .bind(request.id.as_bytes().as_slice())
        .bind(from)
        .bind(request.now.get())
        .bind(request.now.get());
    let result = call.execute(statement).await?;
    if result.rows_affected() == 0 {
        call.rotated_nothing();
        return Ok(None);
    }
    let corrected = call.correct().await;
    let expires_at = corrected.unwrap_or_else(|| late::returned(&result));
    Ok(Some(Successor::new(request.generation + 1, request.kid.clone(), expires_at)))
}

/// Stores a new authentication if the token that was read is still the current one.
async fn reauthenticate(
    call: &mut Call,
    read: &SessionRecord,
    auth_time: UnixMillis,
    data: Option<&SessionData>,
) -> Result<bool, StoreError> {
    let statement = sqlx::query(REAUTHENTICATE)
        .bind(auth_time.get())
        .bind(data.map(SessionData::as_bytes))
        .bind(read.id.as_bytes().as_slice())
        .bind(row::generation(read.generation)?);
    Ok(call.execute(statement).await?.rows_affected() > 0)
}

/// Revokes the session if its record is unchanged since it was read.
async fn revoke(
    call: &mut Call,
    read: &SessionRecord,
    at: UnixMillis,
    reason: RevokeReason,
) -> Result<bool, StoreError> {
    if call.begin_with(&dialect::revoke_reused(read, at, reason)).await? == 0 {
        call.roll_back().await?;
        return Ok(false);
    }
    ended::commit(call, &[read.id.as_bytes().to_vec()]).await?;
    Ok(true)
}
