//! The refresh within a request: which requests get new tokens, which cookies the response carries,
//! and what becomes of them when something fails.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::{FromRef, FromRequestParts, State},
    http::{HeaderMap, Request, StatusCode, header::SET_COOKIE, request::Parts},
    response::IntoResponse,
    routing::{any, get, post},
};
use kippu::{
    Key, NumericDate,
    session::{
        AccessVerifier, EventKind, Login, MemoryStore, NoClaims, Session, Sessions, StoreErrorKind,
        conformance::{Fault, Faulty, Method as StoreMethod},
        testing::TestClock,
    },
};
use kippu_web::{
    Access, CookieError, Cookies, Guard, Live, RefreshLayer, Rejection, Scoped, SessionRoutes,
};
use serde::{Deserialize, Serialize};
use tower::ServiceExt;

type Store = Arc<Faulty<MemoryStore>>;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Claims {
    scope: String,
}

impl Scoped for Claims {
    fn scope(&self) -> &str {
        &self.scope
    }
}

#[derive(Clone, FromRef)]
struct App {
    guard: Guard,
    sessions: Arc<Sessions<Store>>,
    cookies: Cookies,
    kept: Arc<Mutex<Option<Parts>>>,
}

/// The answer of the application about its user at a refresh.
const WELCOME: u8 = 0;
const DENIED: u8 = 1;
const FAILED: u8 = 2;

struct Fixture {
    router: Router,
    app: App,
    store: Store,
    clock: TestClock,
    events: Arc<Mutex<Vec<EventKind>>>,
    welcome: Arc<AtomicU8>,
}

fn plain() -> Cookies {
    Cookies::new("/auth").unwrap()
}

impl Fixture {
    fn new() -> Self {
        Self::with(plain().to_every_path().allow_origin("https://app.example").unwrap())
    }

    fn with(cookies: Cookies) -> Self {
        let clock = TestClock::at(NumericDate::from_seconds(1_800_000_000));
        let store = Arc::new(Faulty::new(MemoryStore::new(1000)));
        Self::on(store, clock, cookies)
    }

    /// A server over a store that others may share.
    fn on(store: Store, clock: TestClock, cookies: Cookies) -> Self {
        let events = Arc::<Mutex<Vec<_>>>::default();
        let heard = Arc::clone(&events);
        let sessions = Sessions::builder(Arc::clone(&store))
            .issuer("https://auth.example")
            .audience("api")
            .client("web")
            .access_key(Key::hs256([1; 32]).unwrap())
            .refresh_key(Key::hs256([2; 32]).unwrap().with_kid("1"))
            .max_access_token_len(Cookies::MAX_ACCESS_TOKEN_LEN)
            .unwrap()
            .clock(clock.clone())
            .on_event(move |event| heard.lock().unwrap().push(event.kind))
            .build()
            .unwrap();
        let sessions = Arc::new(sessions);
        let guard = Guard::for_sessions(&sessions).cookies(cookies.clone()).unwrap();
        let welcome = Arc::new(AtomicU8::new(WELCOME));
        let asked = Arc::clone(&welcome);
        let authorize = async move |_: Session| {
            tokio::task::yield_now().await;
            match asked.load(Ordering::SeqCst) {
                WELCOME => Ok(Some(Claims { scope: "read".into() })),
                DENIED => Ok(None),
                _ => Err(io::Error::other("the database is away")),
            }
        };
        let session_routes = SessionRoutes::new(Arc::clone(&sessions), guard.clone(), authorize);
        let refresh = session_routes.refresh_layer().unwrap();
        let kept = Arc::default();
        let app = App { guard: guard.clone(), sessions, cookies, kept };
        let guarded = Router::new()
            .route("/plain", any(async |Extension(token): Extension<Access<Claims>>| id(&token)))
            .route("/open", get(async || "open"))
            .layer(guard.layer::<Claims>().exempt("/open"));
        let verifier =
            AccessVerifier::new(Key::hs256([1; 32]).unwrap(), "https://auth.example", "api");
        let verifier = verifier.max_token_len(Cookies::MAX_ACCESS_TOKEN_LEN).unwrap();
        let verifier = verifier.clock(clock.clone());
        let other = Guard::new(verifier).cookies(app.cookies.clone()).unwrap();
        let other =
            Router::new().route("/other", get(async || "other")).layer(other.layer::<Claims>());
        let bearer = Guard::for_sessions(&app.sessions).layer::<Claims>();
        let socket = guard.clone().subprotocol_tokens().layer::<Claims>();
        let other = other
            .merge(Router::new().route("/bearer", get(async || "bearer")).layer(bearer))
            .merge(Router::new().route("/socket", get(async || "socket")).layer(socket));
        let scoped = Router::new()
            .route("/scoped", get(async || "scoped"))
            .layer(guard.layer::<Claims>().require_scope("write"));
        let app_router = Router::new()
            .route("/me", any(async |token: Access<Claims>| id(&token)))
            .route("/maybe", get(maybe))
            .route("/live", get(async |token: Live<Claims>| id(&token)))
            .route("/twice", get(twice))
            .route("/static", get(async || "static"))
            .route("/status/{status}", get(status))
            .route("/keep", get(keep))
            .route("/logout_inside", post(logout_inside))
            .route("/login_inside", post(login_inside))
            .nest("/layer", guarded.merge(scoped))
            .nest("/elsewhere", other)
            .nest_service("/auth", session_routes)
            .layer(refresh)
            .with_state(app.clone());
        Self { router: app_router, app, store, clock, events, welcome }
    }

    /// A browser that has logged in.
    async fn login(&self, login: Login) -> Browser {
        let (request, ()) = Request::post("/")
            .header("sec-fetch-site", "same-origin")
            .body(())
            .unwrap()
            .into_parts();
        let claims = Claims { scope: "read".into() };
        let login = self.app.sessions.login(login, &claims);
        let set = self.app.guard.set_cookies(&request, login).await.unwrap();
        let mut browser = Browser::default();
        for value in set.into_values() {
            browser.take(value.to_str().unwrap());
        }
        self.events.lock().unwrap().clear();
        self.store.take_calls();
        browser
    }

    /// A browser whose access token has expired.
    async fn late(&self) -> Browser {
        let browser = self.login(Login::new("alice")).await;
        self.clock.advance(Duration::from_secs(20 * 60));
        browser
    }

    async fn ask(
        &self,
        browser: &Browser,
        method: &str,
        path: &str,
        headers: Headers<'_>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("cookie", browser.header());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    fn events(&self) -> Vec<EventKind> {
        self.events.lock().unwrap().clone()
    }

    fn count(&self, kind: EventKind) -> usize {
        self.events().into_iter().filter(|event| *event == kind).count()
    }

    /// The id of the token in the access cookie of a browser.
    fn id_in(&self, browser: &Browser) -> String {
        id(&self.app.sessions.verify::<Claims>(&browser.0[ACCESS]).unwrap())
    }
}

const ACCESS: &str = "__Host-Http-access";
const REFRESH: &str = "__Host-Http-refresh";
const CSRF: &str = "__Host-csrf";

type Headers<'a> = &'a [(&'a str, &'a str)];

const OWN_PAGE: Headers<'_> = &[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Browser(BTreeMap<String, String>);

impl Browser {
    fn header(&self) -> String {
        let pairs = self.0.iter().map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("; ")
    }

    fn take(&mut self, set_cookie: &str) {
        let (name, value) = set_cookie.split(';').next().unwrap().split_once('=').unwrap();
        match value {
            "" => self.0.remove(name),
            value => self.0.insert(name.into(), value.into()),
        };
    }

    fn without(&self, name: &str) -> Self {
        let mut browser = self.clone();
        browser.0.remove(name);
        browser
    }

    fn with(&self, name: &str, value: &str) -> Self {
        let mut browser = self.clone();
        browser.0.insert(name.into(), value.into());
        browser
    }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn set(&self) -> Vec<&str> {
        self.headers.get_all(SET_COOKIE).iter().map(|value| value.to_str().unwrap()).collect()
    }

    fn names(&self) -> Vec<&str> {
        self.set().into_iter().map(|cookie| cookie.split('=').next().unwrap()).collect()
    }

    fn kept_by(&self, browser: &Browser) -> Browser {
        let mut browser = browser.clone();
        for cookie in self.set() {
            browser.take(cookie);
        }
        browser
    }
}

fn id(token: &kippu::session::AccessToken<Claims>) -> String {
    token.jwt_id.clone()
}

async fn maybe(token: Option<Access<Claims>>) -> String {
    token.map_or_else(|| "nobody".into(), |token| id(&token))
}

async fn twice(one: Access<Claims>, two: Live<Claims>, three: Option<Access<Claims>>) -> String {
    assert_eq!((id(&one), id(&one)), (id(&two), id(&three.unwrap())));
    id(&one)
}

async fn status(
    axum::extract::Path(status): axum::extract::Path<u16>,
    _token: Access<Claims>,
) -> impl IntoResponse {
    let headers = [
        ("cache-control", "public, max-age=3600"),
        ("cdn-cache-control", "max-age=600"),
        ("surrogate-control", "max-age=600"),
        ("set-cookie", "theme=dark"),
    ];
    (StatusCode::from_u16(status).unwrap(), headers, "the page")
}

async fn keep(State(app): State<App>, request: Parts) -> &'static str {
    *app.kept.lock().unwrap() = Some(request);
    "kept"
}

async fn logout_inside(State(app): State<App>, token: Access<Claims>) -> impl IntoResponse {
    app.sessions.logout_session(&token.subject, &token.session_id).await.unwrap();
    (app.cookies.clear(), "bye")
}

async fn login_inside(
    State(app): State<App>,
    _token: Access<Claims>,
    request: Parts,
) -> Result<impl IntoResponse, Rejection> {
    let claims = Claims { scope: "read".into() };
    let login = app.sessions.login("bob", &claims);
    Ok((app.guard.set_cookies(&request, login).await?, "hello bob"))
}

/// Every door that asks for an access token.
const DOORS: [&str; 6] = ["/me", "/maybe", "/live", "/twice", "/layer/plain", "/auth/sessions"];

#[tokio::test]
async fn an_expired_missing_or_invalid_access_cookie_is_refreshed_on_the_way() {
    for path in DOORS {
        for case in ["expired", "missing", "invalid", "of another key"] {
            let fixture = Fixture::new();
            let late = fixture.late().await;
            let forged = fixture.app.sessions.verify::<Claims>(&late.0[ACCESS]);
            assert!(forged.is_err(), "the token has not expired");
            let late = match case {
                "missing" => late.without(ACCESS),
                "invalid" => late.with(ACCESS, "x"),
                "of another key" => late.with(ACCESS, &format!("{}A", &late.0[ACCESS])),
                _ => late,
            };
            let answer = fixture.ask(&late, "GET", path, OWN_PAGE).await;
            assert_eq!(answer.status, 200, "{path} {case}: {}", answer.body);
            assert_eq!(answer.names(), [ACCESS, REFRESH, CSRF], "{path} {case}");
            assert_eq!(answer.header("cache-control"), "no-store", "{path} {case}");
            assert_eq!(fixture.events(), [EventKind::Rotated], "{path} {case}");
            let kept = answer.kept_by(&late);
            assert_ne!(kept.0[REFRESH], late.0[REFRESH], "{path} {case}");
            assert_eq!(kept.0[CSRF], late.0[CSRF], "another tab has read it");
            if path != "/auth/sessions" {
                assert_eq!(
                    answer.body,
                    fixture.id_in(&kept),
                    "{path}: the handler saw another token"
                );
            }
            // The new token needs no refresh.
            let again = fixture.ask(&kept, "GET", path, OWN_PAGE).await;
            assert_eq!((again.status, again.set().len()), (200, 0), "{path} {case}");
            assert_eq!(fixture.events(), [EventKind::Rotated], "{path} {case}");
        }
    }
}

#[tokio::test]
async fn a_request_that_changes_something_is_refreshed_too() {
    let fixture = Fixture::new();
    let late = fixture.late().await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "HEAD"] {
        let answer = fixture.ask(&late, method, "/me", OWN_PAGE).await;
        assert_eq!((answer.status, answer.names()), (200, vec![ACCESS, REFRESH, CSRF]), "{method}");
    }
    assert_eq!(fixture.count(EventKind::Rotated), 1);
}

/// The requests of one page, on two servers with one store.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_requests_get_the_same_successor_by_one_rotation() {
    let one = Fixture::new();
    let cookies = one.app.cookies.clone();
    let two = Fixture::on(Arc::clone(&one.store), one.clock.clone(), cookies);
    let (one, two) = (Arc::new(one), Arc::new(two));
    let mut browser = one.login(Login::new("alice")).await;
    for round in 1..=5 {
        one.clock.advance(Duration::from_secs(20 * 60));
        let mut asked = Vec::new();
        for number in 0..32 {
            let fixture = Arc::clone(if number % 2 == 0 { &one } else { &two });
            let (browser, path) = (browser.clone(), DOORS[number % DOORS.len()]);
            asked.push(tokio::spawn(async move {
                let answer = fixture.ask(&browser, "GET", path, OWN_PAGE).await;
                assert_eq!(answer.status, 200, "{path}: {}", answer.body);
                answer.kept_by(&browser)
            }));
        }
        let mut successors = BTreeSet::new();
        for answer in asked {
            browser = answer.await.unwrap();
            successors.insert(browser.0[REFRESH].clone());
        }
        assert_eq!(successors.len(), 1);
        let rotated = one.count(EventKind::Rotated) + two.count(EventKind::Rotated);
        assert_eq!(rotated, round);
    }
    assert_eq!(one.app.sessions.list("alice").await.unwrap().sessions.len(), 1);
}

/// Other sites cause a refresh by a navigation alone.
#[tokio::test]
async fn only_the_own_site_and_navigations_refresh() {
    const SITE: &str = "sec-fetch-site";
    const MODE: &str = "sec-fetch-mode";
    const DEST: &str = "sec-fetch-dest";
    let fixture = Fixture::new();
    let browser = fixture.late().await;
    let csrf = browser.0[CSRF].clone();
    let host = ("host", "shop.example");
    let own = ("origin", "https://shop.example");
    let yes: &[(&str, Headers<'_>)] = &[
        ("GET", &[(SITE, "same-origin")]),
        ("GET", &[(SITE, "same-origin"), (MODE, "no-cors"), (DEST, "image")]),
        ("GET", &[(SITE, "none"), (MODE, "navigate"), (DEST, "document")]),
        ("GET", &[(SITE, "cross-site"), (MODE, "navigate")]),
        ("GET", &[(SITE, "cross-site"), (MODE, "navigate"), (DEST, "document")]),
        ("GET", &[(SITE, "same-site"), (MODE, "navigate"), (DEST, "document")]),
        ("GET", &[(SITE, "cross-site"), (MODE, "navigate"), (DEST, "iframe")]),
        ("GET", &[(SITE, "same-site"), (MODE, "cors"), ("origin", "https://app.example")]),
        ("POST", &[(SITE, "same-site"), (MODE, "cors"), ("origin", "https://app.example")]),
        ("POST", &[(SITE, "same-origin"), (MODE, "navigate"), ("origin", "null")]),
        ("GET", &[host, own]),
        ("POST", &[host, own]),
        ("GET", &[("x-csrf-token", &csrf)]),
        ("POST", &[("x-csrf-token", &csrf)]),
        ("HEAD", &[(SITE, "same-origin")]),
    ];
    // And the status without a refresh.
    let no: &[(&str, Headers<'_>, u16)] = &[
        ("GET", &[], 401),
        ("GET", &[host], 401),
        ("GET", &[(MODE, "navigate")], 401),
        ("HEAD", &[], 401),
        ("GET", &[(SITE, "cross-site")], 401),
        ("GET", &[(SITE, "cross-site"), (MODE, "no-cors"), (DEST, "image")], 401),
        ("GET", &[(SITE, "cross-site"), (MODE, "cors"), ("origin", "https://evil.example")], 401),
        ("GET", &[(SITE, "same-site"), (MODE, "cors"), ("origin", "https://evil.example")], 401),
        ("GET", &[(SITE, "same-site"), (MODE, "no-cors"), (DEST, "script")], 401),
        ("GET", &[(SITE, "same-site"), (MODE, "same-origin")], 401),
        ("HEAD", &[(SITE, "cross-site"), (MODE, "navigate")], 401),
        ("GET", &[(SITE, "cross-site"), (MODE, "navigate"), (DEST, "object")], 401),
        ("GET", &[(SITE, "same-site"), (MODE, "navigate"), (DEST, "embed")], 401),
        ("GET", &[(SITE, "cross-site"), (MODE, "navigate"), (MODE, "cors")], 401),
        ("GET", &[(SITE, "cross-site"), (SITE, "same-origin"), (MODE, "navigate")], 401),
        ("GET", &[(SITE, "nonsense"), (MODE, "navigate")], 401),
        ("GET", &[host, ("origin", "https://evil.example")], 401),
        ("GET", &[host, ("origin", "http://shop.example")], 401),
        ("GET", &[("x-csrf-token", "AAAAAAAAAAAAAAAAAAAAAA")], 401),
        ("GET", &[(SITE, "same-origin"), ("sec-purpose", "prefetch")], 401),
        ("GET", &[(SITE, "none"), (MODE, "navigate"), ("sec-purpose", "prefetch;prerender")], 401),
        ("GET", &[(SITE, "cross-site"), (MODE, "navigate"), ("purpose", "prefetch")], 401),
        ("GET", &[(SITE, "same-origin"), ("x-moz", "prefetch")], 401),
        ("GET", &[host, own, (MODE, "websocket"), ("upgrade", "websocket")], 401),
        ("GET", &[(SITE, "same-origin"), (MODE, "websocket"), ("upgrade", "websocket")], 403),
        ("OPTIONS", &[(SITE, "same-origin")], 401),
        ("OPTIONS", &[("access-control-request-method", "GET"), (SITE, "cross-site")], 401),
        ("CONNECT", &[host, own, (SITE, "same-origin"), (MODE, "websocket")], 401),
        ("CONNECT", &[(SITE, "same-origin"), (MODE, "websocket")], 403),
        ("GET", &[(SITE, "cross-site"), (MODE, "websocket"), ("upgrade", "websocket")], 403),
        ("POST", &[], 403),
        ("POST", &[(SITE, "cross-site"), (MODE, "navigate"), (DEST, "document")], 403),
        ("POST", &[(SITE, "same-site"), (MODE, "navigate"), (DEST, "document")], 403),
        ("POST", &[(SITE, "cross-site"), (MODE, "cors"), ("origin", "https://evil.example")], 403),
        ("DELETE", &[host, ("origin", "https://evil.example")], 403),
        ("PUT", &[(SITE, "same-site"), ("x-csrf-token", &csrf)], 403),
    ];
    for access in ["expired", "missing"] {
        let late = if access == "missing" { browser.without(ACCESS) } else { browser.clone() };
        for (method, headers, status) in no {
            for path in ["/me", "/layer/plain"] {
                let answer = fixture.ask(&late, method, path, headers).await;
                let case = format!("{method} {path} {headers:?}, {access}");
                assert_eq!((answer.status, answer.set()), (*status, Vec::new()), "{case}");
            }
        }
        assert_eq!(fixture.store.take_calls(), [], "a request that may not refresh read the store");
        assert_eq!(fixture.events(), []);
    }
    for (method, headers) in yes {
        let answer = fixture.ask(&browser, method, "/me", headers).await;
        let case = format!("{method} {headers:?}: {}", answer.body);
        assert_eq!((answer.status, answer.names().len()), (200, 3), "{case}");
    }
    assert_eq!(fixture.count(EventKind::Rotated), 1);
}

#[tokio::test]
async fn a_request_is_refreshed_only_where_a_handler_asks() {
    let fixture = Fixture::new();
    let late = fixture.late().await;
    for path in ["/static", "/layer/open", "/nowhere"] {
        let answer = fixture.ask(&late, "GET", path, OWN_PAGE).await;
        assert_eq!((answer.set(), answer.header("cache-control")), (Vec::new(), ""), "{path}");
    }
    // A header counts alone.
    let bearer = format!("Bearer {}", late.0[ACCESS]);
    for value in [&*bearer, "Bearer x", "Bearer"] {
        let headers = [OWN_PAGE, &[("authorization", value)][..]].concat();
        let answer = fixture.ask(&late, "GET", "/me", &headers).await;
        assert!(matches!(answer.status, 400 | 401) && answer.set().is_empty(), "{value}");
    }
    assert_eq!((fixture.events(), fixture.store.take_calls()), (vec![], vec![]));
    let headers = [OWN_PAGE, &[("authorization", "Basic YTpi")][..]].concat();
    assert_eq!(fixture.ask(&late, "GET", "/me", &headers).await.set().len(), 3);
    // Without the refresh cookie, or without the one that it is bound to, there is nothing to do.
    for name in [REFRESH, CSRF] {
        let answer = fixture.ask(&late.without(name), "GET", "/me", OWN_PAGE).await;
        assert_eq!((answer.status, answer.set()), (401, Vec::new()), "without {name}");
    }
    // A guard with another verifier does not know the token.
    let rotated = fixture.count(EventKind::Rotated);
    let answer = fixture.ask(&late, "GET", "/elsewhere/other", OWN_PAGE).await;
    assert_eq!((answer.status, answer.set()), (401, Vec::new()));
    // A guard without cookies cannot use the new token.
    let answer = fixture.ask(&late, "GET", "/elsewhere/bearer", OWN_PAGE).await;
    assert_eq!((answer.status, answer.set()), (401, Vec::new()));
    // A token among the subprotocols counts alone, whatever page the handshake comes from.
    let offer = format!("feed.v1, kippu.bearer.{}", late.0[ACCESS]);
    let headers = [
        ("upgrade", "websocket"),
        ("sec-websocket-protocol", &*offer),
        ("origin", "https://evil.example"),
    ];
    let answer = fixture.ask(&late, "GET", "/elsewhere/socket", &headers).await;
    assert_eq!((answer.status, answer.set()), (401, Vec::new()));
    assert_eq!(fixture.count(EventKind::Rotated), rotated);
    assert_eq!(fixture.count(EventKind::Replayed), 0);
    // The route rotates by itself, once.
    let fixture = Fixture::new();
    let late = fixture.late().await;
    let answer = fixture.ask(&late, "POST", "/auth/refresh", OWN_PAGE).await;
    assert_eq!((answer.status, answer.set().len()), (200, 3));
    assert_eq!(fixture.events(), [EventKind::Rotated]);
}

/// The token in the browser is used up, whatever the handler answers.
#[tokio::test]
async fn the_response_carries_the_cookies_whatever_its_status() {
    for status in [200, 204, 302, 304, 401, 403, 404, 500, 503] {
        let fixture = Fixture::new();
        let late = fixture.late().await;
        let answer = fixture.ask(&late, "GET", &format!("/status/{status}"), OWN_PAGE).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.names(), ["theme", ACCESS, REFRESH, CSRF], "{status}");
        assert_eq!(answer.headers.get_all("cache-control").iter().count(), 1);
        assert_eq!(answer.header("cache-control"), "no-store", "{status}");
        for name in ["cdn-cache-control", "surrogate-control"] {
            assert!(!answer.headers.contains_key(name), "{status}: {name}");
        }
        // Without a refresh the headers are the handler's.
        let kept = answer.kept_by(&late);
        let answer = fixture.ask(&kept, "GET", &format!("/status/{status}"), OWN_PAGE).await;
        assert_eq!(answer.names(), ["theme"]);
        assert_eq!(answer.header("cache-control"), "public, max-age=3600");
    }
    // A rejection behind the refresh.
    let fixture = Fixture::new();
    let late = fixture.late().await;
    let answer = fixture.ask(&late, "GET", "/layer/scoped", OWN_PAGE).await;
    assert_eq!((answer.status, answer.names()), (403, vec![ACCESS, REFRESH, CSRF]));
}

#[tokio::test]
async fn a_handler_that_logs_in_or_out_has_the_last_word() {
    let fixture = Fixture::new();
    let late = fixture.late().await;
    let answer = fixture.ask(&late, "POST", "/logout_inside", OWN_PAGE).await;
    assert_eq!((answer.status, answer.kept_by(&late)), (200, Browser::default()));
    assert!(answer.set().iter().all(|cookie| cookie.contains("Max-Age=0")), "{:?}", answer.set());
    assert_eq!(fixture.app.sessions.list("alice").await.unwrap().sessions.len(), 0);

    let fixture = Fixture::new();
    let late = fixture.late().await;
    let answer = fixture.ask(&late, "POST", "/login_inside", OWN_PAGE).await;
    assert_eq!((answer.status, answer.names()), (200, vec![ACCESS, REFRESH, CSRF]));
    let kept = answer.kept_by(&late);
    assert_eq!(fixture.app.sessions.verify::<Claims>(&kept.0[ACCESS]).unwrap().subject, "bob");

    for path in ["/auth/logout_all", "/auth/logout_others"] {
        let fixture = Fixture::new();
        let late = fixture.late().await;
        let answer = fixture.ask(&late, "POST", path, OWN_PAGE).await;
        let is_gone = answer.kept_by(&late) == Browser::default();
        assert_eq!((answer.status, is_gone), (200, path == "/auth/logout_all"), "{path}");
    }
}

/// A refresh after the response is on its way would use a token up that the browser keeps.
#[tokio::test]
async fn nothing_is_refreshed_after_the_response() {
    let fixture = Fixture::new();
    let late = fixture.late().await;
    assert_eq!(fixture.ask(&late, "GET", "/keep", OWN_PAGE).await.set().len(), 0);
    let mut parts = fixture.app.kept.lock().unwrap().take().unwrap();
    let token =
        <Access<Claims> as FromRequestParts<App>>::from_request_parts(&mut parts, &fixture.app);
    assert!(matches!(token.await, Err(Rejection::InvalidToken(_))));
    assert_eq!(fixture.events(), []);
}

/// A request whose refresh is refused is one without a token. No cookie is cleared: another tab may
/// have logged in meanwhile.
#[tokio::test]
async fn a_refused_refresh_clears_no_cookie() {
    for case in ["expired", "logged out", "denied", "used before", "not a token"] {
        let fixture = Fixture::new();
        let late = fixture.late().await;
        let late = match case {
            "expired" => {
                fixture.clock.advance(Duration::from_secs(100 * 24 * 3600));
                late
            }
            "logged out" => {
                fixture.app.sessions.logout_all("alice").await.unwrap();
                late
            }
            "denied" => {
                fixture.welcome.store(DENIED, Ordering::SeqCst);
                late
            }
            "used before" => {
                let next = fixture.ask(&late, "GET", "/me", OWN_PAGE).await.kept_by(&late);
                fixture.clock.advance(Duration::from_secs(20 * 60));
                fixture.ask(&next, "GET", "/me", OWN_PAGE).await;
                late
            }
            _ => {
                let binding = late.0[REFRESH].rsplit_once('.').unwrap().1.to_owned();
                late.with(REFRESH, &format!("kippu_rt_AAAA.{binding}"))
            }
        };
        for path in ["/me", "/live", "/layer/plain", "/auth/sessions"] {
            for late in [&late, &late.without(ACCESS)] {
                let answer = fixture.ask(late, "GET", path, OWN_PAGE).await;
                assert_eq!((answer.status, answer.set()), (401, Vec::new()), "{case} {path}");
                assert_eq!(answer.header("www-authenticate"), "Bearer", "{case} {path}");
            }
        }
        for late in [&late, &late.without(ACCESS)] {
            let answer = fixture.ask(late, "GET", "/maybe", OWN_PAGE).await;
            assert_eq!((&*answer.body, answer.set()), ("nobody", Vec::new()), "{case}");
        }
        // Denied or used before, the session has ended.
        if case != "expired" && case != "not a token" {
            let live = fixture.app.sessions.list("alice").await.unwrap().sessions.len();
            assert_eq!(live, 0, "{case}");
        }
    }
}

/// The store or the application fails: nothing is used up, nothing is cleared, and the client tries
/// again.
#[tokio::test]
async fn a_failure_uses_nothing_up() {
    let fixture = Fixture::new();
    let late = fixture.late().await;
    for case in ["store", "application"] {
        match case {
            "store" => fixture.store.outage(Some(StoreErrorKind::Unavailable)),
            _ => fixture.welcome.store(FAILED, Ordering::SeqCst),
        }
        for path in DOORS {
            for late in [&late, &late.without(ACCESS)] {
                let answer = fixture.ask(late, "GET", path, OWN_PAGE).await;
                assert_eq!((answer.status, answer.set()), (503, Vec::new()), "{case} {path}");
                assert_eq!(answer.header("retry-after"), "1", "{case} {path}");
            }
        }
        fixture.store.outage(None);
        fixture.welcome.store(WELCOME, Ordering::SeqCst);
    }
    assert_eq!(fixture.events(), []);
    // The rotation was committed, and its answer was lost on the way from the store.
    fixture.store.fail(StoreMethod::Rotate, Fault::After);
    let answer = fixture.ask(&late, "GET", "/me", OWN_PAGE).await;
    assert_eq!((answer.status, answer.set()), (503, Vec::new()));
    let answer = fixture.ask(&late, "GET", "/me", OWN_PAGE).await;
    assert_eq!((answer.status, answer.set().len()), (200, 3));
}

/// A login that shall not be remembered has cookies that end with the browser, at each refresh.
#[tokio::test]
async fn cookies_that_end_with_the_browser_stay_so() {
    for remembered in [false, true] {
        let fixture = Fixture::new();
        let mut browser = fixture.login(Login::new("alice").remember(remembered)).await;
        for _ in 0..3 {
            fixture.clock.advance(Duration::from_secs(20 * 60));
            for (method, path) in [("GET", "/me"), ("POST", "/auth/refresh")] {
                let answer = fixture.ask(&browser, method, path, OWN_PAGE).await;
                assert_eq!((answer.status, answer.set().len()), (200, 3));
                for cookie in answer.set() {
                    let has_age = cookie.contains("Max-Age") || cookie.contains("Expires");
                    assert_eq!(has_age, remembered, "{path}: {cookie}");
                }
                browser = answer.kept_by(&browser);
            }
        }
    }
}

/// The refresh cookie of the default mode, from before the application changed to this one, is
/// read at the route and replaced.
#[tokio::test]
async fn the_cookies_of_the_default_mode_are_replaced() {
    let fixture = Fixture::new();
    let late = fixture.late().await;
    for name in ["__Http-refresh", "__Secure-refresh"] {
        let old = late.without(REFRESH).with(name, &late.0[REFRESH]);
        for (method, path) in [("POST", "/auth/refresh"), ("GET", "/auth/sessions")] {
            let answer = fixture.ask(&old, method, path, OWN_PAGE).await;
            assert_eq!((answer.status, answer.names()), (200, vec![ACCESS, REFRESH, CSRF, name]));
            let gone = format!("{name}=; Path=/auth; Max-Age=0; Secure; HttpOnly; SameSite=Strict");
            assert_eq!(answer.set()[3], gone);
            assert!(!answer.kept_by(&old).0.contains_key(name));
        }
    }
}

/// Over plain HTTP browsers do not say where a request comes from.
#[tokio::test]
async fn insecure_cookies_refresh_without_fetch_metadata() {
    let page = "http://192.168.1.7:8080";
    let cookies = Cookies::insecure_for_development("/auth", page).unwrap().to_every_path();
    let fixture = Fixture::with(cookies);
    let late = fixture.late().await;
    for (method, headers, expected) in [
        ("GET", &[][..], 200),
        ("POST", &[("origin", page)], 200),
        ("GET", &[("origin", "http://192.168.1.8")], 401),
        ("POST", &[("origin", "http://192.168.1.8")], 403),
        ("POST", &[], 403),
    ] {
        let answer = fixture.ask(&late, method, "/me", headers).await;
        assert_eq!(answer.status, expected, "{method} {headers:?}");
        let names: &[&str] = match expected {
            200 => &["insecure-access", "insecure-refresh", "insecure-csrf"],
            _ => &[],
        };
        assert_eq!(answer.names(), names);
    }
}

#[test]
fn a_layer_that_could_not_refresh_is_refused() {
    let layer =
        |limit: Option<usize>, cookies: Option<Cookies>| -> Result<RefreshLayer, CookieError> {
            let builder = Sessions::builder(MemoryStore::new(1))
                .issuer("https://auth.example")
                .audience("api")
                .client("web")
                .access_key(Key::hs256([1; 32]).unwrap())
                .refresh_key(Key::hs256([2; 32]).unwrap().with_kid("1"));
            let builder = match limit {
                Some(limit) => builder.max_access_token_len(limit).unwrap(),
                None => builder,
            };
            let sessions = Arc::new(builder.build().unwrap());
            let verifier =
                AccessVerifier::new(Key::hs256([1; 32]).unwrap(), "https://auth.example", "api");
            let guard = Guard::new(verifier.max_token_len(Cookies::MAX_ACCESS_TOKEN_LEN).unwrap());
            let guard = match cookies {
                Some(cookies) => guard.cookies(cookies).unwrap(),
                None => guard,
            };
            let authorize = async |_: Session| Ok::<_, io::Error>(Some(NoClaims {}));
            SessionRoutes::new(sessions, guard, authorize).refresh_layer()
        };
    let fits = Some(Cookies::MAX_ACCESS_TOKEN_LEN);
    assert_eq!(layer(fits, None).unwrap_err(), CookieError::None);
    let confined = layer(fits, Some(plain())).unwrap_err();
    assert_eq!(confined, CookieError::Confined);
    assert!(confined.to_string().contains("Cookies::to_every_path"), "{confined}");
    let wide = layer(None, Some(plain().to_every_path())).unwrap_err();
    assert!(matches!(wide, CookieError::Limit { .. }), "{wide}");
    let layer = layer(fits, Some(plain().to_every_path())).unwrap();
    assert!(format!("{layer:?}").starts_with("RefreshLayer"));
}
