//! What the application answers beside the routes of sessions: registration and login, an API that tokens are good for, and
//! whether it is well.

use std::net::SocketAddr;

use axum::{
    Json,
    extract::{ConnectInfo, State},
    http::{
        StatusCode,
        header::{CACHE_CONTROL, RETRY_AFTER},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use kippu::{
    session::{AccessToken, Login, SessionError, SessionId},
    web::{Access, Live, Rejection},
};
use serde::{Deserialize, Serialize};

use crate::{
    accounts::{Account, AccountsError},
    app::{App, Lifetimes},
    limits::TooOften,
    logs::with_sources,
    passwords::PasswordError,
};

/// What access tokens say of a user, besides what kippu writes into them.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Profile {
    name: String,
    role: String,
}

impl From<Account> for Profile {
    fn from(account: Account) -> Self {
        Self { name: account.name, role: account.role }
    }
}

/// Who somebody says to be. It has no `Debug`.
#[derive(Deserialize)]
pub(crate) struct Credentials {
    name: String,
    password: String,
    /// What the user will know the session by.
    device: Option<String>,
    /// Whether the tokens go into cookies, instead of into the answer.
    #[serde(default)]
    cookies: bool,
}

pub(crate) async fn register(
    State(app): State<App>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    Json(credentials): Json<Credentials>,
) -> Result<StatusCode, Refusal> {
    app.limits.admit_address(address.ip())?;
    let name = Account::name(&credentials.name).ok_or(Refusal::Name)?;
    let hash = app.passwords.hash(credentials.password).await?;
    let account = Account::new(name, hash).map_err(|_| Refusal::NoRandomness)?;
    if !app.accounts.add(&account).await? {
        return Err(Refusal::NameTaken);
    }
    tracing::info!(subject = account.id, "registered");
    Ok(StatusCode::CREATED)
}

pub(crate) async fn login(
    State(app): State<App>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    request: Parts,
    Json(credentials): Json<Credentials>,
) -> Result<Response, Refusal> {
    let Credentials { name, password, device, cookies } = credentials;
    if cookies {
        // Another site does not get to try passwords from the browsers of its visitors.
        app.guard.check_origin(&request)?;
    }
    let account = known(&app, address, &name, password).await?;

    let login = Login::new(account.id.as_str());
    let login = match device {
        Some(device) if !device.trim().is_empty() => login.label(device),
        _ => login,
    };
    let profile = Profile::from(account);
    let login = app.sessions.login(login, &profile);
    if !cookies {
        return Ok(login.await?.into_response());
    }
    let cookies = app.guard.set_cookies(&request, login).await?;
    let body = serde_json::json!({ "expires_in": cookies.expires_in().as_secs() });
    Ok((cookies, Json(body)).into_response())
}

/// Removes the account. Each of its sessions ends with its next refresh, when the account is not found.
pub(crate) async fn unregister(
    State(app): State<App>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    Json(Credentials { name, password, .. }): Json<Credentials>,
) -> Result<StatusCode, Refusal> {
    let account = known(&app, address, &name, password).await?;
    app.accounts.remove(&account).await?;
    tracing::info!(subject = account.id, "unregistered");
    Ok(StatusCode::NO_CONTENT)
}

/// The account of a name and its password.
async fn known(
    app: &App,
    address: SocketAddr,
    name: &str,
    password: String,
) -> Result<Account, Refusal> {
    app.limits.admit_address(address.ip())?;
    let name = Account::name(name).ok_or(Refusal::Credentials)?;
    app.limits.admit_account(&name)?;
    let account = app.accounts.by_name(&name).await?;
    let hash = account.as_ref().map(|account| account.hash.as_str());
    let is_right = app.passwords.is(password, hash).await?;
    account.filter(|_| is_right).ok_or(Refusal::Credentials)
}

/// What an access token says, to its owner.
#[derive(Serialize)]
struct Me<'t> {
    subject: &'t str,
    name: &'t str,
    role: &'t str,
    session: SessionId,
    expires_at: i64,
}

impl<'t> From<&'t AccessToken<Profile>> for Me<'t> {
    fn from(token: &'t AccessToken<Profile>) -> Self {
        let Profile { name, role } = &token.claims;
        Self {
            subject: &token.subject,
            name,
            role,
            session: token.session_id,
            expires_at: token.expires_at.seconds(),
        }
    }
}

/// Asks no database: the token says it all.
pub(crate) async fn me(Access(token): Access<Profile>) -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(Me::from(&*token))).into_response()
}

/// The same of nobody, for who has no token; `scripts/load` compares the two.
pub(crate) async fn public() -> Response {
    let nobody = Me {
        subject: "0000000000000000000000",
        name: "nobody",
        role: "guest",
        session: SessionId::from_bytes([0; 16]),
        expires_at: 0,
    };
    ([(CACHE_CONTROL, "no-store")], Json(nobody)).into_response()
}

/// Reads the session once, for what must not wait until the token expires.
pub(crate) async fn live(live: Live<Profile>) -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(Me::from(&*live.token))).into_response()
}

/// How long an access token and the grace last, in seconds, so that the page can count them.
pub(crate) async fn lifetimes(State(lifetimes): State<Lifetimes>) -> Response {
    let seconds = serde_json::json!({
        "access": lifetimes.access.as_secs(),
        "grace": lifetimes.grace.as_secs(),
    });
    Json(seconds).into_response()
}

/// Whether this server is of use, for who distributes requests.
pub(crate) async fn healthz(State(app): State<App>) -> Response {
    match app.accounts.ping().await {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(error) => {
            tracing::error!(error = with_sources(&error), "the database does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n").into_response()
        }
    }
}

/// Why there is no login.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Which of the two is wrong is not told.
    #[error("the name or the password is wrong")]
    Credentials,
    #[error("a name has 1 to 64 letters a to z, digits, and . - _ @ +")]
    Name,
    #[error("there is an account of this name")]
    NameTaken,
    #[error("too many tries: wait {} seconds", .0.as_secs())]
    TooOften(std::time::Duration),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Web(#[from] Rejection),
    #[error("no random bytes from the operating system")]
    NoRandomness,
}

impl From<TooOften> for Refusal {
    /// In whole seconds, and not a moment too early.
    fn from(TooOften(wait): TooOften) -> Self {
        Self::TooOften(std::time::Duration::from_secs(wait.as_secs() + 1))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let refusal = match self {
            Self::Session(error) => return error.into_response(),
            Self::Web(rejection) => return rejection.into_response(),
            refusal => refusal,
        };
        let (status, error) = match &refusal {
            Self::Credentials => (StatusCode::UNAUTHORIZED, "invalid_credentials"),
            Self::Name | Self::Password(PasswordError::Length) => {
                (StatusCode::BAD_REQUEST, "invalid_request")
            }
            Self::NameTaken => (StatusCode::CONFLICT, "name_taken"),
            Self::TooOften(_) => (StatusCode::TOO_MANY_REQUESTS, "too_many_tries"),
            Self::Accounts(_) => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
            Self::Password(_) | Self::Session(_) | Self::Web(_) | Self::NoRandomness => {
                (StatusCode::INTERNAL_SERVER_ERROR, "server_error")
            }
        };
        let description = if status.is_server_error() {
            tracing::error!(error = with_sources(&refusal), "a login failed");
            "the server is at fault: try again in a moment".to_owned()
        } else {
            refusal.to_string()
        };
        let body = serde_json::json!({ "error": error, "error_description": description });
        let mut response = (status, [(CACHE_CONTROL, "no-store")], Json(body)).into_response();
        if let Self::TooOften(wait) = refusal {
            response.headers_mut().insert(RETRY_AFTER, wait.as_secs().into());
        }
        response
    }
}
