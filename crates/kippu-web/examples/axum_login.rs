//! A whole login in axum: users and sessions in SQLite, passwords with Argon2id.
//!
//! ```sh
//! cargo run -p kippu-web --example axum_login
//! curl http://127.0.0.1:8080/login -d email=ada@example.org -d 'password=correct horse'
//! curl http://127.0.0.1:8080/me -H 'Authorization: Bearer <access_token>'
//! curl http://127.0.0.1:8080/auth/refresh -d grant_type=refresh_token -d refresh_token=<refresh_token>
//! curl http://127.0.0.1:8080/auth/logout -d refresh_token=<refresh_token>
//! ```

use std::{env, error::Error, fs, path::Path, sync::Arc};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use axum::{
    Form, Router,
    extract::{FromRef, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use kippu::{
    Algorithm, Key,
    session::{Session, Sessions},
};
use kippu_sqlx::{
    SqliteStore,
    sqlx::{self, SqlitePool, sqlite::SqliteConnectOptions},
};
use kippu_web::{Access, GrantError, Guard, SessionRoutes, Tokens, login_from};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Profile {
    role: String,
}

#[derive(Clone, FromRef)]
struct App {
    users: SqlitePool,
    sessions: Arc<Sessions<SqliteStore>>,
    guard: Guard,
}

#[derive(Deserialize)]
struct Credentials {
    email: String,
    password: String,
}

async fn login(
    State(app): State<App>,
    headers: HeaderMap,
    Form(Credentials { email, password }): Form<Credentials>,
) -> Result<Response, GrantError> {
    let user = sqlx::query_as("SELECT hash, role FROM users WHERE email = ?").bind(&email);
    let Ok(user) = user.fetch_optional(&app.users).await else {
        return Ok(StatusCode::SERVICE_UNAVAILABLE.into_response());
    };
    let (hash, role): (String, String) = user.unwrap_or((NO_USER.into(), String::new()));
    let is_right = tokio::task::spawn_blocking(move || is_right(&password, &hash)).await;
    if !is_right.unwrap_or(false) {
        return Ok((StatusCode::UNAUTHORIZED, "wrong email or password\n").into_response());
    }
    let login = login_from(&headers, email);
    Ok(Tokens(app.sessions.login(login, &Profile { role }).await?).into_response())
}

async fn me(token: Access<Profile>) -> String {
    format!("{} is {}\n", token.subject, token.claims.role)
}

/// The hash of an unknown password, so that a login of an unknown user takes as long as others.
const NO_USER: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn is_right(password: &str, hash: &str) -> bool {
    let hash = PasswordHash::new(hash);
    hash.is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// The application, with its databases in a folder.
pub(crate) async fn app(folder: &Path) -> Result<Router, Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let file = SqliteConnectOptions::new().filename(folder.join("users.db"));
    let users = SqlitePool::connect_with(file.create_if_missing(true)).await?;
    let table = "CREATE TABLE IF NOT EXISTS users (email TEXT PRIMARY KEY, hash TEXT, role TEXT)";
    sqlx::query(table).execute(&users).await?;
    let hash = Argon2::default().hash_password(b"correct horse")?.to_string();
    let ada = sqlx::query("INSERT OR IGNORE INTO users VALUES ('ada@example.org', ?, 'admin')");
    ada.bind(hash).execute(&users).await?;

    let sessions = Sessions::builder(SqliteStore::open(folder.join("sessions.db")).await?)
        .issuer("https://auth.example")
        .audience("api")
        .client("web")
        .access_key(Key::generate(Algorithm::Hs256)?) // in production: from the secret manager
        .refresh_key(Key::generate(Algorithm::Hs256)?.with_kid("2026-11"))
        .build()?;
    let (sessions, pool) = (Arc::new(sessions), users.clone());
    let guard = Guard::for_sessions(&sessions);
    let authorize = async move |session: Session| {
        let role = sqlx::query_scalar("SELECT role FROM users WHERE email = ?");
        let role = role.bind(session.subject).fetch_optional(&pool).await?;
        Ok::<_, sqlx::Error>(role.map(|role| Profile { role })) // none for a user who is gone
    };
    let auth = SessionRoutes::new(Arc::clone(&sessions), guard.clone(), authorize);
    let router = Router::new().route("/login", post(login)).route("/me", get(me));
    Ok(router.nest_service("/auth", auth).with_state(App { users, sessions, guard }))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = app(&env::temp_dir().join("kippu_axum_login")).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("http://127.0.0.1:8080");
    Ok(axum::serve(listener, app).await?)
}
