//! The log of ended sessions: adds entries in the order of the commits, and returns pages. A cursor
//! is the number and the tag of an entry. If the log has another entry with that number, or none,
//! the reader starts again at the beginning.

use std::{
    mem,
    time::{Duration, Instant},
};

use kippu::session::{
    SessionId, StoreError, StoreErrorKind,
    store::{EndedCursor, EndedPage},
};
use sqlx::mysql::MySqlRow;

use super::{
    call::{Call, repeated},
    dialect::{self, ENDED_FROM, TRIM},
    fault::corrupt,
    row,
};
use crate::columns::millis;

/// The maximum number of entries in a page.
const PAGE: usize = 10_000;

/// The maximum number of entries that one message adds.
const PORTION: usize = 1000;

/// Adds these sessions to the log, at the end of the transaction that has revoked them, and
/// commits. From taking the numbers on, the transaction locks the row of `kippu_state`. It takes
/// this lock after all others, and no later transaction gets a smaller number.
pub(super) async fn commit(call: &mut Call, ids: &[Vec<u8>]) -> Result<(), StoreError> {
    let tag = tag()?;
    let mut statements = dialect::take_numbers(ids.len(), &tag) + "; ";
    let mut more = ids.len();
    for ids in ids.chunks(PORTION) {
        more -= ids.len();
        statements += &dialect::add_ended(ids, &tag, more);
        if more > 0 {
            call.execute_text(mem::take(&mut statements)).await?;
        }
    }
    match call.commit_after(&statements).await {
        Err(error) if error.kind() == StoreErrorKind::Misconfigured => {
            // The row is missing, or the server is read-only and the user may write nevertheless.
            call.read(sqlx::query(dialect::VERSION_OF)).await?;
            Err(error)
        }
        committed => committed,
    }
}

/// Returns a name that no other transaction has.
fn tag() -> Result<[u8; 16], StoreError> {
    // The last 14 bytes come from the operating system's random number generator.
    let id = SessionId::generate("")
        .map_err(|error| StoreError::from_driver(StoreErrorKind::Unavailable, error))?;
    Ok(*id.as_bytes())
}

/// An entry of the log, or the last one that was added.
struct Entry {
    seq: i64,
    tag: Vec<u8>,
    id: Option<SessionId>,
}

pub(super) async fn after(mut call: Call, cursor: &EndedCursor) -> Result<EndedPage, StoreError> {
    let cursor = parsed(cursor).unwrap_or_default();
    let (last, mut entries) = from(&mut call, cursor.0).await?;
    let is_cursor = |entry: &Entry| (entry.seq, &*entry.tag) == (cursor.0, &*cursor.1);
    // A cursor also stays valid when its entry was trimmed, as long as it was the last one. In any
    // other case the log no longer has the entry, and the reader gets all of the log again.
    if entries.first().is_some_and(is_cursor) {
        entries.remove(0);
    } else if cursor.0 > 0 && !is_cursor(&last) {
        (_, entries) = from(&mut call, 0).await?;
    }
    let next = entries.last().unwrap_or(&last);
    let next = EndedCursor::new([&next.seq.to_be_bytes(), &*next.tag].concat());
    let is_full = entries.len() >= PAGE;
    let ids =
        entries.into_iter().map(|entry| entry.id.ok_or_else(corrupt)).collect::<Result<_, _>>()?;
    Ok(if is_full { EndedPage::more(ids, next) } else { EndedPage::last(ids, next) })
}

/// Returns the last entry, and up to a page of entries from this number on, in one snapshot.
async fn from(call: &mut Call, seq: i64) -> Result<(Entry, Vec<Entry>), StoreError> {
    let limit = i64::try_from(PAGE + 1).map_err(|_| corrupt())?;
    let rows = call.read(sqlx::query(ENDED_FROM).bind(seq).bind(limit)).await?;
    let mut entries = rows.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
    // UNION guarantees no order.
    entries.sort_by_key(|entry| (entry.id.is_some(), entry.seq));
    let last = entries.remove(0);
    Ok((last, entries))
}

fn entry(row: &MySqlRow) -> Result<Entry, StoreError> {
    Ok(Entry { seq: row::column(row, "seq")?, tag: row::column(row, "tag")?, id: row::id(row)? })
}

fn parsed(cursor: &EndedCursor) -> Option<(i64, Vec<u8>)> {
    let (seq, tag) = cursor.as_bytes().split_first_chunk()?;
    let seq = i64::from_be_bytes(*seq);
    (seq > 0).then(|| (seq, tag.to_vec()))
}

/// Removes the oldest entries in batches, until none is left or half of the deadline has passed.
pub(super) async fn trim(
    mut call: Call,
    kept_for: Duration,
    enough: Duration,
) -> Result<u64, StoreError> {
    let (began, kept_for) = (Instant::now(), millis(kept_for));
    call.read(sqlx::query(dialect::VERSION_OF)).await?;
    let mut removed = 0;
    loop {
        let portion = repeated!(call, portion(&mut call, kept_for))?;
        removed += portion;
        if portion == 0 || began.elapsed() > enough {
            return Ok(removed);
        }
    }
}

async fn portion(call: &mut Call, kept_for: i64) -> Result<u64, StoreError> {
    call.begin().await?;
    let removed = call.execute(sqlx::query(TRIM).bind(kept_for)).await?.rows_affected();
    call.commit().await?;
    Ok(removed)
}
