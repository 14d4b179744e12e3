//! A connection that is dropped when it is lost, does not answer, or leads to the wrong server. The
//! next request makes a new one.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{
    Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult, Value, aio::ConnectionLike,
};
use tokio::{
    sync::Mutex as Turn,
    task,
    time::{Instant, timeout},
};

use super::fault::{is_server_error, may_be_superseded};

/// A client of the crate `redis` that makes connections.
pub(super) trait Source: Send + 'static {
    type Connection: ConnectionLike + Clone + Send + Sync;

    /// Whether a connection leads to several servers and reconnects to each of them. Such a
    /// connection is dropped only when no server answers.
    const IS_CLUSTER: bool;

    fn dial(&mut self) -> impl Future<Output = RedisResult<Self::Connection>> + Send;
}

/// A connection whose clones share the underlying one, which carries the requests of all of them.
pub(super) struct Renewed<S: Source>(Arc<Shared<S>>);

struct Shared<S: Source> {
    /// Locked by the caller that connects.
    source: Turn<S>,
    state: Mutex<State<S::Connection>>,
}

struct State<C> {
    live: Option<Live<C>>,
    /// When the last attempt failed or found a replica, and the error.
    failed: Option<(Instant, RedisError)>,
}

#[derive(Clone)]
struct Live<C> {
    connection: C,
    /// How many requests this connection has answered. Its address also identifies the connection.
    answers: Arc<AtomicU64>,
}

/// How long one attempt to connect may take. A server that is gone does not refuse the connection:
/// it does not answer at all.
const ATTEMPT: Duration = Duration::from_secs(3);

/// How long later callers get the error of a failed attempt, so that they do not flood a server
/// that refuses connections.
const PAUSE: Duration = Duration::from_millis(100);

impl<S: Source> Renewed<S> {
    pub(super) async fn connect(source: S) -> RedisResult<Self> {
        let state = Mutex::new(State { live: None, failed: None });
        let new = Self(Arc::new(Shared { source: Turn::new(source), state }));
        new.0.live().await?;
        Ok(new)
    }

    /// Asks the source for something other than a connection.
    pub(super) async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut S) -> RedisResult<T>,
    ) -> RedisResult<T> {
        attempt(question(&mut *self.0.source.lock().await)).await
    }
}

impl<S: Source> Clone for Renewed<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Source> ConnectionLike for Renewed<S> {
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

/// Implements the driver's trait for a public type that contains a [`Renewed`].
macro_rules! renewed {
    ($connection:ident) => {
        impl ::std::fmt::Debug for $connection {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(stringify!($connection)).finish_non_exhaustive()
            }
        }

        impl ::redis::aio::ConnectionLike for $connection {
            fn req_packed_command<'a>(
                &'a mut self,
                command: &'a ::redis::Cmd,
            ) -> ::redis::RedisFuture<'a, ::redis::Value> {
                self.0.req_packed_command(command)
            }

            fn req_packed_commands<'a>(
                &'a mut self,
                pipeline: &'a ::redis::Pipeline,
                offset: usize,
                count: usize,
            ) -> ::redis::RedisFuture<'a, Vec<::redis::Value>> {
                self.0.req_packed_commands(pipeline, offset, count)
            }

            fn get_db(&self) -> i64 {
                self.0.get_db()
            }
        }
    };
}
pub(super) use renewed;

impl<S: Source> Shared<S> {
    fn state(&self) -> MutexGuard<'_, State<S::Connection>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn request(self: &Arc<Self>) -> RedisResult<Request<'_, S>> {
        let live = self.live().await?;
        let before = live.answers.load(Ordering::Relaxed);
        Ok(Request { shared: self, live, before, is_finished: false })
    }

    /// Returns the live connection, or a new one.
    async fn live(self: &Arc<Self>) -> RedisResult<Live<S::Connection>> {
        let since = Instant::now();
        if let Some(known) = self.known(since) {
            return known;
        }
        // A separate task connects, so that a caller that times out does not cancel it for the
        // others.
        let shared = Arc::clone(self);
        match task::spawn(async move { shared.dial(since).await }).await {
            Ok(dialed) => dialed,
            Err(_) => {
                Err((ErrorKind::Io, "the tokio runtime of the connection was shut down").into())
            }
        }
    }

    /// Returns the live connection, or the error of an attempt that failed after `since` or shortly
    /// before.
    fn known(&self, since: Instant) -> Option<RedisResult<Live<S::Connection>>> {
        match &*self.state() {
            State { live: Some(live), .. } => Some(Ok(live.clone())),
            State { failed: Some((at, error)), .. } if *at + PAUSE > since => {
                Some(Err(error.clone()))
            }
            _ => None,
        }
    }

    async fn dial(&self, since: Instant) -> RedisResult<Live<S::Connection>> {
        let mut source = self.source.lock().await;
        // Another task may have connected while this one waited for its turn.
        if let Some(known) = self.known(since) {
            return known;
        }
        let dialed = attempt(source.dial()).await;
        let mut state = self.state();
        match dialed {
            Ok(connection) => {
                let live = Live { connection, answers: Arc::default() };
                *state = State { live: Some(live.clone()), failed: None };
                Ok(live)
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Drops a connection, unless another one has already replaced it.
    fn discard(&self, old: &Live<S::Connection>, because: Option<RedisError>) {
        let mut state = self.state();
        if state.live.as_ref().is_some_and(|live| Arc::ptr_eq(&live.answers, &old.answers)) {
            state.live = None;
            state.failed = because.map(|error| (Instant::now(), error));
        }
    }
}

async fn attempt<T>(dial: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    match timeout(ATTEMPT, dial).await {
        Ok(dialed) => dialed,
        Err(_) => Err((ErrorKind::Io, "no connection within three seconds").into()),
    }
}

/// A request in flight.
struct Request<'s, S: Source> {
    shared: &'s Shared<S>,
    live: Live<S::Connection>,
    /// How many answers there were when the request was sent.
    before: u64,
    is_finished: bool,
}

impl<S: Source> Request<'_, S> {
    fn finish(&mut self, answers: Result<&[Value], &RedisError>) {
        self.is_finished = true;
        let refused = |answer: &Value| match answer {
            Value::ServerError(error) => Some(RedisError::from(error.clone())),
            _ => None,
        };
        match answers {
            // An error of the server shows that the connection works. Any other one means a loss.
            Err(error) if !is_server_error(error) => {
                if !S::IS_CLUSTER || self.is_silent() {
                    self.shared.discard(&self.live, None);
                }
                return;
            }
            // A cluster connection follows failovers itself.
            _ if S::IS_CLUSTER => {}
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

    /// Returns whether the connection has answered nothing since this request was sent, so that
    /// nothing shows that the server still runs.
    fn is_silent(&self) -> bool {
        self.live.answers.load(Ordering::Relaxed) == self.before
    }
}

impl<S: Source> Drop for Request<'_, S> {
    fn drop(&mut self) {
        if !self.is_finished && self.is_silent() {
            self.shared.discard(&self.live, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        vec::Vec,
    };

    use redis::ServerErrorKind;

    use super::*;

    /// A server that answers according to the name of the command.
    #[derive(Clone)]
    struct Server;

    impl ConnectionLike for Server {
        fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
            let name = command.args_iter().next();
            let Some(redis::Arg::Simple(name)) = name else { return Box::pin(pending()) };
            match name {
                b"ANSWERED" => Box::pin(ready(Ok(Value::Okay))),
                b"LOST" => Box::pin(ready(Err((ErrorKind::Io, "lost").into()))),
                b"REPLICA" => {
                    let error = ErrorKind::Server(ServerErrorKind::ReadOnly);
                    Box::pin(ready(Err((error, "replica").into())))
                }
                _ => Box::pin(pending()),
            }
        }

        fn req_packed_commands<'a>(
            &'a mut self,
            _: &'a Pipeline,
            _: usize,
            _: usize,
        ) -> RedisFuture<'a, Vec<Value>> {
            Box::pin(pending())
        }

        fn get_db(&self) -> i64 {
            0
        }
    }

    /// Counts the connections.
    struct Counted<const IS_CLUSTER: bool>(Arc<AtomicU64>);

    impl<const IS_CLUSTER: bool> Source for Counted<IS_CLUSTER> {
        type Connection = Server;

        const IS_CLUSTER: bool = IS_CLUSTER;

        async fn dial(&mut self) -> RedisResult<Server> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(Server)
        }
    }

    /// Returns how many connections these requests make. A request without an answer is abandoned.
    async fn connections<const IS_CLUSTER: bool>(requests: &[&str]) -> u64 {
        let dialed = Arc::new(AtomicU64::new(0));
        let source = Counted::<IS_CLUSTER>(Arc::clone(&dialed));
        let mut renewed = Renewed::connect(source).await.unwrap();
        for request in requests {
            let command = redis::cmd(request);
            let answer = renewed.req_packed_command(&command);
            let _ = timeout(Duration::from_millis(10), answer).await;
            // A failed attempt counts for this long.
            tokio::time::sleep(PAUSE).await;
        }
        let _ = renewed.req_packed_command(&redis::cmd("ANSWERED")).await;
        dialed.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_replaced_when_it_is_silent_lost_or_leads_to_a_replica() {
        for (requests, to_one, to_a_cluster) in [
            (&["ANSWERED", "ANSWERED"][..], 1, 1),
            (&["SILENT"], 2, 2),
            (&["ANSWERED", "SILENT", "SILENT"], 3, 3),
            (&["LOST"], 2, 2),
            (&["REPLICA"], 2, 1),
        ] {
            assert_eq!(connections::<false>(requests).await, to_one, "{requests:?}");
            assert_eq!(connections::<true>(requests).await, to_a_cluster, "{requests:?}");
        }
    }

    /// Other nodes answer meanwhile.
    #[tokio::test(start_paused = true)]
    async fn a_cluster_connection_survives_the_loss_or_silence_of_one_node() {
        for (request, of_one, of_a_cluster) in [("SILENT", 1, 1), ("LOST", 2, 1)] {
            assert_eq!(beside_others::<false>(request).await, of_one, "{request}");
            assert_eq!(beside_others::<true>(request).await, of_a_cluster, "{request}");
        }
    }

    /// Returns how many connections a request makes while the same connection answers another
    /// request.
    async fn beside_others<const IS_CLUSTER: bool>(request: &str) -> u64 {
        let dialed = Arc::new(AtomicU64::new(0));
        let source = Counted::<IS_CLUSTER>(Arc::clone(&dialed));
        let renewed = Renewed::connect(source).await.unwrap();
        let mut under_way = renewed.0.request().await.unwrap();
        let _ = renewed.clone().req_packed_command(&redis::cmd("ANSWERED")).await;
        let command = redis::cmd(request);
        let answer = under_way.live.connection.req_packed_command(&command);
        if let Ok(answer) = timeout(Duration::from_millis(10), answer).await {
            under_way.finish(answer.as_ref().map(std::slice::from_ref));
        }
        drop(under_way);
        let _ = renewed.clone().req_packed_command(&redis::cmd("ANSWERED")).await;
        dialed.load(Ordering::Relaxed)
    }
}
