//! The connection that writes: it does all that waits in one transaction.

use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};
use core::fmt::Write;
use std::collections::HashMap;

use sqlx::{
    ConnectOptions, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteQueryResult},
};

use super::{
    fault::{corrupt, fault, is_of_statement, shared_fault},
    queue::{Failure, Pending, Step, Writer},
    row::{self, Read},
};
use crate::session::{
    id::SessionId,
    record::{RevokeReason, SessionRecord},
    rotation::{Change, MAX_GENERATION, RotateOutcome, RotateRequest, Successor},
    store::InsertOutcome,
    time::UnixMillis,
};

/// A step that somebody waits for.
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
    Expired {
        now: UnixMillis,
        limit: u32,
        pending: Pending<Vec<SessionId>>,
    },
    /// Removes those that are still over.
    Remove {
        ids: Vec<SessionId>,
        now: UnixMillis,
        pending: Pending<u64>,
    },
}

impl Step for Job {
    fn tell(self, failure: Option<&Failure>) {
        match self {
            Self::Insert { pending, .. } => pending.tell(failure),
            Self::Load { pending, .. } => pending.tell(failure),
            Self::Rotate { pending, .. } => pending.tell(failure),
            Self::Revoke { pending, .. } => pending.tell(failure),
            Self::RevokeSubject { pending, .. } | Self::Remove { pending, .. } => {
                pending.tell(failure);
            }
            Self::List { pending, .. } => pending.tell(failure),
            Self::Expired { pending, .. } => pending.tell(failure),
        }
    }
}

/// The connection that writes.
pub(super) struct SqliteWriter {
    /// None after a failure, until the next batch.
    connection: Option<SqliteConnection>,
    /// How to connect again; not at all, where the data would be gone with the connection.
    options: Option<SqliteConnectOptions>,
}

impl SqliteWriter {
    pub(super) fn new(connection: SqliteConnection, options: Option<SqliteConnectOptions>) -> Self {
        Self { connection: Some(connection), options }
    }

    async fn try_commit(&mut self, batch: &mut [Job]) -> Result<(), sqlx::Error> {
        let connection = match (&mut self.connection, &self.options) {
            (Some(connection), _) => connection,
            (none, Some(options)) => none.insert(options.connect().await?),
            (None, None) => return Err(sqlx::Error::WorkerCrashed),
        };
        let done = transact(connection, batch).await;
        if done.is_err() {
            // After some errors SQLite has done so itself.
            let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
            if self.options.is_some() {
                // Whatever state it is in, a new one is in none.
                self.disconnect().await;
            }
        }
        done
    }
}

impl Writer for SqliteWriter {
    type Step = Job;

    async fn commit(&mut self, batch: &mut [Job]) -> Result<(), Failure> {
        self.try_commit(batch).await.map_err(|error| -> Failure {
            let error = Arc::new(error);
            Box::new(move || shared_fault(&error))
        })
    }

    async fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take() {
            let _ = connection.close().await;
        }
    }
}

async fn transact(connection: &mut SqliteConnection, batch: &mut [Job]) -> Result<(), sqlx::Error> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    rotate_all(connection, batch).await?;
    for job in batch {
        take(connection, job).await?;
    }
    sqlx::query("COMMIT").execute(connection).await?;
    Ok(())
}

/// The rotations of tokens that are current, of different sessions, in one statement: nearly all of them. What else
/// there is stays unanswered.
async fn rotate_all(
    connection: &mut SqliteConnection,
    batch: &mut [Job],
) -> Result<(), sqlx::Error> {
    // The place of each session's rotation in the batch: of several that one is taken, and no other answered for it.
    let mut places = HashMap::new();
    let mut rows = Vec::new();
    for (place, job) in batch.iter().enumerate() {
        let Job::Rotate { request, .. } = job else { continue };
        // SQLite's JSON may end a text at its first NUL.
        let is_plain = request.generation < MAX_GENERATION && !request.kid.contains('\0');
        if is_plain && !places.contains_key(&request.id) {
            places.insert(request.id, place);
            let [now, at, until] =
                [request.now, request.rotated_at(), request.idle_end()].map(UnixMillis::get);
            rows.push((hex(&request.id), request.generation, &request.kid, now, at, until));
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
        let Some(Job::Rotate { request, pending }) = job else { continue };
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

/// Takes one step, unless it was taken.
async fn take(connection: &mut SqliteConnection, job: &mut Job) -> Result<(), sqlx::Error> {
    match job {
        Job::Insert { session, pending } => {
            let added = insert(connection, session).await;
            pending.settle(of_one(added)?.map(|rows| {
                if rows == 0 { InsertOutcome::Duplicate } else { InsertOutcome::Inserted }
            }));
        }
        Job::Load { id, pending } => pending.settle(row::load(connection, id).await?),
        Job::Rotate { request, pending } => {
            if !pending.is_settled() {
                pending.settle(rotate(connection, request).await?);
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
        Job::Expired { now, limit, pending } => {
            pending.settle(row::expired(connection, *now, *limit).await?);
        }
        Job::Remove { ids, now, pending } => {
            let ids = ids.iter().map(|id| format!("\"{}\"", hex(id))).collect::<Vec<_>>().join(",");
            let removed = sqlx::query(
                "DELETE FROM kippu_sessions \
                 WHERE id IN (SELECT unhex(value) FROM json_each(?1)) \
                 AND (expires_at <= ?2 OR absolute_expires_at <= ?2)",
            )
            .bind(format!("[{ids}]"))
            .bind(now.get())
            .execute(connection)
            .await;
            pending.settle(of_one(removed)?);
        }
    }
    Ok(())
}

/// How many rows a statement has changed; an error that concerns it alone is told to its caller alone.
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
