//! The web: who is let in, what the others are answered, and what cookies and forged requests come to.
#![cfg(feature = "axum")]
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
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::{FromRef, State},
    http::{HeaderMap, Request, Response, StatusCode, header, request::Parts},
    response::IntoResponse,
    routing::{get, post},
};
use kippu::{
    Algorithm, Key, NumericDate, encode,
    session::{
        AccessToken, AccessVerifier, MemoryStore, NoClaims, RefreshStore, RevokeReason, Session,
        SessionId, SessionRecord, Sessions, StoreError, StoreErrorKind, TokenResponse, UnixMillis,
        rotation::{RotateOutcome, RotateRequest},
        store::InsertOutcome,
    },
    web::{
        Access, CookieError, Cookies, Guard, GuardLayer, Live, Rejection, Scoped, SessionRoutes,
    },
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

/// A memory store that can be away.
#[derive(Clone)]
struct Store {
    inner: Arc<MemoryStore>,
    is_away: Arc<AtomicBool>,
    /// That it is not for a moment only.
    fault: Arc<AtomicBool>,
}

impl Store {
    fn there(&self) -> Result<&MemoryStore, StoreError> {
        if self.fault.load(Ordering::SeqCst) {
            return Err(StoreError::new(StoreErrorKind::Misconfigured, "the cable is a rope"));
        }
        if self.is_away.load(Ordering::SeqCst) {
            return Err(StoreError::new(StoreErrorKind::Unavailable, "the cable is out"));
        }
        Ok(&self.inner)
    }
}

impl RefreshStore for Store {
    async fn insert(&self, session: &SessionRecord) -> Result<InsertOutcome, StoreError> {
        self.there()?.insert(session).await
    }

    async fn load(&self, id: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
        self.there()?.load(id).await
    }

    async fn rotate(&self, request: &RotateRequest) -> Result<RotateOutcome, StoreError> {
        self.there()?.rotate(request).await
    }

    async fn revoke(
        &self,
        id: &SessionId,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        self.there()?.revoke(id, reason, now).await
    }

    async fn revoke_subject(
        &self,
        subject: &str,
        keep: Option<&SessionId>,
        reason: RevokeReason,
        now: UnixMillis,
    ) -> Result<u64, StoreError> {
        self.there()?.revoke_subject(subject, keep, reason, now).await
    }

    async fn list(&self, subject: &str, now: UnixMillis) -> Result<Vec<SessionRecord>, StoreError> {
        self.there()?.list(subject, now).await
    }

    async fn purge_expired(&self, now: UnixMillis, limit: u32) -> Result<u64, StoreError> {
        self.there()?.purge_expired(now, limit).await
    }
}

#[derive(Clone, FromRef)]
struct App {
    guard: Guard,
    sessions: Arc<Sessions<Store>>,
}

/// An application, with a door of each kind.
struct Fixture {
    router: Router,
    app: App,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        Self::with(|guard| guard)
    }

    fn with_cookies() -> Self {
        Self::with(|guard| guard.cookies(cookies()))
    }

    fn with(options: impl FnOnce(Guard) -> Guard) -> Self {
        let inner = Arc::new(MemoryStore::new(100_000));
        let store = Store { inner, is_away: Arc::default(), fault: Arc::default() };
        let sessions = Sessions::builder(store.clone())
            .issuer(ISSUER)
            .audience("api")
            .client("web")
            .access_key(Key::hs256(ACCESS_SECRET).unwrap())
            .refresh_key(Key::generate(Algorithm::Hs256).unwrap().with_kid("1"))
            .build()
            .unwrap();
        let sessions = Arc::new(sessions);
        let guard = options(Guard::new(Arc::clone(sessions.verifier())));
        let app = App { guard: guard.clone(), sessions: Arc::clone(&sessions) };
        let layered = Router::new()
            .route(
                "/plain",
                get(async |Extension(token): Extension<Arc<AccessToken<Claims>>>| {
                    token.subject.clone()
                }),
            )
            .layer(guard.layer::<Claims>());
        let scoped = Router::new()
            .route("/scoped", get(async |Access(token): Access<Claims>| token.subject.clone()))
            .layer(guard.layer::<Claims>().require_scope("write"));
        let live = Router::new()
            .route("/live", get(async |Access(token): Access<Claims>| token.subject.clone()))
            .layer(guard.layer::<Claims>().live(Arc::clone(&sessions)));
        let router = Router::new()
            .route("/me", get(me).post(me).put(me))
            .route("/maybe", get(maybe))
            .route("/live", get(live_me))
            .route("/write", post(write))
            .route("/login", post(login))
            .nest("/layer", layered.merge(scoped).merge(live))
            .nest_service("/auth", SessionRoutes::new(sessions, guard, welcome))
            .with_state(app.clone());
        Self { router, app, store }
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
        let form = [("content-type", "application/x-www-form-urlencoded")];
        self.ask("POST", path, &form, body).await
    }
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

    /// What a browser would keep, as its `Cookie` header.
    fn cookies(&self) -> String {
        let set = self.headers.get_all(header::SET_COOKIE).iter();
        let pairs = set.map(|value| value.to_str().unwrap().split(';').next().unwrap().to_owned());
        pairs.filter(|pair| !pair.ends_with('=')).collect::<Vec<_>>().join("; ")
    }
}

fn cookies() -> Cookies {
    Cookies::new("/auth").unwrap()
}

async fn welcome(_: Session) -> Result<Option<Claims>, io::Error> {
    Ok(Some(Claims { scope: "read".into() }))
}

async fn me(Access(token): Access<Claims>) -> String {
    token.subject.clone()
}

async fn maybe(access: Option<Access<Claims>>) -> String {
    access.map_or_else(|| "nobody".into(), |Access(token)| token.subject.clone())
}

async fn live_me(live: Live<Claims, Store>) -> String {
    live.token.subject.clone()
}

async fn write(access: Access<Claims>) -> Result<StatusCode, Rejection> {
    access.require_scope("write")?;
    Ok(StatusCode::NO_CONTENT)
}

async fn login(State(app): State<App>, request: Parts) -> Result<impl IntoResponse, Rejection> {
    app.guard.check_origin(&request)?;
    let tokens = app.sessions.login("alice", &Claims { scope: "read".into() }).await?;
    Ok((app.guard.set_cookies(&tokens)?, StatusCode::NO_CONTENT))
}

const EXPIRED: &str =
    r#"Bearer error="invalid_token", error_description="the access token has expired""#;
const INVALID: &str =
    r#"Bearer error="invalid_token", error_description="the access token is not valid""#;
const ENDED: &str = r#"Bearer error="invalid_token", error_description="the session has ended""#;
const TWO: &str = r#"Bearer error="invalid_request", error_description="more than one credential""#;

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
        let cookie = format!("__Host-access={token}");
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
    let malformed = fixture.ask("GET", "/me", &[("authorization", "Bearer a b")], "").await;
    assert_eq!(malformed.error(), (400, "invalid_request".into()));
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
    // What is no scope ends no parameter, and nobody has the empty one.
    for scope in ["\", error=\"", "a\nb", ""] {
        let claims = Claims { scope: String::new() };
        let token = fixture.app.sessions.verify::<Claims>(
            &fixture.app.sessions.login("x", &claims).await.unwrap().access_token,
        );
        let rejection = Access(Arc::new(token.unwrap())).require_scope(scope).unwrap_err();
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
    fixture.store.is_away.store(true, Ordering::SeqCst);
    for path in ["/live", "/layer/live", "/auth/sessions"] {
        let answer = fixture.get(path, &tokens.access_token).await;
        assert_eq!(answer.error(), (503, "temporarily_unavailable".into()), "{path}");
        assert_eq!((answer.header("retry-after"), answer.challenge().1), ("1", ""));
    }
    let refresh = format!("grant_type=refresh_token&refresh_token={}", tokens.refresh_token);
    let answer = fixture.form("/auth/refresh", &refresh).await;
    assert_eq!(answer.error(), (503, "temporarily_unavailable".into()));
    assert_eq!(answer.header("retry-after"), "1");
    assert!(!answer.body.contains("cable"));
    fixture.store.is_away.store(false, Ordering::SeqCst);
    assert_eq!(fixture.form("/auth/refresh", &refresh).await.status, 200);

    fixture.store.fault.store(true, Ordering::SeqCst);
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
    let body = |token: &str| format!("grant_type=refresh_token&refresh_token={token}&scope=x");
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

    for (token, status) in [(&*second, 204), (&second, 204), ("nonsense", 204)] {
        let answer = fixture.form("/auth/logout", &format!("refresh_token={token}")).await;
        assert_eq!((answer.status, answer.header("cache-control")), (status, "no-store"));
    }
    let answer = fixture.form("/auth/refresh", &body(&second)).await;
    assert_eq!(answer.error(), (400, "invalid_grant".into()));
    assert_eq!(fixture.form("/auth/logout", "").await.error(), (400, "invalid_request".into()));

    // What was not ended is not said to have been.
    let token = fixture.login().await.refresh_token;
    fixture.store.is_away.store(true, Ordering::SeqCst);
    let answer = fixture.form("/auth/logout", &format!("refresh_token={token}")).await;
    assert_eq!(answer.error(), (503, "temporarily_unavailable".into()));
    fixture.store.fault.store(true, Ordering::SeqCst);
    let answer = fixture.form("/auth/refresh", &body(&token)).await;
    assert_eq!(answer.error(), (500, "server_error".into()));
    assert_eq!(fixture.form("/auth/logout", &body(&token)).await.status, 500);
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
    // Of a session that has ended nothing is told, and nothing is ended by it.
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
        ("PUT", "/auth/logout", 405, "POST"),
        ("POST", "/auth/sessions", 405, "GET"),
        ("GET", "/auth/sessions/x", 405, "DELETE"),
        ("POST", "/auth/refresh/x", 404, ""),
        ("GET", "/auth/", 404, ""),
        ("POST", "/auth/refresh/", 404, ""),
        ("HEAD", "/auth/refresh", 405, "POST"),
        ("GET", "/auth/x/y/z", 404, ""),
    ] {
        let answer = fixture.ask(method, path, &[], "").await;
        assert_eq!((answer.status, answer.header("allow")), (status, allow), "{method} {path}");
    }
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
    assert!(set[0].starts_with("__Host-access=eyJ"));
    assert_eq!(rest(set[0]), "Path=/; Max-Age=900; Secure; HttpOnly; SameSite=Strict");
    assert!(set[1].starts_with("__Secure-refresh=kippu_rt_"));
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
            "__Host-access=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict",
            "__Secure-refresh=; Path=/auth; Max-Age=0; Secure; HttpOnly; SameSite=Strict",
            "__Host-csrf=; Path=/; Max-Age=0; Secure; SameSite=Strict",
        ]
    );
    assert_eq!(fixture.ask("POST", "/auth/refresh", &same, "").await.error().1, "invalid_grant");
}

/// A logout that answers has ended the session, wherever its refresh cookie went; and no other site can ask for one.
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
            assert!(answer.headers.get(header::SET_COOKIE).is_none(), "{cookie} {body}");
        }
    }
    let list = async || fixture.app.sessions.list("alice").await.unwrap().len();
    assert_eq!(list().await, 1);
    let headers = [("cookie", &*without_refresh), ("sec-fetch-site", "same-origin")];
    let answer = fixture.ask("POST", "/auth/refresh", &headers, "").await;
    assert_eq!(answer.error(), (400, "invalid_request".into()));
    let answer = fixture.ask("POST", "/auth/logout", &headers, "").await;
    assert_eq!((answer.status, list().await), (204, 0));
    assert_eq!(answer.headers.get_all(header::SET_COOKIE).iter().count(), 3);
    // Nobody is logged in any more: that is as good.
    let headers = [("sec-fetch-site", "same-origin")];
    assert_eq!(fixture.ask("POST", "/auth/logout", &headers, "").await.status, 204);

    for path in ["/auth/logout_all", "/auth/sessions/"] {
        let headers = [("sec-fetch-site", "same-origin")];
        let cookie = fixture.ask("POST", "/login", &headers, "").await.cookies();
        let id = fixture.app.sessions.list("alice").await.unwrap()[0].id.to_string();
        let (method, path) = match path {
            "/auth/sessions/" => ("DELETE", format!("{path}{id}")),
            _ => ("POST", path.to_owned()),
        };
        let headers = [("cookie", &*cookie), ("sec-fetch-site", "same-origin")];
        let answer = fixture.ask(method, &path, &headers, "").await;
        assert_eq!(answer.headers.get_all(header::SET_COOKIE).iter().count(), 3, "{path}");
        // Who came with a header keeps whatever cookies there are.
        let token = fixture.login().await.access_token;
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", &*bearer), ("cookie", "theme=dark")];
        let answer = fixture.ask("POST", "/auth/logout_all", &headers, "").await;
        assert_eq!((answer.status, answer.headers.get(header::SET_COOKIE)), (200, None));
    }
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
    let planted = of(&evil, "__Secure-refresh");
    let unbound = planted.rsplit_once('.').unwrap().0;
    let refresh = async |cookie: &str| {
        fixture.ask("POST", "/auth/refresh", &[("cookie", cookie), same], "").await
    };
    // Into a browser that nobody is logged in with, and beside another's cookies.
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
        assert!(answer.cookies().contains("__Host-access"));
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
            .route("/", get(async |Access(token): Access<Claims>| token.subject.clone()))
            .layer(outer.app.guard.layer::<Claims>())
            .with_state(guard);
        let request = Request::get("/").header("authorization", format!("Bearer {token}"));
        let answer = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
    }
}

#[tokio::test]
async fn what_does_not_fit_into_a_cookie_is_not_sent() {
    let fixture = Fixture::with_cookies();
    let login =
        async |scope: String| fixture.app.sessions.login("alice", &Claims { scope }).await.unwrap();
    let long = login("s".repeat(5000)).await;
    let error = fixture.app.guard.set_cookies(&long).unwrap_err();
    assert!(matches!(error, Rejection::Cookies(CookieError::TooLong { .. })), "{error}");
    assert_eq!(Answer::of(error.into_response()).await.error(), (500, "server_error".into()));
    for token in ["x\ny", "x; Domain=evil.example", "ä", "a b"] {
        let mut tokens = login(String::new()).await;
        tokens.access_token = token.into();
        assert_eq!(cookies().set(&tokens).err(), Some(CookieError::NoToken), "{token:?}");
        let mut tokens = login(String::new()).await;
        tokens.refresh_token = token.into();
        assert_eq!(cookies().set(&tokens).err(), Some(CookieError::NoToken), "{token:?}");
    }
    let bare = Fixture::new().app.guard.set_cookies(&login(String::new()).await).unwrap_err();
    assert!(matches!(bare, Rejection::Cookies(CookieError::None)), "{bare}");
    let lax: Vec<_> = cookies().lax().clear().into_values().collect();
    let same_site = lax.iter().map(|value| value.to_str().unwrap().rsplit_once("; ").unwrap().1);
    let expected = ["SameSite=Lax", "SameSite=Strict", "SameSite=Strict"];
    assert_eq!(same_site.collect::<Vec<_>>(), expected);
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
        guard.cookies(cookies().allow_origin("https://app.example.org").unwrap())
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
            // What changes nothing is let in, and no other page reads the answer; but that of a WebSocket.
            assert_eq!(fixture.ask("GET", "/me", &headers, "").await.status, 200);
            let upgrade = [&*headers, &[("upgrade", "websocket")]].concat();
            let status = fixture.ask("GET", "/me", &upgrade, "").await.status;
            assert_eq!(status, if expected { 200 } else { 403 }, "{headers:?}");
        }
    }
    // HTTP/2 has the host in the URI.
    for (uri, status) in
        [("https://api.example.org/me", 200), ("https://other.example.org/me", 403)]
    {
        let headers = [("cookie", &*cookie), ("origin", "https://api.example.org")];
        assert_eq!(fixture.ask("POST", uri, &headers, "").await.status, status, "{uri}");
    }
    // Who has a token in the header was not sent by another site.
    let token = fixture.login().await.access_token;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer), ("sec-fetch-site", "cross-site")];
    assert_eq!(fixture.ask("POST", "/me", &headers, "").await.status, 200);
    let both = [("authorization", &*bearer), ("cookie", &cookie)];
    assert_eq!(fixture.ask("GET", "/me", &both, "").await.challenge(), (400, TWO));
    let form =
        format!("grant_type=refresh_token&refresh_token={}", fixture.login().await.refresh_token);
    let headers = [
        ("cookie", &*cookie),
        ("sec-fetch-site", "same-origin"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let answer = fixture.ask("POST", "/auth/refresh", &headers, &form).await;
    assert_eq!(answer.error(), (400, "invalid_request".into()));
    // Planted by another host of the domain, beside the real one.
    let planted = format!("{cookie}; __Host-access={token}");
    assert_eq!(
        fixture.ask("GET", "/me", &[("cookie", &planted)], "").await.challenge(),
        (400, TWO)
    );
    for other in ["x__Host-access=a; ", "__Host-accessory=a; ", "__Host-access; ", "\"; "] {
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
    for origin in [
        "",
        "app.example",
        "https://",
        "https://app.example/",
        "https://APP.example",
        "null",
        "*",
        "http://app.example",
        "https://app.example:443",
        "https://[",
        "https://a@b",
        "https://a b",
        "http://localhost:80",
        "https://app.example:",
        "ftp://localhost",
    ] {
        assert_eq!(cookies().allow_origin(origin).err(), Some(CookieError::Origin), "{origin:?}");
    }
    assert!(Cookies::new("/").is_ok() && cookies().named("shop-2").is_ok());
    for origin in ["http://localhost:8080", "https://app.example:8443", "https://[::1]:8443"] {
        assert!(cookies().allow_origin(origin).is_ok(), "{origin}");
    }
}

#[tokio::test]
async fn nothing_printed_shows_a_token() {
    let fixture = Fixture::with_cookies();
    let tokens = fixture.login().await;
    let printed = format!("{:?} {:?}", cookies().set(&tokens).unwrap(), fixture.app.guard);
    for token in [&tokens.access_token, &tokens.refresh_token] {
        assert!(!printed.contains(&token[..20]));
    }
    let answer = Answer::of(tokens.clone().into_response()).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.json()["refresh_token"], json!(tokens.refresh_token));
}

/// Ten thousand requests over one connection, whose headers, cookies and forms are nonsense, or nearly right.
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

/// Requests that HTTP takes, with values that nobody else does; the same with each run.
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
                "cookie: __Host-access=",
                "cookie: __Secure-refresh=",
                "cookie: a=b; __Host-access=",
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
