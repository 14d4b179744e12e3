//! One step of the store: a connection of the pool, what is asked on it, and the deadline. A connection whose state is
//! unknown, or whose server is not the primary, never goes back into the pool.

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
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};

use super::{
    fault::{self, fault},
    late::Late,
    row,
};

pub(super) type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// How often a statement is repeated after a conflict. Under READ COMMITTED only a deadlock is left as a
/// reason, and no two statements of the store often lock several rows in different orders.
pub(super) const RETRIES: usize = 4;

/// How long a connection may take to return to the pool. The driver asks the server first whether it is alive, and
/// waits for the answer without a limit.
const RETURN: Duration = Duration::from_secs(3);

/// How long the answer to a rotation is awaited after its caller has gone. A longer stall is an outage, which the operator
/// sees.
const SETTLE: Duration = Duration::from_secs(60);

/// The most rotations of the process whose answers are awaited in that way: each of them holds a connection outside the
/// pool.
static SETTLING: Semaphore = Semaphore::const_new(32);

/// Takes a connection of the pool and does `work` on it, within the deadline.
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
    let began = Instant::now();
    // A deadline that the clock cannot reach is none.
    let until = began.checked_add(deadline).unwrap_or_else(|| began + Duration::from_secs(1 << 30));
    let acquired = timeout_at(until, pool.acquire()).await;
    let connection = acquired.unwrap_or(Err(Error::PoolTimedOut)).map_err(|error| {
        if matches!(error, Error::PoolTimedOut) {
            close_idle(pool);
        }
        fault::of_connecting(error)
    })?;
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

/// Closes the connections that wait in the pool. They lead to the same server as one that has just failed, and would fail
/// one call after the other.
fn close_idle(pool: &PgPool) {
    for _ in 0..pool.num_idle() {
        drop(pool.try_acquire().map(PoolConnection::detach));
    }
}

/// A step under way.
pub(super) struct Call {
    pool: PgPool,
    /// None after it was closed.
    connection: Option<PoolConnection<Postgres>>,
    began: Instant,
    until: Instant,
    /// Whether a statement found the row as it was expected, and lost it to another one.
    pub(super) was_overtaken: bool,
    /// Whether the server may still be at work.
    is_asking: bool,
    /// Whether it may be at work on a transaction, which the driver would leave open if its beginning was cut off.
    is_in_transaction: bool,
    /// The rotation that it may be at work on.
    rotation: Option<Late>,
}

impl Call {
    /// The rows of a statement, once it is committed.
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

    /// The rows of a statement that only reads, of which there is at least one. Its column `in_recovery` is
    /// `pg_is_in_recovery()`: a standby does not refuse to answer, and what it knows is old.
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

    /// The connection, for a transaction of several statements on it, until [`end_transaction`](Self::end_transaction).
    pub(super) fn start_transaction(&mut self) -> Result<&mut PgConnection, Error> {
        self.is_in_transaction = true;
        self.ask()
    }

    /// Notes that the transaction has ended. The driver rolls back what was not committed.
    pub(super) fn end_transaction(&mut self) {
        (self.is_asking, self.is_in_transaction) = (false, false);
    }

    /// Runs a script of several statements, as one transaction.
    pub(super) async fn run_script(&mut self, script: &'static str) -> Result<(), StoreError> {
        let asked = async { sqlx::raw_sql(script).execute(self.ask()?).await }.await;
        self.answered(asked).map(|_| ())
    }

    /// Prepares a statement on this connection, unless that was done before.
    pub(super) async fn prepare(&mut self, statement: &'static str) -> Result<(), StoreError> {
        let statement: Statement<'_> = sqlx::query(statement);
        let asked = async { self.ask()?.prepare(statement.sql()).await }.await;
        self.answered(asked).map(|_| ())
    }

    /// Says that the next statement is a rotation. Returns when the step began.
    pub(super) fn rotating(&mut self, request: &RotateRequest) -> Instant {
        self.rotation = Some(Late::new(request, self.began));
        self.began
    }

    /// Corrects the time of a rotation that was answered late, and returns the new end of the session if it did. The rotation
    /// is made, whatever fails now.
    pub(super) async fn correct(&mut self, stored: UnixMillis) -> Option<UnixMillis> {
        let rotation = self.rotation.as_ref()?;
        let connection = self.connection.as_deref_mut()?;
        self.is_asking = true;
        // After the deadline it is corrected in the background.
        let corrected = timeout_at(self.until, rotation.correct(connection, stored)).await.ok()?;
        self.answered(corrected).ok().flatten()
    }

    async fn fetch(&mut self, statement: Statement<'_>) -> Result<Vec<PgRow>, Error> {
        // All of the answer is read, not one row: a commit can fail after the row was sent.
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

    /// The connection, on which something is asked.
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

    /// Closes the connection, and those that wait in the pool.
    pub(super) fn close(&mut self) {
        // The driver's own way to close one says goodbye first, and waits for a server that may not answer.
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

async fn give_back(mut connection: PoolConnection<Postgres>) {
    // When the time is up, the connection is closed, and its place in the pool is free.
    let _ = timeout(RETURN, connection.return_to_pool()).await;
}

/// Finishes a step that its caller no longer awaits, or whose deadline has passed.
///
/// The connection keeps its place in the pool `until` the deadline, and returns to it if the server has answered by then.
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
    // The first answer is the statement's, which may be an error.
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
