//! The client of `kippu::client` over reqwest, against the session routes: many tasks, and a
//! response that is lost on its way.

use std::{
    io,
    sync::{Arc, Mutex},
};

use axum::{Router, extract::FromRef, routing::get};
use kippu::{
    client::{Client, ClientError, Transport},
    session::{EventKind, MemoryStore, Session, Sessions, TokenResponse},
};
use kippu_test_support::{clock::TestClock, proxy::Proxy};
use kippu_web::{Access, Guard, SessionRoutes};
use reqwest::{Response, header::WWW_AUTHENTICATE};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{Claims, ISSUER, access_key, login, refresh_key};

/// 2026-11-24T00:00:00Z, in milliseconds.
const START: i64 = 1_795_478_400_000;
/// Longer than an access token is accepted, in milliseconds.
const EXPIRY: i64 = 17 * 60 * 1000;

struct Http {
    client: reqwest::Client,
    /// The URL of the session routes.
    auth: String,
    saved: Arc<Mutex<Option<TokenResponse>>>,
}

impl Transport for Http {
    type Response = Response;
    type Error = reqwest::Error;

    async fn refresh(&self, refresh_token: &str) -> reqwest::Result<(u16, Vec<u8>)> {
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        let request = self.client.post(format!("{}/refresh", self.auth)).form(&form);
        let response = request.send().await?;
        Ok((response.status().as_u16(), response.bytes().await?.to_vec()))
    }

    async fn save(&self, tokens: &TokenResponse) -> reqwest::Result<()> {
        *self.saved.lock().unwrap() = Some(tokens.clone());
        Ok(())
    }

    fn challenge(response: &Response) -> Option<&str> {
        let is_unauthorized = response.status() == 401;
        let field = response.headers().get(WWW_AUTHENTICATE).filter(|_| is_unauthorized)?;
        field.to_str().ok()
    }
}

#[derive(Clone, FromRef)]
struct App {
    guard: Guard,
}

async fn me(token: Access<Claims>) -> String {
    token.subject.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_over_reqwest_share_one_refresh_and_a_lost_response_loses_no_login() {
    let clock = TestClock::at(START);
    let events = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&events);
    let sessions = Sessions::builder(Arc::new(MemoryStore::new(10)))
        .issuer(ISSUER)
        .audience("api")
        .client("web")
        .access_key(access_key())
        .refresh_key(refresh_key())
        .clock(clock)
        .on_event(move |event| heard.lock().unwrap().push(event.kind))
        .build()
        .unwrap();
    let sessions = Arc::new(sessions);
    let guard = Guard::for_sessions(&sessions);
    let authorize =
        async |_: Session| Ok::<_, io::Error>(Some(Claims { scope: "read".to_owned() }));
    let routes = SessionRoutes::new(Arc::clone(&sessions), guard.clone(), authorize);
    let app =
        Router::new().route("/me", get(me)).with_state(App { guard }).nest_service("/auth", routes);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let proxy = Proxy::to(port).await;

    let http = reqwest::Client::new();
    let saved = Arc::default();
    let transport = Http {
        client: http.clone(),
        auth: format!("http://127.0.0.1:{}/auth", proxy.port()),
        saved: Arc::clone(&saved),
    };
    let client = Client::new(transport, login(&sessions, "read").await);
    let me = format!("http://127.0.0.1:{port}/me");
    let request = move |token: String| http.get(&me).bearer_auth(token).send();

    for lost in [0, 1, 2] {
        events.lock().unwrap().clear();
        clock.advance(EXPIRY);
        proxy.lose_answers(lost);
        let mut tasks = JoinSet::new();
        for _ in 0..100 {
            let (client, request) = (client.clone(), request.clone());
            tasks.spawn(async move { client.call(request).await?.text().await.map_err(other) });
        }
        for result in tasks.join_all().await {
            assert_eq!(result.unwrap(), "alice", "{lost} lost responses");
        }
        let events = events.lock().unwrap();
        assert_eq!(events.first(), Some(&EventKind::Rotated));
        // hyper itself sends a request again on a new connection, if an old one was closed.
        assert!(events.iter().skip(1).all(|event| *event == EventKind::Replayed), "{events:?}");
        assert_eq!(events.len() > 1, lost > 0, "{events:?}");
        assert_eq!(saved.lock().unwrap().as_ref(), Some(&client.tokens()));
    }
    sessions.logout(&client.tokens().refresh_token).await.unwrap();
    clock.advance(EXPIRY);
    let error = client.call(request).await.unwrap_err();
    assert!(matches!(error, ClientError::LoginRequired(_)), "{error}");
}

fn other(error: reqwest::Error) -> ClientError {
    ClientError::Request(Arc::new(error))
}
