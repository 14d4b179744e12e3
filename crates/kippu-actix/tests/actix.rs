//! The differences of actix-web from other frameworks. `tests/frameworks` has the tests that are
//! the same for all.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{error::Error, sync::Arc};

use actix_web::{
    App, HttpResponse, HttpServer,
    dev::Service,
    http::header::{HeaderName, HeaderValue},
    test::{self, TestRequest},
    web::{self, Data},
};
use kippu::{
    Key,
    session::{AccessVerifier, MemoryStore, NoClaims, Session, SessionError, Sessions},
};
use kippu_actix::{
    Access, Cookies, GrantError, Guard, GuardMiddleware, Head, Live, Optional, Rejection,
    SessionRoutes, actix_web, session_routes, with_cookies,
};

fn sessions() -> Arc<Sessions<MemoryStore>> {
    let sessions = Sessions::builder(MemoryStore::new(10))
        .issuer("https://auth.example")
        .audience("api")
        .client("web")
        .access_key(Key::hs256([1; 32]).unwrap())
        .refresh_key(Key::hs256([2; 32]).unwrap().with_kid("2026-11"))
        .max_access_token_len(Cookies::MAX_ACCESS_TOKEN_LEN)
        .unwrap();
    Arc::new(sessions.build().unwrap())
}

async fn me(token: Access<NoClaims>) -> String {
    token.subject.clone()
}

async fn live(token: Live<NoClaims>) -> String {
    token.subject.clone()
}

async fn maybe(Optional(token): Optional<Access<NoClaims>>) -> String {
    token.map_or_else(|| "nobody".into(), |token| token.subject.clone())
}

#[actix_web::test]
async fn an_application_without_a_guard_says_how_to_add_one() {
    let app = App::new()
        .route("/me", web::get().to(me))
        .route("/live", web::get().to(live))
        .route("/maybe", web::get().to(maybe));
    let app = test::init_service(app).await;
    for path in ["/me", "/live", "/maybe"] {
        let request = TestRequest::get().uri(path).to_request();
        let answer = app.call(request).await.unwrap();
        assert_eq!(answer.status(), 500, "{path}");
        let error = answer.response().error().unwrap();
        assert!(error.to_string().contains(".app_data(web::Data::new(guard.clone()))"), "{error}");
    }
}

/// Each scope can have its own guard.
#[actix_web::test]
async fn the_guard_of_the_innermost_scope_counts() {
    let sessions = sessions();
    let other = AccessVerifier::new(Key::hs256([3; 32]).unwrap(), "https://auth.example", "api");
    let inner =
        web::scope("/inner").app_data(Data::new(Guard::new(other))).route("/me", web::get().to(me));
    let guard = Guard::for_sessions(&sessions);
    let app = App::new()
        .app_data(Data::new(guard.clone()))
        .route("/me", web::get().to(me))
        .service(inner)
        .wrap(GuardMiddleware(guard.layer::<NoClaims>()));
    let app = test::init_service(app).await;
    let token = sessions.login("alice", &NoClaims {}).await.unwrap().access_token;
    // The token that the middleware has verified is not one of the inner guard.
    for (path, status) in [("/me", 200), ("/inner/me", 401)] {
        let bearer = ("authorization", format!("Bearer {token}"));
        let request = TestRequest::get().uri(path).insert_header(bearer).to_request();
        assert_eq!(app.call(request).await.unwrap().status(), status, "{path}");
    }
}

/// The documentation says so: actix-web makes `None` of every error.
#[actix_web::test]
async fn option_accepts_an_invalid_token_as_none_and_optional_does_not() {
    let guard = Guard::for_sessions(&sessions());
    let option = async |token: Option<Access<NoClaims>>| {
        token.map_or_else(|| "nobody".to_owned(), |token| token.subject.clone())
    };
    let app = App::new()
        .app_data(Data::new(guard))
        .route("/option", web::get().to(option))
        .route("/maybe", web::get().to(maybe));
    let app = test::init_service(app).await;
    for (path, status) in [("/option", 200), ("/maybe", 401)] {
        let bearer = ("authorization", "Bearer a.b.c");
        let request = TestRequest::get().uri(path).insert_header(bearer).to_request();
        assert_eq!(app.call(request).await.unwrap().status(), status, "{path}");
    }
}

/// `http` 0.2 accepts a header name that `http` 1 does not.
#[actix_web::test]
async fn a_header_name_with_a_quotation_mark_is_left_out() {
    let name = HeaderName::from_bytes(b"a\"b").unwrap();
    let request = TestRequest::post()
        .uri("https://api.example/path/%41?query")
        .append_header((name, "x"))
        .append_header(("accept", "one"))
        .append_header(("accept", "two"))
        .append_header(("x-opaque", HeaderValue::from_bytes(b"\xff").unwrap()))
        .to_http_request();
    let head = Head::from(&request);
    assert_eq!(head.headers.keys_len(), 2);
    assert_eq!(head.headers.get_all("accept").iter().collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(head.headers["x-opaque"].as_bytes(), b"\xff");
    assert_eq!(head.method, http::Method::POST);
    assert_eq!(head.uri, "https://api.example/path/%41?query");
}

/// The routes within other scopes, and at the root.
#[actix_web::test]
async fn session_routes_are_mounted_anywhere() {
    let sessions = sessions();
    let guard = Guard::for_sessions(&sessions);
    let users = Arc::new(vec!["alice".to_owned()]);
    let authorize = async move |session: Session| {
        Ok::<_, std::io::Error>(users.contains(&session.subject).then_some(NoClaims {}))
    };
    let routes = SessionRoutes::new(Arc::clone(&sessions), guard, authorize);
    let token = sessions.login("alice", &NoClaims {}).await.unwrap().access_token;
    let app = App::new()
        .service(web::scope("/a b").service(session_routes("/auth/", routes.clone())))
        .service(web::scope("/{tenant}/v1").service(session_routes("/auth", routes.clone())))
        .service(session_routes("/", routes));
    let app = test::init_service(app).await;
    for (path, status) in [
        ("/sessions", 200),
        ("/a%20b/auth/sessions", 200),
        ("/one/v1/auth/sessions?after=x", 400),
        ("/%6fne/v1/auth/sessions", 200),
        ("/one/v1/%61uth/sessions", 200),
        ("/one/v1/auth/%73essions", 404),
        ("/one/v1/auth", 404),
        ("/one/v1/auth/", 404),
        ("/one/v1/auth//sessions", 404),
        ("/one/v1/authsessions", 404),
        ("/auth/sessions", 404),
        ("/", 404),
    ] {
        let bearer = ("authorization", format!("Bearer {token}"));
        let request = TestRequest::get().uri(path).insert_header(bearer).to_request();
        assert_eq!(app.call(request).await.unwrap().status(), status, "{path}");
    }
}

/// HTTP/2 has the host in the URI. A browser without Fetch Metadata sends `Origin`.
#[actix_web::test]
async fn session_routes_know_the_host_of_http_2() {
    let sessions = sessions();
    let guard = Guard::for_sessions(&sessions).cookies(Cookies::new("/auth").unwrap()).unwrap();
    let head = TestRequest::post().insert_header(("sec-fetch-site", "same-origin"));
    let head = Head::from(&head.to_http_request());
    let cookies = guard.set_cookies(&head, sessions.login("alice", &NoClaims {})).await.unwrap();
    let cookies: Vec<_> = cookies
        .into_values()
        .map(|value| value.to_str().unwrap().split(';').next().unwrap().to_owned())
        .collect();
    let authorize = async |_: Session| Ok::<_, std::io::Error>(Some(NoClaims {}));
    let routes = SessionRoutes::new(sessions, guard, authorize);
    let app = test::init_service(App::new().service(session_routes("/auth", routes))).await;
    for (origin, status) in [("https://evil.example", 403), ("https://shop.example", 200)] {
        let request = TestRequest::post()
            .uri("https://shop.example/auth/refresh")
            .insert_header(("cookie", cookies.join("; ")))
            .insert_header(("origin", origin));
        let answer = app.call(request.to_request()).await.unwrap();
        assert_eq!(answer.status(), status, "{origin}");
    }
}

#[actix_web::test]
async fn cookies_are_added_to_any_response_and_taken_out_again() {
    let sessions = sessions();
    let guard = Guard::for_sessions(&sessions).cookies(Cookies::new("/auth").unwrap()).unwrap();
    let head = Head::from(
        &TestRequest::post().insert_header(("sec-fetch-site", "same-origin")).to_http_request(),
    );
    let cookies = guard.set_cookies(&head, sessions.login("alice", &NoClaims {})).await.unwrap();
    let response = with_cookies(HttpResponse::Ok().body("welcome"), cookies);
    let set: Vec<_> = response.headers().get_all("set-cookie").collect();
    assert_eq!(set.len(), 3);
    assert!(set.iter().all(|value| value.is_sensitive()), "a log would show a token");
    assert_eq!(response.headers().get("cache-control").unwrap(), "no-store");
    assert!(!format!("{response:?}").contains("eyJ"));
    let cleared = with_cookies(HttpResponse::Ok(), Cookies::new("/auth").unwrap().clear());
    let names: Vec<_> = cleared.headers().get_all("set-cookie").collect();
    assert_eq!(names.len(), 6, "the old names, too: {names:?}");
}

/// A `main` that returns an error prints it by `Debug`.
#[test]
fn errors_have_the_words_of_kippu_web_and_their_causes() {
    let rejection = Rejection::from(SessionError::InvalidToken);
    let inner = kippu_web::Rejection::from(SessionError::InvalidToken);
    assert_eq!(rejection.to_string(), inner.to_string());
    assert_eq!(format!("{rejection:?}"), format!("{inner:?}"));
    let grant = GrantError::from(SessionError::Authorize("the database is away".into()));
    assert_eq!(grant.to_string(), SessionError::Authorize("".into()).to_string());
    let source = grant.source().map(ToString::to_string);
    assert_eq!(source.as_deref(), Some("the database is away"));
}

#[test]
fn an_application_is_made_for_each_worker() {
    let sessions = sessions();
    let guard = Guard::for_sessions(&sessions);
    let pool = Arc::new("a pool of connections".to_owned());
    let authorize = async move |session: Session| load(&pool, session).await;
    let routes = SessionRoutes::new(sessions, guard.clone(), authorize);
    let _ = HttpServer::new(move || {
        App::new()
            .app_data(Data::new(guard.clone()))
            .service(session_routes("/auth", routes.clone()))
            .wrap(GuardMiddleware(guard.layer::<NoClaims>().exempt("/auth/*")))
    });
}

async fn load(_: &str, _: Session) -> Result<Option<NoClaims>, std::io::Error> {
    std::future::ready(()).await;
    Ok(Some(NoClaims {}))
}
