//! Keeps sessions in tables of MariaDB or MySQL: one row for each session, one transaction for each
//! step. A step succeeds once the server has committed it, and only a primary may; otherwise it
//! fails at its deadline or before.

mod call;
mod dialect;
mod ended;
mod fault;
mod insert;
mod late;
mod purge;
mod rotate;
mod row;

use std::{future::Future, sync::Arc, time::Duration};

use kippu::session::{
    RefreshStore, RevokeReason, SessionId, SessionRecord, StoreError, UnixMillis,
    rotation::{RotateOutcome, RotateRequest},
    store::{EndedCursor, EndedPage, InsertOutcome, InsertRequest, ListRequest},
};
use sqlx::{MySqlPool, mysql::MySqlConnectOptions};

use self::{
    call::{Call, repeated},
    dialect::{HOLD_SUBJECT, IS_FROZEN, IS_THERE, LIST, LOAD, TABLES, VERSION_OF},
    fault::{corrupt, no_url},
    purge::Position,
};

/// Stores sessions in the tables `kippu_sessions`, `kippu_ended` and `kippu_state` of a MariaDB or
/// MySQL database.
///
/// The tests run with MariaDB 10.11 and newer. MySQL 8.0.16 or newer is supported according to its
/// manual, but not tested.
///
/// ```no_run
/// use std::time::Duration;
/// use kippu_sqlx::MySqlStore;
/// use sqlx::mysql::MySqlPoolOptions;
///
/// # async fn start(url: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let pool = MySqlPoolOptions::new().max_connections(16).connect(url).await?;
/// // The longest time that a login waits for a server that does not answer:
/// let store = MySqlStore::new(pool).with_deadline(Duration::from_secs(2));
/// store.create_schema().await?;
/// # Ok(())
/// # }
/// ```
///
/// The store uses a pool that the application already has, and holds no connection between two
/// calls. It stores and compares texts as bytes, independent of the server's character sets and
/// collations.
///
/// # Rights
/// A user that does not own the tables needs `SELECT, INSERT, UPDATE, DELETE` on `kippu_sessions`
/// and `kippu_ended`, and `SELECT, UPDATE` on `kippu_state`. A verifier that only follows the ended
/// sessions needs `SELECT` on `kippu_ended` and `kippu_state`.
/// [`create_schema`](Self::create_schema) needs `CREATE`, and `INSERT` on `kippu_state`.
///
/// MySQL 8 accepts a password only over TLS or encrypted with RSA. Enable a `tls` feature of sqlx,
/// or its feature `mysql-rsa`.
///
/// # Durability
///
/// The store returns from a step after its commit; the settings of the server decide what a crash
/// can lose. With `innodb_flush_log_at_trx_commit = 1`, the default of both servers, every
/// acknowledged step survives a crash of the server. With `sync_binlog = 1`, such a step also
/// reaches the replicas after a crash. With 0 or 2 the steps of the last second can be lost: a lost
/// revocation is not noticed, and [`AheadPolicy`](kippu::session::rotation::AheadPolicy) decides
/// about the token of a lost rotation. The store does not check these settings. A failover to a
/// replica that lagged behind loses the steps that the replica had not received. Semi-synchronous
/// replication with `rpl_semi_sync_master_wait_point = AFTER_SYNC` keeps them.
///
/// `binlog_format` has to be `ROW` or `MIXED`. With `STATEMENT` a replica would compute the times
/// of rotations from its own clock.
///
/// The grace period of a rotation begins when the row changes: the statement measures how long it
/// waited for locks, as `SYSDATE(6) - NOW(6)`. A server that runs with `sysdate-is-now` cannot
/// measure that, and the store returns [`Misconfigured`]. If the answer takes longer than an eighth
/// of the grace period, for example because a replica stalls the commit, the store corrects the
/// time of the rotation right after it. It also does so for up to a minute after the caller has
/// gone or the deadline has passed.
///
/// # Which server
/// Only the primary may answer, because a replica may not have received the last logouts. Every
/// read also selects `read_only` and `innodb_read_only`. If one of them is on, or if the server
/// rejects a write (errors 1290, 1792 and 1836), the store closes the connection and the idle ones
/// in the pool, and returns [`Unavailable`]. The next call opens a new connection. The application
/// therefore recovers from a failover without a restart, as soon as the address leads to the new
/// primary.
///
/// Every replica has to run with `read_only = 1` in its configuration file, so that an old primary
/// that comes back is also read-only. The store cannot recognize a replica without it. The store's
/// user must not have `READ_ONLY ADMIN` (`SUPER` before MariaDB 10.11, `CONNECTION_ADMIN` in
/// MySQL): with it, a replica accepts writes of this user. The store's statements check `read_only`
/// and change nothing even then.
///
/// With several primaries (Galera, group replication), all nodes of the application must write to
/// the same one, because each server knows only its own locks.
///
/// # Deadline
///
/// Each step ends within 3 seconds ([`DEFAULT_DEADLINE`](Self::DEFAULT_DEADLINE)), or within the
/// time that [`with_deadline`](Self::with_deadline) sets. This includes the wait for a connection,
/// the statements, their repetitions and the commit. After the deadline the step returns
/// [`Unavailable`]. If the store had sent the statement, the step may have happened, or may happen
/// later, when the server gets the lock that it waits for. The caller can repeat every step.
///
/// If the server ends a step because of a deadlock, or because it waited longer than
/// `innodb_lock_wait_timeout`, the store repeats it up to eight times within the deadline. Then it
/// returns [`Contention`](kippu::session::StoreErrorKind::Contention).
///
/// If the caller has gone, or the server did not answer in time, the store closes the connection
/// without waiting for the server. The server still executes a statement that waits for a lock. Set
/// `innodb_lock_wait_timeout` and `lock_wait_timeout` slightly above the deadline to end it.
///
/// # A limit of sessions
/// A login without a limit is one statement. A login with a limit takes a lock with `GET_LOCK`,
/// counts, adds the session and releases the lock. These are four statements, during which other
/// logins of the same subject wait.
///
/// # The log of ended sessions
/// Each revocation takes the next number from the row of `kippu_state`, and locks that row until
/// its commit. The numbers are therefore in the order of the commits, and a reader misses none. The
/// store sends the last statements in one message, so that it holds the row lock for no round trip.
/// A proxy in between has to support several statements in one message.
///
/// # Space
///
/// A session takes about 400 bytes with its indexes. A rotation changes no index, so no index
/// contains the end of a session. [`purge_expired`](RefreshStore::purge_expired) therefore reads
/// the table in the order of the ids, 10,000 rows at a time. It starts where the previous call
/// stopped, and ends when it has removed enough or half of the deadline has passed. Call it every
/// few minutes with a limit of thousands. It removes only sessions that have also ended by the
/// server's clock, so that a host whose clock is ahead removes no live session.
///
/// [`Misconfigured`]: kippu::session::StoreErrorKind::Misconfigured
/// [`Unavailable`]: kippu::session::StoreErrorKind::Unavailable
#[derive(Clone, Debug)]
pub struct MySqlStore {
    pool: MySqlPool,
    deadline: Duration,
    /// The id where the next purge begins.
    position: Arc<Position>,
}

impl MySqlStore {
    /// The script that creates the tables, for applications that run their migrations themselves.
    /// Running it again changes nothing.
    pub const SCHEMA: &str = dialect::SCHEMA;

    /// The deadline of each step, unless [`with_deadline`](Self::with_deadline) sets another: 3
    /// seconds.
    pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(3);

    /// Makes a store in the database of this pool.
    pub fn new(pool: MySqlPool) -> Self {
        let position = Arc::new(Position::random());
        Self { pool, deadline: Self::DEFAULT_DEADLINE, position }
    }

    /// Connects to `mysql://user:password@host/database`, with a pool of 10 connections.
    ///
    /// # Errors
    /// [`Misconfigured`] when the URL is invalid, or the server rejects the user or the password.
    /// No error shows the URL. [`Unavailable`] when the server is read-only, or does not answer
    /// within [`DEFAULT_DEADLINE`](Self::DEFAULT_DEADLINE).
    ///
    /// [`Misconfigured`]: kippu::session::StoreErrorKind::Misconfigured
    /// [`Unavailable`]: kippu::session::StoreErrorKind::Unavailable
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        // The driver's parser accepts any scheme.
        if !["mysql://", "mariadb://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(no_url());
        }
        // The parser's error is dropped: it could show a part of the URL, which contains a
        // password.
        let options: MySqlConnectOptions = url.parse().map_err(|_| no_url())?;
        let store = Self::new(MySqlPool::connect_lazy_with(options));
        store.step(async |mut call| call.read(sqlx::query(dialect::CHECK)).await).await?;
        Ok(store)
    }

    /// Limits each step to `deadline` instead of [`DEFAULT_DEADLINE`](Self::DEFAULT_DEADLINE). If
    /// the pool's `acquire_timeout` is shorter, it ends the wait for a connection earlier. With a
    /// deadline of zero every step fails before it reaches the server.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Creates the tables that are missing. Any number of nodes may do so concurrently. If all
    /// tables exist, it only reads.
    ///
    /// # Errors
    /// [`Misconfigured`](kippu::session::StoreErrorKind::Misconfigured) when the user may not
    /// create tables, or when a newer version of this crate has changed them; and the errors of
    /// connecting to the server.
    pub async fn create_schema(&self) -> Result<(), StoreError> {
        self.step(|mut call| async move {
            let rows = call.read(sqlx::query(TABLES)).await?;
            let count: i64 = row::column(rows.first().ok_or_else(corrupt)?, "count")?;
            if count < 3 || call.fetch(sqlx::query(VERSION_OF)).await?.is_empty() {
                call.run_script(Self::SCHEMA).await?;
            }
            call.read(sqlx::query(VERSION_OF)).await?;
            is_measurable(&mut call).await
        })
        .await
    }

    async fn step<T, F>(&self, work: impl FnOnce(Call) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        call::step(&self.pool, self.deadline, work).await
    }
}

/// Fails if `SYSDATE` does not advance during a statement, because then no wait can be measured.
async fn is_measurable(call: &mut Call) -> Result<(), StoreError> {
    let rows = call.fetch(sqlx::query(IS_FROZEN)).await?;
    match row::column::<i64>(rows.first().ok_or_else(corrupt)?, "is_frozen")? {
        0 => Ok(()),
        _ => Err(fault::frozen()),
    }
}

/// Loads a record.
async fn load(call: &mut Call, id: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
    let rows = call.read(sqlx::query(LOAD).bind(id.as_bytes().as_slice())).await?;
    let row = rows.first().ok_or_else(corrupt)?;
    // `SYSDATE` of a coarse clock may equal `NOW` in a statement as short as this one.
    if row::column::<i64>(row, "is_frozen")? != 0 {
        is_measurable(call).await?;
    }
    row::record(row)
}

/// Revokes a session. If it does not exist, its id is still logged: its access token may be valid.
async fn revoke(
    call: &mut Call,
    id: &SessionId,
    reason: RevokeReason,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let is_revoked = call.begin_with(&dialect::revoke(id, now, reason)).await? > 0;
    if !is_revoked {
        let rows = call.read(sqlx::query(IS_THERE).bind(id.as_bytes().as_slice())).await?;
        if row::id(rows.first().ok_or_else(corrupt)?)?.is_some() {
            call.roll_back().await?;
            return Ok(false);
        }
    }
    ended::commit(call, &[id.as_bytes().to_vec()]).await?;
    Ok(is_revoked)
}

/// Revokes the sessions that a subject has. A login that commits meanwhile counts as a later one.
async fn revoke_subject(
    call: &mut Call,
    subject: &str,
    keep: Option<&SessionId>,
    reason: RevokeReason,
    now: UnixMillis,
) -> Result<u64, StoreError> {
    // The statements below check the server only where they find a session. Without sessions, a
    // replica would answer, too.
    call.read(sqlx::query(VERSION_OF)).await?;
    call.begin().await?;
    let rows = call.fetch(sqlx::query(HOLD_SUBJECT).bind(subject.as_bytes())).await?;
    let mut ids = row::ids(&rows)?;
    ids.retain(|id| keep.is_none_or(|keep| keep.as_bytes().as_slice() != id));
    if ids.is_empty() {
        call.roll_back().await?;
        return Ok(0);
    }
    for ids in ids.chunks(1000) {
        call.execute_text(dialect::revoke_held(ids, now, reason)).await?;
    }
    ended::commit(call, &ids).await?;
    Ok(u64::try_from(ids.len()).unwrap_or(u64::MAX))
}

impl RefreshStore for MySqlStore {
    async fn insert(&self, request: &InsertRequest) -> Result<InsertOutcome, StoreError> {
        self.step(|call| insert::insert(call, request.clone())).await
    }

    async fn load(&self, id: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
        self.step(|mut call| async move { load(&mut call, id).await }).await
    }

    async fn rotate(&self, request: &RotateRequest) -> Result<RotateOutcome, StoreError> {
        self.step(|call| rotate::rotate(call, request.clone())).await
    }

    async fn revoke(
        &self,
        id: &SessionId,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        self.step(|mut call| async move { repeated!(call, revoke(&mut call, id, reason, now)) })
            .await
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
        self.step(|mut call| async move {
            repeated!(call, revoke_subject(&mut call, subject, keep, reason, now))
        })
        .await
    }

    async fn list(&self, request: &ListRequest) -> Result<Vec<SessionRecord>, StoreError> {
        // Without a cursor, the list starts before the first possible session.
        let (time, id) = request
            .after
            .map_or((i64::MIN, [0; 16]), |after| (after.created_at.get(), *after.id.as_bytes()));
        let now = request.now.get();
        self.step(|mut call| async move {
            let statement = sqlx::query(LIST)
                .bind(request.subject.as_bytes())
                .bind(now)
                .bind(now)
                .bind(time)
                .bind(time)
                .bind(id.as_slice())
                // At least one row, because its first column shows the state of the server.
                .bind(i64::from(request.limit.max(1)));
            let rows = call.read(statement).await?;
            let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
            rows.iter().take(limit).filter_map(|row| row::record(row).transpose()).collect()
        })
        .await
    }

    /// Skips the rows that other transactions have locked: it waits for no lock.
    async fn purge_expired(&self, now: UnixMillis, limit: u32) -> Result<u64, StoreError> {
        let enough = self.deadline / 2;
        self.step(|call| purge::purge(call, &self.position, now, limit, enough)).await
    }

    /// Needs only the right to read `kippu_ended` and `kippu_state`.
    async fn ended_after(&self, cursor: &EndedCursor) -> Result<EndedPage, StoreError> {
        self.step(|call| ended::after(call, cursor)).await
    }

    /// Removes the oldest entries in batches, until none is left or half of the deadline has
    /// passed.
    async fn trim_ended(&self, kept_for: Duration) -> Result<u64, StoreError> {
        let enough = self.deadline / 2;
        self.step(|call| ended::trim(call, kept_for, enough)).await
    }
}
