//! Who may log in: accounts in the database that the sessions are in. A name in, the account out; a second one of a name
//! is refused.

mod redis;

use ::redis::{RedisError, aio::ConnectionManager};
use kippu::base64url;
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, SqlitePool};

use self::redis::RedisAccounts;

/// An account. It has no `Debug`: a hash has no business in a log.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Account {
    /// What sessions and tokens know the user by, for ever: names may change hands.
    pub(crate) id: String,
    pub(crate) name: String,
    /// Of the password, as Argon2 writes it.
    pub(crate) hash: String,
    pub(crate) role: String,
}

/// The database is away, or at fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountsError {
    #[error("the accounts, in SQL: {0}")]
    Sql(#[from] sqlx::Error),
    #[error("the accounts, in Redis: {0}")]
    Redis(#[from] RedisError),
    #[error("an account in Redis is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
}

/// The accounts; a clone is another handle on them.
#[derive(Clone)]
pub(crate) enum Accounts {
    Sqlite(SqlitePool),
    Postgres(PgPool),
    Redis(RedisAccounts),
}

/// What both understand.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS auth_server_accounts \
    (id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL UNIQUE, hash TEXT NOT NULL, role TEXT NOT NULL)";
const ADD: &str = "INSERT INTO auth_server_accounts (id, name, hash, role) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (name) DO NOTHING";
const REMOVE: &str = "DELETE FROM auth_server_accounts WHERE id = $1";
const BY_NAME: &str = "SELECT id, name, hash, role FROM auth_server_accounts WHERE name = $1";
const BY_ID: &str = "SELECT id, name, hash, role FROM auth_server_accounts WHERE id = $1";

/// The columns, in the order in which they are selected.
type Row = (String, String, String, String);

impl From<Row> for Account {
    fn from((id, name, hash, role): Row) -> Self {
        Self { id, name, hash, role }
    }
}

impl Account {
    /// A new account, not stored yet.
    pub(crate) fn new(name: String, hash: String) -> Result<Self, getrandom::Error> {
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        Ok(Self { id: base64url::encode(&id), name, hash, role: "member".to_owned() })
    }

    /// A name as it is stored, if it is one. Letters that look like others make no second account.
    pub(crate) fn name(text: &str) -> Option<String> {
        let name = text.trim().to_ascii_lowercase();
        let is_name = (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_@+".contains(&b));
        is_name.then_some(name)
    }
}

impl Accounts {
    pub(crate) async fn sqlite(pool: SqlitePool) -> Result<Self, AccountsError> {
        sqlx::query(SCHEMA).execute(&pool).await?;
        Ok(Self::Sqlite(pool))
    }

    pub(crate) async fn postgres(pool: PgPool) -> Result<Self, AccountsError> {
        sqlx::query(SCHEMA).execute(&pool).await?;
        Ok(Self::Postgres(pool))
    }

    pub(crate) fn redis(connection: ConnectionManager) -> Self {
        Self::Redis(RedisAccounts::new(connection))
    }

    /// Adds an account; not, where there is one of its name.
    pub(crate) async fn add(&self, account: &Account) -> Result<bool, AccountsError> {
        let Account { id, name, hash, role } = account;
        let added = match self {
            Self::Sqlite(pool) => {
                let add = sqlx::query(ADD).bind(id).bind(name).bind(hash).bind(role);
                add.execute(pool).await?.rows_affected()
            }
            Self::Postgres(pool) => {
                let add = sqlx::query(ADD).bind(id).bind(name).bind(hash).bind(role);
                add.execute(pool).await?.rows_affected()
            }
            Self::Redis(accounts) => return accounts.add(account).await,
        };
        Ok(added == 1)
    }

    /// Removes an account, if it is still there.
    pub(crate) async fn remove(&self, account: &Account) -> Result<(), AccountsError> {
        match self {
            Self::Sqlite(pool) => {
                sqlx::query(REMOVE).bind(&account.id).execute(pool).await?;
            }
            Self::Postgres(pool) => {
                sqlx::query(REMOVE).bind(&account.id).execute(pool).await?;
            }
            Self::Redis(accounts) => accounts.remove(account).await?,
        }
        Ok(())
    }

    pub(crate) async fn by_name(&self, name: &str) -> Result<Option<Account>, AccountsError> {
        let row: Option<Row> = match self {
            Self::Sqlite(pool) => sqlx::query_as(BY_NAME).bind(name).fetch_optional(pool).await?,
            Self::Postgres(pool) => sqlx::query_as(BY_NAME).bind(name).fetch_optional(pool).await?,
            Self::Redis(accounts) => return accounts.by_name(name).await,
        };
        Ok(row.map(Account::from))
    }

    pub(crate) async fn by_id(&self, id: &str) -> Result<Option<Account>, AccountsError> {
        let row: Option<Row> = match self {
            Self::Sqlite(pool) => sqlx::query_as(BY_ID).bind(id).fetch_optional(pool).await?,
            Self::Postgres(pool) => sqlx::query_as(BY_ID).bind(id).fetch_optional(pool).await?,
            Self::Redis(accounts) => return accounts.by_id(id).await,
        };
        Ok(row.map(Account::from))
    }

    /// That the database answers.
    pub(crate) async fn ping(&self) -> Result<(), AccountsError> {
        self.by_id("").await.map(|_| ())
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
            Self::Redis(_) => {}
        }
    }
}
