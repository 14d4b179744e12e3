//! The server stops in time after a signal, and serves while its log is blocked.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    client::Connection,
    lock::{Lock, Paused},
    postgres::Postgres,
    program::{self, PASSWORD, Program, credentials, send_signal},
    servers::{Scratch, wait_until},
};

/// The announcement in the log, and the limit of the tests, which leaves room for a busy machine.
const ANNOUNCED: &str = "\"within\":9";
const LIMIT: Duration = Duration::from_secs(9 + 5);

#[test]
#[ignore = "needs PostgreSQL"]
fn it_stops_in_time_whatever_the_store_and_the_clients_do() {
    let postgres = Postgres::start();
    let folder = Scratch::new("auth-stop");
    let options = ["--answer-timeout", "600", "--idle-timeout", "600", "--body-timeout", "600"];
    let mut server = Program::start(&folder, &postgres.url(), &options);
    server.register("ada@example.com");
    let _paused = Paused::new(&postgres);
    let mut open: Vec<_> = (0..3).map(|_| Connection::open(server.address).unwrap()).collect();
    open[0].send(b"GET /healthz HTTP/1.1\r\nx-half: ").unwrap();
    open[1].send(b"POST /login HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n").unwrap();
    let body = credentials("ada@example.com", PASSWORD);
    let head = "POST /login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json";
    let login = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    open[2].send(login.as_bytes()).unwrap();
    // When this later request is answered, the server has accepted the others.
    assert_eq!(server.get("/healthz").status(), 200);
    server.signal("TERM");
    assert!(server.end(LIMIT).success());
    let log = server.log();
    for line in [ANNOUNCED, "connections were cut off", "\"stopped\""] {
        assert!(log.contains(line), "{line}: {log}");
    }
}

#[test]
fn it_stops_in_time_while_another_process_has_locked_its_file() {
    let folder = Scratch::new("auth-stop-locked");
    let options = ["--answer-timeout", "600"];
    let mut server = Program::start(&folder, "sqlite:auth.db", &options);
    server.register("ada@example.com");
    let lock = Lock::of_file(&folder.path().join("auth.db"));
    let body = credentials("ada@example.com", PASSWORD);
    let head = "POST /login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json";
    let mut open = Connection::open(server.address).unwrap();
    let login = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    open.send(login.as_bytes()).unwrap();
    // When this later login is answered, the first one waits for the lock.
    assert_eq!(
        server.post("/login", &credentials("ada@example.com", "wrong password")).status(),
        401
    );
    server.signal("TERM");
    assert!(server.end(LIMIT).success());
    assert!(server.log().contains("\"stopped\""), "{}", server.log());
    drop(lock);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let folder = Scratch::new("auth-stop-twice");
    let mut server = Program::start(&folder, "memory", &["--body-timeout", "600"]);
    let mut open = Connection::open(server.address).unwrap();
    open.send(b"POST /login HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n").unwrap();
    assert_eq!(server.get("/healthz").status(), 200);
    server.signal("TERM");
    server.wait_for_log("stopping");
    server.signal("INT");
    assert_eq!(server.end(LIMIT).code(), Some(1));
    let log = server.log();
    assert!(log.contains("by a second signal") && !log.contains("cut off"), "{log}");
}

#[test]
#[ignore = "needs PostgreSQL"]
fn it_stops_while_it_starts() {
    let postgres = Postgres::start();
    let folder = Scratch::new("auth-stop-start");
    let _paused = Paused::new(&postgres);
    let log = folder.path().join("log");
    let mut child = Command::new(program::path())
        .args(["--listen", "127.0.0.1:0", "--store", &postgres.url()])
        .current_dir(folder.path())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    // It handles signals before it makes the keys.
    wait_until("the keys", Duration::from_secs(30), || {
        folder.path().join("auth_server.refresh.jwk").exists()
    });
    send_signal(child.id(), "TERM");
    wait_until("the end", LIMIT, || child.try_wait().unwrap().is_some());
    assert!(child.wait().unwrap().success());
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("stopped during the start"), "{log}");
}

#[test]
fn a_request_under_way_is_answered_before_the_end() {
    let folder = Scratch::new("auth-stop-request");
    let mut server = Program::start(&folder, "memory", &[]);
    server.register("ada@example.com");
    let (mut open, body) =
        (Connection::open(server.address).unwrap(), credentials("ada@example.com", PASSWORD));
    let head = "POST /login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json";
    open.send(format!("{head}\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes()).unwrap();
    assert_eq!(server.get("/healthz").status(), 200);
    server.signal("TERM");
    server.wait_for_log("stopping");
    wait_until("no new connection", LIMIT, || Connection::open(server.address).is_err());
    open.send(body.as_bytes()).unwrap();
    let answer = open.reply().unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.body);
    assert!(open.is_ended_by_the_server());
    assert!(server.end(LIMIT).success());
    assert!(!server.log().contains("cut off"), "{}", server.log());
}

/// Returns a server that writes its log into a pipe, and the other end of the pipe.
fn with_a_pipe(folder: &Scratch) -> (Program, io::PipeReader) {
    let (reader, writer) = io::pipe().unwrap();
    let mut command = Command::new(program::path());
    command.args(["--listen", "127.0.0.1:0", "--store", "memory"]);
    let server = Program::spawn_with_log(folder, &mut command, PathBuf::new(), writer.into());
    (server, reader)
}

/// Sends more requests than the pipe and the queue have room for lines.
fn fill_the_log(server: SocketAddr) {
    let mut connection = Connection::open(server).unwrap();
    for _ in 0..8000 {
        assert_eq!(connection.ask("GET", "/healthz", &[], "").unwrap().status(), 200);
    }
}

#[test]
fn a_blocked_log_delays_no_request_and_reports_the_dropped_lines_later() {
    let folder = Scratch::new("auth-full-pipe");
    let (mut server, mut reader) = with_a_pipe(&folder);
    fill_the_log(server.address);
    assert_eq!(server.get("/readyz").status(), 200);

    // The reader comes back.
    let reading = thread::spawn(move || {
        let mut log = String::new();
        reader.read_to_string(&mut log).unwrap();
        log
    });
    let mut connection = Connection::open(server.address).unwrap();
    for _ in 0..10 {
        assert_eq!(connection.ask("GET", "/healthz", &[], "").unwrap().status(), 200);
        thread::sleep(Duration::from_millis(50));
    }
    server.signal("TERM");
    assert!(server.end(LIMIT).success());
    let log = reading.join().unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |message: &str| {
        u64::try_from(lines.iter().filter(|line| line["message"] == message).count()).unwrap()
    };
    let dropped = lines.iter().filter(|line| line["message"] == "lines of the log were dropped");
    let dropped: u64 = dropped.map(|line| line["dropped"].as_u64().unwrap()).sum();
    assert!(
        dropped > 1000 && count("answered") + dropped == 8000 + 1 + 10,
        "{dropped}, {}",
        count("answered")
    );
    assert_eq!(count("stopped"), 1);
}

#[test]
fn a_blocked_log_does_not_delay_the_stop() {
    let folder = Scratch::new("auth-stop-pipe");
    let (mut server, reader) = with_a_pipe(&folder);
    fill_the_log(server.address);
    server.signal("TERM");
    assert!(server.end(LIMIT).success());
    drop(reader);
}

#[test]
fn a_closed_log_stops_nothing() {
    let folder = Scratch::new("auth-broken-pipe");
    let (mut server, reader) = with_a_pipe(&folder);
    drop(reader);
    assert_eq!(server.get("/readyz").status(), 200);
    server.register("ada@example.com");
    server.log_in("ada@example.com");
    server.signal("TERM");
    assert!(server.end(LIMIT).success());
}

/// As in `auth_server 2>&1 | reader`, where the reader hangs.
#[test]
fn outputs_into_one_blocked_pipe_do_not_delay_the_stop() {
    let folder = Scratch::new("auth-one-pipe");
    let (mut reader, writer) = io::pipe().unwrap();
    let mut child = Command::new(program::path())
        .args(["--listen", "127.0.0.1:0", "--store", "memory"])
        .current_dir(folder.path())
        .stdout(writer.try_clone().unwrap())
        .stderr(writer.try_clone().unwrap())
        .spawn()
        .unwrap();
    let mut start = Vec::new();
    while !start.contains(&b'\n') {
        let mut bytes = [0; 1];
        reader.read_exact(&mut bytes).unwrap();
        start.extend(bytes);
    }
    let url = String::from_utf8(start).unwrap();
    let address = url.trim().strip_prefix("http://").unwrap().parse().unwrap();
    fill_the_log(address);
    // No byte has room any more, however short a line is.
    let written = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&written);
    let filling = thread::spawn(move || {
        while (&writer).write_all(b" ").is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut last = None;
    wait_until("the pipe to be full", LIMIT, || {
        thread::sleep(Duration::from_millis(300));
        last.replace(written.load(Ordering::Relaxed)) == Some(written.load(Ordering::Relaxed))
    });
    send_signal(child.id(), "TERM");
    wait_until("the end", LIMIT, || child.try_wait().unwrap().is_some());
    assert!(child.wait().unwrap().success());
    drop(reader);
    filling.join().unwrap();
}
