//! A connection that receives notifications of ended sessions, so that a verifier reads the log at
//! once instead of with its next poll. It only makes the lag shorter: the log also contains every
//! session whose notification is lost.

use std::time::Duration;

use kippu::session::EndedSessions;
use sqlx::{
    Error, PgPool,
    postgres::{PgListener, PgPoolOptions},
};
use tokio::time::{sleep, timeout};

use super::{PostgresStore, fault::fault};

const CHANNEL: &str = "kippu_ended";

/// How long the connection may be silent before the store pings the server. A network that drops
/// all packets closes no connection.
const SILENCE: Duration = Duration::from_secs(10);

/// The pause after a notification, so that a thousand logouts a second do not cause a thousand
/// readings of the log.
const PAUSE: Duration = Duration::from_millis(10);

/// The pause before connecting again.
const AGAIN: Duration = Duration::from_secs(1);

impl PostgresStore {
    /// Makes `ended` read the log as soon as a session ends, instead of with its next poll. The
    /// future never completes: spawn it beside [`EndedSessions::run`], and drop or abort it at the
    /// end.
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
    /// The operator has to run [`NOTIFY`](Self::NOTIFY) once. Without it no notification arrives,
    /// and the log is polled as usual. With it logouts are slower, because PostgreSQL commits
    /// transactions that notify one after the other.
    ///
    /// Notifications make the lag shorter in nearly all cases, but guarantee nothing: the next poll
    /// finds a session whose notification was lost. After a fault, and when the server has been
    /// silent and does not answer a ping, the future connects again, once a second.
    ///
    /// It opens one more connection, with the options of the pool. `LISTEN` needs a session: behind
    /// PgBouncer in transaction mode, call this on a store whose pool connects directly to the
    /// server.
    pub async fn listen(self, ended: EndedSessions) {
        let options = self.pool.connect_options();
        let mut was_connected = true;
        loop {
            let pool = PgPoolOptions::new()
                .max_connections(1)
                .max_lifetime(None)
                .idle_timeout(None)
                .acquire_timeout(self.deadline)
                .connect_lazy_with((*options).clone());
            let (is_connected, error) = wake_on_notifications(&pool, self.deadline, &ended).await;
            if was_connected || is_connected {
                let error = tracing::field::display(fault(error));
                tracing::warn!(target: "kippu::session", error, "no notifications of ended sessions: the log is polled instead");
            }
            was_connected = is_connected;
            sleep(AGAIN).await;
        }
    }
}

/// Wakes `ended` until the connection fails. Returns whether there was one, and the error.
async fn wake_on_notifications(
    pool: &PgPool,
    deadline: Duration,
    ended: &EndedSessions,
) -> (bool, Error) {
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
        // Sessions may have ended while there was no connection, or while the network dropped
        // packets.
        ended.wake();
        sleep(PAUSE).await;
        // Several notifications that have arrived meanwhile count as one.
        let mut limit = SILENCE;
        loop {
            match timeout(limit, listener.try_recv()).await {
                Ok(Ok(Some(_))) => limit = Duration::ZERO,
                Ok(Ok(None)) => return (true, Error::WorkerCrashed),
                Ok(Err(error)) => return (true, error),
                Err(_) if limit.is_zero() => break,
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
