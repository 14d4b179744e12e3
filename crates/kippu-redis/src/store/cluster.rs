//! A connection to the primaries of a cluster.

use std::fmt;

use redis::{
    Cmd, Pipeline, RedisFuture, RedisResult, Value, aio::ConnectionLike, cluster::ClusterClient,
    cluster_async::ClusterConnection,
};

use super::renewed::{Renewed, Source};

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

impl fmt::Debug for ClusterPrimaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterPrimaries").finish_non_exhaustive()
    }
}

impl ConnectionLike for ClusterPrimaries {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        self.0.req_packed_command(command)
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.0.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.0.get_db()
    }
}

impl Source for ClusterClient {
    type Connection = ClusterConnection;

    const IS_CLUSTER: bool = true;

    async fn dial(&mut self) -> RedisResult<ClusterConnection> {
        self.get_async_connection().await
    }
}
