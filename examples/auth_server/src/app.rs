//! The application: keys and storage in, its routes out.

use std::{error::Error, future::ready, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef, Request, State},
    http::{HeaderName, HeaderValue, Method, header::STRICT_TRANSPORT_SECURITY},
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use kippu::session::{
    BoxStore, EndedOptions, EndedSessions, Session, Sessions, rotation::AheadPolicy,
};
use kippu_web::{Cookies, Guard, Rejection, SessionRoutes};

use crate::{
    accounts::{Accounts, AccountsError},
    api::{self, Profile},
    assets,
    audit::Audit,
    counted::{self, Counted},
    explain,
    keys::{Keys, TokenKeys},
    limits::Limits,
    login, logs,
    passwords::Passwords,
    ready::{Readiness, healthz, readyz},
    refusal,
    serve::{self, RequestTimeouts},
};

/// The state that all requests share.
#[derive(Clone, FromRef)]
pub(crate) struct App {
    pub(crate) sessions: Arc<Sessions<BoxStore>>,
    pub(crate) guard: Guard,
    pub(crate) ended: EndedSessions,
    pub(crate) accounts: Accounts,
    pub(crate) passwords: Passwords,
    pub(crate) limits: Arc<Limits>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) readiness: Readiness,
    pub(crate) keys: Arc<TokenKeys>,
    pub(crate) policy: Policy,
    transport: Transport,
}

/// Whether users reach the server over TLS, by the scheme of its URL.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Plain,
    Tls,
}

/// How long what lasts, and what is refused, where it differs from what kippu proposes.
#[derive(Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) access: Duration,
    pub(crate) grace: Duration,
    pub(crate) idle: Duration,
    pub(crate) session: Duration,
    /// How many live sessions a user may have; `None` for any number.
    pub(crate) max_sessions: Option<u32>,
    /// How long ago a user may have authenticated who ends other sessions.
    pub(crate) recent: Duration,
    pub(crate) refuses_when_stale: bool,
    /// The answer to a refresh token that is ahead of the store.
    pub(crate) ahead: AheadPolicy,
}

/// The API that the tokens are for, and the client that users log in with: there is one of each.
const AUDIENCE: &str = "api";
const CLIENT: &str = "page";

/// Where the routes of sessions are, and the only path to which the refresh cookie is sent.
const SESSION_ROUTES: &str = "/auth";

/// More than an address with two passwords, or a token, needs.
pub(crate) const MAX_BODY: usize = 32 * 1024;

impl App {
    pub(crate) fn new(
        url: &str,
        keys: Keys,
        policy: Policy,
        store: BoxStore,
        accounts: Accounts,
        passwords: Passwords,
    ) -> Result<Self, Box<dyn Error>> {
        let store = Arc::new(Counted(store));
        let options = EndedOptions::new().access_lifetime(policy.access);
        let options = if policy.refuses_when_stale { options } else { options.accept_when_stale() };
        let ended = EndedSessions::follow(Arc::clone(&store), options);
        let sessions = Sessions::builder(BoxStore::new(store))
            .ended_sessions(ended.clone())
            .issuer(url)
            .audience(AUDIENCE)
            .client(CLIENT)
            .access_key(keys.tokens.access.keys())
            .refresh_key(keys.tokens.refresh.keys())
            .access_lifetime(policy.access)
            .grace(policy.grace)
            .idle_lifetime(policy.idle)
            .absolute_lifetime(policy.session)
            .ahead(policy.ahead)
            // One clock issues and verifies, and an end that is watched comes to the second.
            .leeway(Duration::ZERO)?
            .max_access_token_len(Cookies::MAX_ACCESS_TOKEN_LEN)?
            .build()?;
        let sessions = Arc::new(sessions);
        // Ports do not keep cookies apart: other servers on this machine have theirs.
        let cookies = Cookies::new(SESSION_ROUTES)?.named("auth-server")?;
        Ok(Self {
            guard: Guard::for_sessions(&sessions).cookies(cookies)?,
            sessions,
            ended,
            accounts,
            passwords,
            limits: Arc::new(Limits::new()),
            audit: Arc::new(Audit::new(keys.audit)),
            readiness: Readiness::default(),
            keys: Arc::new(keys.tokens),
            policy,
            transport: Transport::of(url),
        })
    }

    pub(crate) fn router(self, timeouts: RequestTimeouts) -> Router {
        let transport = self.transport;
        let accounts = self.accounts.clone();
        let authorize = move |session: Session| welcome(accounts.clone(), session);
        let sessions =
            SessionRoutes::new(Arc::clone(&self.sessions), self.guard.clone(), authorize);
        Router::new()
            .route("/register", post(login::register))
            .route("/unregister", post(login::unregister))
            .route("/login", post(login::login))
            .route("/password", post(login::change_password))
            .route("/reauthenticate", post(login::reauthenticate))
            .nest_service(SESSION_ROUTES, sessions)
            .layer(middleware::from_fn_with_state(self.clone(), recent_for_other_sessions))
            .route("/api/me", get(api::me))
            .route("/api/live", get(api::live))
            .route("/api/public", get(api::public))
            .route("/explain", post(explain::explain))
            .route("/lifetimes", get(api::lifetimes))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .layer(middleware::from_fn(counted::steps))
            .layer(middleware::from_fn_with_state(timeouts, serve::in_time))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(self)
            .merge(assets::routes())
            .layer(middleware::map_response(refusal::in_json))
            .layer(middleware::map_response(move |answer| ready(guarded(answer, transport))))
            .layer(middleware::from_fn(logs::request))
    }
}

impl Transport {
    fn of(url: &str) -> Self {
        match url.split_once("://") {
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => Self::Tls,
            _ => Self::Plain,
        }
    }
}

/// Requires that the user has authenticated recently before a logout of other sessions: a stolen
/// access token is enough for its own session alone.
async fn recent_for_other_sessions(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, Rejection> {
    if !ends_other_sessions(&request) {
        return Ok(next.run(request).await);
    }
    let (parts, body) = request.into_parts();
    app.guard.authenticate::<Profile>(&parts)?.require_recent(app.policy.recent)?;
    Ok(next.run(Request::from_parts(parts, body)).await)
}

/// By any spelling that the routes take for the same path: `nest_service` takes
/// `/auth//logout_all`.
fn ends_other_sessions(request: &Request) -> bool {
    let mut segments = request.uri().path().split('/');
    segments.any(|segment| match segment {
        "logout_all" | "logout_others" => true,
        "sessions" => request.method() == Method::DELETE,
        _ => false,
    })
}

/// Asked at each refresh: with which claims a user goes on, and whether at all.
async fn welcome(accounts: Accounts, session: Session) -> Result<Option<Profile>, AccountsError> {
    Ok(accounts.by_id(&session.subject).await?.map(Profile::from))
}

/// Adds the headers for browsers to every answer: the page runs no script and no style but the
/// server's own files, is shown in no frame, and sends other sites no referrer. Where users have
/// TLS, the browser insists on it for a year.
fn guarded(mut response: Response, transport: Transport) -> Response {
    const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");
    const HEADERS: [(&str, &str); 5] = [
        (
            "content-security-policy",
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
        ),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
    ];
    for (name, value) in HEADERS {
        let name = HeaderName::from_static(name);
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if transport == Transport::Tls {
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HSTS);
    }
    response
}
