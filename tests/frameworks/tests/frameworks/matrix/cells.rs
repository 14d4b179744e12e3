//! The requests to a server over HTTP, and its answers: a function for each row of the table.

use std::sync::Arc;

use kippu::session::{EndedOptions, EndedSessions, SessionId, StoreErrorKind};
use kippu_web::{Cookies, Guard};
use serde_json::{Value, json};

use super::{
    App, Serve,
    client::{Answer, CROSS_SITE, Client, FORM, SAME_ORIGIN},
    signed, token_with, verifier,
};
use crate::Claims;

const ENDED: &str = r#"Bearer error="invalid_token", error_description="the session has ended""#;
const EXPIRED: &str =
    r#"Bearer error="invalid_token", error_description="the access token has expired""#;
const INVALID: &str =
    r#"Bearer error="invalid_token", error_description="the access token is not valid""#;
const SCOPE: &str = "Bearer error=\"insufficient_scope\", \
                     error_description=\"the access token is not good for this\", scope=\"write\"";
const RECENT: &str = "Bearer error=\"insufficient_user_authentication\", \
                      error_description=\"the user has to authenticate again\", max_age=\"300\"";

/// RFC 6750.
pub(super) async fn bearer(serve: Serve) {
    let app = App::new();
    let client = app.serve(serve).await;
    let tokens = app.login().await;
    let token = &*tokens.access_token;
    for path in ["/me", "/maybe", "/live", "/layer/plain", "/layer/live"] {
        let answer = client.get(path, token).await;
        assert_eq!((answer.status, &*answer.body), (200, "alice"), "{path}");
    }
    let expired = token_with(&tokens, -7200, -3600);
    let [header, payload, _] = &*token.split('.').collect::<Vec<_>>() else { panic!("{token}") };
    let forged = format!("{header}.{payload}.{}", "A".repeat(43));
    for path in ["/me", "/live", "/layer/plain", "/layer/live"] {
        let cookie = ("cookie", &*format!("__Host-Http-access={token}"));
        for headers in [&[][..], &[("authorization", "Basic YTpi")], &[cookie]] {
            let answer = client.ask("GET", path, headers, "").await;
            assert_eq!(answer.challenge(), (401, "Bearer"), "{path}");
            assert_eq!(answer.body, "");
        }
        let in_url = client.ask("GET", &format!("{path}?access_token={token}"), &[], "").await;
        assert_eq!(in_url.challenge(), (401, "Bearer"), "{path}");
        let answer = client.get(path, &expired).await;
        assert_eq!(answer.challenge(), (401, EXPIRED), "{path}");
        assert_eq!(answer.error(), (401, "invalid_token".into()));
        for token in [&*forged, "a.b.c", &"a".repeat(30_000)] {
            assert_eq!(client.get(path, token).await.challenge(), (401, INVALID), "{path}");
        }
        let bearer = ("authorization", &*format!("Bearer {token}"));
        let twice = client.ask("GET", path, &[bearer, bearer], "").await;
        assert_eq!(twice.error(), (400, "invalid_request".into()), "{path}");
        for value in ["Bearer a b", "Bearer", "Bearer \u{e4}"] {
            let answer = client.ask("GET", path, &[("authorization", value)], "").await;
            assert_eq!(answer.error(), (400, "invalid_request".into()), "{path} {value}");
        }
    }
}

/// A request without a token passes; an invalid token is rejected all the same.
pub(super) async fn optional(serve: Serve) {
    let app = App::with_cookies();
    let client = app.serve(serve).await;
    let tokens = app.login().await;
    let expired = token_with(&tokens, -7200, -3600);
    for path in ["/maybe", "/maybe_live"] {
        let answer = client.ask("GET", path, &[], "").await;
        assert_eq!((answer.status, &*answer.body), (200, "nobody"), "{path}");
        assert_eq!(client.get(path, &tokens.access_token).await.body, "alice");
        assert_eq!(client.get(path, &expired).await.challenge(), (401, EXPIRED), "{path}");
        let malformed = client.ask("GET", path, &[("authorization", "Bearer a b")], "").await;
        assert_eq!(malformed.status, 400, "{path}");
    }
    app.sessions.logout(&tokens.refresh_token).await.unwrap();
    assert_eq!(client.get("/maybe", &tokens.access_token).await.body, "alice");
    let answer = client.get("/maybe_live", &tokens.access_token).await;
    assert_eq!(answer.challenge(), (401, ENDED));
}

/// The cookies of a login in a browser.
async fn login(client: &Client) -> String {
    let answer = client.ask("POST", "/login", &[SAME_ORIGIN], "").await;
    assert_eq!(answer.status, 204);
    answer.cookies()
}

fn cookie_of<'c>(cookies: &'c str, kind: &str) -> &'c str {
    let mut pairs = cookies.split("; ").filter(|pair| pair.contains(kind));
    pairs.next().unwrap_or_else(|| panic!("{cookies} has no {kind}"))
}

pub(super) async fn cookie(serve: Serve) {
    let app = App::with_cookies();
    let client = app.serve(serve).await;
    let headers = [SAME_ORIGIN, ("user-agent", "Firefox")];
    let answer = client.ask("POST", "/login", &headers, "").await;
    assert_eq!((answer.status, answer.header("cache-control")), (204, "no-store"));
    assert_eq!(answer.set_cookies().len(), 3);
    for cookie in answer.set_cookies() {
        assert!(cookie.contains("; Secure; "), "{cookie}");
        assert_eq!(cookie.contains("HttpOnly"), !cookie.contains("csrf"), "{cookie}");
    }
    let cookies = answer.cookies();
    let label = app.sessions.list("alice").await.unwrap().sessions[0].label.clone();
    assert_eq!(label.as_deref(), Some("Firefox"));

    for path in ["/me", "/maybe", "/live", "/layer/plain", "/layer/live"] {
        let answer = client.ask("GET", path, &[("cookie", &cookies)], "").await;
        assert_eq!((answer.status, &*answer.body), (200, "alice"), "{path}");
        // One of two may be planted.
        let access = cookie_of(&cookies, "access");
        let twice = format!("{access}; {access}");
        let answer = client.ask("GET", path, &[("cookie", &twice)], "").await;
        assert_eq!(answer.error(), (400, "invalid_request".into()), "{path}");
        // An explicit token counts alone.
        let headers = [("cookie", &*cookies), ("authorization", "Bearer a.b.c")];
        let answer = client.ask("GET", path, &headers, "").await;
        assert_eq!(answer.challenge(), (401, INVALID), "{path}");
        let other = app.login_of("bob").await.access_token;
        let headers = [("cookie", &*cookies), ("authorization", &*format!("Bearer {other}"))];
        assert_eq!(client.ask("GET", path, &headers, "").await.body, "bob", "{path}");
    }
}

/// A request that a page of another site made the browser send.
pub(super) async fn csrf(serve: Serve) {
    let allowed = "https://app.example";
    let cookies = Cookies::new("/auth").unwrap().allow_origin(allowed).unwrap();
    let mut app = App::new();
    app.guard = app.guard.cookies(cookies).unwrap();
    let client = app.serve(serve).await;
    let cookies = login(&client).await;
    let (_, csrf) = cookie_of(&cookies, "csrf").split_once('=').unwrap();
    let meant: &[&[(&str, &str)]] = &[
        &[SAME_ORIGIN],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "same-site"), ("origin", allowed)],
        &[("origin", allowed)],
        &[("origin", "https://api.example")],
        &[("host", "api.example:443"), ("origin", "https://api.example")],
        &[("x-csrf-token", csrf)],
    ];
    let forged: &[&[(&str, &str)]] = &[
        &[],
        &[CROSS_SITE],
        &[("sec-fetch-site", "same-site")],
        &[SAME_ORIGIN, CROSS_SITE],
        &[CROSS_SITE, ("origin", "https://api.example")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("host", "api.example:8443"), ("origin", "https://api.example")],
        &[("origin", "https://evil.example"), ("x-csrf-token", csrf)],
        &[("x-csrf-token", "AAAAAAAAAAAAAAAAAAAAAA")],
    ];
    let ask = async |method, path, headers: &[(&str, &str)]| {
        let headers = [&[("cookie", &*cookies)][..], headers].concat();
        client.ask(method, path, &headers, "").await
    };
    for headers in meant {
        assert_eq!(ask("POST", "/me", headers).await.status, 200, "{headers:?}");
    }
    for headers in forged {
        for path in ["/me", "/login", "/auth/refresh", "/auth/logout", "/auth/logout_all"] {
            let answer = ask("POST", path, headers).await;
            let refused = (answer.error(), answer.set_cookies().len());
            assert_eq!(refused, ((403, "access_denied".into()), 0), "{path} {headers:?}");
        }
        assert_eq!(ask("GET", "/me", headers).await.status, 200, "a GET changes nothing");
        // Every page may open a WebSocket.
        let upgrade = [headers, &[("connection", "upgrade"), ("upgrade", "websocket")][..]];
        assert_eq!(ask("GET", "/me", &upgrade.concat()).await.status, 403, "{headers:?}");
        // A browser adds no token to the header by itself.
        let token = app.login_of("bob").await.access_token;
        let bearer = format!("Bearer {token}");
        let with_token = [headers, &[("authorization", &*bearer)][..]].concat();
        assert_eq!(ask("POST", "/me", &with_token).await.body, "bob", "{headers:?}");
    }
    assert_eq!(app.count("alice").await, 1, "no forged login was stored");
}

pub(super) async fn live(serve: Serve) {
    let app = App::new();
    let client = app.serve(serve).await;
    let tokens = app.login().await;
    app.sessions.logout(&tokens.refresh_token).await.unwrap();
    for path in ["/live", "/layer/live", "/auth/sessions"] {
        let answer = client.get(path, &tokens.access_token).await;
        assert_eq!(answer.challenge(), (401, ENDED), "{path}");
    }
    assert_eq!(client.get("/me", &tokens.access_token).await.status, 200);

    let token = app.login().await.access_token;
    for (kind, error, retry) in [
        (StoreErrorKind::Unavailable, (503, "temporarily_unavailable"), "1"),
        (StoreErrorKind::Misconfigured, (500, "server_error"), ""),
    ] {
        app.store.outage(Some(kind));
        for path in ["/live", "/layer/live", "/auth/sessions"] {
            let answer = client.get(path, &token).await;
            assert_eq!(answer.error(), (error.0, error.1.to_owned()), "{path}");
            assert_eq!((answer.header("retry-after"), answer.challenge().1), (retry, ""));
        }
    }
    // A guard that cannot read the store.
    let mut app = App::new();
    app.guard = Guard::new(verifier());
    let client = app.serve(serve).await;
    let token = app.login().await.access_token;
    for path in ["/live", "/layer/live"] {
        let answer = client.get(path, &token).await;
        assert_eq!(answer.error(), (500, "server_error".into()), "{path}");
    }
    assert_eq!(client.get("/me", &token).await.status, 200);
}

/// A guard whose verifier follows the ended sessions.
pub(super) async fn ended(serve: Serve) {
    let mut app = App::new();
    let followed = EndedSessions::follow(Arc::clone(&app.store), EndedOptions::new());
    app.guard = Guard::new(verifier().ended_sessions(followed.clone()));
    let client = app.serve(serve).await;
    let tokens = app.login().await;
    let paths = ["/me", "/maybe", "/layer/plain"];
    for path in paths {
        // The store was not read yet.
        let answer = client.get(path, &tokens.access_token).await;
        assert_eq!(answer.error(), (503, "temporarily_unavailable".into()), "{path}");
        assert_eq!(answer.header("retry-after"), "1");
    }
    followed.poll().await.unwrap();
    for path in paths {
        assert_eq!(client.get(path, &tokens.access_token).await.status, 200, "{path}");
    }
    app.sessions.logout(&tokens.refresh_token).await.unwrap();
    followed.poll().await.unwrap();
    for path in paths {
        let answer = client.get(path, &tokens.access_token).await;
        assert_eq!(answer.challenge(), (401, ENDED), "{path}");
    }
}

pub(super) async fn scope(serve: Serve) {
    let app = App::new();
    let client = app.serve(serve).await;
    let reader = app.login().await.access_token;
    let claims = Claims { scope: "read write".into() };
    let writer = app.sessions.login("bob", &claims).await.unwrap().access_token;
    for (method, path, status) in [("POST", "/write", 204), ("GET", "/layer/scoped", 200)] {
        let ask = async |token: &str| {
            let headers = [("authorization", &*format!("Bearer {token}"))];
            client.ask(method, path, &headers, "").await
        };
        let answer = ask(&reader).await;
        assert_eq!(answer.challenge(), (403, SCOPE), "{path}");
        assert_eq!(answer.error(), (403, "insufficient_scope".into()), "{path}");
        assert_eq!(ask(&writer).await.status, status, "{path}");
    }
}

/// RFC 9470.
pub(super) async fn recent(serve: Serve) {
    let app = App::new();
    let client = app.serve(serve).await;
    let tokens = app.login().await;
    for (method, path, status) in [("POST", "/close", 204), ("GET", "/layer/recent", 200)] {
        let ask = async |authenticated: i64| {
            let token = token_with(&tokens, authenticated, 900);
            let headers = [("authorization", &*format!("Bearer {token}"))];
            client.ask(method, path, &headers, "").await
        };
        let answer = ask(-302).await;
        assert_eq!(answer.challenge(), (401, RECENT), "{path}");
        assert_eq!(answer.error(), (401, "insufficient_user_authentication".into()), "{path}");
        assert_eq!(ask(-290).await.status, status, "{path}");
    }
}

pub(super) async fn exempt(serve: Serve) {
    let app = App::new();
    let client = app.serve(serve).await;
    for headers in [&[][..], &[("authorization", "Bearer x")]] {
        let answer = client.ask("GET", "/layer/open", headers, "").await;
        assert_eq!((answer.status, &*answer.body), (200, "open"));
        let answer = client.ask("GET", "/layer/open?query", headers, "").await;
        assert_eq!((answer.status, &*answer.body), (200, "open"));
        for path in ["/layer/plain", "/layer/%6fpen"] {
            let answer = client.ask("GET", path, headers, "").await;
            assert_ne!(answer.status, 200, "{path}");
        }
    }
}

/// The answers to a login that gives out its tokens as JSON (RFC 6749 §5).
pub(super) async fn login_with_tokens(serve: Serve) {
    let app = App::new();
    let client = app.serve(serve).await;
    let login = async |user: &str| client.ask("POST", "/tokens", &[("x-user", user)], "").await;
    for _ in 0..2 {
        let answer = login("alice").await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            (answer.header("cache-control"), answer.header("pragma")),
            ("no-store", "no-cache")
        );
        let tokens = answer.json();
        assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&json!("Bearer"), &json!(900)));
        let token = tokens["access_token"].as_str().unwrap();
        assert_eq!(client.get("/me", token).await.body, "alice");
    }
    assert_eq!(login("alice").await.error(), (403, "access_denied".into()));
    assert_eq!(login("").await.error(), (400, "invalid_request".into()));
    app.store.outage(Some(StoreErrorKind::Unavailable));
    let answer = login("bob").await;
    assert_eq!(answer.error(), (503, "temporarily_unavailable".into()));
    assert_eq!(answer.header("retry-after"), "1");
}

pub(super) async fn refresh(serve: Serve) {
    let app = App::with_cookies();
    let client = app.serve(serve).await;
    let form = |token: &str| format!("grant_type=refresh_token&refresh_token={token}");
    let first = app.login().await.refresh_token;
    let answer = client.form("/auth/refresh", &form(&first)).await;
    assert_eq!(answer.status, 200);
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
    assert!(answer.set_cookies().is_empty());
    let next = answer.json();
    assert_eq!(client.get("/me", next["access_token"].as_str().unwrap()).await.status, 200);
    let second = next["refresh_token"].as_str().unwrap();
    for (body, error) in [
        (String::new(), "invalid_request"),
        (format!("refresh_token={second}"), "invalid_request"),
        (format!("grant_type=password&refresh_token={second}"), "unsupported_grant_type"),
        (form(second) + "&refresh_token=x", "invalid_request"),
        (form(second) + "&client_id=other", "invalid_grant"),
        (form(second) + "&scope=admin", "invalid_scope"),
        (form(second) + "&client_secret=x", "invalid_client"),
        (form("kippu_rt_AAAA"), "invalid_grant"),
        // Longer than 8 KiB, and than what servers read at once.
        (form(&"x".repeat(8 * 1024)), "invalid_request"),
        (form(&"x".repeat(300_000)), "invalid_request"),
    ] {
        let answer = client.form("/auth/refresh", &body).await;
        assert_eq!(answer.error(), (400, error.into()), "{body:.80}");
    }
    let json = [("content-type", "application/json")];
    let answer = client.ask("POST", "/auth/refresh", &json, &form(second)).await;
    assert_eq!(answer.error(), (400, "invalid_request".into()));
    app.store.outage(Some(StoreErrorKind::Unavailable));
    let answer = client.form("/auth/refresh", &form(second)).await;
    assert_eq!(answer.error(), (503, "temporarily_unavailable".into()));
    assert_eq!(answer.header("retry-after"), "1");
    app.store.outage(None);
    assert_eq!(client.form("/auth/refresh", &form(second)).await.status, 200);

    // A user who is no longer welcome.
    let token = app.login_of("mallory").await.refresh_token;
    let answer = client.form("/auth/refresh", &form(&token)).await;
    assert_eq!(answer.error(), (400, "invalid_grant".into()));
    assert_eq!(app.count("mallory").await, 0);

    // By cookie.
    let cookies = login(&client).await;
    let answer =
        client.ask("POST", "/auth/refresh", &[SAME_ORIGIN, ("cookie", &cookies)], "").await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "expires_in": 900 })));
    assert_eq!((answer.header("cache-control"), answer.set_cookies().len()), ("no-store", 3));
    let renewed = answer.cookies();
    assert_ne!(cookie_of(&renewed, "refresh"), cookie_of(&cookies, "refresh"));
    assert_eq!(cookie_of(&renewed, "csrf"), cookie_of(&cookies, "csrf"));
    assert_eq!(client.ask("GET", "/me", &[("cookie", &renewed)], "").await.status, 200);
}

/// RFC 7009.
pub(super) async fn revoke(serve: Serve) {
    let app = App::with_cookies();
    let client = app.serve(serve).await;
    let [one, other] = [app.login().await, app.login().await];
    for token in [&*one.refresh_token, &other.access_token, "x", "a.b.c"] {
        let body = format!("token={token}&token_type_hint=other");
        let answer = client.form("/auth/revoke", &body).await;
        assert_eq!((answer.status, &*answer.body), (200, ""));
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    assert_eq!(app.count("alice").await, 0);
    let answer = client.form("/auth/revoke", "").await;
    assert_eq!(answer.error(), (400, "invalid_request".into()));
}

pub(super) async fn logout(serve: Serve) {
    let app = App::with_cookies();
    let client = app.serve(serve).await;
    let ended = async |answer: Answer, cleared: usize| {
        assert_eq!((answer.status, &*answer.body), (204, ""));
        assert_eq!(answer.header("cache-control"), "no-store");
        let set = answer.set_cookies();
        let is_cleared = |cookie: &&&str| cookie.contains("=; ") && cookie.contains("Max-Age=0");
        assert_eq!(set.iter().filter(is_cleared).count(), cleared);
        assert_eq!(app.count("alice").await, 0);
    };
    let tokens = app.login().await;
    let form = format!("refresh_token={}", tokens.refresh_token);
    ended(client.form("/auth/logout", &form).await, 0).await;
    ended(client.form("/auth/logout", &form).await, 0).await;
    let token = app.login().await.access_token;
    ended(client.post("/auth/logout", &token).await, 0).await;
    let cookies = login(&client).await;
    let headers = [SAME_ORIGIN, ("cookie", &*cookies)];
    // The three cookies, and their old names.
    ended(client.ask("POST", "/auth/logout", &headers, "").await, 6).await;

    for (headers, error) in [
        (&[FORM][..], (400, "invalid_request")),
        (&[FORM, SAME_ORIGIN], (400, "invalid_request")),
        (&[FORM, CROSS_SITE], (403, "access_denied")),
    ] {
        let answer = client.ask("POST", "/auth/logout", headers, "").await;
        assert_eq!(answer.error(), (error.0, error.1.to_owned()), "{headers:?}");
    }
    let invalid = client.form("/auth/logout", "refresh_token=x").await;
    assert_eq!(invalid.error(), (400, "invalid_grant".into()));

    let tokens = app.login().await;
    let body = format!("refresh_token={}", tokens.refresh_token);
    app.store.outage(Some(StoreErrorKind::Unavailable));
    let answer = client.form("/auth/logout", &body).await;
    assert_eq!(answer.error(), (503, "temporarily_unavailable".into()));
    app.store.outage(None);

    let all = [app.login().await, app.login().await];
    let [mine, _] = &all;
    let answer = client.post("/auth/logout_others", &mine.access_token).await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "ended": 2 })));
    let answer = client.post("/auth/logout_all", &mine.access_token).await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "ended": 1 })));
    let answer = client.post("/auth/logout_all", &mine.access_token).await;
    assert_eq!(answer.challenge(), (401, ENDED));
}

pub(super) async fn sessions(serve: Serve) {
    let app = App::new();
    let client = app.serve(serve).await;
    let [one, two] = [app.login().await, app.login().await];
    let stranger = app.login_of("bob").await;
    let answer = client.get("/auth/sessions", &one.access_token).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
    let listed = answer.json();
    let listed = listed["sessions"].as_array().unwrap();
    assert_eq!(listed.len(), 2);
    for session in listed {
        assert_eq!(session["current"], json!(session["id"] == json!(one.session_id)));
        assert_eq!((&session["client"], &session["label"]), (&json!("web"), &Value::Null));
    }
    let head = [("authorization", &*format!("Bearer {}", one.access_token))];
    let head = client.ask("HEAD", "/auth/sessions", &head, "").await;
    assert_eq!((head.status, &*head.body), (200, ""));

    let end = async |id: &str, token: &str| {
        let headers = [("authorization", &*format!("Bearer {token}"))];
        client.ask("DELETE", &format!("/auth/sessions/{id}"), &headers, "").await.status
    };
    let id = two.session_id.to_string();
    assert_eq!(end(&id, &stranger.access_token).await, 404);
    assert_eq!(end("nonsense", &one.access_token).await, 404);
    // The path counts as the client has written it.
    let encoded = format!("%{:02x}{}", id.as_bytes()[0], id.get(1..).unwrap());
    assert_eq!(end(&encoded, &one.access_token).await, 404);
    assert_eq!(end(&id, &one.access_token).await, 204);
    assert_eq!(end(&id, &one.access_token).await, 404);
    assert_eq!(client.ask("GET", "/auth/sessions", &[], "").await.challenge(), (401, "Bearer"));

    // In pages.
    for _ in 0..100 {
        app.login().await;
    }
    let first = client.get("/auth/sessions", &one.access_token).await.json();
    assert_eq!(first["sessions"].as_array().unwrap().len(), 100);
    let next = format!("/auth/sessions?after={}", first["next"].as_str().unwrap());
    let second = client.get(&next, &one.access_token).await.json();
    assert_eq!(second["sessions"].as_array().unwrap().len(), 1);
    let answer = client.get("/auth/sessions?after=5", &one.access_token).await;
    assert_eq!(answer.error(), (400, "invalid_request".into()));
    // A session id that no login has made.
    let claims = json!({
        "iss": crate::ISSUER, "aud": "api", "sub": "alice", "client_id": "web", "jti": "1",
        "sid": SessionId::generate("alice").unwrap(), "scope": "", "iat": 0, "exp": 4_000_000_000u64,
    });
    let answer = client.get("/auth/sessions", &signed(&claims)).await;
    assert_eq!(answer.challenge(), (401, ENDED));
}

pub(super) async fn routes(serve: Serve) {
    let app = App::new();
    let client = app.serve(serve).await;
    for (method, path, status, allow) in [
        ("GET", "/auth/refresh", 405, "POST"),
        ("HEAD", "/auth/refresh", 405, "POST"),
        ("GET", "/auth/revoke", 405, "POST"),
        ("PUT", "/auth/logout", 405, "POST"),
        ("POST", "/auth/sessions", 405, "GET"),
        ("GET", "/auth/sessions/x", 405, "DELETE"),
        ("POST", "/auth/revoke/x", 404, ""),
        ("POST", "/auth/refresh/", 404, ""),
        ("POST", "/auth/%72efresh", 404, ""),
        ("GET", "/auth/", 404, ""),
        ("GET", "/auth/x/y/z", 404, ""),
        ("GET", "/auth/sessions/", 404, ""),
        ("DELETE", "/auth/sessions/x/", 404, ""),
        ("GET", "/auth/sessions//", 404, ""),
    ] {
        let answer = client.ask(method, path, &[], "").await;
        assert_eq!((answer.status, answer.header("allow")), (status, allow), "{method} {path}");
    }
}
