//! Steps that wait: for the lock of another process, for the disk, for readers; and the clocks that
//! measure these waits.

use std::{io::Read, mem, time::SystemTime};

use super::*;

/// Returns the current time by the clock of this machine, as a caller reads it.
fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    UnixMillis::new(i64::try_from(since.as_millis()).unwrap())
}

/// Returns a session with a login now.
fn new_session(subject: &str) -> SessionRecord {
    let now = now();
    changed(session(subject), |it| {
        it.created_at = now;
        it.rotated_at = now;
        it.expires_at = now.saturating_add(Duration::from_secs(3600));
        it.absolute_expires_at = now.saturating_add(Duration::from_secs(86_400));
    })
}

fn late(error: &StoreError) {
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("within the deadline"), "{error}");
}

/// The test below runs this in a separate process: it presents a token, and prints the outcome.
#[test]
fn presents_a_token() {
    let Some(words) = words() else { return };
    let [path, id, grace] = &words[..] else { panic!("{words:?}") };
    run(async {
        let store = open(path).await;
        let session = changed(new_session("alice"), |it| it.id = id.parse().unwrap());
        let request = changed(request(&session, 0, now()), |it| {
            it.grace = Duration::from_millis(grace.parse().unwrap());
        });
        println!("\npresenting");
        println!("\n{:?}", store.rotate(&request).await.unwrap());
    });
}

pub(super) fn read_until(output: &mut impl BufRead, start: &str) {
    let mut line = String::new();
    while !line.starts_with(start) {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "it ended");
    }
}

/// Another process holds the write lock for three times the grace period, while one token is
/// presented through several stores and another process.
#[test]
fn the_grace_begins_after_a_lock_that_lasts_longer() {
    run(async {
        let scratch = Scratch::new("sqlite");
        let path = file(&scratch);
        let grace = Duration::from_millis(700);
        let mut stores = Vec::new();
        for _ in 0..3 {
            stores.push(open(&path).await);
        }
        let session = new_session("alice");
        stores[0].insert(&InsertRequest::new(session.clone())).await.unwrap();
        let mut connection = raw(&path).await;
        execute(&mut connection, "BEGIN IMMEDIATE").await;
        let words = [path.to_str().unwrap(), &session.id.to_string(), "700"];
        let (mut child, mut output) = spawn("waiting::presents_a_token", &words);
        read_until(&mut output, "presenting");
        let presented = now();
        let mut tasks = JoinSet::new();
        for number in 0..30 {
            let (store, session) = (stores[number % 3].clone(), session.clone());
            tasks.spawn(async move {
                sleep(Duration::from_millis(20) * u32::try_from(number).unwrap()).await;
                let request = changed(request(&session, 0, now()), |it| it.grace = grace);
                store.rotate(&request).await.unwrap()
            });
        }
        sleep(grace * 3).await;
        let released = now();
        execute(&mut connection, "COMMIT").await;
        let mut outcomes: Vec<_> = tasks.join_all().await;
        let answered = now();
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert!(child.wait().unwrap().success(), "{rest}");
        let record = stores[1].load(&session.id).await.unwrap().unwrap();
        let successor = Successor::new(1, "k2", record.expires_at);
        let of_child =
            [RotateOutcome::Rotated(successor.clone()), RotateOutcome::Replayed(successor)]
                .into_iter()
                .find(|outcome| rest.contains(&format!("{outcome:?}")));
        outcomes.push(of_child.unwrap_or_else(|| panic!("{rest}")));
        let rotated =
            outcomes.iter().filter(|outcome| matches!(outcome, RotateOutcome::Rotated(_)));
        assert_eq!(rotated.count(), 1, "{outcomes:?}");
        for outcome in &outcomes {
            let (RotateOutcome::Rotated(to) | RotateOutcome::Replayed(to)) = outcome else {
                panic!("{outcomes:?}");
            };
            assert_eq!((to.generation, to.expires_at), (1, record.expires_at));
        }
        // The store measures the stall by a clock that is never set. The clock of the machine may
        // be slewed meanwhile.
        let slack = grace / 10;
        let is_by = |time: UnixMillis, limit: UnixMillis| time <= limit.saturating_add(slack);
        assert!(is_by(released, record.rotated_at), "{record:?} {released:?}");
        assert!(is_by(record.rotated_at, answered), "{record:?} {answered:?}");
        assert!(is_by(presented.saturating_add(grace * 3), released));

        let at = |time| changed(request(&session, 0, time), |it| it.grace = grace);
        for time in
            [presented, released, record.rotated_at, record.rotated_at.saturating_add(grace)]
        {
            let outcome = stores[2].rotate(&at(time)).await.unwrap();
            assert!(matches!(outcome, RotateOutcome::Replayed(_)), "{time:?} {outcome:?}");
        }
        let time = record.rotated_at.saturating_add(grace + Duration::from_millis(1));
        assert_eq!(stores[2].rotate(&at(time)).await.unwrap(), RotateOutcome::Reused);
    });
}

/// The test below runs this in a separate process. It rotates a session until it is stopped for a
/// while, prints the answer and its time, and ends.
#[test]
fn rotates_until_it_is_stopped() {
    let Some(words) = words() else { return };
    let [path, id] = &words[..] else { panic!("{words:?}") };
    run(async {
        let store = open(path).await;
        let id: SessionId = id.parse().unwrap();
        let record = store.load(&id).await.unwrap().unwrap();
        // From here on every stop is noticed, wherever it hits.
        let mut answered = Instant::now();
        println!("\nrotating");
        for generation in record.generation.. {
            let mut request = request(&record, generation, LOGIN);
            request.grace = STOP_GRACE;
            // A stop between this line and the call would be a stall that no store can measure.
            request.now = now();
            let outcome = store.rotate(&request).await.unwrap();
            assert!(matches!(outcome, RotateOutcome::Rotated(_)), "{outcome:?}");
            let before = mem::replace(&mut answered, Instant::now());
            if answered - before >= STOP_GRACE * 2 {
                println!("\nanswered {generation} {}", now());
                return;
            }
        }
    });
}

const STOP_GRACE: Duration = Duration::from_millis(200);

#[cfg(unix)]
pub(super) fn signal(child: &Child, signal: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
}

/// A process is stopped for three times the grace period in the middle of a rotation: before the
/// change, or between the change and the end of its commit, which takes most of the time.
#[cfg(unix)]
#[test]
fn the_grace_begins_after_a_commit_that_stalls() {
    run(async {
        let scratch = Scratch::new("sqlite");
        let path = file(&scratch);
        let store = open(&path).await;
        let idle = Duration::from_secs(600);
        let session = changed(new_session("alice"), |it| it.idle_lifetime = Some(idle));
        store.insert(&InsertRequest::new(session.clone())).await.unwrap();
        let mut stopped_in_time = 0;
        while stopped_in_time < u64::from(rounds(15)) {
            let words = [path.to_str().unwrap(), &session.id.to_string()];
            let (mut child, mut output) = spawn("waiting::rotates_until_it_is_stopped", &words);
            read_until(&mut output, "rotating");
            sleep(Duration::from_millis(20 + 3 * stopped_in_time)).await;
            signal(&child, "STOP");
            sleep(STOP_GRACE * 3).await;
            let stopped = store.load(&session.id).await.unwrap().unwrap();
            signal(&child, "CONT");
            let mut rest = String::new();
            output.read_to_string(&mut rest).unwrap();
            assert!(child.wait().unwrap().success(), "{rest}");
            let answered = rest.lines().find_map(|line| line.strip_prefix("answered ")).unwrap();
            let (generation, time) = answered.split_once(' ').unwrap();
            let generation: u64 = generation.parse().unwrap();
            let record = store.load(&session.id).await.unwrap().unwrap();
            assert_eq!(record.generation, generation + 1);
            assert_eq!(record.expires_at, record.rotated_at.saturating_add(idle));
            if stopped.generation == record.generation {
                // The commit came before the stop, and so did the grace period.
                continue;
            }
            // A retry that comes right after the answer.
            let time = UnixMillis::new(time.parse().unwrap());
            let retry = changed(request(&session, generation, time), |it| it.grace = STOP_GRACE);
            let outcome = store.rotate(&retry).await.unwrap();
            assert!(matches!(outcome, RotateOutcome::Replayed(_)), "{time} {record:?} {outcome:?}");
            stopped_in_time += 1;
        }
    });
}

/// The steps end, and do not run once the lock is free, because their callers have gone.
#[test]
fn each_step_ends_within_the_deadline_and_is_dropped() {
    run(async {
        let scratch = Scratch::new("sqlite");
        let store = open(file(&scratch)).await;
        let (kept, new) = (session("alice"), session("alice"));
        let ended = changed(session("bob"), |it| it.expires_at = after(1));
        for session in [&kept, &ended] {
            store.insert(&InsertRequest::new(session.clone())).await.unwrap();
        }
        let mut connection = raw(&file(&scratch)).await;
        execute(&mut connection, "BEGIN IMMEDIATE").await;
        let start = Instant::now();
        let hasty = store.clone().with_deadline(Duration::from_millis(300));
        let reason = RevokeReason::Logout;
        for error in [
            hasty.insert(&InsertRequest::new(new.clone())).await.unwrap_err(),
            hasty.rotate(&request(&kept, 0, LOGIN)).await.unwrap_err(),
            hasty.revoke(&kept.id, reason, LOGIN).await.unwrap_err(),
            hasty.revoke_subject("alice", None, reason, LOGIN).await.unwrap_err(),
            hasty.purge_expired(UnixMillis::MAX, 10).await.unwrap_err(),
        ] {
            late(&error);
        }
        assert!(start.elapsed() >= Duration::from_millis(5 * 300));
        // Readers do not wait for the lock.
        assert_eq!(hasty.load(&kept.id).await.unwrap(), Some(kept.clone()));
        execute(&mut connection, "COMMIT").await;
        let last = session("alice");
        store.insert(&InsertRequest::new(last.clone())).await.unwrap();
        let mut wanted = vec![kept.clone(), last];
        wanted.sort_by_key(|session| session.id);
        assert_eq!(store.list(&ListRequest::new("alice", LOGIN)).await.unwrap(), wanted);
        assert_eq!(store.load(&ended.id).await.unwrap(), Some(ended));
    });
}

/// More steps than the queue has room for.
#[test]
fn a_full_queue_keeps_the_deadline() {
    run(async {
        let scratch = Scratch::new("sqlite");
        let store = open(file(&scratch)).await;
        let mut connection = raw(&file(&scratch)).await;
        execute(&mut connection, "BEGIN IMMEDIATE").await;
        let mut tasks = JoinSet::new();
        for _ in 0..3000 {
            let hasty = store.clone().with_deadline(Duration::from_millis(500));
            tasks.spawn(async move {
                hasty.insert(&InsertRequest::new(session("alice"))).await.unwrap_err()
            });
        }
        for error in tasks.join_all().await {
            late(&error);
        }
        // The store closes, and the other handles with it.
        store.clone().with_deadline(Duration::from_millis(500)).close().await;
        execute(&mut connection, "COMMIT").await;
        let error = store.load(&session("alice").id).await.unwrap_err();
        assert!(error.to_string().ends_with("the store is closed"), "{error}");
        let store = open(file(&scratch)).await;
        assert_eq!(store.list(&ListRequest::new("alice", LOGIN)).await.unwrap(), []);
    });
}

#[test]
fn a_read_ends_within_the_deadline() {
    run(async {
        let scratch = Scratch::new("sqlite");
        let store = open(file(&scratch)).await;
        let mut connection = raw(&file(&scratch)).await;
        add_rows(&mut connection, 20_000).await;
        let hasty = store.clone().with_deadline(Duration::from_millis(2));
        late(&hasty.list(&ListRequest::new("alice", LOGIN)).await.unwrap_err());
        assert_eq!(
            store
                .with_deadline(Duration::MAX)
                .list(&ListRequest::new("alice", LOGIN))
                .await
                .unwrap()
                .len(),
            20_000
        );
    });
}

/// Adds live sessions of one subject, spread over all ids.
async fn add_rows(connection: &mut SqliteConnection, count: i64) {
    let rows = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?) \
        INSERT INTO kippu_sessions SELECT randomblob(16), 'alice', 'web', NULL, 0, 8000000000000000, \
        0, 'k', 0, 8000000000000000, NULL, NULL, 1, NULL, NULL, x'' FROM n";
    sqlx::query(rows).bind(count).execute(connection).await.unwrap();
}

#[test]
fn opening_ends_within_the_deadline() {
    run(async {
        let scratch = Scratch::new("sqlite");
        open(file(&scratch)).await.close().await;
        let mut connection = raw(&file(&scratch)).await;
        execute(&mut connection, "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").await;
        let start = Instant::now();
        late(&SqliteStore::open(file(&scratch)).await.unwrap_err());
        assert!(start.elapsed() >= SqliteStore::DEFAULT_DEADLINE);
        execute(&mut connection, "COMMIT").await;
        connection.close().await.unwrap();
        open(file(&scratch)).await.close().await;
    });
}

#[test]
fn a_deadline_of_zero_reaches_no_file() {
    run(async {
        let scratch = Scratch::new("sqlite");
        for path in [file(&scratch), ":memory:".into()] {
            let store = open(path).await;
            let (kept, new) = (session("alice"), session("alice"));
            store.insert(&InsertRequest::new(kept.clone())).await.unwrap();
            let hasty = store.clone().with_deadline(Duration::ZERO);
            for error in [
                hasty.insert(&InsertRequest::new(new.clone())).await.unwrap_err(),
                hasty.load(&kept.id).await.unwrap_err(),
                hasty.rotate(&request(&kept, 0, LOGIN)).await.unwrap_err(),
                hasty.revoke(&kept.id, RevokeReason::Logout, LOGIN).await.unwrap_err(),
                hasty.purge_expired(UnixMillis::MAX, 10).await.unwrap_err(),
            ] {
                late(&error);
            }
            assert_eq!(store.list(&ListRequest::new("alice", LOGIN)).await.unwrap(), [kept]);
        }
    });
}

/// A server whose clock is 100 days ahead, or behind.
#[test]
fn a_purge_also_checks_the_clock_of_the_machine() {
    run(async {
        let day = Duration::from_secs(86_400);
        let scratch = Scratch::new("sqlite");
        for path in [file(&scratch), ":memory:".into()] {
            let store = open(path).await;
            let live = new_session("alice");
            let ended = changed(new_session("alice"), |it| it.expires_at = now());
            for session in [&live, &ended] {
                store.insert(&InsertRequest::new(session.clone())).await.unwrap();
            }
            let before = UnixMillis::new(ended.expires_at.get() - 1);
            assert_eq!(store.purge_expired(before, 10).await.unwrap(), 0);
            for ahead in [now().saturating_add(day * 100), UnixMillis::MAX] {
                store.purge_expired(ahead, 10).await.unwrap();
                assert_eq!(store.load(&live.id).await.unwrap(), Some(live.clone()));
                assert_eq!(store.load(&ended.id).await.unwrap(), None);
            }
        }
    });
}

/// The table is too large for one deadline. Each call continues where the last one stopped.
#[test]
fn a_purge_that_runs_out_of_time_makes_progress() {
    run(async {
        let scratch = Scratch::new("sqlite");
        let store = open(file(&scratch)).await;
        let mut connection = raw(&file(&scratch)).await;
        add_rows(&mut connection, 100_000).await;
        let ended = changed(session("bob"), |it| {
            it.id = SessionId::from_bytes([0xff; 16]);
            it.expires_at = after(1);
        });
        store.insert(&InsertRequest::new(ended.clone())).await.unwrap();
        let hasty = store.clone().with_deadline(Duration::from_millis(10));
        let hurried = |purged: Result<u64, StoreError>| match purged {
            Ok(removed) => assert!(removed <= 1),
            // Not one portion was finished in this time.
            Err(error) => late(&error),
        };
        let mut calls = 0;
        while store.load(&ended.id).await.unwrap().is_some() {
            calls += 1;
            hurried(hasty.purge_expired(UnixMillis::MAX, 10).await);
        }
        assert!(calls > 1, "one deadline was enough");
        // A purge that begins in the middle also reads all of the table.
        let first = changed(ended, |it| it.id = SessionId::from_bytes([0; 16]));
        store.insert(&InsertRequest::new(first.clone())).await.unwrap();
        hurried(hasty.purge_expired(UnixMillis::MAX, 10).await);
        store.insert(&InsertRequest::new(first.clone())).await.unwrap();
        assert_eq!(store.purge_expired(UnixMillis::MAX, 10).await.unwrap(), 1);
        let count = "SELECT count(*) FROM kippu_sessions WHERE subject = 'alice'";
        assert_eq!(
            sqlx::query_scalar::<_, i64>(count).fetch_one(&mut connection).await.unwrap(),
            100_000
        );
    });
}

fn log_len(path: &Path) -> u64 {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    fs::metadata(log).unwrap().len()
}

/// The limit in the documentation.
const LOG_LIMIT: u64 = 16 << 20;

/// Adds sessions that make the log longer by some megabytes.
async fn add_many(store: &SqliteStore) {
    let mut tasks = JoinSet::new();
    for number in 0..1000 {
        let store = store.clone();
        tasks.spawn(async move {
            store.insert(&InsertRequest::new(session(&format!("user{number}")))).await.unwrap()
        });
    }
    tasks.join_all().await;
}

#[test]
fn a_log_behind_a_long_reader_is_emptied_after_it() {
    run(async {
        let scratch = Scratch::new("sqlite");
        let path = file(&scratch);
        let store = open(&path).await;
        add_many(&store).await;
        let mut reader = raw(&path).await;
        execute(&mut reader, "BEGIN; SELECT count(*) FROM kippu_sessions").await;
        while log_len(&path) < LOG_LIMIT * 2 {
            add_many(&store).await;
        }
        execute(&mut reader, "COMMIT").await;
        let start = Instant::now();
        while log_len(&path) > LOG_LIMIT {
            store.insert(&InsertRequest::new(session("alice"))).await.unwrap();
            sleep(Duration::from_millis(20)).await;
            assert!(start.elapsed() < Duration::from_secs(60), "it is {} long", log_len(&path));
        }
    });
}

/// The store's own readers, without a pause, and short ones of another process.
#[test]
#[ignore = "nine busy readers and a writer take ten seconds: scripts/test runs it"]
fn a_log_stays_short_with_many_readers() {
    run(async {
        let scratch = Scratch::new("sqlite");
        let path = file(&scratch);
        let store = open(&path).await;
        let mut readers = JoinSet::new();
        for _ in 0..8 {
            let store = store.clone();
            readers.spawn(async move {
                loop {
                    store.list(&ListRequest::new("user7", LOGIN)).await.unwrap();
                }
            });
        }
        let mut connection = raw(&path).await;
        readers.spawn(async move {
            loop {
                execute(&mut connection, "BEGIN; SELECT count(*) FROM kippu_sessions").await;
                sleep(Duration::from_millis(20)).await;
                execute(&mut connection, "COMMIT").await;
            }
        });
        let mut longest = 0;
        for _ in 0..20 {
            add_many(&store).await;
            longest = longest.max(log_len(&path));
        }
        readers.shutdown().await;
        assert!(longest < LOG_LIMIT * 2, "{longest}");
        // This many bytes were written. With a reader that stays, a twentieth of them stays in the
        // log.
        let mut reader = raw(&path).await;
        execute(&mut reader, "PRAGMA wal_checkpoint(TRUNCATE)").await;
        execute(&mut reader, "BEGIN; SELECT count(*) FROM kippu_sessions").await;
        add_many(&store).await;
        assert!(log_len(&path) * 20 > LOG_LIMIT * 4, "{}", log_len(&path));
    });
}
