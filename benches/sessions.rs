//! Measures logins on each store: the throughput, and the wait of the slowest.
//!
//! `cargo bench -p kippu-benches --bench sessions [-- [--loaded=SESSIONS] [--worn=ROTATIONS]
//! [--ended] [--without-log] [STORE …]]`.
//!
//! The bench starts the servers, which share the machine's cores with it. Each row is one operation
//! by a number of concurrent callers, each on separate sessions. Every answer is checked. `rotate`
//! is only the store's step; `refresh` is all of it: tag, read, rotation, signature.
//!
//! - `--loaded=1000000` puts that many sessions into the store beforehand, and prints the space of
//!   each.
//! - `--worn=1000000` rotates one of them that often, and prints how much the store has grown.
//! - `--ended` ends 10, 100 and 1,000 sessions a second while a verifier follows them. It prints
//!   how long after the answer the verifier rejects their tokens, and the cost of a reading of the
//!   log.
//! - `--without-log` makes SQLite and PostgreSQL write no log, as a comparison for the logouts.
//!
//! The bench writes the rows as JSON and draws the rotations, in `target/sessions` or the folder of
//! `--out=FOLDER`.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a bench that fails ends"
)]

#[path = "chart.rs"]
mod chart;
#[path = "machine.rs"]
mod machine;
#[path = "session_charts.rs"]
mod session_charts;

use std::{
    env, io,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, RwLock},
    time::{Duration, Instant},
};

use kippu::{
    Algorithm, Key,
    session::{
        AccessVerifier, BoxStore, EndedOptions, EndedSessions, MemoryStore, NoClaims, RefreshStore,
        Session, SessionId, Sessions, TokenEnd, TokenResponse, UnixMillis,
        rotation::{RotateOutcome, RotateRequest},
    },
};
use kippu_test_support::{
    mysql as mysql_server, postgres as postgres_server, redis as redis_server, servers,
};
use tokio::{runtime::Runtime, task::JoinSet};

use self::session_charts::Row;

/// The amount of work for one row.
#[derive(Clone, Copy)]
struct Size {
    /// The minimum number of calls of a row.
    calls: usize,
    callers: &'static [usize],
    /// The number of sessions that exist before.
    loaded: usize,
    /// The number of rotations of one of them.
    worn: u64,
    /// How long sessions end at each rate.
    ended: Duration,
    /// Whether the databases write the log of ended sessions.
    logs: bool,
}

/// For measurements.
const FULL: Size = Size {
    calls: 24_000,
    callers: &[1, 8, 32, 128],
    loaded: 0,
    worn: 0,
    ended: Duration::ZERO,
    logs: true,
};

/// For a test that the bench works.
const TRIAL: Size = Size {
    calls: 16,
    callers: &[1, 2],
    loaded: 256,
    worn: 256,
    ended: Duration::from_millis(100),
    logs: true,
};

/// Reads the amount of work, and the folder for the rows.
fn read(arguments: &[String]) -> (Size, PathBuf) {
    // Cargo passes `--bench` for `cargo bench`, not for `cargo test`.
    let is_bench = arguments.iter().any(|argument| argument == "--bench");
    let mut size = if is_bench { FULL } else { TRIAL };
    let mut folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sessions");
    for argument in arguments {
        match argument.split_once('=').unwrap_or((argument, "")) {
            ("--loaded", number) => size.loaded = number.parse().expect("--loaded=SESSIONS"),
            ("--worn", number) => size.worn = number.parse().expect("--worn=ROTATIONS"),
            ("--out", path) => folder = PathBuf::from(path),
            ("--ended", _) => size.ended = Duration::from_secs(10),
            ("--without-log", _) => size.logs = false,
            _ => {}
        }
    }
    (size, folder)
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (size, folder) = read(&arguments);
    let named: Vec<&String> = arguments.iter().filter(|name| !name.starts_with('-')).collect();
    let wanted = |name: &str| named.is_empty() || named.iter().any(|wanted| *wanted == name);
    let runtime = Runtime::new().expect("threads");

    let mut rows = Vec::new();
    println!(
        "{:<10} {:<8} {:>7} {:>10} {:>11} {:>11} {:>12}",
        "store", "", "callers", "a second", "p50", "p99", "max"
    );
    if wanted("memory") {
        let store = MemoryStore::new(usize::MAX);
        runtime.block_on(all("memory", BoxStore::new(store), size, &mut rows, async || resident()));
    }
    if wanted("sqlite") {
        let folder = servers::Scratch::new("bench");
        runtime.block_on(async {
            let path = folder.path().join("sessions.db");
            let store = kippu_sqlx::SqliteStore::open(&path).await.expect("a new file");
            if !size.logs {
                let url = format!("sqlite://{}", path.display());
                let pool = sqlx::SqlitePool::connect(&url).await.expect("a file");
                sqlx::query("DROP TRIGGER kippu_sessions_ended")
                    .execute(&pool)
                    .await
                    .expect("it is there");
            }
            let held = async || {
                let files =
                    ["", "-wal"].map(|end| path.with_file_name(format!("sessions.db{end}")));
                files.iter().filter_map(|file| Some(file.metadata().ok()?.len())).sum()
            };
            all("sqlite", BoxStore::new(store), size, &mut rows, held).await;
        });
    }
    if wanted("postgres") {
        let server = postgres_server::Postgres::start();
        runtime.block_on(async {
            // A server on this machine does not break connections, so that they need not be tested
            // first.
            let options =
                sqlx::postgres::PgPoolOptions::new().max_connections(32).test_before_acquire(false);
            let pool = options.connect(&server.url()).await.expect("it runs");
            let store = kippu_sqlx::PostgresStore::new(pool.clone());
            store.create_schema().await.expect("a new database");
            if !size.logs {
                let drop = "DROP TRIGGER kippu_sessions_ended ON kippu_sessions";
                sqlx::query(drop).execute(&pool).await.expect("it is there");
            }
            let held = async || {
                let query = "SELECT pg_total_relation_size('kippu_sessions')";
                let bytes: i64 = sqlx::query_scalar(query).fetch_one(&pool).await.expect("it runs");
                bytes.unsigned_abs()
            };
            all("postgres", BoxStore::new(store), size, &mut rows, held).await;
        });
    }
    if wanted("mysql") {
        // MariaDB with the default of both servers: innodb_flush_log_at_trx_commit = 1. PostgreSQL
        // above has no log for replicas either.
        let server = mysql_server::MySql::start_with(&["--skip-log-bin"]);
        runtime.block_on(async {
            let options =
                sqlx::mysql::MySqlPoolOptions::new().max_connections(32).test_before_acquire(false);
            let url = server.url_of(&server.database());
            let pool = options.connect(&url).await.expect("it runs");
            let store = kippu_sqlx::MySqlStore::new(pool.clone());
            store.create_schema().await.expect("a new database");
            let held = async || {
                let query = "SELECT CAST(SUM(data_length + index_length) AS UNSIGNED) FROM information_schema.tables \
                             WHERE table_schema = DATABASE()";
                sqlx::query_scalar(query).fetch_one(&pool).await.expect("it runs")
            };
            all("mysql", BoxStore::new(store), size, &mut rows, held).await;
        });
    }
    if wanted("redis") {
        let options = redis_server::RedisOptions { append: Some("everysec"), ..Default::default() };
        let server = redis_server::Redis::start_with(options);
        runtime.block_on(async {
            let client = redis::Client::open(server.url()).expect("a URL");
            let connection = redis::aio::ConnectionManager::new(client).await.expect("it runs");
            let store = kippu_redis::RedisStore::new(connection);
            let held = async || {
                let answer = server.command(&["INFO", "memory"]);
                let used = answer.lines().find_map(|line| line.strip_prefix("used_memory:"));
                used.expect("the line has a number").trim().parse().expect("a number")
            };
            all("redis", BoxStore::new(store), size, &mut rows, held).await;
        });
    }
    session_charts::write(&folder, size.loaded, &rows).expect("a folder to write to");
    println!("written to {}", folder.display());
}

/// The sessions that an operation uses.
struct Bench {
    store: Arc<BoxStore>,
    sessions: Sessions<Arc<BoxStore>>,
    /// The tokens of each caller, one for each call.
    tokens: RwLock<Vec<Vec<TokenResponse>>>,
}

impl Bench {
    fn tokens(&self, caller: usize, call: usize) -> TokenResponse {
        self.tokens.read().expect("no call failed")[caller][call].clone()
    }
}

/// Returns the memory of the process in bytes, if the system provides it.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Runs all operations, with more and more callers. `held` returns how many bytes the store takes.
async fn all(
    name: &'static str,
    store: BoxStore,
    size: Size,
    rows: &mut Vec<Row>,
    held: impl AsyncFn() -> u64,
) {
    // Writes of the earlier stores that are still pending must not happen during this one's turn.
    if let Err(error) = Command::new("sync").status() {
        eprintln!("the disk may be busy still: sync: {error}");
    }
    let store = Arc::new(store);
    let sessions = Sessions::builder(Arc::clone(&store))
        .issuer("https://auth.example")
        .audience("api")
        .client("web")
        .access_key(access_key())
        .refresh_key(Key::generate(Algorithm::Hs256).expect("randomness").with_kid("1"))
        .build()
        .expect("defaults are safe");
    let bench = Arc::new(Bench { store, sessions, tokens: RwLock::default() });
    if size.loaded > 0 {
        let before = held().await;
        let Measured { elapsed, waits } =
            each(&bench, LOADERS, size.loaded / LOADERS, load).await.0;
        let count = waits.len();
        drop(waits);
        let grown = held().await.saturating_sub(before);
        #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "an average")]
        let each = grown as f64 / count as f64;
        println!("{name:<10} {count} sessions loaded in {elapsed:.1?}, {each:.0} bytes each");
    }
    if size.worn > 0 {
        let before = held().await;
        let session = bench.sessions.login("worn", &NoClaims {}).await.expect("a login");
        let start = Instant::now();
        for generation in 0..size.worn {
            rotate_once(&bench.store, session.session_id, generation).await;
        }
        let (elapsed, grown) = (start.elapsed(), held().await.saturating_sub(before) / 1024);
        println!("{name:<10} one rotated {} times in {elapsed:.1?}, {grown} KiB more", size.worn);
    }
    for a_second in [10, 100, 1000] {
        if !size.ended.is_zero() {
            end(name, &bench, a_second, size.ended).await;
        }
    }
    for &callers in size.callers {
        // A single caller that waits for a disk makes little progress.
        let calls = if callers == 1 { size.calls / 8 } else { size.calls }.div_ceil(callers);
        let mut row = |operation, Measured { elapsed, waits }: Measured| {
            let at = |part: usize| waits[(waits.len() - 1) * part / 100].as_secs_f64() * 1e6;
            #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "a count")]
            let a_second = waits.len() as f64 / elapsed.as_secs_f64();
            let (p50, p99, max) = (at(50), at(99), at(100));
            println!(
                "{name:<10} {operation:<8} {callers:>7} {a_second:>10.0} {p50:>8.1} µs {p99:>8.1} µs {max:>9.1} µs"
            );
            rows.push(Row { store: name, operation, callers, a_second, p50, p99, max });
        };
        let (measured, tokens) = each(&bench, callers, calls, login).await;
        *bench.tokens.write().expect("no call failed") = tokens;
        row("login", measured);
        row("verify", each(&bench, callers, calls, verify).await.0);
        row("rotate", each(&bench, callers, calls, rotate).await.0);
        // The row before has used these tokens up.
        *bench.tokens.write().expect("no call failed") =
            each(&bench, callers, calls, login).await.1;
        row("refresh", each(&bench, callers, calls, refresh).await.0);
        row("logout", each(&bench, callers, calls, logout).await.0);
    }
}

fn access_key() -> Key {
    Key::hs256([0x5a; 32]).expect("32 bytes")
}

/// Logs out `a_second` sessions a second for `time`. Measures how long after its answer a verifier
/// rejects the token, and the cost of a reading.
async fn end(name: &str, bench: &Arc<Bench>, a_second: u32, time: Duration) {
    let ended = EndedSessions::follow(Arc::clone(&bench.store), EndedOptions::new());
    let verifier = AccessVerifier::new(access_key(), "https://auth.example", "api");
    let verifier = Arc::new(verifier.ended_sessions(ended.clone()));
    let logouts = (time.as_secs_f64() * f64::from(a_second)).max(1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::as_conversions,
        reason = "a count"
    )]
    let tokens = each(bench, 1, logouts as usize, login).await.1.remove(0);
    ended.poll().await.expect("the store is there");
    // As `EndedSessions::run` does it, but timed.
    let readings = Arc::<Mutex<Vec<Duration>>>::default();
    let measured = Arc::clone(&readings);
    let reader = tokio::spawn(async move {
        loop {
            let start = Instant::now();
            ended.poll().await.expect("the store is there");
            measured.lock().expect("no reading failed").push(start.elapsed());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / a_second);
    let mut lags = JoinSet::new();
    let start = Instant::now();
    for tokens in tokens {
        ticks.tick().await;
        let (bench, verifier) = (Arc::clone(bench), Arc::clone(&verifier));
        lags.spawn(async move {
            let token = verifier.verify::<NoClaims>(&tokens.access_token).expect("a good token");
            bench.sessions.logout(&tokens.refresh_token).await.expect("a logout");
            let answered = Instant::now();
            assert_eq!(verifier.ended(&token, tokio::time::sleep).await, TokenEnd::SessionEnded);
            answered.elapsed()
        });
    }
    let elapsed = start.elapsed().as_secs_f64();
    let mut lags = lags.join_all().await;
    reader.abort();
    let mut readings = std::mem::take(&mut *readings.lock().expect("no reading failed"));
    lags.sort_unstable();
    readings.sort_unstable();
    let at =
        |waits: &[Duration], part: usize| waits[(waits.len() - 1) * part / 100].as_secs_f64() * 1e3;
    println!(
        "{name:<10} {a_second} logouts a second ({} in {elapsed:.1} s): refused after p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms; a \
         reading takes p50 {:.3} ms, p99 {:.3} ms",
        lags.len(),
        at(&lags, 50),
        at(&lags, 99),
        at(&lags, 100),
        at(&readings, 50),
        at(&readings, 99),
    );
}

async fn login(bench: Arc<Bench>, caller: usize, call: usize) -> TokenResponse {
    let subject = format!("user-{caller}-{call}");
    bench.sessions.login(subject, &NoClaims {}).await.expect("a login")
}

/// The number of callers that load sessions.
const LOADERS: usize = 128;

async fn load(bench: Arc<Bench>, caller: usize, call: usize) {
    let subject = format!("loaded-{caller}-{call}");
    bench.sessions.login(subject, &NoClaims {}).await.expect("a login");
}

async fn verify(bench: Arc<Bench>, caller: usize, call: usize) {
    let tokens = bench.tokens(caller, call);
    let read = bench.sessions.verify::<NoClaims>(&tokens.access_token).expect("a good token");
    assert_eq!(read.session_id, tokens.session_id);
}

async fn rotate(bench: Arc<Bench>, caller: usize, call: usize) {
    rotate_once(&bench.store, bench.tokens(caller, call).session_id, 0).await;
}

async fn rotate_once(store: &BoxStore, id: SessionId, generation: u64) {
    let (grace, idle_lifetime) = (Duration::from_secs(10), Duration::from_secs(86_400));
    let request = RotateRequest::new(id, generation, "1", UnixMillis::now(), grace, idle_lifetime);
    let outcome = store.rotate(&request).await.expect("the store is there");
    assert!(matches!(outcome, RotateOutcome::Rotated(_)), "{outcome:?}");
}

async fn refresh(bench: Arc<Bench>, caller: usize, call: usize) {
    let token = bench.tokens(caller, call).refresh_token;
    let next = bench.sessions.refresh(&token, welcome).await.expect("a refresh");
    assert_ne!(next.refresh_token, token);
}

async fn logout(bench: Arc<Bench>, caller: usize, call: usize) {
    let token = bench.tokens(caller, call).refresh_token;
    bench.sessions.logout(&token).await.expect("a logout");
}

async fn welcome(_: Session) -> Result<Option<NoClaims>, io::Error> {
    Ok(Some(NoClaims {}))
}

/// The time from the first call to the last answer, and each wait, sorted.
struct Measured {
    elapsed: Duration,
    waits: Vec<Duration>,
}

/// Runs a number of concurrent callers, each of which makes its calls one after the other.
async fn each<T, F>(
    bench: &Arc<Bench>,
    callers: usize,
    calls: usize,
    operation: impl Fn(Arc<Bench>, usize, usize) -> F + Copy + Send + 'static,
) -> (Measured, Vec<Vec<T>>)
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let bench = Arc::clone(bench);
            tokio::spawn(async move {
                let (mut answers, mut waits) = (Vec::new(), Vec::new());
                for call in 0..calls {
                    let start = Instant::now();
                    answers.push(operation(Arc::clone(&bench), caller, call).await);
                    waits.push(start.elapsed());
                }
                (answers, waits)
            })
        })
        .collect();
    let (mut answers, mut waits) = (Vec::new(), Vec::new());
    for task in tasks {
        let (answered, mut waited) = task.await.expect("no call failed");
        answers.push(answered);
        waits.append(&mut waited);
    }
    let elapsed = start.elapsed();
    waits.sort_unstable();
    (Measured { elapsed, waits }, answers)
}
