//! A server of tonic behind the guard, and its real client.

use std::{convert::Infallible, pin::Pin, sync::Arc, task, time::Duration};

use http::uri::PathAndQuery;
use http_body::Body as _;
use kippu::{
    Key,
    session::{
        AccessVerifier, EndedOptions, EndedSessions, MemoryStore, Sessions, StoreErrorKind,
        conformance::Faulty,
    },
};
use kippu_web::{Access, Guard, GuardLayer};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream, wrappers::TcpListenerStream};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    server::NamedService,
    transport::{Channel, Server},
};
use tonic_prost::ProstCodec;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::{ACCESS_SECRET, Claims, ISSUER, login, sessions};

/// A service as generated code has it: `Say` answers once, `Watch` until the token ends.
#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Infallible>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut grpc = tonic::server::Grpc::new(ProstCodec::<String, String>::default());
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/test.Echo/Say" => grpc.unary(service_fn(say), request).await,
                "/test.Echo/Watch" => grpc.server_streaming(service_fn(watch), request).await,
                _ => Status::unimplemented("").into_http(),
            })
        })
    }
}

fn token_of<T>(request: &Request<T>) -> Result<Access<Claims>, Status> {
    request.extensions().get().cloned().ok_or_else(|| Status::internal("there is no guard"))
}

async fn say(request: Request<String>) -> Result<Response<String>, Status> {
    let token = token_of(&request)?;
    let required = match &**request.get_ref() {
        "secret" => token.require_scope("write"),
        "close" => token.require_recent(Duration::from_secs(300)),
        _ => Ok(()),
    };
    required.map_err(|rejection| {
        let (code, message) = rejection.grpc_status();
        Status::new(code.into(), message)
    })?;
    Ok(Response::new(format!("{} says {}", token.subject, request.get_ref())))
}

type Messages = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

async fn watch(request: Request<String>) -> Result<Response<Messages>, Status> {
    let token = token_of(&request)?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let tick = async {
            loop {
                if sender.send(Ok("tick".to_owned())).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = tick => {}
            _ = token.ended(tokio::time::sleep) => {
                let _ = sender.send(Err(Status::unauthenticated("the session has ended"))).await;
            }
        }
    });
    Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
}

pub(crate) async fn serve(layer: GuardLayer<Claims>) -> Channel {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .unwrap();
    let server = Server::builder()
        .layer(layer)
        .add_service(Echo)
        .add_service(health)
        .add_service(reflection)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

pub(crate) struct Client(pub(crate) Channel);

impl Client {
    pub(crate) fn request(token: Option<&str>, text: &str) -> Request<String> {
        let mut request = Request::new(text.to_owned());
        if let Some(token) = token {
            let bearer = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", bearer);
        }
        request
    }

    pub(crate) async fn say(&self, token: Option<&str>, text: &str) -> Result<String, Status> {
        self.send(Self::request(token, text)).await
    }

    pub(crate) async fn send(&self, request: Request<String>) -> Result<String, Status> {
        let mut grpc = tonic::client::Grpc::new(self.0.clone());
        grpc.ready().await.unwrap();
        let path = PathAndQuery::from_static("/test.Echo/Say");
        let codec = ProstCodec::<String, String>::default();
        Ok(grpc.unary(request, path, codec).await?.into_inner())
    }

    pub(crate) async fn watch(&self, token: Option<&str>) -> Result<Streaming<String>, Status> {
        let mut grpc = tonic::client::Grpc::new(self.0.clone());
        grpc.ready().await.unwrap();
        let path = PathAndQuery::from_static("/test.Echo/Watch");
        let codec = ProstCodec::<String, String>::default();
        Ok(grpc.server_streaming(Self::request(token, ""), path, codec).await?.into_inner())
    }
}

/// A client takes a plain 401 for `UNAUTHENTICATED`, too: this is what is sent.
#[tokio::test]
async fn a_rejection_is_http_200_with_the_status_in_its_headers() {
    let store = Arc::new(Faulty::new(MemoryStore::new(10)));
    let sessions = Sessions::builder(Arc::clone(&store))
        .issuer(ISSUER)
        .audience("api")
        .client("web")
        .access_key(Key::hs256(ACCESS_SECRET).unwrap())
        .refresh_key(Key::hs256([2; 32]).unwrap().with_kid("2026-11"));
    let sessions = Arc::new(sessions.build().unwrap());
    let claims = Claims { scope: "read".into() };
    let token = sessions.login("alice", &claims).await.unwrap().access_token;
    let guard = Guard::for_sessions(&sessions);
    let ask = async |layer: GuardLayer<Claims>, content_type: &str, token: &str| {
        let service = layer.layer(service_fn(async |_: http::Request<String>| {
            Ok::<_, Infallible>(http::Response::new("in".to_owned()))
        }));
        let request = http::Request::post("/test.Echo/Say").header("content-type", content_type);
        let request = request.header("authorization", token).body(String::new()).unwrap();
        let response = service.oneshot(request).await.unwrap();
        let header = |name: &str| {
            response.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned()
        };
        let answer = [header("grpc-status"), header("grpc-message"), header("content-type")];
        (response.status().as_u16(), answer, response.body().is_end_stream())
    };
    let rejected = |code: &str, message: &str| {
        (200, [code.to_owned(), message.to_owned(), "application/grpc".to_owned()], true)
    };
    let bearer = format!("Bearer {token}");
    for content_type in ["application/grpc", "application/grpc+proto", "Application/gRPC"] {
        let answer = ask(guard.layer(), content_type, "").await;
        assert_eq!(answer, rejected("16", "the call has no access token"), "{content_type}");
    }
    let answer = ask(guard.layer().require_scope("write"), "application/grpc", &bearer).await;
    assert_eq!(answer, rejected("7", "the access token is not good for this"));
    let answer = ask(guard.layer(), "application/grpc", "Bearer a b").await;
    let words = "the header Authorization is not Bearer and a token";
    assert_eq!(answer, rejected("16", words));
    let answer = ask(guard.layer(), "application/grpc", &bearer).await;
    assert_eq!((answer.0, answer.2), (200, false));
    store.outage(Some(StoreErrorKind::Unavailable));
    let answer = ask(guard.layer().live(), "application/grpc", &bearer).await;
    assert_eq!(answer, rejected("14", "try again in a moment"));
    store.outage(Some(StoreErrorKind::Misconfigured));
    let answer = ask(guard.layer().live(), "application/grpc", &bearer).await;
    assert_eq!(answer, rejected("13", "the server is at fault"));
    // A page at the same port.
    let (status, [code, ..], _) = ask(guard.layer(), "application/json", "").await;
    assert_eq!((status, &*code), (401, ""));
}

#[tokio::test]
async fn a_stream_ends_with_its_session() {
    let store = Arc::new(MemoryStore::new(10));
    let sessions: Arc<Sessions<Arc<MemoryStore>>> = sessions(Arc::clone(&store));
    let options = EndedOptions::new().max_lag(Duration::from_millis(200));
    let ended = EndedSessions::follow(store, options);
    ended.poll().await.unwrap();
    tokio::spawn(ended.clone().run(tokio::time::sleep));
    let verifier = AccessVerifier::new(Key::hs256(ACCESS_SECRET).unwrap(), ISSUER, "api");
    let guard = Guard::new(verifier.ended_sessions(ended));
    let client = Client(serve(guard.layer()).await);

    let [one, other] = [login(&sessions, "read").await, login(&sessions, "read").await];
    let mut stream = client.watch(Some(&one.access_token)).await.unwrap();
    let mut beside = client.watch(Some(&other.access_token)).await.unwrap();
    assert_eq!(stream.message().await.unwrap().unwrap(), "tick");
    sessions.logout(&one.refresh_token).await.unwrap();
    let end = async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                end => return end,
            }
        }
    };
    let end = timeout(Duration::from_secs(5), end).await.expect("the stream ends");
    assert_eq!(end.unwrap_err().message(), "the session has ended");
    // That of another session goes on.
    for _ in 0..3 {
        assert_eq!(beside.next().await.unwrap().unwrap(), "tick");
    }
}
