//! A small store in memory that a test can break in one way at a time, as real stores have been
//! broken.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use kippu::session::{
    ListCursor, RefreshStore, RevokeReason, Revoked, SessionData, SessionId, SessionLimit,
    SessionRecord, StoreError, StoreErrorKind, UnixMillis,
    conformance::{Harness, Stall},
    rotation::{AheadPolicy, Change, MAX_GENERATION, RotateOutcome, RotateRequest},
    store::{
        CompareAndSwap, EndedCursor, EndedPage, InsertOutcome, InsertRequest, ListRequest, Room,
        rotate_by_swapping,
    },
};
use tokio::{sync::RwLock, time::timeout};

/// How long a rotation waits for the gate.
pub const DEADLINE: Duration = Duration::from_millis(600);

/// The flaw of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// No flaw.
    None,
    /// No flaw: it reads, decides and swaps, and other steps run in between.
    Swaps,

    // Inserting and loading.
    InsertOverwrites,
    InsertIsNotAtomic,
    EmptyLabelIsNone,
    TextsAreTrimmed,
    GenerationIsFloat,
    RememberedIsForgotten,
    DataAreText,
    RevocationLosesItsTime,
    LoadMakesSessions,

    // Rotating.
    RotateIsNotAtomic,
    RotateWritesWholeRecords,
    RotateUpserts,
    RotateMakesSessions,
    GraceSlides,
    GraceProlongs,
    GraceIsInSeconds,
    GraceIsEndless,
    WaitIsForgotten,
    WaitExpires,
    StallIsForgotten,
    StallIsGuessed,
    WaitsForEver,
    OvertakenIsReuse,
    GraceOfZeroIsAccepted,
    GrandparentsReplay,
    ReplaysRevoked,
    ReplaysExpired,
    ReplaysTheRequestedKid,
    ReuseRollsBack,
    ReuseIsReportedTwice,
    KidIsNotStored,
    AheadIsReuse,
    AheadIsHealedFromTheStored,
    AheadIsAlwaysHealed,
    GenerationsEndAtI64,
    LosesAnswers,
    IdleLifetimeIsTheRequests,
    DataAreNotReplaced,
    DataAreReplacedByReplays,
    ProofIsNotStored,
    EveryRotationIsAProof,
    ProofRotatesWithinTheGrace,
    ProofSlidesTheGrace,
    ProofIsNotReplayed,
    OvertakenProofIsReuse,

    // Times.
    ExpiresOnlyBySweep,
    ExpiresLate,
    SecondsOnly,
    AbsoluteEndMoves,
    FirstExpiryStays,
    BackwardClockIsReuse,
    ForwardClockRevokes,
    DurationsOverflow,

    // Revoking and listing.
    RevokeOverwrites,
    RevokeFindsOnlyLive,
    RevokeLeavesTombstones,
    RevokeIsNotDone,
    RevokeSubjectIgnoresKeep,
    RevokeSubjectIsNotAtomic,
    RevokeSubjectOverwrites,
    RevokeSubjectCountsAll,
    IndexPerHandle,
    ListsRevoked,
    ListsInOrderOfIds,
    ListHasPages,
    ListIgnoresAfter,
    ListIgnoresLimit,
    SubjectsIgnoreCase,
    SubjectsAreShards,

    // The limit.
    LimitIsIgnored,
    LimitIsNotAtomic,
    LimitIsOffByOne,
    LimitCountsTheEnded,
    LimitEvictsTheNewest,
    LimitAlwaysEvicts,
    LimitIsALogout,
    LimitIsNotLogged,
    LimitMakesRoomForDuplicates,

    // Purging.
    PurgeTakesLive,
    PurgeTakesRevoked,
    PurgeIgnoresTheLimit,
    PurgeDoesNothing,
    PurgeIsNotAtomic,
    PurgeCountsTwice,
    PurgeLeavesTheIndex,
    PurgeTrustsTheCaller,

    // The log of ended sessions.
    LogMissesReuse,
    LogMissesUnknown,
    LogMissesExpired,
    LogHasTheKept,
    LogIsLate,
    LogIsPurgedWithTheSession,
    LogNumbersAreDrawnEarly,
    LogNumbersRepeat,
    LogIsNotTrimmed,
    LogIsTrimmedWhole,
    LogBelievesCursors,
    LogHasNoCursor,

    // Handles.
    CachePerHandle,
    SnapshotPerHandle,

    // No usable answer.
    Panics,
    Hangs,
}

/// Opens handles on a store with this flaw.
pub struct Broken {
    flaw: Flaw,
    data: Arc<Mutex<Data>>,
    gate: Arc<RwLock<()>>,
}

/// One handle.
pub struct BrokenStore {
    flaw: Flaw,
    data: Arc<Mutex<Data>>,
    /// Every rotation waits for this lock.
    gate: Arc<RwLock<()>>,
    own: Mutex<Own>,
}

#[derive(Clone, Default)]
struct Data {
    sessions: BTreeMap<SessionId, SessionRecord>,
    /// Counts the sessions that a purge has left in an index.
    purged: HashMap<String, u64>,
    /// The log of ended sessions: the number of each id, and when it was added.
    ended: Vec<(u64, SessionId, Instant)>,
    /// The last number.
    number: u64,
}

impl Data {
    fn log(&mut self, id: SessionId) {
        self.number += 1;
        self.ended.push((self.number, id, Instant::now()));
    }
}

/// The state that a handle remembers, although it should not.
#[derive(Default)]
struct Own {
    cache: HashMap<SessionId, Option<SessionRecord>>,
    inserted: HashSet<SessionId>,
    snapshot: Option<Data>,
    rotated: HashSet<(SessionId, u64)>,
}

impl Broken {
    pub fn new(flaw: Flaw) -> Self {
        Self { flaw, data: Arc::default(), gate: Arc::default() }
    }
}

impl Harness for Broken {
    type Store = BrokenStore;

    async fn open(&self) -> BrokenStore {
        let own = Own {
            snapshot: self.is(Flaw::SnapshotPerHandle).then(|| self.data.lock().unwrap().clone()),
            ..Own::default()
        };
        let (data, gate) = (self.data.clone(), self.gate.clone());
        BrokenStore { flaw: self.flaw, data, gate, own: Mutex::new(own) }
    }

    async fn stall(&self) -> Option<Stall> {
        let held = self.gate.clone().write_owned().await;
        Some(Stall::new(async { drop(held) }))
    }
}

impl Broken {
    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }
}

/// Long enough for every other step of a race to come in between.
async fn others_first() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}

fn seconds(time: UnixMillis) -> UnixMillis {
    UnixMillis::new(time.get().div_euclid(1000) * 1000)
}

impl BrokenStore {
    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap()
    }

    fn is_of(&self, record: &SessionRecord, subject: &str) -> bool {
        if self.is(Flaw::IndexPerHandle) && !self.own().inserted.contains(&record.id) {
            return false;
        }
        match self.flaw {
            Flaw::SubjectsIgnoreCase => record.subject.to_lowercase() == subject.to_lowercase(),
            Flaw::SubjectsAreShards => record.id.shard() == SessionId::shard_of(subject),
            _ => record.subject == subject,
        }
    }

    /// Returns the fields of a record that the store keeps.
    fn kept(&self, record: &SessionRecord) -> SessionRecord {
        let mut kept = record.clone();
        match self.flaw {
            Flaw::EmptyLabelIsNone => kept.label = kept.label.filter(|label| !label.is_empty()),
            Flaw::RememberedIsForgotten => kept.remembered = true,
            Flaw::DataAreText => {
                let text = String::from_utf8_lossy(kept.data.as_bytes()).replace('\0', "");
                let end = text.floor_char_boundary(SessionData::MAX_LEN);
                kept.data = SessionData::new(&text.as_bytes()[..end]).unwrap();
            }
            Flaw::TextsAreTrimmed => kept.client = kept.client.trim().into(),
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                clippy::cast_sign_loss
            )]
            #[allow(clippy::as_conversions, reason = "the truncation is the flaw")]
            Flaw::GenerationIsFloat => kept.generation = f64::from(kept.generation as f32) as u64,
            Flaw::SecondsOnly => {
                kept.created_at = seconds(kept.created_at);
                kept.rotated_at = seconds(kept.rotated_at);
                kept.expires_at = seconds(kept.expires_at);
                kept.absolute_expires_at = seconds(kept.absolute_expires_at);
            }
            Flaw::RevocationLosesItsTime => {
                if let Some(revoked) = &mut kept.revoked {
                    revoked.at = kept.created_at;
                }
            }
            _ => {}
        }
        kept
    }

    /// Returns the decision with the flaw applied: the outcome, and the changed record if there is
    /// one.
    fn decide(
        &self,
        request: &RotateRequest,
        record: &SessionRecord,
    ) -> (RotateOutcome, Option<SessionRecord>) {
        let RotateRequest { generation, now, grace, .. } = request;
        // The request as a flawed store passes it to the rules.
        let mut asked = request.clone();
        let mut seen = record.clone();
        let is_previous = generation.checked_add(1) == Some(record.generation);
        match self.flaw {
            Flaw::GraceIsInSeconds => {
                (asked.now, seen.rotated_at) = (seconds(*now), seconds(record.rotated_at));
            }
            Flaw::GraceIsEndless if is_previous => asked.grace = Duration::MAX,
            Flaw::WaitIsForgotten => asked.waited = Duration::ZERO,
            Flaw::OvertakenIsReuse => asked.was_current = false,
            Flaw::WaitExpires => (asked.now, asked.waited) = (request.rotated_at(), Duration::ZERO),
            Flaw::GraceOfZeroIsAccepted => asked.grace = (*grace).max(Duration::from_secs(1)),
            Flaw::GrandparentsReplay if *generation < record.generation => {
                asked.generation = record.generation - 1;
            }
            Flaw::ReplaysRevoked if is_previous => seen.revoked = None,
            Flaw::ReplaysExpired if is_previous && record.is_expired(*now) => {
                seen.expires_at = UnixMillis::MAX;
                seen.absolute_expires_at = UnixMillis::MAX;
            }
            Flaw::ExpiresOnlyBySweep => {
                seen.expires_at = UnixMillis::MAX;
                seen.absolute_expires_at = UnixMillis::MAX;
            }
            Flaw::ExpiresLate if *now == record.expires_at => {
                seen.expires_at = UnixMillis::new(now.get() + 1);
                seen.absolute_expires_at = seen.absolute_expires_at.max(seen.expires_at);
            }
            Flaw::AheadIsAlwaysHealed => asked.ahead = AheadPolicy::Heal,
            Flaw::AheadIsHealedFromTheStored
                if record.generation < *generation && asked.ahead == AheadPolicy::Heal =>
            {
                asked.generation = record.generation;
            }
            Flaw::AheadIsReuse if record.generation < *generation => {
                asked.generation = 0;
                seen.generation = 2;
            }
            Flaw::GenerationsEndAtI64 if *generation > MAX_GENERATION => asked.generation = 0,
            Flaw::BackwardClockIsReuse if *now < record.rotated_at => asked.grace = Duration::ZERO,
            Flaw::DurationsOverflow => {
                asked.grace = Duration::from_millis(u64::try_from(grace.as_millis()).unwrap());
            }
            Flaw::AbsoluteEndMoves => {
                seen.absolute_expires_at = UnixMillis::MAX;
            }
            Flaw::IdleLifetimeIsTheRequests => seen.idle_lifetime = None,
            Flaw::DataAreNotReplaced => asked.data = None,
            Flaw::ProofIsNotStored if *generation == record.generation => asked.auth_time = None,
            Flaw::EveryRotationIsAProof if *generation == record.generation => {
                asked.auth_time = asked.auth_time.or(Some(*now));
            }
            // A refresh at the current generation does not use its grace period.
            Flaw::ProofRotatesWithinTheGrace if *generation == record.generation => {
                asked.grace = Duration::ZERO;
            }
            Flaw::ProofIsNotReplayed if is_previous && record.auth_time > record.created_at => {
                asked.grace = Duration::ZERO;
            }
            Flaw::OvertakenProofIsReuse if *generation != record.generation => {
                asked.auth_time = None;
            }
            _ => {}
        }
        let decision = asked.decide(&seen);
        let mut outcome = decision.outcome;
        let mut change = decision.change;
        if let (Flaw::ReplaysTheRequestedKid, RotateOutcome::Replayed(next)) =
            (self.flaw, &mut outcome)
        {
            next.kid.clone_from(&request.kid);
        }
        match (self.flaw, &outcome) {
            (Flaw::ReuseRollsBack, RotateOutcome::Reused) => change = None,
            (Flaw::ReuseIsReportedTwice, RotateOutcome::Revoked(RevokeReason::Reuse)) => {
                outcome = RotateOutcome::Reused;
            }
            (Flaw::ForwardClockRevokes, RotateOutcome::Expired) => {
                change = Some(Change::Revoke { at: *now, reason: RevokeReason::Denied });
            }
            _ => {}
        }
        let replayed = matches!(outcome, RotateOutcome::Replayed(_));
        let mut after = record.clone();
        let changed = change.is_some();
        if let Some(change) = change {
            after.apply(change);
        }
        match self.flaw {
            Flaw::DataAreReplacedByReplays if replayed => {
                if let Some(data) = &request.data {
                    after.data = data.clone();
                }
            }
            Flaw::ProofSlidesTheGrace if matches!(outcome, RotateOutcome::Reauthenticated(_)) => {
                after.rotated_at = *now;
            }
            Flaw::GraceSlides if replayed => after.rotated_at = *now,
            Flaw::GraceProlongs if replayed => {
                after.expires_at =
                    now.saturating_add(request.idle_lifetime).min(record.absolute_expires_at);
            }
            Flaw::AbsoluteEndMoves => {
                after.absolute_expires_at = after.absolute_expires_at.max(after.expires_at);
            }
            Flaw::FirstExpiryStays => after.expires_at = record.expires_at,
            Flaw::KidIsNotStored => after.kid.clone_from(&record.kid),
            _ => {}
        }
        (outcome, (changed || after != *record).then(|| self.kept(&after)))
    }

    /// Returns the decision about the limit, made wrong by the flaw.
    fn room(&self, data: &Data, request: &InsertRequest) -> Room {
        let own = data.sessions.values().filter(|other| other.subject == request.session.subject);
        let mut others: Vec<_> = own.cloned().collect();
        let Some(limit) = request.limit else { return Room::Enough };
        let mut asked = request.clone();
        match self.flaw {
            Flaw::LimitIsIgnored => return Room::Enough,
            Flaw::LimitIsOffByOne if limit.evicts() => {
                asked = asked.limit(SessionLimit::evict_oldest(limit.max() + 1));
            }
            Flaw::LimitAlwaysEvicts => {
                asked = asked.limit(SessionLimit::evict_oldest(limit.max()));
            }
            Flaw::LimitCountsTheEnded => {
                for other in &mut others {
                    other.revoked = None;
                    other.expires_at = UnixMillis::MAX;
                    other.absolute_expires_at = UnixMillis::MAX;
                }
            }
            Flaw::LimitEvictsTheNewest => {
                for other in &mut others {
                    other.created_at = UnixMillis::new(-other.created_at.get());
                }
            }
            _ => {}
        }
        asked.decide(others)
    }

    /// Revokes the sessions that have to be evicted.
    fn make_room(&self, data: &mut Data, new: &SessionRecord, room: &Room) -> Vec<SessionId> {
        let Room::After(evicted) = room else { return Vec::new() };
        let reason = match self.flaw {
            Flaw::LimitIsALogout => RevokeReason::LogoutAll,
            _ => RevokeReason::Limit,
        };
        for id in evicted {
            let Some(record) = data.sessions.get(id).cloned() else { continue };
            data.sessions.insert(*id, self.ended(&record, reason, new.created_at));
            if !self.is(Flaw::LimitIsNotLogged) {
                data.log(*id);
            }
        }
        evicted.clone()
    }

    fn ended(
        &self,
        record: &SessionRecord,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> SessionRecord {
        let mut ended = record.clone();
        ended.revoked = Some(Revoked { at: now, reason });
        self.kept(&ended)
    }
}

impl RefreshStore for BrokenStore {
    async fn insert(&self, request: &InsertRequest) -> Result<InsertOutcome, StoreError> {
        let session = &request.session;
        let there = self.data().sessions.contains_key(&session.id);
        if there && self.is(Flaw::LimitMakesRoomForDuplicates) {
            let mut data = self.data();
            let room = self.room(&data, request);
            self.make_room(&mut data, session, &room);
        }
        if there && !self.is(Flaw::InsertOverwrites) {
            return Ok(InsertOutcome::Duplicate);
        }
        let counted_early = self.room(&self.data(), request);
        if matches!(self.flaw, Flaw::InsertIsNotAtomic | Flaw::LimitIsNotAtomic) {
            others_first().await;
        }
        self.own().inserted.insert(session.id);
        let kept = self.kept(session);
        let mut data = self.data();
        if data.sessions.contains_key(&session.id)
            && !matches!(self.flaw, Flaw::InsertOverwrites | Flaw::InsertIsNotAtomic)
        {
            return Ok(InsertOutcome::Duplicate);
        }
        let room = match self.flaw {
            Flaw::LimitIsNotAtomic => counted_early,
            _ => self.room(&data, request),
        };
        if room == Room::Refused {
            return Ok(InsertOutcome::LimitReached);
        }
        let evicted = self.make_room(&mut data, session, &room);
        data.sessions.insert(session.id, kept);
        Ok(InsertOutcome::Inserted { evicted })
    }

    async fn load(&self, id: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
        if self.is(Flaw::Hangs) {
            std::future::pending::<()>().await;
        }
        assert!(!self.is(Flaw::Panics), "a load that panics");
        let mut data = self.data();
        if let (Flaw::SnapshotPerHandle, Some(old)) = (self.flaw, &self.own().snapshot)
            && let Some(record) = old.sessions.get(id)
        {
            return Ok(Some(record.clone()));
        }
        let found = data.sessions.get(id).cloned();
        if self.is(Flaw::CachePerHandle) {
            return Ok(self.own().cache.entry(*id).or_insert(found).clone());
        }
        if self.is(Flaw::LoadMakesSessions) && found.is_none() {
            data.sessions.insert(*id, blank(*id));
        }
        Ok(found)
    }

    async fn rotate(&self, request: &RotateRequest) -> Result<RotateOutcome, StoreError> {
        let asked = Instant::now();
        let deadline = if self.is(Flaw::WaitsForEver) { Duration::MAX } else { DEADLINE };
        let is_late = |_| StoreError::new(StoreErrorKind::Unavailable, "the gate is closed");
        let _open = timeout(deadline, self.gate.read()).await.map_err(is_late)?;
        let request = &match self.flaw {
            Flaw::StallIsForgotten => request.clone(),
            Flaw::StallIsGuessed => request.after(Duration::from_secs(5)),
            _ => request.after(asked.elapsed()),
        };
        if self.is(Flaw::Swaps) {
            return rotate_by_swapping(self, request).await;
        }
        let read = self.data().sessions.get(&request.id).cloned();
        let Some(mut record) = read else {
            if self.is(Flaw::RotateMakesSessions) {
                self.data().sessions.insert(request.id, blank(request.id));
            }
            return Ok(RotateOutcome::Unknown);
        };
        match self.flaw {
            Flaw::RotateIsNotAtomic | Flaw::RotateUpserts => others_first().await,
            // A reauthentication arrives while the others wait with the record that they have read.
            Flaw::RotateWritesWholeRecords if request.auth_time.is_none() => others_first().await,
            Flaw::LosesAnswers => {
                let key = (request.id, request.generation);
                if !self.own().rotated.insert(key) {
                    return Err(StoreError::new(StoreErrorKind::Contention, "seen before"));
                }
            }
            _ => {}
        }
        let mut data = self.data();
        let current = data.sessions.get(&request.id).cloned();
        match (self.flaw, current) {
            // A rotation meanwhile is noticed, a revocation is not.
            (Flaw::RotateWritesWholeRecords, Some(current))
                if current.generation == record.generation => {}
            // The store writes what it has read, whatever happened since then, or notices only if
            // the record still exists.
            (Flaw::RotateIsNotAtomic, Some(_)) | (Flaw::RotateUpserts, None) => {}
            (_, Some(current)) => record = current,
            (_, None) => return Ok(RotateOutcome::Unknown),
        }
        let (outcome, after) = self.decide(request, &record);
        if outcome == RotateOutcome::Reused && !self.is(Flaw::LogMissesReuse) {
            data.log(request.id);
        }
        if let Some(after) = after {
            data.sessions.insert(request.id, after);
        }
        Ok(outcome)
    }

    async fn revoke(
        &self,
        id: &SessionId,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        let drawn = if self.is(Flaw::LogNumbersAreDrawnEarly) {
            let number = {
                let mut data = self.data();
                data.number += 1;
                data.number
            };
            // The later steps get there first.
            tokio::time::sleep(Duration::from_millis(5 * (4 - number % 4))).await;
            Some(number)
        } else {
            None
        };
        let late = self.is(Flaw::LogIsLate);
        if late {
            let (data, id) = (self.data.clone(), *id);
            tokio::spawn(async move {
                others_first().await;
                data.lock().unwrap().log(id);
            });
        }
        let mut data = self.data();
        let Some(record) = data.sessions.get(id).cloned() else {
            if self.is(Flaw::RevokeLeavesTombstones) {
                let tombstone = self.ended(&blank(*id), reason, now);
                data.sessions.insert(*id, tombstone);
            }
            if !late && !self.is(Flaw::LogMissesUnknown) {
                data.log(*id);
            }
            return Ok(false);
        };
        let first = record.revoked.is_none();
        if self.is(Flaw::RevokeIsNotDone) {
            return Ok(first);
        }
        if self.is(Flaw::RevokeFindsOnlyLive) && record.is_expired(now) {
            return Ok(false);
        }
        if first || self.is(Flaw::RevokeOverwrites) {
            data.sessions.insert(*id, self.ended(&record, reason, now));
            let is_overlooked = self.is(Flaw::LogMissesExpired) && record.is_expired(now);
            match drawn {
                Some(number) => data.ended.push((number, *id, Instant::now())),
                None if late || is_overlooked => {}
                None => data.log(*id),
            }
        }
        Ok(first)
    }

    async fn revoke_subject(
        &self,
        subject: &str,
        keep: Option<&SessionId>,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<u64, StoreError> {
        let keep = keep.filter(|_| !self.is(Flaw::RevokeSubjectIgnoresKeep));
        let all: Vec<_> = self.data().sessions.values().cloned().collect();
        if self.is(Flaw::RevokeSubjectIsNotAtomic) {
            others_first().await;
        }
        let mut data = self.data();
        let mut revoked = 0;
        for read in all {
            if !self.is_of(&read, subject) || Some(&read.id) == keep {
                if self.is(Flaw::LogHasTheKept) && self.is_of(&read, subject) {
                    data.log(read.id);
                }
                continue;
            }
            let current = data.sessions.get(&read.id).cloned();
            let record = if self.is(Flaw::RevokeSubjectIsNotAtomic) { Some(read) } else { current };
            let Some(record) = record else { continue };
            if record.revoked.is_some() {
                match self.flaw {
                    Flaw::RevokeSubjectOverwrites => {
                        data.sessions.insert(record.id, self.ended(&record, reason, now));
                    }
                    Flaw::RevokeSubjectCountsAll => revoked += 1,
                    _ => {}
                }
                continue;
            }
            data.sessions.insert(record.id, self.ended(&record, reason, now));
            data.log(record.id);
            revoked += 1;
        }
        if self.is(Flaw::PurgeLeavesTheIndex) {
            revoked += data.purged.get(subject).copied().unwrap_or(0);
        }
        Ok(revoked)
    }

    async fn list(&self, request: &ListRequest) -> Result<Vec<SessionRecord>, StoreError> {
        let ListRequest { subject, now, after, limit, .. } = request;
        let listed = |record: &&SessionRecord| {
            let is_live = match self.flaw {
                Flaw::ListsRevoked => !record.is_expired(*now),
                Flaw::ExpiresOnlyBySweep => record.revoked.is_none(),
                _ => record.is_live(*now),
            };
            let is_behind = self.is(Flaw::ListIgnoresAfter)
                || after.is_none_or(|after| ListCursor::of(record) > after);
            is_live && is_behind && self.is_of(record, subject)
        };
        let mut records: Vec<_> = self.data().sessions.values().filter(listed).cloned().collect();
        if !self.is(Flaw::ListsInOrderOfIds) {
            records.sort_by_key(ListCursor::of);
        }
        if self.is(Flaw::ListHasPages) {
            records.truncate(100);
        }
        if !self.is(Flaw::ListIgnoresLimit) {
            records.truncate(usize::try_from(*limit).unwrap());
        }
        Ok(records)
    }

    async fn purge_expired(&self, now: UnixMillis, limit: u32) -> Result<u64, StoreError> {
        if self.is(Flaw::PurgeDoesNothing) {
            return Ok(0);
        }
        let now = match self.flaw {
            Flaw::PurgeTrustsTheCaller => now,
            _ => now.min(UnixMillis::now()),
        };
        let over = |record: &&SessionRecord| match self.flaw {
            // Treats a session as unused for its last two hours.
            Flaw::PurgeTakesLive => {
                now.saturating_add(Duration::from_secs(7200)) >= record.expires_at
            }
            Flaw::PurgeTakesRevoked => record.is_expired(now) || record.revoked.is_some(),
            _ => record.is_expired(now),
        };
        let limit = usize::try_from(limit).unwrap();
        let limit = if self.is(Flaw::PurgeIgnoresTheLimit) { usize::MAX } else { limit };
        let ids: Vec<_> = {
            let data = self.data();
            data.sessions.values().filter(over).take(limit).map(|record| record.id).collect()
        };
        if matches!(self.flaw, Flaw::PurgeIsNotAtomic | Flaw::PurgeCountsTwice) {
            others_first().await;
        }
        let mut data = self.data();
        let mut removed = 0;
        for id in ids {
            let is_over = data.sessions.get(&id).is_some_and(|record| over(&record));
            if self.is(Flaw::PurgeCountsTwice) {
                removed += 1;
            }
            if !is_over && !self.is(Flaw::PurgeIsNotAtomic) {
                continue;
            }
            let Some(record) = data.sessions.remove(&id) else { continue };
            *data.purged.entry(record.subject).or_default() += 1;
            if self.is(Flaw::LogIsPurgedWithTheSession) {
                data.ended.retain(|(_, ended, _)| *ended != id);
            }
            if !self.is(Flaw::PurgeCountsTwice) {
                removed += 1;
            }
        }
        Ok(removed)
    }

    async fn ended_after(&self, cursor: &EndedCursor) -> Result<EndedPage, StoreError> {
        let data = self.data();
        let from = cursor.as_bytes().try_into().map_or(0, u64::from_be_bytes);
        let from = match self.flaw {
            Flaw::LogHasNoCursor => 0,
            Flaw::LogBelievesCursors | Flaw::LogNumbersRepeat => from,
            _ if from > data.number => 0,
            _ => from,
        };
        let new = data.ended.iter().filter(|(number, ..)| *number > from);
        let end = new.clone().map(|(number, ..)| *number).max();
        let ids = new.map(|(_, id, _)| *id).collect();
        Ok(EndedPage::last(ids, EndedCursor::new(end.unwrap_or(from).to_be_bytes())))
    }

    async fn trim_ended(&self, kept_for: Duration) -> Result<u64, StoreError> {
        let mut data = self.data();
        let before = data.ended.len();
        match self.flaw {
            Flaw::LogIsNotTrimmed => {}
            Flaw::LogIsTrimmedWhole => data.ended.clear(),
            _ => data.ended.retain(|(.., since)| since.elapsed() <= kept_for),
        }
        if self.is(Flaw::LogNumbersRepeat) {
            data.number = data.ended.iter().map(|(number, ..)| *number).max().unwrap_or(0);
        }
        Ok(u64::try_from(before - data.ended.len()).unwrap())
    }
}

impl CompareAndSwap for BrokenStore {
    async fn swap(&self, seen: &SessionRecord, change: &Change) -> Result<bool, StoreError> {
        others_first().await;
        let mut data = self.data();
        let current = data
            .sessions
            .get_mut(&seen.id)
            .filter(|current| current.revoked.is_none() && current.generation == seen.generation);
        let is_swapped = current.map(|current| current.apply(change.clone())).is_some();
        if is_swapped && matches!(change, Change::Revoke { .. }) {
            data.log(seen.id);
        }
        Ok(is_swapped)
    }
}

/// Returns a record without any data.
fn blank(id: SessionId) -> SessionRecord {
    SessionRecord::new(id, "", "", "", UnixMillis::default(), UnixMillis::MAX)
}
