//! WebSockets and streams of events of axum, with real clients: how they get in, and that they
//! close when their token ends.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::{client::conn, ext::Protocol};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kippu::session::{NoClaims, TokenResponse};
use kippu_framework_tests::feeds::Feeds;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        self, Message,
        client::IntoClientRequest,
        protocol::{Role, frame::coding::CloseCode},
    },
};

const QUARTER_HOUR: Duration = Duration::from_secs(900);
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens a socket. Returns the subprotocol that the server has selected, or the status of its
/// refusal.
pub(crate) async fn open(
    url: &str,
    headers: &[(&str, &str)],
) -> Result<(Socket, Option<String>), StatusCode> {
    let mut request = url.into_client_request().unwrap();
    for (name, value) in headers {
        let name = HeaderName::try_from(*name).unwrap();
        request.headers_mut().append(name, HeaderValue::try_from(*value).unwrap());
    }
    match connect_async(request).await {
        Ok((socket, response)) => {
            let selected = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
            Ok((socket, selected.map(|value| value.to_str().unwrap().to_owned())))
        }
        Err(tungstenite::Error::Http(response)) => Err(response.status()),
        Err(error) => panic!("{error}"),
    }
}

/// Returns the address of a socket at this server.
fn url(feeds: &Feeds, path: &str) -> String {
    format!("ws://{}{path}", feeds.address)
}

async fn opened(feeds: &Feeds, headers: &[(&str, &str)]) -> Socket {
    open(&url(feeds, "/feed"), headers).await.unwrap().0
}

async fn login(feeds: &Feeds) -> TokenResponse {
    feeds.sessions.login("alice", &NoClaims {}).await.unwrap()
}

pub(crate) fn bearer(tokens: &TokenResponse) -> String {
    format!("Bearer {}", tokens.access_token)
}

pub(crate) async fn next<S>(socket: &mut WebSocketStream<S>) -> Option<Message>
where
    WebSocketStream<S>: StreamExt<Item = Result<Message, tungstenite::Error>> + Unpin,
{
    timeout(PATIENCE, socket.next()).await.unwrap().map(Result::unwrap)
}

/// Waits for the close frame of the server. Returns its code and its reason.
pub(crate) async fn closed(socket: &mut Socket) -> (u16, String) {
    match next(socket).await {
        Some(Message::Close(Some(frame))) => (frame.code.into(), frame.reason.to_string()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_websocket_closes_when_its_session_ends() {
    let feeds = Feeds::start(QUARTER_HOUR).await;
    let [tokens, others] = [login(&feeds).await, login(&feeds).await];
    let mut sockets = Vec::new();
    for tokens in [&tokens, &others] {
        for path in ["/feed", "/guarded/feed"] {
            let headers = [("authorization", &*bearer(tokens))];
            let (mut socket, selected) = open(&url(&feeds, path), &headers).await.unwrap();
            assert_eq!(selected, None);
            assert_eq!(next(&mut socket).await, Some("hello alice".into()));
            sockets.push(socket);
        }
    }
    feeds.sessions.logout(&tokens.refresh_token).await.unwrap();
    for socket in &mut sockets[..2] {
        assert_eq!(closed(socket).await, (4401, "the session has ended".into()));
    }
    for socket in &mut sockets[2..] {
        socket.send("still here".into()).await.unwrap();
        assert_eq!(next(socket).await, Some("still here".into()));
    }
    feeds.sessions.logout_all("alice").await.unwrap();
    for socket in &mut sockets[2..] {
        assert_eq!(closed(socket).await, (4401, "the session has ended".into()));
    }
    // A token of an ended session opens none.
    let headers = [("authorization", &*bearer(&tokens))];
    assert_eq!(open(&url(&feeds, "/feed"), &headers).await.unwrap_err(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_websocket_closes_when_its_token_expires() {
    let feeds = Feeds::start(Duration::from_secs(3)).await;
    let tokens = login(&feeds).await;
    let mut socket = opened(&feeds, &[("authorization", &bearer(&tokens))]).await;
    assert_eq!(next(&mut socket).await, Some("hello alice".into()));
    assert_eq!(closed(&mut socket).await, (4401, "the access token has expired".into()));
    assert!(feeds.sessions.verify::<NoClaims>(&tokens.access_token).is_err(), "not too early");
}

/// The handler waits in `send` then, which `ended` has to interrupt.
#[tokio::test]
async fn a_client_that_reads_nothing_keeps_no_socket_open() {
    let feeds = Feeds::start(QUARTER_HOUR).await;
    let tokens = login(&feeds).await;
    let mut socket = opened(&feeds, &[("authorization", &bearer(&tokens))]).await;
    socket.send("flood".into()).await.unwrap();
    // Until all buffers between the two are full.
    sleep(Duration::from_millis(500)).await;
    feeds.sessions.logout(&tokens.refresh_token).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    // The rest of the buffers, and then the end.
    let rest = async { while let Some(Ok(_)) = socket.next().await {} };
    timeout(PATIENCE, rest).await.unwrap();
}

#[tokio::test]
async fn the_server_selects_another_subprotocol_than_the_token() {
    let feeds = Feeds::start(QUARTER_HOUR).await;
    let tokens = login(&feeds).await;
    for offers in ["kippu.bearer.TOKEN, feed.v1", "feed.v2, feed.v1, kippu.bearer.TOKEN"] {
        let offers = offers.replace("TOKEN", &tokens.access_token);
        let headers = [("sec-websocket-protocol", &*offers)];
        let (mut socket, selected) = open(&url(&feeds, "/feed"), &headers).await.unwrap();
        assert_eq!(selected.as_deref(), Some("feed.v1"));
        assert_eq!(next(&mut socket).await, Some("hello alice".into()));
    }
    let alone = format!("kippu.bearer.{}", tokens.access_token);
    let headers = [("sec-websocket-protocol", &*alone)];
    assert_eq!(open(&url(&feeds, "/feed"), &headers).await.unwrap_err(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_cookie_opens_a_websocket_for_a_page_of_the_same_origin_alone() {
    let feeds = Feeds::start(QUARTER_HOUR).await;
    let cookie = format!("__Host-Http-access={}", login(&feeds).await.access_token);
    let own = format!("http://{}", feeds.address);
    let headers = [("cookie", &*cookie), ("origin", &own)];
    assert_eq!(next(&mut opened(&feeds, &headers).await).await, Some("hello alice".into()));
    for origin in [None, Some("https://evil.example"), Some("null"), Some("http://127.0.0.1:1")] {
        let mut headers = vec![("cookie", &*cookie)];
        headers.extend(origin.map(|origin| ("origin", origin)));
        let refused = open(&url(&feeds, "/feed"), &headers).await.unwrap_err();
        assert_eq!(refused, StatusCode::FORBIDDEN, "{origin:?}");
    }
}

/// RFC 8441: a WebSocket in a stream of HTTP/2, which a CONNECT opens.
#[tokio::test]
async fn a_websocket_over_http_2_is_guarded_like_any_other() {
    let feeds = Feeds::start(QUARTER_HOUR).await;
    let tokens = login(&feeds).await;
    let stream = TcpStream::connect(feeds.address).await.unwrap();
    let (mut client, connection) =
        conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    // The settings of the server, which allow it, are here after the first answer.
    let page = Request::get(format!("http://{}/", feeds.address)).body(Empty::<Bytes>::new());
    assert_eq!(client.send_request(page.unwrap()).await.unwrap().status(), StatusCode::OK);
    let mut ask = async |headers: &[(&str, &str)]| {
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .uri(format!("http://{}/feed", feeds.address))
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .extension(Protocol::from_static("websocket"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        client.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap()
    };
    let cookie = format!("__Host-Http-access={}", tokens.access_token);
    let offer = format!("feed.v1, kippu.bearer.{}", tokens.access_token);
    let own = format!("http://{}", feeds.address);
    let cookie = ("cookie", &*cookie);
    for (headers, status) in [
        (&[cookie][..], 403),
        (&[cookie, ("origin", "https://evil.example")], 403),
        (&[], 401),
        (&[("sec-websocket-protocol", "feed.v1")], 401),
    ] {
        assert_eq!(ask(headers).await.status(), status, "{headers:?}");
    }
    let mut sockets = Vec::new();
    for headers in [
        &[cookie, ("origin", &own)][..],
        &[("sec-websocket-protocol", &offer)],
        &[("authorization", &bearer(&tokens))],
    ] {
        let response = ask(headers).await;
        assert_eq!(response.status(), StatusCode::OK, "{headers:?}");
        let upgraded = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
        assert_eq!(next(&mut socket).await, Some("hello alice".into()));
        sockets.push(socket);
    }
    feeds.sessions.logout(&tokens.refresh_token).await.unwrap();
    for socket in &mut sockets {
        let Some(Message::Close(Some(frame))) = next(socket).await else { panic!("no close") };
        assert_eq!(frame.code, CloseCode::Library(4401));
    }
}

#[tokio::test]
async fn a_stream_of_events_ends_with_its_session_or_its_token() {
    let feeds = Feeds::start(Duration::from_secs(3)).await;
    for is_logged_out in [true, false] {
        let tokens = login(&feeds).await;
        let stream = TcpStream::connect(feeds.address).await.unwrap();
        let (mut client, connection) = conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("/events")
            .header(header::HOST, "api.example")
            .header("authorization", bearer(&tokens));
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let mut body = response.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "data: hello alice\n\n");
        if is_logged_out {
            feeds.sessions.logout(&tokens.refresh_token).await.unwrap();
        }
        let rest = timeout(PATIENCE, body.collect()).await.unwrap().unwrap().to_bytes();
        assert!(rest.ends_with(b"data: tick\n\n"), "{rest:?}");
        assert!(feeds.sessions.verify::<NoClaims>(&tokens.access_token).is_err());
    }
}
