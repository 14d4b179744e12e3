//! Rows in and out: a record of a row that another program may have written, refused where it cannot be one.

use alloc::string::String;

use sqlx::{Postgres, Row, decode::Decode, postgres::PgRow, types::Type};

use super::fault::{corrupt, fault};
use crate::session::{
    id::SessionId,
    record::{RevokeReason, Revoked, SessionRecord},
    rotation::MAX_GENERATION,
    store::StoreError,
    time::UnixMillis,
};

pub(super) fn record(row: &PgRow) -> Result<SessionRecord, StoreError> {
    let id: &[u8] = column(row, "id")?;
    let label: Option<String> = column(row, "label")?;
    let generation: i64 = column(row, "generation")?;
    let revoked_at: Option<i64> = column(row, "revoked_at")?;
    let reason: Option<&str> = column(row, "revoked_reason")?;
    let revoked = match (revoked_at, reason) {
        (None, None) => None,
        (Some(at), Some(word)) => Some(Revoked {
            at: known_time(at)?,
            reason: RevokeReason::from_word(word).ok_or_else(corrupt)?,
        }),
        _ => return Err(corrupt()),
    };
    Ok(SessionRecord {
        id: SessionId::from_bytes(id.try_into().map_err(|_| corrupt())?),
        subject: text(row, "subject", 512)?,
        client: text(row, "client", 512)?,
        label: match label {
            Some(label) if label.len() > 128 => return Err(corrupt()),
            label => label,
        },
        created_at: time(row, "created_at")?,
        absolute_expires_at: time(row, "absolute_expires_at")?,
        generation: u64::try_from(generation)
            .ok()
            .filter(|generation| *generation <= MAX_GENERATION)
            .ok_or_else(corrupt)?,
        kid: text(row, "kid", 64)?,
        rotated_at: time(row, "rotated_at")?,
        expires_at: time(row, "expires_at")?,
        revoked,
    })
}

pub(super) fn time(row: &PgRow, name: &str) -> Result<UnixMillis, StoreError> {
    known_time(column(row, name)?)
}

/// What a statement counted.
pub(super) fn count(rows: &[PgRow]) -> Result<u64, StoreError> {
    let count: i64 = column(rows.first().ok_or_else(corrupt)?, "count")?;
    u64::try_from(count).map_err(|_| corrupt())
}

/// A generation as it is stored.
pub(super) fn generation(generation: u64) -> Result<i64, StoreError> {
    i64::try_from(generation).map_err(|_| corrupt())
}

/// Whether there can be rows of this subject: a text of PostgreSQL holds every character but NUL.
pub(super) fn can_be_stored(subject: &str) -> bool {
    !subject.contains('\0')
}

fn text(row: &PgRow, name: &str, longest: usize) -> Result<String, StoreError> {
    let text: String = column(row, name)?;
    if (1..=longest).contains(&text.len()) { Ok(text) } else { Err(corrupt()) }
}

fn known_time(millis: i64) -> Result<UnixMillis, StoreError> {
    let time = UnixMillis::new(millis);
    if time.get() == millis { Ok(time) } else { Err(corrupt()) }
}

fn column<'r, T: Decode<'r, Postgres> + Type<Postgres>>(
    row: &'r PgRow,
    name: &str,
) -> Result<T, StoreError> {
    row.try_get(name).map_err(fault)
}
