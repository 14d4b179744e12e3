//! A connection to the current primary.

use redis::{
    AsyncConnectionConfig, Client, RedisResult, aio::MultiplexedConnection,
    sentinel::SentinelClient,
};

use super::renewed::{Renewed, Source, renewed};

/// The connection of a [`RedisStore`](super::RedisStore) that connects to one server, or to the
/// primary that sentinels name.
///
/// Its clones share one connection, which carries the requests of all of them. The connection is
/// closed, and the next request makes a new one, in these cases:
/// - The connection is lost, or an answer is not in the protocol of Redis.
/// - The server answers that it is a replica, that it has lost its primary, that it has too few
///   replicas for its `min-replicas-to-write`, or that it has just started and loads its data.
///   Another server may have become the primary.
/// - A request was abandoned, for example after the store's
///   [deadline](super::RedisStore::with_deadline), and the server has answered nothing since it was
///   sent. The server may be gone without having closed the connection, which TCP takes minutes to
///   notice.
///
/// A new connection asks the sentinels again, or resolves the name of the server again. One request
/// at a time connects, and the others wait for it.
#[derive(Clone)]
pub struct PrimaryConnection(Renewed<Primary>);

pub(super) enum Primary {
    Server(Client),
    // A sentinel client is large, and a store has only one.
    Sentinels(Box<SentinelClient>),
}

impl PrimaryConnection {
    pub(super) async fn to_server(client: Client) -> RedisResult<Self> {
        Renewed::connect(Primary::Server(client)).await.map(Self)
    }

    pub(super) async fn by_sentinels(client: SentinelClient) -> RedisResult<Self> {
        Renewed::connect(Primary::Sentinels(Box::new(client))).await.map(Self)
    }

    /// Returns a client for the current primary.
    pub(super) async fn client(&self) -> RedisResult<Client> {
        self.0.ask(Primary::client).await
    }
}

renewed!(PrimaryConnection);

impl Primary {
    async fn client(&mut self) -> RedisResult<Client> {
        match self {
            Self::Server(client) => Ok(client.clone()),
            Self::Sentinels(client) => client.async_get_client().await,
        }
    }
}

impl Source for Primary {
    type Connection = MultiplexedConnection;

    const IS_CLUSTER: bool = false;

    async fn dial(&mut self) -> RedisResult<MultiplexedConnection> {
        // The store's deadline and `ATTEMPT` limit the time. The driver's own limits would be
        // shorter.
        let config =
            AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        self.client().await?.get_multiplexed_async_connection_with_config(&config).await
    }
}
