//! Handlers are tested without a login.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;

use axum::{Router, body::Body, http::StatusCode, routing::get};
use kippu::session::{
    NoClaims, Session,
    testing::{TestSessions, TestToken},
};
use kippu_web::{Access, Cookies, Guard, Live, Rejection, SessionRoutes, testing::TestClient};
use tower::ServiceExt;

fn app(guard: Guard) -> Router {
    let hello = async |token: Access<NoClaims>| format!("Hello {}!", token.subject);
    let live = async |token: Live<NoClaims>| token.subject.clone();
    Router::new()
        .route("/hello", get(hello).post(hello))
        .route("/live", get(live))
        .with_state(guard)
}

#[tokio::test]
async fn hello_greets_the_user() {
    let test = TestSessions::new();
    let client = TestClient::bearer(&test.token(&TestToken::new("alice")));
    let request = client.get("/hello").body(Body::empty()).unwrap();
    let answer = app(Guard::for_sessions(test.sessions())).oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[test]
fn the_test_in_the_readme_is_the_one_above() {
    let source = include_str!("testing.rs");
    let start = source.find("#[tokio::test]").unwrap();
    let length = source[start..].find("\n}\n").unwrap() + 3;
    let test = &source[start..start + length];
    assert_eq!(test.lines().count(), 8);
    assert!(include_str!("../README.md").contains(&format!("```rust\n{test}```\n")));
}

#[tokio::test]
async fn a_browser_of_a_test_sends_its_cookies_as_others_do() {
    let test = TestSessions::new();
    let guard =
        Guard::for_sessions(test.sessions()).cookies(Cookies::new("/auth").unwrap()).unwrap();
    let authorize = async |_: Session| Ok::<_, io::Error>(Some(NoClaims {}));
    let routes = SessionRoutes::new(test.sessions().clone(), guard.clone(), authorize);
    let app = app(guard.clone()).nest_service("/auth", routes);
    let browser = TestClient::cookies(&guard, &test.login("alice", &NoClaims {}));
    let names = |path: &str| {
        let request = browser.get(path).body(()).unwrap();
        let cookies = request.headers().get_all("cookie").iter();
        let names =
            cookies.map(|pair| pair.to_str().unwrap().split('=').next().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names("/hello"), ["__Host-Http-access", "__Host-csrf"]);
    assert_eq!(names("/auth/sessions?x"), ["__Host-Http-access", "__Http-refresh", "__Host-csrf"]);
    assert_eq!(names("/authors"), ["__Host-Http-access", "__Host-csrf"]);
    for request in [
        browser.get("/hello"),
        browser.post("/hello"),
        browser.get("/live"),
        browser.get("/auth/sessions"),
        browser.post("/auth/refresh"),
    ] {
        let request = request.body(Body::empty()).unwrap();
        let asked = format!("{} {}", request.method(), request.uri());
        let answer = app.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{asked}");
    }
    let mut forged = browser.post("/hello").body(Body::empty()).unwrap();
    forged.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
    assert_eq!(app.clone().oneshot(forged).await.unwrap().status(), StatusCode::FORBIDDEN);
    let request = browser.get("/hello").body(()).unwrap().into_parts().0;
    test.clock().advance(std::time::Duration::from_secs(16 * 60));
    let expired = guard.authenticate::<NoClaims>(&request).unwrap_err();
    assert!(matches!(expired, Rejection::InvalidToken(_)), "{expired}");
    assert!(!format!("{browser:?}").contains("eyJ"), "it shows its token");
}
