//! Converts rows to records. Another program may have written a row: a value that the store cannot
//! have written is rejected.

use kippu::session::{SessionId, SessionRecord, StoreError, UnixMillis};
use sqlx::{MySql, Row, decode::Decode, mysql::MySqlRow, types::Type};

use super::fault::{self, corrupt, fault};
use crate::columns::{self, Columns};

/// Fails if the store may not use the server's answer, by the column `server` of a row.
pub(super) fn check(row: &MySqlRow) -> Result<(), StoreError> {
    match column::<i64>(row, "server")? {
        0 => Ok(()),
        1 => Err(fault::replica()),
        2 => Err(fault::no_autocommit()),
        3 => Err(fault::simultaneous()),
        _ => Err(fault::newer()),
    }
}

/// Returns the record of a row, or `None` if the row only shows the state of the server.
pub(super) fn record(row: &MySqlRow) -> Result<Option<SessionRecord>, StoreError> {
    let Some(id) = column::<Option<Vec<u8>>>(row, "id")? else { return Ok(None) };
    // The columns are VARBINARY, so that the driver returns bytes.
    let optional_text = |name| column::<Option<Vec<u8>>>(row, name)?.map(utf8).transpose();
    let (data, reason): (Vec<u8>, _) = (column(row, "data")?, optional_text("revoked_reason")?);
    let columns = Columns {
        id: &id,
        subject: text(row, "subject")?,
        client: text(row, "client")?,
        label: optional_text("label")?,
        created_at: column(row, "created_at")?,
        absolute_expires_at: column(row, "absolute_expires_at")?,
        generation: column(row, "generation")?,
        kid: text(row, "kid")?,
        rotated_at: column(row, "rotated_at")?,
        expires_at: column(row, "expires_at")?,
        revoked_at: column(row, "revoked_at")?,
        revoked_reason: reason.as_deref(),
        remembered: match column::<i64>(row, "remembered")? {
            0 => false,
            1 => true,
            _ => return Err(corrupt()),
        },
        idle_lifetime: column(row, "idle_lifetime")?,
        auth_time: Some(column(row, "auth_time")?),
        data: &data,
    };
    columns.into_record().map(Some).ok_or_else(corrupt)
}

/// Returns the id of a row, if it has one.
pub(super) fn id(row: &MySqlRow) -> Result<Option<SessionId>, StoreError> {
    let id: Option<Vec<u8>> = column(row, "id")?;
    id.map(|id| Ok(SessionId::from_bytes(id.try_into().map_err(|_| corrupt())?))).transpose()
}

/// Returns the ids of rows that all have one.
pub(super) fn ids(rows: &[MySqlRow]) -> Result<Vec<Vec<u8>>, StoreError> {
    rows.iter().map(|row| column(row, "id")).collect()
}

pub(super) fn time(row: &MySqlRow, name: &str) -> Result<UnixMillis, StoreError> {
    checked(column(row, name)?)
}

pub(super) fn checked(millis: i64) -> Result<UnixMillis, StoreError> {
    columns::time(millis).ok_or_else(corrupt)
}

/// Converts a generation to the type of its column.
pub(super) fn generation(generation: u64) -> Result<i64, StoreError> {
    i64::try_from(generation).map_err(|_| corrupt())
}

pub(super) fn column<'r, T: Decode<'r, MySql> + Type<MySql>>(
    row: &'r MySqlRow,
    name: &str,
) -> Result<T, StoreError> {
    row.try_get(name).map_err(fault)
}

fn text(row: &MySqlRow, name: &str) -> Result<String, StoreError> {
    utf8(column(row, name)?)
}

fn utf8(bytes: Vec<u8>) -> Result<String, StoreError> {
    String::from_utf8(bytes).map_err(|_| corrupt())
}
