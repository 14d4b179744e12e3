//! Keeps sessions in an SQLite file. One connection writes the steps of many requests in each
//! transaction; other connections read concurrently.

mod fault;
mod files;
mod job;
mod opening;
mod queue;
mod row;
mod writer;

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use kippu::session::{
    RefreshStore, RevokeReason, SessionId, SessionRecord, StoreError, StoreErrorKind, UnixMillis,
    rotation::{RotateOutcome, RotateRequest},
    store::{EndedCursor, EndedPage, InsertOutcome, InsertRequest, ListRequest},
};
use sqlx::{
    ConnectOptions, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use tokio::time::{sleep, timeout};

use self::{
    fault::{fault, is_busy, late},
    files::Files,
    job::{AGAIN, Job},
    opening::{MEMORY, Opened},
    queue::{Pending, Queue, Step},
    writer::SqliteWriter,
};

/// Stores sessions in an SQLite file, for the processes of one machine.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use kippu_sqlx::SqliteStore;
///
/// let store = SqliteStore::open("/var/lib/app/sessions.db").await?;
/// # Ok(())
/// # }
/// ```
///
/// A clone is another handle on the same connections. Several stores, in one process or in many,
/// may open the same file; their writes take turns.
///
/// # Durability
/// An acknowledged change survives when the process is killed and when the machine stops: the file
/// has a write-ahead log, which the store flushes to the disk before it answers
/// (`synchronous=FULL`). A disk that reports a flush too early may lose the last changes, but not
/// the file.
///
/// The store writes concurrent steps together and flushes once.
///
/// `:memory:` keeps nothing: each such store has separate sessions, which are lost with the store.
///
/// # Deadline
/// Each step ends within 3 seconds ([`DEFAULT_DEADLINE`](Self::DEFAULT_DEADLINE)), or within the
/// time that [`with_deadline`](Self::with_deadline) sets. This includes the wait for other steps,
/// for a connection, for the lock of another process and for the disk. After the deadline the step
/// fails as *unavailable*.
///
/// If the caller has gone while its step still waits, the step is dropped. A step that the store is
/// writing at that moment may still happen, wholly or not at all. The same holds if the caller
/// drops the future.
///
/// # The grace period
///
/// The grace period of a rotation begins when the rotation is committed. The store measures with
/// the monotonic clock how long a step waited before its transaction began. If the commit takes
/// longer than an eighth of the grace period, the store corrects the time of the rotation in a
/// second transaction, before it answers. After a crash between the two, the grace period counts
/// from the beginning of the first.
///
/// # Where it runs
///
/// The store needs a tokio runtime. Its writer is a task of the runtime in which the store was
/// opened, and ends with that runtime. After that, and after [`close`](Self::close), each step
/// fails as *unavailable*.
///
/// The file has to be on a disk of this machine: on a network filesystem locks fail silently, and
/// SQLite's write-ahead log does not work.
///
/// # The files
/// Beside the file are its log (`-wal`) and the index of the log (`-shm`). Never copy, replace or
/// remove one of the three separately while the database is in use. `VACUUM INTO` makes a backup of
/// a file in use. Before you restore a backup, stop all processes that use the file, and remove the
/// old `-wal` and `-shm` together with the old file. Afterwards, run `chmod 600` on the backup.
///
/// On Unix the store compares device and inode of all three files before each commit, again before
/// it acknowledges the commit, and around each read. It notices when one of them was removed,
/// renamed, replaced or truncated, and when a symbolic link or a mount leads to another file. Each
/// step then fails as *misconfigured*, no step is acknowledged, and the log goes into the file that
/// it belongs to. The steps work again when the file is back at its path, otherwise after a
/// restart. The store does not notice a file whose content is overwritten in place without becoming
/// shorter. On other systems it notices only a missing file; Windows does not allow an open file to
/// be renamed or removed.
///
/// On Unix a new file has the mode 0600, and so have its log and index. The store does not open a
/// file that its group or others may open, so the filesystem has to support permissions. It checks
/// the mode when it opens the file, not later: a file that becomes read-only while it is open can
/// be written until the next start.
///
/// The log usually stays at about 4 MB. When it exceeds 16 MiB, the store empties it. To do so, it
/// waits for readers for up to 0.1 seconds, every five seconds. The log also grows while another
/// program keeps a transaction open: each rotation then adds up to 4 KiB to the log, and each login
/// up to 12 KiB. After that transaction has ended, the next step empties the log, at most five
/// seconds later.
///
/// # What is stored
/// Two tables: [`SCHEMA`](Self::SCHEMA). The store creates them in a new or empty file. It rejects
/// a file of another application and leaves it unchanged.
///
/// The store migrates a file of an earlier version of kippu when it opens it, even from several
/// processes concurrently. Processes with the previous version that have the file open still run.
/// Such a process keeps the columns that it does not know, but extends a session by its own idle
/// lifetime, and returns [`StoreErrorKind::Corrupt`] for a session that a limit has revoked. The
/// header of the file contains the version of its schema (`user_version`). If the version is later
/// than this crate supports, the store rejects the file with an error that says so.
///
/// A login [within a limit](kippu::session::store::InsertRequest::limit) reads the live sessions of
/// its subject in the transaction that writes it.
///
/// `kippu_ended` is the log of ended sessions. A trigger writes it, so that it also contains the
/// sessions that an operator revokes with SQL. Its numbers begin at a random one and are never
/// reused. A cursor of another file, or of a file that a backup has replaced, therefore does not
/// match.
///
/// A rotation writes the session's row and no index, so
/// [`purge_expired`](RefreshStore::purge_expired) reads the table to find expired sessions. It does
/// so in small portions, with other steps in between.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
    deadline: Duration,
}

struct Inner {
    queue: Queue<Job>,
    /// `None` if only the writer sees the data: in memory.
    readers: Option<Readers>,
    /// Where the next purge begins: where the last one stopped, or at the first id.
    purged: Mutex<SessionId>,
}

struct Readers {
    pool: SqlitePool,
    files: Arc<Files>,
}

/// The channels that [`queue`] uses. `tests/interleavings` replaces this module by its own.
mod sync {
    pub(super) use tokio::sync::{mpsc, oneshot, watch};
}

/// The number of connections that read.
const READERS: u32 = 4;

/// The step's deadline applies instead of the pool's. A longer time would overflow.
const ONE_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The smallest id.
const FIRST_ID: SessionId = SessionId::from_bytes([0; 16]);

impl SqliteStore {
    /// The script that creates the tables, the index and the trigger, and marks the file as the
    /// store's. It can be run again. A file of an earlier version also needs the new columns, which
    /// [`open`](Self::open) adds.
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
    remembered INTEGER NOT NULL DEFAULT 1,
    idle_lifetime INTEGER,
    auth_time INTEGER,
    data BLOB NOT NULL DEFAULT x'',
    CHECK ((revoked_at IS NULL) = (revoked_reason IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS kippu_sessions_subject ON kippu_sessions (subject);
CREATE TABLE IF NOT EXISTS kippu_ended (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL CHECK (length(id) = 16),
    ended_at INTEGER NOT NULL DEFAULT (CAST(1000 * unixepoch('subsec') AS INTEGER))
) STRICT;
INSERT INTO sqlite_sequence (name, seq) SELECT 'kippu_ended', random() & 0x3fffffffffffffff
    WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'kippu_ended');
CREATE TRIGGER IF NOT EXISTS kippu_sessions_ended AFTER UPDATE OF revoked_at ON kippu_sessions
WHEN OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL
BEGIN
    INSERT INTO kippu_ended (id) VALUES (NEW.id);
END;
PRAGMA application_id = 1802072176;
PRAGMA user_version = 3;
";

    /// The deadline of each step, unless [`with_deadline`](Self::with_deadline) sets another: 3
    /// seconds.
    pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(3);

    /// Opens the file, and creates it if it does not exist. With `:memory:`, the sessions are lost
    /// with the store. A relative path is resolved in the current working directory, even if that
    /// changes later.
    ///
    /// # Errors
    /// [`StoreErrorKind::Misconfigured`] when the file cannot be opened or written, when others
    /// than its owner may open it, or when it belongs to another application;
    /// [`StoreErrorKind::Corrupt`] when it is not a database; [`StoreErrorKind::Unavailable`] after
    /// [`DEFAULT_DEADLINE`](Self::DEFAULT_DEADLINE), and when the disk fails.
    pub async fn open(path: impl AsRef<Path> + Send) -> Result<Self, StoreError> {
        let path = match path.as_ref().to_str() {
            None | Some("") => {
                let message = "the path of the SQLite file is empty, or not UTF-8: name a file";
                return Err(StoreError::new(StoreErrorKind::Misconfigured, message));
            }
            Some(MEMORY) => MEMORY.into(),
            Some(_) => files::make(path.as_ref())?,
        };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .disable_statement_logging();
        Self::with_options(options).await
    }

    /// Opens the file that the options name, with these options: for example a key, or a limit of
    /// its pages. The store itself sets how the file is written and how long it waits: the journal,
    /// the flushes, the timeout.
    ///
    /// # Errors
    /// The same as those of [`SqliteStore::open`].
    pub async fn with_options(options: SqliteConnectOptions) -> Result<Self, StoreError> {
        in_time(Self::DEFAULT_DEADLINE, async {
            let Opened { writer, file } = opening::open(options).await?;
            let readers = file.as_ref().map(|(options, files)| Readers {
                pool: SqlitePoolOptions::new()
                    .max_connections(READERS)
                    .acquire_timeout(ONE_YEAR)
                    // The test would cost a statement for each read. `Files::look` checks the file
                    // instead.
                    .test_before_acquire(false)
                    .connect_lazy_with(options.clone().pragma("query_only", "ON")),
                files: Arc::clone(files),
            });
            let (queue, work) = Queue::new(SqliteWriter::new(writer, file));
            tokio::spawn(work);
            let inner = Inner { queue, readers, purged: Mutex::new(FIRST_ID) };
            Ok(Self { inner: Arc::new(inner), deadline: Self::DEFAULT_DEADLINE })
        })
        .await
    }

    /// Sets the deadline of the steps of this handle, and of the clones that are made of it from
    /// now on. With a deadline of zero each step fails at once as [`StoreErrorKind::Unavailable`],
    /// and nothing is read or written.
    ///
    /// A client that repeats a request after the deadline must do so within the grace period:
    /// choose a deadline that is well below it.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Finishes the steps in flight, and closes the connections of all handles. From then on each
    /// step fails. Returns within the deadline, even if a step still waits for the disk then. A
    /// store that is dropped also closes its connections, but its caller cannot wait for that.
    pub async fn close(&self) {
        let _ = timeout(self.deadline, async {
            let readers = self.inner.readers.as_ref().map(|readers| readers.pool.close());
            self.inner.queue.close().await;
            // After the writer, so that the last connection moves the log into the file.
            if let Some(readers) = readers {
                readers.await;
            }
        })
        .await;
    }

    /// Runs a step on the writer.
    async fn write<T: Send>(
        &self,
        job: impl FnOnce(Pending<T>) -> Job + Send,
    ) -> Result<T, StoreError> {
        in_time(self.deadline, self.inner.queue.ask(job)).await
    }

    /// Runs a step that only reads: on a reader, or on the writer if there are no readers.
    async fn read<T: Send>(
        &self,
        job: impl FnOnce(Pending<T>) -> Job + Send,
    ) -> Result<T, StoreError> {
        let Some(readers) = &self.inner.readers else { return self.write(job).await };
        in_time(self.deadline, async {
            let (pending, answer) = Pending::new();
            let mut job = job(pending);
            readers.take(&mut job).await?;
            job.answer().send(None);
            answer.await
        })
        .await
    }
}

impl Readers {
    async fn take(&self, job: &mut Job) -> Result<(), StoreError> {
        let look = || self.files.look().map_err(|lost| lost.store_error());
        loop {
            // Checked first: a new connection to another file would apply the log to that file.
            look()?;
            let read = async {
                let mut reader = self.pool.acquire().await?;
                job::take(&mut reader, job, Instant::now()).await
            };
            let read = read.await;
            // A record from a file that is no longer at its path must not be returned.
            look()?;
            match read {
                Err(error) if is_busy(&error) => sleep(AGAIN).await,
                read => break read.map_err(fault),
            }
        }
    }
}

/// Returns the outcome of a step, or an error at the deadline.
async fn in_time<T>(
    deadline: Duration,
    step: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    // `timeout` polls a step once before it looks at the time.
    if deadline.is_zero() {
        return Err(late(deadline));
    }
    timeout(deadline, step).await.unwrap_or_else(|_| Err(late(deadline)))
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

impl RefreshStore for SqliteStore {
    async fn insert(&self, request: &InsertRequest) -> Result<InsertOutcome, StoreError> {
        let request = request.clone();
        self.write(|pending| Job::Insert { request, pending }).await
    }

    async fn load(&self, id: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
        self.read(|pending| Job::Load { id: *id, pending }).await
    }

    async fn rotate(&self, request: &RotateRequest) -> Result<RotateOutcome, StoreError> {
        // The wait in the queue is not part of the grace (R2).
        let (asked, request) = (Instant::now(), request.clone());
        self.write(|pending| Job::Rotate { request, asked, pending }).await
    }

    async fn revoke(
        &self,
        id: &SessionId,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        self.write(|pending| Job::Revoke { id: *id, reason, now, pending }).await
    }

    async fn revoke_subject(
        &self,
        subject: &str,
        keep: Option<&SessionId>,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<u64, StoreError> {
        let (subject, keep) = (subject.to_owned(), keep.copied());
        self.write(|pending| Job::RevokeSubject { subject, keep, reason, now, pending }).await
    }

    async fn list(&self, request: &ListRequest) -> Result<Vec<SessionRecord>, StoreError> {
        let request = request.clone();
        self.read(|pending| Job::List { request, pending }).await
    }

    /// Reads the table from where the last purge stopped. In a table of many millions of sessions
    /// the deadline may pass first: the call then returns the number of sessions removed so far,
    /// and the next call continues from there. Each portion is a transaction: after an `Err` the
    /// removed sessions stay removed.
    async fn purge_expired(&self, now: UnixMillis, limit: u32) -> Result<u64, StoreError> {
        // A caller whose clock is ahead removes no live session.
        let now = now.min(UnixMillis::now());
        let purged = || self.inner.purged.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut removed, mut is_begun) = (0, false);
        let purge = in_time(self.deadline, async {
            let mut left = limit;
            let mut from = *purged();
            let mut is_whole = from == FIRST_ID;
            while left > 0 {
                let ask = |pending| Job::Purge { from, now, limit: left, pending };
                let portion = match self.inner.queue.ask(ask).await {
                    Ok(portion) => portion,
                    Err(error) => return Ok(Err(error)),
                };
                is_begun = true;
                removed += portion.removed;
                left = left.saturating_sub(u32::try_from(portion.removed).unwrap_or(left));
                from = portion.next.unwrap_or(FIRST_ID);
                // After each portion: the call may be dropped, and the next one continues here.
                *purged() = from;
                if portion.next.is_none() {
                    // A purge that began in the middle reads the part before it, too.
                    if is_whole {
                        break;
                    }
                    is_whole = true;
                }
            }
            Ok(Ok(()))
        });
        match purge.await {
            Err(late) if !is_begun => Err(late),
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Ok(removed),
        }
    }

    async fn ended_after(&self, cursor: &EndedCursor) -> Result<EndedPage, StoreError> {
        let after = cursor.as_bytes().try_into().map_or(0, i64::from_be_bytes);
        self.read(|pending| Job::EndedAfter { after, pending }).await
    }

    /// Removes the oldest entries in batches, until the deadline.
    async fn trim_ended(&self, kept_for: Duration) -> Result<u64, StoreError> {
        let now = UnixMillis::now().get();
        let kept_for = i64::try_from(kept_for.as_millis()).unwrap_or(i64::MAX);
        let before = UnixMillis::new(now.saturating_sub(kept_for));
        let mut removed = 0;
        loop {
            match self.write(|pending| Job::TrimEnded { before, pending }).await {
                Ok(0) => return Ok(removed),
                Ok(portion) => removed += portion,
                // The entries stay removed, so a later error does not hide their number.
                Err(error) if removed == 0 => return Err(error),
                Err(_) => return Ok(removed),
            }
        }
    }
}
