//! One step of a store, as a node takes it.

use std::{
    collections::BTreeSet,
    future::poll_fn,
    mem,
    task::{Poll, Waker},
    time::Duration,
};

use kippu::session::{
    RevokeReason, SessionId, SessionRecord, UnixMillis,
    rotation::{Change, RotateOutcome, RotateRequest},
    store::{EndedCursor, EndedPage, InsertOutcome, InsertRequest, ListRequest},
};

use super::{
    Database, Node, Replication, Role, State,
    data::{Data, Ended, Write},
};
use crate::{flaw::Flaw, log::Micros, time::Time};

/// A step of a store.
#[derive(Clone, Debug)]
pub enum Operation {
    Insert(InsertRequest),
    Load(SessionId),
    Rotate(RotateRequest),
    Revoke {
        id: SessionId,
        reason: RevokeReason,
        now: UnixMillis,
    },
    RevokeSubject {
        subject: String,
        keep: Option<SessionId>,
        reason: RevokeReason,
        now: UnixMillis,
    },
    List(ListRequest),
    Purge {
        now: UnixMillis,
        limit: usize,
    },
    EndedAfter(EndedCursor),
    TrimEnded(Duration),
}

/// The answer to a step.
#[derive(Clone, Debug)]
pub enum Outcome {
    Inserted(InsertOutcome),
    Loaded(Option<SessionRecord>),
    Rotated(RotateOutcome),
    Revoked(u64),
    Listed(Vec<SessionRecord>),
    Removed(u64),
    Page(EndedPage),
}

/// Why a node does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Down,
    /// It is not the primary.
    NotPrimary,
}

/// The most entries of a page of the log, where pages are short.
const SHORT_PAGE: u64 = 3;

/// The longest time between the decision of a change and its commit, where nothing holds it, in
/// microseconds.
pub const LONGEST_COMMIT: Micros = 200_000;

/// A shard that is locked until this is dropped.
struct Lock<'d> {
    database: &'d Database,
    shard: u16,
    number: u64,
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.database.state.lock();
            // The lock of a node that has died is another's meanwhile.
            if state.locked.get(&self.shard) == Some(&self.number) {
                state.locked.remove(&self.shard);
            }
            mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Operation {
    fn is_read(&self) -> bool {
        matches!(self, Self::Load(_) | Self::List(_) | Self::EndedAfter(_))
    }

    /// The shard that it locks.
    fn shard(&self) -> Option<u16> {
        match self {
            Self::Insert(request) => Some(request.session.id.shard()),
            Self::Rotate(request) => Some(request.id.shard()),
            Self::Revoke { id, .. } => Some(id.shard()),
            Self::RevokeSubject { subject, .. } => Some(SessionId::shard_of(subject)),
            _ => None,
        }
    }
}

impl Database {
    /// Takes a step on a node, for a request that was sent at a time.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn take(
        &self,
        host: u32,
        node: usize,
        operation: Operation,
        sent: Micros,
    ) -> Result<Outcome, Fault> {
        self.wait_for(node, |node| node.holds.everything).await;
        let life = self.life(node, &operation)?;
        if operation.is_read() {
            let outcome = self.read(node, &operation);
            self.machine.mark(host, || seen(&outcome));
            return Ok(outcome);
        }
        self.wait_for(node, |node| node.holds.changes).await;
        let flaw = self.state.lock().flaw;
        let is_unlocked = match flaw {
            Some(Flaw::CountsWithoutLock) => matches!(operation, Operation::Insert(_)),
            Some(Flaw::Upserts) => matches!(operation, Operation::Rotate(_)),
            _ => false,
        };
        let _lock = match operation.shard() {
            Some(shard) if !is_unlocked => Some(self.lock(node, life, shard).await?),
            _ => None,
        };
        self.alive(node, life)?;
        let changed = self.machine.now();
        let (outcome, mut writes, removed) = {
            let mut state = self.state.lock();
            let (outcome, writes) = state.decide(node, &operation, changed.saturating_sub(sent));
            let removed: BTreeSet<u16> = writes.iter().filter_map(Write::removed).collect();
            let removed: Vec<_> =
                removed.into_iter().map(|shard| (shard, state.lock(shard))).collect();
            (outcome, writes, removed)
        };
        // A purge holds what it removes until its commit.
        let removed = removed.into_iter();
        let _removed: Vec<_> =
            removed.map(|(shard, number)| Lock { database: self, shard, number }).collect();
        self.machine.mark(host, || seen(&outcome));
        if writes.is_empty() {
            return Ok(outcome);
        }
        let longest = if self.machine.happens(20) { LONGEST_COMMIT } else { 3_000 };
        self.machine.pass(self.machine.between(50, longest)).await;
        self.wait_for(node, |node| node.holds.commits.max(node.holds.everything)).await;
        self.alive(node, life)?;
        let waited = self.machine.now().saturating_sub(changed);
        if flaw != Some(Flaw::GraceFromPresentation) {
            correct(&operation, &outcome, &mut writes, waited);
        }
        self.commit(node, writes);
        if self.replication() == Replication::Sync {
            // The standby has it before anybody sees it.
            self.catch_up();
        }
        Ok(outcome)
    }

    async fn wait_for(&self, node: usize, until: impl Fn(&Node) -> Micros) {
        loop {
            let now = self.machine.now();
            let until = self.state.lock().nodes.get(node).map_or(0, &until);
            if until <= now {
                return;
            }
            self.machine.sleep((until - now).min(10_000)).await;
        }
    }

    /// The life that a node is in, if it can take the step.
    fn life(&self, node: usize, operation: &Operation) -> Result<u64, Fault> {
        let state = self.state.lock();
        let node = state.nodes.get(node).filter(|node| node.is_up).ok_or(Fault::Down)?;
        let is_blind = operation.is_read() && state.flaw == Some(Flaw::ReadsDemoted);
        if node.role == Role::Primary || is_blind { Ok(node.life) } else { Err(Fault::NotPrimary) }
    }

    fn alive(&self, node: usize, life: u64) -> Result<(), Fault> {
        let state = self.state.lock();
        let is_same = |node: &&Node| node.is_up && node.life == life && node.role == Role::Primary;
        state.nodes.get(node).filter(is_same).map(|_| ()).ok_or(Fault::Down)
    }

    async fn lock(&self, node: usize, life: u64, shard: u16) -> Result<Lock<'_>, Fault> {
        poll_fn(|context| {
            self.alive(node, life)?;
            let mut state = self.state.lock();
            if state.locked.contains_key(&shard) {
                state.waiting.push(context.waker().clone());
                return Poll::Pending;
            }
            let number = state.lock(shard);
            Poll::Ready(Ok(Lock { database: self, shard, number }))
        })
        .await
    }

    fn commit(&self, node: usize, writes: Vec<Write>) {
        let mut state = self.state.lock();
        let now = self.machine.now();
        if let Some(node) = state.nodes.get_mut(node) {
            for write in &writes {
                node.data.apply(write);
            }
        }
        state.log.push((now, writes));
        drop(state);
        self.machine.mark(u32::MAX, || "commit".to_owned());
    }

    fn read(&self, node: usize, operation: &Operation) -> Outcome {
        let state = self.state.lock();
        let Some(node) = state.nodes.get(node) else { return Outcome::Removed(0) };
        match operation {
            Operation::List(request) => Outcome::Listed(request.page(node.data.all())),
            Operation::EndedAfter(cursor) => {
                let limit = if self.machine.happens(20) { SHORT_PAGE } else { u64::MAX };
                Outcome::Page(page(&node.data, cursor, limit, state.flaw))
            }
            Operation::Load(id) => Outcome::Loaded(node.data.get(id).cloned()),
            _ => Outcome::Removed(0),
        }
    }
}

/// Describes an answer without ids, which are random.
fn seen(outcome: &Outcome) -> String {
    let Outcome::Loaded(record) = outcome else { return format!("{outcome:?}") };
    let record = record.as_ref();
    let known = record.map(|record| (record.generation, record.revoked, record.rotated_at));
    format!("{known:?}")
}

impl State {
    fn lock(&mut self, shard: u16) -> u64 {
        self.last_lock += 1;
        self.locked.insert(shard, self.last_lock);
        self.last_lock
    }

    /// Decides a step: the answer, and the writes to commit before it.
    fn decide(
        &mut self,
        node: usize,
        operation: &Operation,
        stall: Micros,
    ) -> (Outcome, Vec<Write>) {
        let Self { flaw, nodes, locked, .. } = self;
        let flaw = *flaw;
        let Some(node) = nodes.get_mut(node) else { return (Outcome::Removed(0), Vec::new()) };
        let at = UnixMillis::new(kippu::Clock::unix_millis(&node.clock));
        let data = &mut node.data;
        match operation {
            Operation::Insert(request) => insert(data, request, at),
            Operation::Rotate(request) => rotate(data, request, stall, at, flaw),
            Operation::Revoke { id, reason, now } => {
                let Some(record) = data.get(id).cloned() else {
                    return (Outcome::Revoked(0), vec![end(data, *id, *now, at)]);
                };
                let writes = revoke(data, record, *reason, *now, at);
                (Outcome::Revoked(u64::from(!writes.is_empty())), writes)
            }
            Operation::RevokeSubject { subject, keep, reason, now } => {
                let of_subject: Vec<_> = data.of(subject).cloned().collect();
                let ended = of_subject.into_iter().filter(|record| Some(record.id) != *keep);
                let ended: Vec<_> =
                    ended.map(|record| revoke(data, record, *reason, *now, at)).collect();
                let count = ended.iter().filter(|writes| !writes.is_empty()).count();
                (Outcome::Revoked(number(count)), ended.into_iter().flatten().collect())
            }
            Operation::Purge { now, limit } => {
                let is_over = |record: &&SessionRecord| {
                    let is_over_here =
                        record.is_expired(at) || flaw == Some(Flaw::PurgesByOneClock);
                    record.is_expired(*now) && is_over_here
                };
                // The next purge removes the sessions that another step holds now.
                let is_free = |record: &&SessionRecord| !locked.contains_key(&record.id.shard());
                let over = data.all().filter(is_over).filter(is_free).take(*limit);
                let over: Vec<_> = over.map(|record| Write::Remove(record.id)).collect();
                (Outcome::Removed(number(over.len())), over)
            }
            Operation::TrimEnded(kept_for) => {
                let is_old = |ended: &&Ended| at.saturating_since(ended.at) > *kept_for;
                let count = data.ended_from(0).iter().take_while(is_old).count();
                let write = (count > 0).then_some(Write::Trim(count));
                (Outcome::Removed(number(count)), write.into_iter().collect())
            }
            Operation::Load(_) | Operation::List(_) | Operation::EndedAfter(_) => {
                (Outcome::Removed(0), Vec::new())
            }
        }
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn end(data: &mut Data, id: SessionId, caller: UnixMillis, at: UnixMillis) -> Write {
    data.last_number += 1;
    Write::End(Ended { id, number: data.last_number, caller, at })
}

fn revoke(
    data: &mut Data,
    mut record: SessionRecord,
    reason: RevokeReason,
    now: UnixMillis,
    at: UnixMillis,
) -> Vec<Write> {
    if record.revoked.is_some() {
        return Vec::new();
    }
    let id = record.id;
    record.apply(Change::Revoke { at: now, reason });
    vec![Write::Put(Box::new(record)), end(data, id, now, at)]
}

/// The sessions of one time are in the order of their insertion, where ids have a part that is
/// random.
fn insert(data: &mut Data, request: &InsertRequest, at: UnixMillis) -> (Outcome, Vec<Write>) {
    let session = &request.session;
    if data.get(&session.id).is_some() {
        return (Outcome::Inserted(InsertOutcome::Duplicate), Vec::new());
    }
    let now = session.created_at;
    let mut evicted = Vec::new();
    if let Some(limit) = request.limit {
        let live = data.of(&session.subject).filter(|record| record.is_live(now));
        let mut live: Vec<_> = live.cloned().collect();
        live.sort_by_key(|record| record.created_at);
        let room = usize::try_from(limit.max()).unwrap_or(usize::MAX).saturating_sub(1);
        let excess = live.len().saturating_sub(room);
        if excess > 0 && !limit.evicts() {
            return (Outcome::Inserted(InsertOutcome::LimitReached), Vec::new());
        }
        live.truncate(excess);
        evicted = live;
    }
    let ids = evicted.iter().map(|record| record.id).collect();
    let evicted = evicted.into_iter();
    let mut writes: Vec<_> =
        evicted.flat_map(|record| revoke(data, record, RevokeReason::Limit, now, at)).collect();
    writes.push(Write::Put(Box::new(session.clone())));
    (Outcome::Inserted(InsertOutcome::Inserted { evicted: ids }), writes)
}

fn rotate(
    data: &mut Data,
    request: &RotateRequest,
    stall: Micros,
    at: UnixMillis,
    flaw: Option<Flaw>,
) -> (Outcome, Vec<Write>) {
    let Some(mut record) = data.get(&request.id).cloned() else {
        return (Outcome::Rotated(RotateOutcome::Unknown), Vec::new());
    };
    let mut after = request.after(Duration::from_micros(stall));
    if flaw == Some(Flaw::GraceFromPresentation) {
        after.waited = Duration::ZERO;
    }
    let mut decision = after.decide(&record);
    if let (RotateOutcome::Replayed(_), Some(Flaw::SlidingGrace)) = (&decision.outcome, flaw) {
        record.rotated_at = after.rotated_at();
        return (Outcome::Rotated(decision.outcome), vec![Write::Put(Box::new(record))]);
    }
    if let (RotateOutcome::Replayed(successor), Some(Flaw::ForgetsTheKey)) =
        (&mut decision.outcome, flaw)
    {
        successor.kid.clone_from(&request.kid);
    }
    let mut writes = Vec::new();
    if let Some(change) = decision.change {
        let is_end = matches!(change, Change::Revoke { .. });
        record.apply(change);
        writes.push(Write::Put(Box::new(record)));
        if is_end {
            writes.push(end(data, request.id, request.now, at));
        }
        if is_end && flaw == Some(Flaw::RollsBackRevocation) {
            writes.clear();
        }
    }
    (Outcome::Rotated(decision.outcome), writes)
}

/// The grace begins with the commit: where that came much later than the decision, the times of the
/// rotation move.
fn correct(operation: &Operation, outcome: &Outcome, writes: &mut [Write], waited: Micros) {
    let (Operation::Rotate(request), waited) = (operation, Duration::from_micros(waited)) else {
        return;
    };
    // A reauthentication within the grace of a rotation does not rotate.
    let is_rotation = matches!(
        outcome,
        Outcome::Rotated(RotateOutcome::Rotated(_) | RotateOutcome::Healed { .. })
    );
    if !is_rotation || waited <= request.grace / 8 {
        return;
    }
    for write in writes {
        if let Write::Put(record) = write
            && record.revoked.is_none()
        {
            let end = record.expires_at.saturating_add(waited).min(record.absolute_expires_at);
            record.rotated_at = record.rotated_at.saturating_add(waited);
            record.expires_at = end;
        }
    }
}

/// A page of the log of ended sessions behind a cursor.
fn page(data: &Data, cursor: &EndedCursor, limit: u64, flaw: Option<Flaw>) -> EndedPage {
    let words: Vec<u64> = cursor
        .as_bytes()
        .chunks_exact(8)
        .map(|word| u64::from_be_bytes(word.try_into().unwrap_or_default()))
        .collect();
    let from = match *words {
        [timeline, place] if timeline == data.timeline => place,
        // The log of another primary is read from its beginning.
        _ => 0,
    };
    let next = |place: u64| EndedCursor::new([data.timeline, place].map(u64::to_be_bytes).concat());
    let behind = |key: fn(&Ended) -> u64| {
        let all = data.ended_from(0).iter();
        let found: Vec<_> = all.filter(|ended| key(ended) > from).collect();
        let last = found.iter().map(|ended| key(ended)).max().unwrap_or(from);
        EndedPage::last(found.iter().map(|ended| ended.id).collect(), next(last))
    };
    match flaw {
        Some(Flaw::SequenceCursor) => return behind(|ended| ended.number),
        Some(Flaw::TimeCursor) => {
            return behind(|ended| u64::try_from(ended.caller.get()).unwrap_or(0));
        }
        _ => {}
    }
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let found = data.ended_from(from);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let ids: Vec<_> = found.iter().take(limit).map(|ended| ended.id).collect();
    let end = from.max(data.trimmed) + ids.len();
    let is_last = end >= data.end();
    let next = next(number(end));
    if is_last { EndedPage::last(ids, next) } else { EndedPage::more(ids, next) }
}
