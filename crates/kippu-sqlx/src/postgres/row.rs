//! Rows in and out: a record of a row that another program may have written, refused where it cannot be one.

use kippu::session::{
    SessionId, SessionRecord, StoreError, UnixMillis,
    store::{EndedCursor, EndedPage},
};
use sqlx::{Postgres, Row, decode::Decode, postgres::PgRow, types::Type};

use super::fault::{corrupt, fault};
use crate::columns::{self, Columns};

/// The record of a row, or none where the row has only what the server says of itself.
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

/// The ids that have come into the log of ended sessions.
pub(super) fn ended(rows: &[PgRow]) -> Result<EndedPage, StoreError> {
    let row = rows.first().ok_or_else(corrupt)?;
    let (server, snapshot): (String, String) = (column(row, "server")?, column(row, "snapshot")?);
    let cursor = EndedCursor::new(format!("{server}/{snapshot}").into_bytes());
    Ok(EndedPage::last(ids(row)?, cursor))
}

/// The ids that are joined in the column `ids`.
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

/// Whether a column of the first row is true.
pub(super) fn is(rows: &[PgRow], name: &str) -> Result<bool, StoreError> {
    column(rows.first().ok_or_else(corrupt)?, name)
}

/// What a statement counted.
pub(super) fn count(rows: &[PgRow]) -> Result<u64, StoreError> {
    u64::try_from(number(rows, "count")?).map_err(|_| corrupt())
}

/// The text in a column of the first row, if there is one.
pub(super) fn text(rows: &[PgRow], name: &str) -> Result<Option<String>, StoreError> {
    column(rows.first().ok_or_else(corrupt)?, name)
}

/// A number of the first row.
pub(super) fn number(rows: &[PgRow], name: &str) -> Result<i64, StoreError> {
    column(rows.first().ok_or_else(corrupt)?, name)
}

/// A generation as it is stored.
pub(super) fn generation(generation: u64) -> Result<i64, StoreError> {
    i64::try_from(generation).map_err(|_| corrupt())
}

/// Whether there can be rows of this subject: a text of PostgreSQL holds every character but NUL.
pub(super) fn can_be_stored(subject: &str) -> bool {
    !subject.contains('\0')
}

fn column<'r, T: Decode<'r, Postgres> + Type<Postgres>>(
    row: &'r PgRow,
    name: &str,
) -> Result<T, StoreError> {
    row.try_get(name).map_err(fault)
}
