//! Requests to a server of sessions. Sends a request that is described by a text, and compares the
//! server's answers with those of the [`model`].
//!
//! An input consists of lines. The first has options, the second a letter for the method and a
//! path. Headers follow, one on each line, whose first letter stands for the name, up to an empty
//! line. The rest is the body. In all of them `@` and a letter stand for a token, a cookie, or a
//! word that the server looks for: see [`words`].

pub mod model;
pub mod seeds;

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    io,
    sync::Arc,
};

use axum_core::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use kippu::{
    Key,
    session::{AccessToken, MemoryStore, NoClaims, Session, Sessions, TokenResponse},
};
use kippu_web::{Access, Cookies, Guard, Live, SessionRoutes};
use tower::{Layer, ServiceExt, service_fn};

use self::model::{Known, Server};
use crate::{
    input::{Options, fill_in},
    sessions::{Still, now, set_now},
};

const START: i64 = 1_760_000_000_000;
const OWN: &str = "https://api.example";
const ALLOWED: &str = "https://app.example";

/// The names of what happened, so that a test can tell what the seeds reach.
pub type Happened = BTreeSet<String>;

/// A server, and what the model knows about it.
struct Servers {
    sessions: Arc<Sessions<MemoryStore>>,
    guard: Guard,
    model: Server,
    words: Vec<(u8, String)>,
}

/// Sends the request of an input.
pub fn run(data: &[u8]) -> Happened {
    let mut happened = Happened::new();
    let (options, rest) = line(data);
    let servers = Servers::new(&mut Options::new(options));
    let Some(request) = servers.request(rest) else {
        happened.insert("no request".into());
        return happened;
    };
    servers.guarded(&request, &mut happened);
    servers.extracted(&request, &mut happened);
    servers.routed(&request, &mut happened);
    happened
}

fn line(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[]),
    }
}

impl Servers {
    fn new(options: &mut Options<'_>) -> Self {
        let key = |byte: u8| Key::hs256([byte; 32]).expect("32 bytes");
        let sessions = Sessions::builder(MemoryStore::new(1000))
            .issuer("https://auth.example")
            .audience("api")
            .client("web")
            .access_key(key(1))
            .refresh_key(key(2).with_kid("2026-11"))
            .max_access_token_len(Cookies::MAX_ACCESS_TOKEN_LEN)
            .expect("below the highest limit")
            .clock(&Still)
            .build()
            .expect("defaults are safe");
        let sessions = Arc::new(sessions);
        let choice = options.below(4);
        let cookies = || {
            let cookies = Cookies::new("/auth").and_then(|cookies| cookies.allow_origin(ALLOWED));
            let cookies = cookies.expect("a path and an origin");
            match choice {
                2 => cookies.named("shop").expect("a name").lax(),
                3 => cookies.to_every_path(),
                _ => cookies,
            }
        };
        let access = ["__Host-Http-access", "__Host-access"];
        let refresh = ["__Http-refresh", "__Host-Http-refresh", "__Secure-refresh"];
        let names: Option<[&[&str]; 3]> = match choice {
            1 => None,
            2 => Some([
                &["__Host-Http-shop-access", "__Host-shop-access"],
                &["__Http-shop-refresh", "__Host-Http-shop-refresh", "__Secure-shop-refresh"],
                &["__Host-shop-csrf"],
            ]),
            3 => Some([
                &access,
                &["__Host-Http-refresh", "__Http-refresh", "__Secure-refresh"],
                &["__Host-csrf"],
            ]),
            _ => Some([&access, &refresh, &["__Host-csrf"]]),
        };
        let names = names.map(|kinds| {
            kinds.map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        });
        let bare = Guard::for_sessions(&sessions);
        let with_cookies = bare.clone().cookies(cookies()).expect("short tokens");
        let guard = if names.is_some() { with_cookies.clone() } else { bare };

        let mut model = Server {
            cookies: names,
            origins: vec![ALLOWED.into()],
            tokens: Vec::new(),
            subjects: Vec::new(),
            ids: Vec::new(),
            ended: Vec::new(),
        };
        let login = |subject| now(sessions.login(subject, &NoClaims {})).expect("a login");
        set_now(START - 3_600_000);
        let early = login("alice");
        set_now(START);
        let [first, bob, over] = ["alice", "bob", "alice"].map(login);
        let rotated = now(sessions.refresh(&first.refresh_token, welcome)).expect("a refresh");
        now(sessions.logout(&over.refresh_token)).expect("a logout");
        let mut note = |subject, tokens: &[(&TokenResponse, bool)], ended| {
            let session = model.ids.len();
            for (tokens, in_time) in tokens {
                let (access, refresh) = (tokens.access_token.clone(), tokens.refresh_token.clone());
                model.tokens.push(Known { text: access, access: Some(*in_time), session });
                model.tokens.push(Known { text: refresh, access: None, session });
            }
            model.ids.push(tokens[0].0.session_id.to_string());
            model.subjects.push(subject);
            model.ended.push(ended);
        };
        note("alice", &[(&first, true), (&rotated, true)], false);
        note("alice", &[(&early, false)], false);
        note("bob", &[(&bob, true)], false);
        note("alice", &[(&over, true)], true);

        let all = [&first, &rotated, &early, &bob, &over];
        let words = words(&model, all, &with_cookies);
        Self { sessions, guard, model, words }
    }

    /// Returns the request, for the model and for the server; `None` if no server would get it.
    fn request(&self, text: &[u8]) -> Option<model::Request> {
        let (first, mut rest) = line(text);
        let (letter, asked) = first.split_first()?;
        let method = match letter {
            b'G' => "GET",
            b'H' => "HEAD",
            b'O' => "OPTIONS",
            b'D' => "DELETE",
            b'U' => "PUT",
            b'Q' => "get",
            _ => "POST",
        };
        let uri = Uri::try_from(fill_in(asked, &self.words)).ok()?;
        let mut headers = Vec::new();
        loop {
            let (header, behind) = line(rest);
            rest = behind;
            let Some((letter, value)) = header.split_first() else { break };
            let name = match letter {
                b'A' => "authorization",
                b'C' => "cookie",
                b'O' => "origin",
                b'S' => "sec-fetch-site",
                b'H' => "host",
                b'X' => "x-csrf-token",
                b'U' => "upgrade",
                b'T' => "content-type",
                _ => "x-other",
            };
            let value = HeaderValue::from_bytes(&fill_in(value, &self.words)).ok()?;
            headers.push((name.to_owned(), value.as_bytes().to_vec()));
        }
        let request = model::Request {
            method: method.into(),
            path: uri.path().into(),
            authority: uri.authority().map(ToString::to_string),
            headers,
            body: fill_in(rest, &self.words),
        };
        target(&request).map(|_| request)
    }

    /// Checks the layer before a service, which is called if and only if the model accepts the
    /// request.
    fn guarded(&self, request: &model::Request, happened: &mut Happened) {
        for live in [false, true] {
            let calls = Arc::new(std::sync::Mutex::new(Vec::new()));
            let noted = Arc::clone(&calls);
            let inner = service_fn(move |request: Request<Full<Bytes>>| {
                let token = request.extensions().get::<Access<NoClaims>>().cloned();
                noted.lock().expect("no thread panics").push(token);
                async { Ok::<_, Infallible>(Response::new(Body::empty())) }
            });
            let layer = self.guard.layer::<NoClaims>();
            let layer = if live { layer.live() } else { layer };
            let response = now(layer.layer(inner).oneshot(sent(request)));
            let response = response.expect("the service never fails").map(Body::new);
            let wanted =
                if live { self.model.live(request) } else { self.model.authenticate(request) };
            let calls = calls.lock().expect("no thread panics");
            match wanted {
                Ok(session) => {
                    let [Some(token)] = &calls[..] else { panic!("{} calls", calls.len()) };
                    self.is_of(token, session);
                    assert_eq!(response.status(), StatusCode::OK);
                }
                Err(status) => {
                    assert!(calls.is_empty(), "the request was accepted, expected {status}");
                    assert!(!response.headers().contains_key(header::SET_COOKIE));
                    check_refusal(response, status);
                }
            }
            happened.insert(format!("guard: {}", wanted.err().unwrap_or(200)));
        }
    }

    /// Checks the extractors of handlers.
    fn extracted(&self, request: &model::Request, happened: &mut Happened) {
        let state = self.guard.clone();
        let wanted = self.model.authenticate(request);
        let mut parts = sent(request).into_parts().0;
        match now(<Access<NoClaims> as FromRequestParts<_>>::from_request_parts(&mut parts, &state))
        {
            Ok(token) => self.is_of(&token, wanted.expect("the model accepts the request")),
            Err(rejection) => {
                check_refusal(rejection.into_response(), wanted.expect_err("refused"));
            }
        }
        match now(<Access<NoClaims> as OptionalFromRequestParts<_>>::from_request_parts(
            &mut parts, &state,
        )) {
            Ok(Some(token)) => self.is_of(&token, wanted.expect("the model accepts the request")),
            // A request without credentials; invalid ones are still rejected.
            Ok(None) => {
                assert_eq!(wanted, Err(401));
                happened.insert("nobody".into());
            }
            Err(rejection) => {
                check_refusal(rejection.into_response(), wanted.expect_err("refused"));
            }
        }
        let wanted = self.model.live(request);
        match now(<Live<NoClaims> as FromRequestParts<_>>::from_request_parts(&mut parts, &state)) {
            Ok(token) => self.is_of(&token, wanted.expect("the model accepts the request")),
            Err(rejection) => {
                check_refusal(rejection.into_response(), wanted.expect_err("refused"));
            }
        }
    }

    /// Checks the routes of sessions, and the state of the sessions afterwards.
    fn routed(mut self, request: &model::Request, happened: &mut Happened) {
        let routes = SessionRoutes::new(Arc::clone(&self.sessions), self.guard.clone(), welcome);
        let response = now(routes.oneshot(sent(request))).expect("the service never fails");
        let response = response.map(Body::from);
        let before = self.model.ended.clone();
        let (wanted, session) = self.model.answer(request);
        happened.insert(format!(
            "{} {}: {wanted}",
            request.method,
            request.path.split('/').nth(1).unwrap_or_default()
        ));
        assert_eq!(response.status().as_u16(), wanted);
        if before != self.model.ended {
            happened.insert("ended".into());
        }
        for (number, id) in self.model.ids.iter().enumerate() {
            let subject = self.model.subjects[number];
            let listed = now(self.sessions.list(subject)).expect("lists do not fail").sessions;
            let is_live = listed.iter().any(|session| session.id.to_string() == *id);
            assert_eq!(is_live, !self.model.ended[number], "session {number}");
        }
        if wanted >= 400 {
            // A logout that revoked no session still clears the cookies.
            let clears = response.headers().contains_key(header::SET_COOKIE);
            assert!(!clears || (wanted, &*request.path.replace('/', "")) == (400, "logout"));
            for cookie in response.headers().get_all(header::SET_COOKIE) {
                assert!(cookie.to_str().expect("visible letters").contains("Max-Age=0"));
            }
            return check_refusal(response, wanted);
        }
        check_headers(&response);
        if let (200, Some(session), "/refresh" | "refresh") = (wanted, session, &*request.path) {
            let (parts, body) = response.into_parts();
            let body = now(body.collect()).expect("the body is in memory").to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            let in_cookie = parts.headers.contains_key(header::SET_COOKIE);
            // Tokens are returned once: in cookies, or in the body.
            assert_eq!(in_cookie, body.get("access_token").is_none());
            if let Some(token) = body["access_token"].as_str() {
                let token = self.sessions.verify::<NoClaims>(token).expect("a good token");
                self.is_of(&token, session);
            }
            happened.insert(format!("refreshed, in a cookie: {in_cookie}"));
        }
    }

    fn is_of(&self, token: &AccessToken<NoClaims>, session: usize) {
        assert_eq!(token.session_id.to_string(), self.model.ids[session]);
        assert_eq!(token.subject, self.model.subjects[session]);
    }
}

async fn welcome(_: Session) -> Result<Option<NoClaims>, io::Error> {
    Ok(Some(NoClaims {}))
}

/// Returns the request for the server.
fn sent(request: &model::Request) -> Request<Full<Bytes>> {
    let mut sent = Request::new(Full::new(Bytes::from(request.body.clone())));
    *sent.method_mut() = Method::from_bytes(request.method.as_bytes()).expect("letters");
    *sent.uri_mut() = target(request).expect("it was checked above");
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("letters");
        sent.headers_mut()
            .append(name, HeaderValue::from_bytes(value).expect("it was checked above"));
    }
    sent
}

/// Returns the target of a request; `None` if a path cannot be replaced in it, for example `*`.
fn target(request: &model::Request) -> Option<Uri> {
    let target = match &request.authority {
        Some(authority) => Uri::builder()
            .scheme("https")
            .authority(authority.as_str())
            .path_and_query(request.path.as_str())
            .build(),
        None => Uri::try_from(request.path.as_str()).map_err(Into::into),
    };
    target.ok().filter(|target| target.path() == request.path)
}

/// Checks a rejection: its status, which is never a server error, and one challenge where RFC 6750
/// §3 requires one.
fn check_refusal(response: Response, status: u16) {
    assert_eq!(response.status().as_u16(), status);
    assert!((400..500).contains(&status));
    let challenges: Vec<_> = response.headers().get_all(header::WWW_AUTHENTICATE).iter().collect();
    assert!(
        challenges.len() == usize::from(status == 401)
            || matches!((status, challenges.len()), (400, 1))
    );
    for challenge in challenges {
        let text = challenge.to_str().expect("visible letters");
        assert!(text.starts_with("Bearer"), "{text}");
    }
    check_headers(&response);
    if status != 404 && status != 405 {
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    }
    let body = now(response.into_body().collect()).expect("the body is in memory").to_bytes();
    if !body.is_empty() {
        let told: BTreeMap<String, String> = serde_json::from_slice(&body).expect("one object");
        assert!(told.keys().eq(["error", "error_description"]), "{told:?}");
    }
}

/// Checks that no header is repeated, except `Set-Cookie`, whose names differ.
fn check_headers(response: &Response) {
    let mut names = BTreeSet::new();
    for (name, value) in response.headers() {
        let name = if name == header::SET_COOKIE {
            value.to_str().expect("visible letters").split('=').next().unwrap_or_default()
        } else {
            name.as_str()
        };
        assert!(names.insert(name.to_owned()), "{name} is repeated");
    }
}

/// The replacements of `@` and a letter.
fn words(
    model: &Server,
    [first, rotated, early, bob, over]: [&TokenResponse; 5],
    guard: &Guard,
) -> Vec<(u8, String)> {
    let mut words = vec![
        // Access tokens: valid, expired, of bob, of a revoked session.
        (b'a', rotated.access_token.clone()),
        (b'b', early.access_token.clone()),
        (b'c', bob.access_token.clone()),
        (b'd', over.access_token.clone()),
        // Refresh tokens: valid, just used, of the other session, of bob, of the revoked one.
        (b'r', rotated.refresh_token.clone()),
        (b's', first.refresh_token.clone()),
        (b't', early.refresh_token.clone()),
        (b'u', bob.refresh_token.clone()),
        (b'v', over.refresh_token.clone()),
        (b'o', OWN.into()),
        (b'h', "api.example".into()),
        (b'n', "API.example:443".into()),
        (b'p', ALLOWED.into()),
        (b'e', "https://evil.example".into()),
        (b'l', "http://localhost:8080".into()),
        (b'm', "localhost:8080".into()),
        (b'1', "same-origin".into()),
        (b'2', "same-site".into()),
        (b'3', "cross-site".into()),
        (b'4', "none".into()),
        (b'f', "application/x-www-form-urlencoded".into()),
        (b'g', "grant_type=refresh_token&refresh_token=".into()),
        (b'B', "Bearer ".into()),
        (b'R', "/refresh".into()),
        (b'K', "/revoke".into()),
        (b'q', "token=".into()),
        (b'L', "/logout".into()),
        (b'S', "/sessions".into()),
        (b'A', "/logout_all".into()),
        (b'O', "/logout_others".into()),
        (b'i', model.ids[0].clone()),
        (b'j', model.ids[1].clone()),
        (b'k', model.ids[2].clone()),
    ];
    // The names of the cookies, and the earlier ones.
    let none = || [vec!["a".to_owned()], vec!["r".to_owned()], vec!["c".to_owned()]];
    let names = model.cookies.clone().unwrap_or_else(none);
    for (letters, names) in [&b"xE"[..], b"ywF", b"z"].into_iter().zip(names) {
        words.extend(letters.iter().copied().zip(names.iter().map(|name| format!("{name}="))));
    }
    // The values of a refresh cookie and of the cookie that it is bound to: valid, just used, of
    // bob.
    let request = Request::post("/").header("sec-fetch-site", "same-origin").body(());
    let (request, ()) = request.expect("a header").into_parts();
    for (letters, tokens) in [([b'V', b'W'], rotated), ([b'X', b'Y'], first), ([b'C', b'D'], bob)] {
        let login = async { Ok(tokens.clone()) };
        let set = now(guard.set_cookies(&request, login)).expect("short tokens");
        let set: Vec<_> = set.into_values().collect();
        let value = |index: usize| {
            let cookie: &HeaderValue = &set[index];
            let cookie = cookie.to_str().expect("visible letters");
            cookie.split(['=', ';']).nth(1).unwrap_or_default().to_owned()
        };
        words.extend([(letters[0], value(1)), (letters[1], value(2))]);
    }
    words
}
