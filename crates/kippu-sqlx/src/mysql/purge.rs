//! The purge: reads the sessions in the order of their ids, one portion at a time, starting where
//! the previous call stopped.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use kippu::session::{StoreError, UnixMillis};

use super::{
    call::{Call, repeated},
    dialect::{self, ENDED, PORTION},
    fault::corrupt,
    row,
};

/// The maximum number of sessions that one transaction removes.
const BATCH: u64 = 1000;

/// The id after which the next portion begins; empty to begin with the first one.
#[derive(Debug)]
pub(super) struct Position(Mutex<Vec<u8>>);

impl Position {
    /// Starts at a random id, so that several nodes do not read the same portion.
    pub(super) fn random() -> Self {
        Self(Mutex::new(somewhere()))
    }

    fn get(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, position: &[u8]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = position.to_vec();
    }
}

fn somewhere() -> Vec<u8> {
    // std has no other source of randomness; these bytes need not be unpredictable.
    RandomState::new().hash_one(()).to_be_bytes().to_vec()
}

/// Removes up to `limit` sessions, until it has read all sessions or `enough` time has passed.
pub(super) async fn purge(
    mut call: Call,
    position: &Position,
    now: UnixMillis,
    limit: u32,
    enough: Duration,
) -> Result<u64, StoreError> {
    let (began, limit) = (Instant::now(), u64::from(limit));
    let first = position.get();
    let (mut from, mut is_around, mut removed) = (first.clone(), false, 0);
    loop {
        // Set before the read, so that the next call begins elsewhere if this portion cannot be
        // read.
        position.set(&somewhere());
        let rows = call.read(sqlx::query(PORTION).bind(from.as_slice())).await?;
        let row = rows.first().ok_or_else(corrupt)?;
        let last: Option<Vec<u8>> = row::column(row, "last")?;
        if let Some(last) = &last {
            position.set(last);
            removed += portion(&mut call, position, &from, last, now, limit - removed).await?;
        }
        if removed >= limit || began.elapsed() > enough {
            return Ok(removed);
        }
        let is_at_end = last.is_none();
        from = last.unwrap_or_default();
        let has_read_all =
            if is_at_end { is_around || first.is_empty() } else { is_around && from >= first };
        if has_read_all {
            position.set(&from);
            return Ok(removed);
        }
        is_around |= is_at_end;
    }
}

/// Removes up to `limit` sessions after `from` and up to `last`.
async fn portion(
    call: &mut Call,
    position: &Position,
    from: &[u8],
    last: &[u8],
    now: UnixMillis,
    limit: u64,
) -> Result<u64, StoreError> {
    let (mut from, mut removed) = (from.to_vec(), 0);
    while removed < limit {
        let batch = BATCH.min(limit - removed);
        let statement = sqlx::query(ENDED).bind(&*from).bind(last).bind(now.get()).bind(batch);
        let ended = row::ids(&call.fetch(statement).await?)?;
        let Some(end) = ended.last() else { return Ok(removed) };
        removed += repeated!(call, remove(call, &ended, now))?;
        from.clone_from(end);
        if u64::try_from(ended.len()).unwrap_or(u64::MAX) < batch {
            return Ok(removed);
        }
    }
    // This portion may have more ended sessions.
    position.set(&from);
    Ok(removed)
}

/// Removes these sessions, except those that another transaction has locked or extended.
async fn remove(call: &mut Call, ended: &[Vec<u8>], now: UnixMillis) -> Result<u64, StoreError> {
    call.begin().await?;
    let held = row::ids(&call.fetch_text(dialect::lock_ended(ended, now.get())).await?)?;
    if held.is_empty() {
        call.roll_back().await?;
        return Ok(0);
    }
    let removed = call.execute_text(dialect::remove(&held)).await?;
    call.commit().await?;
    Ok(removed)
}
