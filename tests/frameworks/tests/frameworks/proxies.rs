//! nginx in front of a server of sockets, with the configuration of kippu-web's page `proxies`.

use std::{fs, net::Ipv4Addr, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn};
use hyper_util::rt::TokioIo;
use kippu::session::NoClaims;
use kippu_framework_tests::feeds::Feeds;
use kippu_test_support::{
    nginx,
    servers::{Scratch, Server, free_port},
};
use tokio::{net::TcpStream, time::timeout};

use crate::sockets::{self, PATIENCE, bearer, closed, next};

const PAGE: &str = include_str!("../../../../crates/kippu-web/src/proxies.md");

struct Proxy {
    port: u16,
    folder: Scratch,
    _server: Server,
}

impl Proxy {
    /// Starts nginx with the configuration on the page, without TLS.
    fn start(feeds: &Feeds) -> Self {
        let (_, rest) = PAGE.split_once("```nginx\n").unwrap();
        let (documented, _) = rest.split_once("```").unwrap();
        let (folder, port) = (Scratch::new("proxy"), free_port());
        let site = nginx::adapted(
            documented,
            &[
                ("server 127.0.0.1:8080;", &format!("server {};", feeds.address)),
                ("listen 443 ssl http2;", &format!("listen 127.0.0.1:{port};")),
                ("ssl_certificate /etc/ssl/certs/app.example.pem;", ""),
                ("ssl_certificate_key /etc/ssl/private/app.example.key;", ""),
            ],
        );
        let server = nginx::start(folder.path(), &site, port);
        Self { port, folder, _server: server }
    }

    /// The origin of its pages.
    fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Response<Incoming> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.unwrap();
        let (mut client, connection) = conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(header::HOST, format!("127.0.0.1:{}", self.port));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        client.send_request(request.body(Full::<Bytes>::from(body)).unwrap()).await.unwrap()
    }
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn a_websocket_passes_nginx_and_leaves_no_token_in_its_log() {
    let feeds = Feeds::start(Duration::from_secs(900)).await;
    let proxy = Proxy::start(&feeds);
    let tokens = feeds.sessions.login("alice", &NoClaims {}).await.unwrap();
    let cookie = format!("__Host-Http-access={}", tokens.access_token);
    let offer = format!("feed.v1, kippu.bearer.{}", tokens.access_token);
    let (origin, bearer) = (proxy.origin(), bearer(&tokens));
    let url = format!("ws://127.0.0.1:{}/feed", proxy.port);
    let mut open = Vec::new();
    for headers in [
        &[("authorization", &*bearer)][..],
        &[("sec-websocket-protocol", &offer)],
        &[("cookie", &cookie), ("origin", &origin)],
    ] {
        let (mut socket, _) = sockets::open(&url, headers).await.unwrap();
        assert_eq!(next(&mut socket).await, Some("hello alice".into()));
        open.push(socket);
    }
    for headers in
        [&[("cookie", &*cookie)][..], &[("cookie", &cookie), ("origin", "https://evil.example")]]
    {
        let refused = sockets::open(&url, headers).await.unwrap_err();
        assert_eq!(refused, StatusCode::FORBIDDEN, "{headers:?}");
    }
    feeds.sessions.logout(&tokens.refresh_token).await.unwrap();
    for mut socket in open {
        assert_eq!(closed(&mut socket).await, (4401, "the session has ended".into()));
    }
    let log = fs::read_to_string(proxy.folder.path().join("access_log")).unwrap();
    assert_eq!(log.matches("GET /feed").count(), 5, "{log}");
    assert!(!log.contains(&tokens.access_token), "{log}");
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn events_pass_nginx_at_once() {
    let feeds = Feeds::start(Duration::from_secs(900)).await;
    let proxy = Proxy::start(&feeds);
    let tokens = feeds.sessions.login("alice", &NoClaims {}).await.unwrap();
    let headers = [("authorization", &*bearer(&tokens))];
    let response = proxy.ask(Method::GET, "/events", &headers, String::new()).await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    // While the stream goes on. nginx 1.22 does that with buffers, too, without promising it.
    let first = timeout(Duration::from_secs(5), body.frame()).await.unwrap();
    let first = first.unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(b"data: hello alice\n\n"), "{first:?}");
    feeds.sessions.logout(&tokens.refresh_token).await.unwrap();
    timeout(PATIENCE, body.collect()).await.unwrap().unwrap();
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn the_longest_cookies_pass_nginx_both_ways() {
    let feeds = Feeds::start(Duration::from_secs(900)).await;
    let proxy = Proxy::start(&feeds);
    let origin = ("origin", &*proxy.origin());
    let note = "x".repeat(2600);
    let login = proxy.ask(Method::POST, "/login", &[origin], note).await;
    assert_eq!(login.status(), StatusCode::NO_CONTENT);
    let set = login.headers().get_all(header::SET_COOKIE).iter();
    let pairs: Vec<_> = set.map(|set| set.to_str().unwrap().split(';').next().unwrap()).collect();
    assert!(pairs[0].len() > 3800, "{} bytes", pairs[0].len());
    let cookie = ("cookie", &*pairs.join("; "));
    let sessions = proxy.ask(Method::GET, "/auth/sessions", &[cookie], String::new()).await;
    assert_eq!(sessions.status(), StatusCode::OK);
    let refresh = proxy.ask(Method::POST, "/auth/refresh", &[cookie, origin], String::new()).await;
    assert_eq!(refresh.status(), StatusCode::OK);
    // A guard takes every upgrade for a WebSocket, which needs an origin. nginx passes no other on.
    let upgrade = [cookie, ("connection", "upgrade, http2-settings"), ("upgrade", "h2c")];
    let sessions = proxy.ask(Method::GET, "/auth/sessions", &upgrade, String::new()).await;
    assert_eq!(sessions.status(), StatusCode::OK);
}
