//! `/healthz` and `/readyz`, while the database is down, stopped, locked, or read-only, and while
//! the keys are rotated.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use kippu::{Algorithm, Jwk, JwkSet, NumericDate};
use serde_json::{Value, json};

use crate::support::{
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
        let keys = last.1.as_object_mut().unwrap().remove("keys");
        assert!(keys.is_some_and(|keys| keys["access"]["kids"][0] == "access-1"));
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

/// Writes a file of keys as the docs say: under another name, then renamed.
fn write_as(folder: &Scratch, name: &str, text: &str) {
    let path = folder.path().join(".new");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(path, folder.path().join(name)).unwrap();
}

fn write(folder: &Scratch, text: &str) {
    write_as(folder, "keys.access.jwk", text);
}

/// Waits until `/readyz` shows these ids of access keys, and whether they cannot be read.
fn wait_for_keys(server: &Program, kids: &[&str], failing: bool) {
    wait_until(&format!("{kids:?}, {failing}"), Duration::from_secs(30), || {
        let answer = server.get("/readyz");
        assert_eq!(answer.status(), 200);
        let keys = answer.json()["keys"].take();
        assert_eq!(keys["refresh"]["kids"], json!(["refresh-1"]));
        keys["access"]["kids"] == json!(kids) && keys["access"]["failing"] == failing
    });
}

fn signed_by(token: &str) -> String {
    kippu::unverified_header(token, token.len()).unwrap().kid.unwrap()
}

fn is_accepted(server: &Program, token: &str) -> bool {
    let header = format!("Bearer {token}");
    server.ask("GET", "/api/me", &[("authorization", &header)], "").unwrap().status() == 200
}

#[test]
fn a_rotation_of_the_access_key_is_logged_and_shown_and_refuses_no_token() {
    let folder = Scratch::new("auth-ready-keys");
    let options = ["--keys", "keys", "--reload-keys-every", "1", "--access-lifetime", "600"];
    let server = Program::start(&folder, "memory", &options);
    wait_for_keys(&server, &["access-1"], false);
    let is_accepted = |token: &str| is_accepted(&server, token);
    server.register("ada@example.com");
    let old = server.log_in("ada@example.com");
    assert_eq!(signed_by(&old), "access-1");

    let text = fs::read_to_string(folder.path().join("keys.access.jwk")).unwrap();
    let first = || Jwk::from_json(&text).unwrap();
    let second = Jwk::generate(Algorithm::Hs256).unwrap().with_kid("access-2");
    let both = JwkSet::new([first().verify_only(), second]).unwrap().expose_json();
    write(&folder, &both);
    wait_for_keys(&server, &["access-2", "access-1"], false);
    server.wait_for_log(r#""kids":"access-2, access-1""#);
    let new = server.log_in("ada@example.com");
    assert_eq!(signed_by(&new), "access-2");
    assert!(is_accepted(&old) && is_accepted(&new));

    // The operator breaks the file: the server stays ready, with the keys of before.
    write(&folder, "half a k");
    wait_for_keys(&server, &["access-2", "access-1"], true);
    server.wait_for_log("the keys cannot be read, and stay the old ones");
    let start = NumericDate::now().seconds();
    wait_until("an age that grows", Duration::from_secs(30), || {
        server.get("/readyz").json()["keys"]["access"]["age"].as_u64().unwrap() >= 2
    });
    assert!(NumericDate::now().seconds() > start);
    assert!(is_accepted(&old) && is_accepted(&new));
    write(&folder, &both);
    wait_for_keys(&server, &["access-2", "access-1"], false);

    // No line of the log has a secret.
    let log = server.log();
    for k in both.split(r#""k":""#).skip(1) {
        assert!(!log.contains(&k[..12]), "{log}");
    }
}

#[test]
fn keys_in_directories_are_rotated_by_their_files() {
    let folder = Scratch::new("auth-ready-directories");
    for (directory, mode) in
        [("keys", 0o700), ("keys/access", 0o700), ("keys/refresh", 0o700), ("keys/audit", 0o700)]
    {
        let path = folder.path().join(directory);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let jwk = || Jwk::generate(Algorithm::Hs256).unwrap().expose_json();
    for name in ["access/access-1.json", "refresh/refresh-1.json", "audit/audit-1.json"] {
        write_as(&folder, &format!("keys/{name}"), &jwk());
    }
    let options = ["--keys", "dir:keys", "--reload-keys-every", "1", "--access-lifetime", "600"];
    let server = Program::start(&folder, "memory", &options);
    wait_for_keys(&server, &["access-1"], false);
    server.register("ada@example.com");
    let old = server.log_in("ada@example.com");
    assert_eq!(signed_by(&old), "access-1");
    write_as(&folder, "keys/access/signing", "access-1\n");
    write_as(&folder, "keys/access/access-2.json", &jwk());
    wait_for_keys(&server, &["access-1", "access-2"], false);
    write_as(&folder, "keys/access/signing", "access-2\n");
    wait_for_keys(&server, &["access-2", "access-1"], false);
    let new = server.log_in("ada@example.com");
    assert_eq!(signed_by(&new), "access-2");
    assert!(is_accepted(&server, &old) && is_accepted(&server, &new));
    fs::remove_file(folder.path().join("keys/access/access-1.json")).unwrap();
    wait_for_keys(&server, &["access-2"], false);
    assert!(!is_accepted(&server, &old) && is_accepted(&server, &new));
}
