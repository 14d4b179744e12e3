//! The calls of tonic's client to its server, and the answers: a function for each row of the
//! table that applies to gRPC.

use std::{sync::Arc, time::Duration};

use kippu::session::{EndedOptions, EndedSessions, StoreErrorKind};
use kippu_web::{Cookies, Guard};
use tokio_stream::once;
use tonic::{Code, Request, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest,
};

use super::{App, token_with, verifier};
use crate::{
    Claims,
    grpc::{Client, serve},
};

/// The code, the message and the challenge of a call that is rejected.
fn rejected(answer: Result<String, Status>) -> (Code, String, String) {
    let status = answer.unwrap_err();
    let challenge = status.metadata().get("www-authenticate");
    let challenge = challenge.map_or("", |value| value.to_str().unwrap()).to_owned();
    (status.code(), status.message().to_owned(), challenge)
}

fn unauthenticated(message: &str, challenge: &str) -> (Code, String, String) {
    (Code::Unauthenticated, message.to_owned(), challenge.to_owned())
}

fn invalid(message: &str) -> (Code, String, String) {
    let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{message}\"");
    unauthenticated(message, &challenge)
}

pub(super) async fn bearer() {
    let app = App::new();
    let client = Client(serve(app.guard.layer()).await);
    let tokens = app.login().await;
    let said = client.say(Some(&tokens.access_token), "hello").await;
    assert_eq!(said.unwrap(), "alice says hello");
    let expected = unauthenticated("the call has no access token", "Bearer");
    assert_eq!(rejected(client.say(None, "hello").await), expected);
    assert_eq!(client.watch(None).await.unwrap_err().code(), Code::Unauthenticated);
    let expected = invalid("the access token is not valid");
    assert_eq!(rejected(client.say(Some("a.b.c"), "hello").await), expected);
    let expired = token_with(&tokens, -7200, -3600);
    let expected = invalid("the access token has expired");
    assert_eq!(rejected(client.say(Some(&expired), "hello").await), expected);
    let (code, message, challenge) = rejected(client.say(Some("a b"), "hello").await);
    assert_eq!(
        (code, &*message),
        (Code::Unauthenticated, "the header Authorization is not Bearer and a token")
    );
    assert!(challenge.contains("invalid_request"));
    let mut twice = Client::request(Some(&tokens.access_token), "hello");
    twice.metadata_mut().append("authorization", "Bearer x".parse().unwrap());
    let (code, _, challenge) = rejected(client.send(twice).await);
    assert_eq!(code, Code::Unauthenticated);
    assert!(challenge.contains("invalid_request"));
}

/// A browser sends its cookies with the calls of gRPC-Web.
pub(super) async fn cookie() {
    let (client, cookies) = browser().await;
    let call = |cookies: &str| with_metadata(&[("cookie", cookies), SAME_ORIGIN]);
    assert_eq!(client.send(call(&cookies)).await.unwrap(), "alice says hello");
    let (code, _, challenge) = rejected(client.send(call(&format!("{cookies}; {cookies}"))).await);
    assert_eq!(code, Code::Unauthenticated);
    assert!(challenge.contains("invalid_request"));
    let mut call = call(&cookies);
    call.metadata_mut().insert("authorization", "Bearer a.b.c".parse().unwrap());
    let expected = invalid("the access token is not valid");
    assert_eq!(rejected(client.send(call).await), expected);
}

pub(super) async fn csrf() {
    let (client, cookies) = browser().await;
    for (headers, words) in [
        (&[("cookie", &*cookies)][..], "the request does not say where it comes from"),
        (
            &[("cookie", &*cookies), ("sec-fetch-site", "cross-site")],
            "the request comes from another site",
        ),
        (
            &[("cookie", &*cookies), ("origin", "https://evil.example")],
            "the request comes from another site",
        ),
    ] {
        let (code, message, challenge) = rejected(client.send(with_metadata(headers)).await);
        assert_eq!((code, &*challenge), (Code::PermissionDenied, ""));
        assert!(message.starts_with(words), "{message}");
    }
}

pub(super) async fn live() {
    let app = App::new();
    let [any, live] = [app.guard.layer(), app.guard.layer().live()].map(serve);
    let (any, live) = (Client(any.await), Client(live.await));
    let tokens = app.login().await;
    assert!(live.say(Some(&tokens.access_token), "hello").await.is_ok());
    app.sessions.logout(&tokens.refresh_token).await.unwrap();
    let expected = invalid("the session has ended");
    assert_eq!(rejected(live.say(Some(&tokens.access_token), "hello").await), expected);
    assert!(any.say(Some(&tokens.access_token), "hello").await.is_ok());
    let token = app.login().await.access_token;
    for (kind, code) in [
        (StoreErrorKind::Unavailable, Code::Unavailable),
        (StoreErrorKind::Misconfigured, Code::Internal),
    ] {
        app.store.outage(Some(kind));
        let (found, _, challenge) = rejected(live.say(Some(&token), "hello").await);
        assert_eq!((found, &*challenge), (code, ""));
    }
    let client = Client(serve(Guard::new(verifier()).layer().live()).await);
    assert_eq!(rejected(client.say(Some(&token), "hello").await).0, Code::Internal);
}

pub(super) async fn ended() {
    let app = App::new();
    let followed = EndedSessions::follow(Arc::clone(&app.store), EndedOptions::new());
    let guard = Guard::new(verifier().ended_sessions(followed.clone()));
    let client = Client(serve(guard.layer()).await);
    let tokens = app.login().await;
    let say = async || client.say(Some(&tokens.access_token), "hello").await;
    assert_eq!(rejected(say().await).0, Code::Unavailable);
    followed.poll().await.unwrap();
    assert!(say().await.is_ok());
    app.sessions.logout(&tokens.refresh_token).await.unwrap();
    followed.poll().await.unwrap();
    assert_eq!(rejected(say().await), invalid("the session has ended"));
}

pub(super) async fn scope() {
    let app = App::new();
    let [any, scoped] = [app.guard.layer(), app.guard.layer().require_scope("write")].map(serve);
    let (any, scoped) = (Client(any.await), Client(scoped.await));
    let reader = app.login().await.access_token;
    let claims = Claims { scope: "read write".into() };
    let writer = app.sessions.login("bob", &claims).await.unwrap().access_token;
    let (code, message, challenge) = rejected(scoped.say(Some(&reader), "hello").await);
    assert_eq!(
        (code, &*message),
        (Code::PermissionDenied, "the access token is not good for this")
    );
    assert!(challenge.ends_with("scope=\"write\""), "{challenge}");
    assert_eq!(scoped.say(Some(&writer), "hello").await.unwrap(), "bob says hello");
    // A method can require a scope itself.
    assert_eq!(rejected(any.say(Some(&reader), "secret").await).0, Code::PermissionDenied);
    assert_eq!(any.say(Some(&writer), "secret").await.unwrap(), "bob says secret");
}

pub(super) async fn recent() {
    let app = App::new();
    let layer = app.guard.layer().require_recent(Duration::from_secs(300));
    let [any, recent] = [app.guard.layer(), layer].map(serve);
    let (any, recent) = (Client(any.await), Client(recent.await));
    let tokens = app.login().await;
    let [old, new] = [-302, -290].map(|authenticated| token_with(&tokens, authenticated, 900));
    let (code, message, challenge) = rejected(recent.say(Some(&old), "hello").await);
    let words = "the user has to authenticate again";
    assert_eq!((code, &*message), (Code::Unauthenticated, words));
    assert!(challenge.ends_with("max_age=\"300\""), "{challenge}");
    assert!(recent.say(Some(&new), "hello").await.is_ok());
    assert_eq!(rejected(any.say(Some(&old), "close").await).1, words);
    assert!(any.say(Some(&new), "close").await.is_ok());
}

/// Health and reflection pass where they are exempt.
pub(super) async fn exempt() {
    let layer = App::new().guard.layer::<Claims>();
    let open = layer
        .clone()
        .exempt("/grpc.health.v1.Health/*")
        .exempt("/grpc.reflection.v1.ServerReflection/*");
    for (layer, code) in [(open, Code::Ok), (layer, Code::Unauthenticated)] {
        let channel = serve(layer).await;
        let mut health = HealthClient::new(channel.clone());
        let health = health.check(HealthCheckRequest::default()).await;
        assert_eq!(health.map_or_else(|status| status.code(), |_| Code::Ok), code);
        let request = ServerReflectionRequest {
            message_request: Some(MessageRequest::ListServices(String::new())),
            ..Default::default()
        };
        let mut reflection = ServerReflectionClient::new(channel.clone());
        let listed = reflection.server_reflection_info(once(request)).await;
        let listed = match listed {
            Ok(answer) => answer.into_inner().message().await.map(|answer| answer.unwrap()),
            Err(status) => Err(status),
        };
        assert_eq!(listed.map_or_else(|status| status.code(), |_| Code::Ok), code);
        let status = Client(channel).say(None, "hello").await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
    }
}

const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");

/// A server whose guard has cookies, and the cookies of a login.
async fn browser() -> (Client, String) {
    let app = App::new();
    let guard = app.guard.clone().cookies(Cookies::new("/auth").unwrap()).unwrap();
    let (name, value) = SAME_ORIGIN;
    let (head, ()) = http::Request::post("/").header(name, value).body(()).unwrap().into_parts();
    let cookies = guard.set_cookies(&head, async { Ok(app.login().await) }).await.unwrap();
    let pairs: Vec<_> = cookies
        .into_values()
        .map(|value| value.to_str().unwrap().split(';').next().unwrap().to_owned())
        .collect();
    (Client(serve(guard.layer()).await), pairs.join("; "))
}

fn with_metadata(headers: &[(&'static str, &str)]) -> Request<String> {
    let mut request = Client::request(None, "hello");
    for (name, value) in headers {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    request
}
