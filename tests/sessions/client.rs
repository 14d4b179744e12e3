//! The client of a login: many tasks, lost responses, crashes, a storage that fails.

use std::{
    collections::VecDeque,
    future::pending,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use kippu::{
    client::{Client, ClientError, Transport},
    session::{EventKind, OAuthError, TokenResponse},
};
use tokio::{
    sync::Semaphore,
    task::{JoinSet, yield_now},
    time::{Duration, sleep, timeout},
};

use crate::flows::{Fixture, Profile, SECOND};

/// Longer than an access token is accepted.
const EXPIRY: i64 = 17 * 60 * SECOND;

#[derive(Clone, Copy, Debug)]
enum Fault {
    LostRequest,
    LostResponse,
    /// The response never comes.
    Silence,
    HalfBody,
    Status(u16),
    Panic,
}

/// The server, the network, and the file of the client.
struct World {
    server: Fixture,
    faults: Mutex<VecDeque<Fault>>,
    refreshes: AtomicUsize,
    file: Mutex<TokenResponse>,
    is_full: Mutex<bool>,
    /// A save takes one of these.
    saves: Semaphore,
}

impl World {
    async fn new() -> Arc<Self> {
        let server = Fixture::new();
        let file = Mutex::new(server.login().await);
        server.events();
        Arc::new(Self {
            server,
            faults: Mutex::default(),
            refreshes: AtomicUsize::new(0),
            file,
            is_full: Mutex::new(false),
            saves: Semaphore::new(1000),
        })
    }

    /// A client with the tokens in the file, as after a start.
    fn client(self: &Arc<Self>) -> Client<Http> {
        Client::new(Http(Arc::clone(self)), self.file.lock().unwrap().clone())
    }

    fn expire(&self) {
        self.server.clock.advance(EXPIRY);
    }

    fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    fn refreshes(&self) -> usize {
        self.refreshes.load(Ordering::SeqCst)
    }

    fn saved(&self) -> String {
        self.file.lock().unwrap().refresh_token.clone()
    }

    /// The request of an API.
    fn me(&self, token: &str) -> Response {
        match self.server.sessions.verify::<Profile>(token) {
            Ok(_) => Response { status: 200, challenge: None },
            Err(_) => Response { status: 401, challenge: Some("Bearer error=\"invalid_token\"") },
        }
    }
}

struct Http(Arc<World>);

#[derive(Debug)]
struct Response {
    status: u16,
    challenge: Option<&'static str>,
}

impl Transport for Http {
    type Response = Response;
    type Error = io::Error;

    async fn refresh(&self, refresh_token: &str) -> io::Result<(u16, Vec<u8>)> {
        self.0.refreshes.fetch_add(1, Ordering::SeqCst);
        // The other tasks run meanwhile.
        yield_now().await;
        let fault = self.0.faults.lock().unwrap().pop_front();
        match fault {
            Some(Fault::LostRequest) => return Err(io::ErrorKind::ConnectionRefused.into()),
            Some(Fault::Status(status)) => return Ok((status, Vec::new())),
            Some(Fault::Panic) => panic!("a bug of the transport"),
            _ => {}
        }
        let (status, mut body) = match self.0.server.refresh(refresh_token).await {
            Ok(tokens) => (200, serde_json::to_vec(&tokens)?),
            Err(error) => (400, serde_json::to_vec(&OAuthError::new(error.oauth_error(), "no"))?),
        };
        match fault {
            Some(Fault::LostResponse) => return Err(io::ErrorKind::ConnectionReset.into()),
            Some(Fault::Silence) => pending().await,
            Some(Fault::HalfBody) => body.truncate(body.len() / 2),
            _ => {}
        }
        Ok((status, body))
    }

    async fn save(&self, tokens: &TokenResponse) -> io::Result<()> {
        self.0.saves.acquire().await.unwrap().forget();
        if *self.0.is_full.lock().unwrap() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        *self.0.file.lock().unwrap() = tokens.clone();
        Ok(())
    }

    fn challenge(response: &Response) -> Option<&str> {
        response.challenge
    }
}

async fn call(world: &World, client: &Client<Http>) -> Result<u16, ClientError> {
    let request = async |token: String| Ok(world.me(&token));
    client.call(request).await.map(|response| response.status)
}

/// Calls in this many tasks at once.
async fn call_in_tasks(
    count: usize,
    world: &Arc<World>,
    client: &Client<Http>,
) -> Vec<Result<u16, ClientError>> {
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let (world, client) = (Arc::clone(world), client.clone());
        tasks.spawn(async move { call(&world, &client).await });
    }
    tasks.join_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_tasks_share_one_refresh() {
    let world = World::new().await;
    let client = world.client();
    for round in 1..=5 {
        world.expire();
        let results = call_in_tasks(100, &world, &client).await;
        assert!(results.iter().all(|result| matches!(result, Ok(200))), "{results:?}");
        assert_eq!(world.refreshes(), round);
        assert_eq!(world.server.events(), [EventKind::Rotated]);
        assert_eq!(client.tokens().refresh_token, world.saved());
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_response_is_asked_for_again_with_the_same_token() {
    use EventKind::{Replayed, Rotated};
    for (fault, events) in [
        (Fault::LostRequest, &[Rotated][..]),
        (Fault::LostResponse, &[Rotated, Replayed]),
        (Fault::Silence, &[Rotated, Replayed]),
        (Fault::HalfBody, &[Rotated, Replayed]),
        (Fault::Status(503), &[Rotated]),
        (Fault::Status(429), &[Rotated]),
    ] {
        let world = World::new().await;
        let client = world.client();
        world.expire();
        world.fail([fault]);
        assert_eq!(call(&world, &client).await.unwrap(), 200, "{fault:?}");
        assert_eq!(world.refreshes(), 2, "{fault:?}");
        assert_eq!(world.server.events(), events, "{fault:?}");
        // The session goes on.
        world.expire();
        assert_eq!(call(&world, &client).await.unwrap(), 200, "{fault:?}");
    }
}

/// The grace is 10 seconds of the server's clock.
#[tokio::test(start_paused = true)]
async fn all_tries_begin_within_the_grace() {
    let world = World::new().await;
    world.expire();
    world.fail([Fault::Silence; 2]);
    let begin = tokio::time::Instant::now();
    let client = world.client();
    let calling = tokio::spawn({
        let (world, client) = (Arc::clone(&world), client.clone());
        async move { call(&world, &client).await }
    });
    while world.refreshes() < 3 && begin.elapsed() < Duration::from_secs(8) {
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(world.refreshes(), 3, "the third try begins within 8 seconds");
    assert_eq!(calling.await.unwrap().unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_server_and_a_wrong_url_lose_no_tokens() {
    let world = World::new().await;
    let client = world.client();
    world.expire();
    for fault in [Fault::LostRequest, Fault::Status(503), Fault::Status(500)] {
        let before = world.refreshes();
        world.fail([fault; 3]);
        let results = call_in_tasks(100, &world, &client).await;
        let is_shared = |result: &_| matches!(result, Err(ClientError::Unavailable(_)));
        assert!(results.iter().all(is_shared), "{results:?}");
        assert_eq!(world.refreshes(), before + 3, "all tasks share the three tries");
    }
    world.fail([Fault::Status(404)]);
    let error = call(&world, &client).await.unwrap_err();
    assert!(matches!(error, ClientError::Unexpected { status: 404, error: None }), "{error}");
    assert_eq!(call(&world, &client).await.unwrap(), 200);
    assert_eq!(world.server.events(), [EventKind::Rotated]);
}

#[tokio::test]
async fn an_ended_session_needs_a_login_and_is_not_tried_again() {
    let world = World::new().await;
    let client = world.client();
    world.server.sessions.logout(&client.tokens().refresh_token).await.unwrap();
    world.expire();
    let error = call(&world, &client).await.unwrap_err();
    assert_eq!(error.to_string(), "the session has ended, log in again: invalid_grant: no");
    assert!(matches!(error, ClientError::LoginRequired(_)));
    assert_eq!(world.refreshes(), 1);
}

#[tokio::test]
async fn a_client_that_is_killed_before_it_saves_goes_on_after_its_start() {
    let world = World::new().await;
    let old = world.saved();
    world.expire();
    world.saves.forget_permits(1000);
    let killed = world.client();
    let calling = tokio::spawn({
        let (world, client) = (Arc::clone(&world), killed.clone());
        async move { call(&world, &client).await }
    });
    while world.server.events().is_empty() {
        yield_now().await;
    }
    // The server has made the successor; the file and the memory have the old token.
    assert_eq!((world.saved(), killed.tokens().refresh_token), (old.clone(), old));
    calling.abort();
    world.server.clock.advance(9 * SECOND);

    let started = world.client();
    world.saves.add_permits(1);
    // The first one still waits for its save, and gets the permit.
    while world.saves.available_permits() > 0 {
        yield_now().await;
    }
    world.saves.add_permits(1);
    assert_eq!(call(&world, &started).await.unwrap(), 200);
    assert_eq!(world.server.events(), [EventKind::Replayed]);
    assert_eq!(started.tokens().refresh_token, killed.tokens().refresh_token);
    world.expire();
    world.saves.add_permits(1);
    assert_eq!(call(&world, &started).await.unwrap(), 200);
}

#[tokio::test]
async fn tokens_that_could_not_be_saved_are_saved_by_the_next_refresh() {
    let world = World::new().await;
    let client = world.client();
    let old = client.tokens();
    world.expire();
    *world.is_full.lock().unwrap() = true;
    let error = call(&world, &client).await.unwrap_err();
    assert!(matches!(error, ClientError::Save(_)), "{error}");
    assert_eq!(client.tokens(), old, "they are used only when they are saved");
    // Too late to present the old token again.
    world.server.clock.advance(60 * SECOND);
    assert!(matches!(call(&world, &client).await, Err(ClientError::Save(_))));
    *world.is_full.lock().unwrap() = false;
    assert_eq!(call(&world, &client).await.unwrap(), 200);
    assert_eq!((world.refreshes(), world.server.events()), (1, vec![EventKind::Rotated]));
    assert_eq!(client.tokens().refresh_token, world.saved());
}

#[tokio::test(start_paused = true)]
async fn a_refresh_goes_on_when_the_task_that_began_it_is_cancelled() {
    for others in [0, 3] {
        let world = World::new().await;
        let client = world.client();
        let old = world.saved();
        world.expire();
        world.saves.forget_permits(1000);
        let calls: Vec<_> = (0..=others)
            .map(|_| {
                let (world, client) = (Arc::clone(&world), client.clone());
                tokio::spawn(async move { call(&world, &client).await })
            })
            .collect();
        while world.server.events().is_empty() {
            yield_now().await;
        }
        calls[0].abort();
        yield_now().await;
        world.saves.add_permits(1);
        for (index, call) in calls.into_iter().enumerate() {
            match timeout(Duration::from_secs(60), call).await.unwrap() {
                Ok(result) => assert_eq!(result.unwrap(), 200),
                Err(error) => assert!(index == 0 && error.is_cancelled()),
            }
        }
        while client.tokens().refresh_token == old {
            yield_now().await;
        }
        // Long after the grace: the client does not present the old token.
        world.expire();
        world.saves.add_permits(1);
        assert_eq!(call(&world, &client).await.unwrap(), 200);
        assert_eq!((world.refreshes(), world.server.events()), (2, vec![EventKind::Rotated]));
    }
}

#[tokio::test]
async fn a_request_is_sent_again_once_and_only_for_an_invalid_token() {
    for (challenge, requests, refreshes) in [
        (Some("Bearer error=\"invalid_token\", error_description=\"expired\""), 2, 1),
        (Some("DPoP algs=\"ES256\", Bearer error=invalid_token"), 2, 1),
        (Some("Bearer error=\"insufficient_user_authentication\", max_age=\"60\""), 1, 0),
        (Some("Bearer"), 1, 0),
        (None, 1, 0),
    ] {
        let world = World::new().await;
        let client = world.client();
        let sent = Mutex::new(Vec::new());
        let request = async |token| {
            sent.lock().unwrap().push(token);
            Ok(Response { status: 401, challenge })
        };
        assert_eq!(client.call(request).await.unwrap().status, 401);
        let sent = sent.into_inner().unwrap();
        assert_eq!((sent.len(), world.refreshes()), (requests, refreshes), "{challenge:?}");
        assert_eq!(sent.last(), Some(&client.tokens().access_token));
    }
    let world = World::new().await;
    let request = async |_| Err(io::ErrorKind::TimedOut.into());
    let error = world.client().call(request).await.unwrap_err();
    assert!(matches!(error, ClientError::Request(_)), "{error}");
    assert_eq!(world.refreshes(), 0);
}

#[tokio::test]
async fn a_task_whose_token_another_task_has_renewed_sends_its_request_again_without_a_refresh() {
    let world = World::new().await;
    let client = world.client();
    world.expire();
    let sent = AtomicUsize::new(0);
    let request = async |token: String| {
        let response = world.me(&token);
        if sent.fetch_add(1, Ordering::SeqCst) == 0 {
            assert_eq!(response.status, 401);
            // The response is on its way, and another task refreshes.
            assert_eq!(call(&world, &client).await.unwrap(), 200);
        }
        Ok(response)
    };
    assert_eq!(client.call(request).await.unwrap().status, 200);
    assert_eq!((sent.into_inner(), world.refreshes()), (2, 1));
}

#[tokio::test]
async fn a_transport_that_panics_blocks_no_later_refresh() {
    let world = World::new().await;
    let client = world.client();
    world.expire();
    world.fail([Fault::Panic]);
    let error = call(&world, &client).await.unwrap_err();
    assert!(matches!(error, ClientError::Unavailable(_)), "{error}");
    assert_eq!(call(&world, &client).await.unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn no_error_shows_a_token() {
    let world = World::new().await;
    let client = world.client();
    world.expire();
    world.fail([Fault::HalfBody; 3]);
    let error = call(&world, &client).await.unwrap_err();
    for shown in [format!("{error}: {error:?}"), format!("{client:?}")] {
        assert!(!shown.contains("eyJ") && !shown.contains("kippu_rt_"), "{shown}");
    }
    let expected = "the token endpoint is unavailable: the body is not that of a token response";
    assert_eq!(format!("{error:?}"), expected);
}
