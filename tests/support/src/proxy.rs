//! A TCP proxy for tests: an address that moves from one server to another while its old
//! connections stay open, and a network that drops all packets.

use std::{future::pending, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
};

#[derive(Clone, Copy)]
struct Route {
    /// `None`: connections are accepted, and never answered.
    target: Option<u16>,
    /// Connections before this number are dead, but not closed.
    first_alive: u64,
    /// Connections before this number are closed.
    first_open: u64,
    /// The number of connections so far.
    count: u64,
    /// Whether the proxy holds back all data at the moment, in both directions.
    is_silent: bool,
    /// How many of the next answers are lost: each connection closes in the answer's place.
    lost_answers: u32,
}

/// The proxy, which stops when this value is dropped.
pub struct Proxy {
    port: u16,
    route: Arc<watch::Sender<Route>>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let route = Route {
            target: Some(target),
            first_alive: 0,
            first_open: 0,
            count: 0,
            is_silent: false,
            lost_answers: 0,
        };
        let route = Arc::new(watch::Sender::new(route));
        let task = tokio::spawn(serve(listener, Arc::clone(&route)));
        Self { port, route, task }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sends new connections to this port. Open ones stay where they are.
    pub fn switch(&self, target: u16) {
        self.route.send_modify(|route| route.target = Some(target));
    }

    /// Makes every connection dead from now on, open or new. [`switch`](Self::switch) revives only
    /// new ones.
    pub fn swallow(&self) {
        self.route.send_modify(|route| {
            (route.target, route.first_alive) = (None, route.count);
        });
    }

    /// Closes all open connections.
    pub fn cut(&self) {
        self.route.send_modify(|route| route.first_open = route.count);
    }

    /// Holds back the data of all connections without closing them, until it is no longer silent.
    pub fn set_silent(&self, is_silent: bool) {
        self.route.send_modify(|route| route.is_silent = is_silent);
    }

    /// Lets the next requests through, and closes their connections in place of the answers.
    pub fn lose_answers(&self, count: u32) {
        self.route.send_modify(|route| route.lost_answers = count);
    }

    /// Returns how many connections were opened.
    pub fn count(&self) -> u64 {
        self.route.borrow().count
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, route: Arc<watch::Sender<Route>>) {
    let (mut held, mut forwarders) = (Vec::new(), JoinSet::new());
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let mut accepted = *route.borrow();
        route.send_modify(|route| {
            accepted = *route;
            route.count += 1;
        });
        let Some(target) = accepted.target else {
            held.push(client);
            continue;
        };
        // Without a server, the client sees a closed connection.
        let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { continue };
        let ((from_client, to_client), (from_server, to_server)) =
            (client.into_split(), server.into_split());
        let (number, lost) = (accepted.count, Arc::clone(&route));
        let is_lost = move || {
            lost.send_if_modified(|route| {
                let is_lost = route.lost_answers > 0;
                route.lost_answers = route.lost_answers.saturating_sub(1);
                is_lost
            })
        };
        let upstream = forward(from_client, to_server, number, route.subscribe(), || false);
        let downstream = forward(from_server, to_client, number, route.subscribe(), is_lost);
        forwarders.spawn(until_cut(upstream, number, route.subscribe()));
        forwarders.spawn(until_cut(downstream, number, route.subscribe()));
    }
}

async fn until_cut(
    forward: impl Future<Output = ()>,
    number: u64,
    mut route: watch::Receiver<Route>,
) {
    tokio::select! {
        () = forward => {}
        _ = route.wait_for(|route| number < route.first_open) => {}
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: u64,
    mut route: watch::Receiver<Route>,
    is_lost: impl Fn() -> bool,
) {
    let is_dead = |route: &watch::Receiver<Route>| number < route.borrow().first_alive;
    let mut buffer = [0; 8192];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if route.wait_for(|route| !route.is_silent).await.is_err() {
            return;
        }
        if is_lost() {
            return;
        }
        if !is_dead(&route) && to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    let _ = route.wait_for(|route| !route.is_silent).await;
    if is_dead(&route) {
        // The other side does not see the end either.
        pending::<()>().await;
    }
}
