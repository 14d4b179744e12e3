//! Where everything is kept: the text of `--store` in, a session store and the accounts in one
//! database out.

use std::{
    error::Error,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use kippu::session::{BoxStore, MemoryStore};
use kippu_redis::RedisStore;
use kippu_sqlx::{PostgresStore, SqliteStore};
use redis::{RedisError, aio::ConnectionManager};
use sqlx::{
    PgPool,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{accounts::Accounts, private_file};

/// The value of `--store`.
#[derive(Clone)]
pub(crate) enum Location {
    Memory,
    Sqlite(PathBuf),
    /// The URL may have a password in it, so this has no `Debug`.
    Postgres(String),
    Redis(String),
}

#[derive(Debug, thiserror::Error)]
#[error("a store is memory, sqlite:PATH, postgres://… or redis://…")]
pub(crate) struct NoLocation;

/// Sessions and accounts, in one place.
pub(crate) struct Storage {
    pub(crate) sessions: BoxStore,
    pub(crate) accounts: Accounts,
    /// To be closed at the end, which writes its log into the file.
    pub(crate) sqlite: Option<SqliteStore>,
}

/// As many sessions as fit in the memory of a small machine.
const MEMORY_SESSIONS: usize = 100_000;

/// How long a request waits for a database that is away.
const PATIENCE: Duration = Duration::from_secs(3);

impl FromStr for Location {
    type Err = NoLocation;

    fn from_str(text: &str) -> Result<Self, NoLocation> {
        match text.split_once(':') {
            None if text == "memory" => Ok(Self::Memory),
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(text.to_owned())),
            Some(("redis", _)) => Ok(Self::Redis(text.to_owned())),
            _ => Err(NoLocation),
        }
    }
}

impl Location {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
            Self::Redis(_) => "redis",
        }
    }

    /// Returns where the key files are by default. Sessions in memory end with the server, and need
    /// no files.
    pub(crate) fn key_files(&self) -> Option<PathBuf> {
        match self {
            Self::Memory => None,
            Self::Sqlite(path) => Some(path.clone()),
            Self::Postgres(_) | Self::Redis(_) => Some("auth_server".into()),
        }
    }
}

/// Accounts in memory would be lost when the command ends.
#[derive(Debug, thiserror::Error)]
#[error(
    "accounts cannot be imported into memory: give --store sqlite:PATH, postgres://… or redis://…"
)]
struct NoImport;

impl Storage {
    pub(crate) async fn open(location: &Location) -> Result<Self, Box<dyn Error>> {
        match location {
            Location::Memory => {
                // One connection that is never closed: its database ends with it.
                let pool = SqlitePoolOptions::new()
                    .max_connections(1)
                    .idle_timeout(None)
                    .max_lifetime(None)
                    .connect("sqlite::memory:")
                    .await?;
                Ok(Self::new(
                    MemoryStore::new(MEMORY_SESSIONS),
                    Accounts::sqlite(pool, None).await?,
                ))
            }
            Location::Sqlite(path) => {
                // Only the owner may read the file, which contains password hashes.
                private_file::ensure(path)?;
                let store = SqliteStore::open(path).await?;
                let storage = Self::new(store.clone(), sqlite_accounts(path).await?);
                Ok(Self { sqlite: Some(store), ..storage })
            }
            Location::Postgres(url) => {
                let pool = postgres_pool(url).await?;
                let store = PostgresStore::new(pool.clone());
                store.create_schema().await?;
                Ok(Self::new(store, Accounts::postgres(pool).await?))
            }
            Location::Redis(url) => {
                let connection = redis_connection(url).await?;
                Ok(Self::new(RedisStore::new(connection.clone()), Accounts::redis(connection)))
            }
        }
    }

    /// Opens only the accounts. A server may be running on the same database.
    pub(crate) async fn open_accounts(location: &Location) -> Result<Accounts, Box<dyn Error>> {
        Ok(match location {
            Location::Memory => return Err(NoImport.into()),
            Location::Sqlite(path) => {
                private_file::ensure(path)?;
                // The store refuses a file that another application has begun: this one is its own.
                SqliteStore::open(path).await?.close().await;
                sqlite_accounts(path).await?
            }
            Location::Postgres(url) => Accounts::postgres(postgres_pool(url).await?).await?,
            Location::Redis(url) => Accounts::redis(redis_connection(url).await?),
        })
    }

    fn new(sessions: impl kippu::session::RefreshStore, accounts: Accounts) -> Self {
        Self { sessions: BoxStore::new(sessions), accounts, sqlite: None }
    }
}

async fn sqlite_accounts(path: &Path) -> Result<Accounts, Box<dyn Error>> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(PATIENCE)
        .synchronous(SqliteSynchronous::Full);
    let pool = SqlitePoolOptions::new()
        .max_connections(4)
        .acquire_timeout(PATIENCE)
        .connect_with(options)
        .await?;
    Ok(Accounts::sqlite(pool, Some(path)).await?)
}

async fn postgres_pool(url: &str) -> Result<PgPool, sqlx::Error> {
    PgPoolOptions::new().acquire_timeout(PATIENCE).connect(url).await
}

async fn redis_connection(url: &str) -> Result<ConnectionManager, RedisError> {
    ConnectionManager::new(redis::Client::open(url)?).await
}
