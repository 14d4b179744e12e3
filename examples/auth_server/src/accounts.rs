//! The accounts of users, in the database that holds the sessions. Each step is atomic. A step that
//! depends on an account that was read before (a removal, another hash) changes nothing when the
//! account has changed since.

mod lease;
mod mysql;
mod postgres;
mod redis;
mod sqlite;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use ::redis::RedisError;
use kippu::base64url;
use kippu_redis::PrimaryConnection;
use serde::{Deserialize, Serialize};
use sqlx::{MySqlPool, PgPool, SqlitePool};
use tokio::time::{error::Elapsed, timeout};

use self::{
    mysql::MySqlAccounts, postgres::PostgresAccounts, redis::RedisAccounts, sqlite::SqliteAccounts,
};
use crate::email::Email;

/// An account. It has no `Debug`, so that no hash gets into a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    /// The subject of sessions and tokens. It never changes; an address may get another owner.
    pub(crate) id: String,
    /// The unique name: [`Email::account`], or the name that an earlier version stored.
    pub(crate) name: String,
    /// The address as it is shown. Accounts of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) email: Option<String>,
    /// The hash of the password: a PHC string of Argon2, or a hash of bcrypt that was imported.
    pub(crate) hash: String,
    pub(crate) role: String,
}

/// Why a step on the accounts failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountsError {
    #[error("the accounts, in SQL: {0}")]
    Sql(#[from] sqlx::Error),
    #[error("the accounts, in Redis: {0}")]
    Redis(#[from] RedisError),
    #[error("an account in Redis is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
    #[error("the accounts: this database is a replica, or was the primary: connect to the primary")]
    Replica,
    #[error(
        "the accounts: {} was removed or replaced: stop the server, put the right file in its place, \
         and start the server again", .0.display()
    )]
    Moved(PathBuf),
    #[error("the accounts: the database did not answer in time")]
    Late(#[from] Elapsed),
}

/// A handle on the accounts. A clone shares the connections.
#[derive(Clone)]
pub(crate) enum Accounts {
    Sqlite(SqliteAccounts),
    Postgres(PostgresAccounts),
    MySql(MySqlAccounts),
    Redis(RedisAccounts),
}

/// How long a request waits for a step, as for one of the sessions. A change that timed out may
/// still have been made.
const DEADLINE: Duration = Duration::from_secs(3);

/// The role of accounts that register themselves.
pub(crate) const MEMBER: &str = "member";

impl Account {
    /// Makes an account with a new id, without storing it.
    pub(crate) fn new(email: &Email, hash: String, role: &str) -> Result<Self, getrandom::Error> {
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        Ok(Self {
            id: base64url::encode(&id),
            name: email.account().to_owned(),
            email: Some(email.address().to_owned()),
            hash,
            role: role.to_owned(),
        })
    }

    /// Returns the address, or the name where an earlier version stored no address.
    pub(crate) fn address(&self) -> &str {
        self.email.as_deref().unwrap_or(&self.name)
    }
}

/// Runs a step on whichever database it is, within the deadline.
macro_rules! ask {
    ($accounts:expr, $step:ident($($argument:expr),*)) => {
        match $accounts {
            Accounts::Sqlite(accounts) => timeout(DEADLINE, accounts.$step($($argument),*)).await?,
            Accounts::Postgres(accounts) => timeout(DEADLINE, accounts.$step($($argument),*)).await?,
            Accounts::MySql(accounts) => timeout(DEADLINE, accounts.$step($($argument),*)).await?,
            Accounts::Redis(accounts) => timeout(DEADLINE, accounts.$step($($argument),*)).await?,
        }
    };
}

impl Accounts {
    /// Opens those in a file, or in memory where there is no path.
    pub(crate) async fn sqlite(
        pool: SqlitePool,
        path: Option<&Path>,
    ) -> Result<Self, AccountsError> {
        SqliteAccounts::open(pool, path).await.map(Self::Sqlite)
    }

    pub(crate) async fn postgres(pool: PgPool) -> Result<Self, AccountsError> {
        PostgresAccounts::open(pool).await.map(Self::Postgres)
    }

    pub(crate) async fn mysql(pool: MySqlPool) -> Result<Self, AccountsError> {
        MySqlAccounts::open(pool).await.map(Self::MySql)
    }

    pub(crate) fn redis(connection: PrimaryConnection) -> Self {
        Self::Redis(RedisAccounts::new(connection))
    }

    /// Adds an account. Returns false and changes nothing when another account has its name.
    pub(crate) async fn add(&self, account: &Account) -> Result<bool, AccountsError> {
        ask!(self, add(account))
    }

    /// Removes an account. Returns false and changes nothing when the account has been removed, or
    /// has another hash by now.
    pub(crate) async fn remove(&self, account: &Account) -> Result<bool, AccountsError> {
        ask!(self, remove(account))
    }

    /// Replaces the hash of an account. Returns false and changes nothing when the account has been
    /// removed, or has another hash by now.
    pub(crate) async fn replace_hash(
        &self,
        account: &Account,
        new: &str,
    ) -> Result<bool, AccountsError> {
        ask!(self, replace_hash(account, new))
    }

    /// Returns the account with this name.
    pub(crate) async fn by_name(&self, name: &str) -> Result<Option<Account>, AccountsError> {
        ask!(self, by_name(name))
    }

    /// Returns the account with this id.
    pub(crate) async fn by_id(&self, id: &str) -> Result<Option<Account>, AccountsError> {
        ask!(self, by_id(id))
    }

    /// Returns the highest cost of any bcrypt hash, if there is one. Reads every account.
    pub(crate) async fn highest_bcrypt_cost(&self) -> Result<Option<u32>, AccountsError> {
        let digits = match self {
            Self::Sqlite(accounts) => accounts.highest_bcrypt_cost().await?,
            Self::Postgres(accounts) => accounts.highest_bcrypt_cost().await?,
            Self::MySql(accounts) => accounts.highest_bcrypt_cost().await?,
            Self::Redis(accounts) => accounts.highest_bcrypt_cost().await?,
        };
        Ok(digits.and_then(|digits| digits.parse().ok()))
    }

    /// Checks that the database answers.
    pub(crate) async fn ping(&self) -> Result<(), AccountsError> {
        self.by_id("").await.map(|_| ())
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(accounts) => accounts.close().await,
            Self::Postgres(accounts) => accounts.close().await,
            Self::MySql(accounts) => accounts.close().await,
            Self::Redis(_) => {}
        }
    }
}

/// SQL that SQLite and PostgreSQL share: MariaDB numbers no parameters. The column `name` is older
/// than `email`.
mod sql {
    pub(super) const CREATE: &str = "CREATE TABLE IF NOT EXISTS auth_server_accounts \
        (id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL UNIQUE, hash TEXT NOT NULL, role TEXT NOT NULL, email TEXT)";
    pub(super) const ADD_EMAIL: &str = "ALTER TABLE auth_server_accounts ADD COLUMN email TEXT";
    pub(super) const ADD: &str = "INSERT INTO auth_server_accounts (id, name, email, hash, role) \
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO NOTHING";
    pub(super) const REMOVE: &str = "DELETE FROM auth_server_accounts WHERE id = $1 AND hash = $2";
    pub(super) const REPLACE_HASH: &str =
        "UPDATE auth_server_accounts SET hash = $1 WHERE id = $2 AND hash = $3";
    pub(super) const HIGHEST_BCRYPT_COST: &str =
        "SELECT MAX(substr(hash, 5, 2)) FROM auth_server_accounts WHERE hash LIKE '$2_$%'";

    /// The steps of a database in SQL. They use the statements in its module, and its `read` and
    /// `change`.
    macro_rules! steps {
        () => {
            pub(super) async fn add(&self, account: &Account) -> Result<bool, AccountsError> {
                let Account { id, name, email, hash, role } = account;
                let add = sqlx::query(ADD).bind(id).bind(name).bind(email).bind(hash).bind(role);
                self.change(add).await
            }

            pub(super) async fn remove(&self, account: &Account) -> Result<bool, AccountsError> {
                self.change(sqlx::query(REMOVE).bind(&account.id).bind(&account.hash)).await
            }

            pub(super) async fn replace_hash(
                &self,
                account: &Account,
                new: &str,
            ) -> Result<bool, AccountsError> {
                let replace =
                    sqlx::query(REPLACE_HASH).bind(new).bind(&account.id).bind(&account.hash);
                self.change(replace).await
            }

            pub(super) async fn by_name(
                &self,
                name: &str,
            ) -> Result<Option<Account>, AccountsError> {
                self.read(sqlx::query_as(BY_NAME).bind(name)).await
            }

            pub(super) async fn by_id(&self, id: &str) -> Result<Option<Account>, AccountsError> {
                self.read(sqlx::query_as(BY_ID).bind(id)).await
            }

            pub(super) async fn highest_bcrypt_cost(
                &self,
            ) -> Result<Option<String>, AccountsError> {
                Ok(sqlx::query_scalar(HIGHEST_BCRYPT_COST).fetch_one(&self.pool).await?)
            }

            pub(super) async fn close(&self) {
                self.pool.close().await;
            }
        };
    }
    pub(super) use steps;
}
