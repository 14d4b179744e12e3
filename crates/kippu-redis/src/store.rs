//! Sessions in Redis or Valkey: each step a script on one key, which the primary alone runs, within a deadline.

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

/// Sessions in Redis 7.0 or later, or in Valkey: one server, a primary that Redis Sentinel watches, or a cluster.
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
/// | [`new`](Self::new) with another async connection of the [`redis`] crate | whatever it connects to | the connection decides |
///
/// Under Sentinel:
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use kippu_redis::RedisStore;
/// use redis::sentinel::{SentinelClient, SentinelServerType};
///
/// let sentinels = vec!["redis://10.0.0.1:26379/", "redis://10.0.0.2:26379/", "redis://10.0.0.3:26379/"];
/// let client = SentinelClient::build(
///     sentinels,
///     "mymaster".to_owned(),
///     None, // or the user, the password and TLS of the servers, which are not in the URLs of the sentinels
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
/// Each step ends within [3 seconds](RedisStore::DEFAULT_DEADLINE), or the time that
/// [`with_deadline`](Self::with_deadline) sets, connecting and repetitions included. Then it answers
/// [`StoreErrorKind::Unavailable`], and may have happened, or may still happen. Repeating it is safe:
/// - A rotation that reaches Redis later than the deadline allows changes nothing. One that has happened is *replayed* to
///   the caller that repeats it within the grace.
/// - A login that happens nevertheless leaves a session whose tokens no client has received.
/// - A logout or a purge that happens nevertheless is what was asked for.
///
/// A connection of the application's has its own time limits besides, and the shorter one counts: the `redis` crate waits
/// half a second for an answer unless it is configured otherwise.
///
/// # Failover
/// Only a primary answers. Each script asks the server for its role, for reads and for writes, and a replica refuses it:
/// the store closes that connection and answers [`StoreErrorKind::Unavailable`]. Later calls connect again, so that a store
/// made by [`connect`](RedisStore::connect), [`sentinel`](RedisStore::sentinel) or [`cluster`](RedisStore::cluster) works again a moment after the
/// new primary does. On a connection of the application's, the store sends `QUIT`: a `ConnectionManager` connects again after
/// that, and a [`MultiplexedConnection`](redis::aio::MultiplexedConnection) stays closed. When a server vanishes without
/// closing its connections, a `ConnectionManager` waits for TCP to notice, which takes a quarter of an hour unless
/// [`TcpSettings::set_user_timeout`](redis::io::tcp::TcpSettings) is set; the store's own connection does not.
///
/// A primary that is cut off from its replicas and sentinels does not know that another has taken over. Until
/// it does, it goes on answering the clients that still reach it, accepts sessions that have ended on the other, and loses
/// later what it has accepted. `min-replicas-to-write 1` with `min-replicas-max-lag 10` ends that after ten
/// seconds, for reads too, and `cluster-node-timeout` does in a cluster. Nothing ends it without one of the two. The store's own
/// connection is then made again, to the primary that the sentinels or the address name by that time.
///
/// # Durability
/// As the server is set up:
///
/// | setting | what can be lost |
/// |---|---|
/// | `appendonly yes`, `appendfsync always` | nothing |
/// | `appendonly yes`, `appendfsync everysec` | the last second or two when the machine stops; when Redis alone is killed, what it held back while the disk was busy with a sync, at most two seconds |
/// | `appendonly no` | everything since the last snapshot |
/// | a replica takes over | what it had not received yet: replication does not wait. `min-replicas-to-write` bounds that |
/// | a `maxmemory-policy` other than `noeviction` | any session at any time: its user has to log in again |
///
/// A rotation that is lost heals, if the [policy](kippu::session::rotation::AheadPolicy) says so; the user of a login that
/// is lost has to log in again; a session whose logout is lost goes on.
///
/// When `maxmemory` is reached under `noeviction`, logins fail, and all other steps go on.
///
/// # The grace
/// It begins when the rotation is stored: a rotation that waits for a server that stalls is made that much later. The
/// wait is measured by the server's clock, whose time comes with each answer. Redis syncs the rotation after that with
/// `appendfsync always`: a sync that takes longer than the grace is not measured.
///
/// # Steps that are repeated
/// A `ClusterConnection` sends a request again when the answer is lost, and reports the second answer: a rotation may
/// be *replayed* to the caller that made it, and a login reported as a
/// [duplicate](InsertOutcome::Duplicate). With a grace of zero the repeated rotation counts as *reused*.
///
/// # Permissions
/// A user of an access control list needs `~kippu:*` and `+eval +evalsha +info +pexpire +pttl +time +xadd +xrange +xtrim +zadd
/// +zrange +zrem`,
/// and `+del +hgetall` while there is data of the first layout, besides what the client itself needs to connect. With
/// [wake-ups](Self::with_wake_ups), a store that ends sessions needs `+publish &kippu:ended` too, and a verifier that listens
/// `+subscribe &kippu:ended`.
///
/// # What is stored
/// A sorted set for each [shard](SessionId::shard), `kippu:{03f}:1c`, with a member for each session and one that lists it
/// under its subject. So every step needs one key, a subject's sessions are never on two nodes, and a slot that
/// moves takes a shard with it whole or not at all. Logging a subject out, listing its sessions and a login within a
/// [limit](kippu::session::SessionLimit) read that subject's sessions alone, however many others are in the shard. Each is one step, in which the server does nothing else: 100,000 sessions of
/// one subject take it a second. The application limits how often a user may log in.
///
/// Data of earlier versions is migrated while the store is used, by any number of servers at once. A session of the version
/// before this one is read as it is, and the step that changes it writes it in the present version. The first versions kept a
/// hash for each shard: the first step on a shard converts it, in one piece. A server with an earlier version of this crate
/// fails on what was migrated ([`StoreErrorKind::Corrupt`]), and changes nothing there: end those servers when the new ones
/// start. Every step leaves the sessions of a later version as they are, and fails with [`StoreErrorKind::Misconfigured`].
///
/// The ids of sessions that were revoked go into a log: the stream `kippu:ended`, in a cluster `kippu:{03f}:ended` for each
/// hash tag. Do not delete it, and do not let it expire. A verifier reads it by one script, in a cluster by 1,024 small
/// ones over all nodes: give [`EndedOptions::max_lag`](kippu::session::EndedOptions::max_lag) seconds there. While a slot of a
/// cluster is moved, a logout and a login within a limit may fail there as unavailable, since they take two keys.
///
/// Sessions that have ended stay until [`purge_expired`](RefreshStore::purge_expired) removes them. It reads through all
/// sessions, or as many as it can until the deadline: call it every few minutes, or every few hours on each of many servers.
/// A shard without logins expires a year after its last session has ended. Neither takes a live session when one clock is
/// wrong: the purge removes what has ended by the clock of the caller and by that of Redis, and the year allows for a
/// clock of Redis that is ahead.
#[derive(Clone)]
pub struct RedisStore<C> {
    connection: C,
    prefix: Arc<str>,
    deadline: Duration,
    /// Whether a connection to a replica has to be closed here: it does not close itself.
    quits: bool,
    clocks: Arc<Clocks>,
    /// Where the next purge begins.
    next_tag: Arc<AtomicU16>,
    /// Whether the server is a node of a cluster, once it was asked.
    is_cluster: Arc<OnceLock<bool>>,
    /// Whether a message follows each step that ends sessions.
    sends_wake_ups: bool,
}

/// Keys have one of so many hash tags, enough that a cluster spreads them evenly, and few enough to visit all.
const TAGS: u16 = 1024;

/// Shards that have a hash tag in common.
const SHARDS_PER_TAG: u16 = 64;

impl RedisStore<PrimaryConnection> {
    /// How long a step may take, unless [`with_deadline`](Self::with_deadline) sets another time: 3 seconds.
    pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(3);

    /// Connects to one server, by an address that leads to the primary.
    ///
    /// # Errors
    /// [`StoreError`] when there is no connection to be had within the default deadline.
    pub async fn connect(client: Client) -> Result<Self, StoreError> {
        Self::connected(PrimaryConnection::to_server(client)).await
    }

    /// Connects to the primary that sentinels name, now and after each failover.
    ///
    /// The client has to be one for the [master](redis::sentinel::SentinelServerType::Master): a replica answers no
    /// step.
    ///
    /// # Errors
    /// [`StoreError`] when there is no connection to be had within the default deadline.
    pub async fn sentinel(client: SentinelClient) -> Result<Self, StoreError> {
        Self::connected(PrimaryConnection::by_sentinels(client)).await
    }
}

impl RedisStore<ClusterPrimaries> {
    /// Connects to the primaries of a cluster, now and after each failover.
    ///
    /// The client's own time limits and retries count within a step. A client that reads from replicas is of no use: a replica
    /// answers no step.
    ///
    /// # Errors
    /// [`StoreError`] when there is no connection to be had within the default deadline.
    pub async fn cluster(client: ClusterClient) -> Result<Self, StoreError> {
        Self::connected(ClusterPrimaries::connect(client)).await
    }
}

impl<C> RedisStore<C> {
    /// A store over one of the connections that renew themselves.
    async fn connected(
        connection: impl Future<Output = Result<C, RedisError>>,
    ) -> Result<Self, StoreError> {
        let deadline = RedisStore::DEFAULT_DEADLINE;
        let connection = in_time(deadline, async { connection.await.map_err(fault) }).await?;
        Ok(Self { quits: false, ..Self::new(connection) })
    }

    /// Makes a store over a connection of the application's, under the prefix `kippu`.
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

    /// Puts the keys under another prefix: `prefix:{03f}:1c`. The channel of the [wake-ups](Self::with_wake_ups) is
    /// `prefix:ended` then.
    ///
    /// # Errors
    /// [`StoreErrorKind::Misconfigured`] when there are braces in it, with which a cluster would spread keys by the
    /// prefix.
    pub fn with_prefix(self, prefix: &str) -> Result<Self, StoreError> {
        if prefix.contains(['{', '}']) {
            let message = "a prefix of Redis keys has no braces";
            return Err(StoreError::new(StoreErrorKind::Misconfigured, message));
        }
        Ok(Self { prefix: prefix.into(), ..self })
    }

    /// Sets how long each step may take, connecting and every repetition included:
    /// [`DEFAULT_DEADLINE`](RedisStore::DEFAULT_DEADLINE) unless it is set.
    ///
    /// Then the step answers [`StoreErrorKind::Unavailable`]. It may have happened, or happen within this time once more
    /// when Redis goes on: of a rotation that reaches Redis later, nothing comes; any other step takes place
    /// whenever Redis gets to it.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Returns the connection, for other data of the application in the same Redis. A clone of a [`PrimaryConnection`]
    /// or of [`ClusterPrimaries`] follows each failover too.
    pub fn connection(&self) -> &C {
        &self.connection
    }

    fn key(&self, shard: u16) -> String {
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
        "Redis did not answer within the store's deadline of {deadline:?}: what was asked may have happened, try again"
    );
    StoreError::new(StoreErrorKind::Unavailable, message)
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RedisStore<C> {
    /// Runs a step on a shard, within the deadline.
    async fn run(&self, step: &Step, shard: u16, args: &[&[u8]]) -> Result<Value, StoreError> {
        in_time(self.deadline, self.run_on(step, tag_of(shard), &[self.key(shard)], args)).await
    }

    /// Runs a step on a shard, and on the log of ended sessions, within the deadline. The last argument is the channel.
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
                // The server closes the connection then, and the next one may lead to the primary.
                let _ = redis::cmd("QUIT").query_async::<Value>(&mut connection).await;
                return Err(fault(error));
            }
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError) => {
                return Err(explain(&mut connection, keys, self.channel().as_bytes(), error).await);
            }
            Err(error) => return Err(fault(error)),
        };
        let Value::Array(parts) = answer else { return Err(corrupt()) };
        let Ok([Value::Int(clock), Value::BulkString(server), said]) =
            <[Value; 3]>::try_from(parts)
        else {
            return Err(corrupt());
        };
        let server = str::from_utf8(&server).ok().and_then(|id| u64::from_str_radix(id, 16).ok());
        self.clocks.see(tag, server.ok_or_else(corrupt)?, clock);
        Ok(said)
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RefreshStore for RedisStore<C> {
    /// Takes one key, and within a limit the log of ended sessions too.
    async fn insert(&self, request: &InsertRequest) -> Result<InsertOutcome, StoreError> {
        let SessionRecord { id, subject, created_at, absolute_expires_at, .. } = &request.session;
        let lifetime = absolute_expires_at.saturating_since(*created_at).as_millis().to_string();
        let (name, value) = (id.to_string(), encode(&request.session));
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

    /// Takes one round trip for a rotation that follows on another step of the session, and for whatever changes nothing,
    /// else two or more.
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

    /// Where one of the sessions cannot be read, it revokes all the others, and then fails.
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

    /// Redis looks through all sessions of the subject for each page, and sends those of the page.
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
        Ok(request.page(sessions))
    }

    /// Reads through all sessions, a few hundred in one step of the server, from where the last purge of this handle and
    /// its clones ended; the first one begins anywhere. On a store of millions of sessions, or far from it, the deadline may
    /// come first: the answer is the number of sessions that were removed by then, and the next call goes on from there.
    ///
    /// On an error, what was removed stays removed, and the next call goes on behind the shards that failed. A shard that
    /// holds something else than sessions keeps no other from being purged: it is reported when the rest is done.
    ///
    /// It is the only step that takes several keys of a slot, and fails as unavailable while that slot is moved.
    async fn purge_expired(&self, now: UnixMillis, limit: u32) -> Result<u64, StoreError> {
        self.purge(now, u64::from(limit)).await
    }

    /// One step of one server; in a cluster one for each of 1,024 hash tags.
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
    fn shards_share_a_slot_by_sixty_four() {
        let store = RedisStore::new(());
        assert_eq!(store.key(0), "kippu:{000}:00");
        assert_eq!(store.key(0xa3f1), "kippu:{28f}:31");
        assert_eq!(store.key(u16::MAX), "kippu:{3ff}:3f");
        assert_eq!(u32::from(TAGS) * u32::from(SHARDS_PER_TAG), 1 << 16);
        let store = store.with_prefix("").unwrap();
        assert_eq!(store.key(1), ":{000}:01");
    }
}
