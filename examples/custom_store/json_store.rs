//! Sessions in one JSON file, which is read at the start and written again with every change.
//!
//! Its limits: one process, for nothing keeps two from overwriting each other's file; a few
//! thousand sessions, for every change writes them all; and a thread is blocked while it waits for
//! the disk. It promises that a change that was answered survives the end of the process and a loss
//! of power, and the file is whole at any time.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use kippu::session::{
    RefreshStore, RevokeReason, Revoked, SessionData, SessionId, SessionRecord, StoreError,
    StoreErrorKind, UnixMillis,
    rotation::{Change, RotateOutcome, RotateRequest},
    store::{EndedCursor, EndedPage, InsertOutcome, InsertRequest, ListRequest, Room},
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::timeout,
};

/// How long a step waits for its turn.
const DEADLINE: Duration = Duration::from_secs(3);

/// A handle. Its clones share the file, and the lock on it.
#[derive(Clone, Debug)]
pub(crate) struct JsonStore(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// The content of the file; `None` where it is not known, after a write that failed.
    data: Arc<Mutex<Option<Data>>>,
}

#[derive(Debug, Default)]
struct Data {
    sessions: BTreeMap<SessionId, SessionRecord>,
    ended: EndedLog,
}

/// The log of ended sessions. It is apart from the sessions, which a purge removes.
#[derive(Debug, Default, Serialize, Deserialize)]
struct EndedLog {
    /// Each id by its number, and when it came by this machine's clock, in Unix milliseconds.
    ids: BTreeMap<u64, (SessionId, i64)>,
    /// The last number that was given out. None is given out again.
    last: u64,
}

impl EndedLog {
    fn push(&mut self, id: SessionId) {
        self.last += 1;
        self.ids.insert(self.last, (id, UnixMillis::now().get()));
    }
}

/// A step that changed nothing has nothing to write.
enum Step<T> {
    Changed(T),
    Unchanged(T),
}

impl JsonStore {
    /// The sessions in the file of this path; none while there is no file.
    pub(crate) fn open(path: PathBuf) -> Result<Self, StoreError> {
        let data = Arc::new(Mutex::new(Some(read(&path)?)));
        Ok(Self(Arc::new(Shared { path, data })))
    }

    /// Holds up all steps until the guard is dropped.
    pub(crate) async fn hold_up(&self) -> OwnedMutexGuard<impl Sized + use<>> {
        Arc::clone(&self.0.data).lock_owned().await
    }

    /// Takes a step under the lock: no other step happens between its read and its write, and no
    /// caller sees a change that is not on the disk.
    async fn step<T>(&self, step: impl FnOnce(&mut Data) -> Step<T>) -> Result<T, StoreError> {
        let Shared { path, data } = &*self.0;
        // A panic in the middle of a step has left nothing in it, and the file is read again.
        let mut held = timeout(DEADLINE, data.lock()).await.map_err(|_| late())?;
        let mut data = match held.take() {
            Some(data) => data,
            None => read(path)?,
        };
        let answer = match step(&mut data) {
            Step::Unchanged(answer) => answer,
            Step::Changed(answer) => {
                write(path, &data)?;
                answer
            }
        };
        *held = Some(data);
        Ok(answer)
    }
}

impl RefreshStore for JsonStore {
    async fn insert(&self, request: &InsertRequest) -> Result<InsertOutcome, StoreError> {
        let session = &request.session;
        self.step(|Data { sessions, ended }| {
            if sessions.contains_key(&session.id) {
                return Step::Unchanged(InsertOutcome::Duplicate);
            }
            // Counted under the lock, which other logins of the subject wait for.
            let others = sessions.values().filter(|other| other.subject == session.subject);
            let evicted = match request.decide(others) {
                Room::Enough => Vec::new(),
                Room::After(evicted) => evicted,
                Room::Refused => return Step::Unchanged(InsertOutcome::LimitReached),
            };
            for id in &evicted {
                if let Some(record) = sessions.get_mut(id) {
                    let (at, reason) = (session.created_at, RevokeReason::Limit);
                    record.revoked = Some(Revoked { at, reason });
                    ended.push(*id);
                }
            }
            sessions.insert(session.id, session.clone());
            Step::Changed(InsertOutcome::Inserted { evicted })
        })
        .await
    }

    async fn load(&self, id: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
        self.step(|data| Step::Unchanged(data.sessions.get(id).cloned())).await
    }

    async fn rotate(&self, request: &RotateRequest) -> Result<RotateOutcome, StoreError> {
        let asked = Instant::now();
        self.step(|Data { sessions, ended }| {
            let Some(record) = sessions.get_mut(&request.id) else {
                return Step::Unchanged(RotateOutcome::Unknown);
            };
            // The grace begins now, when the record is changed, however long the lock was held by
            // others.
            let decision = request.after(asked.elapsed()).decide(record);
            match decision.change {
                Some(change) => {
                    if matches!(change, Change::Revoke { .. }) {
                        ended.push(record.id);
                    }
                    record.apply(change);
                    Step::Changed(decision.outcome)
                }
                None => Step::Unchanged(decision.outcome),
            }
        })
        .await
    }

    async fn revoke(
        &self,
        id: &SessionId,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        self.step(|Data { sessions, ended }| {
            let record = sessions.get_mut(id);
            if record.as_ref().is_some_and(|record| record.revoked.is_some()) {
                return Step::Unchanged(false);
            }
            // One that is not there, too: its access token may still be valid.
            ended.push(*id);
            let is_there = record.is_some();
            if let Some(record) = record {
                record.revoked = Some(Revoked { at: now, reason });
            }
            Step::Changed(is_there)
        })
        .await
    }

    async fn revoke_subject(
        &self,
        subject: &str,
        keep: Option<&SessionId>,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<u64, StoreError> {
        self.step(|Data { sessions, ended }| {
            let mut revoked = 0;
            for record in sessions.values_mut() {
                let is_meant = record.subject == subject && Some(&record.id) != keep;
                if is_meant && record.revoked.is_none() {
                    ended.push(record.id);
                    record.revoked = Some(Revoked { at: now, reason });
                    revoked += 1;
                }
            }
            if revoked > 0 { Step::Changed(revoked) } else { Step::Unchanged(0) }
        })
        .await
    }

    async fn list(&self, request: &ListRequest) -> Result<Vec<SessionRecord>, StoreError> {
        self.step(|data| Step::Unchanged(request.page(data.sessions.values()))).await
    }

    async fn purge_expired(&self, now: UnixMillis, limit: u32) -> Result<u64, StoreError> {
        // A caller whose clock is ahead removes nothing that is live by the clock of this machine.
        let now = now.min(UnixMillis::now());
        self.step(|Data { sessions, .. }| {
            let mut removed = 0;
            sessions.retain(|_, record| {
                let goes = removed < u64::from(limit) && record.is_expired(now);
                removed += u64::from(goes);
                !goes
            });
            if removed > 0 { Step::Changed(removed) } else { Step::Unchanged(0) }
        })
        .await
    }

    /// A cursor is the number of an id. A number that was not given out yet is of another file: the
    /// log begins again.
    async fn ended_after(&self, cursor: &EndedCursor) -> Result<EndedPage, StoreError> {
        let number = cursor.as_bytes().try_into().map_or(0, u64::from_be_bytes);
        self.step(|Data { ended, .. }| {
            let after = if number <= ended.last { number } else { 0 };
            let ids = ended.ids.range(after + 1..).map(|(_, (id, _))| *id).collect();
            Step::Unchanged(EndedPage::last(ids, EndedCursor::new(ended.last.to_be_bytes())))
        })
        .await
    }

    async fn trim_ended(&self, kept_for: Duration) -> Result<u64, StoreError> {
        self.step(|Data { ended, .. }| {
            let (now, mut removed) = (UnixMillis::now(), 0);
            ended.ids.retain(|_, (_, since)| {
                let is_old = now.saturating_since(UnixMillis::new(*since)) > kept_for;
                removed += u64::from(is_old);
                !is_old
            });
            if removed > 0 { Step::Changed(removed) } else { Step::Unchanged(0) }
        })
        .await
    }
}

fn late() -> StoreError {
    let message = "the sessions were not to be had in time: is the disk slow?";
    StoreError::new(StoreErrorKind::Unavailable, message)
}

fn read(path: &Path) -> Result<Data, StoreError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Data::default()),
        Err(error) => return Err(fault(error)),
    };
    let (rows, ended): (Vec<Row>, EndedLog) = serde_json::from_slice(&text)
        .map_err(|error| StoreError::from_driver(StoreErrorKind::Corrupt, error))?;
    let sessions = rows.into_iter().map(|row| Ok((row.id, row.into_record()?)));
    Ok(Data { sessions: sessions.collect::<Result<_, StoreError>>()?, ended })
}

/// Writes a file beside the old one, and renames it. A reader finds the old file or the new one,
/// also after a crash.
fn write(path: &Path, Data { sessions, ended }: &Data) -> Result<(), StoreError> {
    let rows: Vec<Row> = sessions.values().map(Row::of).collect();
    let text = serde_json::to_vec(&(rows, ended))
        .map_err(|error| StoreError::from_driver(StoreErrorKind::Corrupt, error))?;
    replace(path, &text).map_err(fault)
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    // The new name has to be durable too; where folders cannot be opened, the system sees to it.
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn fault(error: io::Error) -> StoreError {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound => StoreErrorKind::Misconfigured,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::from_driver(kind, error)
}

/// A record as it is written.
#[derive(Serialize, Deserialize)]
struct Row {
    id: SessionId,
    subject: String,
    client: String,
    label: Option<String>,
    created_at: i64,
    absolute_expires_at: i64,
    remembered: bool,
    /// In milliseconds.
    idle_lifetime: Option<u64>,
    auth_time: i64,
    data: Vec<u8>,
    generation: u64,
    kid: String,
    rotated_at: i64,
    expires_at: i64,
    revoked_at: Option<i64>,
    revoke_reason: Option<String>,
}

impl Row {
    fn of(record: &SessionRecord) -> Self {
        Self {
            id: record.id,
            subject: record.subject.clone(),
            client: record.client.clone(),
            label: record.label.clone(),
            created_at: record.created_at.get(),
            absolute_expires_at: record.absolute_expires_at.get(),
            remembered: record.remembered,
            idle_lifetime: record.idle_lifetime.map(millis),
            auth_time: record.auth_time.get(),
            data: record.data.as_bytes().into(),
            generation: record.generation,
            kid: record.kid.clone(),
            rotated_at: record.rotated_at.get(),
            expires_at: record.expires_at.get(),
            revoked_at: record.revoked.map(|revoked| revoked.at.get()),
            revoke_reason: record.revoked.map(|revoked| revoked.reason.as_str().into()),
        }
    }

    /// A revocation that cannot be read is an error, not an absent revocation.
    fn into_record(self) -> Result<SessionRecord, StoreError> {
        let revoked = match (self.revoked_at, self.revoke_reason.as_deref()) {
            (None, None) => None,
            (Some(at), Some(word)) => {
                let reason = word.parse().map_err(|_| unreadable())?;
                Some(Revoked { at: UnixMillis::new(at), reason })
            }
            _ => return Err(unreadable()),
        };
        let mut record = SessionRecord::new(
            self.id,
            self.subject,
            self.client,
            self.kid,
            UnixMillis::new(self.created_at),
            UnixMillis::new(self.absolute_expires_at),
        );
        record.label = self.label;
        record.remembered = self.remembered;
        record.idle_lifetime = self.idle_lifetime.map(Duration::from_millis);
        record.auth_time = UnixMillis::new(self.auth_time);
        record.data = SessionData::new(self.data).map_err(|_| unreadable())?;
        record.generation = self.generation;
        record.rotated_at = UnixMillis::new(self.rotated_at);
        record.expires_at = UnixMillis::new(self.expires_at);
        record.revoked = revoked;
        if record.is_well_formed() { Ok(record) } else { Err(unreadable()) }
    }
}

/// An idle lifetime has whole milliseconds.
fn millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

fn unreadable() -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, "a session is not what was written")
}
