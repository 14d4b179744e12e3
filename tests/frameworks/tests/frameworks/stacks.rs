//! A guard with tracing, compression and CORS on either side, as servers have them.

use std::{convert::Infallible, sync::Arc};

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{Empty, Full};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use kippu::session::MemoryStore;
use kippu_web::{Access, Guard};
use tokio::net::{TcpListener, TcpStream};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_http::{compression::CompressionLayer, cors::CorsLayer, trace::TraceLayer};

use crate::{Claims, login, sessions};

const PAGE: &str = "https://app.example";

fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin([PAGE.parse().unwrap()])
        .allow_methods([Method::GET, Method::DELETE])
        .allow_headers([header::AUTHORIZATION])
}

/// The request that a browser sends before a page of another origin may send a token.
fn preflight() -> Request<Full<Bytes>> {
    Request::options("/hello")
        .header("origin", PAGE)
        .header("access-control-request-method", "DELETE")
        .header("access-control-request-headers", "authorization")
        .body(Full::default())
        .unwrap()
}

fn request(token: Option<&str>) -> Request<Full<Bytes>> {
    let mut request =
        Request::get("/hello").header("origin", PAGE).header("accept-encoding", "gzip");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(Full::default()).unwrap()
}

/// An answer that is long enough to be compressed.
async fn hello<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let token = request.extensions().get::<Access<Claims>>().unwrap();
    Ok(Response::new(Full::from(token.subject.repeat(100))))
}

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Answer {
    async fn of<B: http_body_util::BodyExt<Data = Bytes>>(response: Response<B>) -> Self {
        let (parts, body) = response.into_parts();
        let collected = body.collect().await;
        let body = collected.unwrap_or_else(|_| panic!("the body broke off")).to_bytes();
        Self { status: parts.status, headers: parts.headers, body }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// The same of every stack with CORS in front of the guard.
fn check(allowed: &Answer, refused: &Answer, preflight: &Answer) {
    assert_eq!(allowed.status, StatusCode::OK);
    assert_eq!(allowed.header("content-encoding"), "gzip");
    assert!(allowed.body.len() < 100, "{} bytes", allowed.body.len());

    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    // So that the page may read the refusal.
    assert_eq!(refused.header("access-control-allow-origin"), PAGE);

    assert_eq!(preflight.status, StatusCode::OK);
    assert_eq!(preflight.header("access-control-allow-origin"), PAGE);
    assert_eq!(preflight.header("access-control-allow-headers"), "authorization");
}

#[tokio::test]
async fn a_guard_stands_between_the_layers_of_a_router_of_axum() {
    let sessions = sessions(Arc::new(MemoryStore::new(10)));
    let guard = Guard::for_sessions(&sessions);
    let handler = get(async |token: Access<Claims>| token.subject.repeat(100));
    let router = Router::new()
        .route("/hello", handler)
        .layer(CompressionLayer::new())
        .layer(TraceLayer::new_for_http())
        .layer(guard.layer::<Claims>())
        .layer(CompressionLayer::new())
        .layer(TraceLayer::new_for_http())
        .layer(cors())
        .with_state(guard);
    let token = login(&sessions, "read").await.access_token;
    let ask = async |request: Request<Full<Bytes>>| {
        let answer = router.clone().oneshot(request.map(axum::body::Body::new)).await;
        Answer::of(answer.unwrap()).await
    };
    let allowed = ask(request(Some(&token))).await;
    check(&allowed, &ask(request(None)).await, &ask(preflight()).await);
}

/// No body of this stack has a `Default` but the guard's own, which `CorsLayer` asks for.
#[tokio::test]
async fn a_guard_stands_between_the_layers_of_a_plain_service() {
    let sessions = sessions(Arc::new(MemoryStore::new(10)));
    let service = ServiceBuilder::new()
        .layer(cors())
        .layer(Guard::for_sessions(&sessions).layer::<Claims>())
        .layer(TraceLayer::new_for_http())
        .layer(CompressionLayer::new())
        .service(service_fn(hello::<Full<Bytes>>));
    let token = login(&sessions, "read").await.access_token;
    let ask = async |request| Answer::of(service.clone().oneshot(request).await.unwrap()).await;
    let allowed = ask(request(Some(&token))).await;
    check(&allowed, &ask(request(None)).await, &ask(preflight()).await);

    // The other way round.
    let service = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(CompressionLayer::new())
        .layer(Guard::for_sessions(&sessions).layer::<Claims>())
        .layer(cors())
        .service(service_fn(hello::<Full<Bytes>>));
    let ask = async |request| Answer::of(service.clone().oneshot(request).await.unwrap()).await;
    assert_eq!(ask(request(Some(&token))).await.header("content-encoding"), "gzip");
    let refused = ask(request(None)).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    // Behind the guard, CORS is asked too late.
    assert_eq!(ask(preflight()).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_refusal_keeps_its_words_behind_every_layer() {
    let sessions = sessions(Arc::new(MemoryStore::new(10)));
    let service = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(Guard::for_sessions(&sessions).layer::<Claims>().require_scope("write"))
        .layer(TraceLayer::new_for_http())
        .service(service_fn(hello::<Full<Bytes>>));
    let token = login(&sessions, "read").await.access_token;
    let answer = Answer::of(service.oneshot(request(Some(&token))).await.unwrap()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["error"], "insufficient_scope");
}

#[tokio::test]
async fn exempt_paths_pass_without_a_token() {
    let sessions = sessions(Arc::new(MemoryStore::new(10)));
    let open = async || "open";
    let layer = Guard::for_sessions(&sessions).layer::<Claims>();
    let layer = layer.exempt("/health").exempt("/login").exempt("/assets/*");
    let router: Router = Router::new()
        .route("/health", get(open))
        .route("/login", get(open))
        .route("/assets/{*path}", get(open))
        .route("/healthy", get(open))
        .route("/hello", get(open))
        .layer(layer);
    for (path, status) in [
        ("/health", 200),
        ("/health?full", 200),
        ("/login", 200),
        ("/assets/app/main.js", 200),
        ("/assets/../hello", 401),
        ("/assets/%2e%2e/hello", 401),
        ("/healthy", 401),
        ("/hello", 401),
    ] {
        for token in [None, Some("Bearer x")] {
            let mut request = Request::get(path);
            if let Some(token) = token {
                request = request.header("authorization", token);
            }
            let request = request.body(axum::body::Body::empty()).unwrap();
            let answer = router.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), status, "{path}");
        }
    }
}

#[tokio::test]
async fn a_server_of_plain_hyper_is_guarded() {
    let sessions = sessions(Arc::new(MemoryStore::new(10)));
    let service = ServiceBuilder::new()
        .layer(Guard::for_sessions(&sessions).layer::<Claims>().live())
        .service(service_fn(hello::<hyper::body::Incoming>));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(server.serve_connection(TokioIo::new(connection), service));
        }
    });
    let ask = async |token: Option<&str>| {
        let connection = TcpStream::connect(address).await.unwrap();
        let (mut client, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(connection)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::get("/hello").header("host", "api.example");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        Answer::of(client.send_request(request).await.unwrap()).await
    };
    let tokens = login(&sessions, "read").await;
    let answer = ask(Some(&tokens.access_token)).await;
    assert_eq!((answer.status, &*answer.body), (StatusCode::OK, &*b"alice".repeat(100)));
    assert_eq!(ask(None).await.header("www-authenticate"), "Bearer");
    sessions.logout(&tokens.refresh_token).await.unwrap();
    let answer = ask(Some(&tokens.access_token)).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(answer.body.starts_with(b"{\"error\":\"invalid_token\""), "{:?}", answer.body);
}
