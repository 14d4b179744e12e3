//! Runs one step of the store: a connection of the pool, the statements on it, and the deadline. A
//! connection never goes back into the pool if its state is unknown, if it holds a lock or a
//! transaction, or if its server is not the primary.

use std::{future::Future, time::Duration};

use kippu::session::{StoreError, UnixMillis, rotation::RotateRequest};
use sqlx::{
    AssertSqlSafe, Connection, Error, Execute, Executor, MySql, MySqlConnection, MySqlPool,
    mysql::{MySqlArguments, MySqlQueryResult, MySqlRow},
    pool::PoolConnection,
    query::Query,
};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout, timeout_at},
};

use super::{
    dialect,
    fault::{self, fault},
    late::Late,
    row,
};
use crate::pool::{SETTLE, SETTLING, acquire, close_idle, give_back};

pub(super) type Statement<'q> = Query<'q, MySql, MySqlArguments>;

/// How often a step is repeated after a conflict. Conflicts are rare, because few steps of the
/// store lock several rows in different orders.
const RETRIES: u32 = 8;

/// Takes a connection of the pool and runs `work` on it, within the deadline.
pub(super) async fn step<T, F>(
    pool: &MySqlPool,
    deadline: Duration,
    work: impl FnOnce(Call) -> F,
) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    if deadline.is_zero() {
        return Err(fault::late(deadline));
    }
    let (connection, began, until) = acquire(pool, deadline).await.map_err(fault)?;
    let call = Call {
        pool: pool.clone(),
        connection: Some(connection),
        began,
        until,
        server: Server::Idle,
        is_in_transaction: false,
        holds_lock: false,
        repeated: 0,
        rotation: None,
    };
    timeout_at(until, work(call)).await.unwrap_or_else(|_| {
        close_idle(pool);
        Err(fault::late(deadline))
    })
}

/// Repeats a part of a step after a conflict, up to [`RETRIES`] times.
macro_rules! repeated {
    ($call:ident, $part:expr) => {
        loop {
            let result: Result<_, ::kippu::session::StoreError> = $part.await;
            match result {
                Err(_) if $call.can_repeat().await? => {}
                result => break result,
            }
        }
    };
}
pub(super) use repeated;

/// The state of the server's side of the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Server {
    Idle,
    /// The server may still execute a statement.
    AtWork,
    /// The last statement met a conflict and was undone.
    MetConflict,
}

/// A step in flight.
pub(super) struct Call {
    pool: MySqlPool,
    /// `None` after it was closed.
    connection: Option<PoolConnection<MySql>>,
    began: Instant,
    until: Instant,
    server: Server,
    is_in_transaction: bool,
    /// Whether the connection holds a `GET_LOCK` lock, which lasts until the connection is closed.
    holds_lock: bool,
    repeated: u32,
    /// The rotation that the server may be executing.
    rotation: Option<Late>,
}

impl Call {
    /// Executes a statement that returns no rows. Its changes are committed, or are part of the
    /// open transaction.
    pub(super) async fn execute(
        &mut self,
        statement: Statement<'_>,
    ) -> Result<MySqlQueryResult, StoreError> {
        let asked = async { statement.execute(self.ask()?).await }.await;
        self.answered(asked)
    }

    /// Executes a statement like [`execute`](Self::execute). Also returns an error that the caller
    /// expects, which leaves the connection usable.
    pub(super) async fn try_execute(
        &mut self,
        statement: Statement<'_>,
        is_expected: impl Fn(&Error) -> bool,
    ) -> Result<Result<MySqlQueryResult, Error>, StoreError> {
        match async { statement.execute(self.ask()?).await }.await {
            Err(error) if is_expected(&error) => {
                self.server = Server::Idle;
                Ok(Err(error))
            }
            asked => self.answered(asked).map(Ok),
        }
    }

    /// Executes a statement that the store has composed, without parameters.
    pub(super) async fn execute_text(&mut self, statement: String) -> Result<u64, StoreError> {
        let statement = sqlx::raw_sql(AssertSqlSafe(statement));
        let asked = async { statement.execute(self.ask()?).await }.await;
        self.answered(asked).map(|result| result.rows_affected())
    }

    /// Returns the rows of a statement that the store has composed, without parameters.
    pub(super) async fn fetch_text(
        &mut self,
        statement: String,
    ) -> Result<Vec<MySqlRow>, StoreError> {
        let statement = sqlx::raw_sql(AssertSqlSafe(statement));
        let asked = async { statement.fetch_all(self.ask()?).await }.await;
        self.answered(asked)
    }

    /// Returns the rows of a statement.
    pub(super) async fn fetch(
        &mut self,
        statement: Statement<'_>,
    ) -> Result<Vec<MySqlRow>, StoreError> {
        // Reads the whole answer: after `fetch_one` the driver would still have to skip the rest.
        let asked = async { statement.fetch_all(self.ask()?).await }.await;
        self.answered(asked)
    }

    /// Returns the rows of a statement that only reads, at least one. The first row shows the state
    /// of the server.
    pub(super) async fn read(
        &mut self,
        statement: Statement<'_>,
    ) -> Result<Vec<MySqlRow>, StoreError> {
        let rows = self.fetch(statement).await?;
        let first = rows.first().ok_or_else(fault::no_state)?;
        if let Err(error) = row::check(first) {
            self.close();
            return Err(error);
        }
        Ok(rows)
    }

    /// Runs a script of several statements, each of which is committed.
    pub(super) async fn run_script(&mut self, script: &'static str) -> Result<(), StoreError> {
        let asked = async { sqlx::raw_sql(script).execute(self.ask()?).await }.await;
        self.answered(asked).map(|_| ())
    }

    /// Prepares a statement on this connection, unless it is already prepared.
    pub(super) async fn prepare(&mut self, statement: &'static str) -> Result<(), StoreError> {
        let statement: Statement<'_> = sqlx::query(statement);
        let asked = async { self.ask()?.prepare(statement.sql()).await }.await;
        self.answered(asked).map(|_| ())
    }

    /// Begins a transaction with READ COMMITTED.
    pub(super) async fn begin(&mut self) -> Result<(), StoreError> {
        self.is_in_transaction = true;
        self.run_script(dialect::BEGIN).await
    }

    /// Begins a transaction with READ COMMITTED and a statement that the store has composed.
    /// Returns how many rows the statement has changed.
    pub(super) async fn begin_with(&mut self, statement: &str) -> Result<u64, StoreError> {
        self.is_in_transaction = true;
        self.execute_text(format!("{}; {statement}", dialect::BEGIN)).await
    }

    /// Runs these statements and then commits, in one message.
    pub(super) async fn commit_after(&mut self, statements: &str) -> Result<(), StoreError> {
        self.execute_text(format!("{statements}; COMMIT")).await?;
        self.is_in_transaction = false;
        Ok(())
    }

    pub(super) async fn commit(&mut self) -> Result<(), StoreError> {
        self.run_script("COMMIT").await?;
        self.is_in_transaction = false;
        Ok(())
    }

    pub(super) async fn roll_back(&mut self) -> Result<(), StoreError> {
        self.run_script("ROLLBACK").await?;
        self.is_in_transaction = false;
        Ok(())
    }

    /// Returns whether to repeat the part that has just failed. If so, it has been rolled back.
    pub(super) async fn can_repeat(&mut self) -> Result<bool, StoreError> {
        if self.server != Server::MetConflict || self.repeated >= RETRIES {
            return Ok(false);
        }
        self.repeated += 1;
        if self.is_in_transaction {
            self.roll_back().await?;
        }
        Ok(true)
    }

    /// Sets whether this connection holds a lock, so that it must not go back into the pool.
    pub(super) fn set_holds_lock(&mut self, holds_lock: bool) {
        self.holds_lock = holds_lock;
    }

    /// Returns how long the step may still take.
    pub(super) fn time_left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Notes that the next statement is a rotation. Returns when the step began.
    pub(super) fn rotating(&mut self, request: &RotateRequest) -> Instant {
        self.rotation = Some(Late::new(request, self.began));
        self.began
    }

    /// Corrects the time of a rotation whose answer was late. Returns the new end of the session if
    /// it did. An error is dropped, because the rotation itself has succeeded.
    pub(super) async fn correct(&mut self) -> Option<UnixMillis> {
        let rotation = self.rotation.as_ref()?;
        let connection = self.connection.as_deref_mut()?;
        self.server = Server::AtWork;
        // After the deadline, `settle` corrects it in the background.
        let corrected = timeout_at(self.until, rotation.correct(connection)).await.ok()?;
        self.answered(corrected).ok().flatten()
    }

    /// Notes that there is no rotation to correct.
    pub(super) fn rotated_nothing(&mut self) {
        self.rotation = None;
    }

    /// Returns the connection, for a statement that the caller is about to send.
    fn ask(&mut self) -> Result<&mut MySqlConnection, Error> {
        self.server = Server::AtWork;
        self.connection.as_deref_mut().ok_or(Error::WorkerCrashed)
    }

    fn answered<T>(&mut self, answer: Result<T, Error>) -> Result<T, StoreError> {
        let met_conflict = answer.as_ref().is_err_and(fault::is_conflict);
        self.server = if met_conflict { Server::MetConflict } else { Server::Idle };
        answer.map_err(|error| {
            if fault::spoils(&error) {
                self.close();
            }
            fault(error)
        })
    }

    /// Closes the connection and the idle ones in the pool.
    fn close(&mut self) {
        // The driver's `close` sends COM_QUIT first, and would wait for a server that may not
        // answer.
        drop(self.connection.take().map(PoolConnection::detach));
        close_idle(&self.pool);
    }
}

impl Drop for Call {
    /// Returns the connection to the pool if the server has answered and holds nothing for it.
    /// Otherwise closes it: after a cancelled statement the driver does not always skip the rest of
    /// the answer correctly.
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let runtime = match Handle::try_current() {
            Ok(runtime) if !self.is_in_transaction && !self.holds_lock => runtime,
            _ => return drop(connection.detach()),
        };
        match self.rotation.take() {
            _ if self.server != Server::AtWork => drop(runtime.spawn(give_back(connection))),
            Some(rotation) => drop(runtime.spawn(settle(connection.detach(), rotation))),
            None => drop(connection.detach()),
        }
    }
}

/// Waits for the answer to a rotation whose caller has gone or whose deadline has passed, and
/// corrects its time.
async fn settle(mut connection: MySqlConnection, rotation: Late) {
    if let Ok(_place) = SETTLING.try_acquire() {
        let _ = timeout(SETTLE, finish(&mut connection, &rotation)).await;
    }
}

async fn finish(connection: &mut MySqlConnection, rotation: &Late) -> Result<(), Error> {
    // The first answer belongs to the rotation, and may be an error.
    match connection.ping().await {
        Err(error) if fault::spoils(&error) => return Err(error),
        Err(_) => connection.ping().await?,
        Ok(()) => {}
    }
    rotation.correct(connection).await?;
    Ok(())
}
