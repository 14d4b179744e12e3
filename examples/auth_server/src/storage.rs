//! Where everything is kept: the text of `--store` in, a session store and the accounts in one database out.

use std::{error::Error, path::PathBuf, str::FromStr, time::Duration};

use kippu::session::{BoxStore, MemoryStore, PostgresStore, RedisStore, SqliteStore};
use redis::aio::ConnectionManager;
use sqlx::{
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{accounts::Accounts, private_file};

/// What `--store` says.
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

    /// Where the keys are when nothing else is said: sessions that do not outlive the server need none that do.
    pub(crate) fn key_files(&self) -> Option<PathBuf> {
        match self {
            Self::Memory => None,
            Self::Sqlite(path) => Some(path.clone()),
            Self::Postgres(_) | Self::Redis(_) => Some("auth_server".into()),
        }
    }
}

impl Storage {
    pub(crate) async fn open(location: &Location) -> Result<Self, Box<dyn Error>> {
        match location {
            Location::Memory => {
                // One connection that stays: each has a database of its own.
                let pool = SqlitePoolOptions::new()
                    .max_connections(1)
                    .idle_timeout(None)
                    .max_lifetime(None)
                    .connect("sqlite::memory:")
                    .await?;
                Ok(Self::new(MemoryStore::new(MEMORY_SESSIONS), Accounts::sqlite(pool).await?))
            }
            Location::Sqlite(path) => {
                // Password hashes are nobody else's business.
                private_file::ensure(path)?;
                let store = SqliteStore::open(path).await?;
                let options = SqliteConnectOptions::new()
                    .filename(path)
                    .busy_timeout(PATIENCE)
                    .synchronous(SqliteSynchronous::Full);
                let pool = SqlitePoolOptions::new()
                    .max_connections(4)
                    .acquire_timeout(PATIENCE)
                    .connect_with(options)
                    .await?;
                let storage = Self::new(store.clone(), Accounts::sqlite(pool).await?);
                Ok(Self { sqlite: Some(store), ..storage })
            }
            Location::Postgres(url) => {
                let pool = PgPoolOptions::new().acquire_timeout(PATIENCE).connect(url).await?;
                let store = PostgresStore::new(pool.clone());
                store.create_schema().await?;
                Ok(Self::new(store, Accounts::postgres(pool).await?))
            }
            Location::Redis(url) => {
                let client = redis::Client::open(url.as_str())?;
                let connection = ConnectionManager::new(client).await?;
                Ok(Self::new(RedisStore::new(connection.clone()), Accounts::redis(connection)))
            }
        }
    }

    fn new(sessions: impl kippu::session::RefreshStore, accounts: Accounts) -> Self {
        Self { sessions: BoxStore::new(sessions), accounts, sqlite: None }
    }
}
