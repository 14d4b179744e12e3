//! A connection to the server that is the primary now. It is given up when that is lost, falls silent, or is the primary
//! no more, and made again at the next request.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult,
    Value,
    aio::{ConnectionLike, MultiplexedConnection},
    sentinel::SentinelClient,
};
use tokio::{sync::Mutex as Turn, task, time::timeout};

use super::fault::{is_server_error, may_be_superseded};

/// The connection of a [`RedisStore`](super::RedisStore) that connects by itself: to one server, or to the primary that
/// sentinels name.
///
/// Its clones share one connection, which carries the requests of all of them. The connection is closed, and made again
/// for the next request,
/// - when it is lost, or an answer is not Redis's;
/// - when the server answers that it is a replica, waits for its primary, has too few replicas for its `min-replicas-to-write`,
///   or has just started and loads its data: another server may be the primary by then;
/// - when a request was given up, after the store's [deadline](super::RedisStore::with_deadline) for example, and nothing
///   was answered since it was sent: a server that is gone without a word is not waited for until TCP notices.
///
/// Making it asks the sentinels, or resolves the name of the server, again. One request at a time does that, and
/// the others wait for it.
#[derive(Clone)]
pub struct PrimaryConnection(Arc<Shared>);

struct Shared {
    /// The lock of the caller that connects.
    source: Turn<Source>,
    state: Mutex<State>,
}

enum Source {
    Server(Client),
    // Large, and there is one in a store.
    Sentinels(Box<SentinelClient>),
}

#[derive(Default)]
struct State {
    live: Option<Live>,
    /// When the last attempt failed, or found a replica, and why.
    failed: Option<(Instant, RedisError)>,
}

#[derive(Clone)]
struct Live {
    connection: MultiplexedConnection,
    /// How to connect to this server.
    client: Client,
    /// How many requests it has answered.
    answers: Arc<AtomicU64>,
}

/// How long one attempt may take. A server that is gone without a word does not answer at all.
const ATTEMPT: Duration = Duration::from_secs(3);

/// How long a failed attempt counts for those who come after it, so that a server that refuses is not flooded.
const PAUSE: Duration = Duration::from_millis(100);

impl PrimaryConnection {
    pub(super) async fn to_server(client: Client) -> RedisResult<Self> {
        Self::connect(Source::Server(client)).await
    }

    pub(super) async fn by_sentinels(client: SentinelClient) -> RedisResult<Self> {
        Self::connect(Source::Sentinels(Box::new(client))).await
    }

    /// How to connect to the server that is the primary now.
    pub(super) async fn client(&self) -> RedisResult<Client> {
        Ok(self.0.live().await?.client)
    }

    async fn connect(source: Source) -> RedisResult<Self> {
        let new = Self(Arc::new(Shared { source: Turn::new(source), state: Mutex::default() }));
        new.0.live().await?;
        Ok(new)
    }
}

impl fmt::Debug for PrimaryConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrimaryConnection").finish_non_exhaustive()
    }
}

impl ConnectionLike for PrimaryConnection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let mut request = self.0.request().await?;
            let answer = request.live.connection.req_packed_command(command).await;
            request.finish(answer.as_ref().map(std::slice::from_ref));
            answer
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let mut request = self.0.request().await?;
            let connection = &mut request.live.connection;
            let answers = connection.req_packed_commands(pipeline, offset, count).await;
            request.finish(answers.as_deref());
            answers
        })
    }

    fn get_db(&self) -> i64 {
        self.0.state().live.as_ref().map_or(0, |live| live.connection.get_db())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn request(self: &Arc<Self>) -> RedisResult<Request<'_>> {
        let live = self.live().await?;
        let before = live.answers.load(Ordering::Relaxed);
        Ok(Request { shared: self, live, before, is_finished: false })
    }

    /// The connection there is, or a new one.
    async fn live(self: &Arc<Self>) -> RedisResult<Live> {
        let since = Instant::now();
        if let Some(known) = self.known(since) {
            return known;
        }
        // On a separate task, so that a caller that gives up does not undo it.
        let shared = Arc::clone(self);
        match task::spawn(async move { shared.dial(since).await }).await {
            Ok(dialed) => dialed,
            Err(_) => Err((ErrorKind::Io, "the runtime of the connection has ended").into()),
        }
    }

    /// The connection there is, or why there was none to be had after `since` or shortly before.
    fn known(&self, since: Instant) -> Option<RedisResult<Live>> {
        match &*self.state() {
            State { live: Some(live), .. } => Some(Ok(live.clone())),
            State { failed: Some((at, error)), .. } if *at + PAUSE > since => {
                Some(Err(error.clone()))
            }
            _ => None,
        }
    }

    async fn dial(&self, since: Instant) -> RedisResult<Live> {
        let mut source = self.source.lock().await;
        if let Some(known) = self.known(since) {
            return known;
        }
        let dialed = match timeout(ATTEMPT, source.dial()).await {
            Ok(dialed) => dialed,
            Err(_) => Err((ErrorKind::Io, "no connection within three seconds").into()),
        };
        let mut state = self.state();
        match dialed {
            Ok((client, connection)) => {
                let live = Live { connection, client, answers: Arc::default() };
                *state = State { live: Some(live.clone()), failed: None };
                Ok(live)
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Gives up a connection, unless there is another already.
    fn discard(&self, old: &Live, because: Option<RedisError>) {
        let mut state = self.state();
        if state.live.as_ref().is_some_and(|live| Arc::ptr_eq(&live.answers, &old.answers)) {
            state.live = None;
            state.failed = because.map(|error| (Instant::now(), error));
        }
    }
}

impl Source {
    async fn dial(&mut self) -> RedisResult<(Client, MultiplexedConnection)> {
        let client = match self {
            Self::Server(client) => client.clone(),
            Self::Sentinels(client) => client.async_get_client().await?,
        };
        // The store has a deadline, and an attempt its own.
        let config =
            AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok((client, connection))
    }
}

/// A request under way.
struct Request<'s> {
    shared: &'s Shared,
    live: Live,
    /// How many answers there were when it was sent.
    before: u64,
    is_finished: bool,
}

impl Request<'_> {
    fn finish(&mut self, answers: Result<&[Value], &RedisError>) {
        self.is_finished = true;
        let refused = |answer: &Value| match answer {
            Value::ServerError(error) => Some(RedisError::from(error.clone())),
            _ => None,
        };
        match answers {
            Err(error) if !is_server_error(error) => self.shared.discard(&self.live, None),
            Err(error) if may_be_superseded(error) => {
                self.shared.discard(&self.live, Some(error.clone()));
            }
            Ok(answers) => {
                let error = answers.iter().filter_map(refused).find(may_be_superseded);
                if error.is_some() {
                    self.shared.discard(&self.live, error);
                }
            }
            Err(_) => {}
        }
        self.live.answers.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Request<'_> {
    /// Answers come in the order of the requests: without a single one since, nothing shows that the server is there.
    fn drop(&mut self) {
        if !self.is_finished && self.live.answers.load(Ordering::Relaxed) == self.before {
            self.shared.discard(&self.live, None);
        }
    }
}
