//! The example is a whole login, from the password to the end of the session.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use actix_web::{App, http::Method, test};
use kippu_actix::actix_web;
use serde_json::Value;

#[path = "../examples/actix_login.rs"]
#[allow(dead_code, reason = "it is a separate program, too")]
mod actix_login;

fn member(body: &str, name: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap();
    body[name].as_str().unwrap().to_owned()
}

#[actix_web::test]
async fn actix_login_is_a_whole_login() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("actix_login");
    let _ = fs::remove_dir_all(&folder);
    let app = App::new().configure(actix_login::app(&folder).await.unwrap());
    let app = test::init_service(app).await;
    let ask = async |method: Method, path: &str, token: &str, form: &str| {
        let request = test::TestRequest::default().method(method).uri(path);
        let request = request
            .insert_header(("authorization", token))
            .insert_header(("content-type", "application/x-www-form-urlencoded"))
            .set_payload(form.to_owned());
        let answer = test::call_service(&app, request.to_request()).await;
        let status = answer.status().as_u16();
        let body = test::read_body(answer).await;
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    for form in [
        "email=ada%40example.org&password=wrong",
        "email=nobody%40example.org&password=correct+horse",
        "email=nobody%40example.org&password=",
    ] {
        assert_eq!(ask(Method::POST, "/login", "", form).await.0, 401, "{form}");
    }
    let form = "email=ada%40example.org&password=correct+horse";
    let (status, body) = ask(Method::POST, "/login", "", form).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(ask(Method::GET, "/me", "", "").await.0, 401);
    let bearer = format!("Bearer {}", member(&body, "access_token"));
    let me = ask(Method::GET, "/me", &bearer, "").await;
    assert_eq!(me, (200, "ada@example.org is admin\n".to_owned()));

    let form = |body: &str| {
        format!("grant_type=refresh_token&refresh_token={}", member(body, "refresh_token"))
    };
    let (status, body) = ask(Method::POST, "/auth/refresh", "", &form(&body)).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(ask(Method::POST, "/auth/logout", "", &form(&body)).await.0, 204);
    let (status, refused) = ask(Method::POST, "/auth/refresh", "", &form(&body)).await;
    assert_eq!((status, &*member(&refused, "error")), (400, "invalid_grant"));
    assert_eq!(ask(Method::GET, "/auth/sessions", &bearer, "").await.0, 401);

    // A restart keeps the users.
    drop(actix_login::app(&folder).await.unwrap());
    fs::remove_dir_all(&folder).unwrap();
}
