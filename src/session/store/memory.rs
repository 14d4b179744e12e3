//! A store in the memory of one process: bounded, and lost when the process ends.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::time::Duration;
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Instant,
};

use super::{
    EndedCursor, EndedPage, InsertOutcome, InsertRequest, ListRequest, RefreshStore, Room,
    StoreError,
    sync::{AtomicUsize, Mutex, MutexGuard, Ordering, PoisonError},
};
use crate::session::{
    id::SessionId,
    record::{RevokeReason, Revoked, SessionRecord},
    rotation::{Change, RotateOutcome, RotateRequest},
    time::UnixMillis,
};

/// A store in the memory of one process.
///
/// It is for tests, and for one small server that may log all users out when it restarts. It
/// promises no durability: a restart ends all sessions.
///
/// It holds at most the number of sessions for which it was made. If it is full, it refuses a login
/// ([`InsertOutcome::Full`]) and never evicts a live session.
/// [`purge_expired`](RefreshStore::purge_expired) removes sessions that have ended. So does a login
/// that finds the store full, but only those behind the same lock. The store uses the caller's
/// clock, which is that of the same process.
///
/// A lock covers one in 64 subjects with all their sessions. It is held for a few hash-table
/// operations, however many other subjects share it. A step waits only for a lock, so there is no
/// deadline to set.
#[derive(Debug)]
pub struct MemoryStore {
    shards: Box<[Mutex<Shard>]>,
    held: AtomicUsize,
    capacity: usize,
    ended: Mutex<EndedLog>,
}

/// Enough locks that threads of one machine rarely wait for the same one.
const SHARDS: usize = 64;

/// Some of the subjects, with all their sessions.
#[derive(Debug, Default)]
struct Shard {
    sessions: HashMap<SessionId, SessionRecord>,
    by_subject: HashMap<String, BTreeSet<SessionId>>,
}

/// The ids of the sessions that were revoked. A step locks the log while it holds a shard, and
/// never the reverse, so that no deadlock is possible.
#[derive(Debug, Default)]
struct EndedLog {
    /// The time of each revocation, and the id.
    ids: VecDeque<(Instant, SessionId)>,
    /// The number of ids that were removed from the front.
    removed: u64,
}

impl EndedLog {
    fn push(&mut self, id: SessionId) {
        self.ids.push_back((Instant::now(), id));
    }

    /// Returns the number of the next id.
    fn end(&self) -> u64 {
        self.removed.saturating_add(u64::try_from(self.ids.len()).unwrap_or(u64::MAX))
    }
}

impl MemoryStore {
    /// Makes a store for at most `capacity` sessions, including those that have ended but are not
    /// removed yet. A session takes about 0.8 KiB.
    pub fn new(capacity: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, held: AtomicUsize::new(0), capacity, ended: Mutex::default() }
    }

    /// Returns the number of sessions, including those that have ended but are not removed yet.
    pub fn len(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Returns whether the store has no sessions.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, number: u16) -> MutexGuard<'_, Shard> {
        let index = usize::from(number) % SHARDS;
        let shard = self.shards.get(index).expect("a remainder is below its divisor");
        // No step leaves a shard half changed, so a shard is consistent even after a panic.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> MutexGuard<'_, EndedLog> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves the place of one more session, if there is one.
    fn reserve(&self) -> bool {
        // `Relaxed`: no other data depends on the number. The locks order the sessions.
        let more = |held| (held < self.capacity).then_some(held + 1);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Removes up to `limit` expired sessions of a shard.
    fn purge(&self, shard: &mut Shard, now: UnixMillis, limit: usize) -> usize {
        let removed = shard.purge(now, limit);
        self.held.fetch_sub(removed, Ordering::Relaxed);
        removed
    }
}

impl RefreshStore for MemoryStore {
    /// If the store is full, the lock is held for a scan of the shard.
    async fn insert(&self, request: &InsertRequest) -> Result<InsertOutcome, StoreError> {
        let session = &request.session;
        let mut shard = self.shard(session.id.shard());
        if shard.sessions.contains_key(&session.id) {
            return Ok(InsertOutcome::Duplicate);
        }
        let evicted = match request.decide(shard.of_subject(&session.subject)) {
            Room::Enough => Vec::new(),
            Room::After(evicted) => evicted,
            Room::Refused => return Ok(InsertOutcome::LimitReached),
        };
        // Before any session is evicted: a full store must not end a session for a login that it
        // refuses.
        if !self.reserve() {
            // Only sessions that have expired make room: a live one is never removed.
            let freed = self.purge(&mut shard, session.created_at, usize::MAX);
            if freed == 0 || !self.reserve() {
                return Ok(InsertOutcome::Full);
            }
        }
        for id in &evicted {
            if let Some(record) = shard.sessions.get_mut(id) {
                revoke(record, RevokeReason::Limit, session.created_at);
                self.log().push(*id);
            }
        }
        shard.by_subject.entry(session.subject.clone()).or_default().insert(session.id);
        shard.sessions.insert(session.id, session.clone());
        Ok(InsertOutcome::Inserted { evicted })
    }

    async fn load(&self, id: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
        Ok(self.shard(id.shard()).sessions.get(id).cloned())
    }

    async fn rotate(&self, request: &RotateRequest) -> Result<RotateOutcome, StoreError> {
        let mut shard = self.shard(request.id.shard());
        let Some(record) = shard.sessions.get_mut(&request.id) else {
            return Ok(RotateOutcome::Unknown);
        };
        let decision = request.decide(record);
        if let Some(change) = decision.change {
            // The shard is still locked, so the id is in the log before the step is answered (R19).
            if matches!(change, Change::Revoke { .. }) {
                self.log().push(request.id);
            }
            record.apply(change);
        }
        Ok(decision.outcome)
    }

    async fn revoke(
        &self,
        id: &SessionId,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        let mut shard = self.shard(id.shard());
        let record = shard.sessions.get_mut(id);
        // An id that is not stored is logged, too: its session may have been purged while its
        // access token is still valid.
        if record.as_ref().is_none_or(|record| record.revoked.is_none()) {
            self.log().push(*id);
        }
        Ok(record.is_some_and(|record| revoke(record, reason, now)))
    }

    async fn revoke_subject(
        &self,
        subject: &str,
        keep: Option<&SessionId>,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<u64, StoreError> {
        let mut shard = self.shard(SessionId::shard_of(subject));
        let Shard { sessions, by_subject } = &mut *shard;
        let mut revoked = 0;
        for id in by_subject.get(subject).into_iter().flatten().filter(|id| Some(*id) != keep) {
            if sessions.get_mut(id).is_some_and(|record| revoke(record, reason, now)) {
                self.log().push(*id);
                revoked += 1;
            }
        }
        Ok(revoked)
    }

    async fn list(&self, request: &ListRequest) -> Result<Vec<SessionRecord>, StoreError> {
        let shard = self.shard(SessionId::shard_of(&request.subject));
        Ok(request.page(shard.of_subject(&request.subject)))
    }

    async fn purge_expired(&self, now: UnixMillis, limit: u32) -> Result<u64, StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut removed = 0;
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            // `purge` removes at most as many as it is asked to, so this does not underflow.
            removed += self.purge(&mut shard, now, limit - removed);
        }
        Ok(u64::try_from(removed).unwrap_or(u64::MAX))
    }

    /// The cursor is the number of an id. A number that the log has not reached belongs to another
    /// store, and the log begins at its start.
    async fn ended_after(&self, cursor: &EndedCursor) -> Result<EndedPage, StoreError> {
        let log = self.log();
        let from = cursor.as_bytes().try_into().map_or(0, u64::from_be_bytes);
        let from = if from <= log.end() { from } else { 0 };
        let seen = usize::try_from(from.saturating_sub(log.removed)).unwrap_or(usize::MAX);
        let ids = log.ids.iter().skip(seen).map(|(_, id)| *id).collect();
        Ok(EndedPage::last(ids, EndedCursor::new(log.end().to_be_bytes())))
    }

    async fn trim_ended(&self, kept_for: Duration) -> Result<u64, StoreError> {
        let mut log = self.log();
        // The ids are in the order of their times.
        let end = log.ids.partition_point(|(since, _)| since.elapsed() > kept_for);
        log.ids.drain(..end);
        let removed = u64::try_from(end).unwrap_or(u64::MAX);
        log.removed += removed;
        Ok(removed)
    }
}

impl Shard {
    fn of_subject(&self, subject: &str) -> impl Iterator<Item = &SessionRecord> {
        let ids = self.by_subject.get(subject).into_iter().flatten();
        ids.filter_map(|id| self.sessions.get(id))
    }

    fn purge(&mut self, now: UnixMillis, limit: usize) -> usize {
        let over = self.sessions.values().filter(|record| record.is_expired(now)).take(limit);
        let over: Vec<SessionId> = over.map(|record| record.id).collect();
        for id in &over {
            let Some(record) = self.sessions.remove(id) else { continue };
            if let Some(ids) = self.by_subject.get_mut(&record.subject) {
                ids.remove(id);
                if ids.is_empty() {
                    self.by_subject.remove(&record.subject);
                }
            }
        }
        over.len()
    }
}

/// Revokes a session that is not revoked yet. Returns whether it was.
fn revoke(record: &mut SessionRecord, reason: RevokeReason, now: UnixMillis) -> bool {
    let first = record.revoked.is_none();
    if first {
        record.revoked = Some(Revoked { at: now, reason });
    }
    first
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use core::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn now<T>(future: impl Future<Output = Result<T, StoreError>>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer.unwrap(),
            Poll::Pending => panic!("it waits"),
        }
    }

    /// A session that ends `lifetime` milliseconds after its login.
    fn session(subject: &str, created_at: i64, lifetime: i64) -> SessionRecord {
        let at = |after| UnixMillis::new(created_at + after);
        let id = SessionId::generate(subject).unwrap();
        let mut session = SessionRecord::new(id, subject, "web", "1", at(0), at(100));
        session.expires_at = at(lifetime);
        session
    }

    #[test]
    fn expired_sessions_make_room_when_the_store_is_full() {
        let store = MemoryStore::new(2);
        assert!(store.is_empty());
        let insert = |created_at, lifetime| {
            now(store.insert(&InsertRequest::new(session("user", created_at, lifetime))))
        };
        let outcomes = [(0, 10), (0, 20), (10, 20), (19, 20), (20, 20)]
            .map(|(created_at, lifetime)| (insert(created_at, lifetime), store.len()));
        let (inserted, full) = (InsertOutcome::INSERTED, InsertOutcome::Full);
        assert_eq!(
            outcomes,
            [
                (inserted.clone(), 1),
                (inserted.clone(), 2),
                (inserted.clone(), 2),
                (full, 2),
                (inserted, 2)
            ]
        );
        assert!(!store.is_empty());
    }

    #[test]
    fn a_purge_leaves_nothing_of_a_session() {
        let store = MemoryStore::new(100);
        for number in 0..100 {
            let session = session(&format!("user-{}", number / 2), 0, number);
            now(store.insert(&InsertRequest::new(session)));
        }
        // One of the two sessions of each subject, then the other.
        for (time, left) in [(50, 49), (100, 0)] {
            now(store.purge_expired(UnixMillis::new(time), u32::MAX));
            let shards = store.shards.iter().map(|shard| shard.lock().unwrap());
            let (sessions, ids) = shards
                .map(|shard| {
                    let ids = shard.by_subject.values();
                    assert!(ids.clone().all(|ids| !ids.is_empty()));
                    (shard.sessions.len(), ids.map(BTreeSet::len).sum::<usize>())
                })
                .fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
            assert_eq!((sessions, ids, store.len()), (left, left, left));
        }
    }
}
