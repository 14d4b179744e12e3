//! The login: one statement, or a transaction where the subject may have only so many sessions.

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

/// The `others` that are live when the new session begins, and whether there is one of its id. There is a row, for the
/// first columns, even if there are no others.
const LOOK: &str = concat!(
    "SELECT current_setting('transaction_read_only')::boolean AS is_read_only, \
     EXISTS (SELECT FROM kippu_sessions WHERE id = $1) AS is_there, ",
    columns!(),
    " FROM (SELECT) AS server LEFT JOIN kippu_sessions ON subject = $2 AND revoked_at IS NULL \
     AND expires_at > $3 AND absolute_expires_at > $3"
);

/// It evicts no session where another login, without a limit, has added the id meanwhile.
const REPLACE: &str = concat!(
    "WITH added AS (",
    add!(),
    " RETURNING id), evicted AS ( \
         UPDATE kippu_sessions SET revoked_at = $5, revoked_reason = $17 \
         WHERE id = ANY ($18) AND revoked_at IS NULL AND EXISTS (SELECT FROM added) RETURNING id \
     ) SELECT (SELECT count(*) FROM added) AS count, \
         (SELECT string_agg(id, '') FROM evicted) AS ids"
);

/// Half of the key of the lock that the logins of a subject take: `kipp`. The other half is the shard of the subject. So two
/// subjects in 65,536 wait for each other, for the length of an insert; a hash of the subject by the server would be another
/// round trip, or a text that is put into the statement.
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
            // The sessions of a subject that logs out everywhere are locked in another order.
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

/// In a transaction that is READ COMMITTED, whatever the server's default is: what is counted in is a snapshot that is taken
/// when the lock is held. The lock is released with the transaction, after its commit.
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
    // Two numbers are all that was put in.
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

/// Which sessions have to make room, or the outcome if the new one is not to be added.
fn decide(
    request: &InsertRequest,
    rows: &[PgRow],
) -> Result<ControlFlow<InsertOutcome, Vec<SessionId>>, StoreError> {
    // A standby, or a server that takes no writes: an outcome that changes nothing would not find out.
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

/// The outcome of [`REPLACE`]. Of the sessions that had to make room, another step may have ended some meanwhile.
fn replaced(rows: &[PgRow], mut evicted: Vec<SessionId>) -> Result<InsertOutcome, StoreError> {
    if row::count(rows)? == 0 {
        return Ok(InsertOutcome::Duplicate);
    }
    let ids = row::ids(rows.first().ok_or_else(fault::corrupt)?)?;
    evicted.retain(|id| ids.contains(id));
    Ok(InsertOutcome::Inserted { evicted })
}

/// A statement that adds a session, which may have more parameters.
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
