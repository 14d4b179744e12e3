//! A user's client: a request to the auth server, each on a separate connection, so that it is
//! known whether it was sent; and its line in the log.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufWriter, Write},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http_body_util::{BodyExt, Full};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use kippu_simulation::log::{Answer, Got, Line, Micros, NEVER, Request, What, Who};
use serde_json::Value;
use tokio::{net::TcpSocket, time};

/// Longer than the server is patient with its store.
const PATIENCE: Duration = Duration::from_secs(20);

/// The log, and the numbers of tokens: no token leaves it.
pub(crate) struct Recorder {
    begin: Instant,
    began: SystemTime,
    file: Mutex<BufWriter<File>>,
    numbers: Mutex<HashMap<String, u64>>,
}

impl Recorder {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self {
            begin: Instant::now(),
            began: SystemTime::now(),
            file: Mutex::new(BufWriter::new(File::create(path)?)),
            numbers: Mutex::new(HashMap::new()),
        })
    }

    pub(crate) fn now(&self) -> Micros {
        u64::try_from(self.begin.elapsed().as_micros()).unwrap_or(NEVER)
    }

    /// The Unix time of the log's zero.
    pub(crate) fn began(&self) -> Micros {
        let since = self.began.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(NEVER)
    }

    pub(crate) fn write(&self, line: &Line) {
        let text = serde_json::to_string(line).expect("a line of numbers and texts");
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(file, "{text}").expect("the log can be written");
    }

    pub(crate) fn flush(&self) -> io::Result<()> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }

    fn number(&self, token: &str) -> u64 {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let next = u64::try_from(numbers.len()).unwrap_or(NEVER);
        *numbers.entry(token.to_owned()).or_insert(next)
    }
}

/// The response to a login and to a refresh.
#[derive(Clone)]
pub(crate) struct Tokens {
    pub(crate) refresh: String,
    pub(crate) access: String,
}

pub(crate) struct Reply {
    pub(crate) answer: Answer,
    pub(crate) tokens: Option<Tokens>,
}

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) server: SocketAddr,
    pub(crate) user: u32,
    /// The server limits how often an address may log in: each user has one.
    pub(crate) address: Ipv4Addr,
    pub(crate) who: Who,
    /// Whether its logins are refused where there is no room, and do not end the oldest session.
    pub(crate) keeps_others: bool,
}

enum Failure {
    /// Nobody listened.
    Unsent,
    Broken,
}

impl Client {
    pub(crate) async fn register(&self, email: &str, password: &str) -> Option<u16> {
        let body = serde_json::json!({ "email": email, "password": password }).to_string();
        let request = post("/register", "application/json", body);
        self.exchange(request).await.ok().map(|(status, _)| status)
    }

    pub(crate) async fn login(&self, email: &str, password: &str) -> Reply {
        let evict = !self.keeps_others;
        let body = serde_json::json!({ "email": email, "password": password, "evict": evict });
        let request = post("/login", "application/json", body.to_string());
        self.send(What::Login, request, None, None).await
    }

    pub(crate) async fn leave(&self, email: &str, password: &str) -> Answer {
        let body = serde_json::json!({ "email": email, "password": password }).to_string();
        let request = post("/unregister", "application/json", body);
        self.send(What::Leave, request, None, None).await.answer
    }

    pub(crate) async fn refresh(&self, token: &str) -> Reply {
        self.send(What::Refresh, refresh_form("/auth/refresh", token), Some(token), None).await
    }

    /// A refresh with a token that is nearly one.
    pub(crate) async fn forge(&self, token: &str) -> Reply {
        self.send(What::Forged, refresh_form("/auth/refresh", token), None, None).await
    }

    pub(crate) async fn logout(&self, token: &str) -> Reply {
        self.send(What::Logout, refresh_form("/auth/logout", token), Some(token), None).await
    }

    /// As a page of this site sends it, where the browser has a cookie with either of the two
    /// tokens, and no other.
    pub(crate) async fn logout_by_cookie(&self, tokens: &Tokens, is_refresh: bool) -> Reply {
        let request = with_cookie(tokens, is_refresh, "same-origin");
        if is_refresh {
            self.send(What::Logout, request, Some(&tokens.refresh), None).await
        } else {
            self.send(What::Logout, request, None, Some(&tokens.access)).await
        }
    }

    /// As a page of another site sends it.
    pub(crate) async fn logout_from_elsewhere(&self, tokens: &Tokens) -> Reply {
        let request = with_cookie(tokens, true, "cross-site");
        self.send(What::FalseLogout, request, None, None).await
    }

    /// With a refresh token that is nearly one.
    pub(crate) async fn forge_logout(&self, token: &str) -> Reply {
        self.send(What::FalseLogout, refresh_form("/auth/logout", token), None, None).await
    }

    /// With an access token.
    pub(crate) async fn ask(&self, what: What, access: &str) -> Reply {
        let (method, path) = match what {
            What::Logout => ("POST", "/auth/logout"),
            What::LogoutAll => ("POST", "/auth/logout_all"),
            What::LogoutOthers => ("POST", "/auth/logout_others"),
            What::Live => ("GET", "/api/live"),
            What::List => ("GET", "/auth/sessions"),
            _ => ("GET", "/api/me"),
        };
        let request = hyper::Request::builder().method(method).uri(path);
        let request = request.header("authorization", format!("Bearer {access}"));
        let request = request.header("host", "soak").body(Full::default());
        self.send(what, request.expect("a request of a token"), None, Some(access)).await
    }

    async fn send(
        &self,
        what: What,
        request: hyper::Request<Full<Bytes>>,
        token: Option<&str>,
        access: Option<&str>,
    ) -> Reply {
        let sent = self.recorder.now();
        let outcome = time::timeout(PATIENCE, self.exchange(request)).await;
        let mut ended = self.recorder.now();
        let (answer, status, body) = match outcome {
            Ok(Ok((status, body))) => (answer(what, status, &body), status, body),
            Ok(Err(Failure::Unsent)) => (Answer::Unsent, 0, Value::Null),
            Ok(Err(Failure::Broken)) => (Answer::Broken, 0, Value::Null),
            Err(_) => {
                ended = NEVER;
                (Answer::Broken, 0, Value::Null)
            }
        };
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        let tokens = text("refresh_token").zip(text("access_token"));
        let tokens = tokens.map(|(refresh, access)| Tokens { refresh, access });
        let got = tokens.as_ref().and_then(|tokens| self.got(tokens));
        let listed = body["sessions"].as_array().into_iter().flatten();
        let listed = listed.filter_map(|one| one["id"].as_str().map(str::to_owned)).collect();
        self.recorder.write(&Line::Request(Request {
            sent,
            ended,
            user: self.user,
            server: 0,
            who: self.who,
            what,
            // Tokens that cannot be read are as odd as none.
            answer: if what_gives_tokens(what) && answer == Answer::Done && got.is_none() {
                Answer::Odd
            } else {
                answer
            },
            status,
            keeps_others: self.keeps_others && what == What::Login,
            token: token.map(|token| self.recorder.number(token)),
            access: access.map(|access| self.recorder.number(access)),
            got,
            listed,
        }));
        Reply { answer, tokens }
    }

    /// The tokens as the log names them.
    fn got(&self, tokens: &Tokens) -> Option<Got> {
        let payload = BASE64_URL_SAFE_NO_PAD.decode(tokens.access.split('.').nth(1)?).ok()?;
        let claims: Value = serde_json::from_slice(&payload).ok()?;
        Some(Got {
            token: self.recorder.number(&tokens.refresh),
            access: self.recorder.number(&tokens.access),
            session: claims["sid"].as_str()?.to_owned(),
            subject: claims["sub"].as_str()?.to_owned(),
            expires_at: claims["exp"].as_u64()?,
        })
    }

    async fn exchange(
        &self,
        request: hyper::Request<Full<Bytes>>,
    ) -> Result<(u16, Value), Failure> {
        let connect = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind((self.address, 0).into())?;
            socket.connect(self.server).await
        };
        let stream = connect.await.map_err(|_| Failure::Unsent)?;
        let connection = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = connection.map_err(|_| Failure::Unsent)?;
        let connection = tokio::spawn(connection);
        let answered = async {
            let response = sender.send_request(request).await.map_err(|_| Failure::Broken)?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.map_err(|_| Failure::Broken)?;
            let body = body.to_bytes();
            Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
        };
        let answered = answered.await;
        connection.abort();
        answered
    }
}

fn what_gives_tokens(what: What) -> bool {
    matches!(what, What::Login | What::Refresh)
}

fn post(path: &str, kind: &str, body: String) -> hyper::Request<Full<Bytes>> {
    let request = hyper::Request::builder().method("POST").uri(path).header("host", "soak");
    let request = request.header("content-type", kind).body(Full::from(body));
    request.expect("a request of constants")
}

fn refresh_form(path: &str, token: &str) -> hyper::Request<Full<Bytes>> {
    let body = format!("grant_type=refresh_token&refresh_token={token}");
    post(path, "application/x-www-form-urlencoded", body)
}

/// A logout with a cookie alone. The binding of the refresh cookie does not matter.
fn with_cookie(tokens: &Tokens, is_refresh: bool, site: &str) -> hyper::Request<Full<Bytes>> {
    let cookie = if is_refresh {
        format!("__Http-auth-server-refresh={}.nothing", tokens.refresh)
    } else {
        format!("__Host-Http-auth-server-access={}", tokens.access)
    };
    let request = hyper::Request::builder().method("POST").uri("/auth/logout");
    let request = request.header("host", "soak").header("cookie", cookie);
    let request = request.header("sec-fetch-site", site).body(Full::default());
    request.expect("a request of tokens")
}

/// The answer to a login whose session had ended before it.
const ENDED_MEANWHILE: &str =
    "another request changed the account or ended its sessions: try again";

fn answer(what: What, status: u16, body: &Value) -> Answer {
    let description = body["error_description"].as_str().unwrap_or_default();
    match (status, body["error"].as_str().unwrap_or_default()) {
        (200..300, "") => Answer::Done,
        // Of a logout: no session was ended.
        (400, "invalid_grant") => Answer::Refused,
        (403, "access_denied") if what == What::FalseLogout => Answer::Refused,
        (403, "access_denied") if what == What::Login => Answer::NoRoom,
        (503, _) if what == What::Login && description == ENDED_MEANWHILE => Answer::Refused,
        // It is gone already.
        (401, "invalid_credentials") if what == What::Leave => Answer::Refused,
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
