//! Accepts connections and serves the router on them. Each connection ends in time, however slow or
//! silent the client is, and their number is limited, in total and for each address.

use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, FromRequest, Request, State},
    middleware::Next,
    response::Response,
};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tracing::{debug, warn};

use crate::{
    body::BodyError,
    limits::{AtOnce, Place},
    logs::Seldom,
    proxies::Proxies,
    refusal::Refusal,
};

/// The options that limit connections.
#[derive(clap::Args)]
pub(crate) struct ConnectionOptions {
    /// How many connections are open at once. Further clients wait until one ends. The system's
    /// limit of open files has to be higher
    #[arg(long, value_name = "COUNT", default_value_t = 512, value_parser = positive())]
    max_connections: u32,
    /// How many connections one address may have, or one IPv6 network of 64 bits. Trusted proxies
    /// may have any number
    #[arg(long, value_name = "COUNT", default_value_t = 256, value_parser = positive())]
    max_connections_per_address: u32,
    /// How long a client may take to send the head of a request, and how long a connection may be
    /// idle. A proxy that keeps connections must close them earlier
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = positive())]
    idle_timeout: u32,
    /// How long a client may take to send the body of a request
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = positive())]
    body_timeout: u32,
    /// How long the server may take to answer a request that has arrived
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = positive())]
    answer_timeout: u32,
    /// How long a client may read nothing of an answer that is waiting to be sent
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = positive())]
    write_timeout: u32,
}

fn positive() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..)
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

/// The limits that [`in_time`] keeps.
#[derive(Clone, Copy)]
pub(crate) struct RequestTimeouts {
    body: Duration,
    answer: Duration,
}

impl ConnectionOptions {
    pub(crate) fn request_timeouts(&self) -> RequestTimeouts {
        RequestTimeouts { body: seconds(self.body_timeout), answer: seconds(self.answer_timeout) }
    }
}

/// The listener, and all that its connections share.
pub(crate) struct Entrance {
    listener: TcpListener,
    router: TowerToHyperService<Router>,
    proxies: Arc<Proxies>,
    connections: u32,
    places: Arc<Semaphore>,
    of_one_address: Arc<AtOnce>,
    http: http1::Builder,
    write_timeout: Duration,
    graceful: GracefulShutdown,
}

/// The most that one connection buffers, in bytes. The head of a request fits with its three
/// cookies of up to 4 KiB each. A larger one is answered with 431.
const MAX_BUFFER: usize = 64 * 1024;

/// The pause after the system could not accept a connection, usually because no file descriptor is
/// free. An immediate retry would fail too, and keep a processor busy.
const AFTER_FAILURE: Duration = Duration::from_millis(200);

impl Entrance {
    pub(crate) fn new(
        listener: TcpListener,
        router: Router,
        proxies: Proxies,
        options: &ConnectionOptions,
    ) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(seconds(options.idle_timeout))
            .max_buf_size(MAX_BUFFER);
        let connections = options.max_connections;
        Self {
            listener,
            router: TowerToHyperService::new(router),
            proxies: Arc::new(proxies),
            connections,
            places: Arc::new(Semaphore::new(usize::try_from(connections).unwrap_or(usize::MAX))),
            of_one_address: Arc::new(AtOnce::new(options.max_connections_per_address)),
            http,
            write_timeout: seconds(options.write_timeout),
            graceful: GracefulShutdown::new(),
        }
    }

    /// Accepts connections for as long as the future is polled.
    pub(crate) async fn accept(&self) {
        let (full, crowded, refused) = (Seldom::default(), Seldom::default(), Seldom::default());
        loop {
            if self.places.available_permits() == 0 {
                let limit = self.connections;
                full.say(|times| warn!(limit, times, "all connections are in use: clients wait"));
            }
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) if is_of_one_connection(&error) => continue,
                Err(error) => {
                    refused.say(|times| warn!(%error, times, "no connection can be accepted"));
                    sleep(AFTER_FAILURE).await;
                    continue;
                }
            };
            let address = peer.ip();
            if self.proxies.trust(address) {
                self.attend(stream, peer, (place, None));
            } else if let Some(own) = self.of_one_address.admit(address) {
                self.attend(stream, peer, (place, Some(own)));
            } else {
                crowded.say(|times| {
                    warn!(%address, times, "too many connections of one address: refused");
                });
                refuse(stream);
            }
        }
    }

    fn attend(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        places: (OwnedSemaphorePermit, Option<Place>),
    ) {
        // Answers are small: without this, the kernel may hold one back to send it with the next.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.write_timeout));
        let (router, proxies) = (self.router.clone(), Arc::clone(&self.proxies));
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            let client = proxies.client(peer, request.headers());
            request.extensions_mut().insert(ConnectInfo(client));
            router.call(request)
        });
        let connection = self.http.serve_connection(TokioIo::new(Box::pin(stream)), service);
        let watcher = self.graceful.watcher();
        tokio::spawn(async move {
            if let Err(error) = watcher.watch(connection).await {
                debug!(%error, %peer, "a connection ended early");
            }
            drop(places);
        });
    }

    /// Stops accepting, and waits until all connections have ended, each after the request that it
    /// is serving. Cuts off the connections that are open after `limit`.
    pub(crate) async fn close(self, limit: Duration) {
        let Self { listener, graceful, places, connections, .. } = self;
        drop(listener);
        if timeout(limit, graceful.shutdown()).await.is_err() {
            let free = u32::try_from(places.available_permits()).unwrap_or(connections);
            let open = connections.saturating_sub(free);
            warn!(open, "connections were cut off");
        }
    }
}

/// Returns whether the error concerns only the connection that was to be accepted, so that the next
/// one can be tried at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Sends a 503 and closes the connection, without waiting for the client.
fn refuse(stream: TcpStream) {
    const ANSWER: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write(ANSWER);
    }
}

/// Answers requests that take too long: 408 if the body does not arrive in time, 503 if the answer
/// is not ready in time.
pub(crate) async fn in_time(
    State(timeouts): State<RequestTimeouts>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    let of_body = Request::from_parts(head.clone(), body);
    // The limit is for the whole body. With a limit for each piece, as tower-http's
    // `RequestBodyTimeout` has it, a client could send a byte now and then for ever.
    let body = match timeout(timeouts.body, Bytes::from_request(of_body, &())).await {
        Ok(Ok(body)) => body,
        Ok(Err(rejection)) => return Err(BodyError::from(rejection).into()),
        Err(_) => return Err(BodyError::Late.into()),
    };
    let request = Request::from_parts(head, body.into());
    timeout(timeouts.answer, next.run(request)).await.map_err(|_| Refusal::Late)
}
