//! Sessions in a table of PostgreSQL: one row a session, one statement a step. A step is answered once the server
//! has committed it; what the server refuses is told apart by its SQLSTATE.

mod fault;
mod row;

use alloc::vec::Vec;
use core::time::Duration;

use sqlx::{
    PgPool, Postgres,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow},
    query::Query,
};

use self::fault::{fault, is_conflict, no_url};
use super::{CompareAndSwap, InsertOutcome, RefreshStore, StoreError, rotate_by_swapping};
use crate::session::{
    id::SessionId,
    record::{RevokeReason, SessionRecord},
    rotation::{Change, MAX_GENERATION, RotateOutcome, RotateRequest, Successor},
    time::UnixMillis,
};

/// Sessions in the table `kippu_sessions` of a PostgreSQL database, version 12 or newer.
///
/// ```no_run
/// use std::time::Duration;
/// use kippu::session::PostgresStore;
/// use sqlx::postgres::PgPoolOptions;
///
/// # async fn start(url: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let pool = PgPoolOptions::new()
///     .max_connections(16)
///     .acquire_timeout(Duration::from_secs(3)) // how long a login waits for a server that is down
///     .connect(url)
///     .await?;
/// let store = PostgresStore::new(pool);
/// store.create_schema().await?;
/// # Ok(())
/// # }
/// ```
///
/// It takes a pool that the application already has, and holds no connection between two calls. Connections open
/// the table by their `search_path`:
/// `PgConnectOptions::options([("search_path", "auth")])` puts it into the schema `auth`.
///
/// # Durability: as the server's
/// A step is answered after its commit. With `synchronous_commit` on, which is the default, every answered step
/// survives a crash of the server, and with synchronous replication a failover. With it off, or when
/// a replica is promoted that did not replicate synchronously, the last steps before the crash can be lost. A
/// rotation that was lost is met by [`AheadPolicy`](crate::session::rotation::AheadPolicy). A revocation that was
/// lost is not.
///
/// # Which server
/// The primary: a replica lags, and refuses to write ([`Misconfigured`]). A failover needs no restart of the
/// application where the address goes with the primary.
///
/// Through PgBouncer in transaction mode: 1.21 or newer, with `max_prepared_statements` above 0, since sqlx
/// prepares its statements by name, with a `statement_cache_capacity` of 0 as well. It also has to have
/// `ignore_startup_parameters = extra_float_digits`, or the pool `extra_float_digits(None)`. In session mode there
/// is nothing to heed.
///
/// # Isolation
/// Each step is one statement that is right at every isolation level, whatever `default_transaction_isolation`
/// is. Under `repeatable read` and `serializable`, statements that meet in one row fail with 40001, and are repeated
/// in a transaction that is `read committed`, which costs three round trips more: rotations are fastest with the
/// server's default.
///
/// # When the server is not there
/// Calls fail with [`Unavailable`] once the pool's `acquire_timeout` is over, which is the application's to set:
/// sqlx's default of 30 seconds is long for a login page. When the server is back, so is the store.
/// `test_before_acquire`, on by default, has every call ask first whether its connection is alive: off, a rotation is
/// one round trip instead of two, and after a restart of the server each old connection fails a call once.
///
/// # Room
/// About 300 bytes a session with its indexes. A rotation writes no index, so none may hold the end of a session,
/// which moves: [`purge_expired`](RefreshStore::purge_expired) reads through the table until it has enough, a tenth of
/// a second for a million sessions. Call it every few minutes with a limit of thousands, not every second with one of
/// ten.
///
/// [`Misconfigured`]: crate::session::StoreErrorKind::Misconfigured
/// [`Unavailable`]: crate::session::StoreErrorKind::Unavailable
#[derive(Clone, Debug)]
pub struct PostgresStore {
    pool: PgPool,
}

type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// How often a statement is tried again after a conflict. Under READ COMMITTED only a deadlock is left as a
/// reason, and no two statements here often lock several rows in different orders.
const RETRIES: usize = 4;

/// The lock's number is the start of SHA-256("kippu_sessions"), which no other program will use.
const CREATE: &str = concat!(
    "SELECT pg_advisory_xact_lock(x'f3814c3bbdec24a'::bigint);\n",
    include_str!("postgres/schema.sql"),
);

impl PostgresStore {
    /// The table and its index, for those who run their migrations themselves. Repeating it changes nothing.
    pub const SCHEMA: &str = include_str!("postgres/schema.sql");

    /// Sessions in the database of this pool.
    pub const fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Connects to `postgres://user:password@host/database`, with a pool of 10 connections that are waited for 3
    /// seconds at most.
    ///
    /// # Errors
    /// [`Misconfigured`] when the URL is not one, or the server refuses who comes with it; no error shows the URL.
    /// [`Unavailable`] when nobody answers.
    ///
    /// [`Misconfigured`]: crate::session::StoreErrorKind::Misconfigured
    /// [`Unavailable`]: crate::session::StoreErrorKind::Unavailable
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        // The driver's parser takes every scheme.
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(no_url());
        }
        // Its error is left out: it could show a part of the URL, which holds a password.
        let options: PgConnectOptions = url.parse().map_err(|_| no_url())?;
        let pool = PgPoolOptions::new().acquire_timeout(Duration::from_secs(3));
        Ok(Self::new(pool.connect_with(options).await.map_err(fault)?))
    }

    /// Creates the table and its index where they are missing. Any number of nodes may do so at once.
    ///
    /// Where both are there it needs no more rights, and takes no more locks, than to read the catalog.
    ///
    /// # Errors
    /// [`Misconfigured`](crate::session::StoreErrorKind::Misconfigured) when the user may not create tables, and what
    /// else connecting to the server can bring.
    pub async fn create_schema(&self) -> Result<(), StoreError> {
        // CREATE INDEX IF NOT EXISTS would wait for all writers of the table before it looks.
        let there = "SELECT WHERE to_regclass('kippu_sessions') IS NOT NULL \
                     AND to_regclass('kippu_sessions_subject') IS NOT NULL";
        if self.run(|| sqlx::query(there)).await?.is_empty() {
            // One message is one transaction, which holds the lock: IF NOT EXISTS alone lets two nodes collide.
            sqlx::raw_sql(CREATE).execute(&self.pool).await.map_err(fault)?;
        }
        Ok(())
    }

    /// The rows of a statement, once it is committed.
    async fn run<'q>(
        &self,
        statement: impl Fn() -> Statement<'q> + Send + Sync,
    ) -> Result<Vec<PgRow>, StoreError> {
        // All of the answer is read, not one row: a commit can fail after the row was sent.
        let mut result = statement().fetch_all(&self.pool).await;
        for _ in 0..RETRIES {
            match result {
                Err(error) if is_conflict(&error) => {
                    result = self.run_read_committed(statement()).await;
                }
                _ => break,
            }
        }
        result.map_err(fault)
    }

    async fn run_read_committed(
        &self,
        statement: Statement<'_>,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        let mut transaction = self.pool.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
        let rows = statement.fetch_all(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(rows)
    }

    /// The whole of [`RotateRequest::decide`] for the token of a session that is live, which is nearly all of them.
    async fn advance(&self, request: &RotateRequest) -> Result<Option<Successor>, StoreError> {
        if request.generation >= MAX_GENERATION {
            return Ok(None);
        }
        let generation = row::generation(request.generation)?;
        let rows = self
            .run(|| {
                sqlx::query(
                    "UPDATE kippu_sessions SET generation = generation + 1, kid = $3, rotated_at = $5, \
                     expires_at = LEAST($6, absolute_expires_at) \
                     WHERE id = $1 AND generation = $2 AND revoked_at IS NULL \
                     AND expires_at > $4 AND absolute_expires_at > $4 \
                     RETURNING expires_at",
                )
                .bind(request.id.as_bytes().as_slice())
                .bind(generation)
                .bind(request.kid.as_str())
                .bind(request.now.get())
                .bind(request.rotated_at().get())
                .bind(request.idle_end().get())
            })
            .await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(Successor {
            generation: request.generation + 1,
            kid: request.kid.clone(),
            expires_at: row::time(row, "expires_at")?,
        }))
    }
}

impl RefreshStore for PostgresStore {
    async fn insert(&self, session: &SessionRecord) -> Result<InsertOutcome, StoreError> {
        let generation = row::generation(session.generation)?;
        let rows = self
            .run(|| {
                sqlx::query(
                    "INSERT INTO kippu_sessions (id, subject, client, label, created_at, \
                     absolute_expires_at, generation, kid, rotated_at, expires_at, revoked_at, \
                     revoked_reason) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
                     ON CONFLICT (id) DO NOTHING RETURNING id",
                )
                .bind(session.id.as_bytes().as_slice())
                .bind(session.subject.as_str())
                .bind(session.client.as_str())
                .bind(session.label.as_deref())
                .bind(session.created_at.get())
                .bind(session.absolute_expires_at.get())
                .bind(generation)
                .bind(session.kid.as_str())
                .bind(session.rotated_at.get())
                .bind(session.expires_at.get())
                .bind(session.revoked.map(|revoked| revoked.at.get()))
                .bind(session.revoked.map(|revoked| revoked.reason.as_str()))
            })
            .await?;
        let is_new = !rows.is_empty();
        Ok(if is_new { InsertOutcome::Inserted } else { InsertOutcome::Duplicate })
    }

    async fn load(&self, id: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
        let rows = self
            .run(|| {
                sqlx::query(
                    "SELECT id, subject, client, label, created_at, absolute_expires_at, \
                     generation, kid, rotated_at, expires_at, revoked_at, revoked_reason \
                     FROM kippu_sessions WHERE id = $1",
                )
                .bind(id.as_bytes().as_slice())
            })
            .await?;
        rows.first().map(row::record).transpose()
    }

    /// One statement for the token of a live session; reading, deciding and swapping for all others.
    async fn rotate(&self, request: &RotateRequest) -> Result<RotateOutcome, StoreError> {
        match self.advance(request).await? {
            Some(successor) => Ok(RotateOutcome::Rotated(successor)),
            None => rotate_by_swapping(self, request).await,
        }
    }

    async fn revoke(
        &self,
        id: &SessionId,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        let rows = self
            .run(|| {
                sqlx::query(
                    "UPDATE kippu_sessions SET revoked_at = $2, revoked_reason = $3 \
                     WHERE id = $1 AND revoked_at IS NULL RETURNING id",
                )
                .bind(id.as_bytes().as_slice())
                .bind(now.get())
                .bind(reason.as_str())
            })
            .await?;
        Ok(!rows.is_empty())
    }

    /// A rotation under way holds its row; this waits for it, and then revokes what it has become.
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

    async fn list(&self, subject: &str, now: UnixMillis) -> Result<Vec<SessionRecord>, StoreError> {
        if !row::can_be_stored(subject) {
            return Ok(Vec::new());
        }
        let rows = self
            .run(|| {
                sqlx::query(
                    "SELECT id, subject, client, label, created_at, absolute_expires_at, \
                     generation, kid, rotated_at, expires_at, revoked_at, revoked_reason \
                     FROM kippu_sessions \
                     WHERE subject = $1 AND revoked_at IS NULL \
                     AND expires_at > $2 AND absolute_expires_at > $2 \
                     ORDER BY created_at, id",
                )
                .bind(subject)
                .bind(now.get())
            })
            .await?;
        rows.iter().map(row::record).collect()
    }

    /// It passes over the rows that others are changing or removing at the moment, and waits for nobody.
    async fn purge_expired(&self, now: UnixMillis, limit: u32) -> Result<u64, StoreError> {
        let rows = self
            .run(|| {
                sqlx::query(
                    // The rows are chosen in a part of their own, which is run once: within IN (…) the planner may
                    // run it once a row, and remove more than the limit.
                    "WITH over AS ( \
                         SELECT id FROM kippu_sessions \
                         WHERE expires_at <= $1 OR absolute_expires_at <= $1 \
                         LIMIT $2 FOR UPDATE SKIP LOCKED \
                     ), removed AS ( \
                         DELETE FROM kippu_sessions USING over \
                         WHERE kippu_sessions.id = over.id RETURNING kippu_sessions.id \
                     ) SELECT count(*) FROM removed",
                )
                .bind(now.get())
                .bind(i64::from(limit))
            })
            .await?;
        row::count(&rows)
    }
}

impl CompareAndSwap for PostgresStore {
    async fn swap(&self, seen: &SessionRecord, change: &Change) -> Result<bool, StoreError> {
        let id = seen.id.as_bytes().as_slice();
        let seen = row::generation(seen.generation)?;
        let rows = match change {
            Change::Advance { generation, kid, rotated_at, expires_at } => {
                let generation = row::generation(*generation)?;
                self.run(|| {
                    sqlx::query(
                        "UPDATE kippu_sessions \
                         SET generation = $3, kid = $4, rotated_at = $5, expires_at = $6 \
                         WHERE id = $1 AND generation = $2 AND revoked_at IS NULL RETURNING id",
                    )
                    .bind(id)
                    .bind(seen)
                    .bind(generation)
                    .bind(kid.as_str())
                    .bind(rotated_at.get())
                    .bind(expires_at.get())
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
