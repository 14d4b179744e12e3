//! Messages by which verifiers read the log of ended sessions at once. The log is read without them too: a message that is
//! lost costs time, and nothing else.

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

/// How long an attempt to connect may take, and an answer.
const ATTEMPT: Duration = Duration::from_secs(3);

/// How often a connection without messages is tried out: a server may be gone without a word.
const CHECK: Duration = Duration::from_secs(10);

/// The pause before another attempt to connect.
const PAUSE: Duration = Duration::from_millis(500);

/// The least time between two readings, however many sessions end.
const GAP: Duration = Duration::from_millis(10);

/// The same in a cluster, where a reading takes 1,024 steps.
const CLUSTER_GAP: Duration = Duration::from_millis(200);

impl<C> RedisStore<C> {
    /// Sends a message in each step that ends a session, for [`wake`](RedisStore::wake) and [`wake_over`](Self::wake_over) on
    /// the verifiers. Off unless this is called.
    ///
    /// The message is empty, and its channel is `kippu:ended`. The step publishes it, so that a user of an access control list
    /// needs `+publish &kippu:ended`: without these, no session can be ended. In a cluster each message goes to all nodes,
    /// and what it announces is read by 1,024 small steps: use it there where a few sessions end in a second.
    #[must_use]
    pub fn with_wake_ups(self) -> Self {
        Self { sends_wake_ups: true, ..self }
    }

    /// The channel of the messages; nothing where the steps send none.
    pub(super) fn channel(&self) -> String {
        if self.sends_wake_ups { self.wake_channel() } else { String::new() }
    }

    fn wake_channel(&self) -> String {
        format!("{}:ended", self.prefix)
    }

    /// As [`wake`](RedisStore::wake), for a store over a connection of the application's. It listens to the first of these
    /// servers that it can connect to. Of a cluster, one node that is there is enough, since each message goes to all.
    pub async fn wake_over(self, clients: impl Into<Vec<Client>> + Send, ended: EndedSessions) {
        let (channel, clients) = (self.wake_channel(), clients.into());
        let mut ears = Ears::of(&self);
        drop(self);
        loop {
            for client in &clients {
                let heard = ears.listen(client, &channel, &ended).await;
                ears.note(heard.err());
            }
            sleep(PAUSE).await;
        }
    }
}

impl RedisStore<PrimaryConnection> {
    /// A future that has [`EndedSessions::run`] read the log of ended sessions whenever a message says that it has grown, for
    /// ever: to be spawned beside `run`, and dropped or aborted at the end. It takes a second connection, to the server that
    /// the store is connected to.
    ///
    /// A logout gets to the verifier within milliseconds then, and [`EndedOptions::max_lag`] may be long without making it
    /// slower. The promise stays the same: messages can be lost, and the log is read ten times per `max_lag` without them.
    ///
    /// The stores that end sessions have to [send the messages](RedisStore::with_wake_ups). A user of an access control list needs
    /// `+subscribe &kippu:ended`. After a fault it connects again; a log entry says when it no longer listens, and when it does.
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
        let mut ears = Ears::of(&self);
        loop {
            let heard = match self.connection.client().await {
                Ok(client) => ears.listen(&client, &channel, &ended).await,
                Err(error) => Err(error),
            };
            ears.note(heard.err());
            sleep(PAUSE).await;
        }
    }
}

/// Listens, and says in the log when that begins and ends.
struct Ears {
    is_cluster: Arc<OnceLock<bool>>,
    /// Whether the last attempt came to listen; none before the first.
    heard: Option<bool>,
}

impl Ears {
    fn of<C>(store: &RedisStore<C>) -> Self {
        Self { is_cluster: Arc::clone(&store.is_cluster), heard: None }
    }

    /// Listens until the connection is lost, which it returns without an error where nothing says why.
    async fn listen(
        &mut self,
        client: &Client,
        channel: &str,
        ended: &EndedSessions,
    ) -> RedisResult<()> {
        let news = Arc::new(News::default());
        let pushed = Arc::clone(&news);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ATTEMPT))
            .set_response_timeout(Some(ATTEMPT))
            .set_push_sender(move |push: PushInfo| {
                pushed.take(&push.kind);
                Ok::<_, Infallible>(())
            });
        // The protocol that has messages on a connection beside answers.
        let info = client.get_connection_info();
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.clone().set_redis_settings(settings))?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        loop {
            // Again, it shows that the server is there.
            connection.subscribe(channel).await?;
            if self.heard != Some(true) {
                self.heard = Some(true);
                tracing::info!(target: "kippu::session", channel, "messages say when sessions end");
            }
            // Sessions may have ended before the subscription.
            ended.wake();
            let check_at = Instant::now() + CHECK;
            while timeout_at(check_at, news.any.notified()).await.is_ok() {
                if news.is_lost.load(Ordering::Acquire) {
                    return Ok(());
                }
                ended.wake();
                let is_cluster = self.is_cluster.get().is_some_and(|is_cluster| *is_cluster);
                sleep(if is_cluster { CLUSTER_GAP } else { GAP }).await;
            }
        }
    }

    fn note(&mut self, error: Option<RedisError>) {
        if self.heard != Some(false) {
            self.heard = Some(false);
            let error = error.map(|error| fault(error).to_string());
            let error = error.as_deref().unwrap_or("the connection to Redis was lost");
            tracing::warn!(target: "kippu::session", error, "no messages say when sessions end: the log is read without them");
        }
    }
}

/// The messages of a connection. Those that the listener has not read yet count as one.
#[derive(Default)]
struct News {
    any: Notify,
    is_lost: AtomicBool,
}

impl News {
    fn take(&self, kind: &PushKind) {
        match kind {
            PushKind::Message => {}
            PushKind::Disconnection => self.is_lost.store(true, Ordering::Release),
            _ => return,
        }
        self.any.notify_one();
    }
}
