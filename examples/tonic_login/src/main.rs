//! A whole login in tonic: users and sessions in SQLite, passwords with Argon2id. The program is
//! the server, and calls itself as a client would: `cargo run -p kippu-tonic-login`.

mod client;
mod proto;

use std::{env, error::Error, fs, process};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use kippu::session::{Session, SessionError, Sessions};
use kippu::{Algorithm, Key};
use kippu_sqlx::SqliteStore;
use kippu_sqlx::sqlx::{self, SqlitePool, sqlite::SqliteConnectOptions};
use kippu_web::{Access, GrantError, Guard, Rejection};
use proto::{Credentials, Tokens, account_server, auth_server};
use serde::{Deserialize, Serialize};
use tonic::transport::{Server, server::TcpIncoming};
use tonic::{Request, Response, Status, async_trait};

type Answer<T> = Result<Response<T>, Status>;

#[derive(Serialize, Deserialize)]
struct Profile {
    role: String,
}

struct App {
    users: SqlitePool,
    sessions: Sessions<SqliteStore>,
}

fn refused(error: SessionError) -> Status {
    let (code, message) = Rejection::from(GrantError(error)).grpc_status();
    Status::new(code.into(), message)
}

#[async_trait]
impl auth_server::Auth for App {
    async fn login(&self, request: Request<Credentials>) -> Answer<Tokens> {
        let Credentials { email, password } = request.into_inner();
        let user = sqlx::query_as("SELECT hash, role FROM users WHERE email = ?").bind(&email);
        let user = user.fetch_optional(&self.users).await.map_err(|_| Status::internal("users"))?;
        let (hash, role): (String, String) = user.unwrap_or((NO_USER.into(), String::new()));
        let is_right = tokio::task::spawn_blocking(move || is_right(&password, &hash)).await;
        if !is_right.unwrap_or(false) {
            return Err(Status::unauthenticated("wrong email or password"));
        }
        let tokens = self.sessions.login(email, &Profile { role }).await.map_err(refused)?;
        Ok(Response::new(tokens.into()))
    }

    async fn refresh(&self, request: Request<String>) -> Answer<Tokens> {
        let authorize = async |session: Session| {
            let role = sqlx::query_scalar("SELECT role FROM users WHERE email = ?");
            let role = role.bind(session.subject).fetch_optional(&self.users).await?;
            Ok::<_, sqlx::Error>(role.map(|role| Profile { role })) // none for a user who is gone
        };
        let tokens = self.sessions.refresh(request.get_ref(), authorize).await.map_err(refused)?;
        Ok(Response::new(tokens.into()))
    }

    async fn logout(&self, request: Request<String>) -> Answer<String> {
        self.sessions.logout(request.get_ref()).await.map_err(refused)?;
        Ok(Response::new("the session has ended".into()))
    }
}

struct Account;

#[async_trait]
impl account_server::Account for Account {
    async fn me(&self, request: Request<String>) -> Answer<String> {
        let token: Option<&Access<Profile>> = request.extensions().get();
        let token = token.ok_or_else(|| Status::internal("there is no guard"))?;
        Ok(Response::new(format!("{} is {}", token.subject, token.claims.role)))
    }
}

/// The hash of an unknown password, so that a login of an unknown user takes as long as others.
const NO_USER: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn is_right(password: &str, hash: &str) -> bool {
    let hash = PasswordHash::new(hash);
    hash.is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::temp_dir().join(format!("kippu_tonic_login_{}", process::id()));
    fs::create_dir_all(&folder)?;
    let file = SqliteConnectOptions::new().filename(folder.join("users.db"));
    let users = SqlitePool::connect_with(file.create_if_missing(true)).await?;
    sqlx::query("CREATE TABLE users (email TEXT, hash TEXT, role TEXT)").execute(&users).await?;
    let hash = Argon2::default().hash_password(b"correct horse")?.to_string();
    let ada = sqlx::query("INSERT INTO users VALUES ('ada@example.org', ?, 'admin')").bind(hash);
    ada.execute(&users).await?;
    let sessions = Sessions::builder(SqliteStore::open(folder.join("sessions.db")).await?)
        .issuer("https://auth.example")
        .audience("api")
        .client("app")
        .access_key(Key::generate(Algorithm::Hs256)?) // in production: from the secret manager
        .refresh_key(Key::generate(Algorithm::Hs256)?.with_kid("2026-11"))
        .build()?;
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?;
    let address = incoming.local_addr()?;
    let server = Server::builder()
        .layer(Guard::new(sessions.verifier().clone()).layer::<Profile>().exempt("/example.Auth/*"))
        .add_service(auth_server::AuthServer::new(App { users, sessions }))
        .add_service(account_server::AccountServer::new(Account))
        .serve_with_incoming(incoming);
    tokio::spawn(server);
    client::run(address).await?;
    Ok(fs::remove_dir_all(folder)?)
}
