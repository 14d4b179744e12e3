//! Requests to a server of sessions: a request as text in, the server's answers against the [`model`]'s.
//!
//! An input has lines. The first holds options, the second a letter for the method and a path. Then come headers, one a
//! line, of which the first letter names them, up to an empty line; the rest is the body. In all of them `@` and a
//! letter stand for a token, a cookie, or a word that the server looks for: see [`words`].

pub mod model;

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    io,
    sync::Arc,
};

use axum_core::{
    body::Body,
    extract::{FromRef, FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use kippu::{
    Key,
    session::{AccessToken, MemoryStore, NoClaims, Session, Sessions, TokenResponse},
    web::{Access, Cookies, Guard, Live, SessionRoutes},
};
use tower::{Layer, ServiceExt, service_fn};

use self::model::{Known, Server};
use crate::{
    input::{Options, fill_in},
    sessions::{Still, now, set_now},
};

const START: i64 = 1_760_000_000_000;
const OWN: &str = "https://api.example";
const ALLOWED: &str = "https://app.example";

/// What happened, by name, so that a test can tell what the seeds reach.
pub type Happened = BTreeSet<String>;

/// A server, and what the model knows of it.
struct Servers {
    sessions: Arc<Sessions<MemoryStore>>,
    guard: Guard,
    model: Server,
    words: Vec<(u8, String)>,
}

#[derive(Clone)]
struct State {
    guard: Guard,
    sessions: Arc<Sessions<MemoryStore>>,
}

impl FromRef<State> for Guard {
    fn from_ref(state: &State) -> Self {
        state.guard.clone()
    }
}

impl FromRef<State> for Arc<Sessions<MemoryStore>> {
    fn from_ref(state: &State) -> Self {
        Arc::clone(&state.sessions)
    }
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
            .clock(&Still)
            .build()
            .expect("defaults are safe");
        let choice = options.below(4);
        let cookies = || {
            let cookies = Cookies::new("/auth").and_then(|cookies| cookies.allow_origin(ALLOWED));
            let cookies = cookies.expect("a path and an origin");
            if choice == 2 { cookies.named("shop").expect("a name").lax() } else { cookies }
        };
        let names = match choice {
            1 => None,
            2 => Some(["__Host-shop-access", "__Secure-shop-refresh", "__Host-shop-csrf"]),
            _ => Some(["__Host-access", "__Secure-refresh", "__Host-csrf"]),
        };
        let names = names.map(|names| names.map(str::to_owned));
        let guard = Guard::new(Arc::clone(sessions.verifier()));
        let guard = if names.is_some() { guard.cookies(cookies()) } else { guard };

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
        let words = words(&model, all, &cookies());
        Self { sessions: Arc::new(sessions), guard, model, words }
    }

    /// The request, as the model and as the server has it; none where no server would get it.
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

    /// The layer before a service, which is called if and only if the model lets the request in.
    fn guarded(&self, request: &model::Request, happened: &mut Happened) {
        for live in [false, true] {
            let calls = Arc::new(std::sync::Mutex::new(Vec::new()));
            let noted = Arc::clone(&calls);
            let inner = service_fn(move |request: Request<Full<Bytes>>| {
                let token = request.extensions().get::<AccessToken<NoClaims>>().cloned();
                noted.lock().expect("nobody panics").push(token);
                async { Ok::<_, Infallible>(Response::new(Body::empty())) }
            });
            let layer = self.guard.layer::<NoClaims>();
            let layer = if live { layer.live(Arc::clone(&self.sessions)) } else { layer };
            let response = now(layer.layer(inner).oneshot(sent(request)));
            let response = response.expect("it has no other answers");
            let wanted =
                if live { self.model.live(request) } else { self.model.authenticate(request) };
            let calls = calls.lock().expect("nobody panics");
            match wanted {
                Ok(session) => {
                    let [Some(token)] = &calls[..] else { panic!("{} calls", calls.len()) };
                    self.is_of(token, session);
                    assert_eq!(response.status(), StatusCode::OK);
                }
                Err(status) => {
                    assert!(calls.is_empty(), "it was let in in the place of {status}");
                    check_refusal(response, status);
                }
            }
            happened.insert(format!("guard: {}", wanted.err().unwrap_or(200)));
        }
    }

    /// What a handler asks for.
    fn extracted(&self, request: &model::Request, happened: &mut Happened) {
        let state = State { guard: self.guard.clone(), sessions: Arc::clone(&self.sessions) };
        let wanted = self.model.authenticate(request);
        let mut parts = sent(request).into_parts().0;
        match now(<Access<NoClaims> as FromRequestParts<_>>::from_request_parts(&mut parts, &state))
        {
            Ok(Access(token)) => self.is_of(&token, wanted.expect("it was let in")),
            Err(rejection) => {
                check_refusal(rejection.into_response(), wanted.expect_err("refused"));
            }
        }
        match now(<Access<NoClaims> as OptionalFromRequestParts<_>>::from_request_parts(
            &mut parts, &state,
        )) {
            Ok(Some(Access(token))) => self.is_of(&token, wanted.expect("it was let in")),
            // Nobody is there: what is wrong is refused all the same.
            Ok(None) => {
                assert_eq!(wanted, Err(401));
                happened.insert("nobody".into());
            }
            Err(rejection) => {
                check_refusal(rejection.into_response(), wanted.expect_err("refused"));
            }
        }
        let wanted = self.model.live(request);
        match now(<Live<NoClaims, MemoryStore> as FromRequestParts<_>>::from_request_parts(
            &mut parts, &state,
        )) {
            Ok(live) => self.is_of(&live.token, wanted.expect("it was let in")),
            Err(rejection) => {
                check_refusal(rejection.into_response(), wanted.expect_err("refused"));
            }
        }
    }

    /// The routes of sessions, and what became of the sessions.
    fn routed(mut self, request: &model::Request, happened: &mut Happened) {
        let routes = SessionRoutes::new(Arc::clone(&self.sessions), self.guard.clone(), welcome);
        let response = now(routes.oneshot(sent(request))).expect("it has no other answers");
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
            let listed = now(self.sessions.list(subject)).expect("lists do not fail");
            let is_live = listed.iter().any(|session| session.id.to_string() == *id);
            assert_eq!(is_live, !self.model.ended[number], "session {number}");
        }
        if wanted >= 400 {
            return check_refusal(response, wanted);
        }
        check_headers(&response);
        if let (200, Some(session), "/refresh" | "refresh") = (wanted, session, &*request.path) {
            let (parts, body) = response.into_parts();
            let body = now(body.collect()).expect("it is there").to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            let in_cookie = parts.headers.contains_key(header::SET_COOKIE);
            // Tokens are given once: in cookies, or to whoever asked.
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

/// The request for the server.
fn sent(request: &model::Request) -> Request<Full<Bytes>> {
    let mut sent = Request::new(Full::new(Bytes::from(request.body.clone())));
    *sent.method_mut() = Method::from_bytes(request.method.as_bytes()).expect("letters");
    *sent.uri_mut() = target(request).expect("it was looked at");
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("letters");
        sent.headers_mut().append(name, HeaderValue::from_bytes(value).expect("it was one"));
    }
    sent
}

/// The target of a request; none where a path cannot be taken out of one and put into it again, as `*`.
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

/// A refusal: of that status, never the server's fault, one challenge where RFC 6750 §3 asks for one.
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
    assert!(!response.headers().contains_key(header::SET_COOKIE), "a refusal sets a cookie");
    if status != 404 && status != 405 {
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    }
    let body = now(response.into_body().collect()).expect("it is there").to_bytes();
    if !body.is_empty() {
        let told: BTreeMap<String, String> = serde_json::from_slice(&body).expect("one object");
        assert!(told.keys().eq(["error", "error_description"]), "{told:?}");
    }
}

/// One answer: no header stands twice but `Set-Cookie`, whose names differ.
fn check_headers(response: &Response) {
    let mut names = BTreeSet::new();
    for (name, value) in response.headers() {
        let name = if name == header::SET_COOKIE {
            value.to_str().expect("visible letters").split('=').next().unwrap_or_default()
        } else {
            name.as_str()
        };
        assert!(names.insert(name.to_owned()), "{name} stands twice");
    }
}

/// What `@` and a letter stand for.
fn words(
    model: &Server,
    [first, rotated, early, bob, over]: [&TokenResponse; 5],
    cookies: &Cookies,
) -> Vec<(u8, String)> {
    let mut words = vec![
        // Access tokens: good, out of time, bob's, of a session that was ended.
        (b'a', rotated.access_token.clone()),
        (b'b', early.access_token.clone()),
        (b'c', bob.access_token.clone()),
        (b'd', over.access_token.clone()),
        // Refresh tokens: good, just used up, of the other session, bob's, of the one that was ended.
        (b'r', rotated.refresh_token.clone()),
        (b's', first.refresh_token.clone()),
        (b't', early.refresh_token.clone()),
        (b'u', bob.refresh_token.clone()),
        (b'v', over.refresh_token.clone()),
        (b'o', OWN.into()),
        (b'h', "api.example".into()),
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
        (b'L', "/logout".into()),
        (b'S', "/sessions".into()),
        (b'A', "/logout_all".into()),
        (b'O', "/logout_others".into()),
        (b'i', model.ids[0].clone()),
        (b'j', model.ids[1].clone()),
        (b'k', model.ids[2].clone()),
    ];
    let names = model.cookies.clone().unwrap_or_else(|| ["a", "r", "c"].map(str::to_owned));
    let names = names.map(|name| format!("{name}="));
    words.extend([b'x', b'y', b'z'].into_iter().zip(names));
    // The values of a refresh cookie and of the one that it is bound to: good, just used up, bob's.
    for (letters, tokens) in [([b'V', b'W'], rotated), ([b'X', b'Y'], first), ([b'C', b'D'], bob)] {
        let set: Vec<_> = cookies.set(tokens).expect("short tokens").into_values().collect();
        let value = |index: usize| {
            let cookie: &HeaderValue = &set[index];
            let cookie = cookie.to_str().expect("visible letters");
            cookie.split(['=', ';']).nth(1).unwrap_or_default().to_owned()
        };
        words.extend([(letters[0], value(1)), (letters[1], value(2))]);
    }
    words
}

/// Inputs to start from, by name: the example `seeds` writes them down.
pub const SEEDS: &[(&str, &str)] = &[
    ("nothing", "0\nG/"),
    ("bearer", "0\nG@S\nA@B@a"),
    ("bearer_small", "0\nG@S\nAbearer   @a  "),
    ("bearer_expired", "0\nG@S\nA@B@b"),
    ("bearer_ended", "0\nG@S\nA@B@d"),
    ("bearer_twice", "0\nG@S\nA@B@a\nA@B@a"),
    ("bearer_malformed", "0\nG@S\nA@B@a,x"),
    ("bearer_refresh_token", "0\nG@S\nA@B@r"),
    ("basic", "0\nG@S\nABasic YTpi"),
    ("basic_and_cookie", "0\nG@S\nABasic YTpi\nC@x@a"),
    ("cookie", "0\nG@S\nCb=1; @x@a;c=2"),
    ("cookie_named", "2\nG@S\nC@x@a"),
    ("cookie_twice", "0\nG@S\nC@x@a\nC@x@c"),
    ("cookie_of_none", "1\nG@S\nC@x@a"),
    ("cookie_empty", "0\nG@S\nC@x;@x@a"),
    ("cookie_and_bearer", "0\nG@S\nA@B@a\nC@x@a"),
    ("head", "0\nH@S\nC@x@a"),
    ("post_from_nowhere", "0\nP@A\nC@x@a"),
    ("post_same_origin", "0\nP@A\nC@x@a\nS@1"),
    ("post_cross_site", "0\nP@A\nC@x@a\nS@3\nO@e"),
    ("post_allowed", "0\nP@O\nC@x@a\nS@2\nO@p"),
    ("post_own_origin", "0\nP@O\nC@x@c\nH@h\nO@o"),
    ("post_own_origin_in_target", "0\nP@o@O\nC@x@c\nO@o"),
    ("post_this_machine", "0\nP@A\nC@x@a\nH@m\nO@l"),
    ("post_double_submit", "0\nP@A\nC@x@a; @z@W\nX@W"),
    ("post_double_submit_other", "0\nP@A\nC@x@a; @z@W\nX@D"),
    ("post_origin_twice", "0\nP@A\nC@x@a\nO@p\nO@p"),
    ("upgrade", "0\nG@S\nC@x@a\nUwebsocket\nS@3"),
    ("refresh", "0\nP@R\nT@f\n\n@g@r"),
    ("refresh_used_up", "0\nP@R\nT@f;charset=utf-8\n\n@g@s&scope="),
    ("refresh_ended", "0\nP@R\nT@f\n\n@g@v"),
    ("refresh_by_access_token", "0\nP@R\nT@f\n\n@g@a"),
    (
        "refresh_escaped",
        "0\nP@R\nT@f\n\ngrant%5ftype=refresh%5Ftoken&refresh_token=%6bippu_rt_&refresh_token=@u",
    ),
    ("refresh_json", "0\nP@R\nTapplication/json\n\n@g@r"),
    ("refresh_no_grant", "0\nP@R\nT@f\n\nrefresh_token=@r"),
    ("refresh_other_grant", "0\nP@R\nT@f\n\ngrant_type=password&refresh_token=@r"),
    ("refresh_cookie", "0\nP@R\nC@y@V; @z@W\nS@1"),
    ("refresh_cookie_and_form", "0\nP@R\nT@f\nC@y@V; @z@W\nS@1\n\n@g@r"),
    ("refresh_cookie_planted_beside", "0\nP@R\nC@y@C; @y@V; @z@W\nS@1"),
    ("refresh_cookie_twice", "0\nP@R\nC@y@V; @y@V; @z@W\nS@1"),
    ("refresh_cookie_not_bound", "0\nP@R\nC@y@V; @z@D\nS@1"),
    ("refresh_cookie_cross_site", "0\nP@R\nC@y@V; @z@W\nS@3"),
    ("refresh_cookie_used_up", "2\nP@R\nC@y@X; @z@Y\nX@Y"),
    ("logout", "0\nP@L\nT@f\n\nrefresh_token=@s"),
    ("logout_stranger", "0\nP@L\nT@f\n\nrefresh_token=x"),
    ("logout_cookie", "0\nP@L\nC@y@V; @z@W\nO@p"),
    ("logout_by_access", "0\nP@L\nC@x@c\nS@1"),
    ("logout_none", "1\nP@L"),
    ("logout_all", "1\nP@A\nA@B@a"),
    ("logout_others", "0\nP@O\nA@B@a"),
    ("end_one", "0\nD@S/@j\nA@B@a"),
    ("end_own", "0\nD@S/@i\nC@x@a\nS@4"),
    ("end_another", "0\nD@S/@k\nA@B@a"),
    ("method", "0\nG@R\nA@B@a"),
    ("path", "0\nP/refresh/x\nA@B@a"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// What a fuzzer starts from decides what it finds in its first minute.
    #[test]
    fn the_seeds_reach_every_answer() {
        let happened: Happened = SEEDS.iter().flat_map(|(_, seed)| run(seed.as_bytes())).collect();
        let wanted = [
            "guard: 200",
            "guard: 400",
            "guard: 401",
            "guard: 403",
            "nobody",
            "ended",
            "refreshed, in a cookie: false",
            "refreshed, in a cookie: true",
            "GET sessions: 200",
            "HEAD sessions: 200",
            "GET sessions: 400",
            "GET sessions: 401",
            "GET sessions: 403",
            "GET refresh: 405",
            "POST refresh: 200",
            "POST refresh: 400",
            "POST refresh: 403",
            "POST refresh: 404",
            "POST logout: 204",
            "POST logout: 400",
            "POST logout_all: 200",
            "POST logout_all: 403",
            "POST logout_others: 200",
            "DELETE sessions: 204",
            "DELETE sessions: 404",
        ];
        for wanted in wanted {
            assert!(happened.contains(wanted), "no seed for {wanted} in {happened:#?}");
        }
        assert!(!happened.contains("no request"));
    }

    #[test]
    fn what_is_no_request_is_left_out() {
        for input in ["", "0\n", "0\nG\u{e9}", "0\nG/\nA\u{7f}"] {
            assert!(run(input.as_bytes()).contains("no request"), "{input:?}");
        }
    }
}
