//! The names and the attributes of cookies, for each setting; the names of earlier versions; the
//! settings that are refused.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{io, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{FromRef, State},
    http::{Request, header::SET_COOKIE, request::Parts},
    response::IntoResponse,
    routing::{any, post},
};
use kippu::session::{Login, MemoryStore, NoClaims, Session, Sessions, testing::TestSessions};
use kippu_test_support::log;
use kippu_web::{Access, CookieError, Cookies, Guard, Rejection, SessionRoutes, SetCookies};
use tower::ServiceExt;

fn plain() -> Cookies {
    Cookies::new("/auth").unwrap()
}

fn texts(set: SetCookies) -> Vec<String> {
    set.into_values().map(|value| value.to_str().unwrap().to_owned()).collect()
}

/// The first three cookies that take the tokens out again, as `name attributes`.
fn described(cookies: &Cookies) -> Vec<String> {
    let cleared = texts(cookies.clear()).into_iter().take(3);
    cleared.map(|text| text.replacen("=; ", " ", 1).replace(" Max-Age=0;", "")).collect()
}

#[test]
fn each_setting_has_its_names_and_attributes() {
    const OWN: &str = "Path=/; Secure; HttpOnly;";
    const CONFINED: &str = "Path=/auth; Secure; HttpOnly;";
    let shop = plain().named("shop").unwrap();
    for (cookies, expected) in [
        (
            plain(),
            [
                format!("__Host-Http-access {OWN} SameSite=Strict"),
                format!("__Http-refresh {CONFINED} SameSite=Strict"),
                "__Host-csrf Path=/; Secure; SameSite=Strict".into(),
            ],
        ),
        (
            shop.clone().lax(),
            [
                format!("__Host-Http-shop-access {OWN} SameSite=Lax"),
                format!("__Http-shop-refresh {CONFINED} SameSite=Strict"),
                "__Host-shop-csrf Path=/; Secure; SameSite=Strict".into(),
            ],
        ),
        (
            plain().lax().to_every_path(),
            [
                format!("__Host-Http-access {OWN} SameSite=Lax"),
                format!("__Host-Http-refresh {OWN} SameSite=Lax"),
                "__Host-csrf Path=/; Secure; SameSite=Lax".into(),
            ],
        ),
        (
            plain().to_every_path(),
            [
                format!("__Host-Http-access {OWN} SameSite=Strict"),
                format!("__Host-Http-refresh {OWN} SameSite=Strict"),
                "__Host-csrf Path=/; Secure; SameSite=Strict".into(),
            ],
        ),
        (
            plain().same_site_none().unwrap(),
            [
                format!("__Host-Http-access {OWN} SameSite=None"),
                format!("__Http-refresh {CONFINED} SameSite=None"),
                "__Host-csrf Path=/; Secure; SameSite=None".into(),
            ],
        ),
        (
            plain().partitioned().unwrap().named("shop").unwrap().to_every_path(),
            [
                format!("__Host-Http-partitioned-shop-access {OWN} SameSite=None; Partitioned"),
                format!("__Host-Http-partitioned-shop-refresh {OWN} SameSite=None; Partitioned"),
                "__Host-partitioned-shop-csrf Path=/; Secure; SameSite=None; Partitioned".into(),
            ],
        ),
        (
            Cookies::insecure_for_development("/auth", "http://devbox:8080").unwrap(),
            [
                "insecure-access Path=/; HttpOnly; SameSite=Strict".into(),
                "insecure-refresh Path=/auth; HttpOnly; SameSite=Strict".into(),
                "insecure-csrf Path=/; SameSite=Strict".into(),
            ],
        ),
    ] {
        assert_eq!(described(&cookies), expected);
    }
}

/// Browsers demand some attributes for a name with a prefix, for `SameSite=None` and for
/// `Partitioned` (RFC 6265bis §5.7, CHIPS). They drop any other cookie without an error.
#[test]
fn browsers_accept_every_cookie_that_is_set_or_cleared() {
    let path = "/auth";
    let insecure = || Cookies::insecure_for_development(path, "http://192.168.1.7:8080").unwrap();
    let bases: [fn() -> Cookies; 5] = [
        plain,
        || plain().lax(),
        || plain().same_site_none().unwrap(),
        || plain().partitioned().unwrap(),
        || plain().forget_old_names(),
    ];
    let bases = bases.into_iter().map(|base| base()).chain([insecure(), insecure().lax()]);
    for base in bases {
        for cookies in [base.clone(), base.clone().to_every_path(), base.named("shop").unwrap()] {
            for cookie in texts(cookies.clear()) {
                let parts: Vec<&str> = cookie.split("; ").collect();
                let has = |attribute: &str| parts.contains(&attribute);
                let is_named = |prefix: &str| cookie.starts_with(prefix);
                if is_named("__") {
                    assert!(has("Secure"), "{cookie}");
                }
                if is_named("__Host-") {
                    assert!(has("Path=/") && !cookie.contains("Domain"), "{cookie}");
                }
                if is_named("__Http-") || is_named("__Host-Http-") {
                    assert!(has("HttpOnly"), "{cookie}");
                }
                if has("SameSite=None") || has("Partitioned") {
                    assert!(has("Secure") && has("SameSite=None"), "{cookie}");
                }
                assert_eq!(has("Secure"), !is_named("insecure-"), "{cookie}");
                assert_eq!(has("HttpOnly"), !cookie.contains("csrf="), "{cookie}");
            }
        }
    }
}

#[derive(Clone, FromRef)]
struct App {
    guard: Guard,
    sessions: Arc<Sessions<MemoryStore>>,
}

struct Server {
    router: Router,
    test: TestSessions,
    guard: Guard,
}

impl Server {
    fn with(cookies: Cookies) -> Self {
        let test = TestSessions::new();
        let guard = Guard::for_sessions(test.sessions()).cookies(cookies).unwrap();
        let authorize = async |_: Session| Ok::<_, io::Error>(Some(NoClaims {}));
        let session_routes =
            SessionRoutes::new(Arc::clone(test.sessions()), guard.clone(), authorize);
        let router = Router::new()
            .route("/me", any(async |token: Access<NoClaims>| token.subject.clone()))
            .route("/login", post(login))
            .nest_service("/auth", session_routes)
            .with_state(App { guard: guard.clone(), sessions: Arc::clone(test.sessions()) });
        Self { router, test, guard }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await;
        let (parts, body) = response.unwrap().into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let set = parts.headers.get_all(SET_COOKIE).iter();
        Answer {
            status: parts.status.as_u16(),
            set: set.map(|value| value.to_str().unwrap().to_owned()).collect(),
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    /// The values of the cookies of a login: access, refresh, CSRF.
    async fn login(&self, subject: &str) -> [String; 3] {
        let (request, ()) = Request::post("/").header(OWN.0, OWN.1).body(()).unwrap().into_parts();
        let tokens = self.test.login(Login::new(subject), &NoClaims {});
        let set = self.guard.set_cookies(&request, async { Ok(tokens) }).await.unwrap();
        let values = texts(set)
            .into_iter()
            .map(|text| text.split(';').next().unwrap().split_once('=').unwrap().1.to_owned());
        values.collect::<Vec<_>>().try_into().unwrap()
    }
}

async fn login(State(app): State<App>, request: Parts) -> Result<impl IntoResponse, Rejection> {
    let login = app.sessions.login("alice", &NoClaims {});
    Ok((app.guard.set_cookies(&request, login).await?, ""))
}

struct Answer {
    status: u16,
    set: Vec<String>,
    body: String,
}

impl Answer {
    fn names(&self) -> Vec<&str> {
        self.set.iter().map(|cookie| cookie.split('=').next().unwrap()).collect()
    }

    fn gone(&self) -> Vec<&str> {
        let gone = self.set.iter().filter(|cookie| cookie.contains("=; "));
        gone.map(|cookie| cookie.split('=').next().unwrap()).collect()
    }
}

const OWN: (&str, &str) = ("sec-fetch-site", "same-origin");
const CURRENT: [&str; 3] = ["__Host-Http-access", "__Http-refresh", "__Host-csrf"];

/// After an upgrade a session goes on with the cookies that an earlier version set, and the next
/// step of any kind replaces them.
#[tokio::test]
async fn sessions_continue_with_the_names_of_earlier_versions() {
    for step in ["refresh", "login", "logout"] {
        let server = Server::with(plain());
        let [access, refresh, csrf] = server.login("alice").await;
        let old = format!("__Host-access={access}; __Secure-refresh={refresh}; __Host-csrf={csrf}");
        let headers = [("cookie", &*old), OWN];
        assert_eq!(server.ask("GET", "/me", &headers).await.body, "alice");
        assert_eq!(server.ask("POST", "/me", &headers).await.body, "alice");
        if step == "logout" {
            let answer = server.ask("POST", "/auth/logout", &headers).await;
            let old = ["__Host-access", "__Host-Http-refresh", "__Secure-refresh"];
            assert_eq!((answer.status, answer.gone()), (204, [CURRENT, old].concat()));
            let list = server.test.sessions().list("alice").await.unwrap().sessions;
            assert_eq!(list.len(), 0);
        } else {
            let path = if step == "login" { "/login" } else { "/auth/refresh" };
            let answer = server.ask("POST", path, &headers).await;
            assert_eq!(answer.status, 200, "{step}: {}", answer.body);
            assert_eq!(answer.names()[..3], CURRENT, "{step}");
            assert_eq!(answer.gone(), ["__Host-access", "__Secure-refresh"], "{step}");
        }
    }
    // A browser without old cookies is not bothered with them.
    let server = Server::with(plain());
    let [access, refresh, csrf] = server.login("alice").await;
    let new = format!("{}={access}; {}={refresh}; {}={csrf}", CURRENT[0], CURRENT[1], CURRENT[2]);
    let headers = [("cookie", &*new), OWN];
    assert_eq!(server.ask("POST", "/auth/refresh", &headers).await.names(), CURRENT);
}

/// A script of the page can set the old names, and in an old browser another host can set some. The
/// cookies of the new names hide them.
#[tokio::test]
async fn a_cookie_of_an_old_name_that_was_planted_is_ignored_beside_the_new_one() {
    let server = Server::with(plain());
    let [access, refresh, csrf] = server.login("alice").await;
    let [evil_access, evil_refresh, _] = server.login("mallory").await;
    let own = format!("__Host-Http-access={access}; __Http-refresh={refresh}; __Host-csrf={csrf}");
    for planted in [
        format!("__Host-access={evil_access}; {own}"),
        format!("{own}; __Host-access={evil_access}; __Host-access=x"),
        format!("__Host-access=\u{e4}; {own}; __Secure-refresh={evil_refresh}"),
        format!("__Secure-refresh={evil_refresh}; __Secure-refresh={refresh}; {own}"),
    ] {
        let headers = [("cookie", &*planted), OWN];
        assert_eq!(server.ask("POST", "/me", &headers).await.body, "alice", "{planted}");
        let answer = server.ask("POST", "/auth/refresh", &headers).await;
        assert_eq!(answer.status, 200, "{planted}");
        let token = answer.set[0].split(['=', ';']).nth(1).unwrap().to_owned();
        let token = server.test.sessions().verify::<NoClaims>(&token).unwrap();
        assert_eq!(token.subject, "alice", "{planted}");
    }
    // Two of one name are still two credentials, and a refresh token that is not bound is refused.
    let two = format!("__Host-Http-access={evil_access}; {own}");
    assert_eq!(server.ask("POST", "/me", &[("cookie", &two), OWN]).await.status, 400);
    let two = format!("__Host-access={evil_access}; __Host-access={access}");
    assert_eq!(server.ask("POST", "/me", &[("cookie", &two), OWN]).await.status, 400);
    let unbound = format!("__Secure-refresh={evil_refresh}; __Host-csrf={csrf}");
    let answer = server.ask("POST", "/auth/refresh", &[("cookie", &unbound), OWN]).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn old_names_can_be_forgotten() {
    let server = Server::with(plain().forget_old_names());
    let [access, refresh, csrf] = server.login("alice").await;
    let old = format!("__Host-access={access}; __Secure-refresh={refresh}; __Host-csrf={csrf}");
    let headers = [("cookie", &*old), OWN];
    assert_eq!(server.ask("GET", "/me", &headers).await.status, 401);
    assert_eq!(server.ask("POST", "/auth/refresh", &headers).await.status, 400);
    let answer = server.ask("POST", "/auth/logout", &headers).await;
    assert_eq!((answer.status, answer.gone()), (400, CURRENT.to_vec()));
}

#[tokio::test]
async fn old_names_keep_the_name_of_the_application() {
    let server = Server::with(plain().named("shop").unwrap());
    let [access, ..] = server.login("alice").await;
    for (name, status) in [("__Host-shop-access", 200), ("__Host-access", 401)] {
        let cookie = format!("{name}={access}");
        assert_eq!(server.ask("GET", "/me", &[("cookie", &cookie)]).await.status, status, "{name}");
    }
}

/// A cookie of another jar or without protection is not taken for a secure one.
#[tokio::test]
async fn the_settings_do_not_read_each_others_cookies() {
    let insecure = || Cookies::insecure_for_development("/auth", "http://devbox").unwrap();
    let settings: [(Cookies, &str); 3] = [
        (plain(), "__Host-Http-access"),
        (plain().partitioned().unwrap(), "__Host-Http-partitioned-access"),
        (insecure(), "insecure-access"),
    ];
    for (cookies, own) in settings.clone() {
        let server = Server::with(cookies);
        let [access, ..] = server.login("alice").await;
        let names = settings.iter().map(|(_, name)| (*name, *name == own));
        let old = ("__Host-access", own == "__Host-Http-access");
        for (name, is_read) in names.chain([old]) {
            let cookie = format!("{name}={access}");
            let status = server.ask("GET", "/me", &[("cookie", &cookie)]).await.status;
            assert_eq!(status, if is_read { 200 } else { 401 }, "{own} reads {name}");
        }
    }
}

/// With `SameSite=None` browsers send the cookies along with requests of other sites: only the
/// check of the request is left.
#[tokio::test]
async fn a_request_of_another_site_is_refused_without_same_site_too() {
    for cookies in [plain().same_site_none().unwrap(), plain().partitioned().unwrap()] {
        let names = texts(cookies.clear());
        let server = Server::with(cookies);
        let values = server.login("alice").await;
        let pairs = names.iter().zip(&values);
        let pairs =
            pairs.map(|(name, value)| format!("{}={value}", name.split('=').next().unwrap()));
        let cookie = pairs.collect::<Vec<_>>().join("; ");
        for path in ["/me", "/auth/refresh", "/auth/logout", "/login"] {
            for headers in [
                &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")][..],
                &[("sec-fetch-site", "same-site")],
                &[("origin", "https://evil.example"), ("host", "shop.example")],
                &[("origin", "null")],
                &[],
            ] {
                let headers = [headers, &[("cookie", &*cookie)]].concat();
                let answer = server.ask("POST", path, &headers).await;
                assert_eq!((answer.status, answer.set.len()), (403, 0), "{path} {headers:?}");
            }
        }
        // The page within the frame is of this origin.
        let answer = server.ask("POST", "/auth/refresh", &[("cookie", &cookie), OWN]).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

#[tokio::test]
async fn insecure_cookies_work_over_http_to_another_machine() {
    for page in ["http://192.168.1.7:8080", "http://devbox", "http://[fe80::1]:3000"] {
        let server = Server::with(Cookies::insecure_for_development("/auth", page).unwrap());
        let answer = server.ask("POST", "/login", &[("origin", page)]).await;
        assert_eq!((answer.status, answer.set.len()), (200, 3), "{page}");
        let pairs = answer.set.iter().map(|cookie| cookie.split(';').next().unwrap());
        let cookie = pairs.collect::<Vec<_>>().join("; ");
        for (origin, status) in [(page, 200), ("http://192.168.1.8", 403), ("null", 403)] {
            let headers = [("cookie", &*cookie), ("origin", origin)];
            assert_eq!(server.ask("POST", "/me", &headers).await.status, status, "{origin}");
        }
        assert_eq!(server.ask("GET", "/me", &[("cookie", &cookie)]).await.body, "alice");
        let headers = [("cookie", &*cookie), ("origin", page)];
        assert_eq!(server.ask("POST", "/auth/refresh", &headers).await.status, 200);
    }
}

#[test]
fn insecure_cookies_refuse_https() {
    let insecure = |page: &str| Cookies::insecure_for_development("/auth", page);
    for page in ["https://192.168.1.7", "https://devbox:8443/", "HTTPS://devbox", "https://x"] {
        let error = insecure(page).unwrap_err();
        assert_eq!(error, CookieError::InsecureHttps { given: page.into() });
        assert_eq!(
            error.to_string(),
            format!(
                "{page:?} has HTTPS, and insecure cookies are for plain HTTP in development: use \
                 Cookies::new instead of Cookies::insecure_for_development"
            )
        );
    }
    for page in ["", "devbox:8080", "http://devbox:8080/", "http://", "http://devbox:80", "ftp://x"]
    {
        let error = insecure(page).unwrap_err();
        assert!(matches!(error, CookieError::Origin { .. }), "{page}: {error}");
    }
    let path = Cookies::insecure_for_development("auth", "http://devbox").unwrap_err();
    assert_eq!(path, CookieError::Path);
    log::prepare();
    let log = log::Log::default();
    let guard = tracing::subscriber::set_default(log.clone());
    let cookies = insecure("http://devbox:8080").unwrap();
    drop(guard);
    assert!(log.text().contains("cookies are insecure"), "the operator is not warned");
    let https = cookies.clone().allow_origin("https://devbox").unwrap_err();
    assert!(matches!(https, CookieError::InsecureHttps { .. }), "{https}");
    assert!(cookies.clone().allow_origin("http://10.0.0.7:8080").is_ok());
    // The default stays strict.
    assert!(plain().allow_origin("http://10.0.0.7:8080").is_err());
    for refused in [cookies.clone().same_site_none(), cookies.partitioned()] {
        assert_eq!(refused.unwrap_err(), CookieError::InsecureCrossSite);
    }
}
