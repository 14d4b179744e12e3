//! A session store over the simulated database, as the host of a server sees it: a connection to
//! one node, a network in between, and a deadline.

use std::{fmt, sync::Arc, time::Duration};

use kippu::session::{
    BoxStore, RefreshStore, RevokeReason, SessionId, SessionRecord, StoreError, StoreErrorKind,
    UnixMillis,
    rotation::{RotateOutcome, RotateRequest},
    store::{EndedCursor, EndedPage, InsertOutcome, InsertRequest, ListRequest},
};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    database::{Database, Fault, Link, Operation, Outcome},
    executor::{Machine, unless},
    flaw::Flaw,
    log::Micros,
    time::Time,
};

/// How long a step may take.
pub const DEADLINE: Micros = 3_000_000;

/// The store of a host. A clone shares the connection.
#[derive(Clone)]
pub struct SimulatedStore {
    machine: Machine,
    database: Database,
    connected: Arc<Mutex<Option<usize>>>,
    flaw: Option<Flaw>,
    /// The number of its host.
    host: u32,
}

impl SimulatedStore {
    /// Makes the stores of a host. Each has a separate connection, as in a pool.
    pub fn connections(
        host: u32,
        machine: &Machine,
        database: &Database,
        flaw: Option<Flaw>,
    ) -> impl Fn() -> BoxStore + Send + Sync + 'static {
        let (machine, database) = (machine.clone(), database.clone());
        move || {
            let (machine, database) = (machine.clone(), database.clone());
            BoxStore::new(Self { machine, database, connected: Arc::default(), flaw, host })
        }
    }

    /// The node that this is connected to, after a new connection where there is none.
    fn connect(&self) -> Option<usize> {
        let mut connected = self.connected.lock();
        *connected = connected.or_else(|| self.database.primary());
        *connected
    }

    fn link(&self) -> Link {
        self.database.link(self.host)
    }

    /// One way through the network.
    async fn way(&self) {
        let (until, most) = self.link().slow;
        let most = if self.machine.now() < until { most } else { 1_500 };
        self.machine.pass(self.machine.between(50, most)).await;
    }

    async fn ask(&self, operation: Operation) -> Result<Outcome, StoreError> {
        let sent = self.machine.now();
        let Some(node) = self.connect() else {
            self.way().await;
            return Err(unavailable("no primary takes connections"));
        };
        let (giver, answer) = oneshot::channel();
        let store = self.clone();
        self.machine.spawn_as(self.host, Machine::FOREVER, async move {
            store.way().await;
            let answer = store.database.take(store.host, node, operation, sent).await;
            store.way().await;
            let (until, percent) = store.link().lossy;
            if store.machine.now() < until && store.machine.happens(percent) {
                store.machine.sleep(2 * DEADLINE).await;
            }
            let _ = giver.send(answer);
        });
        let answer = unless(answer, self.machine.sleep(DEADLINE)).await.and_then(Result::ok);
        self.machine.mark(self.host, || format!("{:?}", answer.as_ref().map(Result::is_ok)));
        let is_kept = match answer {
            Some(Ok(_)) => true,
            Some(Err(Fault::NotPrimary)) => self.flaw == Some(Flaw::KeepsConnection),
            Some(Err(Fault::Down)) | None => false,
        };
        if !is_kept {
            let mut connected = self.connected.lock();
            // Another step may have a new one by now.
            if *connected == Some(node) {
                *connected = None;
            }
        }
        match answer {
            Some(Ok(outcome)) => Ok(outcome),
            Some(Err(Fault::NotPrimary)) => Err(unavailable("the server is not the primary")),
            Some(Err(Fault::Down)) => Err(unavailable("the connection ended")),
            None => Err(unavailable("no answer within the deadline")),
        }
    }

    async fn revoked(&self, operation: Operation) -> Result<u64, StoreError> {
        match self.ask(operation).await {
            Ok(Outcome::Revoked(count)) => Ok(count),
            Err(_) if self.flaw == Some(Flaw::LogoutClaimsSuccess) => Ok(1),
            answer => Err(other(answer)),
        }
    }
}

fn unavailable(message: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, message)
}

/// The error, or one that says that the answer is to something else.
fn other(answer: Result<Outcome, StoreError>) -> StoreError {
    let odd = |_| StoreError::new(StoreErrorKind::Corrupt, "an answer to another question");
    answer.map_or_else(|error| error, odd)
}

impl RefreshStore for SimulatedStore {
    async fn insert(&self, request: &InsertRequest) -> Result<InsertOutcome, StoreError> {
        match self.ask(Operation::Insert(request.clone())).await {
            Ok(Outcome::Inserted(outcome)) => Ok(outcome),
            answer => Err(other(answer)),
        }
    }

    async fn load(&self, id: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
        match self.ask(Operation::Load(*id)).await {
            Ok(Outcome::Loaded(record)) => Ok(record),
            answer => Err(other(answer)),
        }
    }

    async fn rotate(&self, request: &RotateRequest) -> Result<RotateOutcome, StoreError> {
        match self.ask(Operation::Rotate(request.clone())).await {
            Ok(Outcome::Rotated(outcome)) => Ok(outcome),
            answer => Err(other(answer)),
        }
    }

    async fn revoke(
        &self,
        id: &SessionId,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        let count = self.revoked(Operation::Revoke { id: *id, reason, now }).await?;
        Ok(count > 0)
    }

    async fn revoke_subject(
        &self,
        subject: &str,
        keep: Option<&SessionId>,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<u64, StoreError> {
        let (subject, keep) = (subject.to_owned(), keep.copied());
        self.revoked(Operation::RevokeSubject { subject, keep, reason, now }).await
    }

    async fn list(&self, request: &ListRequest) -> Result<Vec<SessionRecord>, StoreError> {
        match self.ask(Operation::List(request.clone())).await {
            Ok(Outcome::Listed(records)) => Ok(records),
            answer => Err(other(answer)),
        }
    }

    async fn purge_expired(&self, now: UnixMillis, limit: u32) -> Result<u64, StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        match self.ask(Operation::Purge { now, limit }).await {
            Ok(Outcome::Removed(count)) => Ok(count),
            answer => Err(other(answer)),
        }
    }

    async fn ended_after(&self, cursor: &EndedCursor) -> Result<EndedPage, StoreError> {
        match self.ask(Operation::EndedAfter(cursor.clone())).await {
            Ok(Outcome::Page(page)) => Ok(page),
            answer => Err(other(answer)),
        }
    }

    async fn trim_ended(&self, kept_for: Duration) -> Result<u64, StoreError> {
        match self.ask(Operation::TrimEnded(kept_for)).await {
            Ok(Outcome::Removed(count)) => Ok(count),
            answer => Err(other(answer)),
        }
    }
}

impl fmt::Debug for SimulatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedStore")
            .field("connected", &*self.connected.lock())
            .finish_non_exhaustive()
    }
}
