//! A whole login in actix-web: users and sessions in SQLite, passwords with Argon2id.
//!
//! ```sh
//! cargo run -p kippu-actix --example actix_login
//! curl http://127.0.0.1:8080/login -d email=ada@example.org -d 'password=correct horse'
//! curl http://127.0.0.1:8080/me -H 'Authorization: Bearer <access_token>'
//! curl http://127.0.0.1:8080/auth/refresh -d grant_type=refresh_token -d refresh_token=<refresh_token>
//! curl http://127.0.0.1:8080/auth/logout -d refresh_token=<refresh_token>
//! ```

use std::{env, error::Error, fs, path::Path, sync::Arc};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer, Responder,
    error::ErrorServiceUnavailable,
    web::{self, Data, Form, ServiceConfig},
};
use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use kippu::{
    Algorithm, Key,
    session::{Session, Sessions},
};
use kippu_actix::{
    Access, GrantError, Guard, Head, SessionRoutes, Tokens, actix_web, login_from, session_routes,
};
use kippu_sqlx::{
    SqliteStore,
    sqlx::{self, SqlitePool, sqlite::SqliteConnectOptions},
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Profile {
    role: String,
}

#[derive(Deserialize)]
struct Credentials {
    email: String,
    password: String,
}

async fn login(
    users: Data<SqlitePool>,
    sessions: Data<Sessions<SqliteStore>>,
    (request, head): (HttpRequest, Head),
    Form(Credentials { email, password }): Form<Credentials>,
) -> actix_web::Result<HttpResponse> {
    let user = sqlx::query_as("SELECT hash, role FROM users WHERE email = ?").bind(&email);
    let user = user.fetch_optional(&**users).await.map_err(ErrorServiceUnavailable)?;
    let (hash, role): (String, String) = user.unwrap_or((NO_USER.into(), String::new()));
    if !web::block(move || is_right(&password, &hash)).await? {
        return Ok(HttpResponse::Unauthorized().body("wrong email or password\n"));
    }
    let (login, profile) = (login_from(&head.headers, email), Profile { role });
    let tokens = sessions.login(login, &profile).await.map_err(GrantError::from)?;
    Ok(Tokens(tokens).respond_to(&request))
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
pub(crate) async fn app(
    folder: &Path,
) -> Result<impl Fn(&mut ServiceConfig) + Clone + Send + 'static, Box<dyn Error>> {
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
    let (users, sessions, guard) = (Data::new(users), Data::from(sessions), Data::new(guard));
    Ok(move |config: &mut ServiceConfig| {
        config.app_data(users.clone()).app_data(sessions.clone()).app_data(guard.clone());
        config.route("/login", web::post().to(login)).route("/me", web::get().to(me));
        config.service(session_routes("/auth", auth.clone()));
    })
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = app(&env::temp_dir().join("kippu_actix_login")).await?;
    let server =
        HttpServer::new(move || App::new().configure(app.clone())).bind("127.0.0.1:8080")?;
    println!("http://127.0.0.1:8080");
    Ok(server.run().await?)
}
