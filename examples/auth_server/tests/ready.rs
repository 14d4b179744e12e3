//! `/healthz` and `/readyz`, while the database is down, stopped, locked, or read-only.

#[path = "support/all.rs"]
mod support;

use std::time::Duration;

use serde_json::{Value, json};

use self::support::{
    lock::{Lock, Paused},
    postgres::Postgres,
    program::Program,
    redis::{Redis, RedisOptions},
    servers::{Scratch, wait_until},
};

/// Waits until `/readyz` names these parts, and checks that `/healthz` says that the server lives.
fn wait_for(server: &Program, not_ready: &[&str]) {
    let expected = json!({ "ready": not_ready.is_empty(), "not_ready": not_ready });
    let mut last = (0, Value::Null);
    wait_until(&format!("{expected}"), Duration::from_secs(30), || {
        let answer = server.get("/readyz");
        last = (answer.status(), answer.json());
        last.1 == expected
    });
    assert_eq!(last.0, if not_ready.is_empty() { 200 } else { 503 });
    let answer = server.get("/healthz");
    assert_eq!((answer.status(), &*answer.body), (200, "ok\n"));
}

#[test]
fn a_server_in_memory_is_ready() {
    let folder = Scratch::new("auth-ready-memory");
    wait_for(&Program::start(&folder, "memory", &[]), &[]);
}

#[test]
fn a_server_whose_file_is_locked_is_not_ready() {
    let folder = Scratch::new("auth-ready-sqlite");
    let server = Program::start(&folder, "sqlite:auth.db", &[]);
    wait_for(&server, &[]);
    let lock = Lock::of_file(&folder.path().join("auth.db"));
    wait_for(&server, &["sessions"]);
    drop(lock);
    wait_for(&server, &[]);
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_server_over_a_paused_or_read_only_database_or_a_standby_is_not_ready() {
    let mut postgres = Postgres::start();
    let folder = Scratch::new("auth-ready-postgres");
    let server = Program::start(&folder, &postgres.url(), &[]);
    wait_for(&server, &[]);

    let paused = Paused::new(&postgres);
    wait_for(&server, &["sessions", "accounts"]);
    drop(paused);
    wait_for(&server, &[]);

    postgres.stop();
    wait_for(&server, &["sessions", "accounts"]);
    postgres.set(&["default_transaction_read_only=on"]);
    postgres.restart();
    wait_for(&server, &["sessions"]);
    postgres.stop();
    postgres.set(&[]);
    postgres.restart();
    wait_for(&server, &[]);

    // After a failover the old primary comes back as a standby of the new one.
    let other = postgres.standby();
    other.promote();
    postgres.follow(&other);
    wait_for(&server, &["sessions", "accounts"]);
    postgres.promote();
    wait_for(&server, &[]);
}

#[test]
#[ignore = "needs Redis"]
fn a_server_over_a_replica_or_without_redis_is_not_ready() {
    let mut redis = Redis::start();
    let folder = Scratch::new("auth-ready-redis");
    let server = Program::start(&folder, &redis.url(), &[]);
    wait_for(&server, &[]);
    assert_eq!(redis.command(&["REPLICAOF", "127.0.0.1", "1"]).trim(), "OK");
    wait_for(&server, &["sessions", "accounts"]);
    assert_eq!(redis.command(&["REPLICAOF", "NO", "ONE"]).trim(), "OK");
    wait_for(&server, &[]);
    redis.stop();
    wait_for(&server, &["sessions", "accounts"]);
    redis.restart();
    wait_for(&server, &[]);
}

#[test]
#[ignore = "needs Redis"]
fn the_reasons_are_only_in_the_log() {
    let options = RedisOptions { password: Some("hunter2"), ..RedisOptions::default() };
    let mut redis = Redis::start_with(options);
    let folder = Scratch::new("auth-ready-secret");
    let server = Program::start(&folder, &redis.url_with("default", "hunter2"), &[]);
    wait_for(&server, &[]);
    redis.stop();
    wait_for(&server, &["sessions", "accounts"]);
    server.wait_for_log("not ready");
    let (answer, log) = (server.get("/readyz"), server.log());
    assert!(!answer.body.contains("127.0.0.1") && !log.contains("hunter2"), "{log}");
}
