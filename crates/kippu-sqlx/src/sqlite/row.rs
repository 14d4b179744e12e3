//! Converts rows to records, and runs the steps that only read.
//!
//! Each step returns two results: the outer one is about the connection, the inner one about the
//! data.

use kippu::session::{
    SessionId, SessionRecord, StoreError, UnixMillis,
    store::{EndedCursor, EndedPage, ListRequest},
};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::fault::{corrupt, fault};
use crate::columns::{self, Columns};

/// The outer error is the driver's and fails the transaction. The inner one is about a row and only
/// concerns one request.
pub(super) type Read<T> = Result<Result<T, StoreError>, sqlx::Error>;

/// The number of ids in a page of the log of ended sessions: 160 kB.
const PAGE: i64 = 10_000;

/// The columns of a record, in the order of [`record`].
macro_rules! select {
    ($from:literal) => {
        concat!(
            "SELECT id, subject, client, label, created_at, absolute_expires_at, generation, kid, \
             rotated_at, expires_at, revoked_at, revoked_reason, remembered, idle_lifetime, \
             auth_time, data FROM kippu_sessions WHERE ",
            $from
        )
    };
}

pub(super) async fn load(
    connection: &mut SqliteConnection,
    id: &SessionId,
) -> Read<Option<SessionRecord>> {
    let row = sqlx::query(select!("id = ?1")).bind(bytes(id)).fetch_optional(connection).await?;
    Ok(row.map(|row| record(&row)).transpose())
}

/// Returns whether a session with this id exists.
pub(super) async fn is_there(
    connection: &mut SqliteConnection,
    id: &SessionId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM kippu_sessions WHERE id = ?1)")
        .bind(bytes(id))
        .fetch_one(connection)
        .await
}

pub(super) async fn list(
    connection: &mut SqliteConnection,
    request: &ListRequest,
) -> Read<Vec<SessionRecord>> {
    let rows = sqlx::query(select!(
        "subject = ?1 AND revoked_at IS NULL AND expires_at > ?2 AND absolute_expires_at > ?2 \
         AND (?3 IS NULL OR (created_at, id) > (?3, ?4)) ORDER BY created_at, id LIMIT ?5"
    ))
    .bind(&*request.subject)
    .bind(request.now.get())
    .bind(request.after.map(|after| after.created_at.get()))
    .bind(request.after.as_ref().map(|after| bytes(&after.id)))
    .bind(request.limit)
    .fetch_all(connection)
    .await?;
    Ok(rows.iter().map(record).collect())
}

/// Returns a page of the log of ended sessions. A number that the log has not reached comes from
/// another log, so the page begins at the first entry.
pub(super) async fn ended_after(connection: &mut SqliteConnection, after: i64) -> Read<EndedPage> {
    // A number that the sequence has not reached comes from another file: the log is then read from
    // its start.
    let rows = sqlx::query(
        "SELECT id, seq, first FROM ( \
             SELECT CASE WHEN ?1 <= seq THEN ?1 ELSE 0 END AS first \
             FROM sqlite_sequence WHERE name = 'kippu_ended' \
         ) LEFT JOIN kippu_ended ON seq > first ORDER BY seq LIMIT ?2",
    )
    .bind(after)
    .bind(PAGE)
    .fetch_all(connection)
    .await?;
    Ok(page(&rows))
}

fn page(rows: &[SqliteRow]) -> Result<EndedPage, StoreError> {
    let number = |row: &SqliteRow, column| row.try_get::<Option<i64>, _>(column).map_err(fault);
    let [.., last] = rows else { return Err(corrupt()) };
    // Without new entries, the LEFT JOIN returns one row, which has only the start.
    let Some(end) = number(last, 1)? else {
        let first = number(last, 2)?.ok_or_else(corrupt)?;
        return Ok(EndedPage::last(Vec::new(), EndedCursor::new(first.to_be_bytes())));
    };
    let ids = rows.iter().map(session_id).collect::<Result<_, _>>()?;
    let next = EndedCursor::new(end.to_be_bytes());
    let is_full = i64::try_from(rows.len()).is_ok_and(|rows| rows == PAGE);
    Ok(if is_full { EndedPage::more(ids, next) } else { EndedPage::last(ids, next) })
}

pub(super) fn bytes(id: &SessionId) -> &[u8] {
    id.as_bytes()
}

/// Returns the id in the first column.
pub(super) fn session_id(row: &SqliteRow) -> Result<SessionId, StoreError> {
    let id: &[u8] = row.try_get(0).map_err(fault)?;
    id.try_into().map(SessionId::from_bytes).map_err(|_| corrupt())
}

pub(super) fn time(row: &SqliteRow, column: usize) -> Result<UnixMillis, StoreError> {
    columns::time(row.try_get(column).map_err(fault)?).ok_or_else(corrupt)
}

fn record(row: &SqliteRow) -> Result<SessionRecord, StoreError> {
    let read = || {
        Ok(Columns {
            id: row.try_get(0)?,
            subject: row.try_get(1)?,
            client: row.try_get(2)?,
            label: row.try_get(3)?,
            created_at: row.try_get(4)?,
            absolute_expires_at: row.try_get(5)?,
            generation: row.try_get(6)?,
            kid: row.try_get(7)?,
            rotated_at: row.try_get(8)?,
            expires_at: row.try_get(9)?,
            revoked_at: row.try_get(10)?,
            revoked_reason: row.try_get(11)?,
            remembered: row.try_get(12)?,
            idle_lifetime: row.try_get(13)?,
            auth_time: row.try_get(14)?,
            data: row.try_get(15)?,
        })
    };
    read().map_err(fault)?.into_record().ok_or_else(corrupt)
}
