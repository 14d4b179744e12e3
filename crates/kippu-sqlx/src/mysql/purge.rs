//! The purge: reads through the sessions by their ids, a portion at a time, from where the call before it stopped.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use kippu::session::{StoreError, UnixMillis};

use super::{
    call::{Call, repeated},
    dialect::{self, OVER, PORTION},
    fault::corrupt,
    row,
};

/// How many sessions one transaction removes at most.
const BATCH: u64 = 1000;

/// Behind which id the next portion begins; no bytes: with the first one.
#[derive(Debug)]
pub(super) struct Position(Mutex<Vec<u8>>);

impl Position {
    /// Somewhere, so that several nodes do not read the same.
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
    RandomState::new().hash_one(()).to_be_bytes().to_vec()
}

/// Removes up to `limit` sessions, until it has read all or `enough` time has passed.
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
        // Where this portion cannot be read, the next call begins elsewhere.
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

/// Removes up to `limit` sessions behind `from` and up to `last`.
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
        let statement = sqlx::query(OVER).bind(&*from).bind(last).bind(now.get()).bind(batch);
        let over = row::ids(&call.fetch(statement).await?)?;
        let Some(end) = over.last() else { return Ok(removed) };
        removed += repeated!(call, remove(call, &over, now))?;
        from.clone_from(end);
        if u64::try_from(over.len()).unwrap_or(u64::MAX) < batch {
            return Ok(removed);
        }
    }
    // There may be more of them in this portion.
    position.set(&from);
    Ok(removed)
}

/// Removes these sessions, but for those that another transaction holds or has prolonged.
async fn remove(call: &mut Call, over: &[Vec<u8>], now: UnixMillis) -> Result<u64, StoreError> {
    call.begin().await?;
    let held = row::ids(&call.fetch_text(dialect::hold_over(over, now.get())).await?)?;
    if held.is_empty() {
        call.roll_back().await?;
        return Ok(0);
    }
    let removed = call.execute_text(dialect::remove(&held)).await?;
    call.commit().await?;
    Ok(removed)
}
