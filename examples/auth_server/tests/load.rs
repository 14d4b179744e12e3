//! Many logins: how much memory the server needs for them, and how long other requests take
//! meanwhile.

#[path = "support/all.rs"]
mod support;

use std::{
    env,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use self::support::{
    client::Connection,
    program::{PASSWORD, Program, credentials},
    servers::Scratch,
};

/// Twenty clients log in at once, with the right password and with wrong ones. With ten thousand
/// logins:
/// `KIPPU_LOGINS=10000 cargo test --release -p kippu-auth-server --test load -- --nocapture memory`
#[test]
fn logins_leave_the_memory_of_the_server_bounded() {
    let logins = number("KIPPU_LOGINS", 150);
    let folder = Scratch::new("auth-memory");
    // As many threads as the server starts on any machine, and as long as a busy one takes.
    let options = ["--hashes-at-once", "3", "--answer-timeout", "600", "--log", "warn"];
    let server = Program::start(&folder, "sqlite:auth.db", &options);
    let megabytes = || {
        let (now, most) = server.memory();
        (now / 1_000_000, most / 1_000_000)
    };
    println!("at the start {:?} MB (now, most)", megabytes());
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..number("KIPPU_CLIENTS", 20) {
            scope.spawn(|| {
                loop {
                    let user = next.fetch_add(1, Ordering::Relaxed);
                    if user * 5 >= logins {
                        break;
                    }
                    let name = format!("user{user}@example.com");
                    server.register(&name);
                    for (password, status) in [
                        (PASSWORD, 200),
                        ("wrong horse", 401),
                        (PASSWORD, 200),
                        ("wrong", 401),
                        (PASSWORD, 200),
                    ] {
                        let answer = server.post("/login", &credentials(&name, password));
                        assert_eq!(answer.status(), status, "{}", answer.body);
                        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                        if done.is_multiple_of(1000) {
                            println!("after {done} logins {:?} MB", megabytes());
                        }
                    }
                }
            });
        }
    });
    let (now, most) = megabytes();
    println!("after {} logins {now} MB, at most {most} MB", done.into_inner());
    assert!(most < 100, "{now} MB, at most {most} MB");
}

/// Prints how long a request with a token takes, alone and under fifty logins a second. By hand, on
/// an idle machine:
/// `cargo test --release -p kippu-auth-server --test load -- --ignored --nocapture`
#[test]
#[ignore = "it measures time, for which the machine has to be idle"]
fn the_time_of_a_request_during_a_flood_of_logins() {
    let rounds = number("KIPPU_ROUNDS", 3);
    let folder = Scratch::new("auth-flood");
    let server =
        Program::start(&folder, "sqlite:auth.db", &["--access-lifetime", "3600", "--log", "warn"]);
    server.register("ada@example.com");
    let token = format!("Bearer {}", server.log_in("ada@example.com"));
    for _ in 0..rounds {
        let idle = requests(&server, &token, Duration::from_secs(10));
        let (busy, logins) = thread::scope(|scope| {
            let flood = scope.spawn(|| flood(&server, 50, Duration::from_secs(10)));
            let busy = requests(&server, &token, Duration::from_secs(10));
            (busy, flood.join().unwrap())
        });
        println!("/api/me alone {idle}; under logins {busy}; logins answered: {logins}");
    }
}

/// Asks two hundred times a second, and returns the percentiles of the time to the answer.
fn requests(server: &Program, token: &str, time: Duration) -> String {
    let mut connection = Connection::open(server.address).unwrap();
    let mut took = Vec::new();
    let (start, mut next) = (Instant::now(), Duration::ZERO);
    while next < time {
        thread::sleep(next.saturating_sub(start.elapsed()));
        let begin = Instant::now();
        let answer = connection.ask("GET", "/api/me", &[("authorization", token)], "").unwrap();
        assert_eq!(answer.status(), 200);
        took.push(begin.elapsed());
        next += Duration::from_millis(5);
    }
    took.sort();
    let at = |percent: usize| took[took.len() * percent / 100].as_secs_f64() * 1e3;
    let most = took[took.len() - 1].as_secs_f64() * 1e3;
    format!("p50 {:.2} ms, p99 {:.2} ms, max {most:.2} ms", at(50), at(99))
}

/// Tries so many logins a second of unknown accounts, whether the server keeps up or not. Returns
/// how many answers there were of each status.
fn flood(server: &Program, a_second: u32, time: Duration) -> String {
    let start = Instant::now();
    let mut statuses: Vec<u16> = thread::scope(|scope| {
        let mut tries = Vec::new();
        for number in 0..a_second * u32::try_from(time.as_secs()).unwrap() {
            thread::sleep(
                (Duration::from_secs(1) / a_second * number).saturating_sub(start.elapsed()),
            );
            tries.push(scope.spawn(move || {
                let name = format!("nobody{number}@example.com");
                server.post("/login", &credentials(&name, PASSWORD)).status()
            }));
        }
        tries.into_iter().map(|answer| answer.join().unwrap()).collect()
    });
    statuses.sort_unstable();
    let counts =
        statuses.chunk_by(|a, b| a == b).map(|same| format!("{} × {}", same.len(), same[0]));
    counts.collect::<Vec<_>>().join(", ")
}

fn number(name: &str, default: usize) -> usize {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}
