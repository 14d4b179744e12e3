//! Keeps sessions in a table of PostgreSQL: one row for each session, one statement for each step.
//! A step succeeds once the server has committed it, and only a primary may; otherwise it fails at
//! its deadline or before.

/// The columns of a record.
macro_rules! columns {
    () => {
        "id, subject, client, label, created_at, absolute_expires_at, generation, kid, rotated_at, \
         expires_at, revoked_at, revoked_reason, remembered, idle_lifetime, auth_time, data"
    };
}

mod call;
mod fault;
mod insert;
mod late;
mod listen;
mod rotate;
mod row;

use std::{
    future::Future,
    str,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use kippu::session::{
    RefreshStore, RevokeReason, SessionData, SessionId, SessionRecord, StoreError, UnixMillis,
    rotation::{Change, RotateOutcome, RotateRequest},
    store::{CompareAndSwap, EndedCursor, EndedPage, InsertOutcome, InsertRequest, ListRequest},
};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgRow},
};

use self::{
    call::{Call, Statement},
    fault::{newer, no_url},
    insert::insert,
    rotate::rotate,
};

/// Stores sessions in the table `kippu_sessions` of a PostgreSQL database, version 12 or newer.
///
/// ```no_run
/// use std::time::Duration;
/// use kippu_sqlx::PostgresStore;
/// use sqlx::postgres::PgPoolOptions;
///
/// # async fn start(url: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let pool = PgPoolOptions::new().max_connections(16).connect(url).await?;
/// // The longest time that a login waits for a server that does not answer:
/// let store = PostgresStore::new(pool).with_deadline(Duration::from_secs(2));
/// store.create_schema().await?;
/// # Ok(())
/// # }
/// ```
///
/// The store uses a pool that the application already has, and holds no connection between two
/// calls, unless it [listens](Self::listen). PostgreSQL finds the table by the `search_path` of the
/// connection: `PgConnectOptions::options([("search_path", "auth")])` puts it into the schema
/// `auth`.
///
/// # Rights
/// A role that does not own the tables needs `SELECT, INSERT, UPDATE, DELETE ON kippu_sessions,
/// kippu_ended`. A verifier that only follows the ended sessions needs `SELECT ON kippu_ended`.
/// [`create_schema`](Self::create_schema) needs `CREATE ON SCHEMA` for new tables, and has to run
/// as their owner when it migrates those of an earlier version. The lock of a login within a limit,
/// reading the version of the schema, and [`listen`](Self::listen) need no right.
///
/// # Versions of the schema
/// [`create_schema`](Self::create_schema) migrates the tables of earlier versions. Several nodes
/// may do so concurrently, while processes with the previous version still run. Such a process
/// keeps the columns that it does not know, but extends a session by its own idle lifetime, and
/// returns [`Corrupt`] for a session that a limit has revoked.
///
/// The comment of `kippu_sessions` contains the version: `kippu schema 3`. The first step of a
/// store reads it. If the version is later than this crate supports, every step returns
/// [`Misconfigured`]. After the first step, a store does not read the version again.
///
/// # A limit of sessions
/// A login [within a limit](kippu::session::store::InsertRequest::limit) is a transaction of four
/// round trips. A login without a limit is one statement. The logins of a subject wait for each
/// other until the commit: they take an advisory lock, with the key 1802072176 and a second one
/// that depends on the subject.
///
/// # Durability
///
/// The store returns from a step after its commit; the settings of the server decide what a crash
/// can lose. With `synchronous_commit` on, the default, every acknowledged step survives a crash of
/// the server, and with synchronous replication a failover. With `synchronous_commit` off, or after
/// the promotion of a standby that did not replicate synchronously, the last steps before the crash
/// can be lost. [`AheadPolicy`](kippu::session::rotation::AheadPolicy) decides about the token of a
/// lost rotation. A lost revocation is not noticed.
///
/// The grace period of a rotation begins with its commit. The statement measures how long it waited
/// for locks. If the commit takes longer than an eighth of the grace period, for example because a
/// synchronous standby stalls, the store corrects the time of the rotation right after it. It also
/// does so for up to a minute after the caller has gone or the deadline has passed.
///
/// # Which server
/// Only the primary may answer, because a standby may not have received the last logouts. An old
/// primary that comes back after a failover is a standby. Every read also selects
/// `pg_is_in_recovery()`. If the server is in recovery or rejects a write, the store closes the
/// connection and the idle ones in the pool, and returns [`Unavailable`]. The next call opens a new
/// connection. The application therefore recovers from a failover without a restart, as soon as the
/// address leads to the new primary.
///
/// The address must not lead to a standby: the driver connects to the first server that accepts,
/// and has no `target_session_attrs`. The store does not notice an old primary that still accepts
/// writes, nor, when it only reads, one whose `default_transaction_read_only` is on: stop such a
/// server, or make it a standby.
///
/// PgBouncer in transaction mode has to be version 1.21 or newer, with `max_prepared_statements`
/// above 0: sqlx prepares its statements by name, even with a `statement_cache_capacity` of 0.
/// PgBouncer also needs `ignore_startup_parameters = extra_float_digits`, or the pool
/// `extra_float_digits(None)`. Session mode needs nothing else. After a failover PgBouncer itself
/// has to connect to the new primary (`RECONNECT`).
///
/// # Isolation
/// Each step except a login within a limit is one statement, which is correct at every isolation
/// level, whatever `default_transaction_isolation` is. Under `repeatable read` and `serializable`,
/// concurrent statements on one row fail with 40001. The store then repeats them in a transaction
/// with `read committed`, which costs three more round trips: rotations are fastest with the
/// server's default.
///
/// # Deadline
///
/// Each step ends within 3 seconds ([`DEFAULT_DEADLINE`](Self::DEFAULT_DEADLINE)), or within the
/// time that [`with_deadline`](Self::with_deadline) sets. This includes the wait for a connection,
/// the statement, its repetitions and the commit. After the deadline the step returns
/// [`Unavailable`]. If the store had sent the statement, the step may have happened, or may happen
/// later, when the server gets the lock that it waits for. The caller can repeat every step.
///
/// A connection that did not answer in time leaves the pool, and is closed without waiting for the
/// server. The idle connections of the pool are closed, too, because they lead to the same server:
/// after one failed call, the next one opens a new connection. With `test_before_acquire`, which is
/// on by default, every call first checks that its connection still works. With the setting off, a
/// rotation is one round trip instead of two, and one call fails after each restart of the server.
///
/// The server still executes a statement that waits for a lock, which occupies one of its
/// `max_connections`. Set a `statement_timeout` slightly above the deadline to end it: `ALTER ROLE
/// app SET statement_timeout = '5s'`.
///
/// # Space
///
/// A session takes about 300 bytes with its indexes, and its data. A rotation changes no index, so
/// no index may contain the end of a session, which every rotation moves.
/// [`purge_expired`](RefreshStore::purge_expired) therefore reads the table until it has removed
/// enough: a tenth of a second for a million sessions. Call it every few minutes with a limit of
/// thousands, not every second with a limit of ten. It removes only sessions that have also ended
/// by the server's clock, so that a host whose clock is ahead removes no live session. Each call
/// begins at a random place of the table and stops after half of the deadline, so that several
/// calls purge a table of any size. PostgreSQL 12 and 13 read the whole table for each portion of
/// 64 MiB: purge a large table with SQL there.
///
/// [`Corrupt`]: kippu::session::StoreErrorKind::Corrupt
/// [`Misconfigured`]: kippu::session::StoreErrorKind::Misconfigured
/// [`Unavailable`]: kippu::session::StoreErrorKind::Unavailable
#[derive(Clone, Debug)]
pub struct PostgresStore {
    pool: PgPool,
    deadline: Duration,
    /// Whether the store has checked that the tables do not have a later version. The first step
    /// does so.
    is_known: Arc<AtomicBool>,
}

/// The version of the schema, which the comment of the table contains.
const SCHEMA_VERSION: u32 = 3;

/// Reads the comment of the table, which every role may read.
const COMMENT: &str = "SELECT pg_is_in_recovery() AS in_recovery, \
    obj_description(to_regclass('kippu_sessions'), 'pg_class') AS comment";

/// Runs the schema under a lock. The lock's number is the start of SHA-256("kippu_sessions"), so
/// that no other program uses it by chance.
const CREATE: &str = concat!(
    // READ COMMITTED, so that the script sees the tables that another node has created while this
    // one waited for the lock.
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;\n",
    "SELECT pg_advisory_xact_lock(x'f3814c3bbdec24a'::bigint);\n",
    include_str!("postgres/schema.sql"),
);

/// Returns the ids that became visible after a snapshot, and the next snapshot, which is that of
/// the statement itself. A server that was promoted or has recovered from a crash may assign the
/// same transaction numbers again. The snapshot then belongs to another server, and the log is read
/// from its beginning. The name of the server contains the time of `stats_reset`, because the
/// server resets its statistics at each recovery.
/// The snapshot `1:1:` sees no transaction, so that the whole log is read.
const ENDED_AFTER: &str = "\
    WITH server AS MATERIALIZED ( \
        SELECT concat_ws(' ', floor(date_part('epoch', pg_postmaster_start_time()) * 1000000)::bigint, \
            (SELECT floor(date_part('epoch', stats_reset) * 1000000)::bigint FROM pg_stat_bgwriter)) AS name \
    ), since AS MATERIALIZED ( \
        SELECT CASE WHEN name = $1 THEN $2 ELSE '1:1:' END::txid_snapshot AS snapshot FROM server \
    ) SELECT pg_is_in_recovery() AS in_recovery, (SELECT name FROM server) AS server, \
        txid_current_snapshot()::text AS snapshot, ( \
            SELECT string_agg(id, '') FROM kippu_ended \
            WHERE txid >= txid_snapshot_xmin((SELECT snapshot FROM since)) \
            AND NOT txid_visible_in_snapshot(txid, (SELECT snapshot FROM since)) \
        ) AS ids";

/// Removes the oldest ids of the log, at most 10,000 in one statement.
const TRIM: &str = "WITH old AS ( \
        SELECT ctid FROM kippu_ended \
        WHERE ended_at < floor(date_part('epoch', clock_timestamp()) * 1000)::bigint - $1 \
        ORDER BY ended_at LIMIT 10000 FOR UPDATE SKIP LOCKED \
    ), removed AS ( \
        DELETE FROM kippu_ended WHERE ctid = ANY (ARRAY(SELECT ctid FROM old)) RETURNING id \
    ) SELECT count(*) FROM removed";

/// The number of blocks that one statement of a purge reads: 64 MiB, which a slow disk reads within
/// the deadline.
const PORTION: i64 = 8192;

/// Returns the number of portions, and a random one of them.
const PORTIONS: &str = "SELECT pg_is_in_recovery() AS in_recovery, portions, floor(random() * portions)::bigint AS first \
    FROM (SELECT pg_relation_size('kippu_sessions') / current_setting('block_size')::bigint / $1 + 1 AS portions) AS size";

// A separate part chooses the rows, so that it runs once. Within IN (…) the planner may run it for
// each row, and remove more than the limit. The server's clock is also read once.
const PURGE: &str = "WITH clock AS MATERIALIZED ( \
        SELECT LEAST($1, floor(date_part('epoch', clock_timestamp()) * 1000)::bigint) AS now \
    ), over AS ( \
        SELECT id FROM kippu_sessions \
        WHERE ctid >= $3::text::tid AND ctid < $4::text::tid \
            AND LEAST(expires_at, absolute_expires_at) <= (SELECT now FROM clock) \
        LIMIT $2 FOR UPDATE SKIP LOCKED \
    ), removed AS ( \
        DELETE FROM kippu_sessions USING over \
        WHERE kippu_sessions.id = over.id RETURNING kippu_sessions.id \
    ) SELECT count(*) FROM removed";

impl PostgresStore {
    /// The script that creates the tables with their indexes and the trigger, for applications that
    /// run their migrations themselves. It migrates the tables of earlier versions and rejects
    /// those of a later one. Running it again changes nothing. Run it as one transaction.
    pub const SCHEMA: &str = include_str!("postgres/schema.sql");

    /// The script that makes the server notify [`listen`](Self::listen) of each session that ends.
    /// It can be run again. The owner of `kippu_ended` has to run it. `DROP TRIGGER
    /// kippu_ended_notify ON kippu_ended` undoes it.
    pub const NOTIFY: &str = include_str!("postgres/notify.sql");

    /// The deadline of each step, unless [`with_deadline`](Self::with_deadline) sets another: 3
    /// seconds.
    pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(3);

    /// Makes a store in the database of this pool.
    pub fn new(pool: PgPool) -> Self {
        Self { pool, deadline: Self::DEFAULT_DEADLINE, is_known: Arc::default() }
    }

    /// Connects to `postgres://user:password@host/database`, with a pool of 10 connections.
    ///
    /// # Errors
    /// [`Misconfigured`] when the URL is invalid, or the server rejects the user or the password.
    /// No error shows the URL. [`Unavailable`] when the server is a standby, or does not answer
    /// within [`DEFAULT_DEADLINE`](Self::DEFAULT_DEADLINE).
    ///
    /// [`Misconfigured`]: kippu::session::StoreErrorKind::Misconfigured
    /// [`Unavailable`]: kippu::session::StoreErrorKind::Unavailable
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        // The driver's parser accepts any scheme.
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(no_url());
        }
        // The parser's error is dropped: it could show a part of the URL, which contains a
        // password.
        let options: PgConnectOptions = url.parse().map_err(|_| no_url())?;
        let store = Self::new(PgPool::connect_lazy_with(options));
        // The step reads the version of the tables.
        store.step(|_| async { Ok(()) }).await?;
        Ok(store)
    }

    /// Limits each step to `deadline` instead of [`DEFAULT_DEADLINE`](Self::DEFAULT_DEADLINE). If
    /// the pool's `acquire_timeout` is shorter, it ends the wait for a connection earlier. With a
    /// deadline of zero every step fails before it reaches the server.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Creates the tables that are missing, and migrates those of an earlier version. Any number of
    /// nodes may do so concurrently, while others use the tables.
    ///
    /// If everything exists, it only needs the rights and locks for reading the catalog. Adding
    /// columns takes a short lock, and waits for it until no transaction uses the table. Creating a
    /// missing index or the log beside a large table takes longer: call this with a longer deadline
    /// then.
    ///
    /// # Errors
    /// [`Misconfigured`](kippu::session::StoreErrorKind::Misconfigured) when the user may not
    /// create or change the tables, or when a later version of kippu has made them; and the errors
    /// of connecting to the server.
    pub async fn create_schema(&self) -> Result<(), StoreError> {
        // CREATE INDEX IF NOT EXISTS would wait for all writers of the table before it checks
        // whether the index exists.
        let look = "SELECT pg_is_in_recovery() AS in_recovery, to_regclass('kippu_sessions_subject') IS NOT NULL \
                    AND to_regclass('kippu_ended_ended_at') IS NOT NULL \
                    AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('kippu_sessions') \
                        AND attname = 'data' AND NOT attisdropped) \
                    AND EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass('kippu_sessions') \
                        AND tgname = 'kippu_sessions_ended') AS is_there";
        self.step(|mut call| async move {
            let rows = call.read(|| sqlx::query(look)).await?;
            if row::is(&rows, "is_there")? {
                return Ok(());
            }
            // The server runs one message as one transaction, so that the lock covers the whole
            // script. With IF NOT EXISTS alone, two nodes that create the same table collide.
            call.run_script(CREATE).await
        })
        .await
    }

    async fn step<T, F>(&self, work: impl FnOnce(Call) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        call::step(&self.pool, self.deadline, |mut call| async move {
            // Checked once: when a later version migrates the tables meanwhile, it keeps the
            // columns that this version knows.
            if !self.is_known.load(Ordering::Relaxed) {
                let rows = call.read(|| sqlx::query(COMMENT)).await?;
                let version = row::text(&rows, "comment")?.and_then(|text| schema_version(&text));
                if let Some(version) = version.filter(|version| *version > SCHEMA_VERSION) {
                    return Err(newer(version));
                }
                self.is_known.store(true, Ordering::Relaxed);
            }
            work(call).await
        })
        .await
    }

    async fn run<'q>(
        &self,
        statement: impl Fn() -> Statement<'q> + Send + Sync,
    ) -> Result<Vec<PgRow>, StoreError> {
        self.step(|mut call| async move { call.run(statement).await }).await
    }

    async fn read<'q>(
        &self,
        statement: impl Fn() -> Statement<'q> + Send + Sync,
    ) -> Result<Vec<PgRow>, StoreError> {
        self.step(|mut call| async move { call.read(statement).await }).await
    }
}

/// Parses the version in a table's comment: `kippu schema 3`, and text that the operator may have
/// added. Returns `None` for any other comment.
fn schema_version(comment: &str) -> Option<u32> {
    let version = comment.strip_prefix("kippu schema ")?;
    let end = version.find(|symbol: char| !symbol.is_ascii_digit()).unwrap_or(version.len());
    version.get(..end)?.parse().ok()
}

/// Loads a record. The server returns a row with the first column even if there is no record.
async fn load(call: &mut Call, id: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
    let rows = call
        .read(|| {
            sqlx::query(concat!(
                "SELECT pg_is_in_recovery() AS in_recovery, ",
                columns!(),
                " FROM (SELECT) AS server LEFT JOIN kippu_sessions ON id = $1"
            ))
            .bind(id.as_bytes().as_slice())
        })
        .await?;
    rows.first().map_or(Ok(None), row::record)
}

impl RefreshStore for PostgresStore {
    async fn insert(&self, request: &InsertRequest) -> Result<InsertOutcome, StoreError> {
        self.step(|call| insert(call, request)).await
    }

    async fn load(&self, id: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
        self.step(|mut call| async move { load(&mut call, id).await }).await
    }

    async fn rotate(&self, request: &RotateRequest) -> Result<RotateOutcome, StoreError> {
        self.step(|call| rotate(call, request.clone())).await
    }

    async fn revoke(
        &self,
        id: &SessionId,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        // The update may wait for a purge, and find nothing where the statement's snapshot has a
        // record. So only a record that was revoked before is not logged.
        let rows = self
            .run(|| {
                sqlx::query(
                    "WITH ended AS ( \
                         UPDATE kippu_sessions SET revoked_at = $2, revoked_reason = $3 \
                         WHERE id = $1 AND revoked_at IS NULL RETURNING id \
                     ), unknown AS ( \
                         INSERT INTO kippu_ended (id) \
                         SELECT $1 WHERE NOT EXISTS (SELECT FROM ended) AND NOT EXISTS ( \
                             SELECT FROM kippu_sessions WHERE id = $1 AND revoked_at IS NOT NULL \
                         ) \
                     ) SELECT id FROM ended",
                )
                .bind(id.as_bytes().as_slice())
                .bind(now.get())
                .bind(reason.as_str())
            })
            .await?;
        Ok(!rows.is_empty())
    }

    /// A rotation in flight locks its row. This step waits for it, and then revokes the rotated
    /// session.
    async fn revoke_subject(
        &self,
        subject: &str,
        keep: Option<&SessionId>,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<u64, StoreError> {
        if !row::can_be_stored(subject) {
            return Ok(0);
        }
        let rows = self
            .run(|| {
                sqlx::query(
                    "WITH ended AS ( \
                         UPDATE kippu_sessions SET revoked_at = $3, revoked_reason = $4 \
                         WHERE subject = $1 AND id IS DISTINCT FROM $2 AND revoked_at IS NULL \
                         RETURNING id \
                     ) SELECT count(*) FROM ended",
                )
                .bind(subject)
                .bind(keep.map(|id| id.as_bytes().as_slice()))
                .bind(now.get())
                .bind(reason.as_str())
            })
            .await?;
        row::count(&rows)
    }

    async fn list(&self, request: &ListRequest) -> Result<Vec<SessionRecord>, StoreError> {
        if !row::can_be_stored(&request.subject) {
            return Ok(Vec::new());
        }
        let rows = self
            .read(|| {
                sqlx::query(concat!(
                    "SELECT pg_is_in_recovery() AS in_recovery, ",
                    columns!(),
                    " FROM (SELECT) AS server LEFT JOIN kippu_sessions \
                     ON subject = $1 AND revoked_at IS NULL \
                     AND expires_at > $2 AND absolute_expires_at > $2 \
                     AND ($3::bigint IS NULL OR (created_at, id) > ($3, $4)) \
                     ORDER BY created_at, id LIMIT $5"
                ))
                .bind(request.subject.as_str())
                .bind(request.now.get())
                .bind(request.after.map(|after| after.created_at.get()))
                .bind(request.after.as_ref().map(|after| after.id.as_bytes().as_slice()))
                // At least one row, because its first column shows whether this is the primary.
                .bind(i64::from(request.limit.max(1)))
            })
            .await?;
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        rows.iter().filter_map(|row| row::record(row).transpose()).take(limit).collect()
    }

    /// Reads the table from a random place, in portions, until it has removed enough or half of the
    /// deadline has passed. It skips the rows that other transactions have locked, and waits for no
    /// lock.
    async fn purge_expired(&self, now: UnixMillis, limit: u32) -> Result<u64, StoreError> {
        // The other half of the deadline is for the portion that is running then.
        let (began, enough) = (Instant::now(), self.deadline / 2);
        let (now, limit) = (now.get(), u64::from(limit));
        self.step(|mut call| async move {
            let rows = call.read(|| sqlx::query(PORTIONS).bind(PORTION)).await?;
            let (portions, first) = (row::number(&rows, "portions")?, row::number(&rows, "first")?);
            let mut removed = 0;
            for portion in (first..portions).chain(0..first) {
                let from = format!("({},0)", portion * PORTION);
                // The table may have grown.
                let is_last = portion + 1 == portions;
                let to = if is_last { u32::MAX.into() } else { (portion + 1) * PORTION };
                let to = format!("({to},0)");
                let left = i64::try_from(limit.saturating_sub(removed)).unwrap_or(i64::MAX);
                let purge = || sqlx::query(PURGE).bind(now).bind(left).bind(&*from).bind(&*to);
                removed += row::count(&call.run(purge).await?)?;
                if removed >= limit || began.elapsed() > enough {
                    break;
                }
            }
            Ok(removed)
        })
        .await
    }

    /// Needs only the right to read `kippu_ended`.
    async fn ended_after(&self, cursor: &EndedCursor) -> Result<EndedPage, StoreError> {
        let cursor = str::from_utf8(cursor.as_bytes()).ok();
        let (server, snapshot) =
            cursor.and_then(|cursor| cursor.split_once('/')).unwrap_or_default();
        let rows = self.read(|| sqlx::query(ENDED_AFTER).bind(server).bind(snapshot)).await?;
        row::ended(&rows)
    }

    /// Removes the oldest entries in batches, until none is left or half of the deadline has
    /// passed.
    async fn trim_ended(&self, kept_for: Duration) -> Result<u64, StoreError> {
        // The other half of the deadline is for the portion that is running then.
        let (began, enough) = (Instant::now(), self.deadline / 2);
        // 2^52 milliseconds is longer than any log is kept, and the subtraction does not overflow.
        let kept_for = i64::try_from(kept_for.as_millis()).unwrap_or(i64::MAX).min(1 << 52);
        self.step(|mut call| async move {
            let mut removed = 0;
            loop {
                let portion = row::count(&call.run(|| sqlx::query(TRIM).bind(kept_for)).await?)?;
                removed += portion;
                if portion == 0 || began.elapsed() > enough {
                    return Ok(removed);
                }
            }
        })
        .await
    }
}

impl CompareAndSwap for PostgresStore {
    async fn swap(&self, seen: &SessionRecord, change: &Change) -> Result<bool, StoreError> {
        let id = seen.id.as_bytes().as_slice();
        let seen = row::generation(seen.generation)?;
        let rows = match change {
            Change::Advance { generation, kid, rotated_at, expires_at, auth_time, data } => {
                let generation = row::generation(*generation)?;
                self.run(|| {
                    sqlx::query(
                        "UPDATE kippu_sessions \
                         SET generation = $3, kid = $4, rotated_at = $5, expires_at = $6, \
                         auth_time = COALESCE($7, auth_time), data = COALESCE($8, data) \
                         WHERE id = $1 AND generation = $2 AND revoked_at IS NULL RETURNING id",
                    )
                    .bind(id)
                    .bind(seen)
                    .bind(generation)
                    .bind(kid.as_str())
                    .bind(rotated_at.get())
                    .bind(expires_at.get())
                    .bind(auth_time.map(UnixMillis::get))
                    .bind(data.as_ref().map(SessionData::as_bytes))
                })
                .await?
            }
            Change::Reauthenticate { auth_time, data } => {
                self.run(|| {
                    sqlx::query(rotate::REAUTHENTICATE)
                        .bind(id)
                        .bind(seen)
                        .bind(auth_time.get())
                        .bind(data.as_ref().map(SessionData::as_bytes))
                })
                .await?
            }
            Change::Revoke { at, reason } => {
                self.run(|| {
                    sqlx::query(
                        "UPDATE kippu_sessions SET revoked_at = $3, revoked_reason = $4 \
                         WHERE id = $1 AND generation = $2 AND revoked_at IS NULL RETURNING id",
                    )
                    .bind(id)
                    .bind(seen)
                    .bind(at.get())
                    .bind(reason.as_str())
                })
                .await?
            }
        };
        Ok(!rows.is_empty())
    }
}
