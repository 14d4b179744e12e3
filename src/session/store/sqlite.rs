//! Sessions in an SQLite file: one connection writes, many requests to a transaction; others read beside it.

mod fault;
mod queue;
mod row;
mod writer;

use alloc::{borrow::ToOwned, string::String, sync::Arc, vec::Vec};
use core::{fmt, time::Duration};
use std::path::{Path, PathBuf};

use sqlx::{
    ConnectOptions, Connection, SqliteConnection, SqlitePool,
    pool::PoolConnection,
    sqlite::{Sqlite, SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::time::{Instant, sleep};

use self::{
    fault::{fault, foreign},
    queue::Queue,
    writer::{Job, SqliteWriter},
};
use super::{InsertOutcome, RefreshStore, StoreError, StoreErrorKind};
use crate::session::{
    id::SessionId,
    record::{RevokeReason, SessionRecord},
    rotation::{RotateOutcome, RotateRequest},
    time::UnixMillis,
};

/// Sessions in an SQLite file, for the processes of one machine.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use kippu::session::SqliteStore;
///
/// let store = SqliteStore::open("/var/lib/app/sessions.db").await?;
/// # Ok(())
/// # }
/// ```
///
/// A clone is another handle on the same connections. Several stores, in one process or in many, may have one file
/// open; they take turns in writing, and wait up to 30 seconds for theirs.
///
/// # Durability
/// What was answered stays, when the process is killed and when the machine stops: the file has a write-ahead
/// log that is flushed to the disk before an answer (`synchronous=FULL`). A disk that says so too early may lose the
/// last of it, but not the file.
///
/// What waits at the same time is written together and flushed once. A caller who gives up does no harm: the step
/// happens wholly or not at all.
///
/// `:memory:` promises nothing: each such store has sessions of its own, which go with it.
///
/// # Where it runs
/// In a runtime of tokio: what writes is a task of the one in which the store was opened, and ends with it. After
/// that, and after [`close`](Self::close), each step fails as *unavailable*.
///
/// The file has to be on a disk of this machine: on a network filesystem locks fail silently, and SQLite's
/// write-ahead log does not work. Beside it are `-wal` and `-shm`, which belong to it: never copy or remove one of the
/// three alone while it is in use. `VACUUM INTO` makes a backup of a file in use.
///
/// # What is stored
/// A file of its own, with one table: [`SCHEMA`](Self::SCHEMA). A new or empty file gets it; a file that is another
/// application's is refused and left as it is.
///
/// A rotation writes the session's row and no index, so that those whom nobody uses any more are found by reading
/// through the table. [`purge_expired`](RefreshStore::purge_expired) does that beside the writer, in portions: other
/// steps go in between.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    queue: Queue<Job>,
    /// None where only the writer sees the data: in memory.
    readers: Option<SqlitePool>,
}

/// What [`queue`] waits with.
mod sync {
    pub(super) use tokio::sync::{mpsc, oneshot, watch};
}

/// `kipp`, in the header of the file.
const APPLICATION_ID: i64 = 0x6b69_7070;

/// The version of the table, in the header of the file.
const SCHEMA_VERSION: i64 = 1;

/// How long one waits for another's lock, above all that of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections that read.
const READERS: u32 = 4;

/// Sessions that one transaction removes, so that no rotation waits for many.
const PORTION: u32 = 1024;

impl SqliteStore {
    /// The table and its indexes, and the marks that tell the file from others'. It can be run again.
    pub const SCHEMA: &str = "\
CREATE TABLE IF NOT EXISTS kippu_sessions (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    subject TEXT NOT NULL,
    client TEXT NOT NULL,
    label TEXT,
    created_at INTEGER NOT NULL,
    absolute_expires_at INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    kid TEXT NOT NULL,
    rotated_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER,
    revoked_reason TEXT,
    CHECK ((revoked_at IS NULL) = (revoked_reason IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS kippu_sessions_subject ON kippu_sessions (subject);
CREATE INDEX IF NOT EXISTS kippu_sessions_end ON kippu_sessions (absolute_expires_at);
PRAGMA application_id = 1802072176;
PRAGMA user_version = 1;
";

    /// Opens the file, and makes it if there is none; `:memory:` for sessions that go with the store.
    ///
    /// # Errors
    /// [`StoreErrorKind::Misconfigured`] when the file cannot be opened or is another application's,
    /// [`StoreErrorKind::Corrupt`] when it is no database; else what the disk says.
    pub async fn open(path: impl AsRef<Path> + Send) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        if path.as_os_str().is_empty() {
            let message = "the path of the SQLite file is empty: name a file";
            return Err(StoreError::new(StoreErrorKind::Misconfigured, message));
        }
        // SQLite takes `file:` for a URI, with options in it.
        let is_uri = path.as_os_str().as_encoded_bytes().starts_with(b"file:");
        let path = if is_uri { PathBuf::from(".").join(path) } else { path };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        Self::with_options(options).await
    }

    /// Opens the file that the options name, as they say: another timeout, a key. How it is written is the
    /// store's: its journal and its flushes.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub async fn with_options(options: SqliteConnectOptions) -> Result<Self, StoreError> {
        let options = durable(options);
        let mut connection = options.connect().await.map_err(fault)?;
        let is_private = match prepare_patiently(&mut connection).await {
            Ok(is_private) => is_private,
            Err(error) => {
                let _ = connection.close().await;
                return Err(error);
            }
        };
        // From here on a file that is gone is a fault, and no new one takes its place.
        let options = options.create_if_missing(false);
        let readers = (!is_private).then(|| {
            SqlitePoolOptions::new()
                .max_connections(READERS)
                .acquire_timeout(BUSY_TIMEOUT)
                .test_before_acquire(false)
                .connect_lazy_with(options.clone().pragma("query_only", "ON"))
        });
        let writer = SqliteWriter::new(connection, (!is_private).then_some(options));
        let (queue, work) = Queue::new(writer);
        tokio::spawn(work);
        Ok(Self { inner: Arc::new(Inner { queue, readers }) })
    }

    /// Ends what is under way, and closes the connections of all handles; from then on each step fails. Stores that
    /// are dropped close theirs too, but nobody can wait for that.
    pub async fn close(&self) {
        self.inner.queue.close().await;
        // After the writer, so that the last connection takes the log into the file.
        if let Some(readers) = &self.inner.readers {
            readers.close().await;
        }
    }

    /// A connection to read with, unless reading is the writer's.
    async fn reader(&self) -> Result<Option<PoolConnection<Sqlite>>, StoreError> {
        match &self.inner.readers {
            Some(readers) => readers.acquire().await.map(Some).map_err(fault),
            None => Ok(None),
        }
    }

    /// Some sessions that are over at `now`.
    async fn expired(&self, now: UnixMillis, limit: u32) -> Result<Vec<SessionId>, StoreError> {
        match self.reader().await? {
            Some(mut reader) => row::expired(&mut reader, now, limit).await.map_err(fault)?,
            None => self.inner.queue.ask(|pending| Job::Expired { now, limit, pending }).await,
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

/// What was committed is on the disk.
fn durable(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .synchronous(SqliteSynchronous::Full)
        // The flush of macOS, which otherwise ends in the disk's own memory. Elsewhere it means nothing.
        .pragma("fullfsync", "ON")
        .pragma("checkpoint_fullfsync", "ON")
}

/// As [`prepare`], again while others are in the way: of several who change the journal at once, SQLite refuses some
/// without waiting.
async fn prepare_patiently(connection: &mut SqliteConnection) -> Result<bool, StoreError> {
    let start = Instant::now();
    loop {
        match prepare(connection).await {
            Err(error)
                if error.kind() == StoreErrorKind::Contention && start.elapsed() < BUSY_TIMEOUT =>
            {
                sleep(Duration::from_millis(10)).await;
            }
            answer => return answer,
        }
    }
}

/// Makes sure that the file is the store's, and makes it so if it is nobody's. Says whether it is the connection's
/// alone: in memory, or a temporary file.
async fn prepare(connection: &mut SqliteConnection) -> Result<bool, StoreError> {
    // Before anything is written: the journal's mode is.
    let is_new = is_new(connection).await?;
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode = WAL")
        .fetch_one(&mut *connection)
        .await
        .map_err(fault)?;
    let file: Option<String> =
        sqlx::query_scalar("SELECT file FROM pragma_database_list WHERE name = 'main'")
            .fetch_one(&mut *connection)
            .await
            .map_err(fault)?;
    let is_private = file.is_none_or(|file| file.is_empty());
    if mode != "wal" && !is_private {
        let message = "SQLite cannot keep a write-ahead log for the file: move it to a local disk";
        return Err(StoreError::new(StoreErrorKind::Misconfigured, message));
    }
    if is_new {
        // Of several who got here, one at a time.
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await.map_err(fault)?;
        let outcome = make(connection).await;
        let end = if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = sqlx::query(end).execute(&mut *connection).await;
        if ended.is_err() {
            let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
        }
        outcome?;
        ended.map_err(fault)?;
    }
    Ok(is_private)
}

async fn make(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    if is_new(connection).await? {
        sqlx::raw_sql(SqliteStore::SCHEMA).execute(connection).await.map_err(fault)?;
    }
    Ok(())
}

/// Whether there is nothing in the file yet. One that is not the store's is refused.
async fn is_new(connection: &mut SqliteConnection) -> Result<bool, StoreError> {
    // One statement, so that nobody comes in between.
    let (application, version, things): (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT application_id FROM pragma_application_id), \
         (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)",
    )
    .fetch_one(connection)
    .await
    .map_err(fault)?;
    match (application, version) {
        (APPLICATION_ID, SCHEMA_VERSION) => Ok(false),
        (0, 0) if things == 0 => Ok(true),
        (APPLICATION_ID, _) => Err(StoreError::new(
            StoreErrorKind::Misconfigured,
            "the SQLite file was made by another version of kippu: use that, or another file",
        )),
        _ => Err(foreign()),
    }
}

impl RefreshStore for SqliteStore {
    async fn insert(&self, session: &SessionRecord) -> Result<InsertOutcome, StoreError> {
        let session = session.clone();
        self.inner.queue.ask(|pending| Job::Insert { session, pending }).await
    }

    async fn load(&self, id: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
        match self.reader().await? {
            Some(mut reader) => row::load(&mut reader, id).await.map_err(fault)?,
            None => self.inner.queue.ask(|pending| Job::Load { id: *id, pending }).await,
        }
    }

    async fn rotate(&self, request: &RotateRequest) -> Result<RotateOutcome, StoreError> {
        let request = request.clone();
        self.inner.queue.ask(|pending| Job::Rotate { request, pending }).await
    }

    async fn revoke(
        &self,
        id: &SessionId,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        self.inner.queue.ask(|pending| Job::Revoke { id: *id, reason, now, pending }).await
    }

    async fn revoke_subject(
        &self,
        subject: &str,
        keep: Option<&SessionId>,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<u64, StoreError> {
        let (subject, keep) = (subject.to_owned(), keep.copied());
        self.inner
            .queue
            .ask(|pending| Job::RevokeSubject { subject, keep, reason, now, pending })
            .await
    }

    async fn list(&self, subject: &str, now: UnixMillis) -> Result<Vec<SessionRecord>, StoreError> {
        let subject = subject.to_owned();
        match self.reader().await? {
            Some(mut reader) => row::list(&mut reader, &subject, now).await.map_err(fault)?,
            None => self.inner.queue.ask(|pending| Job::List { subject, now, pending }).await,
        }
    }

    /// Each portion is a transaction; after an `Err` those before it are removed.
    async fn purge_expired(&self, now: UnixMillis, limit: u32) -> Result<u64, StoreError> {
        let (mut removed, mut left) = (0, limit);
        while left > 0 {
            let wanted = left.min(PORTION);
            let ids = self.expired(now, wanted).await?;
            let found = u32::try_from(ids.len()).unwrap_or(wanted);
            // Fewer, where somebody else removed some, or used them with a clock that is behind.
            let gone = self.inner.queue.ask(|pending| Job::Remove { ids, now, pending }).await?;
            removed += gone;
            left = left.saturating_sub(u32::try_from(gone).unwrap_or(left));
            if found < wanted {
                break;
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use sqlx::ConnectOptions;

    use super::*;

    /// No test can pull the plug: this looks at what SQLite was told.
    #[tokio::test]
    async fn commits_wait_for_the_disk() {
        let lax = SqliteConnectOptions::new().synchronous(SqliteSynchronous::Off);
        let mut connection = durable(lax.in_memory(true)).connect().await.unwrap();
        let query = "SELECT (SELECT synchronous FROM pragma_synchronous), \
                     (SELECT fullfsync FROM pragma_fullfsync), \
                     (SELECT checkpoint_fullfsync FROM pragma_checkpoint_fullfsync)";
        let told: (i64, i64, i64) = sqlx::query_as(query).fetch_one(&mut connection).await.unwrap();
        let full = 2;
        assert_eq!(told, (full, 1, 1));
    }
}
