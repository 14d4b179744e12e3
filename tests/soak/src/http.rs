//! The way to auth servers over HTTP, each request on a separate connection, so that it is known
//! whether it was sent. Apps send tokens themselves. Browsers have cookies, by the rules of RFC
//! 6265 and those for the prefixes of names (RFC 6265bis §4.1.3).

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use cookie_store::{CookieStore, RawCookie};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes, client::conn::http1, header::SET_COOKIE, http::request};
use hyper_util::rt::TokioIo;
use kippu_simulation::{
    log::{Answer, What},
    time::Time,
    workload::{Ask, PATIENT, Reply, Tokens, World},
};
use serde_json::{Value, json};
use tokio::{
    net::TcpSocket,
    sync::{Mutex, RwLock, Semaphore},
    time,
};
use url::Url;

use crate::live::Live;

/// The URL that users have.
pub(crate) const URL: &str = "https://auth.example";

const PASSWORD: &str = "correct horse battery staple";

const REFRESH: &str = "__Http-auth-server-refresh";
const ACCESS: &str = "__Host-Http-auth-server-access";

#[derive(Clone)]
pub(crate) struct Http {
    time: Live,
    servers: Arc<Vec<SocketAddr>>,
    /// A hash of a password takes as much as many other requests.
    logins: Arc<Semaphore>,
    /// Held for reading while accounts come and go.
    accounts: Arc<RwLock<()>>,
    /// The users that have, or had, an account. Nobody registers twice.
    registered: Arc<Mutex<HashSet<u32>>>,
}

struct Answered {
    status: u16,
    body: Value,
    set_cookies: Vec<String>,
}

enum Failure {
    /// Nobody listened.
    Unsent,
    Broken,
}

/// The address of a user.
fn email(user: u32) -> String {
    format!("user-{user}@example.com")
}

impl World for Http {
    type Time = Live;

    fn time(&self) -> &Live {
        &self.time
    }

    fn servers(&self) -> Vec<u32> {
        (0..).take(self.servers.len()).collect()
    }

    async fn ask(&self, ask: Ask) -> Reply {
        let is_login = ask.what == What::Login;
        let is_hashed = is_login || ask.what == What::Reauthenticate;
        let _turn = if is_hashed { self.logins.acquire().await.ok() } else { None };
        if is_login && !self.is_registered(ask.server, ask.user).await {
            return Reply { sent: Some(self.time.now()), ..Reply::of(Answer::Unsent) };
        }
        let leaves = ask.what == What::Leave;
        let _kept = if leaves { Some(self.accounts.read().await) } else { None };
        let sent = Some(self.time.now());
        let patience = Duration::from_micros(ask.patience);
        // A cookie may expire while the request waits for its turn.
        let request = match request(&ask) {
            Ok(request) => request,
            Err(answer) => return Reply { is_known: true, ..Reply::of(answer) },
        };
        let answered = time::timeout(patience, self.exchange(ask.server, ask.user, request)).await;
        let reply = match answered {
            Ok(Ok(answered)) => reply(&ask, &answered),
            Ok(Err(Failure::Unsent)) => Reply::of(Answer::Unsent),
            Err(_) if ask.patience < PATIENT => Reply::of(Answer::Lost),
            Ok(Err(Failure::Broken)) | Err(_) => Reply::of(Answer::Broken),
        };
        Reply { sent, ..reply }
    }
}

impl Http {
    pub(crate) fn new(time: &Live, servers: Vec<SocketAddr>, accounts: &Arc<RwLock<()>>) -> Self {
        Self {
            time: time.clone(),
            servers: Arc::new(servers),
            logins: Arc::new(Semaphore::new(2)),
            accounts: Arc::clone(accounts),
            registered: Arc::default(),
        }
    }

    /// Registers a user who is not. Returns whether there is, or was, an account for certain.
    async fn is_registered(&self, server: u32, user: u32) -> bool {
        let mut registered = self.registered.lock().await;
        if registered.contains(&user) {
            return true;
        }
        let _kept = self.accounts.read().await;
        let body = json!({ "email": email(user), "password": PASSWORD }).to_string();
        let request = post("/register", "application/json", body);
        let answered = self.exchange(server, user, request).await;
        // In doubt, it was there the time before.
        let is_there = answered.is_ok_and(|answered| matches!(answered.status, 201 | 409));
        is_there && registered.insert(user)
    }

    async fn exchange(
        &self,
        server: u32,
        user: u32,
        request: Request<Full<Bytes>>,
    ) -> Result<Answered, Failure> {
        let [_, _, high, low] = user.to_be_bytes();
        let place = usize::try_from(server).unwrap_or_default();
        let server = self.servers.get(place).copied().ok_or(Failure::Unsent)?;
        let connect = async {
            let socket = TcpSocket::new_v4()?;
            // The server limits how often an address may log in: each user has one.
            socket.bind((Ipv4Addr::new(127, 1, high, low), 0).into())?;
            socket.connect(server).await
        };
        let stream = connect.await.map_err(|_| Failure::Unsent)?;
        let connection = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = connection.map_err(|_| Failure::Unsent)?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(|_| Failure::Broken)?;
            let status = response.status().as_u16();
            let texts = response.headers().get_all(SET_COOKIE).iter();
            let texts = texts.filter_map(|text| text.to_str().ok().map(str::to_owned));
            let set_cookies = texts.collect();
            let body = response.into_body().collect().await.map_err(|_| Failure::Broken)?;
            let body = serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null);
            Ok(Answered { status, body, set_cookies })
        };
        // Where the client gives up, both end, and with them the connection.
        tokio::select! {
            answered = answered => answered,
            () = async { let _ = connection.await; std::future::pending::<()>().await } => {
                Err(Failure::Broken)
            }
        }
    }
}

fn post(path: &str, kind: &str, body: String) -> Request<Full<Bytes>> {
    let request = Request::post(path).header("host", "auth.example").header("content-type", kind);
    request.body(Full::from(body)).expect("a request of constants")
}

/// The request; or the answer, where a browser knows it: its cookie with the token has expired.
fn request(ask: &Ask) -> Result<Request<Full<Bytes>>, Answer> {
    let of_session = format!("/auth/sessions/{}", ask.target.as_deref().unwrap_or_default());
    let (method, path) = match ask.what {
        What::Login => ("POST", "/login"),
        What::Leave => ("POST", "/unregister"),
        What::Refresh | What::Forged => ("POST", "/auth/refresh"),
        What::Logout | What::FalseLogout => ("POST", "/auth/logout"),
        What::LogoutAll => ("POST", "/auth/logout_all"),
        What::LogoutOthers => ("POST", "/auth/logout_others"),
        What::LogoutSession => ("DELETE", &*of_session),
        What::Live => ("GET", "/api/live"),
        What::List => ("GET", "/auth/sessions"),
        What::Me => ("GET", "/api/me"),
        What::Reauthenticate => ("POST", "/reauthenticate"),
    };
    let cookies = ask.cookies.as_deref().filter(|_| ask.what != What::Forged);
    let (email, is_browser) = (email(ask.user), cookies.is_some());
    let (needed, known) = match ask.what {
        What::Refresh | What::Logout => (REFRESH, Answer::Refused),
        _ => (ACCESS, Answer::Expired),
    };
    Ok(match (ask.what, &ask.refresh, &ask.access, cookies) {
        (What::Login, ..) => {
            let evict = !ask.keeps_others;
            let body = json!({
                "email": email, "password": PASSWORD, "evict": evict, "cookies": is_browser,
                "remember": !ask.terms.is_forgotten,
            });
            let mut request = post(path, "application/json", body.to_string());
            if is_browser {
                let same = hyper::header::HeaderValue::from_static("same-origin");
                request.headers_mut().insert("sec-fetch-site", same);
            }
            request
        }
        (What::Leave, ..) => {
            let body = json!({ "email": email, "password": PASSWORD });
            post(path, "application/json", body.to_string())
        }
        (what, _, _, Some(cookies)) => {
            let url = Url::parse(URL).and_then(|url| url.join(path)).expect("a path of constants");
            let jar = jar(cookies);
            let pairs: Vec<_> = jar.get_request_values(&url).collect();
            if what != What::FalseLogout && !pairs.iter().any(|(name, _)| *name == needed) {
                return Err(known);
            }
            let cookies = pairs.iter().map(|(name, value)| format!("{name}={value}"));
            let cookies = cookies.collect::<Vec<_>>().join("; ");
            // Of a browser without SameSite, which sends them with the requests of other sites.
            let site = if what == What::FalseLogout { "cross-site" } else { "same-origin" };
            let request = Request::builder().method(method).uri(path);
            let request = request.header("host", "auth.example").header("cookie", cookies);
            let request = request.header("sec-fetch-site", site);
            with_password(request, what, is_browser).expect("a request of cookies")
        }
        (_, Some(refresh), ..) => {
            let body = format!("grant_type=refresh_token&refresh_token={refresh}");
            post(path, "application/x-www-form-urlencoded", body)
        }
        (what, None, access, None) => {
            let access = access.as_deref().unwrap_or_default();
            let request = Request::builder().method(method).uri(path);
            let request = request.header("authorization", format!("Bearer {access}"));
            let request = request.header("host", "auth.example");
            with_password(request, what, is_browser).expect("a request of a token")
        }
    })
}

/// A request of a session: with the password where the user gives it again.
fn with_password(
    request: request::Builder,
    what: What,
    is_browser: bool,
) -> hyper::http::Result<Request<Full<Bytes>>> {
    if what != What::Reauthenticate {
        return request.body(Full::default());
    }
    let body = json!({ "password": PASSWORD, "cookies": is_browser }).to_string();
    request.header("content-type", "application/json").body(Full::from(body))
}

fn reply(ask: &Ask, answered: &Answered) -> Reply {
    let Answered { status, body, set_cookies } = answered;
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    let tokens = match &ask.cookies {
        Some(cookies) => received(cookies, set_cookies),
        None => text("refresh_token")
            .zip(text("access_token"))
            .and_then(|(refresh, access)| read(refresh, access, body["remembered"] == false, None)),
    };
    let gives_tokens = matches!(ask.what, What::Login | What::Refresh | What::Reauthenticate);
    let listed = body["sessions"].as_array().into_iter().flatten();
    let listed = listed.filter_map(|one| one["id"].as_str().map(str::to_owned)).collect();
    let answer = answer(ask.what, *status, body);
    let tokens = tokens.filter(|_| gives_tokens && answer == Answer::Done);
    let is_foreseen = !matches!(answer, Answer::Odd | Answer::Failed);
    let note = (!is_foreseen)
        .then(|| format!("{status} {}: {}", body["error"], body["error_description"]));
    Reply { tokens, listed, note, ..Reply::of(answer) }
}

fn jar(cookies: &str) -> CookieStore {
    cookie_store::serde::json::load_all(cookies.as_bytes()).unwrap_or_default()
}

/// The cookies of a browser after an answer, and the tokens in them.
fn received(cookies: &str, set_cookies: &[String]) -> Option<Tokens> {
    let url = Url::parse(URL).and_then(|url| url.join("/auth/")).expect("a path of constants");
    let mut jar = jar(cookies);
    let parsed = set_cookies.iter().filter_map(|text| RawCookie::parse(text.clone()).ok());
    for cookie in parsed.filter(is_taken) {
        let _ = jar.insert_raw(&cookie, &url);
    }
    let value = |name: &str| {
        jar.get_request_values(&url).find(|(other, _)| *other == name).map(|(_, value)| value)
    };
    let refresh = value(REFRESH)?.rsplit_once('.')?.0.to_owned();
    let access = value(ACCESS)?.to_owned();
    // A browser forgets a cookie without an age when it is closed.
    let is_forgotten = !jar.get("auth.example", "/auth", REFRESH)?.is_persistent();
    let mut kept = Vec::new();
    cookie_store::serde::json::save_incl_expired_and_nonpersistent(&jar, &mut kept).ok()?;
    read(refresh, access, is_forgotten, String::from_utf8(kept).ok())
}

/// Whether a browser takes a cookie of this length, with this prefix of its name.
fn is_taken(cookie: &RawCookie<'_>) -> bool {
    let is_secure = cookie.secure() == Some(true);
    let is_of_host = cookie.domain().is_none() && cookie.path() == Some("/");
    let is = |prefix| cookie.name().starts_with(prefix);
    let is_http = cookie.http_only() == Some(true);
    cookie.to_string().len() <= 4096
        && (is_secure || !(is("__Secure-") || is("__Host-") || is("__Http-")))
        && (is_http || !(is("__Http-") || is("__Host-Http-")))
        && (is_of_host || !is("__Host-"))
}

fn read(
    refresh: String,
    access: String,
    is_forgotten: bool,
    cookies: Option<String>,
) -> Option<Tokens> {
    let payload = BASE64_URL_SAFE_NO_PAD.decode(access.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    Some(Tokens {
        refresh,
        session: claims["sid"].as_str()?.to_owned(),
        subject: claims["sub"].as_str()?.to_owned(),
        expires_at: claims["exp"].as_u64()?,
        access,
        is_forgotten,
        cookies,
    })
}

/// The answer to a login whose session had ended before it.
const ENDED_MEANWHILE: &str =
    "another request changed the account or ended its sessions: try again";

fn answer(what: What, status: u16, body: &Value) -> Answer {
    let description = body["error_description"].as_str().unwrap_or_default();
    match (status, body["error"].as_str().unwrap_or_default()) {
        (200..300, "") => Answer::Done,
        (404, _) if what == What::LogoutSession => Answer::Absent,
        // Of a logout: no session was ended.
        (400, "invalid_grant") => Answer::Refused,
        (403, "access_denied") if what == What::FalseLogout => Answer::Refused,
        (403, "access_denied") if what == What::Login => Answer::NoRoom,
        (503, _) if what == What::Login && description == ENDED_MEANWHILE => Answer::Refused,
        // It is gone already.
        (401, "invalid_credentials") if what == What::Leave => Answer::Refused,
        // The account is gone.
        (401, "invalid_credentials") if what == What::Login => Answer::Limited,
        (401, "invalid_token") if description == "the session has ended" => Answer::Refused,
        (401, "invalid_token") if description == "the access token has expired" => Answer::Expired,
        (401, "invalid_token") if description == "the access token is not valid" => Answer::Early,
        // The second by a clock that was set back since the login.
        (429, "too_many_tries") | (401, "insufficient_user_authentication") => Answer::Limited,
        (503, "temporarily_unavailable") => Answer::Unavailable,
        (500, "server_error") => Answer::Failed,
        _ => Answer::Odd,
    }
}

#[cfg(test)]
mod tests {
    use kippu_simulation::log::Terms;

    use super::*;

    fn set_cookies(age: &str) -> Vec<String> {
        // An access token of a session, without a header and a MAC.
        let claims = r#"{"sid":"session","sub":"user","exp":1}"#;
        let access = format!("e30.{}.none", BASE64_URL_SAFE_NO_PAD.encode(claims));
        vec![
            format!("{ACCESS}={access}; Path=/; {age} Secure; HttpOnly; SameSite=Strict"),
            format!("{REFRESH}=token.binding; Path=/auth; {age} Secure; HttpOnly; SameSite=Strict"),
        ]
    }

    fn ask(what: What, tokens: &Tokens) -> Ask {
        Ask {
            server: 0,
            user: 0,
            what,
            keeps_others: false,
            terms: Terms::default(),
            refresh: Some(tokens.refresh.clone()),
            access: None,
            target: None,
            cookies: tokens.cookies.clone(),
            is_large: false,
            patience: PATIENT,
        }
    }

    #[test]
    fn a_browser_sends_a_cookie_to_its_path_alone() {
        let tokens = received("", &set_cookies("Max-Age=60;")).unwrap();
        assert_eq!((&*tokens.refresh, &*tokens.session), ("token", "session"));
        let sent = |what| {
            let request = request(&ask(what, &tokens)).unwrap();
            let cookies = request.headers().get("cookie").unwrap().to_str().unwrap().to_owned();
            [REFRESH, ACCESS].map(|name| cookies.contains(name))
        };
        assert_eq!(sent(What::Refresh), [true, true]);
        assert_eq!(sent(What::Live), [false, true]);
    }

    #[test]
    fn a_user_gives_the_password_again_in_a_session() {
        let tokens = received("", &set_cookies("Max-Age=60;")).unwrap();
        for cookies in [None, tokens.cookies.clone()] {
            let (refresh, access) = (None, Some(tokens.access.clone()));
            let ask = Ask { refresh, access, cookies, ..ask(What::Reauthenticate, &tokens) };
            let request = request(&ask).unwrap();
            assert_eq!(
                (request.method().as_str(), request.uri().path()),
                ("POST", "/reauthenticate")
            );
            assert_eq!(request.headers()["content-type"], "application/json");
            assert_eq!(request.headers().contains_key("cookie"), ask.cookies.is_some());
            assert_eq!(request.headers().contains_key("authorization"), ask.cookies.is_none());
        }
    }

    #[test]
    fn a_session_whose_cookies_have_no_age_is_not_remembered() {
        for (age, is_forgotten) in [("", true), ("Max-Age=60;", false)] {
            assert_eq!(received("", &set_cookies(age)).unwrap().is_forgotten, is_forgotten);
        }
    }

    #[test]
    fn a_browser_takes_no_cookie_without_the_attributes_of_its_prefix() {
        for lacking in ["Secure; ", "Path=/; "] {
            let set: Vec<_> =
                set_cookies("").iter().map(|text| text.replacen(lacking, "", 1)).collect();
            assert_eq!(received("", &set), None, "{lacking}");
        }
        let domain: Vec<_> =
            set_cookies("").iter().map(|text| format!("{text}; Domain=auth.example")).collect();
        assert_eq!(received("", &domain), None);
        assert!(received("", &set_cookies("")).is_some());
    }

    #[test]
    fn a_browser_knows_that_a_cookie_has_expired() {
        let tokens = received("", &set_cookies("Max-Age=60;")).unwrap();
        let gone = received(tokens.cookies.as_deref().unwrap(), &set_cookies("Max-Age=0;"));
        assert_eq!(gone, None);
        let asks = [What::Refresh, What::Reauthenticate, What::LogoutSession];
        let known = |tokens: &Tokens| asks.map(|what| request(&ask(what, tokens)).err());
        let empty = Tokens { cookies: Some(String::new()), ..tokens.clone() };
        let [refused, expired] = [Answer::Refused, Answer::Expired].map(Some);
        assert_eq!(known(&empty), [refused, expired, expired]);
        assert_eq!(known(&tokens), [None; 3]);
        assert_eq!(known(&Tokens { cookies: None, ..tokens }), [None; 3]);
    }
}
