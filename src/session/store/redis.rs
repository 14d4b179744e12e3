//! Sessions in Redis or Valkey: each step a script on one key; no step looks at any other.

mod fault;
mod value;

use alloc::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::{
    fmt, str,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};
use std::sync::LazyLock;

use redis::{
    Cmd, ErrorKind, RedisError, RedisResult, Script, ServerErrorKind, Value, aio::ConnectionLike,
};

use self::{
    fault::{corrupt, fault},
    value::{decode, encode},
};
use super::{
    CompareAndSwap, InsertOutcome, RefreshStore, StoreError, StoreErrorKind, rotate_by_swapping,
};
use crate::session::{
    id::SessionId,
    record::{RevokeReason, SessionRecord},
    rotation::{Change, MAX_GENERATION, RotateOutcome, RotateRequest, Successor},
    time::UnixMillis,
};

/// Sessions in Redis 7.0 or later, or in Valkey: one server, or a cluster.
///
/// It is made over an async connection of the [`redis`] crate:
/// - a `ConnectionManager`, for one server: it connects again by itself after it was lost;
/// - a `ClusterConnection`, for a cluster: it follows failovers and slots that move;
/// - a [`MultiplexedConnection`](redis::aio::MultiplexedConnection), which once lost stays lost: for tests and tools.
///
/// Timeouts are the connection's.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use kippu::session::RedisStore;
/// use redis::{Client, aio::ConnectionManager};
///
/// let client = Client::open("redis://127.0.0.1/")?;
/// let store = RedisStore::new(ConnectionManager::new(client).await?);
/// # Ok(())
/// # }
/// ```
///
/// # Durability
/// As the server is set up:
///
/// | setting | what can be lost |
/// |---|---|
/// | `appendonly yes`, `appendfsync always` | nothing |
/// | `appendonly yes`, `appendfsync everysec` | the last second, when the machine stops (not when only Redis does) |
/// | `appendonly no` | everything since the last snapshot |
/// | a replica takes over | what it had not got yet: replication does not wait. `min-replicas-to-write` bounds that |
/// | a `maxmemory-policy` other than `noeviction` | any session at any time: its user has to log in again |
///
/// A rotation that is lost heals, if the [policy](crate::session::rotation::AheadPolicy) says so; a login that is lost
/// is refused; a logout that is lost has not happened.
///
/// When `maxmemory` is reached under `noeviction`, logins fail, and all else goes on.
///
/// # Steps that are repeated
/// A `ClusterConnection` sends a request again when the answer is lost, and reports the second answer: a
/// rotation may be *replayed* for the one who presented it, a login that happened a
/// [duplicate](InsertOutcome::Duplicate). With a grace of zero the repeated rotation counts as *reused*.
///
/// # Permissions
/// A user of an access control list needs `~kippu:*` and `+eval +evalsha +hget +hset +hdel +hexists +hgetall
/// +hrandfield +hscan +pttl +pexpire +time`, besides what the client itself wants to connect.
///
/// # What is stored
/// A hash for each [shard](SessionId::shard), `kippu:{03f}:1c`, with a field for each session. So every step needs
/// one key, a subject's sessions are never on two nodes, and a slot that moves takes a shard with it whole or not at
/// all. Logging a subject out and listing its sessions read through the shard: its own sessions, and one in 65,536 of
/// all others. That is one step, in which the server does nothing else: 100,000 sessions of one subject take it a
/// second. Who may log in how often is for the application to limit.
///
/// Expiries only remove garbage, counted on the server's clock with a day to spare: a shard goes a day after its last
/// session can have lived, and a login removes some of its shard that have been over for a day. Call
/// [`purge_expired`](RefreshStore::purge_expired) every few hours to keep no more than needed.
#[derive(Clone)]
pub struct RedisStore<C> {
    connection: C,
    prefix: Arc<str>,
    /// Where the next purge begins.
    next_tag: Arc<AtomicU16>,
}

/// Keys have one of so many hash tags, enough that a cluster spreads them evenly, and few enough to visit all.
const TAGS: u16 = 1024;

/// Shards that have a hash tag in common.
const SHARDS_PER_TAG: u16 = 64;

impl<C> RedisStore<C> {
    /// A store over this connection, under the prefix `kippu`.
    pub fn new(connection: C) -> Self {
        Self { connection, prefix: "kippu".into(), next_tag: Arc::default() }
    }

    /// The same store with its keys under another prefix: `prefix:{03f}:1c`.
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

    fn key(&self, shard: u16) -> String {
        let (tag, rest) = (shard / SHARDS_PER_TAG, shard % SHARDS_PER_TAG);
        format!("{}:{{{tag:03x}}}:{rest:02x}", self.prefix)
    }

    fn key_of(&self, id: &SessionId) -> String {
        self.key(id.shard())
    }
}

impl<C> fmt::Debug for RedisStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// A step: what the server runs in one piece.
struct Step {
    code: &'static str,
    sha1: String,
}

/// Where memory is short, all may go on but what needs more of it.
macro_rules! step {
    ($name:ident, $file:literal, $flags:literal) => {
        static $name: LazyLock<Step> = LazyLock::new(|| {
            Step::new(concat!(
                "#!lua",
                $flags,
                "\n",
                include_str!("redis/session.lua"),
                include_str!(concat!("redis/", $file, ".lua"))
            ))
        });
    };
}

step!(INSERT, "insert", "");
step!(LOAD, "load", " flags=allow-oom");
step!(ROTATE, "rotate", " flags=allow-oom");
step!(SWAP, "swap", " flags=allow-oom");
step!(REVOKE, "revoke", " flags=allow-oom");
step!(REVOKE_SUBJECT, "revoke_subject", " flags=allow-oom");
step!(LIST, "list", " flags=allow-oom");
step!(PURGE, "purge", " flags=allow-oom");

impl Step {
    fn new(code: &'static str) -> Self {
        Self { code, sha1: Script::new(code).get_hash().to_owned() }
    }

    fn command(name: &str, script: &str, keys: &[String], args: &[&[u8]]) -> Cmd {
        let size = keys.iter().map(String::len).chain(args.iter().map(|arg| arg.len())).sum();
        let mut command = Cmd::with_capacity(3 + keys.len() + args.len(), size);
        command.arg(name).arg(script).arg(keys.len()).arg(keys).arg(args);
        command
    }

    /// Runs it by its name, and with its code where the server does not know it: after a restart, a failover, or
    /// `SCRIPT FLUSH`. The code travels with the keys, so that it gets to the node that has them.
    async fn run(
        &self,
        connection: &(impl ConnectionLike + Clone),
        keys: &[String],
        args: &[&[u8]],
    ) -> Result<Value, StoreError> {
        let mut connection = connection.clone();
        let by_name = Self::command("EVALSHA", &self.sha1, keys, args);
        match follow(&mut connection, &by_name).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let with_code = Self::command("EVAL", self.code, keys, args);
                follow(&mut connection, &with_code).await.map_err(fault)
            }
            answer => answer.map_err(fault),
        }
    }
}

/// How often a step is sent again that the cluster's nodes still pass on to each other.
const FOLLOWED: usize = 8;

/// Sends a step until a node takes it.
///
/// A node that is being given a slot takes a request for it only right behind an `ASKING`, and on a connection that
/// tasks share, another's request can get in between: both nodes then point to the other, and under load that may
/// use up the connection's own retries. Nothing has run until then, so that it is safe to send it again.
async fn follow(connection: &mut impl ConnectionLike, command: &Cmd) -> RedisResult<Value> {
    for _ in 0..FOLLOWED {
        match command.query_async(connection).await {
            Err(error) if is_redirect(&error) => {}
            answer => return answer,
        }
    }
    command.query_async(connection).await
}

fn is_redirect(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::Ask | ServerErrorKind::Moved))
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RedisStore<C> {
    async fn run(&self, step: &Step, key: String, args: &[&[u8]]) -> Result<Value, StoreError> {
        step.run(&self.connection, &[key], args).await
    }

    /// Up to `limit` sessions of the shards of `tag`.
    async fn purge_tag(&self, tag: u16, now: UnixMillis, limit: u64) -> Result<u64, StoreError> {
        let shards = (0..SHARDS_PER_TAG).map(|rest| tag * SHARDS_PER_TAG + rest);
        let keys: Vec<String> = shards.map(|shard| self.key(shard)).collect();
        let (mut removed, mut next, mut cursor) = (0, 1, Value::BulkString(b"0".to_vec()));
        while removed < limit && next <= u64::from(SHARDS_PER_TAG) {
            let args = [now.to_string(), (limit - removed).to_string(), next.to_string()];
            let [now, limit, first] = &args;
            let Value::BulkString(from) = &cursor else { return Err(corrupt()) };
            let args = [now.as_bytes(), limit.as_bytes(), first.as_bytes(), from];
            let answer = PURGE.run(&self.connection, &keys, &args).await?;
            let Value::Array(answers) = answer else { return Err(corrupt()) };
            let Ok([more, then, on]) = <[Value; 3]>::try_from(answers) else {
                return Err(corrupt());
            };
            removed += count(&more)?;
            (next, cursor) = (count(&then)?, on);
        }
        Ok(removed)
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RefreshStore for RedisStore<C> {
    async fn insert(&self, session: &SessionRecord) -> Result<InsertOutcome, StoreError> {
        let id = session.id.to_string();
        let value = encode(session);
        let idle = millis(session.expires_at.saturating_since(session.created_at));
        let absolute = millis(session.absolute_expires_at.saturating_since(session.created_at));
        let args = [id.as_bytes(), value.as_bytes(), idle.as_bytes(), absolute.as_bytes()];
        let inserted = self.run(&INSERT, self.key_of(&session.id), &args).await?;
        Ok(if truth(&inserted)? { InsertOutcome::Inserted } else { InsertOutcome::Duplicate })
    }

    async fn load(&self, id: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
        match self.run(&LOAD, self.key_of(id), &[id.to_string().as_bytes()]).await? {
            Value::Nil => Ok(None),
            value => record(*id, &value).map(Some),
        }
    }

    /// One round trip for a plain rotation and for whatever changes nothing, else two or more.
    async fn rotate(&self, request: &RotateRequest) -> Result<RotateOutcome, StoreError> {
        let RotateRequest { id, generation, kid, now, .. } = request;
        // The last generation has no successor, of which the script knows nothing.
        if *generation >= MAX_GENERATION {
            return rotate_by_swapping(self, request).await;
        }
        let next_generation = generation + 1;
        let args = [
            id.to_string(),
            generation.to_string(),
            next_generation.to_string(),
            kid.clone(),
            now.to_string(),
            request.rotated_at().to_string(),
            request.idle_end().to_string(),
        ];
        let answer =
            self.run(&ROTATE, self.key_of(id), &args.each_ref().map(String::as_bytes)).await?;
        let seen = match answer {
            Value::Nil => return Ok(RotateOutcome::Unknown),
            Value::Int(expires_at) => {
                return Ok(RotateOutcome::Rotated(Successor {
                    generation: next_generation,
                    kid: kid.clone(),
                    expires_at: UnixMillis::new(expires_at),
                }));
            }
            value => record(*id, &value)?,
        };
        let decision = request.decide(&seen);
        match &decision.change {
            Some(change) if !self.swap(&seen, change).await? => {
                rotate_by_swapping(self, request).await
            }
            _ => Ok(decision.outcome),
        }
    }

    async fn revoke(
        &self,
        id: &SessionId,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        let (name, now) = (id.to_string(), now.to_string());
        let args = [name.as_bytes(), now.as_bytes(), reason.as_str().as_bytes()];
        truth(&self.run(&REVOKE, self.key_of(id), &args).await?)
    }

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
        let key = self.key(SessionId::shard_of(subject));
        count(&self.run(&REVOKE_SUBJECT, key, &args).await?)
    }

    async fn list(&self, subject: &str, now: UnixMillis) -> Result<Vec<SessionRecord>, StoreError> {
        let key = self.key(SessionId::shard_of(subject));
        let answer = self.run(&LIST, key, &[subject.as_bytes()]).await?;
        let Value::Array(found) = answer else { return Err(corrupt()) };
        let mut live = Vec::new();
        for pair in found.chunks(2) {
            let [Value::BulkString(name), value] = pair else { return Err(corrupt()) };
            let name = str::from_utf8(name).map_err(|_| corrupt())?;
            let record = record(name.parse().map_err(|_| corrupt())?, value)?;
            if record.is_live(now) {
                live.push(record);
            }
        }
        live.sort_by_key(|record| (record.created_at, record.id));
        Ok(live)
    }

    /// Reads through all sessions, a thousand or so in one step, from where the last purge of this handle and
    /// its clones ended: on a large store something for every few hours. An error leaves removed what was removed.
    /// The only step that takes several keys of a slot: it fails as unavailable while that slot is moved.
    async fn purge_expired(&self, now: UnixMillis, limit: u32) -> Result<u64, StoreError> {
        let limit = u64::from(limit);
        let start = self.next_tag.load(Ordering::Relaxed);
        let mut removed = 0;
        for tag in (start..TAGS).chain(0..start) {
            // One that cannot be purged is not where every purge ends.
            self.next_tag.store((tag + 1) % TAGS, Ordering::Relaxed);
            removed += self.purge_tag(tag, now, limit - removed).await?;
            if removed >= limit {
                self.next_tag.store(tag, Ordering::Relaxed);
                break;
            }
        }
        Ok(removed)
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> CompareAndSwap for RedisStore<C> {
    async fn swap(&self, seen: &SessionRecord, change: &Change) -> Result<bool, StoreError> {
        let mut new = seen.clone();
        new.apply(change.clone());
        let lifetime = match change {
            Change::Advance { rotated_at, expires_at, .. } => {
                millis(expires_at.saturating_since(*rotated_at))
            }
            Change::Revoke { .. } => String::new(),
        };
        let args = [seen.id.to_string(), encode(seen), encode(&new), lifetime];
        let args = args.each_ref().map(String::as_bytes);
        truth(&self.run(&SWAP, self.key_of(&seen.id), &args).await?)
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

fn record(id: SessionId, value: &Value) -> Result<SessionRecord, StoreError> {
    match value {
        Value::BulkString(value) => decode(id, value).ok_or_else(corrupt),
        _ => Err(corrupt()),
    }
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
    use alloc::boxed::Box;
    use core::{
        future::{Future, ready},
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use redis::RedisFuture;

    use super::*;

    #[test]
    fn a_step_touches_no_key_but_those_it_declares() {
        let steps = [&INSERT, &LOAD, &ROTATE, &SWAP, &REVOKE, &REVOKE_SUBJECT, &LIST, &PURGE]
            .map(|step| step.code);
        for code in steps {
            assert!(code.starts_with("#!lua"));
            for call in code.split("redis.call(").skip(1) {
                let arguments = call.split_once(')').unwrap().0;
                let (command, rest) = arguments.split_once(", ").unwrap_or((arguments, ""));
                assert!(command == "'TIME'" || rest.starts_with("KEYS["), "{arguments}");
            }
        }
    }

    /// A node that answers so often with an error, and then takes the request.
    #[derive(Clone)]
    struct Refuses(usize, ServerErrorKind);

    impl ConnectionLike for Refuses {
        fn req_packed_command<'a>(&'a mut self, _: &'a Cmd) -> RedisFuture<'a, Value> {
            let kind = ErrorKind::Server(self.1);
            let left = self.0.checked_sub(1);
            self.0 = left.unwrap_or_default();
            let answer = left.map_or(Ok(Value::Okay), |_| Err((kind, "").into()));
            Box::pin(ready(answer))
        }

        fn req_packed_commands<'a>(
            &'a mut self,
            _: &'a redis::Pipeline,
            _: usize,
            _: usize,
        ) -> RedisFuture<'a, Vec<Value>> {
            Box::pin(ready(Ok(Vec::new())))
        }

        fn get_db(&self) -> i64 {
            0
        }
    }

    /// What comes of an answer that nothing has to be waited for.
    fn now<T>(answer: impl Future<Output = T>) -> T {
        match pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer,
            Poll::Pending => panic!("it waits"),
        }
    }

    #[test]
    fn who_is_passed_on_follows() {
        let answer = |times, kind| now(follow(&mut Refuses(times, kind), &redis::cmd("EVALSHA")));
        for kind in [ServerErrorKind::Ask, ServerErrorKind::Moved] {
            assert_eq!(answer(FOLLOWED, kind), Ok(Value::Okay));
            assert_eq!(answer(FOLLOWED + 1, kind).unwrap_err().kind(), ErrorKind::Server(kind));
        }
        assert!(answer(1, ServerErrorKind::TryAgain).is_err());
    }

    /// After any other error than that the script is unknown, the step may have happened.
    #[test]
    fn a_step_is_sent_again_only_where_its_script_is_unknown() {
        let answer = |times, kind| now(ROTATE.run(&Refuses(times, kind), &[], &[]));
        assert!(matches!(answer(1, ServerErrorKind::NoScript), Ok(Value::Okay)));
        assert!(answer(2, ServerErrorKind::NoScript).is_err());
        for kind in [ServerErrorKind::ReadOnly, ServerErrorKind::ResponseError] {
            assert!(answer(1, kind).is_err());
        }
    }

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
