//! Removes ended sessions from all shards, starting where the last purge stopped. A shard that
//! cannot be purged does not keep the others from being purged.

use std::{collections::VecDeque, sync::atomic::Ordering};

use kippu::session::{StoreError, StoreErrorKind, UnixMillis};
use redis::{Value, aio::ConnectionLike};
use tokio::{task::JoinSet, time::timeout};

use super::{RedisStore, SHARDS_PER_TAG, TAGS, count, fault::corrupt, late, step::PURGE};

/// How many tags a purge works on at once. Another caller's step waits for at most this many steps
/// of the purge.
const AT_ONCE: u64 = 8;

/// The progress of a purge.
#[derive(Default)]
struct Done {
    removed: u64,
    tags: u64,
}

/// Chooses a random tag for the first purge. If each process began at the same tag, a process that
/// restarts often would purge the same shards again and again, and never the others.
pub(super) fn first_tag() -> u16 {
    let mut random = [0; 2];
    // If there is no randomness, the purge starts at tag 0.
    let _ = getrandom::fill(&mut random);
    u16::from_le_bytes(random) % TAGS
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RedisStore<C> {
    /// Removes up to `limit` sessions, and stops at the deadline. Reaching the deadline is an error
    /// only if the purge has finished no tag by then.
    pub(super) async fn purge(&self, now: UnixMillis, limit: u64) -> Result<u64, StoreError> {
        let mut done = Done::default();
        match timeout(self.deadline, self.purge_tags(now, limit, &mut done)).await {
            Ok(Err(error)) => Err(error),
            Err(_) if done.tags == 0 => Err(late(self.deadline)),
            Ok(Ok(())) | Err(_) => Ok(done.removed),
        }
    }

    /// Purges several tags at once, each with its share of the limit.
    async fn purge_tags(
        &self,
        now: UnixMillis,
        limit: u64,
        done: &mut Done,
    ) -> Result<(), StoreError> {
        let start = self.next_tag.load(Ordering::Relaxed);
        let mut tags: VecDeque<u16> = (start..TAGS).chain(0..start).collect();
        let mut damage = None;
        while let left @ 1.. = limit - done.removed {
            // At most `left` tags, so that their shares are at least 1 and together at most `left`.
            let count = left.min(AT_ONCE).try_into().unwrap_or(usize::MAX);
            let some: Vec<u16> = tags.drain(..tags.len().min(count)).collect();
            let Some(last) = some.last() else { break };
            // Stored before the work, so that the next purge does not stop at a tag that cannot be
            // purged.
            self.next_tag.store((last + 1) % TAGS, Ordering::Relaxed);
            let share = (left / u64::try_from(some.len()).unwrap_or(u64::MAX)).max(1);
            let mut tasks = JoinSet::new();
            for tag in some {
                let store = self.clone();
                tasks.spawn(async move { (tag, store.purge_tag(tag, now, share).await) });
            }
            let mut fault = None;
            while let Some(task) = tasks.join_next().await {
                let (tag, purged) = task.map_err(|_| ended())?;
                let (purged, damaged) = match purged {
                    Ok(purged) => purged,
                    Err(error) => {
                        fault = Some(error);
                        continue;
                    }
                };
                damage = damaged.or(damage);
                done.removed += purged;
                done.tags += 1;
                // The tag may have more expired sessions.
                if purged >= share {
                    tags.push_front(tag);
                }
            }
            if let Some(fault) = fault {
                return Err(fault);
            }
        }
        if let Some(next) = tags.front() {
            self.next_tag.store(*next, Ordering::Relaxed);
        }
        match damage {
            Some(error) if done.removed < limit => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes up to `limit` sessions from the shards of `tag`. Returns how many it removed, and
    /// the error of a shard that is corrupt.
    async fn purge_tag(
        &self,
        tag: u16,
        now: UnixMillis,
        limit: u64,
    ) -> Result<(u64, Option<StoreError>), StoreError> {
        let shards = (0..SHARDS_PER_TAG).map(|rest| tag * SHARDS_PER_TAG + rest);
        let keys: Vec<String> = shards.map(|shard| self.key(shard)).collect();
        let mut removed = 0;
        let damage = match self.purge_keys(tag, &keys, now, limit, &mut removed).await {
            Err(error) if error.kind() == StoreErrorKind::Corrupt => error,
            purged => return purged.map(|()| (removed, None)),
        };
        // One by one, because the error does not name the shard.
        for key in keys.chunks(1) {
            match self.purge_keys(tag, key, now, limit, &mut removed).await {
                Err(error) if error.kind() != StoreErrorKind::Corrupt => return Err(error),
                _ => {}
            }
        }
        Ok((removed, Some(damage)))
    }

    async fn purge_keys(
        &self,
        tag: u16,
        keys: &[String],
        now: UnixMillis,
        limit: u64,
        removed: &mut u64,
    ) -> Result<(), StoreError> {
        let (mut next, mut first) = (1, Value::BulkString(b"-".to_vec()));
        while *removed < limit && usize::try_from(next).is_ok_and(|next| next <= keys.len()) {
            let args = [now.to_string(), (limit - *removed).to_string(), next.to_string()];
            let [now, limit, shard] = &args;
            let Value::BulkString(from) = &first else { return Err(corrupt()) };
            let args = [now.as_bytes(), limit.as_bytes(), shard.as_bytes(), from];
            let answer = self.run_on(&PURGE, tag, keys, &args).await?;
            let Value::Array(answers) = answer else { return Err(corrupt()) };
            let Ok([more, then, on]) = <[Value; 3]>::try_from(answers) else {
                return Err(corrupt());
            };
            *removed += count(&more)?;
            (next, first) = (count(&then)?, on);
        }
        Ok(())
    }
}

pub(super) fn ended() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the tokio runtime was shut down during the step")
}
