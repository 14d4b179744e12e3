//! Accounts in Redis: a hash of accounts by their names, and one of names by ids.

use redis::{AsyncCommands, aio::ConnectionManager};

use super::{Account, AccountsError};

#[derive(Clone)]
pub(crate) struct RedisAccounts(ConnectionManager);

const ACCOUNTS: &str = "auth_server:accounts";
const NAMES: &str = "auth_server:names";

impl RedisAccounts {
    pub(super) fn new(connection: ConnectionManager) -> Self {
        Self(connection)
    }

    pub(super) async fn add(&self, account: &Account) -> Result<bool, AccountsError> {
        let mut connection = self.0.clone();
        // First, so that no account is ever without it; of a name that was taken it is an id of nobody.
        let () = connection.hset(NAMES, &account.id, &account.name).await?;
        let text = serde_json::to_string(account)?;
        let added: bool = connection.hset_nx(ACCOUNTS, &account.name, text).await?;
        if !added {
            let () = connection.hdel(NAMES, &account.id).await?;
        }
        Ok(added)
    }

    pub(super) async fn remove(&self, account: &Account) -> Result<(), AccountsError> {
        let mut connection = self.0.clone();
        // First, or the id would be that of the next account of the name.
        let () = connection.hdel(NAMES, &account.id).await?;
        Ok(connection.hdel(ACCOUNTS, &account.name).await?)
    }

    pub(super) async fn by_name(&self, name: &str) -> Result<Option<Account>, AccountsError> {
        let text: Option<String> = self.0.clone().hget(ACCOUNTS, name).await?;
        Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
    }

    pub(super) async fn by_id(&self, id: &str) -> Result<Option<Account>, AccountsError> {
        let name: Option<String> = self.0.clone().hget(NAMES, id).await?;
        match name {
            Some(name) => self.by_name(&name).await,
            None => Ok(None),
        }
    }
}
