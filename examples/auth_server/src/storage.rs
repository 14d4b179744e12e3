//! Where everything is kept: the text of `--store` in, a session store and the accounts in one
//! database out.

use std::{
    error::Error,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use kippu::session::{BoxStore, MemoryStore};
use kippu_redis::{PrimaryConnection, RedisStore};
use kippu_sqlx::{MySqlStore, PostgresStore, SqliteStore};
use redis::{
    IntoConnectionInfo,
    sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType},
};
use sqlx::{
    MySqlPool, PgPool,
    mysql::MySqlPoolOptions,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous},
};

use crate::accounts::Accounts;

/// The value of `--store`.
#[derive(Clone)]
pub(crate) enum Location {
    Memory,
    Sqlite(PathBuf),
    /// The URL may have a password in it, so this has no `Debug`.
    Postgres(String),
    MySql(String),
    Redis(String),
}

#[derive(Debug, thiserror::Error)]
#[error("a store is memory, sqlite:PATH, postgres://…, mysql://…, redis://… or redis-sentinel://…")]
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
            Some(("mysql" | "mariadb", _)) => Ok(Self::MySql(text.to_owned())),
            Some(("redis" | "redis-sentinel", _)) => Ok(Self::Redis(text.to_owned())),
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
            Self::MySql(_) => "mysql",
            Self::Redis(_) => "redis",
        }
    }

    /// Returns where the key files are by default. Sessions in memory end with the server, and need
    /// no files.
    pub(crate) fn key_files(&self) -> Option<PathBuf> {
        match self {
            Self::Memory => None,
            Self::Sqlite(path) => Some(path.clone()),
            Self::Postgres(_) | Self::MySql(_) | Self::Redis(_) => Some("auth_server".into()),
        }
    }
}

/// Accounts in memory would be lost when the command ends.
#[derive(Debug, thiserror::Error)]
#[error(
    "accounts cannot be imported into memory: give --store sqlite:PATH, postgres://…, mysql://…, \
     redis://… or redis-sentinel://…"
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
                // It makes the file for its owner alone: there will be password hashes in it.
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
            Location::MySql(url) => {
                let pool = mysql_pool(url).await?;
                let store = MySqlStore::new(pool.clone());
                store.create_schema().await?;
                Ok(Self::new(store, Accounts::mysql(pool).await?))
            }
            Location::Redis(url) => {
                let store = redis_store(url).await?;
                let accounts = Accounts::redis(store.connection().clone());
                Ok(Self::new(store, accounts))
            }
        }
    }

    /// Opens only the accounts. A server may be running on the same database.
    pub(crate) async fn open_accounts(location: &Location) -> Result<Accounts, Box<dyn Error>> {
        Ok(match location {
            Location::Memory => return Err(NoImport.into()),
            Location::Sqlite(path) => {
                // The store refuses a file that another application has begun: this one is its own.
                SqliteStore::open(path).await?.close().await;
                sqlite_accounts(path).await?
            }
            Location::Postgres(url) => Accounts::postgres(postgres_pool(url).await?).await?,
            Location::MySql(url) => Accounts::mysql(mysql_pool(url).await?).await?,
            Location::Redis(url) => Accounts::redis(redis_store(url).await?.connection().clone()),
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

async fn mysql_pool(url: &str) -> Result<MySqlPool, sqlx::Error> {
    MySqlPoolOptions::new().acquire_timeout(PATIENCE).connect(url).await
}

async fn redis_store(url: &str) -> Result<RedisStore<PrimaryConnection>, Box<dyn Error>> {
    Ok(match url.strip_prefix("redis-sentinel://") {
        Some(rest) => RedisStore::sentinel(sentinel_client(rest)?).await?,
        None => RedisStore::connect(redis::Client::open(url)?).await?,
    })
}

/// Reads `user:password@sentinel:26379,other:26379/name`: the name of the primary, and a user of
/// the servers that the sentinels watch.
fn sentinel_client(text: &str) -> Result<SentinelClient, Box<dyn Error>> {
    let (credentials, rest) = text.rsplit_once('@').unwrap_or(("", text));
    let (sentinels, name) = rest.split_once('/').ok_or(NoLocation)?;
    let (mut addresses, mut servers) = (Vec::new(), SentinelNodeConnectionInfo::default());
    for sentinel in sentinels.split(',') {
        let info = format!("redis://{credentials}@{sentinel}").into_connection_info()?;
        addresses.push(info.addr().clone());
        servers = servers.set_redis_connection_info(info.redis_settings().clone());
    }
    let master = SentinelServerType::Master;
    Ok(SentinelClient::build(addresses, name.to_owned(), Some(servers), master)?)
}
