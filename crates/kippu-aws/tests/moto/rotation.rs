//! Rotations under load: two servers share a store, each reloads its keys by itself, and no request
//! fails. With `--nocapture` it prints the transcript of the documentation.

use std::{
    collections::BTreeMap,
    env,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use kippu::session::{MemoryStore, NoClaims, Session, SessionError, Sessions};

use super::*;

const ACCESS: &str = "api/access-key";
const REFRESH: &str = "api/refresh-key";

const ACCESS_LIFETIME: Duration = Duration::from_secs(6);
const IDLE_LIFETIME: Duration = Duration::from_secs(30);

/// The servers reload at different intervals, and so not at the same time.
const INTERVALS: [Duration; 2] = [Duration::from_millis(700), Duration::from_millis(1100)];

const USERS: usize = 8;

/// The number of rotations of both keys: `KIPPU_ROTATIONS`, or 2.
fn rotations() -> u8 {
    env::var("KIPPU_ROTATIONS").map_or(2, |number| number.parse().unwrap())
}

/// A server: sessions over the shared store, with keys that it reloads.
struct Server {
    sessions: Sessions<Arc<MemoryStore>>,
    access: ReloadedKeys,
    refresh: ReloadedKeys,
}

impl Server {
    fn start(aws: &Aws, store: &Arc<MemoryStore>, interval: Duration) -> Self {
        let keys = |name: &str, lifetime| {
            let source = SecretsManager::new(aws.server.clone(), name, lifetime)
                .format(KeyFormat::Base64(Algorithm::Hs256));
            let on_reload = |reload: Result<&KeySet, &kippu::KeySourceError>| {
                if let Err(error) = reload {
                    println!("a reload failed: {error}");
                }
            };
            ReloadedKeys::load(source).unwrap().watch_every(interval, on_reload).unwrap()
        };
        let (access, refresh) = (keys(ACCESS, ACCESS_LIFETIME), keys(REFRESH, IDLE_LIFETIME));
        let sessions = Sessions::builder(Arc::clone(store))
            .issuer("https://auth.example")
            .audience("api")
            .client("web")
            .access_key(access.keys())
            .refresh_key(refresh.keys())
            .access_lifetime(ACCESS_LIFETIME)
            .grace(Duration::from_secs(1))
            .idle_lifetime(IDLE_LIFETIME)
            .leeway(Duration::ZERO)
            .unwrap()
            .build()
            .unwrap();
        Self { sessions, access, refresh }
    }

    /// Whether `/readyz` of a server would show the version.
    fn has(&self, version: &str) -> bool {
        let has = |keys: &ReloadedKeys| keys.keys().load().kids().any(|kid| kid == version);
        has(&self.access) || has(&self.refresh)
    }

    fn signs_with(&self, version: &str) -> bool {
        let signs =
            |keys: &ReloadedKeys| keys.keys().load().signing_key().unwrap().kid() == Some(version);
        signs(&self.access) || signs(&self.refresh)
    }
}

/// The requests of the users, and how long each took.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    requests: AtomicU64,
    times: Mutex<BTreeMap<&'static str, Vec<Duration>>>,
    failures: Mutex<Vec<String>>,
}

impl Load {
    /// Counts a request, and returns what it returned, or nothing where it failed.
    async fn request<T>(
        &self,
        kind: &'static str,
        work: impl Future<Output = Result<T, SessionError>>,
    ) -> Option<T> {
        let start = Instant::now();
        let result = work.await;
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.times.lock().unwrap().entry(kind).or_default().push(start.elapsed());
        result.map_err(|error| self.failures.lock().unwrap().push(format!("{kind}: {error}"))).ok()
    }

    /// A user: logs in at one server, calls the API and refreshes at either, logs out. Every other
    /// user rests for nearly as long as an access token lives: with tokens of before a rotation it
    /// goes on after that.
    async fn user(&self, number: usize, servers: &[Server; 2]) {
        let mut turn = number;
        let mut server = || {
            turn += 1;
            &servers[turn % 2].sessions
        };
        while !self.stop.load(Ordering::Relaxed) {
            let subject = format!("user-{number}");
            let login = self.request("logins", server().login(&*subject, &NoClaims {})).await;
            let Some(mut tokens) = login else { continue };
            for step in 0..20 {
                for _ in 0..10 {
                    let call = async |sessions: &Sessions<_>| {
                        sessions.verify::<NoClaims>(&tokens.access_token)?;
                        Ok(())
                    };
                    self.request("API calls", call(server())).await;
                }
                let rest = if number % 2 == 0 && step % 5 == 4 { 4500 } else { 20 };
                tokio::time::sleep(Duration::from_millis(rest)).await;
                let call = async |sessions: &Sessions<_>| {
                    sessions.verify::<NoClaims>(&tokens.access_token)?;
                    Ok(())
                };
                self.request("API calls", call(server())).await;
                let welcome = async |_: Session| Ok::<_, SessionError>(Some(NoClaims {}));
                let refresh = server().refresh(&tokens.refresh_token, welcome);
                let Some(next) = self.request("refreshes", refresh).await else { break };
                tokens = next;
            }
            self.request("logouts", server().logout(&tokens.refresh_token)).await;
        }
    }
}

/// A log whose lines begin with the seconds since its start.
struct Transcript(Instant);

impl Transcript {
    fn line(&self, text: &str) {
        println!("{:6.2} s  {text}", self.0.elapsed().as_secs_f64());
    }

    /// Waits until it holds on both servers, as a rotation function waits for `/readyz`.
    fn wait(&self, what: &str, servers: &[Server; 2], holds: impl Fn(&Server) -> bool) {
        let start = Instant::now();
        while !servers.iter().all(&holds) {
            assert!(start.elapsed() < Duration::from_secs(30), "{what}");
            thread::sleep(Duration::from_millis(10));
        }
        self.line(&format!("{what}, after {:.2} s", start.elapsed().as_secs_f64()));
    }
}

fn short(version: &str) -> &str {
    &version[..8]
}

#[test]
#[ignore = "needs moto"]
fn no_request_fails_during_rotations_on_two_servers_under_load() {
    let aws = Aws::start();
    let first = |name| aws.create(name, &base64_secret(if name == ACCESS { 1 } else { 101 }));
    let mut current = BTreeMap::from([(ACCESS, first(ACCESS)), (REFRESH, first(REFRESH))]);
    let store = Arc::new(MemoryStore::new(100_000));
    let servers = Arc::new(INTERVALS.map(|interval| Server::start(&aws, &store, interval)));
    let load = Arc::new(Load::default());
    let runtime =
        runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let users: Vec<_> = (0..USERS)
        .map(|number| {
            let (load, servers) = (Arc::clone(&load), Arc::clone(&servers));
            runtime.spawn(async move { load.user(number, &servers).await })
        })
        .collect();

    let transcript = Transcript(Instant::now());
    transcript.line(&format!("{USERS} users, 2 servers that reload every {INTERVALS:?}"));
    for number in 1..=rotations() {
        for (name, current) in &mut current {
            let base = if *name == ACCESS { 1 } else { 101 };
            let secret = base64_secret(base + number);
            let next = aws.put_pending(name, &secret);
            transcript.line(&format!("{name} {}: AWSPENDING", short(&next)));
            transcript.wait("both servers accept it", &servers, |server| server.has(&next));
            aws.move_label(name, "AWSCURRENT", Some(current), Some(&next));
            transcript.line(&format!("{name} {}: AWSCURRENT", short(&next)));
            transcript
                .wait("both servers sign with it", &servers, |server| server.signs_with(&next));
            *current = next;
        }
        // A version is the previous one until the tokens that it has signed have expired or were
        // refreshed.
        thread::sleep(ACCESS_LIFETIME);
    }
    load.stop.store(true, Ordering::Relaxed);
    for user in users {
        runtime.block_on(user).unwrap();
    }

    let seconds = transcript.0.elapsed().as_secs_f64();
    for (kind, times) in load.times.lock().unwrap().iter_mut() {
        times.sort_unstable();
        let (count, at) = (times.len(), |percent: usize| times[(times.len() - 1) * percent / 100]);
        println!("{count:7} {kind}, median {:?}, 99 % within {:?}", at(50), at(99));
    }
    let (failures, requests) =
        (load.failures.lock().unwrap(), load.requests.load(Ordering::Relaxed));
    println!("{requests:7} requests in {seconds:.0} s, {} failed", failures.len());
    assert_eq!(*failures, [""; 0]);
    assert!(requests > 1000, "{requests}");
}

/// Whatever is rotated meanwhile: a token is accepted to the second in which it expires.
#[test]
#[ignore = "needs moto"]
fn a_token_of_before_a_rotation_is_accepted_until_it_expires() {
    let aws = Aws::start();
    let first = aws.create(ACCESS, &base64_secret(1));
    aws.create(REFRESH, &base64_secret(101));
    let store = Arc::new(MemoryStore::new(1000));
    let server = Server::start(&aws, &store, Duration::from_millis(100));
    let login = server.sessions.login("user-1", &NoClaims {});
    let token = aws.runtime.block_on(login).unwrap().access_token;
    let issued = Instant::now();
    let next = aws.put_pending(ACCESS, &base64_secret(2));
    while !server.has(&next) {
        thread::sleep(Duration::from_millis(10));
    }
    aws.move_label(ACCESS, "AWSCURRENT", Some(&first), Some(&next));
    while !server.signs_with(&next) {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(issued.elapsed() < ACCESS_LIFETIME / 2, "the machine is too slow for this test");
    let error = loop {
        match server.sessions.verify::<NoClaims>(&token) {
            Ok(_) => thread::sleep(Duration::from_millis(50)),
            Err(error) => break error,
        }
    };
    assert!(issued.elapsed() > Duration::from_millis(4900), "{error}");
    assert!(error.is_expired(), "{error}");
}
