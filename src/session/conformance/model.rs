//! Random operations on a few sessions. Each answer and each record is compared with a model: the
//! decision without I/O, and a map.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec::Vec,
};
use core::{mem, time::Duration};

use super::{
    random::Random,
    report::{Book, Case},
    stage::{ABSOLUTE, Complaint, DAY, GRACE, HOUR, MILLI, Stage, Verdict, ended, same},
};
use crate::session::{
    data::SessionData,
    id::SessionId,
    record::{RevokeReason, Revoked, SessionRecord},
    rotation::{AheadPolicy, RotateOutcome, RotateRequest},
    store::{
        EndedCursor, InsertOutcome, InsertRequest, ListCursor, ListRequest, RefreshStore, Room,
        SessionLimit,
    },
    time::UnixMillis,
};

const MODEL: Case = Case(
    "model/random_operations",
    "all",
    "find the first operation in the list whose answer differs, and the case above for its rule; Suite::seed repeats the run",
);

/// The number of operations in a round.
const OPERATIONS: u32 = 120;
/// The number of last operations that a complaint lists.
const TAIL: usize = 12;

pub(super) async fn run<S: RefreshStore>(stage: &Stage<S>, book: &mut Book) {
    book.case(MODEL, random_operations(stage)).await;
}

async fn random_operations<S: RefreshStore>(stage: &Stage<S>) -> Verdict {
    let mut random = Random::new(stage.seed);
    for round in 0..stage.rounds.div_ceil(2) {
        // Otherwise this round would purge and count the sessions of the last one.
        stage.sweep().await?;
        let subjects = [stage.subject()?, stage.subject()?];
        let mut model = Model {
            stage,
            random: random.clone(),
            subjects,
            now: stage.now,
            held: BTreeMap::new(),
            known: Vec::new(),
            ended: BTreeSet::new(),
            cursor: ended(&**stage.next(), EndedCursor::default()).await?.1,
            log: Vec::new(),
        };
        for _ in 0..OPERATIONS {
            if let Err(Complaint(found)) = model.operate().await {
                let tail = model.log.split_off(model.log.len().saturating_sub(TAIL));
                let seed = stage.seed;
                let tail = tail.join("\n        ");
                return Err(Complaint(format!(
                    "seed {seed}, round {round}: {found}; the last operations were\n        {tail}"
                )));
            }
        }
        random = model.random;
    }
    Ok(())
}

struct Model<'s, S> {
    stage: &'s Stage<S>,
    random: Random,
    subjects: [String; 2],
    now: UnixMillis,
    held: BTreeMap<SessionId, SessionRecord>,
    /// Sessions, including those that were purged or never inserted.
    known: Vec<SessionRecord>,
    /// The sessions that have ended since the log of ended sessions was last read, up to the
    /// cursor.
    ended: BTreeSet<SessionId>,
    cursor: EndedCursor,
    log: Vec<String>,
}

impl<S: RefreshStore> Model<'_, S> {
    async fn operate(&mut self) -> Verdict {
        self.step_the_clock();
        match self.random.below(20) {
            0 | 1 => self.insert().await,
            2 => self.revoke().await,
            3 => self.revoke_subject().await,
            4 => self.list().await,
            5 => self.follow().await,
            6 if self.stage.keeps => self.purge().await,
            6 => self.load_all().await,
            _ => self.rotate().await,
        }
    }

    /// Advances the clock, usually by a little or a lot; sometimes sets it back by up to an hour.
    fn step_the_clock(&mut self) {
        let millis = match self.random.below(20) {
            0..=8 => 0,
            9..=11 => 1,
            12..=15 => self.random.below(20_000),
            16 => self.random.below(3_600_000),
            17 => self.random.below(86_400_000),
            18 => GRACE.as_millis().try_into().unwrap_or(10_000),
            _ => {
                let back = i64::try_from(self.random.below(3_600_000)).unwrap_or(0);
                self.now = UnixMillis::new(self.now.get() - back).max(self.stage.now);
                0
            }
        };
        self.now = self.now.saturating_add(Duration::from_millis(millis));
    }

    fn lifetime(&mut self) -> Duration {
        let short = [MILLI, GRACE, HOUR, DAY, DAY, DAY];
        let long = [DAY, DAY, DAY * 2, DAY * 2, DAY * 3, DAY * 10];
        let lifetimes = if self.stage.keeps { short } else { long };
        self.random.pick(&lifetimes).copied().unwrap_or(DAY)
    }

    fn subject(&mut self) -> Verdict<String> {
        self.random.pick(&self.subjects).cloned().ok_or_else(nothing_to_pick)
    }

    fn reason(&mut self) -> RevokeReason {
        self.random.pick(RevokeReason::ALL).copied().unwrap_or(RevokeReason::Logout)
    }

    /// Returns one of the last few sessions most often, and sometimes one that was never inserted.
    fn session(&mut self) -> Verdict<SessionRecord> {
        if self.known.is_empty() || self.random.below(30) == 0 {
            let subject = self.subject()?;
            self.known.push(self.stage.session(&subject)?);
        }
        let older = if self.random.below(4) == 0 { 0 } else { self.known.len().saturating_sub(3) };
        let known = self.known.get(older..).unwrap_or(&self.known);
        self.random.pick(known).cloned().ok_or_else(nothing_to_pick)
    }

    fn note(&mut self, operation: String) {
        self.log.push(operation);
    }

    /// Compares the stored record of this id.
    async fn compare(&self, id: &SessionId) -> Verdict {
        match self.held.get(id) {
            Some(session) => self.stage.holds(format!("{id:?}"), session).await,
            None => self.stage.lacks(format!("{id:?}"), id).await,
        }
    }

    async fn load_all(&mut self) -> Verdict {
        for session in &self.known {
            self.compare(&session.id).await?;
        }
        Ok(())
    }

    async fn insert(&mut self) -> Verdict {
        let known = self.session()?;
        // A quarter of the inserts repeat an id, as a driver does after a lost answer.
        let id =
            if self.random.below(4) == 0 { known.id } else { SessionId::generate(&known.subject)? };
        let absolute = self.lifetime().max(if self.stage.keeps { MILLI } else { ABSOLUTE });
        let absolute_expires_at = self.now.saturating_add(absolute);
        let idle_lifetime = if self.random.below(4) == 0 { Some(self.lifetime()) } else { None };
        let max = self.random.pick(&[1, 2, 3]).copied().unwrap_or(1);
        let limits =
            [Some(SessionLimit::evict_oldest(max)), Some(SessionLimit::refuse(max)), None, None];
        let limit = self.random.pick(&limits).copied().flatten();
        let session = SessionRecord {
            id,
            label: (self.random.below(2) == 0).then(|| format!("at {}", self.now)),
            remembered: self.random.below(2) == 0,
            idle_lifetime,
            data: self.data()?,
            auth_time: self.now,
            created_at: self.now,
            rotated_at: self.now,
            absolute_expires_at,
            expires_at: self.now.saturating_add(self.lifetime()).min(absolute_expires_at),
            ..self.stage.session(&known.subject)?
        };
        let request = InsertRequest { limit, ..InsertRequest::new(session.clone()) };
        self.note(format!("insert {request:?}"));
        let others = self.held.values().filter(|other| other.subject == session.subject);
        let wanted = match (self.held.contains_key(&id), request.decide(others)) {
            (true, _) => InsertOutcome::Duplicate,
            (false, Room::Refused) => InsertOutcome::LimitReached,
            (false, Room::Enough) => InsertOutcome::INSERTED,
            (false, Room::After(evicted)) => InsertOutcome::Inserted { evicted },
        };
        if let InsertOutcome::Inserted { evicted } = &wanted {
            for id in evicted {
                let Some(evicted) = self.held.get_mut(id) else { continue };
                let revoked = Revoked { at: session.created_at, reason: RevokeReason::Limit };
                evicted.revoked = Some(revoked);
                self.ended.insert(*id);
            }
            self.held.insert(id, session.clone());
            self.known.push(session);
        }
        same("insert", &self.stage.insert_within(&request).await?, &wanted)?;
        self.load_all().await
    }

    /// Returns some data for a session.
    fn data(&mut self) -> Verdict<SessionData> {
        let length = self.random.pick(&[0, 1, 30, 1024]).copied().unwrap_or(0);
        let bytes: Vec<u8> = (0..length).map(|_| self.random.number().to_le_bytes()[0]).collect();
        SessionData::new(bytes).map_err(|error| Complaint(format!("{error}")))
    }

    async fn rotate(&mut self) -> Verdict {
        let known = self.session()?;
        let id = known.id;
        let current = self.held.get(&id).map_or(0, |session| session.generation);
        // Half of the tokens are current. The others are retries, reuses and tokens ahead of the
        // store.
        let generation = match self.random.below(20) {
            0..=9 => current,
            10..=14 => current.saturating_sub(1),
            15 | 16 => current.saturating_sub(2),
            17 => self.random.below(current + 1),
            18 => current + 1 + self.random.below(1000),
            _ => self.random.number(),
        };
        let graces = [Duration::ZERO, MILLI, GRACE, HOUR];
        let request = RotateRequest {
            now: self.now,
            was_current: self.random.below(4) == 0,
            waited: self.random.pick(&[Duration::ZERO, MILLI, GRACE]).copied().unwrap_or(GRACE),
            kid: format!("key {}", self.random.below(3)),
            grace: self.random.pick(&graces).copied().unwrap_or(GRACE),
            idle_lifetime: self.lifetime(),
            auth_time: (self.random.below(6) == 0).then_some(self.now),
            data: if self.random.below(3) == 0 { Some(self.data()?) } else { None },
            ahead: match self.random.below(3) {
                0 => AheadPolicy::Refuse,
                _ => AheadPolicy::Heal,
            },
            ..self.stage.request(&known, generation)
        };
        self.note(format!("{request:?}"));
        if let Some(session) = self.held.get_mut(&id) {
            if self.stage.present(session, &request).await? == RotateOutcome::Reused {
                self.ended.insert(id);
            }
            return Ok(());
        }
        same("rotate", &self.stage.rotate(&request).await?, &RotateOutcome::Unknown)?;
        self.compare(&id).await
    }

    async fn revoke(&mut self) -> Verdict {
        let (id, reason, now) = (self.session()?.id, self.reason(), self.now);
        self.note(format!("revoke {id:?}, {reason:?}, at {now}"));
        let session = self.held.get_mut(&id);
        if session.as_ref().is_none_or(|session| session.revoked.is_none()) {
            self.ended.insert(id);
        }
        let session = session.filter(|session| session.revoked.is_none());
        let wanted = session.map(|session| session.revoked = Some(Revoked { at: now, reason }));
        same("revoke", &self.stage.revoke(&id, reason, now).await?, &wanted.is_some())?;
        self.compare(&id).await
    }

    async fn revoke_subject(&mut self) -> Verdict {
        let (subject, reason, now) = (self.subject()?, self.reason(), self.now);
        let keep = if self.random.below(3) == 0 { None } else { Some(self.session()?.id) };
        self.note(format!("revoke_subject {subject:?}, keep {keep:?}, {reason:?}, at {now}"));
        let mut wanted = 0;
        for session in self.held.values_mut() {
            let ours = session.subject == subject && Some(session.id) != keep;
            if ours && session.revoked.is_none() {
                session.revoked = Some(Revoked { at: now, reason });
                self.ended.insert(session.id);
                wanted += 1;
            }
        }
        let count = self.stage.revoke_subject(&subject, keep.as_ref(), reason, now).await?;
        same("revoke_subject", &count, &wanted)?;
        self.load_all().await
    }

    async fn list(&mut self) -> Verdict {
        let (subject, now) = (self.subject()?, self.now);
        let limit = self.random.pick(&[u32::MAX, 2, 1, 0]).copied();
        let after = self.session()?;
        let request = ListRequest {
            after: (self.random.below(2) == 0).then(|| ListCursor::of(&after)),
            limit: limit.unwrap_or(u32::MAX),
            ..ListRequest::new(subject, now)
        };
        self.note(format!("{request:?}"));
        let wanted = request.page(self.held.values());
        same("list", &self.stage.page(&request).await?, &wanted)
    }

    /// Continues to read the log of ended sessions. Other tests write to it, too.
    async fn follow(&mut self) -> Verdict {
        self.note("ended_after".into());
        let (come, next) = ended(&**self.stage.next(), self.cursor.clone()).await?;
        self.cursor = next;
        let come: BTreeSet<SessionId> = come.into_iter().collect();
        let known: BTreeSet<SessionId> = self.known.iter().map(|session| session.id).collect();
        let wanted = mem::take(&mut self.ended);
        same("ended_after", &come.intersection(&known).copied().collect(), &wanted)
    }

    async fn purge(&mut self) -> Verdict {
        // All or none: a store may choose which ones it removes under a limit in between, so a seed
        // would not repeat the run.
        let limit = if self.random.below(4) == 0 { 0 } else { 1000 };
        let now = self.now;
        self.note(format!("purge_expired at {now}, up to {limit}"));
        let over = self.held.values().filter(|session| session.is_expired(now));
        let over: Vec<SessionId> = over.map(|session| session.id).collect();
        let wanted = u64::try_from(over.len()).unwrap_or(u64::MAX).min(u64::from(limit));
        same("purge_expired", &self.stage.purge(now, limit).await?, &wanted)?;
        let mut gone = 0;
        for id in over {
            if self.stage.load(&id).await?.is_none() {
                self.held.remove(&id);
                gone += 1;
            }
        }
        same("how many sessions are gone", &gone, &wanted)?;
        self.load_all().await
    }
}

fn nothing_to_pick() -> Complaint {
    Complaint("the model has nothing to pick from".into())
}
