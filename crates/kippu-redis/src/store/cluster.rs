//! A connection to the primaries of a cluster.

use redis::{RedisResult, cluster::ClusterClient, cluster_async::ClusterConnection};

use super::renewed::{Renewed, Source, renewed};

/// The connection of a [`RedisStore`](super::RedisStore) that connects to the primaries of a
/// cluster.
///
/// Its clones share one [`ClusterConnection`], which carries the requests of all of them and
/// follows the slots. The connection is replaced when a request was abandoned, for example after
/// the store's [deadline](super::RedisStore::with_deadline), and no node has answered any request
/// since it was sent. The next request then makes a new connection. A `ClusterConnection` of the
/// crate `redis` 1.8 needs this: after the loss of a primary under load it may stop answering for
/// good.
#[derive(Clone)]
pub struct ClusterPrimaries(Renewed<ClusterClient>);

impl ClusterPrimaries {
    pub(super) async fn connect(client: ClusterClient) -> RedisResult<Self> {
        Renewed::connect(client).await.map(Self)
    }
}

renewed!(ClusterPrimaries);

impl Source for ClusterClient {
    type Connection = ClusterConnection;

    const IS_CLUSTER: bool = true;

    async fn dial(&mut self) -> RedisResult<ClusterConnection> {
        self.get_async_connection().await
    }
}
