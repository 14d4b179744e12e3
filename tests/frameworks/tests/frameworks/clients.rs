//! OAuth clients of others refresh and revoke at the session routes: RFC 6749 §6, RFC 7009, and
//! find them: RFC 8414.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use axum::{Router, body::Body, routing::get};
use http_body_util::BodyExt;
use kippu::session::{MemoryStore, Session, Sessions};
use kippu_web::{Guard, SessionRoutes, server_metadata};
use oauth2::{
    AccessToken, AuthType, ClientId, HttpRequest, HttpResponse, RefreshToken, RequestTokenError,
    RevocationUrl, Scope, StandardRevocableToken, TokenResponse as _, TokenUrl,
    basic::{BasicClient, BasicErrorResponseType},
};
use tokio::{net::TcpListener, task::spawn_blocking};
use tower::ServiceExt;

use crate::{Claims, login, sessions};

fn router(sessions: &Arc<Sessions<Arc<MemoryStore>>>) -> Router {
    let scopes = Arc::new("read".to_owned());
    let authorize =
        async move |_: Session| Ok::<_, io::Error>(Some(Claims { scope: scopes.to_string() }));
    let routes = SessionRoutes::new(Arc::clone(sessions), Guard::for_sessions(sessions), authorize);
    Router::new().nest_service("/auth", routes)
}

#[tokio::test]
async fn the_crate_oauth2_refreshes_and_revokes() {
    let sessions = sessions(Arc::new(MemoryStore::new(10)));
    let router = router(&sessions);
    let http = |request: HttpRequest| {
        let router = router.clone();
        async move {
            let response = router.oneshot(request.map(Body::from)).await.unwrap();
            let (parts, body) = response.into_parts();
            let body = body.collect().await.unwrap().to_bytes().to_vec();
            Ok::<_, io::Error>(HttpResponse::from_parts(parts, body))
        }
    };
    let client = |id: &str| {
        BasicClient::new(ClientId::new(id.into()))
            .set_auth_type(AuthType::RequestBody)
            .set_token_uri(TokenUrl::new("https://auth.example/auth/refresh".into()).unwrap())
            .set_revocation_url(
                RevocationUrl::new("https://auth.example/auth/revoke".into()).unwrap(),
            )
    };
    let refresh = async |id: &str, token: &RefreshToken, scope: &str| {
        let client = client(id);
        let request = client.exchange_refresh_token(token).add_scope(Scope::new(scope.into()));
        match request.request_async(&http).await {
            Ok(tokens) => Ok(tokens),
            Err(RequestTokenError::ServerResponse(response)) => Err(response.error().clone()),
            Err(error) => panic!("{error}"),
        }
    };
    let first = RefreshToken::new(login(&sessions, "read").await.refresh_token);
    let error = refresh("another", &first, "read").await.unwrap_err();
    assert_eq!(error, BasicErrorResponseType::InvalidGrant);
    let error = refresh("web", &first, "admin").await.unwrap_err();
    assert_eq!(error, BasicErrorResponseType::InvalidScope);
    // Neither used the token up.
    let tokens = refresh("web", &first, "read").await.unwrap();
    assert_eq!(tokens.scopes(), Some(&vec![Scope::new("read".into())]));
    let second = tokens.refresh_token().unwrap();
    let access = sessions.verify::<Claims>(tokens.access_token().secret()).unwrap();
    assert_eq!(&*access.subject, "alice");

    let revoke = async |token: StandardRevocableToken| {
        client("web").revoke_token(token).unwrap().request_async(&http).await.unwrap();
    };
    revoke(StandardRevocableToken::RefreshToken(second.clone())).await;
    let error = refresh("web", second, "read").await.unwrap_err();
    assert_eq!(error, BasicErrorResponseType::InvalidGrant);

    let other = login(&sessions, "read").await;
    revoke(AccessToken::new(other.access_token).into()).await;
    assert!(sessions.list("alice").await.unwrap().sessions.is_empty());
    // RFC 7009 §2.2: a client can do nothing about a token that is not valid.
    revoke(AccessToken::new("unknown".into()).into()).await;
}

/// Where scripts/test installs the clients.
fn installed() -> PathBuf {
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/oauth-clients");
    env::var_os("KIPPU_OAUTH_CLIENTS").map_or_else(usual, PathBuf::from)
}

async fn run(program: &str, script: &str, arguments: &[&str]) {
    let sessions = sessions(Arc::new(MemoryStore::new(10)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let base = format!("{issuer}/auth");
    let metadata = {
        let base = base.clone();
        async move || server_metadata::<Body>(&issuer, &base)
    };
    let router = router(&sessions).route("/.well-known/oauth-authorization-server", get(metadata));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let token = login(&sessions, "read").await.refresh_token;
    let mut command = Command::new(program);
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script))
        .args(arguments)
        .args([&*base, &*token, "web", "read"])
        .env("PYTHONPATH", installed().join("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // The server is on this machine.
        .env("OAUTHLIB_INSECURE_TRANSPORT", "1")
        .env("AUTHLIB_INSECURE_TRANSPORT", "1");
    let output = spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}");
    assert!(sessions.list("alice").await.unwrap().sessions.is_empty(), "it was not revoked");
}

#[tokio::test]
#[ignore = "needs python3, and Authlib in target/tools/oauth-clients/python"]
async fn authlib_refreshes_and_revokes() {
    run("python3", "authlib_client.py", &[]).await;
}

#[tokio::test]
#[ignore = "needs python3, and requests-oauthlib in target/tools/oauth-clients/python"]
async fn requests_oauthlib_refreshes_and_revokes() {
    run("python3", "requests_oauthlib_client.py", &[]).await;
}

#[tokio::test]
#[ignore = "needs node 20, and oauth4webapi in target/tools/oauth-clients/node_modules"]
async fn oauth4webapi_discovers_refreshes_and_revokes() {
    let modules = installed().join("node_modules");
    run("node", "oauth4webapi_client.mjs", &[modules.to_str().unwrap()]).await;
}
