//! The server as a client sees it, over each store: started, asked over HTTP, and told to stop.

use std::fs;

use serde_json::{Value, json};
use ureq::http::header::SET_COOKIE;

use crate::support::{
    auth_server::{AuthServer, PASSWORD, email, read, refused},
    mysql::MySql,
    postgres::Postgres,
    redis::Redis,
    servers::{Scratch, wait_until},
};

/// A login from its first token to its last.
fn a_login(server: &AuthServer) {
    assert_eq!(server.get("/healthz", "").body, "ok\n");
    server.register("Ada");
    let again =
        server.post("/register", &json!({ "email": "ada@EXAMPLE.com", "password": PASSWORD }));
    assert_eq!(again.error(), (409, "email_taken"));
    assert_eq!(server.get("/api/me", "e30.e30.e30").error(), (401, "invalid_token"));
    assert_eq!(server.send("GET", "/api/me", &[], "").status(), 401);

    let first = server.log_in("ada");
    let me = server.get("/api/me", &first.access);
    assert_eq!(
        (me.status(), &me.body["email"], &me.body["role"]),
        (200, &json!("Ada@example.com"), &json!("member"))
    );
    let second = server.refresh(&first).tokens();
    assert_eq!(server.get("/api/live", &second.access).body["subject"], me.body["subject"]);

    let other = server.log_in("ada");
    let sessions = server.get("/auth/sessions", &second.access);
    let sessions = sessions.body["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    let elsewhere = sessions.iter().find(|session| session["current"] == false).unwrap();
    assert_eq!(elsewhere["label"], "A test");
    let path = format!("/auth/sessions/{}", elsewhere["id"].as_str().unwrap());
    assert_eq!(server.bearing("DELETE", &path, &second.access).status(), 204);
    assert_eq!(server.refresh(&other).error(), (400, "invalid_grant"));
    assert_eq!(server.get("/api/live", &other.access).error(), (401, "invalid_token"));
    // This one reads no store, and hears of it a moment later.
    wait_until("the end of its session", std::time::Duration::from_secs(1), || {
        server.get("/api/me", &other.access).error() == (401, "invalid_token")
    });

    let out = server.form("/auth/logout", &format!("refresh_token={}", second.refresh));
    assert_eq!(out.status(), 204);
    assert_eq!(server.refresh(&second).error(), (400, "invalid_grant"));

    let (here, there) = (server.log_in("ada"), server.log_in("ada"));
    assert_eq!(server.bearing("POST", "/auth/logout_all", &here.access).body["ended"], 2);
    assert_eq!(server.refresh(&there).error(), (400, "invalid_grant"));
}

/// The sessions of a removed account end, wherever they are.
fn an_account_is_removed(server: &AuthServer) {
    server.register("bob");
    let (here, there) = (server.log_in("bob"), server.log_in("bob"));
    let unregister = |password: &str| {
        server.post("/unregister", &json!({ "email": "Bob@example.com", "password": password }))
    };
    assert_eq!(unregister("incorrect horse").error(), (401, "invalid_credentials"));
    let here = server.refresh(&here).tokens();
    assert_eq!(unregister(PASSWORD).status(), 204);
    assert_eq!(server.refresh(&here).error(), (400, "invalid_grant"));
    assert_eq!(server.get("/api/live", &here.access).error(), (401, "invalid_token"));
    // The name is free; who had it stays gone.
    server.register("bob");
    assert_eq!(server.refresh(&there).error(), (400, "invalid_grant"));
    server.refresh(&server.log_in("bob")).tokens();
}

#[test]
fn a_login_goes_its_way_in_memory() {
    let folder = Scratch::new("auth-memory");
    let server = AuthServer::start(&folder, "memory", &[]);
    a_login(&server);
    an_account_is_removed(&server);
}

#[test]
fn a_login_goes_its_way_in_sqlite() {
    let folder = Scratch::new("auth-sqlite");
    let server = AuthServer::start(&folder, "sqlite:auth.db", &[]);
    a_login(&server);
    an_account_is_removed(&server);
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_login_goes_its_way_in_postgresql() {
    let postgres = Postgres::start();
    let folder = Scratch::new("auth-postgres");
    let server = AuthServer::start(&folder, &postgres.url(), &[]);
    a_login(&server);
    an_account_is_removed(&server);
}

#[test]
#[ignore = "needs MariaDB"]
fn a_login_goes_its_way_in_mariadb() {
    let mysql = MySql::start();
    let folder = Scratch::new("auth-mariadb");
    let server = AuthServer::start(&folder, &mysql.url_of(&mysql.database()), &[]);
    a_login(&server);
    an_account_is_removed(&server);
}

#[test]
#[ignore = "needs Redis"]
fn a_login_goes_its_way_in_redis() {
    let mut redis = Redis::start();
    let folder = Scratch::new("auth-redis");
    let server = AuthServer::start(&folder, &redis.url(), &[]);
    a_login(&server);
    an_account_is_removed(&server);
    redis.stop();
    assert_eq!(server.get("/healthz", "").status(), 200, "it lives");
    assert_eq!(server.get("/readyz", "").status(), 503);
    let login = server.post("/login", &json!({ "email": "eve@example.com", "password": PASSWORD }));
    assert_eq!(login.error(), (503, "temporarily_unavailable"));
}

#[test]
fn a_login_beyond_the_limit_ends_the_oldest_session_or_is_refused() {
    let folder = Scratch::new("auth-limit");
    let server = AuthServer::start(&folder, "sqlite:auth.db", &["--max-sessions", "2"]);
    server.register("ada");
    let login = |evict: Value| {
        let body = json!({ "email": email("ada"), "password": PASSWORD, "evict": evict });
        server.post("/login", &body)
    };
    let (first, second) = (login(json!(false)).tokens(), server.log_in("ada"));
    assert_eq!(login(json!(false)).error(), (403, "access_denied"));
    let first = server.refresh(&first).tokens();
    let third = login(json!(null)).tokens();
    assert_eq!(server.refresh(&first).error(), (400, "invalid_grant"));
    for tokens in [&second, &third] {
        server.refresh(tokens).tokens();
    }
    let log = server.log();
    assert!(log.contains("the user has as many sessions as it may"), "{log}");
    assert_eq!(login(json!("no")).error(), (400, "invalid_request"));
}

#[test]
fn a_server_that_was_stopped_goes_on_where_it_was() {
    let folder = Scratch::new("auth-restart");
    let server = AuthServer::start(&folder, "sqlite:auth.db", &[]);
    server.register("ada");
    let tokens = server.log_in("ada");
    assert!(server.stop().success());
    let server = AuthServer::start(&folder, "sqlite:auth.db", &[]);
    server.refresh(&tokens).tokens();
    server.log_in("ada");
}

#[cfg(unix)]
#[test]
fn keys_and_hashes_are_read_by_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Scratch::new("auth-modes");
    drop(AuthServer::start(&folder, "sqlite:auth.db", &[]));
    let files: Vec<_> =
        ["auth.db", "auth.db.access.jwk", "auth.db.refresh.jwk", "auth.db.audit.jwk"]
            .map(|name| folder.path().join(name))
            .into();
    for file in &files {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    fs::set_permissions(&files[1], fs::Permissions::from_mode(0o644)).unwrap();
    let log = refused(&folder, "sqlite:auth.db");
    assert!(log.contains("chmod 600"), "{log}");
}

#[test]
fn a_wrong_password_is_answered_as_an_unknown_name_is() {
    let folder = Scratch::new("auth-wrong");
    let server = AuthServer::start(&folder, "memory", &[]);
    server.register("ada");
    let try_with = |name: &str, password: &str| {
        server.post("/login", &json!({ "email": email(name), "password": password }))
    };
    let wrong = try_with("ada", "incorrect horse");
    let unknown = try_with("nobody", PASSWORD);
    assert_eq!(wrong.error(), (401, "invalid_credentials"));
    assert_eq!((wrong.status(), wrong.body), (unknown.status(), unknown.body));
    let short =
        server.post("/register", &json!({ "email": "eve@example.com", "password": "1234567" }));
    assert_eq!(short.error(), (400, "invalid_request"));
    let strange = server.post("/register", &json!({ "email": "ada", "password": PASSWORD }));
    assert_eq!(strange.error(), (400, "invalid_request"), "it is not an address");
}

#[test]
fn passwords_are_not_tried_without_end() {
    let folder = Scratch::new("auth-limits");
    let server = AuthServer::start(&folder, "memory", &[]);
    server.register("ada");
    let try_as = |name: &str| {
        server.post("/login", &json!({ "email": email(name), "password": "wrong password" }))
    };
    for _ in 0..5 {
        assert_eq!(try_as("ada").status(), 401);
    }
    let refused =
        server.post("/login", &json!({ "email": " ADA@Example.com", "password": PASSWORD }));
    assert_eq!(refused.error(), (429, "too_many_tries"));
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=12).contains(&wait), "{wait}");
    // The address has been let in seven times, of twenty at once. Without a password to hash, the
    // other attempts do not take so long that it is let in again.
    let body = json!({ "email": "no address", "password": PASSWORD });
    let others: Vec<u16> = (0..20).map(|_| server.post("/register", &body).status()).collect();
    assert_eq!((others[0], others[19]), (400, 429));
}

#[test]
fn a_refresh_token_that_is_presented_too_late_ends_its_session() {
    let folder = Scratch::new("auth-reuse");
    let server = AuthServer::start(&folder, "memory", &["--grace", "0"]);
    server.register("ada");
    let stolen = server.log_in("ada");
    let next = server.refresh(&stolen).tokens();
    assert_eq!(server.refresh(&stolen).error(), (400, "invalid_grant"));
    assert_eq!(server.refresh(&next).error(), (400, "invalid_grant"));
    assert!(server.log().contains("reuse detected"));
}

#[test]
fn an_access_token_ends_to_the_second() {
    let folder = Scratch::new("auth-end");
    let options = ["--access-lifetime", "1", "--grace", "0"];
    let server = AuthServer::start(&folder, "memory", &options);
    server.register("ada");
    let tokens = server.log_in("ada");
    let mut answer = server.get("/api/me", &tokens.access);
    wait_until("its end", std::time::Duration::from_secs(3), || {
        answer = server.get("/api/me", &tokens.access);
        answer.status() != 200
    });
    assert!(answer.header("www-authenticate").contains("has expired"));
}

/// One request that ends all sessions, or several that do.
#[test]
fn a_stolen_access_token_does_not_log_its_user_out_everywhere() {
    let folder = Scratch::new("auth-recent");
    let server = AuthServer::start(&folder, "memory", &["--recent", "1"]);
    server.register("ida");
    let (here, there) = (server.log_in("ida"), server.log_in("ida"));
    let sessions = server.get("/auth/sessions", &here.access);
    let sessions = sessions.body["sessions"].as_array().unwrap();
    let other = sessions.iter().find(|session| session["current"] == false).unwrap();
    let end_other = format!("/auth/sessions/{}", other["id"].as_str().unwrap());
    std::thread::sleep(std::time::Duration::from_millis(2100));
    for (method, path) in [
        ("POST", "/auth/logout_all"),
        ("POST", "/auth/logout_all?"),
        ("POST", "/auth/logout_all/"),
        ("POST", "/auth//logout_all"),
        ("POST", "//auth/logout_all"),
        ("POST", "/auth/./logout_all"),
        ("POST", "/auth/logout%5fall"),
        ("POST", "/AUTH/logout_all"),
        ("HEAD", "/auth/logout_all"),
        ("POST", "/auth/logout_others"),
        ("DELETE", &*end_other),
    ] {
        let answer = server.bearing(method, path, &here.access);
        assert!(answer.status() >= 400, "{method} {path}: {}", answer.status());
    }
    server.refresh(&there).tokens();

    let reauthenticate = |access: &str, password: &str| {
        let bearer = format!("Bearer {access}");
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        let body = json!({ "password": password }).to_string();
        server.send("POST", "/reauthenticate", &headers, &body)
    };
    assert_eq!(reauthenticate(&here.access, "not the password").status(), 403);
    assert_eq!(server.bearing("POST", "/auth/logout_all", &here.access).status(), 401);
    let recent = reauthenticate(&here.access, PASSWORD).tokens();
    assert_eq!(server.bearing("POST", "/auth/logout_all", &recent.access).body["ended"], 2);
    assert_eq!(reauthenticate(&recent.access, PASSWORD).error(), (401, "invalid_token"));
}

#[test]
fn every_check_of_a_token_is_listed() {
    let folder = Scratch::new("auth-explain");
    let server = AuthServer::start(&folder, "memory", &[]);
    server.register("ada");
    let token = server.log_in("ada").access;
    let explained = server.post("/explain", &json!({ "token": token }));
    assert_eq!(explained.body["accepted"], true);
    let findings = explained.body["findings"].as_array().unwrap();
    // An access token has no nbf.
    let absent = findings.iter().filter(|found| found["outcome"] == "absent");
    assert_eq!(absent.map(|found| &found["check"]).collect::<Vec<_>>(), ["nbf"]);
    let passed = findings.iter().filter(|found| found["outcome"] == "passed").count();
    assert!(passed >= 19 && passed + 1 == findings.len());
    // The API accepts the same token.
    assert_eq!(server.get("/api/me", &token).status(), 200);

    let (front, _) = token.rsplit_once('.').unwrap();
    let forged = format!("{front}.{}", "A".repeat(43));
    let explained = server.post("/explain", &json!({ "token": forged }));
    assert_eq!(explained.body["accepted"], false);
    let failed = explained.body["findings"].as_array().unwrap().iter();
    let failed: Vec<_> = failed.filter(|found| found["outcome"] == "failed").collect();
    assert_eq!((failed.len(), &failed[0]["check"]), (1, &json!("signature")));
}

#[test]
fn cookies_hold_both_tokens_and_no_other_site_uses_them() {
    let folder = Scratch::new("auth-cookies");
    let server = AuthServer::start(&folder, "memory", &[]);
    server.register("ada");
    let body =
        json!({ "email": "ada@example.com", "password": PASSWORD, "cookies": true }).to_string();
    let login = |site: &str| {
        let headers = [("content-type", "application/json"), ("sec-fetch-site", site)];
        server.send("POST", "/login", &headers, &body)
    };
    // Nor is anybody logged in by another site.
    assert_eq!(login("cross-site").error(), (403, "access_denied"));
    let login = login("same-origin");
    assert_eq!(login.body, json!({ "expires_in": 60 }));
    let cookies = login.response.headers().get_all(SET_COOKIE).iter();
    let cookies: Vec<&str> =
        cookies.map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap()).collect();
    assert_eq!(cookies.len(), 3);
    let cookies = cookies.join("; ");
    assert_eq!(server.send("GET", "/api/me", &[("cookie", &cookies)], "").status(), 200);
    let refresh = |site: &str| {
        server.send("POST", "/auth/refresh", &[("cookie", &cookies), ("sec-fetch-site", site)], "")
    };
    assert_eq!(refresh("cross-site").error(), (403, "access_denied"));
    let renewed = refresh("same-origin");
    assert_eq!((renewed.status(), &renewed.body), (200, &json!({ "expires_in": 60 })));
}

#[test]
fn the_page_runs_nothing_but_its_own_files() {
    let folder = Scratch::new("auth-page");
    let server = AuthServer::start(&folder, "memory", &[]);
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/kippu.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let answer = server.send("GET", path, &[], "");
        assert_eq!((answer.status(), answer.header("content-type")), (200, content_type));
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        assert!(!policy.contains("inline") && !policy.contains("eval"));
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        // It is only for servers with TLS.
        assert_eq!(answer.header("strict-transport-security"), "");
    }
    let page = server.send("GET", "/", &[], "").body;
    assert!(!page.as_str().unwrap().contains("://"), "all that it loads is here");
}

#[test]
fn a_store_that_is_none_is_told_without_its_password() {
    let folder = Scratch::new("auth-store");
    for store in [
        "mongodb://ada:hunter2@127.0.0.1/",
        "mysql://ada:hunter2@127.0.0.1:x/",
        "postgres://ada:hunter2@127.0.0.1:x/",
        "redis://ada:hunter2@:x",
        "redis-sentinel://ada:hunter2@127.0.0.1:26379",
        "redis-sentinel://ada:hunter2@127.0.0.1:1,:x/name",
    ] {
        let log = refused(&folder, store);
        assert!(log.contains("the server does not run") && !log.contains("hunter2"), "{log}");
    }
}

#[test]
fn the_log_is_json_and_tells_no_secret() {
    let folder = Scratch::new("auth-log");
    let server = AuthServer::start(&folder, "sqlite:auth.db", &[]);
    server.register("ada");
    let first = server.log_in("ada");
    let second = server.refresh(&first).tokens();
    server.get(&format!("/api/me?access_token={}", second.access), &second.access);
    server.get("/api/me", &format!("{}x", second.access));
    server.post("/login", &json!({ "email": "ada@example.com", "password": "incorrect horse" }));
    server.post("/explain", &json!({ "token": second.access }));
    let log = server.log.clone();
    assert!(server.stop().success());

    let log = read(&log);
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |message: &str| lines.iter().filter(|line| line["message"] == message).count();
    assert_eq!(
        (of("registration accepted"), of("logged in"), of("rotated"), of("stopped")),
        (1, 1, 1, 1)
    );
    assert_eq!(of("answered"), 7, "{log}");
    let key = |name: &str| {
        let text = read(&folder.path().join(name));
        serde_json::from_str::<Value>(&text).unwrap()["k"].as_str().unwrap().to_owned()
    };
    let mut secrets = vec![
        PASSWORD.to_owned(),
        "incorrect horse".to_owned(),
        "$argon2".to_owned(),
        key("auth.db.access.jwk"),
        key("auth.db.refresh.jwk"),
        first.refresh,
        second.refresh,
    ];
    // Of a JWT its payload and its signature, each alone.
    for token in [first.access, second.access] {
        secrets.extend(token.split('.').skip(1).map(str::to_owned));
    }
    for secret in secrets {
        assert!(!log.contains(&secret), "the log has a secret in it: {log}");
    }
}
