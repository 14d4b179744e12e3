//! The web: which requests are let in, what the others are answered, and what becomes of cookies
//! and forged requests.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{
    collections::BTreeMap,
    future::IntoFuture,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::{FromRef, State},
    http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header, request::Parts},
    response::IntoResponse,
    routing::{any, get, post},
};
use kippu::{
    Algorithm, DecodeError, Key, KeySet, KeySetError, NumericDate, SharedKeySet, Validation,
    decode, encode,
    session::{
        AccessVerifier, BoxStore, EndedOptions, EndedSessions, EventKind, Login, MemoryStore,
        NoClaims, RefreshKeyError, RevokeReason, Session, SessionError, SessionId, SessionLimit,
        Sessions, StoreError, StoreErrorKind, TokenEnd, TokenResponse, conformance::Faulty,
    },
};
use kippu_test_support::log;
use kippu_web::{
    Access, CookieError, Cookies, GrantError, Guard, GuardLayer, Live, Rejection, Scoped,
    SessionRoutes, Tokens, login_from,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tower::ServiceExt;

const ISSUER: &str = "https://auth.example";
const ACCESS_SECRET: [u8; 32] = [0x5a; 32];

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
    sessions: Arc<Sessions<Arc<Faulty<MemoryStore>>>>,
}

/// An application, with a door of each kind.
struct Fixture {
    router: Router,
    app: App,
    store: Arc<Faulty<MemoryStore>>,
    refresh_keys: SharedKeySet,
    /// The events of the sessions, in their order.
    events: Arc<Mutex<Vec<EventKind>>>,
    /// How many bytes the claims have that the application gives at a refresh.
    claims_len: Arc<AtomicUsize>,
}

impl Fixture {
    fn new() -> Self {
        Self::with(|guard| guard)
    }

    fn with_cookies() -> Self {
        Self::with(|guard| guard.cookies(cookies()).unwrap())
    }

    fn with(options: impl FnOnce(Guard) -> Guard) -> Self {
        log::prepare();
        let store = Arc::new(Faulty::new(MemoryStore::new(100_000)));
        let events = Arc::<Mutex<Vec<_>>>::default();
        let heard = Arc::clone(&events);
        let refresh_keys = SharedKeySet::from(refresh_key(1));
        let sessions = Sessions::builder(Arc::clone(&store))
            .issuer(ISSUER)
            .audience("api")
            .client("web")
            .access_key(Key::hs256(ACCESS_SECRET).unwrap())
            .refresh_key(refresh_keys.clone())
            .max_access_token_len(Cookies::MAX_ACCESS_TOKEN_LEN)
            .unwrap()
            .on_event(move |event| heard.lock().unwrap().push(event.kind))
            .build()
            .unwrap();
        let sessions = Arc::new(sessions);
        let guard = options(Guard::for_sessions(&sessions));
        let app = App { guard: guard.clone(), sessions: Arc::clone(&sessions) };
        let layered = Router::new()
            .route(
                "/plain",
                get(async |Extension(token): Extension<Access<Claims>>| token.subject.clone()),
            )
            .layer(guard.layer::<Claims>());
        let scoped = Router::new()
            .route("/scoped", get(async |token: Access<Claims>| token.subject.clone()))
            .layer(guard.layer::<Claims>().require_scope("write"));
        let live = Router::new()
            .route("/live", get(async |token: Access<Claims>| token.subject.clone()))
            .layer(guard.layer::<Claims>().live());
        let recent = Router::new()
            .route("/recent", get(async || "recent"))
            .layer(guard.layer::<Claims>().require_recent(Duration::from_secs(300)));
        let claims_len = Arc::new(AtomicUsize::new(4));
        let len = Arc::clone(&claims_len);
        let authorize = async move |session: Session| welcome(&len, session).await;
        let router = Router::new()
            .route("/me", get(me).post(me).put(me))
            .route("/maybe", get(maybe))
            .route("/socket", any(me))
            .route("/live", get(live_me))
            .route("/write", post(write))
            .route("/close", post(close_account))
            .route("/login", post(login))
            .nest("/layer", layered.merge(scoped).merge(live).merge(recent))
            .nest_service("/auth", SessionRoutes::new(sessions, guard, authorize))
            .with_state(app.clone());
        Self { router, app, store, refresh_keys, events, claims_len }
    }

    async fn login(&self) -> TokenResponse {
        self.app.sessions.login("alice", &Claims { scope: "read".into() }).await.unwrap()
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        Answer::of(self.router.clone().oneshot(request).await.unwrap()).await
    }

    async fn get(&self, path: &str, token: &str) -> Answer {
        self.ask("GET", path, &[("authorization", &format!("Bearer {token}"))], "").await
    }

    async fn form(&self, path: &str, body: &str) -> Answer {
        self.ask("POST", path, &[FORM], body).await
    }

    /// The cookies of a browser after a login.
    async fn cookies(&self) -> String {
        self.ask("POST", "/login", &[SAME_ORIGIN], "").await.cookies()
    }

    /// How many sessions of the user have not ended.
    async fn live(&self) -> usize {
        self.app.sessions.list("alice").await.unwrap().sessions.len()
    }

    /// An access token of a session of the user, without `auth_time`.
    fn access_token(session: &SessionId, expires_in: i64) -> String {
        let now = NumericDate::now().seconds();
        let claims = json!({
            "iss": ISSUER, "aud": "api", "sub": "alice", "client_id": "web", "jti": "1",
            "sid": session, "scope": "read", "iat": now - 7200, "exp": now + expires_in,
        });
        kippu::encode_with_typ(&claims, &access_key(), "at+jwt").unwrap()
    }
}

fn access_key() -> Key {
    Key::hs256(ACCESS_SECRET).unwrap()
}

fn any_audience() -> Validation {
    Validation::new().any_audience().unwrap()
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let body = String::from_utf8(bytes.to_vec()).unwrap();
        Self { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn challenge(&self) -> (u16, &str) {
        (self.status, self.header("www-authenticate"))
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn error(&self) -> (u16, String) {
        (self.status, self.json()["error"].as_str().unwrap().to_owned())
    }

    /// The error with its words.
    fn refusal(&self) -> (u16, String) {
        let (status, error) = self.error();
        let words = self.json()["error_description"].as_str().unwrap().to_owned();
        (status, format!("{error}: {words}"))
    }

    /// How many cookies it takes out of the browser.
    fn cleared(&self) -> usize {
        let set = self.headers.get_all(header::SET_COOKIE).iter();
        set.filter(|value| value.to_str().unwrap().contains("=; ")).count()
    }

    /// The cookies that a browser would keep, as its `Cookie` header.
    fn cookies(&self) -> String {
        let set = self.headers.get_all(header::SET_COOKIE).iter();
        let pairs = set.map(|value| value.to_str().unwrap().split(';').next().unwrap().to_owned());
        pairs.filter(|pair| !pair.ends_with('=')).collect::<Vec<_>>().join("; ")
    }
}

fn cookies() -> Cookies {
    Cookies::new("/auth").unwrap()
}

fn refresh_key(byte: u8) -> Key {
    Key::hs256([byte; 32]).unwrap().with_kid(byte.to_string())
}

async fn welcome(claims_len: &AtomicUsize, _: Session) -> Result<Option<Claims>, io::Error> {
    tokio::task::yield_now().await;
    Ok(Some(Claims { scope: "s".repeat(claims_len.load(Ordering::SeqCst)) }))
}

async fn me(token: Access<Claims>) -> String {
    token.subject.clone()
}

async fn maybe(access: Option<Access<Claims>>) -> String {
    access.map_or_else(|| "nobody".into(), |token| token.subject.clone())
}

async fn live_me(token: Live<Claims>) -> String {
    token.subject.clone()
}

async fn write(access: Access<Claims>) -> Result<StatusCode, Rejection> {
    access.require_scope("write")?;
    Ok(StatusCode::NO_CONTENT)
}

async fn close_account(access: Access<Claims>) -> Result<StatusCode, Rejection> {
    access.require_recent(Duration::from_secs(300))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn login(State(app): State<App>, request: Parts) -> Result<impl IntoResponse, Rejection> {
    let claims = Claims { scope: "read".into() };
    let login = app.sessions.login("alice", &claims);
    Ok((app.guard.set_cookies(&request, login).await?, StatusCode::NO_CONTENT))
}

const EXPIRED: &str =
    r#"Bearer error="invalid_token", error_description="the access token has expired""#;
const INVALID: &str =
    r#"Bearer error="invalid_token", error_description="the access token is not valid""#;
const ENDED: &str = r#"Bearer error="invalid_token", error_description="the session has ended""#;
const TWO: &str = "Bearer error=\"invalid_request\", error_description=\"more than one Authorization header, \
                   or more than one cookie of a name\"";

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");
const CROSS_SITE: (u16, &str) = (403, "access_denied: the request comes from another site");
const UNKNOWN_ORIGIN: (u16, &str) = (
    403,
    "access_denied: the request does not say where it comes from: it needs Sec-Fetch-Site or Origin, \
     as browsers send them, or X-CSRF-Token with the value of the CSRF cookie",
);

#[tokio::test]
async fn the_answers_are_those_of_rfc_6750() {
    let fixture = Fixture::new();
    let token = fixture.login().await.access_token;
    for path in ["/me", "/maybe", "/live", "/layer/plain", "/layer/live"] {
        let answer = fixture.get(path, &token).await;
        assert_eq!((answer.status, &*answer.body), (200, "alice"), "{path}");
    }
    for path in ["/me", "/live", "/layer/plain", "/layer/scoped", "/layer/live"] {
        let answer = fixture.ask("GET", path, &[], "").await;
        assert_eq!(answer.challenge(), (401, "Bearer"), "{path}");
        assert_eq!(answer.body, "");
        let answer = fixture.ask("GET", path, &[("authorization", "Basic YTpi")], "").await;
        assert_eq!(answer.challenge(), (401, "Bearer"), "{path}");
        // The cookie counts only where the guard says so.
        let cookie = format!("__Host-Http-access={token}");
        let answer = fixture.ask("GET", path, &[("cookie", &cookie)], "").await;
        assert_eq!(answer.challenge(), (401, "Bearer"), "{path}");
        // Nor does the URL (RFC 9700 §4.3.2).
        let answer = fixture.ask("GET", &format!("{path}?access_token={token}"), &[], "").await;
        assert_eq!(answer.challenge(), (401, "Bearer"), "{path}");
    }
    assert_eq!(fixture.ask("GET", "/maybe", &[], "").await.body, "nobody");

    let claims = |seconds: i64| {
        let now = NumericDate::now().seconds();
        json!({
            "iss": ISSUER, "aud": "api", "sub": "alice", "client_id": "web", "jti": "1",
            "sid": SessionId::generate("alice").unwrap(), "scope": "read",
            "iat": now - 7200, "exp": now + seconds,
        })
    };
    let key = Key::hs256(ACCESS_SECRET).unwrap();
    let signed = |claims: &Value, key: &Key| kippu::encode_with_typ(claims, key, "at+jwt").unwrap();
    let expired = signed(&claims(-3600), &key);
    let forged = signed(&claims(3600), &Key::hs256([1; 32]).unwrap());
    let no_access_token = encode(&claims(3600), &key).unwrap();
    for path in ["/me", "/maybe", "/live", "/layer/plain"] {
        let answer = fixture.get(path, &expired).await;
        assert_eq!(answer.challenge(), (401, EXPIRED), "{path}");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("content-type"), "application/json");
        let told = json!({
            "error": "invalid_token", "error_description": "the access token has expired"
        });
        assert_eq!(answer.json(), told);
        for token in [&*forged, &no_access_token, "a.b.c", "x", &"a".repeat(100_000)] {
            assert_eq!(fixture.get(path, token).await.challenge(), (401, INVALID), "{path}");
        }
    }

    let bearer = format!("Bearer {token}");
    let twice = [("authorization", &*bearer), ("authorization", &*bearer)];
    assert_eq!(fixture.ask("GET", "/me", &twice, "").await.challenge(), (400, TWO));
    for value in ["Bearer a b", "Bearer ", "Bearer \u{e4}"] {
        let malformed = fixture.ask("GET", "/me", &[("authorization", value)], "").await;
        let words = "invalid_request: the header Authorization is not Bearer and a token";
        assert_eq!(malformed.refusal(), (400, words.into()), "{value}");
    }
}

#[tokio::test]
async fn a_token_has_to_be_good_for_what_is_asked() {
    let fixture = Fixture::new();
    let reader = fixture.login().await.access_token;
    let claims = Claims { scope: "read write".into() };
    let writer = fixture.app.sessions.login("bob", &claims).await.unwrap().access_token;
    let lacks = "Bearer error=\"insufficient_scope\", \
                 error_description=\"the access token is not good for this\", scope=\"write\"";
    let bearer = |token: &str| format!("Bearer {token}");
    let ask = async |method, path, token: &str| {
        fixture.ask(method, path, &[("authorization", &bearer(token))], "").await
    };
    assert_eq!(ask("POST", "/write", &reader).await.challenge(), (403, lacks));
    assert_eq!(ask("GET", "/layer/scoped", &reader).await.challenge(), (403, lacks));
    assert_eq!(ask("POST", "/write", &writer).await.status, 204);
    assert_eq!(ask("GET", "/layer/scoped", &writer).await.body, "bob");
    // Both are needed where both are asked for, in whatever order.
    for scopes in [["write", "read"], ["read", "write"]] {
        let layer =
            scopes.into_iter().fold(fixture.app.guard.layer::<Claims>(), GuardLayer::require_scope);
        let router = Router::new().route("/", get(async || "in")).layer(layer);
        for (token, status) in [(&reader, 403), (&writer, 200)] {
            let request = Request::get("/").header("authorization", bearer(token));
            let answer = router.clone().oneshot(request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.unwrap().status().as_u16(), status, "{scopes:?}");
        }
    }
    // An invalid scope does not end the parameter, and no token has the empty scope.
    for scope in ["\", error=\"", "a\nb", ""] {
        let claims = Claims { scope: String::new() };
        let token = fixture.app.sessions.login("x", &claims).await.unwrap().access_token;
        let request = Request::get("/").header("authorization", bearer(&token)).body(()).unwrap();
        let token = fixture.app.guard.authenticate::<Claims>(&request.into_parts().0).unwrap();
        let rejection = token.require_scope(scope).unwrap_err();
        let answer = Answer::of(rejection.into_response()).await;
        let challenge = lacks.split(", scope").next().unwrap().to_owned();
        let scope = if scope.is_empty() { ", scope=\"\"" } else { "" };
        assert_eq!(answer.challenge(), (403, &*(challenge + scope)));
    }
    // A part of a name is not the name.
    let claims = Claims { scope: "writer rewrite".into() };
    let other = fixture.app.sessions.login("eve", &claims).await.unwrap().access_token;
    assert_eq!(ask("GET", "/layer/scoped", &other).await.challenge(), (403, lacks));
}

/// A token of a session that has ended is invalid. One may be good of whose session nothing is
/// known: the client keeps it.
#[tokio::test]
async fn a_guard_may_follow_the_ended_sessions() {
    let fixture = Fixture::new();
    let tokens = fixture.login().await;
    let ended = EndedSessions::follow(fixture.store.clone(), EndedOptions::new());
    let verifier = AccessVerifier::new(Key::hs256(ACCESS_SECRET).unwrap(), ISSUER, "api");
    let guard = Guard::new(Arc::new(verifier.ended_sessions(ended.clone())));
    let router = Router::new().route("/me", get(async |_: Access<Claims>| ())).with_state(guard);
    let get = async || {
        let bearer = format!("Bearer {}", tokens.access_token);
        let request = Request::get("/me").header("authorization", bearer).body(Body::empty());
        router.clone().oneshot(request.unwrap()).await.unwrap()
    };
    let unknown = get().await;
    assert_eq!(
        (unknown.status(), &unknown.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
    );
    assert!(!unknown.headers().contains_key("www-authenticate"));
    ended.poll().await.unwrap();
    assert_eq!(get().await.status(), StatusCode::OK);
    fixture.app.sessions.logout(&tokens.refresh_token).await.unwrap();
    ended.poll().await.unwrap();
    let refused = get().await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let challenge = refused.headers()["www-authenticate"].to_str().unwrap();
    assert_eq!(challenge, ENDED);
}

#[tokio::test]
async fn a_session_that_ended_is_not_live() {
    let fixture = Fixture::new();
    let tokens = fixture.login().await;
    fixture.app.sessions.logout(&tokens.refresh_token).await.unwrap();
    for path in ["/live", "/layer/live"] {
        let answer = fixture.get(path, &tokens.access_token).await;
        assert_eq!(answer.challenge(), (401, ENDED), "{path}");
    }
    assert_eq!(fixture.get("/me", &tokens.access_token).await.status, 200);

    let tokens = fixture.login().await;
    fixture.store.outage(Some(StoreErrorKind::Unavailable));
    for path in ["/live", "/layer/live", "/auth/sessions"] {
        let answer = fixture.get(path, &tokens.access_token).await;
        assert_eq!(answer.error(), (503, "temporarily_unavailable".into()), "{path}");
        assert_eq!((answer.header("retry-after"), answer.challenge().1), ("1", ""));
    }
    let refresh = format!("grant_type=refresh_token&refresh_token={}", tokens.refresh_token);
    let answer = fixture.form("/auth/refresh", &refresh).await;
    assert_eq!(answer.error(), (503, "temporarily_unavailable".into()));
    assert_eq!(answer.header("retry-after"), "1");
    assert!(!answer.body.contains("asked for"));
    fixture.store.outage(None);
    assert_eq!(fixture.form("/auth/refresh", &refresh).await.status, 200);

    fixture.store.outage(Some(StoreErrorKind::Misconfigured));
    for path in ["/live", "/layer/live"] {
        let answer = fixture.get(path, &tokens.access_token).await;
        assert_eq!(answer.error(), (500, "server_error".into()), "{path}");
        assert_eq!((answer.header("retry-after"), answer.challenge().1), ("", ""));
    }
}

#[tokio::test]
async fn a_refresh_token_comes_in_a_form() {
    let fixture = Fixture::new();
    let first = fixture.login().await.refresh_token;
    let body =
        |token: &str| format!("grant_type=refresh_token&refresh_token={token}&client_id=web&x=y");
    let answer = fixture.form("/auth/refresh", &body(&first)).await;
    assert_eq!(answer.status, 200);
    let cache = (answer.header("cache-control"), answer.header("pragma"));
    assert_eq!(cache, ("no-store", "no-cache"));
    let next = answer.json();
    assert_eq!((&next["token_type"], &next["expires_in"]), (&json!("Bearer"), &json!(900)));
    assert_eq!(fixture.get("/me", next["access_token"].as_str().unwrap()).await.status, 200);
    let second = next["refresh_token"].as_str().unwrap().to_owned();

    for (body, error) in [
        (String::new(), "invalid_request"),
        ("grant_type=refresh_token".into(), "invalid_request"),
        (format!("refresh_token={second}"), "invalid_request"),
        (format!("grant_type=password&refresh_token={second}"), "unsupported_grant_type"),
        (body(&second) + "&refresh_token=x", "invalid_request"),
        (body("kippu_rt_AAAA"), "invalid_grant"),
        (body("%00%ff"), "invalid_grant"),
        (body(""), "invalid_request"),
        (body(&"x".repeat(10_000)), "invalid_request"),
    ] {
        assert_eq!(
            fixture.form("/auth/refresh", &body).await.error(),
            (400, error.into()),
            "{body}"
        );
    }
    // No form, though it looks like one.
    let json = [("content-type", "application/json")];
    let answer = fixture.ask("POST", "/auth/refresh", &json, &body(&second)).await;
    assert_eq!(answer.error(), (400, "invalid_request".into()));
    assert_eq!(fixture.form("/auth/refresh", &body(&second)).await.status, 200);

    for token in [&second, &second] {
        let answer = fixture.form("/auth/logout", &format!("refresh_token={token}")).await;
        assert_eq!((answer.status, &*answer.body), (204, ""));
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let answer = fixture.form("/auth/refresh", &body(&second)).await;
    assert_eq!(answer.error(), (400, "invalid_grant".into()));
    assert_eq!(fixture.form("/auth/logout", "").await.error(), (400, "invalid_request".into()));

    // The response does not claim that a session was ended if none was.
    let token = fixture.login().await.refresh_token;
    fixture.store.outage(Some(StoreErrorKind::Unavailable));
    let answer = fixture.form("/auth/logout", &format!("refresh_token={token}")).await;
    assert_eq!(answer.error(), (503, "temporarily_unavailable".into()));
    fixture.store.outage(Some(StoreErrorKind::Misconfigured));
    let answer = fixture.form("/auth/refresh", &body(&token)).await;
    assert_eq!(answer.error(), (500, "server_error".into()));
    assert_eq!(fixture.form("/auth/logout", &body(&token)).await.status, 500);
}

/// RFC 6749 §6.
#[tokio::test]
async fn a_client_id_and_a_scope_at_a_refresh_are_judged() {
    let fixture = Fixture::new();
    let first = fixture.login().await.refresh_token;
    let refresh = async |token: &str, rest: &str| {
        let body = format!("grant_type=refresh_token&refresh_token={token}{rest}");
        fixture.form("/auth/refresh", &body).await
    };
    for (rest, error) in [
        ("&client_id=other", "invalid_grant"),
        ("&client_id=WEB", "invalid_grant"),
        ("&scope=write", "invalid_scope"),
        ("&scope=ssss+write", "invalid_scope"),
        ("&scope=sss", "invalid_scope"),
        ("&client_secret=x", "invalid_client"),
        ("&client_id=web&client_id=web", "invalid_request"),
    ] {
        assert_eq!(refresh(&first, rest).await.error(), (400, error.into()), "{rest}");
    }
    assert_eq!(*fixture.events.lock().unwrap(), [EventKind::LoggedIn], "nothing is used up");
    let mut token = first;
    for (rest, scope) in [
        ("&client_id=web&scope=ssss", json!("ssss")),
        ("&scope=ssss+ssss", json!("ssss")),
        ("&client_id=&scope=", Value::Null),
        ("", Value::Null),
    ] {
        let answer = refresh(&token, rest).await;
        assert_eq!((answer.status, &answer.json()["scope"]), (200, &scope), "{rest}");
        answer.json()["refresh_token"].as_str().unwrap().clone_into(&mut token);
    }

    // With cookies, too.
    let fixture = Fixture::with_cookies();
    let cookie = fixture.cookies().await;
    let headers = [("cookie", &*cookie), SAME_ORIGIN, FORM];
    for (body, status) in [("client_id=other", 400), ("scope=write", 400), ("client_id=web", 200)] {
        let answer = fixture.ask("POST", "/auth/refresh", &headers, body).await;
        assert_eq!(answer.status, status, "{body}");
    }
}

/// RFC 7009.
#[tokio::test]
async fn a_token_of_either_kind_is_revoked() {
    let fixture = Fixture::with_cookies();
    // A page of another site may not use the cookies of this one; a token in the form is its own.
    let headers = [FORM, ("cookie", &*fixture.cookies().await), ("sec-fetch-site", "cross-site")];
    let revoke = async |body: &str| fixture.ask("POST", "/auth/revoke", &headers, body).await;
    let tokens = [(); 4].map(|()| fixture.login());
    let mut ended = Vec::new();
    for (login, hint) in tokens.into_iter().zip(["", "refresh_token", "access_token", "other"]) {
        let tokens = login.await;
        let is_refresh = ended.len() % 2 == 0;
        let token = if is_refresh { &tokens.refresh_token } else { &tokens.access_token };
        for _ in 0..2 {
            let answer =
                revoke(&format!("token={token}&token_type_hint={hint}&client_id=web")).await;
            assert_eq!((answer.status, &*answer.body, answer.cleared()), (200, "", 0), "{hint}");
        }
        ended.push(tokens);
    }
    // That of the cookies goes on.
    assert_eq!(fixture.live().await, 1);
    for tokens in ended {
        assert_eq!(fixture.get("/live", &tokens.access_token).await.challenge(), (401, ENDED));
    }
    // A client can do nothing about a token that is not valid.
    for token in ["x", "kippu_rt_AAAA", "a.b.c"] {
        assert_eq!(revoke(&format!("token={token}")).await.status, 200, "{token}");
    }
    for (body, error) in [
        ("", "invalid_request"),
        ("token=", "invalid_request"),
        ("refresh_token=x", "invalid_request"),
        ("token=x&token=x", "invalid_request"),
        ("token=x&client_secret=y", "invalid_client"),
    ] {
        assert_eq!(revoke(body).await.error(), (400, error.into()), "{body}");
    }
    assert_eq!(fixture.live().await, 1);
    let token = fixture.login().await.refresh_token;
    fixture.store.outage(Some(StoreErrorKind::Unavailable));
    assert_eq!(revoke(&format!("token={token}")).await.status, 503);
}

#[tokio::test]
async fn sessions_are_listed_and_ended() {
    let fixture = Fixture::new();
    let [one, two, three] = [fixture.login().await, fixture.login().await, fixture.login().await];
    let stranger = fixture.app.sessions.login("bob", &NoClaims {}).await.unwrap();
    let list = async |token: &str| fixture.get("/auth/sessions", token).await.json();
    let listed = list(&one.access_token).await;
    let sessions = listed["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 3);
    for session in sessions {
        let is_current = session["id"] == json!(one.session_id);
        assert_eq!(session["current"], json!(is_current));
        assert_eq!((&session["client"], &session["label"]), (&json!("web"), &Value::Null));
        assert!(session["expires_at"].as_i64() > session["created_at"].as_i64());
    }
    let end = async |id: &str, token: &str| {
        let bearer = format!("Bearer {token}");
        let path = format!("/auth/sessions/{id}");
        fixture.ask("DELETE", &path, &[("authorization", &bearer)], "").await.status
    };
    let id = two.session_id.to_string();
    assert_eq!(end(&id, &stranger.access_token).await, 404);
    assert_eq!(end(&id, &one.access_token).await, 204);
    assert_eq!(end(&id, &one.access_token).await, 404);
    assert_eq!(end("nonsense", &one.access_token).await, 404);
    let ask = async |path: &str, token: &str| {
        let bearer = format!("Bearer {token}");
        fixture.ask("POST", path, &[("authorization", &bearer)], "").await
    };
    assert_eq!(ask("/auth/logout_others", &one.access_token).await.json(), json!({ "ended": 1 }));
    assert_eq!(list(&one.access_token).await["sessions"].as_array().unwrap().len(), 1);
    // A request with an ended session learns nothing and ends nothing.
    let answer = ask("/auth/logout_all", &three.access_token).await;
    assert_eq!(answer.challenge(), (401, ENDED));
    assert_eq!(ask("/auth/logout_all", &one.access_token).await.json(), json!({ "ended": 1 }));
    assert_eq!(fixture.get("/auth/sessions", &one.access_token).await.status, 401);
    assert_eq!(list(&stranger.access_token).await["sessions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn there_are_no_other_routes() {
    let fixture = Fixture::new();
    for (method, path, status, allow) in [
        ("GET", "/auth/refresh", 405, "POST"),
        ("GET", "/auth/revoke", 405, "POST"),
        ("POST", "/auth/revoke/x", 404, ""),
        ("PUT", "/auth/logout", 405, "POST"),
        ("POST", "/auth/sessions", 405, "GET"),
        ("GET", "/auth/sessions/x", 405, "DELETE"),
        ("POST", "/auth/refresh/x", 404, ""),
        ("GET", "/auth/", 404, ""),
        ("POST", "/auth/refresh/", 404, ""),
        ("HEAD", "/auth/refresh", 405, "POST"),
        ("GET", "/auth/x/y/z", 404, ""),
        ("GET", "/auth/sessions/", 404, ""),
        ("DELETE", "/auth/sessions/", 404, ""),
        ("POST", "/auth/sessions/", 404, ""),
        ("DELETE", "/auth/sessions/x/", 404, ""),
        ("GET", "/auth/sessions//", 404, ""),
        ("HEAD", "/auth/sessions/", 404, ""),
    ] {
        let answer = fixture.ask(method, path, &[], "").await;
        assert_eq!((answer.status, answer.header("allow")), (status, allow), "{method} {path}");
    }
}

/// RFC 9470 §3.
#[tokio::test]
async fn an_old_authentication_is_challenged_until_the_user_authenticates_again() {
    const CHALLENGE: &str = "Bearer error=\"insufficient_user_authentication\", \
         error_description=\"the user has to authenticate again\", max_age=\"300\"";
    let fixture = Fixture::new();
    let sessions = &fixture.app.sessions;
    let tokens = fixture.login().await;
    let id = tokens.session_id;
    let token = |auth_time: i64| {
        let mut claims: Value =
            decode(&tokens.access_token, &access_key(), &any_audience()).unwrap();
        claims["auth_time"] = (NumericDate::now().seconds() - auth_time).into();
        kippu::encode_with_typ(&claims, &access_key(), "at+jwt").unwrap()
    };
    let ask = async |token: &str| {
        let headers = [("authorization", &*format!("Bearer {token}"))];
        [
            fixture.ask("POST", "/close", &headers, "").await,
            fixture.ask("GET", "/layer/recent", &headers, "").await,
        ]
    };
    for answer in ask(&token(302)).await {
        assert_eq!(answer.challenge(), (401, CHALLENGE));
        assert_eq!(answer.json()["error"], "insufficient_user_authentication");
    }
    // A token that does not say when.
    for answer in ask(&Fixture::access_token(&id, 900)).await {
        assert_eq!(answer.challenge(), (401, CHALLENGE));
    }
    assert_eq!(ask(&token(298)).await.map(|answer| answer.status), [204, 200]);
    let access = sessions.verify::<Claims>(&token(302)).unwrap();
    let claims = access.claims.clone();
    let again = sessions.reauthenticate(&access, claims).await.unwrap();
    assert_eq!(ask(&again.access_token).await.map(|answer| answer.status), [204, 200]);
    assert_eq!(again.session_id, id);
}

#[tokio::test]
async fn a_login_beyond_the_limit_is_refused_for_good() {
    let fixture = Fixture::new();
    fixture.login().await;
    let login = Login::new("alice").limit(SessionLimit::refuse(1));
    let error = fixture.app.sessions.login(login, &NoClaims {}).await.unwrap_err();
    let answer = Answer::of(GrantError(error).into_response()).await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (403, ""));
    assert_eq!(answer.json()["error"], "access_denied");
}

#[tokio::test]
async fn a_long_list_of_sessions_comes_in_pages() {
    let fixture = Fixture::new();
    let mut token = String::new();
    for _ in 0..101 {
        token = fixture.login().await.access_token;
    }
    let first = fixture.get("/auth/sessions", &token).await.json();
    assert_eq!(first["sessions"].as_array().unwrap().len(), 100);
    assert_eq!(first["sessions"][0]["remembered"], true);
    let next = format!("/auth/sessions?after={}", first["next"].as_str().unwrap());
    let second = fixture.get(&next, &token).await.json();
    assert_eq!(second["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(second.get("next"), None);
    let answer = fixture.get("/auth/sessions?after=5", &token).await;
    assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("invalid_request")));
}

#[tokio::test]
async fn cookies_hold_the_tokens_where_no_script_reads_them() {
    let fixture = Fixture::with_cookies();
    let answer = fixture.ask("POST", "/login", &[("sec-fetch-site", "same-origin")], "").await;
    let set: Vec<&str> = answer
        .headers
        .get_all(header::SET_COOKIE)
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect();
    let day = 24 * 3600;
    assert_eq!(answer.header("cache-control"), "no-store");
    let rest = |cookie: &str| cookie.split_once("; ").unwrap().1.to_owned();
    assert_eq!(set.len(), 3);
    assert!(set[0].starts_with("__Host-Http-access=eyJ"));
    assert_eq!(rest(set[0]), "Path=/; Max-Age=900; Secure; HttpOnly; SameSite=Strict");
    assert!(set[1].starts_with("__Http-refresh=kippu_rt_"));
    let age = 14 * day;
    assert_eq!(
        rest(set[1]),
        format!("Path=/auth; Max-Age={age}; Secure; HttpOnly; SameSite=Strict")
    );
    assert!(set[2].starts_with("__Host-csrf="));
    assert_eq!(rest(set[2]), format!("Path=/; Max-Age={age}; Secure; SameSite=Strict"));

    let cookie = answer.cookies();
    let same = [("cookie", &*cookie), ("sec-fetch-site", "same-origin")];
    assert_eq!(fixture.ask("GET", "/me", &[("cookie", &cookie)], "").await.body, "alice");
    assert_eq!(fixture.ask("POST", "/me", &same, "").await.body, "alice");
    let answer = fixture.ask("POST", "/auth/refresh", &same, "").await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "expires_in": 900 })));
    let renewed = answer.cookies();
    assert_ne!(renewed, cookie);
    let csrf = |cookies: &str| cookies.split("; ").find(|c| c.contains("csrf")).unwrap().to_owned();
    assert_eq!(csrf(&renewed), csrf(&cookie), "another tab has read it");

    let same = [("cookie", &*renewed), ("sec-fetch-site", "same-origin")];
    let answer = fixture.ask("POST", "/auth/logout", &same, "").await;
    assert_eq!((answer.status, &*answer.cookies()), (204, ""));
    let cleared: Vec<_> = answer.headers.get_all(header::SET_COOKIE).iter().collect();
    assert_eq!(
        cleared,
        [
            "__Host-Http-access=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict",
            "__Http-refresh=; Path=/auth; Max-Age=0; Secure; HttpOnly; SameSite=Strict",
            "__Host-csrf=; Path=/; Max-Age=0; Secure; SameSite=Strict",
            // Of earlier versions, and of another setting.
            "__Host-access=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict",
            "__Host-Http-refresh=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict",
            "__Secure-refresh=; Path=/auth; Max-Age=0; Secure; HttpOnly; SameSite=Strict",
        ]
    );
    assert_eq!(fixture.ask("POST", "/auth/refresh", &same, "").await.error().1, "invalid_grant");
}

/// A logout that answers has ended the session, whatever became of its refresh cookie. Another site
/// cannot cause one.
#[tokio::test]
async fn a_logout_with_cookies_ends_the_session() {
    let fixture = Fixture::with_cookies();
    let cookie =
        fixture.ask("POST", "/login", &[("sec-fetch-site", "same-origin")], "").await.cookies();
    let without_refresh: Vec<_> =
        cookie.split("; ").filter(|cookie| !cookie.contains("refresh")).collect();
    let without_refresh = without_refresh.join("; ");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    for (cookie, body) in [("theme=dark", ""), ("theme=dark", "refresh_token=x"), (&cookie, "")] {
        for origin in ["cross-site", "same-site"] {
            let headers = [form[0], ("cookie", cookie), ("sec-fetch-site", origin)];
            let answer = fixture.ask("POST", "/auth/logout", &headers, body).await;
            // Only the form is what the client means, and its token is not valid.
            assert_eq!(answer.status, if body.is_empty() { 403 } else { 400 }, "{cookie} {body}");
            assert!(answer.headers.get(header::SET_COOKIE).is_none(), "{cookie} {body}");
        }
    }
    let list = async || fixture.app.sessions.list("alice").await.unwrap().sessions.len();
    assert_eq!(list().await, 1);
    let headers = [("cookie", &*without_refresh), ("sec-fetch-site", "same-origin")];
    let answer = fixture.ask("POST", "/auth/refresh", &headers, "").await;
    assert_eq!(answer.error(), (400, "invalid_request".into()));
    let answer = fixture.ask("POST", "/auth/logout", &headers, "").await;
    assert_eq!((answer.status, list().await), (204, 0));
    assert_eq!(answer.headers.get_all(header::SET_COOKIE).iter().count(), 6);
    for path in ["/auth/logout_all", "/auth/sessions/"] {
        let headers = [("sec-fetch-site", "same-origin")];
        let cookie = fixture.ask("POST", "/login", &headers, "").await.cookies();
        let id = fixture.app.sessions.list("alice").await.unwrap().sessions[0].id.to_string();
        let (method, path) = match path {
            "/auth/sessions/" => ("DELETE", format!("{path}{id}")),
            _ => ("POST", path.to_owned()),
        };
        let headers = [("cookie", &*cookie), ("sec-fetch-site", "same-origin")];
        let answer = fixture.ask(method, &path, &headers, "").await;
        assert_eq!(answer.headers.get_all(header::SET_COOKIE).iter().count(), 6, "{path}");
        // A client that sent a header keeps its cookies.
        let token = fixture.login().await.access_token;
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", &*bearer), ("cookie", "theme=dark")];
        let answer = fixture.ask("POST", "/auth/logout_all", &headers, "").await;
        assert_eq!((answer.status, answer.headers.get(header::SET_COOKIE)), (200, None));
    }
}

/// The cookie of a name, as a browser sends it.
fn cookie_of(cookies: &str, name: &str) -> String {
    cookies.split("; ").find(|cookie| cookie.starts_with(name)).unwrap().to_owned()
}

/// The refresh cookie and the CSRF cookie expire together. The access cookie may be left alone for
/// a moment: a retry within the grace gets a new one.
#[tokio::test]
async fn a_refresh_cookie_that_has_another_path_is_warned_of_and_one_that_has_expired_is_not() {
    let fixture = Fixture::with_cookies();
    let own = fixture.cookies().await;
    let [access, csrf] = ["__Host-Http-access", "__Host-csrf"].map(|name| cookie_of(&own, name));
    let both = format!("{access}; {csrf}");
    for route in ["/auth/refresh", "/auth/logout"] {
        for (cookie, is_warned_of) in [
            (&*both, true),
            (&csrf, true),
            (&access, false),
            ("__Host-csrf=", false),
            (&own, false),
        ] {
            let log = log::Log::default();
            let guard = tracing::subscriber::set_default(log.clone());
            fixture.ask("POST", route, &[("cookie", cookie), SAME_ORIGIN], "").await;
            drop(guard);
            let text = log.text();
            assert_eq!(text.contains("sent no refresh cookie"), is_warned_of, "{route}: {text}");
        }
    }
}

const NOTHING_VALID: (u16, &str) =
    (400, "invalid_grant: no session was ended: the request has no valid token");

/// A header, of the cookies of a login and an expired access token of its session.
type HeaderOf<'a> = &'a dyn Fn(&str, &str) -> (&'static str, String);

/// A token that proves its session ends it, whatever else is missing.
#[tokio::test]
async fn a_logout_ends_the_session_of_any_token_that_is_valid() {
    let bearer = |token: &str| ("authorization", format!("Bearer {token}"));
    let cookie = |value: String| ("cookie", value);
    let cases: [(&str, bool, HeaderOf<'_>); 9] = [
        ("no CSRF cookie", false, &|own, _| cookie(cookie_of(own, "__Http-refresh"))),
        ("another CSRF cookie", false, &|own, _| {
            cookie(format!(
                "{}; __Host-csrf=AAAAAAAAAAAAAAAAAAAAAA",
                cookie_of(own, "__Http-refresh")
            ))
        }),
        ("two CSRF cookies", false, &|own, _| cookie(format!("{own}; __Host-csrf=A"))),
        ("a planted refresh cookie first", false, &|own, _| {
            cookie(format!("__Http-refresh=kippu_rt_AAAA.AAAA; __Http-refresh=x; {own}"))
        }),
        ("no refresh cookie", false, &|own, _| cookie(cookie_of(own, "__Host-Http-access"))),
        ("an expired access cookie", false, &|_, old| cookie(format!("__Host-Http-access={old}"))),
        ("an expired access token", false, &|_, old| bearer(old)),
        ("an access token, and the refresh key left out", true, &|own, _| cookie(own.to_owned())),
        ("an expired one, and the refresh key left out", true, &|_, old| bearer(old)),
    ];
    for (case, is_left_out, header) in cases {
        let fixture = Fixture::with_cookies();
        let own = fixture.cookies().await;
        let id = fixture.app.sessions.list("alice").await.unwrap().sessions[0].id;
        if is_left_out {
            fixture.refresh_keys.replace(KeySet::new(refresh_key(2)));
        }
        let (name, value) = header(&own, &Fixture::access_token(&id, -3600));
        let answer = fixture.ask("POST", "/auth/logout", &[(name, &value), SAME_ORIGIN], "").await;
        assert_eq!((answer.status, &*answer.body, fixture.live().await), (204, "", 0), "{case}");
        assert_eq!((answer.cleared(), answer.header("cache-control")), (6, "no-store"), "{case}");
        // Again: it has ended.
        let answer = fixture.ask("POST", "/auth/logout", &[(name, &value), SAME_ORIGIN], "").await;
        assert_eq!(answer.status, 204, "{case}");
    }

    // A key that has retired still proves which session it is.
    for in_form in [false, true] {
        let fixture = Fixture::with_cookies();
        let own = fixture.cookies().await;
        let keys = KeySet::new(refresh_key(2));
        let yesterday = NumericDate::from_seconds(NumericDate::now().seconds() - 24 * 3600);
        fixture.refresh_keys.replace(keys.retire(refresh_key(1), yesterday).unwrap());
        let refresh = cookie_of(&own, "__Http-refresh");
        let answer = if in_form {
            let token = refresh.split(['=', '.']).nth(1).unwrap();
            fixture.form("/auth/logout", &format!("refresh_token={token}")).await
        } else {
            let headers = [("cookie", &*refresh), SAME_ORIGIN];
            fixture.ask("POST", "/auth/logout", &headers, "").await
        };
        assert_eq!((answer.status, fixture.live().await), (204, 0), "in a form: {in_form}");
        // A client that is not a page of this site has no cookies to clear.
        assert_eq!(answer.cleared(), if in_form { 0 } else { 6 });
    }

    // Without cookies, too.
    let fixture = Fixture::new();
    let id = fixture.login().await.session_id;
    let bearer = format!("Bearer {}", Fixture::access_token(&id, -3600));
    let answer = fixture.ask("POST", "/auth/logout", &[("authorization", &bearer)], "").await;
    assert_eq!((answer.status, answer.cleared(), fixture.live().await), (204, 0, 0));
}

#[tokio::test]
async fn a_logout_ends_the_sessions_of_all_valid_tokens() {
    let fixture = Fixture::with_cookies();
    let (own, planted) = (fixture.cookies().await, fixture.cookies().await);
    let [in_form, in_header, other] =
        [fixture.login().await, fixture.login().await, fixture.login().await];
    let access = fixture.login().await;
    let bearer = format!("Bearer {}", in_header.access_token);
    let form = format!("refresh_token={}", in_form.refresh_token);
    let cookie = format!(
        "{}; {}; {}; __Host-Http-access={}",
        cookie_of(&planted, "__Http-refresh"),
        cookie_of(&own, "__Http-refresh"),
        cookie_of(&own, "__Host-csrf"),
        access.access_token,
    );
    let headers = [("cookie", &*cookie), ("authorization", &bearer), FORM, SAME_ORIGIN];
    let answer = fixture.ask("POST", "/auth/logout", &headers, &form).await;
    assert_eq!((answer.status, answer.cleared()), (204, 6));
    let live = fixture.app.sessions.list("alice").await.unwrap().sessions;
    assert_eq!(live.iter().map(|session| session.id).collect::<Vec<_>>(), [other.session_id]);

    // Another site, or a client that does not say, means what it has put there itself.
    for origin in [&[("sec-fetch-site", "cross-site")][..], &[]] {
        let (own, explicit) = (fixture.cookies().await, fixture.login().await);
        let bearer = format!("Bearer {}", explicit.access_token);
        let headers = [&[("cookie", &*own), ("authorization", &bearer)], origin].concat();
        let before = fixture.live().await;
        let answer = fixture.ask("POST", "/auth/logout", &headers, "").await;
        assert_eq!((answer.status, answer.cleared()), (204, 0));
        assert_eq!(fixture.live().await, before - 1);
        let headers = [("cookie", &*own), SAME_ORIGIN];
        assert_eq!(fixture.ask("POST", "/auth/refresh", &headers, "").await.status, 200);
    }
}

/// Nothing is claimed that has not happened.
#[tokio::test]
async fn a_logout_without_a_valid_token_says_that_no_session_was_ended() {
    let fixture = Fixture::with_cookies();
    let own = fixture.cookies().await;
    let refresh = cookie_of(&own, "__Http-refresh");
    let key = Key::hs256([1; 32]).unwrap();
    let forged = kippu::encode_with_typ(&json!({ "sub": "alice" }), &key, "at+jwt").unwrap();
    let forged = (format!("Bearer {forged}"), format!("__Host-Http-access={forged}"));
    fixture.refresh_keys.replace(KeySet::new(refresh_key(2)));
    for headers in [
        &[("cookie", &*refresh)][..],
        &[("cookie", &forged.1)],
        &[("authorization", &forged.0)],
        &[("authorization", "Bearer x")],
        &[("cookie", "__Host-Http-access=x; __Http-refresh=x; __Http-refresh=.")],
    ] {
        let headers = [headers, &[SAME_ORIGIN]].concat();
        let answer = fixture.ask("POST", "/auth/logout", &headers, "").await;
        let expected = (NOTHING_VALID.0, NOTHING_VALID.1.to_owned());
        assert_eq!((answer.refusal(), answer.cleared()), (expected, 6), "{headers:?}");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let headers = [FORM, SAME_ORIGIN];
    let answer = fixture.ask("POST", "/auth/logout", &headers, "refresh_token=x").await;
    assert_eq!(answer.refusal(), (NOTHING_VALID.0, NOTHING_VALID.1.into()));
    assert_eq!(fixture.live().await, 1);

    // A page of this site loses its cookies, and another client learns which field is missing.
    let nothing = "invalid_request: no session was ended: refresh_token is missing: send it in a form, \
                   application/x-www-form-urlencoded, or the refresh cookie with the CSRF cookie of \
                   the same login";
    let page: &[_] = &[SAME_ORIGIN, ("cookie", "theme=dark; __Host-Http-access=")];
    for (headers, cleared) in [(page, 6), (&[], 0)] {
        let answer = fixture.ask("POST", "/auth/logout", headers, "").await;
        assert_eq!((answer.refusal(), answer.cleared()), ((400, nothing.into()), cleared));
    }
    let bare = Fixture::new();
    let nothing = nothing.split(", or the refresh").next().unwrap();
    assert_eq!(bare.form("/auth/logout", "token=x").await.refusal(), (400, nothing.into()));
    let answer = bare.form("/auth/logout", "refresh_token=x").await;
    assert_eq!(answer.refusal(), (NOTHING_VALID.0, NOTHING_VALID.1.into()));
}

/// While the store is away no session is ended, and a browser keeps what it needs to try again.
#[tokio::test]
async fn nothing_is_cleared_while_the_store_is_away() {
    let fixture = Fixture::with_cookies();
    let own = fixture.cookies().await;
    let id = fixture.app.sessions.list("alice").await.unwrap().sessions[0].id.to_string();
    let access = cookie_of(&own, "__Host-Http-access");
    fixture.store.outage(Some(StoreErrorKind::Unavailable));
    let one = format!("/auth/sessions/{id}");
    for (method, path, cookie) in [
        ("POST", "/auth/logout", &own),
        ("POST", "/auth/logout", &access),
        ("POST", "/auth/logout_all", &own),
        ("DELETE", &one, &own),
        ("POST", "/auth/refresh", &own),
    ] {
        let answer = fixture.ask(method, path, &[("cookie", cookie), SAME_ORIGIN], "").await;
        assert_eq!(answer.error(), (503, "temporarily_unavailable".into()), "{method} {path}");
        assert_eq!(answer.header("retry-after"), "1");
        assert!(answer.headers.get(header::SET_COOKIE).is_none(), "{method} {path}");
    }
    fixture.store.outage(None);
    assert_eq!(fixture.live().await, 1);
    let answer = fixture.ask("POST", "/auth/logout", &[("cookie", &*own), SAME_ORIGIN], "").await;
    assert_eq!((answer.status, answer.cleared(), fixture.live().await), (204, 6, 0));
}

type Headers<'a> = &'a [(&'a str, &'a str)];

/// The answer names the field or the header that is wrong, and calls only a page of another site
/// another site.
#[tokio::test]
async fn the_answer_names_what_a_request_lacks() {
    let fixture = Fixture::with_cookies();
    let bare = Fixture::new();
    let own = fixture.cookies().await;
    let token = fixture.login().await.refresh_token;
    let json_body = json!({ "grant_type": "refresh_token", "refresh_token": token }).to_string();
    let json_type = ("content-type", "application/json");
    let not_a_form = "invalid_request: the body is not a form: send refresh_token as \
                      application/x-www-form-urlencoded";
    let missing = "invalid_request: refresh_token is missing: send it in a form, \
                   application/x-www-form-urlencoded";
    let or_cookie =
        format!("{missing}, or the refresh cookie with the CSRF cookie of the same login");
    let no_grant =
        "invalid_request: grant_type is missing: the form needs grant_type=refresh_token";
    let other_grant = "unsupported_grant_type: the only grant_type here is refresh_token";
    let twice = |name: &str| format!("invalid_request: {name} is in the form twice");
    let long = "invalid_request: the form is longer than 8192 bytes";
    let full = format!("grant_type=refresh_token&refresh_token={token}");
    let refresh: &[(Headers<'_>, &str, &str)] = &[
        (&[], "", &or_cookie),
        (&[], &full, &or_cookie),
        (&[FORM], "", &or_cookie),
        (&[FORM], "grant_type=refresh_token&token=x", &or_cookie),
        (&[FORM], "grant_type=refresh_token&refresh_token=", &or_cookie),
        (&[json_type], &json_body, not_a_form),
        (&[("content-type", "text/plain")], &full, not_a_form),
        (&[("content-type", "multipart/form-data; boundary=x")], &full, not_a_form),
        (&[("content-type", "\u{e4}")], &full, not_a_form),
        (&[FORM], &format!("refresh_token={token}"), no_grant),
        (&[FORM], &format!("refresh_token={token}&grant_type=password"), other_grant),
        (&[FORM], "grant_type=password&username=alice&password=x", other_grant),
        (&[FORM], &format!("{full}&refresh_token=x"), &twice("refresh_token")),
        (&[FORM], &format!("{full}&grant_type=x"), &twice("grant_type")),
        (&[FORM], &format!("{full}&scope={}", "x".repeat(8192)), long),
        // A browser whose refresh cookie is gone, or is another login's.
        (&[("cookie", &cookie_of(&own, "__Host-csrf"))], "", &or_cookie),
        (&[("cookie", &cookie_of(&own, "__Http-refresh"))], "", &or_cookie),
    ];
    for (headers, body, expected) in refresh {
        let answer = fixture.ask("POST", "/auth/refresh", headers, body).await;
        assert_eq!(answer.refusal(), (400, (*expected).to_owned()), "{headers:?} {body}");
        if !headers.iter().any(|(name, _)| *name == "cookie") {
            let answer = bare.ask("POST", "/auth/refresh", headers, body).await;
            let expected = expected.split(", or the refresh").next().unwrap();
            assert_eq!(answer.refusal(), (400, expected.to_owned()), "{headers:?} {body}");
        }
    }
    // At a logout, too.
    for (headers, body, expected) in [
        (&[json_type][..], &*json_body, not_a_form),
        (&[FORM], "token=x", &*or_cookie),
        (&[], "", &or_cookie),
    ] {
        let answer = fixture.ask("POST", "/auth/logout", headers, body).await;
        let expected = expected.replacen(": ", ": no session was ended: ", 1);
        assert_eq!(answer.refusal(), (400, expected), "{headers:?} {body}");
    }

    // Cookies from nowhere, and from another site.
    for (method, path) in [
        ("POST", "/me"),
        ("POST", "/auth/refresh"),
        ("POST", "/auth/logout"),
        ("POST", "/auth/logout_all"),
        ("POST", "/login"),
    ] {
        let headers = [("cookie", &*own)];
        let answer = fixture.ask(method, path, &headers, "").await;
        assert_eq!(answer.refusal(), (UNKNOWN_ORIGIN.0, UNKNOWN_ORIGIN.1.into()), "{path}");
        assert_eq!((answer.challenge().1, answer.cleared()), ("", 0));
        let headers = [("cookie", &*own), ("x-csrf-token", "AAAAAAAAAAAAAAAAAAAAAA")];
        let answer = fixture.ask(method, path, &headers, "").await;
        assert_eq!(answer.refusal(), (UNKNOWN_ORIGIN.0, UNKNOWN_ORIGIN.1.into()), "{path}");
        let headers = [("cookie", &*own), ("origin", "https://evil.example")];
        let answer = fixture.ask(method, path, &headers, "").await;
        assert_eq!(answer.refusal(), (CROSS_SITE.0, CROSS_SITE.1.into()), "{path}");
        assert_eq!((answer.challenge().1, answer.cleared()), ("", 0));
    }
    assert_eq!(fixture.live().await, 2);
    // Without cookies there is nothing to forge.
    assert_eq!(fixture.ask("POST", "/me", &[], "").await.challenge(), (401, "Bearer"));
    let answer =
        fixture.ask("GET", "/me", &[("cookie", "__Host-Http-access=\u{e4}\u{ff}")], "").await;
    assert_eq!(answer.challenge(), (401, INVALID));
}

/// A browser adds its cookies to what a page sends. The page means what it has put there.
#[tokio::test]
async fn a_token_in_the_header_counts_alone() {
    let fixture = Fixture::with_cookies();
    let own = fixture.cookies().await;
    let claims = Claims { scope: "read".into() };
    let bob = fixture.app.sessions.login("bob", &claims).await.unwrap();
    let bearer = format!("Bearer {}", bob.access_token);
    for origin in [SAME_ORIGIN, ("sec-fetch-site", "cross-site"), ("x", "")] {
        let headers = [("authorization", &*bearer), ("cookie", &own), origin];
        for (method, path) in [
            ("GET", "/me"),
            ("POST", "/me"),
            ("GET", "/maybe"),
            ("GET", "/live"),
            ("GET", "/layer/plain"),
            ("GET", "/layer/live"),
        ] {
            let answer = fixture.ask(method, path, &headers, "").await;
            assert_eq!((answer.status, &*answer.body), (200, "bob"), "{method} {path} {origin:?}");
        }
        let sessions = fixture.ask("GET", "/auth/sessions", &headers, "").await.json();
        assert_eq!(sessions["sessions"][0]["id"], json!(bob.session_id));
        let answer = fixture.ask("POST", "/auth/logout_others", &headers, "").await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "ended": 0 })));
    }
    // Where it is not valid, no cookie takes its place.
    for (value, challenge) in [
        (format!("Bearer {}", Fixture::access_token(&bob.session_id, -3600)), (401, EXPIRED)),
        ("Bearer a.b.c".into(), (401, INVALID)),
    ] {
        for path in ["/me", "/maybe", "/live", "/layer/plain", "/auth/sessions"] {
            let headers = [("authorization", &*value), ("cookie", &own), SAME_ORIGIN];
            assert_eq!(
                fixture.ask("GET", path, &headers, "").await.challenge(),
                challenge,
                "{path}"
            );
        }
    }
    // Another scheme is for a proxy in front.
    let headers = [("authorization", "Basic YTpi"), ("cookie", &own), SAME_ORIGIN];
    assert_eq!(fixture.ask("POST", "/me", &headers, "").await.body, "alice");

    // The same of a form: the answer goes to the client that sent it, and into no cookie.
    let form = format!("grant_type=refresh_token&refresh_token={}", bob.refresh_token);
    for origin in [SAME_ORIGIN, ("sec-fetch-site", "cross-site"), ("x", "")] {
        let headers = [("cookie", &*own), FORM, origin];
        let answer = fixture.ask("POST", "/auth/refresh", &headers, &form).await;
        assert_eq!((answer.status, answer.headers.get(header::SET_COOKIE)), (200, None));
        let access = answer.json()["access_token"].as_str().unwrap().to_owned();
        assert_eq!(fixture.app.sessions.verify::<NoClaims>(&access).unwrap().subject, "bob");
    }
    let headers = [("cookie", &*own), FORM, SAME_ORIGIN];
    let answer = fixture.ask("POST", "/auth/refresh", &headers, &form.replace("kippu", "x")).await;
    assert_eq!(answer.refusal(), (400, "invalid_grant: log in again".into()));
    // It was not alice's token that was used up.
    let renewed = fixture.ask("POST", "/auth/refresh", &[("cookie", &*own), SAME_ORIGIN], "").await;
    assert_eq!(
        (renewed.status, renewed.headers.get_all(header::SET_COOKIE).iter().count()),
        (200, 3)
    );
    let events = fixture.events.lock().unwrap();
    let replayed = events.iter().filter(|event| **event == EventKind::Replayed).count();
    // Twice bob's.
    assert_eq!(replayed, 2, "{events:?}");
}

/// Browsers send cookies with the handshake of a page of any site, and that page could read the
/// socket.
#[tokio::test]
async fn a_websocket_is_opened_by_a_page_of_this_site_or_by_a_token() {
    let fixture = Fixture::with(|guard| {
        let cookies = cookies().allow_origin("https://app.example.org").unwrap();
        guard.cookies(cookies).unwrap().subprotocol_tokens()
    });
    let cookie = ("cookie", &*fixture.cookies().await);
    let claims = Claims { scope: "read".into() };
    let bob = fixture.app.sessions.login("bob", &claims).await.unwrap().access_token;
    let bearer = format!("Bearer {bob}");
    let bearer = ("authorization", &*bearer);
    let offer = format!("feed.v1, kippu.bearer.{bob}");
    let offer = ("sec-websocket-protocol", &*offer);
    let alone = format!("kippu.bearer.{bob}");
    let expired = format!("feed.v1, kippu.bearer.{}", {
        Fixture::access_token(&SessionId::generate("bob").unwrap(), -3600)
    });
    let host = ("host", "api.example.org");
    let own = ("origin", "https://api.example.org");
    let evil = ("origin", "https://evil.example");
    let unsure = UNKNOWN_ORIGIN.1;
    let cross = CROSS_SITE.1;
    let both = "invalid_request: there is a token in Authorization and another one in Sec-WebSocket-Protocol";
    let no_other = "invalid_request: Sec-WebSocket-Protocol has no subprotocol beside the token for the server \
                    to select";
    for (headers, expected) in [
        (&[cookie, host, own][..], (200, "alice")),
        (&[cookie, host, ("origin", "https://app.example.org")], (200, "alice")),
        (&[cookie, host, evil], (403, cross)),
        (&[cookie, host, ("origin", "null")], (403, cross)),
        (&[cookie, host], (403, unsure)),
        (&[cookie, host, SAME_ORIGIN], (403, unsure)),
        (&[cookie, host, SAME_ORIGIN, evil], (403, cross)),
        (&[cookie, host, SAME_ORIGIN, own], (200, "alice")),
        // A token is enough, from anywhere, and counts alone.
        (&[bearer, host], (200, "bob")),
        (&[bearer, host, evil, cookie], (200, "bob")),
        (&[offer, host], (200, "bob")),
        (&[offer, host, evil, cookie], (200, "bob")),
        (&[("authorization", "Basic YTpi"), offer, host, cookie], (200, "bob")),
        (&[bearer, offer, host], (400, both)),
        (&[("sec-websocket-protocol", &alone), host, own, cookie], (400, no_other)),
        (
            &[("sec-websocket-protocol", &expired), host, own, cookie],
            (401, "invalid_token: the access token has expired"),
        ),
        (
            &[("sec-websocket-protocol", "feed.v1, kippu.bearer.a.b.c"), host, own, cookie],
            (401, "invalid_token: the access token is not valid"),
        ),
        (&[("sec-websocket-protocol", "feed.v1"), host, own, cookie], (200, "alice")),
        (&[("sec-websocket-protocol", "feed.v1"), host], (401, "")),
    ] {
        let upgrade = [headers, &[("connection", "upgrade"), ("upgrade", "websocket")]].concat();
        for (method, headers) in [("GET", &*upgrade), ("CONNECT", headers)] {
            let answer = fixture.ask(method, "/socket", headers, "").await;
            let status = answer.status;
            let body = match (method, status) {
                ("CONNECT", 200) => expected.1.to_owned(), // axum sends no body
                (_, 200) => answer.body,
                _ if answer.body.is_empty() => String::new(),
                _ => answer.refusal().1,
            };
            assert_eq!((status, &*body), expected, "{method} {headers:?}");
        }
    }
    // In another request, and without the option, it is not a credential.
    let answer = fixture.ask("GET", "/me", &[offer, host], "").await;
    assert_eq!(answer.challenge(), (401, "Bearer"));
    let fixture = Fixture::new();
    let token = fixture.login().await.access_token;
    let offer = format!("feed.v1, kippu.bearer.{token}");
    let headers = [("upgrade", "websocket"), ("sec-websocket-protocol", &*offer)];
    assert_eq!(fixture.ask("GET", "/socket", &headers, "").await.challenge(), (401, "Bearer"));
}

#[tokio::test]
async fn a_guard_that_does_not_know_the_sessions_rejects_a_request_for_a_live_one() {
    let fixture = Fixture::new();
    let token = fixture.login().await.access_token;
    let alone = Guard::new(Arc::clone(fixture.app.sessions.verifier()));
    let layered = Router::new()
        .route("/layer", get(async || "in"))
        .layer(alone.layer::<Claims>().live())
        .route("/extractor", get(live_me))
        .route("/without", get(me))
        .with_state(alone);
    for (path, status) in [("/layer", 500), ("/extractor", 500), ("/without", 200)] {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        let answer = layered.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn a_token_tells_when_its_session_ends() {
    let fixture = Fixture::new();
    let tokens = fixture.login().await;
    let ended = EndedSessions::follow(fixture.store.clone(), EndedOptions::new());
    ended.poll().await.unwrap();
    let verifier = AccessVerifier::new(access_key(), ISSUER, "api").ended_sessions(ended.clone());
    let request =
        Request::get("/").header("authorization", format!("Bearer {}", tokens.access_token));
    let request = request.body(()).unwrap().into_parts().0;
    let token = Guard::new(verifier).authenticate::<Claims>(&request).unwrap();
    let mut end = std::pin::pin!(token.ended(tokio::time::sleep));
    let early = tokio::time::timeout(Duration::from_millis(20), end.as_mut()).await;
    assert!(early.is_err(), "{early:?}");
    fixture.app.sessions.logout(&tokens.refresh_token).await.unwrap();
    ended.poll().await.unwrap();
    assert_eq!(end.await, TokenEnd::SessionEnded);
}

/// The label is what the client says of itself, as it can be shown.
#[tokio::test]
async fn a_login_has_the_user_agent_of_its_request_as_its_label() {
    let fixture = Fixture::new();
    let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0";
    for (agent, label) in [
        (Some(firefox.as_bytes()), Some(firefox)),
        (Some(&b"caf\xe9"[..]), Some("caf\u{fffd}")),
        (Some(b" "), None),
        (None, None),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(agent) = agent {
            headers.insert(header::USER_AGENT, HeaderValue::from_bytes(agent).unwrap());
        }
        let login = login_from(&headers, "agnes").limit(SessionLimit::evict_oldest(1));
        fixture.app.sessions.login(login, &NoClaims {}).await.unwrap();
        let listed = fixture.app.sessions.list("agnes").await.unwrap().sessions;
        assert_eq!(listed[0].label.as_deref(), label);
    }
}

/// The forms in which applications write `authorize`.
#[tokio::test]
async fn authorize_is_whatever_can_be_called_with_a_session() {
    #[derive(Clone)]
    struct Pool(Arc<tokio::sync::Mutex<Vec<String>>>);

    async fn load(pool: &Pool, session: &Session) -> Result<Option<NoClaims>, io::Error> {
        pool.0.lock().await.push(session.subject.clone());
        tokio::task::yield_now().await;
        Ok(Some(NoClaims {}))
    }

    async fn plain(_: Session) -> Result<Option<NoClaims>, io::Error> {
        tokio::task::yield_now().await;
        Ok(Some(NoClaims {}))
    }

    let pool = Pool(Arc::default());
    let [moved, consumed, cloned, other] = [(); 4].map(|()| pool.clone());
    let inner = Sessions::builder(BoxStore::new(MemoryStore::new(100)))
        .issuer(ISSUER)
        .audience("api")
        .client("web")
        .access_key(Key::hs256(ACCESS_SECRET).unwrap())
        .refresh_key(refresh_key(1));
    let sessions = Arc::new(inner.build().unwrap());
    let guard = || Guard::for_sessions(&sessions);
    let all = || Arc::clone(&sessions);
    let router: Router = Router::new()
        .nest_service(
            "/moved",
            SessionRoutes::new(all(), guard(), async move |session| load(&moved, &session).await),
        )
        .nest_service(
            "/consumed",
            SessionRoutes::new(
                all(),
                guard(),
                |session| async move { load(&consumed, &session).await },
            ),
        )
        .nest_service(
            "/cloned",
            SessionRoutes::new(all(), guard(), move |session| {
                let pool = cloned.clone();
                async move { load(&pool, &session).await }
            }),
        )
        .nest_service(
            "/steps",
            SessionRoutes::new(all(), guard(), async move |session: Session| {
                let claims = load(&other, &session).await?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(claims.filter(|_| true))
            }),
        )
        .nest_service("/plain", SessionRoutes::new(all(), guard(), plain))
        .nest_service(
            "/nothing",
            SessionRoutes::new(all(), guard(), async |_: Session| {
                Ok::<_, io::Error>(Some(NoClaims {}))
            }),
        );
    // As a server has it, on any of its threads.
    let mut token = sessions.login("alice", &NoClaims {}).await.unwrap().refresh_token;
    for path in ["/moved", "/consumed", "/cloned", "/steps", "/plain", "/nothing"] {
        let form = format!("grant_type=refresh_token&refresh_token={token}");
        let request = Request::post(format!("{path}/refresh")).header(FORM.0, FORM.1);
        let request = request.body(Body::from(form)).unwrap();
        let answer = tokio::spawn(router.clone().oneshot(request)).await.unwrap().unwrap();
        let answer = Answer::of(answer).await;
        assert_eq!(answer.status, 200, "{path}");
        answer.json()["refresh_token"].as_str().unwrap().clone_into(&mut token);
    }
    assert_eq!(*pool.0.lock().await, ["alice"; 4]);
}

/// Another host of the domain can set a refresh cookie, but not the one that it is bound to.
#[tokio::test]
async fn a_refresh_cookie_that_was_planted_is_none() {
    let fixture = Fixture::with_cookies();
    let same = ("sec-fetch-site", "same-origin");
    let login = async || fixture.ask("POST", "/login", &[same], "").await.cookies();
    let of = |cookies: &str, name: &str| {
        cookies.split("; ").find(|cookie| cookie.starts_with(name)).unwrap().to_owned()
    };
    let (own, evil) = (login().await, login().await);
    let planted = of(&evil, "__Http-refresh");
    let unbound = planted.rsplit_once('.').unwrap().0;
    let refresh = async |cookie: &str| {
        fixture.ask("POST", "/auth/refresh", &[("cookie", cookie), same], "").await
    };
    // In a browser without a login, and beside the cookies of another user.
    for cookie in [
        planted.clone(),
        format!("{planted}; {}", of(&own, "__Host-csrf")),
        format!("{unbound}; {}", of(&own, "__Host-csrf")),
        format!("{unbound}.; {}", of(&own, "__Host-csrf")),
    ] {
        assert_eq!(refresh(&cookie).await.error(), (400, "invalid_request".into()), "{cookie}");
    }
    for cookie in [format!("{planted}; {own}"), format!("{own}; {unbound}; {planted}")] {
        let answer = refresh(&cookie).await;
        assert_eq!(answer.status, 200, "{cookie}");
        assert!(answer.cookies().contains("__Host-Http-access"));
    }
}

/// A token that one guard let in is nothing to another.
#[tokio::test]
async fn what_a_layer_let_in_is_for_its_own_guard() {
    let outer = Fixture::new();
    let key = Key::generate(Algorithm::Hs256).unwrap();
    let admin = Guard::new(AccessVerifier::new(key, ISSUER, "admin"));
    let token = outer.login().await.access_token;
    for (guard, status) in [(admin, 401), (outer.app.guard.clone(), 200)] {
        let router = Router::new()
            .route("/", get(async |token: Access<Claims>| token.subject.clone()))
            .layer(outer.app.guard.layer::<Claims>())
            .with_state(guard);
        let request = Request::get("/").header("authorization", format!("Bearer {token}"));
        let answer = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
    }
}

/// The sessions make no token that a cookie cannot hold, or there are no cookies.
#[tokio::test]
async fn a_token_that_outgrows_a_cookie_is_refused_before_anything_is_used_up() {
    let fixture = Fixture::with_cookies();
    let mut cookie = fixture.cookies().await;
    let refresh = async |cookie: &str| {
        fixture.ask("POST", "/auth/refresh", &[("cookie", cookie), SAME_ORIGIN], "").await
    };
    fixture.claims_len.store(4000, Ordering::SeqCst);
    for _ in 0..3 {
        let answer = refresh(&cookie).await;
        assert_eq!(answer.refusal(), (500, "server_error: the server is at fault".into()));
        assert!(answer.headers.get(header::SET_COOKIE).is_none());
    }
    fixture.claims_len.store(2000, Ordering::SeqCst);
    for _ in 0..3 {
        let answer = refresh(&cookie).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "expires_in": 900 })));
        assert_eq!(
            fixture.ask("GET", "/me", &[("cookie", &answer.cookies())], "").await.status,
            200
        );
        cookie = answer.cookies();
    }
    // The refused requests had used nothing up: nothing was replayed afterwards.
    let events = [EventKind::LoggedIn, EventKind::Rotated, EventKind::Rotated, EventKind::Rotated];
    assert_eq!(*fixture.events.lock().unwrap(), events);
    assert_eq!(fixture.live().await, 1);

    let too_long = Claims { scope: "s".repeat(4000) };
    let login = fixture.app.sessions.login("alice", &too_long);
    let request = Request::post("/").header(SAME_ORIGIN.0, SAME_ORIGIN.1);
    let (request, ()) = request.body(()).unwrap().into_parts();
    let error = fixture.app.guard.set_cookies(&request, login).await.unwrap_err();
    assert!(
        matches!(error, Rejection::Fault(SessionError::TooLong { limit: 3900, .. })),
        "{error}"
    );
    assert_eq!(fixture.live().await, 1);
}

/// Sessions that may make longer tokens, by the limit that they have when none is set.
fn wide_sessions() -> Arc<Sessions<MemoryStore>> {
    let sessions = Sessions::builder(MemoryStore::new(100))
        .issuer(ISSUER)
        .audience("api")
        .client("web")
        .access_key(Key::hs256(ACCESS_SECRET).unwrap())
        .refresh_key(refresh_key(1))
        .grace(Duration::ZERO);
    Arc::new(sessions.build().unwrap())
}

#[test]
fn a_guard_with_cookies_verifies_no_token_that_is_too_long_for_one() {
    let sessions = wide_sessions();
    let guard = Guard::new(Arc::clone(sessions.verifier()));
    let error = guard.cookies(cookies()).unwrap_err();
    assert_eq!(error, CookieError::Limit { limit: 16384 });
    assert_eq!(
        error.to_string(),
        "access tokens may have 16384 bytes, and a cookie holds 3900: call \
         .max_access_token_len(Cookies::MAX_ACCESS_TOKEN_LEN)? on the builder of the sessions, or \
         .max_token_len(Cookies::MAX_ACCESS_TOKEN_LEN) on a verifier without sessions"
    );
    let verifier = || AccessVerifier::new(Key::hs256(ACCESS_SECRET).unwrap(), ISSUER, "api");
    for (limit, is_right) in [(1, true), (3900, true), (3901, false)] {
        let guard = Guard::new(verifier().max_token_len(limit).unwrap());
        assert_eq!(guard.cookies(cookies()).is_ok(), is_right, "{limit}");
    }
}

/// A guard that verifies by another verifier than the sessions' says nothing of how long their
/// tokens are.
#[tokio::test]
async fn no_refresh_token_is_used_up_for_sessions_whose_tokens_may_not_fit() {
    let sessions = wide_sessions();
    let key = Key::hs256(ACCESS_SECRET).unwrap();
    let verifier = AccessVerifier::new(key, ISSUER, "api").max_token_len(3900).unwrap();
    let guard = Guard::new(verifier).cookies(cookies()).unwrap();
    let authorize = async |_: Session| Ok::<_, io::Error>(Some(NoClaims {}));
    let routes = SessionRoutes::new(Arc::clone(&sessions), guard.clone(), authorize);
    let (request, ()) = meant().into_parts();
    let tokens = sessions.login("alice", &NoClaims {}).await.unwrap();
    let login = async { Ok(tokens.clone()) };
    let set = guard.set_cookies(&request, login).await.unwrap();
    let cookie = Answer::of((set, ()).into_response()).await.cookies();
    let request =
        Request::post("/refresh").header("cookie", cookie).header(SAME_ORIGIN.0, SAME_ORIGIN.1);
    let response = routes.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let answer = Answer::of(response.into_response());
    assert_eq!(answer.await.error(), (500, "server_error".into()));
    // Without a grace, a token that was used up would end the session.
    sessions.refresh(&tokens.refresh_token, authorize).await.unwrap();
}

/// A request of a page of this site, without a body.
fn meant() -> Request<()> {
    Request::post("/").header(SAME_ORIGIN.0, SAME_ORIGIN.1).body(()).unwrap()
}

#[tokio::test]
async fn a_login_that_cannot_set_cookies_does_not_begin() {
    let login_by = async |fixture: &Fixture, request: Request<()>| {
        let claims = Claims { scope: "read".into() };
        let login = fixture.app.sessions.login("alice", &claims);
        let (request, ()) = request.into_parts();
        let error = fixture.app.guard.set_cookies(&request, login).await.unwrap_err();
        (Answer::of(error.into_response()).await, fixture.live().await)
    };
    let (answer, live) = login_by(&Fixture::new(), meant()).await;
    assert_eq!((answer.refusal(), live), ((500, "server_error: the server is at fault".into()), 0));

    let fixture = Fixture::with_cookies();
    let cross_site = Request::post("/").header("sec-fetch-site", "cross-site").body(()).unwrap();
    let (answer, live) = login_by(&fixture, cross_site).await;
    assert_eq!((answer.refusal(), live), ((CROSS_SITE.0, CROSS_SITE.1.into()), 0));
    let (answer, live) = login_by(&fixture, Request::post("/").body(()).unwrap()).await;
    assert_eq!((answer.refusal(), live), ((UNKNOWN_ORIGIN.0, UNKNOWN_ORIGIN.1.into()), 0));

    // An error of the login is answered as one of a login, without a challenge.
    let (request, ()) = meant().into_parts();
    for (error, status, code) in [
        (SessionError::Denied, 400, "invalid_grant"),
        (SessionError::Revoked(RevokeReason::LogoutAll), 400, "invalid_grant"),
        (SessionError::Subject, 400, "invalid_request"),
        (SessionError::Full, 503, "temporarily_unavailable"),
    ] {
        let rejection = fixture.app.guard.set_cookies(&request, async { Err(error) }).await;
        let answer = Answer::of(rejection.unwrap_err().into_response()).await;
        assert_eq!((answer.error(), answer.challenge().1), ((status, code.into()), ""));
    }
}

#[tokio::test]
async fn a_text_that_is_not_a_token_is_not_set_as_a_cookie() {
    let fixture = Fixture::with_cookies();
    let (request, ()) = meant().into_parts();
    let set = async |tokens: TokenResponse| {
        fixture.app.guard.set_cookies(&request, async { Ok(tokens) }).await.unwrap_err()
    };
    for token in ["x\ny", "x; Domain=evil.example", "\u{e4}", "a b"] {
        let mut tokens = fixture.login().await;
        tokens.access_token = token.into();
        assert!(matches!(set(tokens).await, Rejection::Cookies(CookieError::NoToken)), "{token:?}");
        let mut tokens = fixture.login().await;
        tokens.refresh_token = token.into();
        assert!(matches!(set(tokens).await, Rejection::Cookies(CookieError::NoToken)), "{token:?}");
    }
    let mut tokens = fixture.login().await;
    tokens.access_token = "a".repeat(4096);
    assert!(matches!(set(tokens).await, Rejection::Cookies(CookieError::TooLong { .. })));

    let lax = cookies().lax().clear();
    assert_eq!(lax.expires_in(), Duration::ZERO);
    let lax: Vec<_> = lax.into_values().collect();
    let same_site =
        lax.iter().take(3).map(|value| value.to_str().unwrap().rsplit_once("; ").unwrap().1);
    let expected = ["SameSite=Lax", "SameSite=Strict", "SameSite=Strict"];
    assert_eq!(same_site.collect::<Vec<_>>(), expected);
}

/// An error, and its answers: to a refresh or a login, and to a request with an access token.
type Answers<'a> = (fn() -> SessionError, (u16, &'a str), (u16, &'a str));

/// Whatever happens to a session has its answer. No text of a client's makes it a 500.
#[tokio::test]
async fn every_error_of_the_sessions_has_an_answer() {
    fn store(kind: StoreErrorKind) -> SessionError {
        SessionError::Store(StoreError::new(kind, "the cable"))
    }
    fn claims() -> SessionError {
        let key = Key::hs256(ACCESS_SECRET).unwrap();
        SessionError::Claims(encode(&json!([]), &key).unwrap_err())
    }
    let again = (400, "invalid_grant: log in again");
    let away = (503, "temporarily_unavailable: try again in a moment");
    let fault = (500, "server_error: the server is at fault");
    let name = "invalid_request: the name of a user has 1 to 512 bytes and no control characters";
    let ended = (401, "invalid_token: the session has ended");
    let invalid = (401, "invalid_token: the access token is not valid");
    let all: [Answers<'_>; 20] = [
        (|| SessionError::InvalidToken, again, ended),
        (|| SessionError::Expired, again, ended),
        (|| SessionError::Revoked(RevokeReason::Logout), again, ended),
        (|| SessionError::Reused, again, again),
        (|| SessionError::Ahead { lost: 1 }, again, again),
        (|| SessionError::Denied, again, again),
        (|| SessionError::Subject, (400, name), (400, name)),
        (|| SessionError::AccessToken(DecodeError::Signature), invalid, invalid),
        (|| SessionError::Authorize("the cable".into()), away, away),
        (|| store(StoreErrorKind::Unavailable), away, away),
        (|| store(StoreErrorKind::Contention), away, away),
        (|| SessionError::Full, away, away),
        (|| SessionError::MissingRefreshKey { kid: "cable".into() }, away, away),
        (|| SessionError::NoRandomness, away, away),
        (|| store(StoreErrorKind::Misconfigured), fault, fault),
        (|| store(StoreErrorKind::Corrupt), fault, fault),
        (claims, fault, fault),
        (|| SessionError::TooLong { length: 5000, limit: 3900 }, fault, fault),
        (|| SessionError::RefreshKey(RefreshKeyError::MissingKid), fault, fault),
        (|| SessionError::SigningKey(KeySetError::VerifyOnly), fault, fault),
    ];
    for (error, of_grant, of_access) in all {
        let debug = format!("{:?}", error());
        for (response, (status, words)) in [
            (GrantError(error()).into_response(), of_grant),
            (Rejection::from(error()).into_response(), of_access),
        ] {
            let answer = Answer::of(response).await;
            assert_eq!(answer.refusal(), (status, words.into()), "{debug}");
            assert_eq!(answer.header("cache-control"), "no-store", "{debug}");
            assert_eq!(answer.header("content-type"), "application/json", "{debug}");
            let challenge = answer.header("www-authenticate");
            assert_eq!(challenge.starts_with("Bearer error="), status == 401, "{debug}");
            assert_eq!(
                answer.header("retry-after"),
                if status == 503 { "1" } else { "" },
                "{debug}"
            );
            assert!(!answer.body.contains("cable"), "{debug}");
        }
    }
}

/// Two tabs have the same cookies. Whichever answer the browser takes last, it goes on.
#[tokio::test]
async fn two_tabs_that_refresh_at_once_stay_logged_in() {
    let fixture = Fixture::with_cookies();
    let mut cookie =
        fixture.ask("POST", "/login", &[("sec-fetch-site", "same-origin")], "").await.cookies();
    for _ in 0..20 {
        let headers = [("cookie", &*cookie), ("sec-fetch-site", "same-origin")];
        let (one, two) = tokio::join!(
            fixture.ask("POST", "/auth/refresh", &headers, ""),
            fixture.ask("POST", "/auth/refresh", &headers, "")
        );
        let refresh = |answer: &Answer| {
            assert_eq!(answer.status, 200);
            let cookies = answer.cookies();
            cookies.split("; ").find(|cookie| cookie.contains("refresh")).unwrap().to_owned()
        };
        assert_eq!(refresh(&one), refresh(&two));
        cookie = one.cookies();
    }
    // A tab that was refused takes no cookies from one that has logged in since.
    let old = cookie;
    let same = |cookie| [("cookie", cookie), ("sec-fetch-site", "same-origin")];
    fixture.ask("POST", "/auth/logout", &same(&old), "").await;
    let answer = fixture.ask("POST", "/auth/refresh", &same(&old), "").await;
    assert_eq!(answer.error(), (400, "invalid_grant".into()));
    assert!(answer.headers.get(header::SET_COOKIE).is_none());
}

#[tokio::test]
async fn a_request_of_another_site_is_refused() {
    let fixture = Fixture::with(|guard| {
        guard.cookies(cookies().allow_origin("https://app.example.org").unwrap()).unwrap()
    });
    let cookie =
        fixture.ask("POST", "/login", &[("sec-fetch-site", "same-origin")], "").await.cookies();
    let csrf = cookie.split("; ").find_map(|c| c.strip_prefix("__Host-csrf=")).unwrap().to_owned();
    let own = ("host", "api.example.org");
    let yes: &[&[(&str, &str)]] = &[
        &[("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "same-site"), ("origin", "https://app.example.org")],
        &[("origin", "https://app.example.org")],
        &[own, ("origin", "https://api.example.org")],
        &[("host", "api.example.org:443"), ("origin", "https://api.example.org")],
        &[("host", "API.example.org"), ("origin", "https://api.example.org")],
        &[("host", "[2001:db8::1]:443"), ("origin", "https://[2001:db8::1]")],
        &[("host", "localhost:80"), ("origin", "http://localhost")],
        &[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080")],
        &[("host", "localhost"), ("origin", "http://localhost")],
        &[("x-csrf-token", &csrf)],
    ];
    let no: &[&[(&str, &str)]] = &[
        &[],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "same-site"), ("origin", "https://evil.example.org")],
        &[("sec-fetch-site", "cross-site"), own, ("origin", "https://api.example.org")],
        &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "nonsense"), ("x-csrf-token", &csrf)],
        &[own, ("origin", "null")],
        &[own, ("origin", "https://evil.example")],
        &[own, ("origin", "http://api.example.org")],
        &[own, ("origin", "https://api.example.org.evil.example")],
        &[own, ("origin", "https://api.example.org:8443")],
        &[("host", "api.example.org:80"), ("origin", "https://api.example.org")],
        &[("host", "api.example.org:8443"), ("origin", "https://api.example.org")],
        &[own, ("origin", "https://app.example.org"), ("origin", "https://evil.example")],
        &[("host", "localhost.evil.example"), ("origin", "http://localhost.evil.example")],
        &[("origin", "https://evil.example"), ("x-csrf-token", &csrf)],
        &[("x-csrf-token", "")],
        &[("x-csrf-token", "AAAAAAAAAAAAAAAAAAAAAA")],
        &[("x-csrf-token", &csrf), ("x-csrf-token", &csrf)],
        &[("x-csrf-token", &csrf[..4])],
    ];
    for (expected, all) in [(true, yes), (false, no)] {
        for headers in all {
            let headers = [*headers, &[("cookie", &*cookie)][..]].concat();
            for (method, path) in [("POST", "/me"), ("PUT", "/me"), ("DELETE", "/auth/sessions/x")]
            {
                let status = fixture.ask(method, path, &headers, "").await.status;
                assert_eq!(status != 403, expected, "{method} {path} {headers:?}: {status}");
            }
            if !expected {
                for path in ["/auth/refresh", "/auth/logout"] {
                    let answer = fixture.ask("POST", path, &headers, "").await;
                    assert_eq!(answer.error(), (403, "access_denied".into()), "{path} {headers:?}");
                }
            }
            for (method, path) in [("POST", "/login"), ("POST", "/auth/logout_all")] {
                if !expected {
                    let status = fixture.ask(method, path, &headers, "").await.status;
                    assert_eq!(status, 403, "{method} {path} {headers:?}");
                }
            }
            // A request that changes nothing is accepted, and another site cannot read the
            // response, except that of a WebSocket, which needs an origin.
            assert_eq!(fixture.ask("GET", "/me", &headers, "").await.status, 200);
            let has_origin = headers.iter().any(|(name, _)| *name == "origin");
            let upgrade = [&*headers, &[("upgrade", "websocket")]].concat();
            for (method, headers) in [("GET", &upgrade), ("CONNECT", &headers)] {
                let status = fixture.ask(method, "/socket", headers, "").await.status;
                let expected = if expected && has_origin { 200 } else { 403 };
                assert_eq!(status, expected, "{method} {headers:?}");
            }
        }
    }
    // HTTP/2 has the host in the URI.
    for (uri, status) in [
        ("https://api.example.org/me", 200),
        ("https://api.example.org:443/me", 200),
        ("https://api.example.org:444/me", 403),
        ("https://other.example.org/me", 403),
    ] {
        let headers = [("cookie", &*cookie), ("origin", "https://api.example.org")];
        assert_eq!(fixture.ask("POST", uri, &headers, "").await.status, status, "{uri}");
    }
    // Another site cannot send a request with a token in the header.
    let token = fixture.login().await.access_token;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer), ("sec-fetch-site", "cross-site")];
    assert_eq!(fixture.ask("POST", "/me", &headers, "").await.status, 200);
    // Planted by another host of the domain, beside the real one.
    let planted = format!("{cookie}; __Host-Http-access={token}");
    assert_eq!(
        fixture.ask("GET", "/me", &[("cookie", &planted)], "").await.challenge(),
        (400, TWO)
    );
    for other in
        ["x__Host-Http-access=a; ", "__Host-Http-accessory=a; ", "__Host-Http-access; ", "\"; "]
    {
        let cookie = format!("{other}{cookie}");
        assert_eq!(fixture.ask("GET", "/me", &[("cookie", &cookie)], "").await.status, 200);
    }
}

#[test]
fn cookies_are_made_of_what_a_header_takes() {
    for path in
        ["", "auth", "/auth/", "/a;b", "/a b", "/ä", "/a,b", "/a\nb", "/a?b", "/a/../b", "//a"]
    {
        assert_eq!(Cookies::new(path).err(), Some(CookieError::Path), "{path:?}");
    }
    for name in ["", "a=b", "a b", "ä", &"a".repeat(33)] {
        assert_eq!(cookies().named(name).err(), Some(CookieError::Name), "{name:?}");
    }
    // Which origins browsers never send is tested where they are read.
    for origin in ["null", "*", "https://*.example", "https://app.example/", "https://App.example"]
    {
        let error = cookies().allow_origin(origin).unwrap_err();
        let CookieError::Origin { given, .. } = &error else { panic!("{error}") };
        assert_eq!(given, origin);
    }
    assert_eq!(
        cookies().allow_origin("https://app.example:443").unwrap_err().to_string(),
        "browsers never send the origin \"https://app.example:443\": the usual port of the scheme is \
         left out. Write https://host or https://host:port"
    );
    assert!(Cookies::new(&format!("/{}", "a".repeat(1023))).is_ok());
    assert_eq!(Cookies::new(&format!("/{}", "a".repeat(1024))).err(), Some(CookieError::Path));
    assert!(Cookies::new("/").is_ok() && cookies().named("shop-2").is_ok());
    for origin in ["http://localhost:8080", "https://app.example:8443", "https://[::1]:8443"] {
        assert!(cookies().allow_origin(origin).is_ok(), "{origin}");
    }
}

#[tokio::test]
async fn nothing_printed_shows_a_token() {
    let fixture = Fixture::with_cookies();
    let tokens = fixture.login().await;
    let (request, ()) = meant().into_parts();
    let set = fixture.app.guard.set_cookies(&request, async { Ok(tokens.clone()) }).await.unwrap();
    let printed = format!("{set:?} {:?}", fixture.app.guard);
    for token in [&tokens.access_token, &tokens.refresh_token] {
        assert!(!printed.contains(&token[..20]));
    }
    let answer = Answer::of(Tokens(tokens.clone()).into_response()).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.json()["refresh_token"], json!(tokens.refresh_token));
}

/// Ten thousand requests over one connection, whose headers, cookies and forms are nonsense, or
/// nearly right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_brings_the_server_down() {
    let fixture = Fixture::with_cookies();
    let tokens = fixture.login().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(axum::serve(listener, fixture.router.clone()).into_future());

    let connection = BufReader::new(TcpStream::connect(address).await.unwrap());
    let mut connection = Client(connection);
    let mut nonsense = Nonsense { state: 1, tokens: [tokens.access_token, tokens.refresh_token] };
    let mut seen = BTreeMap::new();
    for number in 0..10_000 {
        let request = nonsense.request();
        let status = connection.ask(&request).await.unwrap_or_else(|error| {
            panic!("request {number}: {error}: {}", String::from_utf8_lossy(&request))
        });
        assert!(status < 500, "request {number}: {status}: {}", String::from_utf8_lossy(&request));
        *seen.entry(status).or_insert(0) += 1;
    }
    // Something of everything, or it was all nonsense to the same check.
    for status in [200, 204, 400, 401, 403, 404, 405] {
        assert!(seen.get(&status).is_some_and(|count| *count > 20), "{seen:?}");
    }
    server.abort();
}

/// One connection, kept open.
struct Client(BufReader<TcpStream>);

impl Client {
    async fn ask(&mut self, request: &[u8]) -> io::Result<u16> {
        self.0.write_all(request).await?;
        let (mut status, mut length, mut line) = (None, 0, String::new());
        loop {
            line.clear();
            if self.0.read_line(&mut line).await? == 0 {
                return Err(io::Error::other("the connection is lost"));
            }
            let text = line.trim_end().to_ascii_lowercase();
            match (text.strip_prefix("http/1.1 "), text.strip_prefix("content-length: ")) {
                (Some(rest), _) => status = rest[..3].parse().ok(),
                (_, Some(rest)) => length = rest.parse().unwrap(),
                _ if text.is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        status.ok_or_else(|| io::Error::other("no status"))
    }
}

/// Requests that are valid HTTP, with unusual values; the same in each run.
struct Nonsense {
    state: u64,
    tokens: [String; 2],
}

impl Nonsense {
    fn below(&mut self, limit: usize) -> usize {
        // xorshift64
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state >> 33).unwrap() % limit
    }

    fn pick<'p>(&mut self, from: &[&'p str]) -> &'p str {
        from[self.below(from.len())]
    }

    /// A token, one that was cut or changed, or bytes of a header or a form.
    fn value(&mut self) -> Vec<u8> {
        let which = self.below(2);
        let mut token = self.tokens[which].clone().into_bytes();
        match self.below(6) {
            0 => token.truncate(self.below(300)),
            1 => {
                let offset = self.below(token.len());
                let bytes = b"AZaz09-_.=%; ,\"\t\x80\xff";
                token[offset] = bytes[self.below(bytes.len())];
            }
            2 => {
                token = self.noise();
            }
            3 => token = [&*token, b"; ", &*token].concat(),
            _ => {}
        }
        token
    }

    fn noise(&mut self) -> Vec<u8> {
        let bytes = b" \t!~=;,%&+\"\x80\xff.-_aA0";
        let length = self.below(40);
        (0..length).map(|_| bytes[self.below(bytes.len())]).collect()
    }

    fn request(&mut self) -> Vec<u8> {
        let method = self.pick(&["GET", "POST", "POST", "DELETE", "PUT", "OPTIONS"]);
        let path = self.pick(&[
            "/me",
            "/live",
            "/maybe",
            "/layer/live",
            "/auth/refresh",
            "/auth/logout",
            "/auth/logout",
            "/auth/sessions",
            "/auth/sessions/%ff%00",
            "/auth/sessions/AAAAAAAAAAAAAAAAAAAAAA",
            "/auth/logout_all/",
            "/auth//refresh",
            "/auth/%2e%2e/me",
            "/write",
        ]);
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: api.example\r\n").into_bytes();
        for _ in 0..self.below(4) {
            let name = self.pick(&[
                "authorization: ",
                "authorization: Bearer ",
                "authorization: bearer  ",
                "cookie: __Host-Http-access=",
                "cookie: __Http-refresh=",
                "cookie: a=b; __Host-Http-access=",
                "cookie: ",
                "sec-fetch-site: same-origin",
                "sec-fetch-site: ",
                "origin: https://",
                "origin: https://api.example",
                "x-csrf-token: ",
                "content-type: ",
            ]);
            request.extend_from_slice(name.as_bytes());
            if name.ends_with([' ', '=', '/']) {
                let value = self.value();
                request.extend(value);
            }
            request.extend_from_slice(b"\r\n");
        }
        let mut body = Vec::new();
        if self.below(2) == 0 {
            request.extend_from_slice(b"content-type: application/x-www-form-urlencoded\r\n");
            for _ in 0..self.below(4) {
                let name = self.pick(&[
                    "grant_type=refresh_token",
                    "refresh_token=",
                    "&",
                    "grant_type=",
                    "x=",
                ]);
                body.extend_from_slice(name.as_bytes());
                if name.ends_with('=') {
                    body.extend(self.value());
                }
                body.push(b'&');
            }
        }
        request.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        request.extend(body);
        request
    }
}

/// A `main` that returns an error prints it by `Debug`.
#[test]
fn errors_print_their_message_in_debug() {
    let key = Key::hs256([7; 32]).unwrap();
    let refused = decode::<Value>("a.b", &key, &Validation::new()).unwrap_err();
    let rejection = Rejection::from(refused);
    assert_eq!(
        format!("{rejection:?}"),
        "the access token: the token does not have three segments"
    );
    let fault = StoreError::from_driver(StoreErrorKind::Unavailable, "code 7").with_message("gone");
    let rejection = Rejection::from(SessionError::from(fault));
    assert_eq!(format!("{rejection:?}"), "the session store is not available: gone: code 7");
    let path = Cookies::new("auth").unwrap_err();
    assert_eq!(format!("{path:?}"), path.to_string());
}
