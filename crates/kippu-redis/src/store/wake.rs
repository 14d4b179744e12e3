//! Messages that make verifiers read the log of ended sessions at once. Verifiers also read it
//! without them: a lost message only costs time.

use std::{
    convert::Infallible,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kippu::session::EndedSessions;
use redis::{
    AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, PushKind, RedisError, RedisResult,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};

use super::{PrimaryConnection, RedisStore, fault::fault};

/// How long an attempt to connect, and an answer, may take.
const ATTEMPT: Duration = Duration::from_secs(3);

/// How often the listener checks a connection without messages: the server may be gone without
/// having closed it.
const CHECK: Duration = Duration::from_secs(10);

/// The pause before another attempt to connect.
const PAUSE: Duration = Duration::from_millis(500);

/// The minimum time between two readings, however many sessions end.
const GAP: Duration = Duration::from_millis(10);

/// The minimum time in a cluster, where a reading takes 1,024 steps.
const CLUSTER_GAP: Duration = Duration::from_millis(200);

impl<C> RedisStore<C> {
    /// Publishes a message in each step that ends a session, for [`wake`](RedisStore::wake) and
    /// [`wake_over`](Self::wake_over) on the verifiers. The default is off.
    ///
    /// The message is empty, and its channel is `kippu:ended`. The step itself publishes it. A user
    /// of an access control list therefore needs `+publish &kippu:ended`: without it, no session
    /// can be ended. In a cluster each message goes to all nodes, and each verifier then reads the
    /// log with 1,024 small steps: use it only where a few sessions a second end.
    #[must_use]
    pub fn with_wake_ups(self) -> Self {
        Self { sends_wake_ups: true, ..self }
    }

    /// Returns the channel of the messages; empty if the steps send none.
    pub(super) fn channel(&self) -> String {
        if self.sends_wake_ups { self.wake_channel() } else { String::new() }
    }

    fn wake_channel(&self) -> String {
        format!("{}:ended", self.prefix)
    }

    /// Listens like [`wake`](RedisStore::wake), for a store over a connection that the application
    /// made. It listens to the first of these servers that it can connect to. For a cluster, one
    /// node that can be reached is enough, because each message goes to all nodes.
    pub async fn wake_over(self, clients: impl Into<Vec<Client>> + Send, ended: EndedSessions) {
        let (channel, clients) = (self.wake_channel(), clients.into());
        let mut listener = Listener::of(&self);
        drop(self);
        loop {
            for client in &clients {
                let outcome = listener.listen(client, &channel, &ended).await;
                listener.note(outcome.err());
            }
            sleep(PAUSE).await;
        }
    }
}

impl RedisStore<PrimaryConnection> {
    /// Makes [`EndedSessions::run`] read the log of ended sessions whenever a message announces a
    /// new entry. The future never completes: spawn it beside `run`, and drop or abort it at the
    /// end. It opens a second connection, to the server that the store is connected to.
    ///
    /// A logout then gets to the verifier within milliseconds. A long [`EndedOptions::max_lag`] no
    /// longer delays logouts. The guarantee stays the same: messages can be lost, and the verifier
    /// reads the log ten times per `max_lag` without them.
    ///
    /// The stores that end sessions have to [send the messages](RedisStore::with_wake_ups). A user
    /// of an access control list needs `+subscribe &kippu:ended`. After a fault the future connects
    /// again. It logs when it stops listening and when it listens again.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use kippu::session::{EndedOptions, EndedSessions};
    /// use kippu_redis::{RedisStore, redis::Client};
    ///
    /// let store = RedisStore::connect(Client::open("redis://127.0.0.1/")?).await?;
    /// let options = EndedOptions::new().max_lag(Duration::from_secs(5));
    /// let ended = EndedSessions::follow(store.clone(), options);
    /// tokio::spawn(ended.clone().run(tokio::time::sleep));
    /// tokio::spawn(store.wake(ended.clone()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`EndedOptions::max_lag`]: kippu::session::EndedOptions::max_lag
    pub async fn wake(self, ended: EndedSessions) {
        let channel = self.wake_channel();
        let mut listener = Listener::of(&self);
        loop {
            let outcome = match self.connection.client().await {
                Ok(client) => listener.listen(&client, &channel, &ended).await,
                Err(error) => Err(error),
            };
            listener.note(outcome.err());
            sleep(PAUSE).await;
        }
    }
}

/// Listens for messages, and logs when that begins and ends.
struct Listener {
    is_cluster: Arc<OnceLock<bool>>,
    /// Whether the last attempt subscribed; `None` before the first.
    is_listening: Option<bool>,
}

impl Listener {
    fn of<C>(store: &RedisStore<C>) -> Self {
        Self { is_cluster: Arc::clone(&store.is_cluster), is_listening: None }
    }

    /// Listens until the connection is lost. Returns without an error when the driver reports only
    /// the loss.
    async fn listen(
        &mut self,
        client: &Client,
        channel: &str,
        ended: &EndedSessions,
    ) -> RedisResult<()> {
        let messages = Arc::new(Messages::default());
        let pushed = Arc::clone(&messages);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ATTEMPT))
            .set_response_timeout(Some(ATTEMPT))
            .set_push_sender(move |push: PushInfo| {
                pushed.take(&push.kind);
                Ok::<_, Infallible>(())
            });
        // RESP3 delivers messages on the same connection as answers.
        let info = client.get_connection_info();
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.clone().set_redis_settings(settings))?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        loop {
            // Subscribing again shows that the server still answers.
            connection.subscribe(channel).await?;
            if self.is_listening != Some(true) {
                self.is_listening = Some(true);
                tracing::info!(target: "kippu::session", channel, "listening for the messages that sessions have ended");
            }
            // Sessions may have ended before the subscription.
            ended.wake();
            let check_at = Instant::now() + CHECK;
            while timeout_at(check_at, messages.any.notified()).await.is_ok() {
                if messages.is_lost.load(Ordering::Acquire) {
                    return Ok(());
                }
                ended.wake();
                let is_cluster = self.is_cluster.get().is_some_and(|is_cluster| *is_cluster);
                sleep(if is_cluster { CLUSTER_GAP } else { GAP }).await;
            }
        }
    }

    fn note(&mut self, error: Option<RedisError>) {
        if self.is_listening != Some(false) {
            self.is_listening = Some(false);
            let error = error.map(|error| fault(error).to_string());
            let error = error.as_deref().unwrap_or("the connection to Redis was lost");
            tracing::warn!(target: "kippu::session", error, "not listening for the messages that sessions have ended: the log is read without them");
        }
    }
}

/// The messages of a connection. Messages that the listener has not handled yet count as one.
#[derive(Default)]
struct Messages {
    // Stores at most one permit, so that no message is lost and none counts twice.
    any: Notify,
    is_lost: AtomicBool,
}

impl Messages {
    fn take(&self, kind: &PushKind) {
        match kind {
            PushKind::Message => {}
            PushKind::Disconnection => self.is_lost.store(true, Ordering::Release),
            _ => return,
        }
        self.any.notify_one();
    }
}
