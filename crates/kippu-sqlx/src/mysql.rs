//! Sessions in tables of MariaDB or MySQL: one row a session, a transaction a step. A step is answered once the server, which has
//! to be the primary, has committed it, or with an error at its deadline.

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

/// Sessions in the tables `kippu_sessions`, `kippu_ended` and `kippu_state` of a MariaDB or MySQL database.
///
/// MariaDB 10.11 or newer is what the tests run with. MySQL 8.0.16 or newer is supported as its manual describes it: no test has
/// run with it yet.
///
/// ```no_run
/// use std::time::Duration;
/// use kippu_sqlx::MySqlStore;
/// use sqlx::mysql::MySqlPoolOptions;
///
/// # async fn start(url: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let pool = MySqlPoolOptions::new().max_connections(16).connect(url).await?;
/// // How long a login waits for a server that does not answer:
/// let store = MySqlStore::new(pool).with_deadline(Duration::from_secs(2));
/// store.create_schema().await?;
/// # Ok(())
/// # }
/// ```
///
/// It takes a pool that the application already has, and holds no connection between two calls. Texts are stored as bytes, and
/// compared as bytes, whatever the server's character sets and collations are.
///
/// # Rights
/// A user that does not own the tables needs `SELECT, INSERT, UPDATE, DELETE` on `kippu_sessions` and `kippu_ended`, and
/// `SELECT, UPDATE` on `kippu_state`. A verifier that only follows the ended sessions needs `SELECT` on `kippu_ended` and
/// `kippu_state`. [`create_schema`](Self::create_schema) needs `CREATE`, and `INSERT` on `kippu_state`.
///
/// MySQL 8 takes a password only over TLS or encrypted with RSA. Switch on a `tls` feature of sqlx, or its feature `mysql-rsa`.
///
/// # Durability: as the server's
/// The store answers a step after its commit. With `innodb_flush_log_at_trx_commit = 1`, the default of both servers, every
/// answered step survives a crash of the server, and with `sync_binlog = 1` it reaches the replicas after one, too. With 0 or 2 the
/// steps of the last second can be lost: a lost revocation is not noticed, and
/// [`AheadPolicy`](kippu::session::rotation::AheadPolicy) decides about the token of a lost rotation. The store does not check
/// these settings. A failover to a replica that lagged loses the steps that it had not received. Semi-synchronous replication
/// with `rpl_semi_sync_master_wait_point = AFTER_SYNC` keeps them.
///
/// `binlog_format` has to be `ROW` or `MIXED`. Under `STATEMENT` a replica would calculate the times of rotations by its own clock.
///
/// The grace of a rotation begins with its change: the statement counts how long it waited for locks, by `SYSDATE(6) - NOW(6)`.
/// A server that runs with `sysdate-is-now` cannot do so, and the store answers [`Misconfigured`]. When the answer takes longer than
/// an eighth of the grace, because a replica stalls the commit for example, the store corrects the time of the rotation
/// right after it. It does so for up to a minute after the caller has gone or the deadline has passed.
///
/// # Which server
/// The primary. A replica may not know the last logouts. Every read asks the server for `read_only` and `innodb_read_only` in
/// the same statement. When one of them is on, or when the server refuses to write (errors 1290, 1792 and 1836), the
/// store closes the connection, and those that wait in the pool, and answers [`Unavailable`]. The next call opens a new
/// connection. So the application recovers from a failover without a restart, as soon as the address leads to the new
/// primary.
///
/// Every replica has to run with `read_only = 1`, in its configuration file, so that an old primary that comes back has it
/// too. A server without it is not recognised as a replica. The user needs no `READ_ONLY ADMIN` (`SUPER` before MariaDB
/// 10.11, `CONNECTION_ADMIN` in MySQL): with it, the server takes writes of the user on a replica. The store's
/// statements change nothing there all the same.
///
/// With several primaries (Galera, group replication) let all nodes of the application write to one of them: locks are known to
/// one server alone.
///
/// # When the server is not there
/// Each step ends within 3 seconds ([`DEFAULT_DEADLINE`](Self::DEFAULT_DEADLINE)), or the time that
/// [`with_deadline`](Self::with_deadline) sets: the wait for a connection, the statements, their repetitions and the commit
/// together. Then it answers [`Unavailable`]. If the statement had been sent, the step may have happened, or happen
/// later, when the server gets the lock that it waits for. Every step can be repeated.
///
/// A step that the server ends because of a deadlock, or because it waited longer than `innodb_lock_wait_timeout`, is repeated up
/// to eight times within the deadline. Then it answers [`Contention`](kippu::session::StoreErrorKind::Contention).
///
/// A connection whose caller has gone, or that did not answer in time, is closed without waiting for the server. The server goes
/// on with a statement that waits for a lock. An `innodb_lock_wait_timeout` and a `lock_wait_timeout` a little above the deadline
/// end it.
///
/// # A limit of sessions
/// A login without a limit is one statement. With one, it takes a lock by `GET_LOCK`, counts, adds the session and gives the lock
/// back: four statements, while other logins of the same subject wait.
///
/// # The log of ended sessions
/// Each revocation takes the next number from the row of `kippu_state`, and holds that row until its commit. So the numbers are in
/// the order of the commits, and a reader misses none. It sends the last statements in one message, so that it holds the row
/// for no round trip: a proxy in between has to pass on several statements at once.
///
/// # Room
/// About 400 bytes a session with its indexes. A rotation writes no index, so none holds the end of a session:
/// [`purge_expired`](RefreshStore::purge_expired) reads through the table by the ids, 10,000 at a time, from where the call before
/// it stopped, until it has enough or half of the deadline has passed. Call it every few minutes with a limit of thousands. It
/// removes what has ended by the server's clock too, so that a host whose clock is ahead ends no live session.
///
/// [`Misconfigured`]: kippu::session::StoreErrorKind::Misconfigured
/// [`Unavailable`]: kippu::session::StoreErrorKind::Unavailable
#[derive(Clone, Debug)]
pub struct MySqlStore {
    pool: MySqlPool,
    deadline: Duration,
    /// Where the next purge begins.
    position: Arc<Position>,
}

impl MySqlStore {
    /// The tables, for those who run their migrations themselves. Repeating it changes nothing.
    pub const SCHEMA: &str = dialect::SCHEMA;

    /// The deadline of each step, unless [`with_deadline`](Self::with_deadline) sets another: 3 seconds.
    pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(3);

    /// Keeps sessions in the database of this pool.
    pub fn new(pool: MySqlPool) -> Self {
        let position = Arc::new(Position::random());
        Self { pool, deadline: Self::DEFAULT_DEADLINE, position }
    }

    /// Connects to `mysql://user:password@host/database`, with a pool of 10 connections.
    ///
    /// # Errors
    /// [`Misconfigured`] when the URL is not one, or the server refuses the user or the password; no error shows the URL.
    /// [`Unavailable`] when the server is read-only, or does not answer within
    /// [`DEFAULT_DEADLINE`](Self::DEFAULT_DEADLINE).
    ///
    /// [`Misconfigured`]: kippu::session::StoreErrorKind::Misconfigured
    /// [`Unavailable`]: kippu::session::StoreErrorKind::Unavailable
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        // The driver's parser takes every scheme.
        if !["mysql://", "mariadb://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(no_url());
        }
        // Its error is left out: it could show a part of the URL, which holds a password.
        let options: MySqlConnectOptions = url.parse().map_err(|_| no_url())?;
        let store = Self::new(MySqlPool::connect_lazy_with(options));
        store.step(async |mut call| call.read(sqlx::query(dialect::CHECK)).await).await?;
        Ok(store)
    }

    /// Ends each step within `deadline`, [`DEFAULT_DEADLINE`](Self::DEFAULT_DEADLINE) unless this is called. Where the
    /// pool's `acquire_timeout` is shorter, it ends the wait for a connection earlier. With a deadline of zero every step
    /// fails, and none reaches the server.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Creates the tables where they are missing. Any number of nodes may do so at once. Where they are there it only reads.
    ///
    /// # Errors
    /// [`Misconfigured`](kippu::session::StoreErrorKind::Misconfigured) when the user may not create tables, or when a newer
    /// version of this crate has changed them, and what else connecting to the server can bring.
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

/// Fails where the server's clock stands still during a statement.
async fn is_measurable(call: &mut Call) -> Result<(), StoreError> {
    let rows = call.fetch(sqlx::query(IS_FROZEN)).await?;
    match row::column::<i64>(rows.first().ok_or_else(corrupt)?, "is_frozen")? {
        0 => Ok(()),
        _ => Err(fault::frozen()),
    }
}

/// Reads a record.
async fn load(call: &mut Call, id: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
    let rows = call.read(sqlx::query(LOAD).bind(id.as_bytes().as_slice())).await?;
    let row = rows.first().ok_or_else(corrupt)?;
    // A coarse clock may stand still for as long as this statement took.
    if row::column::<i64>(row, "is_frozen")? != 0 {
        is_measurable(call).await?;
    }
    row::record(row)
}

/// Revokes a session, or logs its id where there is none.
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
    // Without sessions there would be an answer from a replica, too.
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

    /// A rotation under way holds its row; this waits for it, and then revokes what it has become.
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
        // Before the first session, where the list begins with it.
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
                // One row is wanted for what it says of the server.
                .bind(i64::from(request.limit.max(1)));
            let rows = call.read(statement).await?;
            let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
            rows.iter().take(limit).filter_map(|row| row::record(row).transpose()).collect()
        })
        .await
    }

    /// Skips the rows that other transactions hold at the moment: it waits for no lock.
    async fn purge_expired(&self, now: UnixMillis, limit: u32) -> Result<u64, StoreError> {
        let enough = self.deadline / 2;
        self.step(|call| purge::purge(call, &self.position, now, limit, enough)).await
    }

    /// Needs no right but to read `kippu_ended` and `kippu_state`.
    async fn ended_after(&self, cursor: &EndedCursor) -> Result<EndedPage, StoreError> {
        self.step(|call| ended::after(call, cursor)).await
    }

    /// Removes the oldest, in portions, until there are no more or half of the deadline has passed.
    async fn trim_ended(&self, kept_for: Duration) -> Result<u64, StoreError> {
        let enough = self.deadline / 2;
        self.step(|call| ended::trim(call, kept_for, enough)).await
    }
}
