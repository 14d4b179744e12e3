//! A server with a WebSocket and a stream of events that close when their token ends: the handlers
//! of kippu-web's page `sockets`, on a free port.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{
        FromRef, State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    },
    http::{StatusCode, request::Parts},
    response::{
        Html, IntoResponse, Response,
        sse::{Event, Sse},
    },
    routing::{any, get, post},
};
use futures_util::{Stream, StreamExt, stream};
use kippu::{
    Algorithm, Key,
    session::{EndedOptions, EndedSessions, MemoryStore, NoClaims, Session, Sessions, TokenEnd},
};
use kippu_web::{Access, Cookies, GrantError, Guard, Rejection, SessionRoutes, Tokens};
use serde::Serialize;
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

/// A server of feeds, for the sessions of one user.
#[derive(Debug)]
pub struct Feeds {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its sessions.
    pub sessions: Arc<Sessions<Arc<MemoryStore>>>,
}

#[derive(Clone, FromRef)]
struct App {
    guard: Guard,
    sessions: Arc<Sessions<Arc<MemoryStore>>>,
}

impl Feeds {
    /// Starts it, with access tokens of this lifetime, and no leeway.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub async fn start(access_lifetime: Duration) -> Self {
        let store = Arc::new(MemoryStore::new(100));
        let ended = EndedSessions::follow(
            Arc::clone(&store),
            EndedOptions::new().access_lifetime(access_lifetime),
        );
        ended.poll().await.expect("the store is in memory");
        tokio::spawn(ended.clone().run(sleep));
        let key = || Key::generate(Algorithm::Hs256).expect("the system has random bytes");
        let sessions = Sessions::builder(store)
            .issuer("https://auth.example")
            .audience("api")
            .client("web")
            .access_key(key())
            .refresh_key(key().with_kid("1"))
            .access_lifetime(access_lifetime)
            .grace(Duration::from_secs(1))
            .leeway(Duration::ZERO)
            .expect("it is short")
            .max_access_token_len(Cookies::MAX_ACCESS_TOKEN_LEN)
            .expect("it is below the highest limit")
            .ended_sessions(ended)
            .build()
            .expect("the options are safe");
        let sessions = Arc::new(sessions);
        let cookies = Cookies::new("/auth").expect("a path");
        let guard = Guard::for_sessions(&sessions).cookies(cookies).expect("the tokens fit");
        let guard = guard.subprotocol_tokens();
        let welcome = async |_: Session| Ok::<_, Infallible>(Some(NoClaims {}));
        let routes = SessionRoutes::new(Arc::clone(&sessions), guard.clone(), welcome);
        let guarded = Router::new().route("/feed", any(feed)).layer(guard.layer::<NoClaims>());
        let app = Router::new()
            .route("/", get(page))
            .route("/login", post(login))
            .route("/token", post(token))
            .route("/feed", any(feed))
            .route("/events", get(events))
            .nest("/guarded", guarded)
            .nest_service("/auth", routes)
            .with_state(App { guard, sessions: Arc::clone(&sessions) });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, sessions }
    }
}

async fn page() -> Html<&'static str> {
    Html("<!doctype html><title>feeds</title><body data-ready=true></body>")
}

#[derive(Serialize)]
struct Note {
    note: String,
}

/// A login, as it were: there is one user, and no password. The body goes into the token.
async fn login(
    State(app): State<App>,
    request: Parts,
    note: String,
) -> Result<impl IntoResponse, Rejection> {
    let note = Note { note };
    let login = app.sessions.login("alice", &note);
    Ok((app.guard.set_cookies(&request, login).await?, StatusCode::NO_CONTENT))
}

async fn token(State(app): State<App>) -> Result<Tokens, GrantError> {
    Ok(Tokens(app.sessions.login("alice", &NoClaims {}).await?))
}

async fn feed(token: Access<NoClaims>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.protocols(["feed.v1"]).on_upgrade(|socket| serve(socket, token))
}

async fn serve(mut socket: WebSocket, token: Access<NoClaims>) {
    let end = tokio::select! {
        () = talk(&mut socket, &token.subject) => return,
        end = token.ended(sleep) => end,
    };
    let code = if end == TokenEnd::EndedUnknown { 1013 } else { 4401 };
    let close = CloseFrame { code, reason: end.to_string().into() };
    let _ = timeout(Duration::from_secs(1), socket.send(Message::Close(Some(close)))).await;
}

/// Greets, and repeats what the client says. To `flood` it answers with more than any buffer takes.
async fn talk(socket: &mut WebSocket, user: &str) {
    if socket.send(format!("hello {user}").into()).await.is_err() {
        return;
    }
    while let Some(Ok(Message::Text(text))) = socket.recv().await {
        let times = if text == "flood" { usize::MAX } else { 1 };
        for _ in 0..times {
            if socket.send(Message::Text(text.clone())).await.is_err() {
                return;
            }
        }
    }
}

async fn events(token: Access<NoClaims>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let hello = Event::default().data(format!("hello {}", token.subject));
    let ticks = stream::unfold((), async |()| {
        sleep(Duration::from_millis(50)).await;
        Some((Event::default().data("tick"), ()))
    });
    let news = stream::once(async { hello }).chain(ticks);
    Sse::new(news.map(Ok).take_until(token.ended(sleep)))
}
