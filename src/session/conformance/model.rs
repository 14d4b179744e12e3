//! Random operations on a few sessions. The store under test and the [`MemoryStore`] take the same
//! steps, and each answer and each record is compared.

use alloc::{collections::BTreeSet, format, string::String, vec::Vec};
use core::time::Duration;

use tokio::time::Instant;

use super::{
    random::Random,
    report::{Book, Case},
    stage::{
        ABSOLUTE, Answer, Complaint, DAY, GRACE, HOUR, MILLI, Stage, Step, Verdict, as_stalled,
        ended, fault, load, same, same_record,
    },
};
use crate::session::{
    data::SessionData,
    id::SessionId,
    record::{RevokeReason, SessionRecord},
    rotation::{AheadPolicy, RotateRequest},
    store::{
        EndedCursor, InsertOutcome, InsertRequest, ListCursor, ListRequest, MemoryStore,
        RefreshStore, SessionLimit,
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
        let mut twins = Twins {
            stage,
            random: random.clone(),
            subjects: [stage.subject()?, stage.subject()?],
            now: stage.now,
            memory: MemoryStore::new(usize::MAX),
            known: Vec::new(),
            cursor: ended(&**stage.next(), EndedCursor::default()).await?.1,
            memory_cursor: EndedCursor::default(),
            log: Vec::new(),
        };
        for _ in 0..OPERATIONS {
            if let Err(Complaint(found)) = twins.operate().await {
                let tail = twins.log.split_off(twins.log.len().saturating_sub(TAIL));
                let seed = stage.seed;
                let tail = tail.join("\n        ");
                return Err(Complaint(format!(
                    "seed {seed}, round {round}: {found}; the last operations were\n        {tail}"
                )));
            }
        }
        random = twins.random;
    }
    Ok(())
}

/// The store under test, on its stage, and the store in memory.
struct Twins<'s, S> {
    stage: &'s Stage<S>,
    random: Random,
    subjects: [String; 2],
    now: UnixMillis,
    memory: MemoryStore,
    /// Sessions, including those that were purged or never inserted.
    known: Vec<SessionRecord>,
    /// Where the log of ended sessions was last read, in each store.
    cursor: EndedCursor,
    memory_cursor: EndedCursor,
    log: Vec<String>,
}

impl<S: RefreshStore> Twins<'_, S> {
    async fn operate(&mut self) -> Verdict {
        self.step_the_clock();
        let step = match self.random.below(20) {
            0 | 1 => Step::Insert(self.insert()?),
            2 => Step::Revoke(self.session()?.id, self.reason(), self.now),
            3 => {
                let keep = if self.random.below(3) == 0 { None } else { Some(self.session()?.id) };
                Step::RevokeSubject(self.subject()?, keep, self.reason(), self.now)
            }
            4 => Step::List(self.list()?),
            5 => return self.follow().await,
            // All or none: a store may choose which ones it removes under a limit in between, so a
            // seed would not repeat the run.
            6 if self.stage.keeps => {
                Step::Purge(self.now, if self.random.below(4) == 0 { 0 } else { 1000 })
            }
            6 => Step::Load(self.session()?.id),
            _ => Step::Rotate(self.rotate().await?),
        };
        self.log.push(format!("{step:?}"));
        self.take(step).await
    }

    /// Both stores take a step. Returns an error if their answers or their records differ.
    async fn take(&mut self, mut step: Step) -> Verdict {
        let asked = Instant::now();
        let answer = step.take(&**self.stage.next()).await.map_err(fault(step.name()))?;
        if let Step::Rotate(request) = &mut step {
            let stored = self.stage.load(&request.id).await?;
            if let Some(before) = load(&self.memory, &request.id).await? {
                *request = as_stalled(request, &before, stored.as_ref(), asked.elapsed());
            }
        }
        let wanted = step.take(&self.memory).await.map_err(fault(step.name()))?;
        same(format_args!("{step:?}"), &answer, &wanted)?;
        match &step {
            Step::Rotate(RotateRequest { id, .. }) | Step::Revoke(id, ..) | Step::Load(id) => {
                self.compare(&step, id).await
            }
            Step::List(_) => Ok(()),
            Step::Insert(request) => {
                if matches!(answer, Answer::Insert(InsertOutcome::Inserted { .. })) {
                    self.known.push(request.session.clone());
                }
                self.compare_all(&step).await
            }
            Step::RevokeSubject(..) | Step::Purge(..) => self.compare_all(&step).await,
        }
    }

    /// Compares the records of this id.
    async fn compare(&self, step: &Step, id: &SessionId) -> Verdict {
        let stored = self.stage.load(id).await?;
        let what = format!("{id:?} after {step:?}");
        match load(&self.memory, id).await? {
            Some(wanted) => same_record(what, stored.as_ref(), &wanted),
            None => same(what, &stored, &None),
        }
    }

    async fn compare_all(&self, step: &Step) -> Verdict {
        for session in &self.known {
            self.compare(step, &session.id).await?;
        }
        Ok(())
    }

    /// Continues to read the log of ended sessions. Other tests write to it, too.
    async fn follow(&mut self) -> Verdict {
        self.log.push("ended_after".into());
        let (found, next) = ended(&**self.stage.next(), self.cursor.clone()).await?;
        let (wanted, memory_next) = ended(&self.memory, self.memory_cursor.clone()).await?;
        (self.cursor, self.memory_cursor) = (next, memory_next);
        let known: BTreeSet<SessionId> = self.known.iter().map(|session| session.id).collect();
        let of_known = |ids: Vec<SessionId>| -> BTreeSet<SessionId> {
            ids.into_iter().filter(|id| known.contains(id)).collect()
        };
        same("ended_after", &of_known(found), &of_known(wanted))
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

    fn insert(&mut self) -> Verdict<InsertRequest> {
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
        Ok(InsertRequest { limit, ..InsertRequest::new(session) })
    }

    /// Returns some data for a session.
    fn data(&mut self) -> Verdict<SessionData> {
        let length = self.random.pick(&[0, 1, 30, 1024]).copied().unwrap_or(0);
        let bytes: Vec<u8> = (0..length).map(|_| self.random.number().to_le_bytes()[0]).collect();
        SessionData::new(bytes).map_err(|error| Complaint(format!("{error}")))
    }

    async fn rotate(&mut self) -> Verdict<RotateRequest> {
        let known = self.session()?;
        let held = load(&self.memory, &known.id).await?;
        let current = held.map_or(0, |session| session.generation);
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
        Ok(RotateRequest {
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
        })
    }

    fn list(&mut self) -> Verdict<ListRequest> {
        let (subject, after) = (self.subject()?, self.session()?);
        let limit = self.random.pick(&[u32::MAX, 2, 1, 0]).copied();
        Ok(ListRequest {
            after: (self.random.below(2) == 0).then(|| ListCursor::of(&after)),
            limit: limit.unwrap_or(u32::MAX),
            ..ListRequest::new(subject, self.now)
        })
    }
}

fn nothing_to_pick() -> Complaint {
    Complaint("there is nothing to pick from".into())
}
