//! The store in MariaDB, on servers that these tests start: the conformance suite, each step, races over several pools, what is
//! set up wrongly, and what happens when the server ends under load.
#![cfg(feature = "mysql")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{
    error::Error,
    fmt::Write,
    iter,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use kippu::{
    NumericDate,
    session::{
        RefreshStore, RevokeReason, Revoked, SessionData, SessionId, SessionRecord, StoreError,
        StoreErrorKind, UnixMillis,
        conformance::{Harness, Stall, Suite},
        rotation::{AheadPolicy, MAX_GENERATION, RotateOutcome, Successor},
        store::{
            EndedCursor, InsertOutcome, InsertRequest, ListCursor, ListRequest, SessionLimit,
        },
    },
};
use kippu_sqlx::MySqlStore;
use kippu_test_support::{mysql as mysql_server, proxy, records, servers};
use sqlx::{
    AssertSqlSafe, MySqlPool,
    mysql::{MySqlConnectOptions, MySqlPoolOptions},
};
use tokio::{
    sync::Barrier,
    task::JoinSet,
    time::{sleep, timeout},
};

#[path = "mysql_store/replicas.rs"]
mod replicas;
#[path = "mysql_store/stalls.rs"]
mod stalls;

use self::{
    mysql_server::MySql,
    records::{LOGIN, after, changed, kind, request, session},
};

const LIMIT: Duration = Duration::from_secs(60);

/// One server for all tests that leave it running, while there is one that needs it.
fn server() -> Arc<MySql> {
    static SERVER: Mutex<Weak<MySql>> = Mutex::new(Weak::new());

    let mut shared = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(MySql::start());
    *shared = Arc::downgrade(&server);
    server
}

fn pool_of(url: &str, size: u32) -> MySqlPool {
    let options: MySqlConnectOptions = url.parse().unwrap();
    MySqlPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(Duration::from_secs(20))
        .connect_lazy_with(options)
}

fn pool(url: &str) -> MySqlPool {
    pool_of(url, 8)
}

/// Of the application's user.
async fn sql(pool: &MySqlPool, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(pool).await.unwrap();
}

async fn store(url: &str) -> MySqlStore {
    let store = patient(pool(url));
    store.create_schema().await.unwrap();
    store
}

/// A store for races, which a busy machine must not end.
fn patient(pool: MySqlPool) -> MySqlStore {
    MySqlStore::new(pool).with_deadline(LIMIT)
}

async fn add(store: &MySqlStore, session: &SessionRecord) {
    let outcome = store.insert(&InsertRequest::new(session.clone())).await.unwrap();
    assert_eq!(outcome, InsertOutcome::INSERTED);
}

async fn list(store: &MySqlStore, subject: &str, now: UnixMillis) -> Vec<SessionRecord> {
    store.list(&ListRequest::new(subject, now)).await.unwrap()
}

/// All ids of the log that come after a cursor.
async fn ended(store: &MySqlStore, cursor: &mut EndedCursor) -> Vec<SessionId> {
    let mut ids = Vec::new();
    loop {
        let page = store.ended_after(cursor).await.unwrap();
        ids.extend(page.ids);
        *cursor = page.next;
        if page.is_last {
            return ids;
        }
    }
}

/// The stored record, which has to be `wanted`, but for what the server counted as a wait before it rotated at `at`.
async fn stored(store: &MySqlStore, wanted: &SessionRecord, at: UnixMillis) -> SessionRecord {
    let found = store.load(&wanted.id).await.unwrap().unwrap();
    let wait = found.rotated_at.saturating_since(at);
    assert!(wait < LIMIT, "{found:?}");
    let expires_at = wanted.expires_at.saturating_add(wait).min(wanted.absolute_expires_at);
    assert_eq!(
        found,
        changed(wanted.clone(), |it| {
            it.rotated_at = at.saturating_add(wait);
            it.expires_at = expires_at;
        })
    );
    found
}

/// All that a log could show of an error.
fn text(error: &StoreError) -> String {
    let mut text = format!("{error} {error:?}");
    let causes = iter::successors(error.source(), |cause| (*cause).source());
    causes.for_each(|cause| write!(text, " {cause} {cause:?}").unwrap());
    text
}

/// Each handle with a pool of its own, as another process would have it.
struct Conformance(String);

impl Harness for Conformance {
    type Store = MySqlStore;

    async fn open(&self) -> MySqlStore {
        MySqlStore::new(pool_of(&self.0, 8))
    }

    async fn stall(&self) -> Option<Stall> {
        let pool = pool_of(&self.0, 1);
        let mut holder = pool.acquire().await.unwrap();
        let lock = "LOCK TABLES kippu_sessions WRITE, kippu_state WRITE, kippu_ended WRITE";
        sqlx::raw_sql(lock).execute(&mut *holder).await.unwrap();
        Some(Stall::new(async move {
            sqlx::raw_sql("UNLOCK TABLES").execute(&mut *holder).await.unwrap();
        }))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB"]
async fn passes_the_conformance_suite() {
    let server = server();
    let url = server.url_of(&server.database());
    store(&url).await;
    let report = Suite::new().rounds(4).run(&Conformance(url)).await;
    println!("{report}");
    report.assert_passed();
}
