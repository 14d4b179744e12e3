//! Runs the steps as SQL statements, one by one or many at once.

use std::{
    collections::HashMap,
    fmt::Write,
    time::{Duration, Instant},
};

use kippu::session::{
    RevokeReason, SessionData, SessionId, SessionRecord, UnixMillis,
    rotation::{Change, MAX_GENERATION, RotateOutcome, RotateRequest, Successor},
    store::{EndedPage, InsertOutcome, InsertRequest, ListRequest, Room},
};
use sqlx::{SqliteConnection, sqlite::SqliteQueryResult};
use tokio::time::sleep;

use super::{
    fault::{corrupt, fault, is_busy, is_of_statement},
    queue::{Answer, Pending, Step},
    row::{self, Read},
};
use crate::columns::millis;

/// The pause before the store tries again. SQLite does not wait for some locks.
pub(super) const AGAIN: Duration = Duration::from_millis(1);

/// A step, and the caller that waits for it.
pub(super) enum Job {
    Insert {
        request: InsertRequest,
        pending: Pending<InsertOutcome>,
    },
    Load {
        id: SessionId,
        pending: Pending<Option<SessionRecord>>,
    },
    Rotate {
        request: RotateRequest,
        /// When the request reached the store, by the monotonic clock.
        asked: Instant,
        pending: Pending<RotateOutcome>,
    },
    Revoke {
        id: SessionId,
        reason: RevokeReason,
        now: UnixMillis,
        pending: Pending<bool>,
    },
    RevokeSubject {
        subject: String,
        keep: Option<SessionId>,
        reason: RevokeReason,
        now: UnixMillis,
        pending: Pending<u64>,
    },
    List {
        request: ListRequest,
        pending: Pending<Vec<SessionRecord>>,
    },
    Purge {
        from: SessionId,
        now: UnixMillis,
        limit: u32,
        pending: Pending<Purged>,
    },
    EndedAfter {
        after: i64,
        pending: Pending<EndedPage>,
    },
    TrimEnded {
        before: UnixMillis,
        pending: Pending<u64>,
    },
}

/// The result of one portion of a purge.
pub(super) struct Purged {
    pub(super) removed: u64,
    /// Where the next portion begins; `None` after the last session.
    pub(super) next: Option<SessionId>,
}

impl Step for Job {
    fn answer(&mut self) -> &mut dyn Answer {
        match self {
            Self::Insert { pending, .. } => pending,
            Self::Load { pending, .. } => pending,
            Self::Rotate { pending, .. } => pending,
            Self::Revoke { pending, .. } => pending,
            Self::RevokeSubject { pending, .. } | Self::TrimEnded { pending, .. } => pending,
            Self::List { pending, .. } => pending,
            Self::Purge { pending, .. } => pending,
            Self::EndedAfter { pending, .. } => pending,
        }
    }
}

/// The maximum numbers of sessions that one portion of a purge reads and removes, so that no
/// rotation waits for long.
const LOOKED_AT: u32 = 8192;
const REMOVED: u32 = 1024;

/// Runs one step, unless it already has an answer. The caller has begun a transaction, unless the
/// step only reads.
pub(super) async fn take(
    connection: &mut SqliteConnection,
    job: &mut Job,
    begun: Instant,
) -> Result<(), sqlx::Error> {
    match job {
        Job::Insert { request, pending } => pending.settle(insert(connection, request).await?),
        Job::Load { id, pending } => pending.settle(row::load(connection, id).await?),
        Job::Rotate { request, asked, pending } => {
            if pending.settled().is_none() {
                let request = request.after(begun.saturating_duration_since(*asked));
                pending.settle(rotate(connection, &request).await?);
            }
        }
        Job::Revoke { id, reason, now, pending } => {
            let revoked = of_one(revoke(connection, id, *reason, *now).await)?;
            // An id that is not stored is logged, too: its access token may still be valid (R19).
            if matches!(revoked, Ok(0)) {
                log_unknown(connection, id).await?;
            }
            pending.settle(revoked.map(|rows| rows > 0));
        }
        Job::RevokeSubject { subject, keep, reason, now, pending } => {
            // IS NOT instead of <>, because ?4 is NULL if no session is kept.
            let revoked = sqlx::query(
                "UPDATE kippu_sessions SET revoked_at = ?1, revoked_reason = ?2 \
                 WHERE subject = ?3 AND id IS NOT ?4 AND revoked_at IS NULL",
            )
            .bind(now.get())
            .bind(reason.as_str())
            .bind(&**subject)
            .bind(keep.as_ref().map(row::bytes))
            .execute(connection)
            .await;
            pending.settle(of_one(revoked)?);
        }
        Job::List { request, pending } => pending.settle(row::list(connection, request).await?),
        Job::Purge { from, now, limit, pending } => {
            pending.settle(purge(connection, from, *now, *limit).await?);
        }
        Job::EndedAfter { after, pending } => {
            pending.settle(row::ended_after(connection, *after).await?);
        }
        Job::TrimEnded { before, pending } => {
            let removed = sqlx::query(
                "DELETE FROM kippu_ended WHERE ended_at < ?1 \
                 AND seq IN (SELECT seq FROM kippu_ended ORDER BY seq LIMIT ?2)",
            )
            .bind(before.get())
            .bind(REMOVED)
            .execute(connection)
            .await;
            pending.settle(of_one(removed)?);
        }
    }
    Ok(())
}

/// Rotates the sessions whose tokens are current, nearly all of them, in one statement. The other
/// steps stay unanswered. So do reauthentications, because [`decide`](RotateRequest::decide) has to
/// find out whether they rotate.
pub(super) async fn rotate_all(
    connection: &mut SqliteConnection,
    batch: &mut [Job],
    begun: Instant,
) -> Result<(), sqlx::Error> {
    // The place of each session's rotation in the batch. Of several for one session, only this one
    // runs here and gets the answer.
    let mut places = HashMap::new();
    let mut rows = Vec::new();
    for (place, job) in batch.iter().enumerate() {
        let Job::Rotate { request, asked, .. } = job else { continue };
        // SQLite's JSON functions may end a text at its first NUL.
        let is_plain = request.generation < MAX_GENERATION
            && request.auth_time.is_none()
            && !request.kid.contains('\0');
        if is_plain && !places.contains_key(&request.id) {
            places.insert(request.id, place);
            let request = request.after(begun.saturating_duration_since(*asked));
            let [now, at] = [request.now, request.rotated_at()].map(UnixMillis::get);
            rows.push((
                hex(request.id.as_bytes()),
                request.generation,
                request.kid,
                now,
                at,
                millis(request.idle_lifetime),
                request.data.map(|data| hex(data.as_bytes())),
            ));
        }
    }
    let Ok(json) = serde_json::to_string(&rows) else { return Ok(()) };
    if rows.is_empty() {
        return Ok(());
    }
    let rotated = sqlx::query(
        "UPDATE kippu_sessions AS s SET generation = s.generation + 1, kid = r.kid, \
         rotated_at = r.at, \
         expires_at = min(r.at + coalesce(s.idle_lifetime, r.idle), s.absolute_expires_at), \
         data = coalesce(r.data, s.data) \
         FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS generation, value ->> 2 AS kid, \
         value ->> 3 AS now, value ->> 4 AS at, value ->> 5 AS idle, unhex(value ->> 6) AS data \
         FROM json_each(?1)) AS r \
         WHERE s.id = r.id AND s.generation = r.generation AND s.revoked_at IS NULL \
         AND s.expires_at > r.now AND s.absolute_expires_at > r.now \
         RETURNING id, expires_at",
    )
    .bind(json)
    .fetch_all(connection)
    .await;
    let rotated = match rotated {
        // An invalid row: `take` finds it when it runs the steps one by one.
        Err(error) if is_of_statement(&error) => return Ok(()),
        rotated => rotated?,
    };
    for row in &rotated {
        let place = row::session_id(row).ok().and_then(|id| places.get(&id));
        let job = place.and_then(|place| batch.get_mut(*place));
        let Some(Job::Rotate { request, pending, .. }) = job else { continue };
        pending.settle(row::time(row, 1).map(|expires_at| {
            let generation = request.generation + 1;
            RotateOutcome::Rotated(Successor::new(generation, request.kid.clone(), expires_at))
        }));
    }
    Ok(())
}

/// Moves the batch's rotations to a later time if the commit has taken more than an eighth of the
/// grace period. Does so in a second transaction, before their callers are answered.
pub(super) async fn count_commit(
    connection: &mut SqliteConnection,
    batch: &mut [Job],
    begun: Instant,
) {
    let late = begun.elapsed();
    let mut successors = HashMap::new();
    let mut rows = Vec::new();
    let mut longest = Duration::ZERO;
    for job in batch {
        let Job::Rotate { request, asked, pending } = job else { continue };
        let Some(Ok(RotateOutcome::Rotated(successor) | RotateOutcome::Healed { successor, .. })) =
            pending.settled()
        else {
            continue;
        };
        if !request.grace.is_zero() && late > request.grace / 8 {
            let request = request.after(asked.elapsed());
            let (at, idle) = (request.rotated_at().get(), millis(request.idle_lifetime));
            rows.push((hex(request.id.as_bytes()), successor.generation, at, idle));
            successors.insert(request.id, successor);
            longest = longest.max(request.grace);
        }
    }
    let Ok(json) = serde_json::to_string(&rows) else { return };
    // After the grace period the correction would be useless.
    while !rows.is_empty() && begun.elapsed().saturating_sub(late) <= longest {
        let changed = sqlx::query(
            "UPDATE kippu_sessions AS s \
             SET rotated_at = r.at, \
             expires_at = min(r.at + coalesce(s.idle_lifetime, r.idle), s.absolute_expires_at) \
             FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS generation, value ->> 2 AS at, \
             value ->> 3 AS idle FROM json_each(?1)) AS r \
             WHERE s.id = r.id AND s.generation = r.generation AND s.revoked_at IS NULL \
             RETURNING id, expires_at",
        )
        .bind(&*json)
        .fetch_all(&mut *connection)
        .await;
        match changed {
            Err(error) if is_busy(&error) => sleep(AGAIN).await,
            // The rotations are durable, with the earlier time.
            Err(_) => return,
            Ok(changed) => {
                for row in &changed {
                    let Ok((id, end)) =
                        row::session_id(row).and_then(|id| Ok((id, row::time(row, 1)?)))
                    else {
                        continue;
                    };
                    if let Some(successor) = successors.get_mut(&id) {
                        successor.expires_at = end;
                    }
                }
                return;
            }
        }
    }
}

/// Returns how many rows a statement has changed. An error of the statement alone goes only to its
/// caller.
fn of_one(done: Result<SqliteQueryResult, sqlx::Error>) -> Read<u64> {
    match done {
        Ok(result) => Ok(Ok(result.rows_affected())),
        Err(error) if is_of_statement(&error) => Ok(Err(fault(error))),
        Err(error) => Err(error),
    }
}

/// Adds a session, and revokes those that it evicts. No other connection writes during the
/// transaction.
async fn insert(connection: &mut SqliteConnection, request: &InsertRequest) -> Read<InsertOutcome> {
    let session = &request.session;
    let mut evicted = Vec::new();
    if request.limit.is_some() {
        // Before the limit: a repeated insert must not evict a session.
        if row::is_there(connection, &session.id).await? {
            return Ok(Ok(InsertOutcome::Duplicate));
        }
        let live = ListRequest::new(&*session.subject, session.created_at);
        let others = match row::list(connection, &live).await? {
            Ok(others) => others,
            Err(error) => return Ok(Err(error)),
        };
        match request.decide(others) {
            Room::Enough => {}
            Room::After(oldest) => evicted = oldest,
            Room::Refused => return Ok(Ok(InsertOutcome::LimitReached)),
        }
    }
    if evicted.is_empty() {
        let added = of_one(add(connection, session).await)?;
        return Ok(added.map(|rows| match rows {
            0 => InsertOutcome::Duplicate,
            _ => InsertOutcome::INSERTED,
        }));
    }
    // If this step fails, it is undone alone, and the other steps of the transaction continue.
    sqlx::query("SAVEPOINT room").execute(&mut *connection).await?;
    let made = replace(connection, session, &evicted).await?;
    if made.is_err() {
        sqlx::query("ROLLBACK TO room").execute(&mut *connection).await?;
    }
    sqlx::query("RELEASE room").execute(connection).await?;
    Ok(made.map(|()| InsertOutcome::Inserted { evicted }))
}

/// Adds a new session in the place of the `evicted` ones.
async fn replace(
    connection: &mut SqliteConnection,
    session: &SessionRecord,
    evicted: &[SessionId],
) -> Read<()> {
    let at = session.created_at;
    for id in evicted {
        if let Err(error) = of_one(revoke(connection, id, RevokeReason::Limit, at).await)? {
            return Ok(Err(error));
        }
    }
    Ok(of_one(add(connection, session).await)?.map(|_| ()))
}

async fn add(
    connection: &mut SqliteConnection,
    session: &SessionRecord,
) -> Result<SqliteQueryResult, sqlx::Error> {
    sqlx::query(
        "INSERT INTO kippu_sessions (id, subject, client, label, created_at, absolute_expires_at, \
         generation, kid, rotated_at, expires_at, revoked_at, revoked_reason, remembered, \
         idle_lifetime, auth_time, data) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) \
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(row::bytes(&session.id))
    .bind(&*session.subject)
    .bind(&*session.client)
    .bind(session.label.as_deref())
    .bind(session.created_at.get())
    .bind(session.absolute_expires_at.get())
    .bind(stored(session.generation))
    .bind(&*session.kid)
    .bind(session.rotated_at.get())
    .bind(session.expires_at.get())
    .bind(session.revoked.map(|revoked| revoked.at.get()))
    .bind(session.revoked.map(|revoked| revoked.reason.as_str()))
    .bind(session.remembered)
    .bind(session.idle_lifetime.map(millis))
    .bind(session.auth_time.get())
    .bind(session.data.as_bytes())
    .execute(connection)
    .await
}

async fn revoke(
    connection: &mut SqliteConnection,
    id: &SessionId,
    reason: RevokeReason,
    now: UnixMillis,
) -> Result<SqliteQueryResult, sqlx::Error> {
    sqlx::query(
        "UPDATE kippu_sessions SET revoked_at = ?1, revoked_reason = ?2 \
         WHERE id = ?3 AND revoked_at IS NULL",
    )
    .bind(now.get())
    .bind(reason.as_str())
    .bind(row::bytes(id))
    .execute(connection)
    .await
}

/// Writes an id without a session into the log of ended sessions. The trigger writes the ids of
/// sessions.
async fn log_unknown(
    connection: &mut SqliteConnection,
    id: &SessionId,
) -> Result<SqliteQueryResult, sqlx::Error> {
    sqlx::query(
        "INSERT INTO kippu_ended (id) \
         SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM kippu_sessions WHERE id = ?1)",
    )
    .bind(row::bytes(id))
    .execute(connection)
    .await
}

/// Reads, decides and writes, in a transaction that excludes all other writers.
async fn rotate(connection: &mut SqliteConnection, request: &RotateRequest) -> Read<RotateOutcome> {
    let record = match row::load(&mut *connection, &request.id).await? {
        Ok(Some(record)) => record,
        Ok(None) => return Ok(Ok(RotateOutcome::Unknown)),
        Err(error) => return Ok(Err(error)),
    };
    let decision = request.decide(&record);
    let changed = match &decision.change {
        None => return Ok(Ok(decision.outcome)),
        Some(Change::Advance { generation, kid, rotated_at, expires_at, auth_time, data }) => {
            sqlx::query(
                "UPDATE kippu_sessions SET generation = ?1, kid = ?2, rotated_at = ?3, \
                 expires_at = ?4, auth_time = coalesce(?6, auth_time), data = coalesce(?7, data) \
                 WHERE id = ?5",
            )
            .bind(stored(*generation))
            .bind(&**kid)
            .bind(rotated_at.get())
            .bind(expires_at.get())
            .bind(row::bytes(&request.id))
            .bind(auth_time.map(UnixMillis::get))
            .bind(data.as_ref().map(SessionData::as_bytes))
            .execute(connection)
            .await
        }
        Some(Change::Reauthenticate { auth_time, data }) => {
            sqlx::query(
                "UPDATE kippu_sessions SET auth_time = ?1, data = coalesce(?2, data) WHERE id = ?3",
            )
            .bind(auth_time.get())
            .bind(data.as_ref().map(SessionData::as_bytes))
            .bind(row::bytes(&request.id))
            .execute(connection)
            .await
        }
        Some(Change::Revoke { at, reason }) => revoke(connection, &request.id, *reason, *at).await,
    };
    Ok(match of_one(changed)? {
        Ok(1) => Ok(decision.outcome),
        Ok(_) => Err(corrupt()),
        Err(error) => Err(error),
    })
}

/// Removes up to `limit` of the next sessions that have ended at `now`.
async fn purge(
    connection: &mut SqliteConnection,
    from: &SessionId,
    now: UnixMillis,
    limit: u32,
) -> Read<Purged> {
    let next =
        sqlx::query("SELECT id FROM kippu_sessions WHERE id >= ?1 ORDER BY id LIMIT 1 OFFSET ?2")
            .bind(row::bytes(from))
            .bind(LOOKED_AT)
            .fetch_optional(&mut *connection)
            .await?;
    let next = match next.as_ref().map(row::session_id).transpose() {
        Ok(next) => next,
        Err(error) => return Ok(Err(error)),
    };
    let limit = limit.min(REMOVED);
    let removed = sqlx::query(
        "DELETE FROM kippu_sessions WHERE id IN (SELECT id FROM kippu_sessions NOT INDEXED \
         WHERE id >= ?1 AND id < ?2 AND (expires_at <= ?3 OR absolute_expires_at <= ?3) LIMIT ?4)",
    )
    .bind(row::bytes(from))
    // Longer than any id, and greater than all of them.
    .bind(next.as_ref().map_or(&[0xff; 17][..], row::bytes))
    .bind(now.get())
    .bind(limit)
    .execute(connection)
    .await;
    Ok(of_one(removed)?.map(|removed| {
        // This portion may have more ended sessions.
        let next = if removed < u64::from(limit) { next } else { Some(*from) };
        Purged { removed, next }
    }))
}

/// Converts a generation, which never exceeds [`MAX_GENERATION`].
fn stored(generation: u64) -> i64 {
    i64::try_from(generation).unwrap_or(i64::MAX)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
