//! The same requests to a server of each framework, and the same answers: a test for each cell of
//! the table on kippu-web's page `servers`.

mod cells;
mod client;
mod grpc_cells;
mod servers;

use std::{collections::BTreeSet, sync::Arc};

use kippu::{
    Key,
    session::{AccessVerifier, MemoryStore, Sessions, TokenResponse, conformance::Faulty},
};
use kippu_web::{Cookies, Guard};
use tokio::net::TcpListener;

use self::client::Client;
use crate::{ACCESS_SECRET, Claims, ISSUER};

/// Defines a test for each cell, and `TESTS` with their names.
macro_rules! matrix {
    ($($framework:ident: $cells:ident $server:tt { $($cell:ident)+ })+) => {
        $(mod $framework {
            use super::*;

            $(#[tokio::test]
            async fn $cell() {
                $cells::$cell $server.await;
            })+
        })+

        const TESTS: &[(&str, &[&str])] =
            &[$((stringify!($framework), &[$(stringify!($cell)),+])),+];
    };
}

matrix! {
    on_axum: cells(servers::axum) {
        bearer optional cookie csrf live ended scope recent exempt login_with_tokens refresh revoke logout
        sessions routes
    }
    on_actix: cells(servers::actix) {
        bearer optional cookie csrf live ended scope recent exempt login_with_tokens refresh revoke logout
        sessions routes
    }
    on_hyper: cells(servers::hyper) {
        bearer optional cookie csrf live ended scope recent exempt login_with_tokens refresh revoke logout
        sessions routes
    }
    on_tonic: grpc_cells() { bearer cookie csrf live ended scope recent exempt }
}

/// The columns of the table are `TESTS`; a cell without a test has its reason.
#[test]
fn the_table_of_the_documentation_is_that_of_the_tests() {
    let page = include_str!("../../../../crates/kippu-web/src/servers.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut found: Vec<BTreeSet<&str>> = vec![BTreeSet::new(); TESTS.len()];
    for row in rows {
        let cells: Vec<&str> = row.trim_end_matches('|').split('|').map(str::trim).collect();
        let [name, _, columns @ ..] = &*cells else { panic!("{row}") };
        assert_eq!(columns.len(), TESTS.len(), "{row}");
        for (column, found) in columns.iter().zip(&mut found) {
            if *column == "yes" {
                found.insert(name.trim_end_matches('`'));
            } else {
                assert!(column.starts_with("no: "), "{column} in {row}");
            }
        }
    }
    for ((framework, cells), found) in TESTS.iter().zip(found) {
        assert_eq!(found, cells.iter().copied().collect(), "{framework}");
    }
}

type Store = Arc<Faulty<MemoryStore>>;

/// The application that each framework serves.
#[derive(Clone)]
struct App {
    store: Store,
    sessions: Arc<Sessions<Store>>,
    guard: Guard,
    /// Those that a refresh finds welcome.
    users: Arc<Vec<String>>,
}

impl App {
    fn new() -> Self {
        let store = Arc::new(Faulty::new(MemoryStore::new(1000)));
        let sessions = Sessions::builder(Arc::clone(&store))
            .issuer(ISSUER)
            .audience("api")
            .client("web")
            .access_key(Key::hs256(ACCESS_SECRET).unwrap())
            .refresh_key(Key::hs256([2; 32]).unwrap().with_kid("2026-11"))
            .max_access_token_len(Cookies::MAX_ACCESS_TOKEN_LEN)
            .unwrap()
            .build()
            .unwrap();
        let sessions = Arc::new(sessions);
        let guard = Guard::for_sessions(&sessions);
        let users = Arc::new(vec!["alice".to_owned(), "bob".to_owned()]);
        Self { store, sessions, guard, users }
    }

    fn with_cookies() -> Self {
        let mut app = Self::new();
        app.guard = app.guard.cookies(Cookies::new("/auth").unwrap()).unwrap();
        app
    }

    async fn login(&self) -> TokenResponse {
        self.login_of("alice").await
    }

    async fn login_of(&self, subject: &str) -> TokenResponse {
        self.sessions.login(subject, &Claims { scope: "read".into() }).await.unwrap()
    }

    /// How many sessions a user has that have not ended.
    async fn count(&self, subject: &str) -> usize {
        self.sessions.list(subject).await.unwrap().sessions.len()
    }

    /// Serves a copy of the application.
    async fn serve(&self, serve: Serve) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap().into_std().unwrap();
        let address = listener.local_addr().unwrap();
        serve(listener, self.clone());
        Client(address)
    }
}

/// Serves an application on a listener, until the tests end.
type Serve = fn(std::net::TcpListener, App);

fn verifier() -> AccessVerifier {
    AccessVerifier::new(Key::hs256(ACCESS_SECRET).unwrap(), ISSUER, "api")
}

fn signed(claims: &serde_json::Value) -> String {
    kippu::encode_with_typ(claims, &Key::hs256(ACCESS_SECRET).unwrap(), "at+jwt").unwrap()
}

/// The access token of a login with other times, in seconds from now.
fn token_with(tokens: &TokenResponse, authenticated: i64, expires: i64) -> String {
    let now = kippu::NumericDate::now().seconds();
    signed(&serde_json::json!({
        "iss": ISSUER, "aud": "api", "sub": "alice", "client_id": "web", "jti": "1",
        "sid": tokens.session_id, "scope": "read", "iat": now - 7200,
        "auth_time": now + authenticated, "exp": now + expires,
    }))
}
