//! Takes a connection of a pool for a step, and returns it, for the stores over a server. Nothing
//! here waits without a limit.

use std::time::Duration;

use sqlx::{Database, Error, Pool, pool::PoolConnection};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};

/// How long a connection may take to return to the pool. The driver pings the server first, and
/// waits for the answer without a limit.
const RETURN: Duration = Duration::from_secs(3);

/// How long the store waits for the answer to a rotation after its caller has gone. A longer stall
/// is an outage that the operator notices.
pub(crate) const SETTLE: Duration = Duration::from_secs(60);

/// The maximum number of rotations of the process whose answers are awaited like that. Each of them
/// holds a connection outside the pool.
pub(crate) static SETTLING: Semaphore = Semaphore::const_new(32);

/// Takes a connection until a deadline that begins now. Returns when it began and when it ends.
pub(crate) async fn acquire<DB: Database>(
    pool: &Pool<DB>,
    deadline: Duration,
) -> Result<(PoolConnection<DB>, Instant, Instant), Error> {
    let began = Instant::now();
    // A deadline beyond the range of the clock counts as unlimited: 34 years.
    let until = began.checked_add(deadline).unwrap_or_else(|| began + Duration::from_secs(1 << 30));
    let acquired = timeout_at(until, pool.acquire()).await.unwrap_or(Err(Error::PoolTimedOut));
    if matches!(acquired, Err(Error::PoolTimedOut)) {
        close_idle(pool);
    }
    acquired.map(|connection| (connection, began, until))
}

/// Closes the idle connections of the pool. They lead to the same server as the one that has just
/// failed, and would fail call after call.
pub(crate) fn close_idle<DB: Database>(pool: &Pool<DB>) {
    for _ in 0..pool.num_idle() {
        drop(pool.try_acquire().map(PoolConnection::detach));
    }
}

pub(crate) async fn give_back<DB: Database>(mut connection: PoolConnection<DB>) {
    // At the timeout the connection is closed, and its place in the pool becomes free.
    let _ = timeout(RETURN, connection.return_to_pool()).await;
}
