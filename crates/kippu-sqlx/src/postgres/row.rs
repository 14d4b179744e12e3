//! Converts rows to records. Another program may have written a row: a value that the store cannot
//! have written is rejected.

use kippu::session::{
    SessionId, SessionRecord, StoreError, UnixMillis,
    store::{EndedCursor, EndedPage},
};
use sqlx::{Postgres, Row, decode::Decode, postgres::PgRow, types::Type};

use super::fault::{corrupt, fault};
use crate::columns::{self, Columns};

/// Returns the record of a row, or `None` if the row only shows the state of the server.
pub(super) fn record(row: &PgRow) -> Result<Option<SessionRecord>, StoreError> {
    let Some(id) = column(row, "id")? else { return Ok(None) };
    let columns = Columns {
        id,
        subject: column(row, "subject")?,
        client: column(row, "client")?,
        label: column(row, "label")?,
        created_at: column(row, "created_at")?,
        absolute_expires_at: column(row, "absolute_expires_at")?,
        generation: column(row, "generation")?,
        kid: column(row, "kid")?,
        rotated_at: column(row, "rotated_at")?,
        expires_at: column(row, "expires_at")?,
        revoked_at: column(row, "revoked_at")?,
        revoked_reason: column(row, "revoked_reason")?,
        remembered: column(row, "remembered")?,
        idle_lifetime: column(row, "idle_lifetime")?,
        auth_time: column(row, "auth_time")?,
        data: column(row, "data")?,
    };
    columns.into_record().map(Some).ok_or_else(corrupt)
}

/// Returns the ids that were added to the log of ended sessions.
pub(super) fn ended(rows: &[PgRow]) -> Result<EndedPage, StoreError> {
    let row = rows.first().ok_or_else(corrupt)?;
    let (server, snapshot): (String, String) = (column(row, "server")?, column(row, "snapshot")?);
    let cursor = EndedCursor::new(format!("{server}/{snapshot}").into_bytes());
    Ok(EndedPage::last(ids(row)?, cursor))
}

/// Splits the ids that are concatenated in the column `ids`.
pub(super) fn ids(row: &PgRow) -> Result<Vec<SessionId>, StoreError> {
    let ids: Option<&[u8]> = column(row, "ids")?;
    let ids = ids.unwrap_or_default().chunks(16);
    let ids = ids.map(|id| id.try_into().map(SessionId::from_bytes));
    ids.collect::<Result<_, _>>().map_err(|_| corrupt())
}

pub(super) fn time(row: &PgRow, name: &str) -> Result<UnixMillis, StoreError> {
    time_or_none(row, name)?.ok_or_else(corrupt)
}

pub(super) fn time_or_none(row: &PgRow, name: &str) -> Result<Option<UnixMillis>, StoreError> {
    let millis: Option<i64> = column(row, name)?;
    millis.map(|millis| columns::time(millis).ok_or_else(corrupt)).transpose()
}

/// Returns whether a column of the first row is true.
pub(super) fn is(rows: &[PgRow], name: &str) -> Result<bool, StoreError> {
    column(rows.first().ok_or_else(corrupt)?, name)
}

/// Returns the count of a statement.
pub(super) fn count(rows: &[PgRow]) -> Result<u64, StoreError> {
    u64::try_from(number(rows, "count")?).map_err(|_| corrupt())
}

/// Returns the text in a column of the first row, if there is one.
pub(super) fn text(rows: &[PgRow], name: &str) -> Result<Option<String>, StoreError> {
    column(rows.first().ok_or_else(corrupt)?, name)
}

/// Returns a number of the first row.
pub(super) fn number(rows: &[PgRow], name: &str) -> Result<i64, StoreError> {
    column(rows.first().ok_or_else(corrupt)?, name)
}

/// Converts a generation to the type of its column.
pub(super) fn generation(generation: u64) -> Result<i64, StoreError> {
    i64::try_from(generation).map_err(|_| corrupt())
}

/// Returns whether rows of this subject can exist: a text in PostgreSQL cannot contain NUL.
pub(super) fn can_be_stored(subject: &str) -> bool {
    !subject.contains('\0')
}

fn column<'r, T: Decode<'r, Postgres> + Type<Postgres>>(
    row: &'r PgRow,
    name: &str,
) -> Result<T, StoreError> {
    row.try_get(name).map_err(fault)
}
