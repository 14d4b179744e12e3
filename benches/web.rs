//! Measures the cost of the web layer: the extractor compared with the verification that it makes,
//! an API route with and without a token, and the refresh route compared with the call behind it.
//!
//! `cargo bench -p kippu-benches --bench web`. A server and its clients share this process and its
//! cores, over 64 open connections. The two sides of a comparison take turns, so that other load on
//! the machine affects both. Each line is the median of the rounds.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a bench that fails ends")]

use std::{
    env,
    hint::black_box,
    io,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{FromRef, FromRequestParts},
    http::{Request, request::Parts},
    routing::get,
};
use kippu::{
    Algorithm, Key,
    session::{BoxStore, NoClaims, Session, Sessions},
};
use kippu_sqlx::SqliteStore;
use kippu_test_support::servers;
use kippu_web::{Access, Cookies, Guard, SessionRoutes};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

const CONNECTIONS: usize = 64;

#[derive(Clone, FromRef)]
struct App {
    guard: Guard,
}

fn main() {
    let is_trial = !env::args().any(|argument| argument == "--bench");
    let (rounds, requests) = if is_trial { (1, 2) } else { (9, 400) };
    Runtime::new().unwrap().block_on(async {
        let folder = servers::Scratch::new("bench-web");
        let store = SqliteStore::open(folder.path().join("sessions.db")).await.unwrap();
        let sessions = Sessions::builder(BoxStore::new(store))
            .issuer("https://auth.example")
            .audience("api")
            .client("web")
            .access_key(Key::generate(Algorithm::Hs256).unwrap())
            .refresh_key(Key::generate(Algorithm::Hs256).unwrap().with_kid("1"))
            .max_access_token_len(Cookies::MAX_ACCESS_TOKEN_LEN)
            .unwrap()
            .build()
            .unwrap();
        let sessions = Arc::new(sessions);
        extractor(&sessions, if is_trial { (1, 2) } else { (201, 2000) }).await;
        let address = serve(&sessions).await;
        api(&sessions, address, rounds, requests).await;
        refresh(&sessions, address, rounds, requests.div_ceil(20)).await;
    });
}

/// Compares the extractor with `AccessVerifier::verify`, in one thread, on a POST request with the
/// headers of a browser. A ratio is the median of those of all rounds; a round measures both.
async fn extractor(sessions: &Arc<Sessions<BoxStore>>, (rounds, calls): (usize, usize)) {
    let guard = Guard::for_sessions(sessions).cookies(Cookies::new("/auth").unwrap()).unwrap();
    let tokens = sessions.login("user-12345", &NoClaims {}).await.unwrap();
    let token = tokens.access_token.clone();
    let login = async { Ok(tokens) };
    let page = browser().body(()).unwrap().into_parts().0;
    let set = guard.set_cookies(&page, login).await.unwrap();
    let pairs = set.into_values().map(|value| {
        let value = value.to_str().unwrap();
        (value.contains("Path=/;"), value.split(';').next().unwrap().to_owned())
    });
    let pairs: Vec<String> = pairs.filter_map(|(is_sent, pair)| is_sent.then_some(pair)).collect();
    let bearer = browser().header("authorization", format!("Bearer {token}"));
    let cookies = browser().header("cookie", format!("theme=dark; {}", pairs.join("; ")));
    for (name, request) in [("bearer", bearer), ("cookies", cookies)] {
        let mut parts = request.body(()).unwrap().into_parts().0;
        let (mut verify, mut extract, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let verified = nanoseconds(calls, || {
                let verified = sessions.verify::<NoClaims>(black_box(&token)).unwrap();
                assert_eq!(black_box(verified).subject.len(), 10);
            });
            let extracted = nanoseconds(calls, || {
                assert_eq!(black_box(access(&mut parts, &guard)).subject.len(), 10);
            });
            verify.push(verified);
            extract.push(extracted);
            ratios.push(extracted / verified);
        }
        println!(
            "Access<NoClaims>, {name:<8} {:>7.0} ns, verify {:.0} ns: {:.2} x",
            median(&mut extract),
            median(&mut verify),
            median(&mut ratios)
        );
    }
}

/// A request with the headers that browsers send.
fn browser() -> axum::http::request::Builder {
    Request::post("/orders")
        .header("host", "shop.example")
        .header(
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
        )
        .header("accept", "application/json")
        .header("accept-language", "en-US,en;q=0.5")
        .header("accept-encoding", "gzip, deflate, br, zstd")
        .header("content-type", "application/json")
        .header("origin", "https://shop.example")
        .header("sec-fetch-dest", "empty")
        .header("sec-fetch-mode", "cors")
        .header("sec-fetch-site", "same-origin")
}

fn access(parts: &mut Parts, guard: &Guard) -> Access<NoClaims> {
    let access = pin!(Access::<NoClaims>::from_request_parts(black_box(parts), guard));
    match access.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(access) => access.unwrap(),
        Poll::Pending => panic!("the extractor waits for nothing"),
    }
}

#[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "a count")]
fn nanoseconds(calls: usize, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        call();
    }
    start.elapsed().as_secs_f64() * 1e9 / calls as f64
}

async fn serve(sessions: &Arc<Sessions<BoxStore>>) -> SocketAddr {
    let guard = Guard::for_sessions(sessions);
    let routes = SessionRoutes::new(Arc::clone(sessions), guard.clone(), welcome);
    let app = Router::new()
        .route("/open", get(async || Json("user-12345")))
        .route("/guarded", get(async |token: Access<NoClaims>| Json(token.subject.clone())))
        .nest_service("/auth", routes)
        .with_state(App { guard });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn welcome(_: Session) -> Result<Option<NoClaims>, io::Error> {
    Ok(Some(NoClaims {}))
}

/// Sends the same request with the same token to a route that verifies it, and to one that does
/// not.
async fn api(sessions: &Sessions<BoxStore>, address: SocketAddr, rounds: usize, requests: usize) {
    let token = sessions.login("user-12345", &NoClaims {}).await.unwrap().access_token;
    let request = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: api\r\nauthorization: Bearer {token}\r\n\r\n")
    };
    let (mut open, mut guarded) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for (path, rates) in [("/open", &mut open), ("/guarded", &mut guarded)] {
            let request: Arc<str> = request(path).into();
            rates.push(
                at_once(requests, |_| {
                    let request = Arc::clone(&request);
                    async move {
                        let mut connection = connect(address).await;
                        for _ in 0..requests {
                            let answer = ask(&mut connection, &request).await;
                            assert!(answer.ends_with("\"user-12345\""), "{answer}");
                        }
                    }
                })
                .await,
            );
        }
    }
    print("GET, no token checked", &mut open);
    print("GET, Access<NoClaims>", &mut guarded);
    println!("{:>45.1} %", 100.0 * median(&mut guarded) / median(&mut open));
}

/// Compares `POST /refresh` with `Sessions::refresh`, on an SQLite file.
async fn refresh(
    sessions: &Arc<Sessions<BoxStore>>,
    address: SocketAddr,
    rounds: usize,
    requests: usize,
) {
    let (mut direct, mut routed) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut tokens = Vec::new();
        for caller in 0..CONNECTIONS {
            let login = sessions.login(format!("user-{caller}"), &NoClaims {}).await.unwrap();
            tokens.push(login.refresh_token);
        }
        let calls = |caller: usize| {
            let (sessions, mut token) = (Arc::clone(sessions), tokens.get(caller).unwrap().clone());
            async move {
                for _ in 0..requests {
                    token = sessions.refresh(&token, welcome).await.unwrap().refresh_token;
                }
                token
            }
        };
        let start = Instant::now();
        tokens = all(calls).await;
        direct.push(rate(requests, start.elapsed()));
        let calls = |caller: usize| {
            let mut token = tokens.get(caller).unwrap().clone();
            async move {
                let mut connection = connect(address).await;
                for _ in 0..requests {
                    let form = format!("grant_type=refresh_token&refresh_token={token}");
                    let request = format!(
                        "POST /auth/refresh HTTP/1.1\r\nhost: api\r\ncontent-length: {}\r\n\
                         content-type: application/x-www-form-urlencoded\r\n\r\n{form}",
                        form.len()
                    );
                    let answer = ask(&mut connection, &request).await;
                    let (_, rest) = answer.split_once("\"refresh_token\":\"").expect("a refresh");
                    rest.split_once('"').unwrap().0.clone_into(&mut token);
                }
            }
        };
        routed.push(at_once(requests, calls).await);
    }
    print("Sessions::refresh", &mut direct);
    print("POST /auth/refresh", &mut routed);
    println!("{:>45.1} %", 100.0 * median(&mut routed) / median(&mut direct));
}

/// Runs all connections concurrently. Returns the requests a second.
async fn at_once<F>(requests: usize, caller: impl Fn(usize) -> F) -> f64
where
    F: Future<Output = ()> + Send + 'static,
{
    let start = Instant::now();
    all(caller).await;
    rate(requests, start.elapsed())
}

async fn all<T, F>(caller: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..CONNECTIONS).map(|number| tokio::spawn(caller(number))).collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("no request failed"));
    }
    answers
}

async fn connect(address: SocketAddr) -> TcpStream {
    let connection = TcpStream::connect(address).await.unwrap();
    connection.set_nodelay(true).unwrap();
    connection
}

/// Sends one request and reads its answer, whose length is in the header.
async fn ask(connection: &mut TcpStream, request: &str) -> String {
    connection.write_all(request.as_bytes()).await.unwrap();
    let (mut buffer, mut length) = ([0; 4096], 0);
    loop {
        let read = connection.read(buffer.split_at_mut(length).1).await.unwrap();
        assert!(read > 0, "the connection was lost");
        length += read;
        let answer = std::str::from_utf8(buffer.split_at(length).0).unwrap();
        if let Some((head, body)) = answer.split_once("\r\n\r\n") {
            let (_, rest) = head.split_once("content-length: ").expect("a length");
            let wanted: usize = rest.split("\r\n").next().unwrap().parse().unwrap();
            if body.len() == wanted {
                return answer.to_owned();
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "a count")]
fn rate(requests: usize, elapsed: Duration) -> f64 {
    (requests * CONNECTIONS) as f64 / elapsed.as_secs_f64()
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    *rates.get(rates.len() / 2).expect("a round")
}

fn print(what: &str, rates: &mut [f64]) {
    println!("{what:<26} {:>9.0} a second", median(rates));
}
