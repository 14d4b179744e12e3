//! The connection that writes: it takes all steps that wait in one transaction.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::{fmt::Write, time::Duration};
use std::{collections::HashMap, time::Instant};

use sqlx::{
    ConnectOptions, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteQueryResult},
};
use tokio::time::sleep;

use super::{
    AGAIN,
    fault::{Fault, corrupt, fault, is_busy, is_of_statement},
    files::{FileFault, Files, Sizes},
    queue::{Answer, Failure, Pending, Step, Writer},
    row::{self, Read},
};
use crate::session::{
    id::SessionId,
    record::{RevokeReason, SessionRecord},
    rotation::{Change, MAX_GENERATION, RotateOutcome, RotateRequest, Successor},
    store::InsertOutcome,
    time::UnixMillis,
};

/// A step that a caller waits for.
pub(super) enum Job {
    Insert {
        session: SessionRecord,
        pending: Pending<InsertOutcome>,
    },
    Load {
        id: SessionId,
        pending: Pending<Option<SessionRecord>>,
    },
    Rotate {
        request: RotateRequest,
        /// When the store was asked, by the monotonic clock.
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
        subject: String,
        now: UnixMillis,
        pending: Pending<Vec<SessionRecord>>,
    },
    Purge {
        from: SessionId,
        now: UnixMillis,
        limit: u32,
        pending: Pending<Purged>,
    },
}

/// A portion of a purge.
pub(super) struct Purged {
    pub(super) removed: u64,
    /// Where the next portion begins; none after the last session.
    pub(super) next: Option<SessionId>,
}

impl Step for Job {
    fn answer(&mut self) -> &mut dyn Answer {
        match self {
            Self::Insert { pending, .. } => pending,
            Self::Load { pending, .. } => pending,
            Self::Rotate { pending, .. } => pending,
            Self::Revoke { pending, .. } => pending,
            Self::RevokeSubject { pending, .. } => pending,
            Self::List { pending, .. } => pending,
            Self::Purge { pending, .. } => pending,
        }
    }
}

/// Bytes of the log above which the writer waits for readers in order to empty it. SQLite alone takes the log into the
/// file at 4 MB, but begins it again only at a moment when no reader is in it.
pub(super) const LOG_LIMIT: u64 = 16 << 20;

/// How long the writer lets the log grow while a reader holds on to it, before it waits for readers again.
const LOG_PAUSE: Duration = Duration::from_secs(5);

/// Sessions that one portion of a purge looks at, and those that it removes at most, so that no rotation waits for long.
const LOOKED_AT: u32 = 8192;
const REMOVED: u32 = 1024;

/// The connection that writes.
pub(super) struct SqliteWriter {
    /// None after a failure, until the next batch.
    connection: Option<SqliteConnection>,
    /// None where the data would be gone with the connection.
    file: Option<Reopened>,
}

/// How to connect again, and what is known of the files.
struct Reopened {
    options: SqliteConnectOptions,
    files: Arc<Files>,
    sizes: Sizes,
    /// When the log may be emptied next.
    pause_until: Instant,
}

impl SqliteWriter {
    pub(super) fn new(
        connection: SqliteConnection,
        file: Option<(SqliteConnectOptions, Arc<Files>)>,
    ) -> Self {
        let file = file.map(|(options, files)| Reopened {
            options,
            files,
            sizes: Sizes::default(),
            pause_until: Instant::now(),
        });
        Self { connection: Some(connection), file }
    }

    async fn try_commit(&mut self, batch: &mut Vec<Job>) -> Result<(), Fault> {
        loop {
            batch.retain_mut(|job| !job.answer().is_abandoned());
            if batch.is_empty() {
                return Ok(());
            }
            match self.begin().await {
                // SQLite has waited for a moment.
                Err(Fault::Driver(error)) if is_busy(&error) => sleep(AGAIN).await,
                begun => break begun?,
            }
        }
        batch.retain_mut(|job| !job.answer().is_abandoned());
        let begun = Instant::now();
        // The lock may have been waited for: the file that is written is still the one at its path.
        if let Some(file) = &self.file {
            file.files.look()?;
        }
        let connection = self.connection.as_mut().ok_or(sqlx::Error::WorkerCrashed)?;
        rotate_all(connection, batch, begun).await?;
        for job in &mut *batch {
            take(connection, job, begun).await?;
        }
        sqlx::query("COMMIT").execute(&mut *connection).await?;
        begin_grace_again(connection, batch, begun).await;
        // Only what is in the file at its path is acknowledged.
        self.check().await
    }

    /// Begins a transaction in which nobody else writes.
    async fn begin(&mut self) -> Result<(), Fault> {
        if self.connection.is_none() {
            let file = self.file.as_ref().ok_or(sqlx::Error::WorkerCrashed)?;
            // Opened with another file, the log would be applied to that.
            file.files.look()?;
            self.connection = Some(file.options.connect().await?);
        }
        self.check().await?;
        self.shorten_log().await?;
        let connection = self.connection.as_mut().ok_or(sqlx::Error::WorkerCrashed)?;
        sqlx::query("BEGIN IMMEDIATE").execute(connection).await?;
        if let Some(file) = &self.file {
            file.files.connected();
        }
        Ok(())
    }

    /// Makes sure that the files are those that were opened, and that none was cut short.
    async fn check(&mut self) -> Result<(), Fault> {
        let (Some(file), Some(connection)) = (&mut self.file, &mut self.connection) else {
            return Ok(());
        };
        let sizes = file.files.look()?;
        // Files become smaller by a VACUUM, or because another process has emptied the log: then SQLite does not miss
        // what is gone.
        if sizes.database < file.sizes.database && misses_pages(connection, sizes.database).await? {
            return Err(file.files.cut_database().into());
        }
        if sizes.log < file.sizes.log && misses_frames(connection, sizes.log).await? {
            return Err(file.files.cut_log().into());
        }
        file.sizes = sizes;
        Ok(())
    }

    /// Empties a log that has grown long, if no reader holds on to it.
    async fn shorten_log(&mut self) -> Result<(), sqlx::Error> {
        let (Some(file), Some(connection)) = (&mut self.file, &mut self.connection) else {
            return Ok(());
        };
        if file.sizes.log > LOG_LIMIT && file.pause_until <= Instant::now() {
            file.pause_until = Instant::now() + LOG_PAUSE;
            empty_log(connection).await?;
        }
        Ok(())
    }

    /// Empties the log where its file is no longer at its path: that file is complete, wherever it went, and the log is
    /// not applied to the one in its place.
    async fn rescue_log(&mut self) {
        let (Some(file), Some(connection)) = (&self.file, &mut self.connection) else { return };
        if matches!(file.files.look(), Err(FileFault::Moved(_))) && file.files.has_locks() {
            let _ = empty_log(connection).await;
        }
    }
}

impl Writer for SqliteWriter {
    type Step = Job;

    async fn commit(&mut self, batch: &mut Vec<Job>) -> Result<(), Failure> {
        let Err(mut fault) = self.try_commit(batch).await else { return Ok(()) };
        if let Some(connection) = &mut self.connection {
            // After some errors SQLite has done so itself.
            let _ = sqlx::query("ROLLBACK").execute(connection).await;
        }
        let lost = self.file.as_ref().map(|file| file.files.look());
        match lost {
            Some(Err(lost)) => fault = lost.into(),
            // Whatever state the connection is in, a new one is in none.
            Some(Ok(_)) if matches!(fault, Fault::Driver(_)) => self.disconnect().await,
            _ => {}
        }
        self.rescue_log().await;
        Err(Box::new(move || fault.store_error()))
    }

    async fn disconnect(&mut self) {
        self.rescue_log().await;
        if let Some(file) = &mut self.file {
            file.files.disconnected();
            file.sizes = Sizes::default();
        }
        if let Some(connection) = self.connection.take() {
            let _ = connection.close().await;
        }
    }
}

/// Whether the database has pages that its file is too short for.
async fn misses_pages(connection: &mut SqliteConnection, len: u64) -> Result<bool, sqlx::Error> {
    let (pages, size): (i64, i64) =
        sqlx::query_as("SELECT page_count, page_size FROM pragma_page_count, pragma_page_size")
            .fetch_one(connection)
            .await?;
    Ok(u64::try_from(pages.saturating_mul(size)).is_ok_and(|expected| expected > len))
}

/// Whether the log has frames that its file is too short for.
async fn misses_frames(connection: &mut SqliteConnection, len: u64) -> Result<bool, sqlx::Error> {
    let size: i64 = sqlx::query_scalar("PRAGMA page_size").fetch_one(&mut *connection).await?;
    let read: Result<(i64, i64, i64), _> =
        sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(connection).await;
    // It ends in an error where a frame cannot be read.
    let Ok((_, frames, _)) = read else { return Ok(true) };
    // <https://www.sqlite.org/fileformat2.html>, §4.1
    let expected = frames.saturating_mul(size.saturating_add(24)).saturating_add(32);
    Ok(frames > 0 && u64::try_from(expected).is_ok_and(|expected| expected > len))
}

/// Takes the log into the file and empties it, unless a reader holds on to it for longer than a moment.
async fn empty_log(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(connection).await.map(drop)
}

/// Begins the grace of the batch's rotations again, where the commit came so late after the change that a good part of
/// it had gone by: in a transaction of its own, before anyone is answered.
async fn begin_grace_again(connection: &mut SqliteConnection, batch: &[Job], begun: Instant) {
    let late = begun.elapsed();
    let mut rows = Vec::new();
    let mut until = Duration::ZERO;
    for job in batch {
        let Job::Rotate { request, asked, pending } = job else { continue };
        let is_rotation = matches!(
            pending.settled(),
            Some(Ok(RotateOutcome::Rotated(_) | RotateOutcome::Healed { .. }))
        );
        if is_rotation && !request.grace.is_zero() && late > request.grace / 8 {
            let rotated_at = request.after(asked.elapsed()).rotated_at().get();
            rows.push((hex(&request.id), request.generation.saturating_add(1), rotated_at));
            until = until.max(request.grace);
        }
    }
    let Ok(json) = serde_json::to_string(&rows) else { return };
    // After the grace it would come too late.
    while !rows.is_empty() && begun.elapsed().saturating_sub(late) <= until {
        let done = sqlx::query(
            "UPDATE kippu_sessions AS s SET rotated_at = r.at \
             FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS generation, value ->> 2 AS at \
             FROM json_each(?1)) AS r WHERE s.id = r.id AND s.generation = r.generation",
        )
        .bind(&*json)
        .execute(&mut *connection)
        .await;
        match done {
            Err(error) if is_busy(&error) => sleep(AGAIN).await,
            // The rotations are durable, whatever became of this.
            _ => return,
        }
    }
}

/// Takes the rotations of tokens that are current, of different sessions, in one statement: nearly all of them. The
/// other steps stay unanswered.
async fn rotate_all(
    connection: &mut SqliteConnection,
    batch: &mut [Job],
    begun: Instant,
) -> Result<(), sqlx::Error> {
    // The place of each session's rotation in the batch: of several that one is taken, and no other answered for it.
    let mut places = HashMap::new();
    let mut rows = Vec::new();
    for (place, job) in batch.iter().enumerate() {
        let Job::Rotate { request, asked, .. } = job else { continue };
        // SQLite's JSON may end a text at its first NUL.
        let is_plain = request.generation < MAX_GENERATION && !request.kid.contains('\0');
        if is_plain && !places.contains_key(&request.id) {
            places.insert(request.id, place);
            let request = request.after(begun.saturating_duration_since(*asked));
            let [now, at, until] =
                [request.now, request.rotated_at(), request.idle_end()].map(UnixMillis::get);
            rows.push((hex(&request.id), request.generation, request.kid, now, at, until));
        }
    }
    let Ok(json) = serde_json::to_string(&rows) else { return Ok(()) };
    if rows.is_empty() {
        return Ok(());
    }
    let rotated = sqlx::query(
        "UPDATE kippu_sessions AS s SET generation = s.generation + 1, kid = r.kid, \
         rotated_at = r.at, expires_at = min(r.until, s.absolute_expires_at) \
         FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS generation, value ->> 2 AS kid, \
         value ->> 3 AS now, value ->> 4 AS at, value ->> 5 AS until FROM json_each(?1)) AS r \
         WHERE s.id = r.id AND s.generation = r.generation AND s.revoked_at IS NULL \
         AND s.expires_at > r.now AND s.absolute_expires_at > r.now \
         RETURNING id, expires_at",
    )
    .bind(json)
    .fetch_all(connection)
    .await;
    let rotated = match rotated {
        // A row that cannot be: one by one it will be found.
        Err(error) if is_of_statement(&error) => return Ok(()),
        rotated => rotated?,
    };
    for row in &rotated {
        let place = row::session_id(row).ok().and_then(|id| places.get(&id));
        let job = place.and_then(|place| batch.get_mut(*place));
        let Some(Job::Rotate { request, pending, .. }) = job else { continue };
        pending.settle(row::time(row, 1).map(|expires_at| {
            RotateOutcome::Rotated(Successor {
                generation: request.generation + 1,
                kid: request.kid.clone(),
                expires_at,
            })
        }));
    }
    Ok(())
}

/// Takes one step, unless it was taken: in a transaction that has begun, or alone if it only reads.
pub(super) async fn take(
    connection: &mut SqliteConnection,
    job: &mut Job,
    begun: Instant,
) -> Result<(), sqlx::Error> {
    match job {
        Job::Insert { session, pending } => {
            let added = insert(connection, session).await;
            pending.settle(of_one(added)?.map(|rows| {
                if rows == 0 { InsertOutcome::Duplicate } else { InsertOutcome::Inserted }
            }));
        }
        Job::Load { id, pending } => pending.settle(row::load(connection, id).await?),
        Job::Rotate { request, asked, pending } => {
            if pending.settled().is_none() {
                let request = request.after(begun.saturating_duration_since(*asked));
                pending.settle(rotate(connection, &request).await?);
            }
        }
        Job::Revoke { id, reason, now, pending } => {
            let revoked = revoke(connection, id, *reason, *now).await;
            pending.settle(of_one(revoked)?.map(|rows| rows > 0));
        }
        Job::RevokeSubject { subject, keep, reason, now, pending } => {
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
        Job::List { subject, now, pending } => {
            pending.settle(row::list(connection, subject, *now).await?);
        }
        Job::Purge { from, now, limit, pending } => {
            pending.settle(purge(connection, from, *now, *limit).await?);
        }
    }
    Ok(())
}

/// How many rows a statement has changed. An error that concerns it alone goes to its caller alone.
fn of_one(done: Result<SqliteQueryResult, sqlx::Error>) -> Read<u64> {
    match done {
        Ok(result) => Ok(Ok(result.rows_affected())),
        Err(error) if is_of_statement(&error) => Ok(Err(fault(error))),
        Err(error) => Err(error),
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    session: &SessionRecord,
) -> Result<SqliteQueryResult, sqlx::Error> {
    sqlx::query(
        "INSERT INTO kippu_sessions (id, subject, client, label, created_at, absolute_expires_at, \
         generation, kid, rotated_at, expires_at, revoked_at, revoked_reason) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT (id) DO NOTHING",
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

/// Reads, decides and writes, in a transaction in which nobody else writes.
async fn rotate(connection: &mut SqliteConnection, request: &RotateRequest) -> Read<RotateOutcome> {
    let record = match row::load(&mut *connection, &request.id).await? {
        Ok(Some(record)) => record,
        Ok(None) => return Ok(Ok(RotateOutcome::Unknown)),
        Err(error) => return Ok(Err(error)),
    };
    let decision = request.decide(&record);
    let changed = match &decision.change {
        None => return Ok(Ok(decision.outcome)),
        Some(Change::Advance { generation, kid, rotated_at, expires_at }) => {
            sqlx::query(
                "UPDATE kippu_sessions SET generation = ?1, kid = ?2, rotated_at = ?3, \
                 expires_at = ?4 WHERE id = ?5",
            )
            .bind(stored(*generation))
            .bind(&**kid)
            .bind(rotated_at.get())
            .bind(expires_at.get())
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
    // Longer than any id, and so after all of them.
    .bind(next.as_ref().map_or(&[0xff; 17][..], row::bytes))
    .bind(now.get())
    .bind(limit)
    .execute(connection)
    .await;
    Ok(of_one(removed)?.map(|removed| {
        // There may be more of them in this portion.
        let next = if removed < u64::from(limit) { next } else { Some(*from) };
        Purged { removed, next }
    }))
}

/// Never more than [`MAX_GENERATION`].
fn stored(generation: u64) -> i64 {
    i64::try_from(generation).unwrap_or(i64::MAX)
}

fn hex(id: &SessionId) -> String {
    let mut text = String::with_capacity(32);
    for byte in id.as_bytes() {
        // A string takes all that is written.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
