//! A login: one statement, or a transaction if the number of the subject's sessions is limited.

use std::ops::ControlFlow;

use kippu::session::{
    RevokeReason, SessionId, SessionRecord, StoreError, StoreErrorKind,
    store::{InsertOutcome, InsertRequest, Room},
};
use sqlx::{AssertSqlSafe, Connection, Error, postgres::PgRow};

use super::{
    call::{Call, RETRIES, Statement},
    fault, row,
};
use crate::columns::millis;

/// `$1` is the id and `$5` the time of the login.
macro_rules! add {
    () => {
        concat!(
            "INSERT INTO kippu_sessions (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) \
             ON CONFLICT (id) DO NOTHING"
        )
    };
}

const ADD: &str = concat!(add!(), " RETURNING id");

/// Returns the `others` that are live when the new session begins, and whether a session with its
/// id exists. The server returns a row with the first columns even if there are no others.
const LOOK: &str = concat!(
    "SELECT current_setting('transaction_read_only')::boolean AS is_read_only, \
     EXISTS (SELECT FROM kippu_sessions WHERE id = $1) AS is_there, ",
    columns!(),
    " FROM (SELECT) AS server LEFT JOIN kippu_sessions ON subject = $2 AND revoked_at IS NULL \
     AND expires_at > $3 AND absolute_expires_at > $3"
);

/// Evicts no session if another login, without a limit, has added the id meanwhile.
const REPLACE: &str = concat!(
    "WITH added AS (",
    add!(),
    " RETURNING id), evicted AS ( \
         UPDATE kippu_sessions SET revoked_at = $5, revoked_reason = $17 \
         WHERE id = ANY ($18) AND revoked_at IS NULL AND EXISTS (SELECT FROM added) RETURNING id \
     ) SELECT (SELECT count(*) FROM added) AS count, \
         (SELECT string_agg(id, '') FROM evicted) AS ids"
);

/// The first key of the lock that the logins of a subject take: `kipp`. The second key is the shard
/// of the subject, so that one pair of subjects in 65,536 wait for each other while a session is
/// inserted. If the server hashed the subject instead, that would take another round trip, or a
/// text that is formatted into the statement.
const LOCK: i32 = 0x6b69_7070;

pub(super) async fn insert(
    mut call: Call,
    request: &InsertRequest,
) -> Result<InsertOutcome, StoreError> {
    let session = &request.session;
    let generation = row::generation(session.generation)?;
    if request.limit.is_none() {
        let rows = call.run(|| add(ADD, session, generation)).await?;
        let is_new = !rows.is_empty();
        return Ok(if is_new { InsertOutcome::INSERTED } else { InsertOutcome::Duplicate });
    }
    let mut tries = 0;
    loop {
        let inserted = insert_within(&mut call, request, generation).await;
        call.end_transaction();
        match inserted {
            // A logout of all sessions of the subject locks them in another order.
            Err(error) if fault::is_conflict(&error) && tries < RETRIES => tries += 1,
            inserted => {
                let outcome = call.answered(inserted)?;
                if outcome.as_ref().is_err_and(|error| error.kind() == StoreErrorKind::Unavailable)
                {
                    call.close();
                }
                return outcome;
            }
        }
    }
}

/// Inserts a session in a READ COMMITTED transaction, whatever the server's default is. The count
/// then uses a snapshot that is taken after the lock was granted. The lock is released with the
/// transaction, after its commit.
async fn insert_within(
    call: &mut Call,
    request: &InsertRequest,
    generation: i64,
) -> Result<Result<InsertOutcome, StoreError>, Error> {
    let session = &request.session;
    let shard = SessionId::shard_of(&session.subject);
    let begin = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({LOCK}, {shard})"
    );
    let connection = call.start_transaction()?;
    // Only two numbers are formatted into the statement.
    let mut transaction = connection.begin_with(AssertSqlSafe(begin)).await?;
    let look = sqlx::query(LOOK)
        .bind(session.id.as_bytes().as_slice())
        .bind(session.subject.as_str())
        .bind(session.created_at.get());
    let rows = look.fetch_all(&mut *transaction).await?;
    let evicted = match decide(request, &rows) {
        Ok(ControlFlow::Continue(evicted)) => evicted,
        Ok(ControlFlow::Break(outcome)) => {
            transaction.rollback().await?;
            return Ok(Ok(outcome));
        }
        Err(error) => {
            transaction.rollback().await?;
            return Ok(Err(error));
        }
    };
    let ids: Vec<&[u8]> = evicted.iter().map(|id| id.as_bytes().as_slice()).collect();
    let replace = add(REPLACE, session, generation).bind(RevokeReason::Limit.as_str()).bind(ids);
    let rows = replace.fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(replaced(&rows, evicted))
}

/// Returns the sessions to evict, or the outcome if the new session is not to be added.
fn decide(
    request: &InsertRequest,
    rows: &[PgRow],
) -> Result<ControlFlow<InsertOutcome, Vec<SessionId>>, StoreError> {
    // An outcome that changes nothing would otherwise not show that the server rejects writes.
    if row::is(rows, "is_read_only")? {
        return Err(fault::read_only());
    }
    if row::is(rows, "is_there")? {
        return Ok(ControlFlow::Break(InsertOutcome::Duplicate));
    }
    let others = rows.iter().filter_map(|row| row::record(row).transpose());
    Ok(match request.decide(others.collect::<Result<Vec<_>, _>>()?) {
        Room::Enough => ControlFlow::Continue(Vec::new()),
        Room::After(oldest) => ControlFlow::Continue(oldest),
        Room::Refused => ControlFlow::Break(InsertOutcome::LimitReached),
    })
}

/// Reads the outcome of [`REPLACE`]. Another step may have revoked some of the evicted sessions
/// meanwhile.
fn replaced(rows: &[PgRow], mut evicted: Vec<SessionId>) -> Result<InsertOutcome, StoreError> {
    if row::count(rows)? == 0 {
        return Ok(InsertOutcome::Duplicate);
    }
    let ids = row::ids(rows.first().ok_or_else(fault::corrupt)?)?;
    evicted.retain(|id| ids.contains(id));
    Ok(InsertOutcome::Inserted { evicted })
}

/// Returns a statement that adds a session. The caller may bind more parameters.
fn add<'q>(statement: &'static str, session: &'q SessionRecord, generation: i64) -> Statement<'q> {
    sqlx::query(statement)
        .bind(session.id.as_bytes().as_slice())
        .bind(session.subject.as_str())
        .bind(session.client.as_str())
        .bind(session.label.as_deref())
        .bind(session.created_at.get())
        .bind(session.absolute_expires_at.get())
        .bind(generation)
        .bind(session.kid.as_str())
        .bind(session.rotated_at.get())
        .bind(session.expires_at.get())
        .bind(session.revoked.map(|revoked| revoked.at.get()))
        .bind(session.revoked.map(|revoked| revoked.reason.as_str()))
        .bind(session.remembered)
        .bind(session.idle_lifetime.map(millis))
        .bind(session.auth_time.get())
        .bind(session.data.as_bytes())
}
