//! A connection that hears of ended sessions, so that those who follow them read the log at once and not with the next poll.
//! It makes the lag shorter and nothing else: whatever it misses is in the log.

use std::time::Duration;

use kippu::session::EndedSessions;
use sqlx::{
    Error, PgPool,
    postgres::{PgListener, PgPoolOptions},
};
use tokio::time::{sleep, timeout};

use super::{PostgresStore, fault::fault};

const CHANNEL: &str = "kippu_ended";

/// How long the connection may be silent before the server is asked whether it is still there: a network that swallows
/// everything closes no connection.
const SILENCE: Duration = Duration::from_secs(10);

/// The pause after a message, so that a thousand logouts a second do not have the log read a thousand times.
const PAUSE: Duration = Duration::from_millis(10);

/// The pause before it connects again.
const AGAIN: Duration = Duration::from_secs(1);

impl PostgresStore {
    /// Has `ended` read the log as soon as a session ends, and not with its next poll: a future that never ends, to be
    /// spawned beside [`EndedSessions::run`] and dropped or aborted at the end.
    ///
    /// ```no_run
    /// use kippu::session::{EndedOptions, EndedSessions};
    /// use kippu_sqlx::PostgresStore;
    ///
    /// # async fn follow(store: PostgresStore) {
    /// let ended = EndedSessions::follow(store.clone(), EndedOptions::new());
    /// tokio::spawn(ended.clone().run(tokio::time::sleep));
    /// tokio::spawn(store.listen(ended));
    /// # }
    /// ```
    ///
    /// The operator has to run [`NOTIFY`](Self::NOTIFY) once. Without it nothing is heard, and the log is polled as
    /// always. It makes logouts slower, since PostgreSQL commits transactions that notify one after the other.
    ///
    /// It makes the lag shorter in nearly all cases, and promises nothing: what is not heard is found by the next poll.
    /// After a fault, and when the server has been silent and does not answer, it connects again, once a second.
    ///
    /// It opens one more connection, by the options of the pool. `LISTEN` needs a session:
    /// behind PgBouncer in transaction mode, call this on a store whose pool leads to the server itself.
    pub async fn listen(self, ended: EndedSessions) {
        let options = self.pool.connect_options();
        let mut was_heard = true;
        loop {
            let pool = PgPoolOptions::new()
                .max_connections(1)
                .max_lifetime(None)
                .idle_timeout(None)
                .acquire_timeout(self.deadline)
                .connect_lazy_with((*options).clone());
            let (is_heard, error) = hear(&pool, self.deadline, &ended).await;
            if was_heard || is_heard {
                let error = tracing::field::display(fault(error));
                tracing::warn!(target: "kippu::session", error, "nothing is heard of ended sessions, which are polled for");
            }
            was_heard = is_heard;
            sleep(AGAIN).await;
        }
    }
}

/// Wakes `ended` until the connection fails. Returns whether there was one.
async fn hear(pool: &PgPool, deadline: Duration, ended: &EndedSessions) -> (bool, Error) {
    let connected = timeout(deadline, async {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok(listener)
    });
    let mut listener = match connected.await {
        Ok(Ok(listener)) => listener,
        Ok(Err(error)) => return (false, error),
        Err(_) => return (false, Error::PoolTimedOut),
    };
    loop {
        // Sessions may have ended while there was no connection, or while the network swallowed everything.
        ended.wake();
        sleep(PAUSE).await;
        // Of the messages that came meanwhile, one is enough.
        let mut patience = SILENCE;
        loop {
            match timeout(patience, listener.try_recv()).await {
                Ok(Ok(Some(_))) => patience = Duration::ZERO,
                Ok(Ok(None)) => return (true, Error::WorkerCrashed),
                Ok(Err(error)) => return (true, error),
                Err(_) if patience.is_zero() => break,
                Err(_) => {
                    let ping = sqlx::query("SELECT").execute(&mut listener);
                    match timeout(deadline, ping).await {
                        Ok(Ok(_)) => break,
                        Ok(Err(error)) => return (true, error),
                        Err(_) => return (true, Error::PoolTimedOut),
                    }
                }
            }
        }
    }
}
