#![doc = include_str!("testing.md")]

use http::{
    HeaderValue, Method,
    header::{AUTHORIZATION, COOKIE, HOST, ORIGIN},
    request,
};
use kippu::session::TokenResponse;

use super::{Guard, cookie::new_csrf};

/// A client that is logged in: what it begins is a request with its credentials, which the test
/// gives a body.
///
/// ```
/// use axum::{Router, body::Body, extract::FromRef, http::StatusCode, routing::post};
/// use kippu::session::{NoClaims, testing::{TestSessions, TestToken}};
/// use kippu_web::{Access, Cookies, Guard, testing::TestClient};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let test = TestSessions::new();
/// let guard = Guard::for_sessions(test.sessions()).cookies(Cookies::new("/auth")?)?;
/// let order = post(async |token: Access<NoClaims>| token.subject.clone());
/// let app = Router::new().route("/orders", order).with_state(guard.clone());
///
/// let mobile = TestClient::bearer(&test.token(&TestToken::new("alice")));
/// let browser = TestClient::cookies(&guard, &test.login("bob", &NoClaims {}));
/// for client in [mobile, browser] {
///     let answer = app.clone().oneshot(client.post("/orders").body(Body::empty())?).await?;
///     assert_eq!(answer.status(), StatusCode::OK);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TestClient(Credential);

#[derive(Clone, Debug)]
enum Credential {
    Bearer(HeaderValue),
    /// Each cookie with the path that the browser sends it to.
    Cookies(Vec<(String, HeaderValue)>),
}

/// The host of the requests with cookies, and the page that sends them.
const HOST_OF_PAGE: &str = "app.test";
const PAGE: &str = "https://app.test";

impl TestClient {
    /// Returns a client with the token in its `Authorization` header.
    ///
    /// # Panics
    /// For a text that is not a token.
    pub fn bearer(access_token: &str) -> Self {
        let value = HeaderValue::try_from(format!("Bearer {access_token}"));
        let mut value = value.expect("a token is visible ASCII");
        value.set_sensitive(true);
        Self(Credential::Bearer(value))
    }

    /// Returns a browser with the tokens of a login in the cookies of `guard`. It sends the refresh
    /// cookie to the path of the session routes alone. A request that changes something comes from
    /// a page of the site: it has an `Origin`, and the `Host` that belongs to it.
    ///
    /// # Panics
    /// For a guard without [cookies](Guard::cookies), and for tokens that no session has made.
    pub fn cookies(guard: &Guard, tokens: &TokenResponse) -> Self {
        let cookies = guard.0.cookies.as_ref().expect("the guard has cookies: Guard::cookies");
        let csrf = new_csrf().expect("the system has random bytes");
        let set = cookies
            .set(&http::HeaderMap::new(), tokens, &csrf)
            .expect("the tokens of a session fit");
        Self(Credential::Cookies(set.into_values().map(|value| kept(&value)).collect()))
    }

    /// Begins a GET request.
    pub fn get(&self, path: &str) -> request::Builder {
        self.request(Method::GET, path)
    }

    /// Begins a POST request.
    pub fn post(&self, path: &str) -> request::Builder {
        self.request(Method::POST, path)
    }

    /// Begins a request of any method.
    pub fn request(&self, method: Method, path: &str) -> request::Builder {
        let changes = !method.is_safe();
        let mut request = request::Builder::new().method(method).uri(path);
        match &self.0 {
            Credential::Bearer(value) => request.header(AUTHORIZATION, value),
            Credential::Cookies(cookies) => {
                let sent = cookies.iter().filter(|(folder, _)| is_within(path, folder));
                for (_, pair) in sent {
                    request = request.header(COOKIE, pair);
                }
                request = request.header(HOST, HOST_OF_PAGE);
                if changes { request.header(ORIGIN, PAGE) } else { request }
            }
        }
    }
}

/// Reads a `Set-Cookie` as a browser does: the path, and the pair of name and value.
fn kept(set_cookie: &HeaderValue) -> (String, HeaderValue) {
    let text = set_cookie.to_str().expect("cookies are visible ASCII");
    let mut parts = text.split("; ");
    let pair = parts.next().unwrap_or_default();
    let path = parts.find_map(|part| part.strip_prefix("Path=")).unwrap_or("/");
    let mut pair = HeaderValue::try_from(pair).expect("it is a part of a header");
    pair.set_sensitive(true);
    (path.to_owned(), pair)
}

/// RFC 6265 §5.1.4.
fn is_within(path: &str, folder: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    path.strip_prefix(folder)
        .is_some_and(|rest| folder.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
}
