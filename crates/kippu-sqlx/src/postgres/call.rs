//! Runs one step of the store: a connection of the pool, the statements on it, and the deadline. A
//! connection never goes back into the pool if its state is unknown, or if its server is not the
//! primary.

use std::{future::Future, time::Duration};

use kippu::session::{StoreError, UnixMillis, rotation::RotateRequest};
use sqlx::{
    Connection, Error, Execute, Executor, PgConnection, PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgArguments, PgRow},
    query::Query,
};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout, timeout_at},
};

use super::{
    fault::{self, fault},
    late::Late,
    row,
};
use crate::pool::{SETTLE, SETTLING, acquire, close_idle, give_back};

pub(super) type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// How often a statement is repeated after a conflict. Under READ COMMITTED only deadlocks remain,
/// which are rare, because few statements of the store lock several rows in different orders.
pub(super) const RETRIES: usize = 4;

/// Takes a connection of the pool and runs `work` on it, within the deadline.
pub(super) async fn step<T, F>(
    pool: &PgPool,
    deadline: Duration,
    work: impl FnOnce(Call) -> F,
) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    if deadline.is_zero() {
        return Err(fault::late(deadline));
    }
    let (connection, began, until) = acquire(pool, deadline).await.map_err(fault::of_connecting)?;
    let call = Call {
        pool: pool.clone(),
        connection: Some(connection),
        began,
        until,
        was_overtaken: false,
        is_asking: false,
        is_in_transaction: false,
        rotation: None,
    };
    timeout_at(until, work(call)).await.unwrap_or_else(|_| {
        close_idle(pool);
        Err(fault::late(deadline))
    })
}

/// A step in flight.
pub(super) struct Call {
    pool: PgPool,
    /// `None` after it was closed.
    connection: Option<PoolConnection<Postgres>>,
    began: Instant,
    until: Instant,
    /// Whether a statement found the row as expected, and another statement changed the row first.
    pub(super) was_overtaken: bool,
    /// Whether the server may still execute a statement.
    is_asking: bool,
    /// Whether the server may execute a transaction. The driver would leave it open if its BEGIN
    /// was cancelled.
    is_in_transaction: bool,
    /// The rotation that the server may be executing.
    rotation: Option<Late>,
}

impl Call {
    /// Returns the rows of a statement, once it is committed.
    pub(super) async fn run<'q>(
        &mut self,
        statement: impl Fn() -> Statement<'q> + Send + Sync,
    ) -> Result<Vec<PgRow>, StoreError> {
        let mut result = self.fetch(statement()).await;
        for _ in 0..RETRIES {
            match result {
                Err(error) if fault::is_conflict(&error) => {
                    self.was_overtaken |= fault::is_lost_row(&error);
                    result = self.fetch_read_committed(statement()).await;
                }
                _ => break,
            }
        }
        self.answered(result)
    }

    /// Returns the rows of a statement that only reads, at least one. Its column `in_recovery` is
    /// `pg_is_in_recovery()`: a standby answers reads, but its data may be outdated.
    pub(super) async fn read<'q>(
        &mut self,
        statement: impl Fn() -> Statement<'q> + Send + Sync,
    ) -> Result<Vec<PgRow>, StoreError> {
        let rows = self.run(statement).await?;
        if row::is(&rows, "in_recovery")? {
            self.close();
            return Err(fault::standby());
        }
        Ok(rows)
    }

    /// Returns the connection for a transaction of several statements, until
    /// [`end_transaction`](Self::end_transaction).
    pub(super) fn start_transaction(&mut self) -> Result<&mut PgConnection, Error> {
        self.is_in_transaction = true;
        self.ask()
    }

    /// Notes that the transaction has ended. The driver rolls it back if it was not committed.
    pub(super) fn end_transaction(&mut self) {
        (self.is_asking, self.is_in_transaction) = (false, false);
    }

    /// Runs a script of several statements, as one transaction.
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

    /// Notes that the next statement is a rotation. Returns when the step began.
    pub(super) fn rotating(&mut self, request: &RotateRequest) -> Instant {
        self.rotation = Some(Late::new(request, self.began));
        self.began
    }

    /// Corrects the time of a rotation whose answer was late. Returns the new end of the session if
    /// it did. An error is dropped, because the rotation itself has succeeded.
    pub(super) async fn correct(&mut self, stored: UnixMillis) -> Option<UnixMillis> {
        let rotation = self.rotation.as_ref()?;
        let connection = self.connection.as_deref_mut()?;
        self.is_asking = true;
        // After the deadline, `settle` corrects it in the background.
        let corrected = timeout_at(self.until, rotation.correct(connection, stored)).await.ok()?;
        self.answered(corrected).ok().flatten()
    }

    async fn fetch(&mut self, statement: Statement<'_>) -> Result<Vec<PgRow>, Error> {
        // Reads the whole answer, not one row: a commit can fail after the server has sent the row.
        let rows = statement.fetch_all(self.ask()?).await;
        self.is_asking = false;
        rows
    }

    async fn fetch_read_committed(
        &mut self,
        statement: Statement<'_>,
    ) -> Result<Vec<PgRow>, Error> {
        let connection = self.start_transaction()?;
        let rows = async {
            let mut transaction =
                connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
            let rows = statement.fetch_all(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(rows)
        };
        let rows = rows.await;
        self.end_transaction();
        rows
    }

    /// Returns the connection, for a statement that the caller is about to send.
    fn ask(&mut self) -> Result<&mut PgConnection, Error> {
        self.is_asking = true;
        self.connection.as_deref_mut().ok_or(Error::WorkerCrashed)
    }

    pub(super) fn answered<T>(&mut self, answer: Result<T, Error>) -> Result<T, StoreError> {
        self.is_asking = false;
        answer.map_err(|error| {
            if fault::spoils(&error) {
                self.close();
            }
            fault(error)
        })
    }

    /// Closes the connection and the idle ones in the pool.
    pub(super) fn close(&mut self) {
        // The driver's `close` sends a Terminate message first, and would wait for a server that
        // may not answer.
        drop(self.connection.take().map(PoolConnection::detach));
        close_idle(&self.pool);
    }
}

impl Drop for Call {
    /// Returns the connection to the pool, once the server has answered.
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let Ok(runtime) = Handle::try_current() else {
            drop(connection.detach());
            return;
        };
        if self.is_asking {
            let until = if self.is_in_transaction { self.began } else { self.until };
            drop(runtime.spawn(settle(connection, until, self.rotation.take())));
        } else {
            drop(runtime.spawn(give_back(connection)));
        }
    }
}

/// Finishes a step whose caller has gone or whose deadline has passed.
///
/// The connection keeps its place in the pool `until` the deadline, and returns to it if the server
/// has answered by then.
async fn settle(mut connection: PoolConnection<Postgres>, until: Instant, rotation: Option<Late>) {
    let finished = timeout_at(until, finish(&mut connection, rotation.as_ref())).await;
    if matches!(finished, Ok(Ok(()))) {
        return give_back(connection).await;
    }
    let mut connection = connection.detach();
    if let (Some(rotation), Ok(_place)) = (rotation, SETTLING.try_acquire()) {
        let _ = timeout(SETTLE, finish(&mut connection, Some(&rotation))).await;
    }
}

async fn finish(connection: &mut PgConnection, rotation: Option<&Late>) -> Result<(), Error> {
    // The first answer belongs to the rotation, and may be an error.
    match connection.ping().await {
        Err(error) if fault::spoils(&error) => return Err(error),
        Err(_) => connection.ping().await?,
        Ok(()) => {}
    }
    if let Some(rotation) = rotation {
        rotation.correct(connection, rotation.from).await?;
    }
    Ok(())
}
