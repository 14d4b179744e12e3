//! Sessions that have ended are removed from all shards, from where the last purge stopped.

use std::sync::atomic::Ordering;
use std::{
    collections::VecDeque,
    string::{String, ToString},
    vec::Vec,
};

use redis::{Value, aio::ConnectionLike};
use tokio::task::JoinSet;

use super::{RedisStore, SHARDS_PER_TAG, TAGS, count, fault::corrupt, step::PURGE};
use kippu::session::{StoreError, StoreErrorKind, UnixMillis};

/// How many tags a purge works on at once: the server runs so many steps between two of other callers.
const AT_ONCE: u64 = 8;

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RedisStore<C> {
    /// Removes up to `limit` sessions, several tags at once, each of them its share of the limit.
    pub(super) async fn purge(&self, now: UnixMillis, limit: u64) -> Result<u64, StoreError> {
        let start = self.next_tag.load(Ordering::Relaxed);
        let mut tags: VecDeque<u16> = (start..TAGS).chain(0..start).collect();
        let mut removed = 0;
        while let left @ 1.. = limit - removed {
            let count = left.min(AT_ONCE).try_into().unwrap_or(usize::MAX);
            let some: Vec<u16> = tags.drain(..tags.len().min(count)).collect();
            let Some(last) = some.last() else { break };
            // One that cannot be purged is not where every purge ends.
            self.next_tag.store((last + 1) % TAGS, Ordering::Relaxed);
            let share = (left / u64::try_from(some.len()).unwrap_or(u64::MAX)).max(1);
            let mut tasks = JoinSet::new();
            for tag in some {
                let store = self.clone();
                tasks.spawn(async move { (tag, store.purge_tag(tag, now, share).await) });
            }
            while let Some(done) = tasks.join_next().await {
                let (tag, purged) = done.map_err(|_| ended())?;
                let purged = purged?;
                removed += purged;
                // The tag may have more expired sessions.
                if purged >= share {
                    tags.push_front(tag);
                }
            }
        }
        if let Some(next) = tags.front() {
            self.next_tag.store(*next, Ordering::Relaxed);
        }
        Ok(removed)
    }

    /// Removes up to `limit` sessions of the shards of `tag`.
    async fn purge_tag(&self, tag: u16, now: UnixMillis, limit: u64) -> Result<u64, StoreError> {
        let shards = (0..SHARDS_PER_TAG).map(|rest| tag * SHARDS_PER_TAG + rest);
        let keys: Vec<String> = shards.map(|shard| self.key(shard)).collect();
        let (mut removed, mut next, mut first) = (0, 1, Value::BulkString(b"-".to_vec()));
        while removed < limit && next <= u64::from(SHARDS_PER_TAG) {
            let args = [now.to_string(), (limit - removed).to_string(), next.to_string()];
            let [now, limit, shard] = &args;
            let Value::BulkString(from) = &first else { return Err(corrupt()) };
            let args = [now.as_bytes(), limit.as_bytes(), shard.as_bytes(), from];
            let answer = self.run_on(&PURGE, tag, &keys, &args).await?;
            let Value::Array(answers) = answer else { return Err(corrupt()) };
            let Ok([more, then, on]) = <[Value; 3]>::try_from(answers) else {
                return Err(corrupt());
            };
            removed += count(&more)?;
            (next, first) = (count(&then)?, on);
        }
        Ok(removed)
    }
}

fn ended() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the runtime has ended during the purge")
}
