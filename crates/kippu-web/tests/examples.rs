//! The example is a whole login, from the password to the end of the session.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use serde_json::Value;
use tower::ServiceExt;

#[path = "../examples/axum_login.rs"]
#[allow(dead_code, reason = "it is a separate program, too")]
mod axum_login;

async fn ask(app: &Router, method: &str, path: &str, token: &str, form: &str) -> (u16, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", token)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(form.to_owned()));
    let answer = app.clone().oneshot(request.unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn member(body: &str, name: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap();
    body[name].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn axum_login_is_a_whole_login() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("axum_login");
    let _ = fs::remove_dir_all(&folder);
    let app = axum_login::app(&folder).await.unwrap();
    for form in [
        "email=ada%40example.org&password=wrong",
        "email=nobody%40example.org&password=correct+horse",
        "email=nobody%40example.org&password=",
    ] {
        assert_eq!(ask(&app, "POST", "/login", "", form).await.0, 401, "{form}");
    }
    let form = "email=ada%40example.org&password=correct+horse";
    let (status, body) = ask(&app, "POST", "/login", "", form).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(ask(&app, "GET", "/me", "", "").await.0, 401);
    let bearer = format!("Bearer {}", member(&body, "access_token"));
    let me = ask(&app, "GET", "/me", &bearer, "").await;
    assert_eq!(me, (200, "ada@example.org is admin\n".to_owned()));

    let form = |body: &str| {
        format!("grant_type=refresh_token&refresh_token={}", member(body, "refresh_token"))
    };
    let (status, body) = ask(&app, "POST", "/auth/refresh", "", &form(&body)).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(ask(&app, "POST", "/auth/logout", "", &form(&body)).await.0, 204);
    let (status, refused) = ask(&app, "POST", "/auth/refresh", "", &form(&body)).await;
    assert_eq!((status, &*member(&refused, "error")), (400, "invalid_grant"));
    assert_eq!(ask(&app, "GET", "/auth/sessions", &bearer, "").await.0, 401);

    // A restart keeps the users.
    drop(axum_login::app(&folder).await.unwrap());
    fs::remove_dir_all(&folder).unwrap();
}
