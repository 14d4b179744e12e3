//! The common part of the cases: handles, sessions to test with, and comparisons that report the
//! difference.

use alloc::{format, string::String, sync::Arc, vec::Vec};
use core::{
    fmt::{Debug, Display},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::{sync::Barrier, task::JoinSet, time::Instant};

use crate::{
    key::KeyError,
    session::{
        conformance::Suite,
        data::SessionData,
        id::SessionId,
        record::{RevokeReason, SessionRecord},
        rotation::{Change, RotateOutcome, RotateRequest},
        store::{EndedCursor, InsertOutcome, InsertRequest, ListRequest, RefreshStore, StoreError},
        time::UnixMillis,
    },
};

pub(super) const MILLI: Duration = Duration::from_millis(1);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);
/// Longer than any race takes.
pub(super) const RACE: Duration = HOUR;
pub(super) const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The grace of a request, if the case sets none.
pub(super) const GRACE: Duration = Duration::from_secs(10);
/// How long a session of the suite lives without a refresh.
pub(super) const IDLE: Duration = DAY;
/// How long it lives at most.
pub(super) const ABSOLUTE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The start of the suite's sessions: the twelfth day of 1970, when no other session had ended, so
/// that a sweep removes no others. Except for a few that live very long, all of them have ended 300
/// days later.
const LONG_AGO: UnixMillis = UnixMillis::new(1_000_000_000);
const WINDOW: Duration = Duration::from_secs(300 * 24 * 3600);

pub(super) type Verdict<T = ()> = Result<T, Complaint>;

/// A description of what the store did wrong.
#[derive(Debug)]
pub(super) struct Complaint(pub(super) String);

impl From<KeyError> for Complaint {
    fn from(error: KeyError) -> Self {
        Self(format!("{error}"))
    }
}

/// Returns `complaint` as an error unless `holds`.
pub(super) fn ensure(holds: bool, complaint: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Complaint(complaint())) }
}

/// Returns an error unless the answer is the wanted one.
pub(super) fn same<T: PartialEq + Debug + ?Sized>(
    what: impl Display,
    answer: &T,
    wanted: &T,
) -> Verdict {
    ensure(answer == wanted, || format!("{what}: {answer:?}, and not {wanted:?}"))
}

/// Returns an error unless the record is the wanted one. It names the fields that differ.
pub(super) fn same_record(
    what: impl Display,
    found: Option<&SessionRecord>,
    wanted: &SessionRecord,
) -> Verdict {
    let Some(found) = found else {
        return Err(Complaint(format!("{what}: the session is not there")));
    };
    let mut differences = Vec::new();
    macro_rules! compare {
        ($($field:ident)*) => {$(
            if found.$field != wanted.$field {
                let (found, wanted) = (&found.$field, &wanted.$field);
                differences.push(format!("{} is {found:?}, and not {wanted:?}", stringify!($field)));
            }
        )*};
    }
    compare!(id subject client label created_at absolute_expires_at generation kid);
    compare!(rotated_at expires_at revoked remembered idle_lifetime auth_time data);
    ensure(differences.is_empty(), || format!("{what}: {}", differences.join("; ")))
}

/// How much longer than the step the stall may be that a store has counted. A store that reads its
/// server's clock from the answers does not know how long an answer has been under way.
const IMPRECISION: Duration = Duration::from_millis(100);

/// Returns the request with the stall that the store has counted into its rotation, if that is not
/// more than the `longest` time that the step took and the [`IMPRECISION`]. If the store rotated
/// nothing, the request is returned unchanged.
pub(super) fn as_stalled(
    request: &RotateRequest,
    before: &SessionRecord,
    stored: Option<&SessionRecord>,
    longest: Duration,
) -> RotateRequest {
    let rotated = match request.decide(before).change {
        Some(Change::Advance { generation, rotated_at, .. }) => Some((generation, rotated_at)),
        _ => None,
    };
    let stall = match (rotated, stored) {
        (Some((generation, rotated_at)), Some(stored)) if stored.generation == generation => {
            stored.rotated_at.saturating_since(rotated_at)
        }
        _ => Duration::ZERO,
    };
    if stall <= longest + IMPRECISION { request.after(stall) } else { request.clone() }
}

/// Several handles on the same data. Each step uses the next of them, so that one handle reads what
/// another has written.
pub(super) struct Stage<S> {
    handles: Vec<Arc<S>>,
    steps: AtomicUsize,
    /// The time at which sessions begin.
    pub(super) now: UnixMillis,
    /// Whether sessions stay until they are purged.
    pub(super) keeps: bool,
    /// Whether the store has no clock but the caller's.
    pub(super) shares_the_clock: bool,
    /// The deadline of every step.
    pub(super) deadline: Duration,
    /// How often a race is run.
    pub(super) rounds: u32,
    /// The seed of the random operations.
    pub(super) seed: u64,
}

/// A step to make, alone or concurrently with others.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Insert(InsertRequest),
    Rotate(RotateRequest),
    Revoke(SessionId, RevokeReason, UnixMillis),
    RevokeSubject(String, Option<SessionId>, RevokeReason, UnixMillis),
    Purge(UnixMillis, u32),
    Load(SessionId),
    List(ListRequest),
}

/// The answer to a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Insert(InsertOutcome),
    Rotate(RotateOutcome),
    Revoke(bool),
    Count(u64),
    Loaded(Option<SessionRecord>),
    Listed(Vec<SessionRecord>),
}

impl Step {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Insert(..) => "insert",
            Self::Rotate(..) => "rotate",
            Self::Revoke(..) => "revoke",
            Self::RevokeSubject(..) => "revoke_subject",
            Self::Purge(..) => "purge_expired",
            Self::Load(..) => "load",
            Self::List(..) => "list",
        }
    }

    pub(super) async fn take(&self, store: &impl RefreshStore) -> Result<Answer, StoreError> {
        match self {
            Self::Insert(request) => store.insert(request).await.map(Answer::Insert),
            Self::Rotate(request) => store.rotate(request).await.map(Answer::Rotate),
            Self::Revoke(id, reason, now) => {
                store.revoke(id, *reason, *now).await.map(Answer::Revoke)
            }
            Self::RevokeSubject(subject, keep, reason, now) => {
                store.revoke_subject(subject, keep.as_ref(), *reason, *now).await.map(Answer::Count)
            }
            Self::Purge(now, limit) => store.purge_expired(*now, *limit).await.map(Answer::Count),
            Self::Load(id) => store.load(id).await.map(Answer::Loaded),
            Self::List(request) => store.list(request).await.map(Answer::Listed),
        }
    }
}

pub(super) fn fault(step: &'static str) -> impl FnOnce(StoreError) -> Complaint {
    move |error| Complaint(format!("{step} failed: {error}"))
}

impl<S: RefreshStore> Stage<S> {
    pub(super) fn new(handles: Vec<Arc<S>>, keeps: bool, rounds: u32, seed: u64) -> Self {
        let now = if keeps { LONG_AGO } else { UnixMillis::now() };
        let steps = AtomicUsize::new(0);
        Self {
            handles,
            steps,
            now,
            keeps,
            shares_the_clock: false,
            deadline: Suite::DEADLINE,
            rounds,
            seed,
        }
    }

    /// Returns all handles.
    pub(super) fn handles(&self) -> &[Arc<S>] {
        &self.handles
    }

    /// Returns the next handle.
    pub(super) fn next(&self) -> &Arc<S> {
        let step = self.steps.fetch_add(1, Ordering::Relaxed);
        self.handles.get(step % self.handles.len()).expect("a remainder is below its divisor")
    }

    /// Returns the time `after` the start of the sessions.
    pub(super) fn at(&self, after: Duration) -> UnixMillis {
        self.now.saturating_add(after)
    }

    /// Returns a subject that no other session has.
    #[expect(clippy::unused_self, reason = "reads better with the rest")]
    pub(super) fn subject(&self) -> Verdict<String> {
        Ok(format!("conformance {}", SessionId::generate("")?))
    }

    /// Returns a session that begins now and is not inserted yet.
    pub(super) fn session(&self, subject: &str) -> Verdict<SessionRecord> {
        let id = SessionId::generate(subject)?;
        let end = self.at(ABSOLUTE);
        let mut session = SessionRecord::new(id, subject, "conformance", "first", self.now, end);
        session.label = Some("a session of the conformance suite".into());
        session.expires_at = self.at(IDLE);
        session.data = SessionData::new(*b"data \0 \xff").unwrap_or_default();
        Ok(session)
    }

    /// Inserts a [`session`](Self::session) for a new subject.
    pub(super) async fn logged_in(&self) -> Verdict<SessionRecord> {
        let session = self.session(&self.subject()?)?;
        self.add(&session).await?;
        Ok(session)
    }

    /// Returns a request for this generation, at the start of the sessions.
    pub(super) fn request(&self, session: &SessionRecord, generation: u64) -> RotateRequest {
        RotateRequest::new(session.id, generation, "next", self.now, GRACE, IDLE)
    }

    pub(super) async fn insert(&self, session: &SessionRecord) -> Verdict<InsertOutcome> {
        self.insert_within(&InsertRequest::new(session.clone())).await
    }

    pub(super) async fn insert_within(&self, request: &InsertRequest) -> Verdict<InsertOutcome> {
        self.next().insert(request).await.map_err(fault("insert"))
    }

    /// Inserts a new session.
    pub(super) async fn add(&self, session: &SessionRecord) -> Verdict {
        same("insert of a new session", &self.insert(session).await?, &InsertOutcome::INSERTED)
    }

    pub(super) async fn load(&self, id: &SessionId) -> Verdict<Option<SessionRecord>> {
        load(&**self.next(), id).await
    }

    pub(super) async fn rotate(&self, request: &RotateRequest) -> Verdict<RotateOutcome> {
        self.next().rotate(request).await.map_err(fault("rotate"))
    }

    pub(super) async fn revoke(
        &self,
        id: &SessionId,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Verdict<bool> {
        self.next().revoke(id, reason, now).await.map_err(fault("revoke"))
    }

    pub(super) async fn revoke_subject(
        &self,
        subject: &str,
        keep: Option<&SessionId>,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Verdict<u64> {
        let answer = self.next().revoke_subject(subject, keep, reason, now).await;
        answer.map_err(fault("revoke_subject"))
    }

    pub(super) async fn list(&self, subject: &str, now: UnixMillis) -> Verdict<Vec<SessionRecord>> {
        list(&**self.next(), &ListRequest::new(subject, now)).await
    }

    pub(super) async fn page(&self, request: &ListRequest) -> Verdict<Vec<SessionRecord>> {
        list(&**self.next(), request).await
    }

    pub(super) async fn purge(&self, now: UnixMillis, limit: u32) -> Verdict<u64> {
        self.next().purge_expired(now, limit).await.map_err(fault("purge_expired"))
    }

    pub(super) async fn trim(&self, kept_for: Duration) -> Verdict<u64> {
        self.next().trim_ended(kept_for).await.map_err(fault("trim_ended"))
    }

    /// Returns an error unless the store has exactly this record.
    pub(super) async fn holds(&self, what: impl Display, session: &SessionRecord) -> Verdict {
        same_record(what, self.load(&session.id).await?.as_ref(), session)
    }

    /// Returns an error if the store has a session with this id.
    pub(super) async fn lacks(&self, what: impl Display, id: &SessionId) -> Verdict {
        same(what, &self.load(id).await?, &None)
    }

    /// Presents a token of `session` and applies the decision to `session`. Returns an error unless
    /// the store answers what was decided, and stores it.
    pub(super) async fn present(
        &self,
        session: &mut SessionRecord,
        request: &RotateRequest,
    ) -> Verdict<RotateOutcome> {
        let asked = Instant::now();
        let outcome = self.rotate(request).await?;
        let stored = self.load(&session.id).await?;
        let request = as_stalled(request, session, stored.as_ref(), asked.elapsed());
        let decision = request.decide(session);
        let what = || format!("{request:?} of {session:?}");
        same(what(), &outcome, &decision.outcome)?;
        let what = format!("after {}, which was answered {outcome:?}", what());
        if let Some(change) = decision.change {
            session.apply(change);
        }
        same_record(what, stored.as_ref(), session)?;
        Ok(outcome)
    }

    /// Presents a token, like [`present`](Self::present), at the start of the sessions.
    pub(super) async fn use_token(
        &self,
        session: &mut SessionRecord,
        generation: u64,
    ) -> Verdict<RotateOutcome> {
        let request = self.request(session, generation);
        self.present(session, &request).await
    }

    /// Presents a token, like [`present`](Self::present), and compares the outcome with the wanted
    /// one.
    pub(super) async fn presented(
        &self,
        session: &mut SessionRecord,
        request: &RotateRequest,
        wanted: &RotateOutcome,
    ) -> Verdict {
        let outcome = self.present(session, request).await?;
        same(format_args!("{request:?}"), &outcome, wanted)
    }

    /// Removes the suite's sessions, except those that live very long.
    pub(super) async fn sweep(&self) -> Verdict {
        // Far more rounds than necessary, for a store that never reports that it is done.
        for _ in 0..100 {
            if !self.keeps || self.purge(self.at(WINDOW), 1000).await? < 1000 {
                break;
            }
        }
        Ok(())
    }

    /// Makes all steps at once, through all handles, and returns the answers in the order of the
    /// steps.
    pub(super) async fn race(&self, steps: &[Step]) -> Verdict<Vec<Answer>> {
        let barrier = Arc::new(Barrier::new(steps.len()));
        let mut tasks = JoinSet::new();
        for (index, step) in steps.iter().cloned().enumerate() {
            let (store, barrier) = (self.next().clone(), barrier.clone());
            tasks.spawn(async move {
                barrier.wait().await;
                (index, step.take(&*store).await.map_err(fault(step.name())))
            });
        }
        let mut answers = Vec::with_capacity(steps.len());
        while let Some(done) = tasks.join_next().await {
            let (index, answer) = done.map_err(|error| Complaint(format!("a race: {error}")))?;
            answers.push((index, answer?));
        }
        answers.sort_by_key(|(index, _)| *index);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }
}

/// Loads through this handle.
pub(super) async fn load(
    store: &impl RefreshStore,
    id: &SessionId,
) -> Verdict<Option<SessionRecord>> {
    store.load(id).await.map_err(fault("load"))
}

/// Lists through this handle.
pub(super) async fn list(
    store: &impl RefreshStore,
    request: &ListRequest,
) -> Verdict<Vec<SessionRecord>> {
    store.list(request).await.map_err(fault("list"))
}

/// Reads the log of ended sessions through this handle, from `cursor` to its end. Returns the ids
/// and the end.
pub(super) async fn ended(
    store: &impl RefreshStore,
    mut cursor: EndedCursor,
) -> Verdict<(Vec<SessionId>, EndedCursor)> {
    let mut ids = Vec::new();
    loop {
        let page = store.ended_after(&cursor).await.map_err(fault("ended_after"))?;
        ids.extend(page.ids);
        cursor = page.next;
        if page.is_last {
            return Ok((ids, cursor));
        }
    }
}
