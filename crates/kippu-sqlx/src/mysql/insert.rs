//! A login: one statement. Within a limit it first takes a lock on the subject's name, counts, and
//! then runs that statement.

use kippu::session::{
    RevokeReason, SessionId, SessionRecord, StoreError, UnixMillis,
    store::{InsertOutcome, InsertRequest, Room},
};

use super::{
    call::{Call, Statement, repeated},
    dialect::{self, CHECK, INSERT, OTHERS, RELEASE_LOCK, TAKE_LOCK},
    ended,
    fault::{self, corrupt, fault},
    row,
};
use crate::columns::millis;

pub(super) async fn insert(
    mut call: Call,
    request: InsertRequest,
) -> Result<InsertOutcome, StoreError> {
    let session = &request.session;
    if !session.is_well_formed() {
        // Some modes of the server truncate a value that is too long.
        return Err(corrupt());
    }
    if request.limit.is_none() {
        return repeated!(call, add(&mut call, session));
    }
    let subject = session.subject.as_bytes();
    // A lock that the server grants after the deadline would be useless.
    let seconds = i64::try_from(call.time_left().as_secs()).unwrap_or(i64::MAX).clamp(1, 1 << 20);
    // From now on the connection may hold the lock, until it is closed.
    call.set_holds_lock(true);
    let rows = call.fetch(sqlx::query(TAKE_LOCK).bind(subject).bind(seconds)).await?;
    let is_taken: Option<i64> = row::column(rows.first().ok_or_else(corrupt)?, "is_taken")?;
    if is_taken != Some(1) {
        call.set_holds_lock(false);
        return Err(fault::queued());
    }
    let outcome = repeated!(call, add_within(&mut call, &request))?;
    call.fetch(sqlx::query(RELEASE_LOCK).bind(subject)).await?;
    call.set_holds_lock(false);
    Ok(outcome)
}

/// Adds a session, while the lock excludes other logins of its subject.
async fn add_within(call: &mut Call, request: &InsertRequest) -> Result<InsertOutcome, StoreError> {
    let session = &request.session;
    let now = session.created_at.get();
    let statement = sqlx::query(OTHERS)
        .bind(session.subject.as_bytes())
        .bind(now)
        .bind(now)
        .bind(session.id.as_bytes().as_slice());
    let rows = call.read(statement).await?;
    let mut others = Vec::new();
    for row in &rows {
        let Some(id) = row::id(row)? else { continue };
        if row::column::<i64>(row, "is_same")? == 1 {
            return Ok(InsertOutcome::Duplicate);
        }
        // `decide` reads no other field.
        let created_at = row::time(row, "created_at")?;
        others.push(SessionRecord::new(id, "", "", "", created_at, UnixMillis::MAX));
    }
    match request.decide(others) {
        Room::Enough => add(call, session).await,
        Room::Refused => Ok(InsertOutcome::LimitReached),
        Room::After(oldest) => add_after(call, session, &oldest).await,
    }
}

/// Adds a session and revokes others, in one transaction.
async fn add_after(
    call: &mut Call,
    session: &SessionRecord,
    oldest: &[SessionId],
) -> Result<InsertOutcome, StoreError> {
    call.begin().await?;
    let mut evicted = Vec::new();
    for id in oldest {
        // Another step may have revoked it since it was read.
        let revoke = dialect::revoke(id, session.created_at, RevokeReason::Limit);
        if call.execute_text(revoke).await? > 0 {
            evicted.push(*id);
        }
    }
    if add(call, session).await? == InsertOutcome::Duplicate {
        call.roll_back().await?;
        return Ok(InsertOutcome::Duplicate);
    }
    if evicted.is_empty() {
        call.commit().await?;
    } else {
        let ids: Vec<_> = evicted.iter().map(|id| id.as_bytes().to_vec()).collect();
        ended::commit(call, &ids).await?;
    }
    Ok(InsertOutcome::Inserted { evicted })
}

async fn add(call: &mut Call, session: &SessionRecord) -> Result<InsertOutcome, StoreError> {
    let is_expected = |error: &_| fault::is_duplicate(error) || fault::is_null(error);
    match call.try_execute(statement(session)?, is_expected).await? {
        Ok(_) => Ok(InsertOutcome::INSERTED),
        Err(error) if fault::is_duplicate(&error) => Ok(InsertOutcome::Duplicate),
        Err(error) => {
            // The server rejected the row. This read returns the reason.
            call.read(sqlx::query(CHECK)).await?;
            Err(fault(error))
        }
    }
}

fn statement(session: &SessionRecord) -> Result<Statement<'_>, StoreError> {
    Ok(sqlx::query(INSERT)
        .bind(session.id.as_bytes().as_slice())
        .bind(session.subject.as_bytes())
        .bind(session.client.as_bytes())
        .bind(session.label.as_ref().map(String::as_bytes))
        .bind(session.created_at.get())
        .bind(session.absolute_expires_at.get())
        .bind(i64::from(session.remembered))
        .bind(session.idle_lifetime.map(millis))
        .bind(session.auth_time.get())
        .bind(session.data.as_bytes())
        .bind(row::generation(session.generation)?)
        .bind(session.kid.as_bytes())
        .bind(session.rotated_at.get())
        .bind(session.expires_at.get())
        .bind(session.revoked.map(|revoked| revoked.at.get()))
        .bind(session.revoked.map(|revoked| revoked.reason.as_str().as_bytes())))
}
