//! Clients that are slow, silent, too many, or do not speak HTTP: the server ends each of them in
//! time, and serves the others.

use std::{
    io::Write,
    net::Ipv4Addr,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    client::{Connection, fresh_source},
    lock::Lock,
    postgres::Postgres,
    program::{self, PASSWORD, Program, credentials},
    servers::{Scratch, wait_until},
};

const HALF_A_HEAD: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: auth.example\r\nx-half: ";
const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: auth.example\r\n\r\n";

/// It announces a body of a kibibyte, of which the tests send little or nothing.
const HEAD_OF_A_LOGIN: &[u8] = b"POST /login HTTP/1.1\r\nhost: auth.example\r\n\
    content-type: application/json\r\ncontent-length: 1024\r\n\r\n";

#[test]
fn a_connection_without_a_whole_request_ends() {
    let folder = Scratch::new("auth-half-open");
    let server = Program::start(&folder, "memory", &["--idle-timeout", "2"]);
    let source = fresh_source();
    let mut connections: Vec<_> =
        (0..200).map(|_| Connection::from(source, server.address).unwrap()).collect();
    for (number, connection) in connections.iter_mut().enumerate() {
        match number % 4 {
            0 => {}
            1 => connection.send(HALF_A_HEAD).unwrap(),
            2 => connection.send(b"G").unwrap(),
            // Idle after a request.
            _ => assert_eq!(connection.ask("GET", "/healthz", &[], "").unwrap().status(), 200),
        }
    }
    // A head that never ends.
    let mut slow = Connection::from(source, server.address).unwrap();
    slow.send(HALF_A_HEAD).unwrap();
    assert_eq!(server.get("/healthz").status(), 200);
    for connection in &mut connections {
        let _ = slow.stream().write(b"a");
        assert!(connection.is_ended_by_the_server());
    }
    wait_until("the end of the slow head", Duration::from_secs(30), || {
        slow.stream().write_all(b"a").is_err()
    });
}

#[test]
fn a_body_that_does_not_arrive_is_given_up() {
    let folder = Scratch::new("auth-slow-body");
    let server = Program::start(&folder, "memory", &["--body-timeout", "1"]);
    let mut silent = Connection::open(server.address).unwrap();
    silent.send(HEAD_OF_A_LOGIN).unwrap();
    let answer = silent.reply().unwrap();
    assert_eq!((answer.status(), &answer.json()["error"]), (408, &"invalid_request".into()));
    assert!(silent.is_ended_by_the_server());

    // A byte now and then does not help.
    let mut slow = Connection::open(server.address).unwrap();
    slow.send(HEAD_OF_A_LOGIN).unwrap();
    let mut more = slow.stream().try_clone().unwrap();
    let sending = thread::spawn(move || {
        let start = Instant::now();
        while more.write_all(b" ").is_ok() && start.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(100));
        }
        start.elapsed()
    });
    assert_eq!(slow.reply().unwrap().status(), 408);
    assert!(slow.is_ended_by_the_server());
    assert!(sending.join().unwrap() < Duration::from_secs(60));
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let folder = Scratch::new("auth-slow-reader");
    let server = Program::start(&folder, "memory", &["--write-timeout", "1"]);
    let mut connection = Connection::open(server.address).unwrap();
    // The answers exceed all buffers between the two; the requests fit.
    let request = "GET /app.js HTTP/1.1\r\nhost: auth.example\r\n\r\n";
    let count = 2000;
    connection.send(request.repeat(count).as_bytes()).unwrap();
    thread::sleep(Duration::from_secs(4));
    let mut answers = 0;
    while let Ok(answer) = connection.reply() {
        assert_eq!(answer.status(), 200);
        answers += 1;
    }
    assert!((1..count).contains(&answers), "{answers}");
    assert_eq!(server.get("/healthz").status(), 200);
}

#[test]
#[ignore = "needs PostgreSQL"]
fn an_answer_that_does_not_come_is_given_up() {
    let postgres = Postgres::start();
    let folder = Scratch::new("auth-slow-answer");
    let server = Program::start(&folder, &postgres.url(), &["--answer-timeout", "2"]);
    server.register("ada@example.com");
    let lock = Lock::of_table(&postgres.url(), "auth_server_accounts");
    let answer = server.post("/login", &credentials("ada@example.com", PASSWORD));
    assert_eq!(answer.status(), 503);
    assert!(answer.body.contains("could not answer in time"), "{}", answer.body);
    drop(lock);
    wait_until("a login", Duration::from_secs(30), || {
        server.post("/login", &credentials("ada@example.com", PASSWORD)).status() == 200
    });
}

#[test]
fn one_address_has_so_many_connections() {
    let folder = Scratch::new("auth-crowd");
    let server = Program::start(&folder, "memory", &["--max-connections-per-address", "2"]);
    let (crowd, other) = (fresh_source(), fresh_source());
    let open = |source| Connection::from(source, server.address).unwrap();
    let ask = |connection: &mut Connection| {
        // A connection that is refused may be closed before the answer is read.
        connection.ask("GET", "/healthz", &[], "").map_or(503, |answer| answer.status())
    };
    let (mut first, mut second) = (open(crowd), open(crowd));
    assert_eq!((ask(&mut first), ask(&mut second)), (200, 200));
    let mut third = open(crowd);
    assert_eq!(third.reply().unwrap().status(), 503);
    assert!(third.is_ended_by_the_server());
    assert_eq!(ask(&mut open(other)), 200, "another address");
    server.wait_for_log("too many connections of one address");
    server.wait_for_log(&crowd.to_string());
    drop(first);
    wait_until("a place", Duration::from_secs(30), || ask(&mut open(crowd)) == 200);
}

#[test]
fn there_are_so_many_connections_and_others_wait() {
    let folder = Scratch::new("auth-full");
    let options = ["--max-connections", "3", "--idle-timeout", "2"];
    let server = Program::start(&folder, "memory", &options);
    let mut silent: Vec<_> = (0..3).map(|_| Connection::open(server.address).unwrap()).collect();
    // This client connects, and waits until one of those has ended.
    assert_eq!(server.get("/healthz").status(), 200);
    assert!(silent.iter_mut().any(Connection::is_ended_by_the_server));
    server.wait_for_log("all connections are in use");
}

#[test]
fn what_is_no_http_is_answered_and_forgotten() {
    let folder = Scratch::new("auth-garbage");
    let server = Program::start(&folder, "memory", &["--idle-timeout", "2"]);
    let endless = [&b"GET / HTTP/1.1\r\nx: "[..], &b"a".repeat(100_000)].concat();
    for (bytes, status) in [
        // The beginning of a TLS handshake.
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], Some(400)),
        // HTTP/2 without TLS is closed without an answer.
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", None),
        (b"hello\r\n\r\n", Some(400)),
        (b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", Some(400)),
        (
            b"POST /login HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
            Some(400),
        ),
        (&endless, Some(431)),
    ] {
        let mut connection = Connection::open(server.address).unwrap();
        // The server may close the connection before it has read everything.
        let _ = connection.send(bytes);
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
        let answer = connection.reply().ok();
        assert_eq!(answer.map(|answer| answer.status()), status, "{start}");
        assert!(connection.is_ended_by_the_server());
    }
    // Pipelined requests are answered in order.
    let mut connection = Connection::open(server.address).unwrap();
    connection.send(&[REQUEST, REQUEST, HALF_A_HEAD].concat()).unwrap();
    assert_eq!(
        (connection.reply().unwrap().body, connection.reply().unwrap().status()),
        ("ok\n".into(), 200)
    );
    assert!(connection.is_ended_by_the_server());
}

#[test]
fn a_server_without_file_descriptors_waits_for_some() {
    let folder = Scratch::new("auth-descriptors");
    let mut command = Command::new("sh");
    let script = "ulimit -n 40 && exec \"$0\" --listen 127.0.0.1:0 --store memory --idle-timeout 5";
    command.args(["-c", script]).arg(program::path());
    let server = Program::spawn(&folder, &mut command);
    let mut crowd: Vec<_> = (0..60).map(|_| Connection::open(server.address).unwrap()).collect();
    server.wait_for_log("no connection can be accepted");
    let (start, before) = (Instant::now(), server.processor_time());
    // The first ones time out, and the server accepts those that had to wait.
    assert_eq!(crowd[59].ask("GET", "/healthz", &[], "").unwrap().status(), 200);
    assert!(crowd[0].is_ended_by_the_server());
    let busy = server.processor_time().saturating_sub(before);
    assert!(busy < start.elapsed() / 20, "{busy:?} in {:?}", start.elapsed());
    drop(crowd);
    wait_until("an answer", Duration::from_secs(30), || {
        Connection::from(Ipv4Addr::LOCALHOST, server.address)
            .and_then(|mut connection| connection.ask("GET", "/healthz", &[], ""))
            .is_ok_and(|answer| answer.status() == 200)
    });
}
