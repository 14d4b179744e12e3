//! An HTTP client, which sends what a test writes.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, header::SET_COOKIE};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

pub(super) struct Client(pub(super) SocketAddr);

pub(super) const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
pub(super) const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");
pub(super) const CROSS_SITE: (&str, &str) = ("sec-fetch-site", "cross-site");

impl Client {
    pub(super) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let connection = TcpStream::connect(self.0).await.unwrap();
        let (mut client, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(connection)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "api.example");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::<Bytes>::from(body.to_owned())).unwrap();
        let (parts, body) = client.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    /// A GET request with a token.
    pub(super) async fn get(&self, path: &str, token: &str) -> Answer {
        self.ask("GET", path, &[("authorization", &format!("Bearer {token}"))], "").await
    }

    /// A POST request with a token.
    pub(super) async fn post(&self, path: &str, token: &str) -> Answer {
        self.ask("POST", path, &[("authorization", &format!("Bearer {token}"))], "").await
    }

    pub(super) async fn form(&self, path: &str, body: &str) -> Answer {
        self.ask("POST", path, &[FORM], body).await
    }
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The status and the challenge. No cache may keep a challenge.
    pub(super) fn challenge(&self) -> (u16, &str) {
        assert_eq!(self.header("cache-control"), "no-store");
        (self.status, self.header("www-authenticate"))
    }

    pub(super) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_str(&self.body).unwrap()
    }

    /// The status and the error of a JSON body, which no cache may keep.
    pub(super) fn error(&self) -> (u16, String) {
        assert_eq!(self.header("cache-control"), "no-store");
        (self.status, self.json()["error"].as_str().unwrap().to_owned())
    }

    pub(super) fn set_cookies(&self) -> Vec<&str> {
        let values = self.headers.get_all(SET_COOKIE).iter();
        values.map(|value| value.to_str().unwrap()).collect()
    }

    /// The cookies that a browser would keep, as its `Cookie` header.
    pub(super) fn cookies(&self) -> String {
        let pairs = self.set_cookies().into_iter().filter_map(|value| value.split(';').next());
        pairs.filter(|pair| !pair.ends_with('=')).collect::<Vec<_>>().join("; ")
    }
}
