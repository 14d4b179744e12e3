//! Keeps sessions in Redis or Valkey. Each step is a script on one key, runs only on a primary, and
//! ends within a deadline.

mod clock;
mod cluster;
mod fault;
mod log;
mod primary;
mod purge;
mod renewed;
mod rotate;
mod step;
mod value;
mod wake;

use std::{
    fmt,
    future::Future,
    str,
    sync::{Arc, OnceLock, atomic::AtomicU16},
    time::{Duration, Instant},
};

use kippu::session::{
    RefreshStore, RevokeReason, SessionId, SessionRecord, StoreError, StoreErrorKind, UnixMillis,
    rotation::{RotateOutcome, RotateRequest},
    store::{EndedCursor, EndedPage, InsertOutcome, InsertRequest, ListRequest},
};
use redis::{
    Client, ErrorKind, RedisError, ServerErrorKind, Value, aio::ConnectionLike,
    cluster::ClusterClient, sentinel::SentinelClient,
};
use tokio::time::timeout;

use self::{
    clock::Clocks,
    fault::{corrupt, fault, is_not_primary, newer},
    step::{INSERT, LIST, LOAD, REVOKE, REVOKE_SUBJECT, Step, explain},
    value::{Unreadable, decode, encode},
};
pub use self::{cluster::ClusterPrimaries, primary::PrimaryConnection};

/// Stores sessions in Redis 7.0 or later, or in Valkey: on one server, on a primary that Redis
/// Sentinel watches, or in a cluster.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use kippu_redis::RedisStore;
///
/// let store = RedisStore::connect(redis::Client::open("redis://127.0.0.1/")?).await?;
/// # Ok(())
/// # }
/// ```
///
/// | made by | for | after a failover |
/// |---|---|---|
/// | [`connect`](RedisStore::connect) | one server, or an address that leads to the primary | connects again, to the server that the address leads to then |
/// | [`sentinel`](RedisStore::sentinel) | Redis Sentinel | asks the sentinels for the primary again |
/// | [`cluster`](RedisStore::cluster) | Redis Cluster | follows the slots, and connects again when no node answers |
/// | [`new`](Self::new) with another async connection of the [`redis`] crate | any server | depends on the connection |
///
/// With Sentinel:
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use kippu_redis::RedisStore;
/// use redis::sentinel::{SentinelClient, SentinelServerType};
///
/// let sentinels = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|ip| format!("redis://{ip}:26379/"));
/// let client = SentinelClient::build(
///     sentinels.to_vec(),
///     "mymaster".to_owned(),
///     // The user, the password and TLS of the servers, which the sentinels' URLs do not contain.
///     None,
///     SentinelServerType::Master,
/// )?;
/// let store = RedisStore::sentinel(client).await?;
/// # Ok(())
/// # }
/// ```
///
/// The store needs a tokio runtime with a timer.
///
/// # Deadline
/// Each step ends within [3 seconds](RedisStore::DEFAULT_DEADLINE), or within the time that
/// [`with_deadline`](Self::with_deadline) sets. This includes connecting and repetitions. After the
/// deadline the step returns [`StoreErrorKind::Unavailable`]. It may have happened, or may still
/// happen. Repeating it is safe:
/// - A rotation that reaches Redis later than the deadline allows changes nothing. If the rotation
///   has happened, a caller that repeats it within the grace period gets *replayed*.
/// - A login that happens after the error leaves a session whose tokens no client has received.
/// - A logout or a purge that happens after the error does what the caller asked for.
///
/// A connection that the application makes has time limits, too. The shorter limit applies: the
/// `redis` crate waits half a second for an answer unless it is configured otherwise.
///
/// # Failover
/// Only a primary answers. Each script asks the server for its role, for reads and for writes, and
/// returns an error on a replica. The store then closes that connection and returns
/// [`StoreErrorKind::Unavailable`]. Later calls connect again: a store made by
/// [`connect`](RedisStore::connect), [`sentinel`](RedisStore::sentinel) or
/// [`cluster`](RedisStore::cluster) works again shortly after the new primary does. On a connection
/// that the application made, the store sends `QUIT`. A `ConnectionManager` then connects again; a
/// [`MultiplexedConnection`](redis::aio::MultiplexedConnection) stays closed. When a server
/// vanishes without closing its connections, a `ConnectionManager` waits until TCP notices. That
/// takes a quarter of an hour unless [`TcpSettings::set_user_timeout`](redis::io::tcp::TcpSettings)
/// is set. The store's own connection does not wait for TCP.
///
/// A primary that is cut off from its replicas and sentinels does not know that another server has
/// taken over. Until it notices, it answers the clients that still reach it: it accepts sessions
/// that have been revoked on the new primary, and it later loses the writes that it has accepted.
/// `min-replicas-to-write 1` with `min-replicas-max-lag 10` ends this state after ten seconds, for
/// reads, too. In a cluster, `cluster-node-timeout` ends it. Without one of the two settings
/// nothing ends it. The store then connects again, to the primary that the sentinels or the address
/// name at that time.
///
/// # Durability
/// The settings of the server decide what can be lost:
///
/// | setting | what can be lost |
/// |---|---|
/// | `appendonly yes`, `appendfsync always` | nothing |
/// | `appendonly yes`, `appendfsync everysec` | the last two seconds when the machine stops. When Redis alone is killed: the writes that it held back while the disk was busy with a sync, at most two seconds |
/// | `appendonly no` | everything since the last snapshot |
/// | a replica takes over | the writes that the replica had not received: replication is asynchronous. `min-replicas-to-write` limits the loss |
/// | a `maxmemory-policy` other than `noeviction` | any session at any time: its user has to log in again |
///
/// If a rotation is lost, the session recovers where the
/// [policy](kippu::session::rotation::AheadPolicy) allows it. If a login is lost, its user has to
/// log in again. If a logout is lost, the session stays live.
///
/// When `maxmemory` is reached under `noeviction`, logins fail. All other steps still work.
///
/// # The grace period
///
/// The grace period begins when the rotation is stored. If the rotation has to wait for a server
/// that stalls, the period begins that much later. The store measures the wait by the server's
/// clock, whose time is part of each answer. With `appendfsync always`, Redis syncs the rotation to
/// disk after the script has read the clock: the store does not measure a sync that takes longer
/// than the grace period.
///
/// # Steps that are repeated
/// A `ClusterConnection` sends a request again when the answer is lost, and returns the second
/// answer. The caller that made a rotation may therefore get *replayed*, and the caller of a login
/// may get [duplicate](InsertOutcome::Duplicate). With a grace period of zero the repeated rotation
/// counts as *reused*.
///
/// # Permissions
/// A user of an access control list needs
/// `~kippu:*` and
/// `+eval +evalsha +info +pexpire +pttl +time +xadd +xrange +xtrim +zadd +zrange +zrem`,
/// and what the client itself needs to connect. While there is data of the first layout, the user
/// also needs `+del +hgetall`. With [wake-ups](Self::with_wake_ups), a store that ends sessions
/// also needs `+publish &kippu:ended`, and a verifier that listens needs `+subscribe &kippu:ended`.
///
/// # What is stored
/// A sorted set for each [shard](SessionId::shard), for example `kippu:{03f}:1c`, has two members
/// for each session: the session itself, and an index entry that lists it under its subject. As a
/// result, each step needs one key, and the sessions of a subject are never on two nodes. When a
/// slot moves, all of a shard moves with it, or nothing.
///
/// Logging a subject out, listing its sessions, and a login within a
/// [limit](kippu::session::SessionLimit) read only the sessions of that subject, however many
/// others are in the shard. Each of these is one step, and the server runs nothing else meanwhile:
/// 100,000 sessions of one subject take a second. The application has to limit how often a user may
/// log in.
///
/// The store migrates data of earlier versions while it is used, from any number of servers at
/// once. A session of the previous version is read unchanged; the step that changes it writes it in
/// the current version. The first versions kept a hash for each shard: the first step on such a
/// shard converts it atomically. A server with an earlier version of this crate fails on migrated
/// data ([`StoreErrorKind::Corrupt`]) and changes nothing there: stop those servers when the new
/// ones start. Every step leaves the sessions of a later version unchanged and fails with
/// [`StoreErrorKind::Misconfigured`].
///
/// The ids of revoked sessions go into a log: the stream `kippu:ended`, or in a cluster
/// `kippu:{03f}:ended` for each hash tag. Do not delete it, and do not let it expire. A verifier
/// reads the log with one script, and in a cluster with 1,024 small scripts on all nodes: set
/// [`EndedOptions::max_lag`](kippu::session::EndedOptions::max_lag) to seconds there. While a slot
/// of a cluster moves, a logout and a login within a limit may fail there as unavailable, because
/// they take two keys.
///
/// Ended sessions stay until [`purge_expired`](RefreshStore::purge_expired) removes them. A purge
/// reads all sessions, or as many as it can before the deadline: call it every few minutes, or
/// every few hours on each of many servers. A shard without logins expires a year after its last
/// session has ended. Neither removes a live session when one clock is wrong: the purge removes
/// only the sessions that have ended both by the caller's clock and by that of Redis, and the year
/// allows for a clock of Redis that is ahead.
#[derive(Clone)]
pub struct RedisStore<C> {
    connection: C,
    prefix: Arc<str>,
    deadline: Duration,
    /// Whether the store has to close a connection to a replica, because the connection does not
    /// close itself.
    quits: bool,
    clocks: Arc<Clocks>,
    /// The tag where the next purge begins.
    next_tag: Arc<AtomicU16>,
    /// Whether the server is a node of a cluster, once the store has asked it.
    is_cluster: Arc<OnceLock<bool>>,
    /// Whether each step that ends sessions publishes a message.
    sends_wake_ups: bool,
}

/// The number of hash tags. It is large enough that a cluster spreads the keys evenly, and small
/// enough to visit all of them.
const TAGS: u16 = 1024;

/// The number of shards that share a hash tag.
const SHARDS_PER_TAG: u16 = 64;

impl RedisStore<PrimaryConnection> {
    /// How long a step may take, unless [`with_deadline`](Self::with_deadline) sets another time: 3
    /// seconds.
    pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(3);

    /// Connects to one server, by an address that leads to the primary.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot connect within the default deadline.
    pub async fn connect(client: Client) -> Result<Self, StoreError> {
        Self::connected(PrimaryConnection::to_server(client)).await
    }

    /// Connects to the primary that the sentinels name, now and after each failover.
    ///
    /// The client must be one for the [master](redis::sentinel::SentinelServerType::Master): a
    /// replica rejects every step.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot connect within the default deadline.
    pub async fn sentinel(client: SentinelClient) -> Result<Self, StoreError> {
        Self::connected(PrimaryConnection::by_sentinels(client)).await
    }
}

impl RedisStore<ClusterPrimaries> {
    /// Connects to the primaries of a cluster, now and after each failover.
    ///
    /// The client's own time limits and retries count within a step. Do not use a client that reads
    /// from replicas: a replica rejects every step.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot connect within the default deadline.
    pub async fn cluster(client: ClusterClient) -> Result<Self, StoreError> {
        Self::connected(ClusterPrimaries::connect(client)).await
    }
}

impl<C> RedisStore<C> {
    /// Makes a store over one of the connections that renew themselves.
    async fn connected(
        connection: impl Future<Output = Result<C, RedisError>>,
    ) -> Result<Self, StoreError> {
        let deadline = RedisStore::DEFAULT_DEADLINE;
        let connection = in_time(deadline, async { connection.await.map_err(fault) }).await?;
        // `Renewed` drops a connection to a server that is not the primary.
        Ok(Self { quits: false, ..Self::new(connection) })
    }

    /// Makes a store over a connection that the application has made, with the prefix `kippu`.
    pub fn new(connection: C) -> Self {
        Self {
            connection,
            prefix: "kippu".into(),
            deadline: RedisStore::DEFAULT_DEADLINE,
            quits: true,
            clocks: Arc::new(Clocks::new(TAGS)),
            next_tag: Arc::new(AtomicU16::new(purge::first_tag())),
            is_cluster: Arc::default(),
            sends_wake_ups: false,
        }
    }

    /// Sets another prefix of the keys: `prefix:{03f}:1c`. The channel of the
    /// [wake-ups](Self::with_wake_ups) is then `prefix:ended`.
    ///
    /// # Errors
    /// [`StoreErrorKind::Misconfigured`] when the prefix contains a brace: a cluster would take the
    /// text in braces for the hash tag.
    pub fn with_prefix(self, prefix: &str) -> Result<Self, StoreError> {
        // A cluster hashes the text in the first braces of a key.
        if prefix.contains(['{', '}']) {
            let message = "the prefix of the Redis keys contains a brace: give one without { and }";
            return Err(StoreError::new(StoreErrorKind::Misconfigured, message));
        }
        Ok(Self { prefix: prefix.into(), ..self })
    }

    /// Sets how long each step may take, including connecting and every repetition. The default is
    /// [`DEFAULT_DEADLINE`](RedisStore::DEFAULT_DEADLINE).
    ///
    /// After the deadline a step returns [`StoreErrorKind::Unavailable`]. The step may have
    /// happened, or may still happen when Redis responds again. A rotation that reaches Redis more
    /// than this time after the call changes nothing. Any other step runs whenever Redis gets to
    /// it.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Returns the connection, for other data that the application keeps in the same Redis. A clone
    /// of a [`PrimaryConnection`] or of [`ClusterPrimaries`] also follows each failover.
    pub fn connection(&self) -> &C {
        &self.connection
    }

    fn key(&self, shard: u16) -> String {
        // A cluster hashes only the text in braces, so that the shards of a tag share a slot.
        let (tag, rest) = (tag_of(shard), shard % SHARDS_PER_TAG);
        format!("{}:{{{tag:03x}}}:{rest:02x}", self.prefix)
    }
}

impl<C> fmt::Debug for RedisStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefix, deadline, .. } = self;
        f.debug_struct("RedisStore")
            .field("prefix", prefix)
            .field("deadline", deadline)
            .finish_non_exhaustive()
    }
}

async fn in_time<T>(
    deadline: Duration,
    step: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(deadline, step).await.unwrap_or_else(|_| Err(late(deadline)))
}

fn late(deadline: Duration) -> StoreError {
    let message = format!(
        "Redis did not answer within the store's deadline of {deadline:?}: the step may have happened, try again"
    );
    StoreError::new(StoreErrorKind::Unavailable, message)
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RedisStore<C> {
    /// Runs a step on a shard, within the deadline.
    async fn run(&self, step: &Step, shard: u16, args: &[&[u8]]) -> Result<Value, StoreError> {
        in_time(self.deadline, self.run_on(step, tag_of(shard), &[self.key(shard)], args)).await
    }

    /// Runs a step on a shard and on the log of ended sessions, within the deadline. The last
    /// argument is the channel.
    async fn end(&self, step: &Step, shard: u16, args: &[&[u8]]) -> Result<Value, StoreError> {
        let channel = self.channel();
        let args = [args, &[channel.as_bytes()]].concat();
        in_time(self.deadline, async {
            let tag = tag_of(shard);
            self.run_on(step, tag, &[self.key(shard), self.log(tag).await?], &args).await
        })
        .await
    }

    /// Runs a step on keys of one tag.
    async fn run_on(
        &self,
        step: &Step,
        tag: u16,
        keys: &[String],
        args: &[&[u8]],
    ) -> Result<Value, StoreError> {
        let mut connection = self.connection.clone();
        let answer = match step.run(&mut connection, keys, args).await {
            Ok(answer) => answer,
            Err(error) if self.quits && is_not_primary(&error) => {
                // The server then closes the connection, and the application's next one may lead to
                // the primary.
                let _ = redis::cmd("QUIT").query_async::<Value>(&mut connection).await;
                return Err(fault(error));
            }
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError) => {
                return Err(explain(&mut connection, keys, self.channel().as_bytes(), error).await);
            }
            Err(error) => return Err(fault(error)),
        };
        let Value::Array(parts) = answer else { return Err(corrupt()) };
        let Ok([Value::Int(clock), Value::BulkString(server), answer]) =
            <[Value; 3]>::try_from(parts)
        else {
            return Err(corrupt());
        };
        let server = str::from_utf8(&server).ok().and_then(|id| u64::from_str_radix(id, 16).ok());
        self.clocks.see(tag, server.ok_or_else(corrupt)?, clock);
        Ok(answer)
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RefreshStore for RedisStore<C> {
    /// Uses one key, and for a login with a limit also the log of ended sessions.
    async fn insert(&self, request: &InsertRequest) -> Result<InsertOutcome, StoreError> {
        let SessionRecord { id, subject, created_at, absolute_expires_at, .. } = &request.session;
        let lifetime = absolute_expires_at.saturating_since(*created_at).as_millis().to_string();
        let (name, value) = (id.to_string(), encode(&request.session));
        // The script keeps the shard for the lifetime by either clock, whichever is longer.
        let absolute = absolute_expires_at.to_string();
        let args =
            [name.as_bytes(), &value, subject.as_bytes(), lifetime.as_bytes(), absolute.as_bytes()];
        let answer = match request.limit {
            None => self.run(&INSERT, id.shard(), &args).await?,
            Some(limit) => {
                let others = limit.max().saturating_sub(1);
                let evicts = u8::from(limit.evicts());
                let more = [created_at.to_string(), others.to_string(), evicts.to_string()];
                let [created_at, others, evicts] = more.each_ref().map(String::as_bytes);
                let args = [&args[..], &[created_at, others, evicts]].concat();
                self.end(&INSERT, id.shard(), &args).await?
            }
        };
        match answer {
            Value::Array(evicted) => {
                let evicted = evicted.iter().map(session_id).collect::<Result<_, _>>()?;
                Ok(InsertOutcome::Inserted { evicted })
            }
            Value::Int(0) => Ok(InsertOutcome::Duplicate),
            Value::Int(1) => Ok(InsertOutcome::LimitReached),
            _ => Err(corrupt()),
        }
    }

    async fn load(&self, id: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
        match self.run(&LOAD, id.shard(), &[id.to_string().as_bytes()]).await? {
            Value::Nil => Ok(None),
            Value::BulkString(value) => record(*id, &value).map(Some),
            _ => Err(corrupt()),
        }
    }

    /// A request that changes nothing takes one round trip. A plain rotation also takes one, if an
    /// answer within the last ten seconds has shown the clock of the session's server. Any other
    /// request takes two or more.
    async fn rotate(&self, request: &RotateRequest) -> Result<RotateOutcome, StoreError> {
        in_time(self.deadline, self.present(request, Instant::now())).await
    }

    async fn revoke(
        &self,
        id: &SessionId,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        let (name, now) = (id.to_string(), now.to_string());
        let args = [name.as_bytes(), now.as_bytes(), reason.as_str().as_bytes()];
        truth(&self.end(&REVOKE, id.shard(), &args).await?)
    }

    /// If one of the sessions cannot be read, the step revokes all the others and then fails.
    async fn revoke_subject(
        &self,
        subject: &str,
        keep: Option<&SessionId>,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<u64, StoreError> {
        let keep = keep.map(ToString::to_string).unwrap_or_default();
        let now = now.to_string();
        let reason = reason.as_str().as_bytes();
        let args = [subject.as_bytes(), keep.as_bytes(), now.as_bytes(), reason];
        count(&self.end(&REVOKE_SUBJECT, SessionId::shard_of(subject), &args).await?)
    }

    /// Redis reads all sessions of the subject for each page, and sends only those of the page.
    async fn list(&self, request: &ListRequest) -> Result<Vec<SessionRecord>, StoreError> {
        let ListRequest { subject, now, after, limit, .. } = request;
        let (time, id) = match after {
            Some(after) => (after.created_at.to_string(), after.id.to_string()),
            None => <(String, String)>::default(),
        };
        let args = [subject.clone(), now.to_string(), limit.to_string(), time, id];
        let args = args.each_ref().map(String::as_bytes);
        let answer = self.run(&LIST, SessionId::shard_of(subject), &args).await?;
        let Value::Array(found) = answer else { return Err(corrupt()) };
        let mut sessions = Vec::with_capacity(found.len() / 2);
        for pair in found.chunks(2) {
            let [name, Value::BulkString(value)] = pair else { return Err(corrupt()) };
            sessions.push(record(session_id(name)?, value)?);
        }
        // The script sorts only if there are more sessions than the limit.
        Ok(request.page(sessions))
    }

    /// Reads all sessions, up to 250 in one step of the server, starting where the last purge of
    /// this handle and its clones stopped. The first purge starts at a random place. With millions
    /// of sessions, or over a slow network, the deadline may pass first: the call then returns the
    /// number of sessions removed so far, and the next call continues from there.
    ///
    /// After an error the removed sessions stay removed, and the next call continues after the
    /// shards that failed. A shard with values other than sessions does not keep the others from
    /// being purged: the call reports it after the rest.
    ///
    /// This is the only step that takes several keys of a slot. It fails as unavailable while that
    /// slot moves.
    async fn purge_expired(&self, now: UnixMillis, limit: u32) -> Result<u64, StoreError> {
        self.purge(now, u64::from(limit)).await
    }

    /// Runs one step on one server; in a cluster it runs one step for each of 1,024 hash tags.
    async fn ended_after(&self, cursor: &EndedCursor) -> Result<EndedPage, StoreError> {
        in_time(self.deadline, self.read_logs(cursor)).await
    }

    async fn trim_ended(&self, kept_for: Duration) -> Result<u64, StoreError> {
        in_time(self.deadline, self.trim_logs(kept_for.as_millis())).await
    }
}

const fn tag_of(shard: u16) -> u16 {
    shard / SHARDS_PER_TAG
}

fn record(id: SessionId, value: &[u8]) -> Result<SessionRecord, StoreError> {
    decode(id, value).map_err(|unreadable| match unreadable {
        Unreadable::Newer => newer(),
        Unreadable::Corrupt => corrupt(),
    })
}

fn session_id(name: &Value) -> Result<SessionId, StoreError> {
    let Value::BulkString(name) = name else { return Err(corrupt()) };
    let name = str::from_utf8(name).map_err(|_| corrupt())?;
    name.parse().map_err(|_| corrupt())
}

fn truth(value: &Value) -> Result<bool, StoreError> {
    match value {
        Value::Int(0) => Ok(false),
        Value::Int(1) => Ok(true),
        _ => Err(corrupt()),
    }
}

fn count(value: &Value) -> Result<u64, StoreError> {
    match value {
        Value::Int(number) => u64::try_from(*number).map_err(|_| corrupt()),
        _ => Err(corrupt()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_four_shards_share_a_slot() {
        let store = RedisStore::new(());
        assert_eq!(store.key(0), "kippu:{000}:00");
        assert_eq!(store.key(0xa3f1), "kippu:{28f}:31");
        assert_eq!(store.key(u16::MAX), "kippu:{3ff}:3f");
        assert_eq!(u32::from(TAGS) * u32::from(SHARDS_PER_TAG), 1 << 16);
        let store = store.with_prefix("").unwrap();
        assert_eq!(store.key(1), ":{000}:01");
    }
}
