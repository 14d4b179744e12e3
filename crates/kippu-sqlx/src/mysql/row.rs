//! Rows in and out: a record of a row that another program may have written, refused where it cannot be one.

use std::time::Duration;

use kippu::session::{Revoked, SessionData, SessionId, SessionRecord, StoreError, UnixMillis};
use sqlx::{MySql, Row, decode::Decode, mysql::MySqlRow, types::Type};

use super::fault::{self, corrupt, fault};

/// Refuses the answer of a server that cannot be used, by the column `server` of a row.
pub(super) fn check(row: &MySqlRow) -> Result<(), StoreError> {
    match column::<i64>(row, "server")? {
        0 => Ok(()),
        1 => Err(fault::replica()),
        2 => Err(fault::no_autocommit()),
        3 => Err(fault::simultaneous()),
        _ => Err(fault::newer()),
    }
}

/// The record of a row, or none where the row has only what the server says of itself.
pub(super) fn record(row: &MySqlRow) -> Result<Option<SessionRecord>, StoreError> {
    let Some(id) = id(row)? else { return Ok(None) };
    let mut record = SessionRecord::new(
        id,
        text(row, "subject")?,
        text(row, "client")?,
        text(row, "kid")?,
        time(row, "created_at")?,
        time(row, "absolute_expires_at")?,
    );
    let label: Option<Vec<u8>> = column(row, "label")?;
    record.label = label.map(utf8).transpose()?;
    record.remembered = match column::<i64>(row, "remembered")? {
        0 => false,
        1 => true,
        _ => return Err(corrupt()),
    };
    record.idle_lifetime =
        column::<Option<i64>>(row, "idle_lifetime")?.map(duration).transpose()?;
    record.auth_time = time(row, "auth_time")?;
    let data: Vec<u8> = column(row, "data")?;
    record.data = SessionData::new(data).map_err(|_| corrupt())?;
    record.generation = u64::try_from(column::<i64>(row, "generation")?).map_err(|_| corrupt())?;
    record.rotated_at = time(row, "rotated_at")?;
    record.expires_at = time(row, "expires_at")?;
    let reason: Option<Vec<u8>> = column(row, "revoked_reason")?;
    record.revoked = match (column::<Option<i64>>(row, "revoked_at")?, reason) {
        (None, None) => None,
        (Some(at), Some(word)) => {
            let reason = utf8(word)?.parse().map_err(|_| corrupt())?;
            Some(Revoked { at: checked(at)?, reason })
        }
        _ => return Err(corrupt()),
    };
    if record.is_well_formed() { Ok(Some(record)) } else { Err(corrupt()) }
}

/// The id of a row, where it has one.
pub(super) fn id(row: &MySqlRow) -> Result<Option<SessionId>, StoreError> {
    let id: Option<Vec<u8>> = column(row, "id")?;
    id.map(|id| Ok(SessionId::from_bytes(id.try_into().map_err(|_| corrupt())?))).transpose()
}

/// The ids of rows that all have one.
pub(super) fn ids(rows: &[MySqlRow]) -> Result<Vec<Vec<u8>>, StoreError> {
    rows.iter().map(|row| column(row, "id")).collect()
}

pub(super) fn time(row: &MySqlRow, name: &str) -> Result<UnixMillis, StoreError> {
    checked(column(row, name)?)
}

/// A time that a store can have written: no other is ever made.
pub(super) fn checked(millis: i64) -> Result<UnixMillis, StoreError> {
    let time = UnixMillis::new(millis);
    if time.get() == millis { Ok(time) } else { Err(corrupt()) }
}

/// A generation as it is stored.
pub(super) fn generation(generation: u64) -> Result<i64, StoreError> {
    i64::try_from(generation).map_err(|_| corrupt())
}

/// A duration in milliseconds. The longest one reaches from the earliest time to the latest, and more; the sum of a time and it is a
/// BIGINT.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).min(1 << 54)
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

fn duration(millis: i64) -> Result<Duration, StoreError> {
    u64::try_from(millis).map(Duration::from_millis).map_err(|_| corrupt())
}
