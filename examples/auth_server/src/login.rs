//! The routes that take a password: registration, login, password change, unregistration. The
//! routes of sessions are kippu's.

use std::net::{IpAddr, SocketAddr};

use axum::{
    Json,
    extract::{ConnectInfo, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use kippu::session::{Login, Session, SessionError, SessionLimit, TokenResponse};
use kippu_web::{Live, Rejection, Tokens};

use crate::{
    accounts::{Account, AccountsError, MEMBER},
    api::Profile,
    app::App,
    audit::{Action, Attempt},
    body::{Body, BodyError},
    email::{self, Email},
    logs::with_sources,
    passwords::{self, PasswordError},
    refusal::Refusal,
};

/// An address and a password as they were typed. It has no `Debug`.
struct Credentials {
    email: String,
    password: String,
}

impl Credentials {
    fn take(body: &mut Body) -> Result<Self, BodyError> {
        Ok(Self { email: body.text("email")?, password: body.text("password")? })
    }
}

/// Makes an account. No mail is sent, so the address may belong to another person.
pub(crate) async fn register(
    State(app): State<App>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    mut body: Body,
) -> Result<StatusCode, Refusal> {
    let Credentials { email, password } = Credentials::take(&mut body)?;
    let attempt = app.audit.attempt(Action::Registration, address.ip(), &email);
    admit_address(&app, &attempt, address.ip())?;
    let email = Email::parse(&email).ok_or(Refusal::Email)?;
    let password = passwords::check(&password, email.address())?;
    let hash = app.passwords.hash(password).await?;
    let account = Account::new(&email, hash, MEMBER).map_err(|_| Refusal::NoRandomness)?;
    if !app.accounts.add(&account).await? {
        attempt.refused("the address has an account", None);
        return Err(Refusal::EmailTaken);
    }
    attempt.accepted(&account.id);
    Ok(StatusCode::CREATED)
}

/// Begins a session. The account is checked again once the session is in the store: a login that is
/// in flight while the password is changed, or the account removed, leaves no session behind.
pub(crate) async fn login(
    State(app): State<App>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    request: Parts,
    mut body: Body,
) -> Result<Response, Refusal> {
    let Credentials { email, password } = Credentials::take(&mut body)?;
    // The label of the session, and whether the tokens go into cookies instead of the body.
    let (device, cookies) = (body.optional_text("device")?, body.flag("cookies")?);
    let remembered = body.flag_or("remember", true)?;
    // Whether the oldest session ends where the user has as many as it may. A client that first
    // wants to ask its user sends false.
    let evicts = body.flag_or("evict", true)?;
    if cookies {
        // Another site must not log its visitors into an account that it knows the password of.
        app.guard.check_origin(&request)?;
    }
    let attempt = app.audit.attempt(Action::Login, address.ip(), &email);
    let account = admitted(&app, &attempt, address.ip(), &email).await?;
    let account = confirmed(&app, &attempt, account, &password).await?;
    let account = modernised(&app, account, &password).await;

    let login = Login::new(account.id.as_str()).remember(remembered);
    let login = match device {
        Some(device) if !device.trim().is_empty() => login.label(device),
        _ => login,
    };
    let login = match app.policy.max_sessions {
        None => login,
        Some(max) if evicts => login.limit(SessionLimit::evict_oldest(max)),
        Some(max) => login.limit(SessionLimit::refuse(max)),
    };
    let still = async |session: Session| still_is(&app, &account, &password, &session).await;
    let login = app.sessions.login_checked(login, still);
    match granted(&app, &request, cookies, login).await {
        Ok(response) => {
            attempt.accepted(&account.id);
            Ok(response)
        }
        Err(Rejection::Ended(error) | Rejection::InvalidGrant(error)) => {
            if matches!(error, SessionError::Denied) {
                attempt.refused("the account has changed", Some(&account.id));
                return Err(Refusal::Credentials);
            }
            // The password is still right: a logout everywhere that was sent before the login, and
            // waited for the store, may have ended the session.
            attempt.refused("the session has ended meanwhile", Some(&account.id));
            Err(Refusal::Changed)
        }
        Err(rejection) => {
            if matches!(rejection, Rejection::TooManySessions(_)) {
                attempt.refused("the user has as many sessions as it may", Some(&account.id));
            }
            Err(rejection.into())
        }
    }
}

/// The answer with the tokens of a login: in the body, or in cookies.
async fn granted(
    app: &App,
    request: &Parts,
    cookies: bool,
    login: impl Future<Output = Result<TokenResponse, SessionError>>,
) -> Result<Response, Rejection> {
    if !cookies {
        return Ok(Tokens(login.await?).into_response());
    }
    let cookies = app.guard.set_cookies(request, login).await?;
    let body = serde_json::json!({ "expires_in": cookies.expires_in().as_secs() });
    Ok((cookies, Json(body)).into_response())
}

/// Takes the password again, within a session, for a request that wants a recent authentication
/// (RFC 9470).
pub(crate) async fn reauthenticate(
    State(app): State<App>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    request: Parts,
    // Refused after the body was read: else the connection would end with the answer.
    live: Result<Live<Profile>, Rejection>,
    mut body: Body,
) -> Result<Response, Refusal> {
    let live = live?;
    let (password, cookies) = (body.text("password")?, body.flag("cookies")?);
    let account = app.accounts.by_id(&live.subject).await?;
    let account = account.ok_or(Rejection::Ended(SessionError::Denied))?;
    let attempt = app.audit.attempt(Action::Reauthentication, address.ip(), &account.name);
    admit_address(&app, &attempt, address.ip())?;
    admit_account(&app, &attempt)?;
    let account =
        confirmed(&app, &attempt, Some(account), &password).await.map_err(for_this_session)?;
    let id = account.id.clone();
    let again = app.sessions.reauthenticate(&live, Profile::from(account));
    let answer = granted(&app, &request, cookies, again).await?;
    attempt.accepted(&id);
    Ok(answer)
}

/// Not 401: the session is valid, and its client must not refresh and try again.
fn for_this_session(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Credentials => Refusal::CurrentPassword,
        refusal => refusal,
    }
}

/// Changes the password of a session's account, and ends the other sessions of the account.
pub(crate) async fn change_password(
    State(app): State<App>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    // Refused after the body was read: else the connection would end with the answer.
    live: Result<Live<Profile>, Rejection>,
    mut body: Body,
) -> Result<StatusCode, Refusal> {
    let live = live?;
    let (password, new) = (body.text("password")?, body.text("new_password")?);
    let subject = live.subject.as_str();
    let gone = || Refusal::from(Rejection::Ended(SessionError::Denied));
    let account = app.accounts.by_id(subject).await?.ok_or_else(gone)?;
    let new = passwords::check(&new, account.address())?;
    let attempt = app.audit.attempt(Action::PasswordChange, address.ip(), &account.name);
    admit_address(&app, &attempt, address.ip())?;
    admit_account(&app, &attempt)?;
    let mut account = Some(account);
    for _ in 0..TRIES {
        let checked =
            confirmed(&app, &attempt, account, &password).await.map_err(for_this_session)?;
        let hash = app.passwords.hash(new.clone()).await?;
        if app.accounts.replace_hash(&checked, &hash).await? {
            attempt.accepted(subject);
            return match app.sessions.logout_others(subject, &live.session_id).await {
                Ok(_) => Ok(StatusCode::NO_CONTENT),
                Err(error) => Err(Refusal::SessionsLeft(
                    "the password was changed, but the other sessions could not be ended: log them out",
                    error,
                )),
            };
        }
        account = app.accounts.by_id(subject).await?;
    }
    Err(Refusal::Changed)
}

/// Removes an account, and ends all of its sessions.
pub(crate) async fn unregister(
    State(app): State<App>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    mut body: Body,
) -> Result<StatusCode, Refusal> {
    let Credentials { email, password } = Credentials::take(&mut body)?;
    let attempt = app.audit.attempt(Action::Unregistration, address.ip(), &email);
    let mut account = admitted(&app, &attempt, address.ip(), &email).await?;
    for _ in 0..TRIES {
        let checked = confirmed(&app, &attempt, account, &password).await?;
        if app.accounts.remove(&checked).await? {
            attempt.accepted(&checked.id);
            return match app.sessions.logout_all(&checked.id).await {
                Ok(_) => Ok(StatusCode::NO_CONTENT),
                Err(error) => Err(Refusal::SessionsLeft(
                    "the account was removed; its sessions end when they are refreshed next",
                    error,
                )),
            };
        }
        account = app.accounts.by_id(&checked.id).await?;
    }
    Err(Refusal::Changed)
}

/// How often a change is tried while other requests change the same account.
const TRIES: u32 = 3;

fn admit_address(app: &App, attempt: &Attempt, address: IpAddr) -> Result<(), Refusal> {
    app.limits.admit_address(address).map_err(|wait| {
        attempt.refused("too many tries from the address", None);
        wait.into()
    })
}

fn admit_account(app: &App, attempt: &Attempt) -> Result<(), Refusal> {
    app.limits.admit_account(&attempt.account).map_err(|wait| {
        attempt.refused("too many tries at the account", None);
        wait.into()
    })
}

/// Applies the rate limits, and then returns the account with this address if there is one.
async fn admitted(
    app: &App,
    attempt: &Attempt,
    address: IpAddr,
    email: &str,
) -> Result<Option<Account>, Refusal> {
    admit_address(app, attempt, address)?;
    let Some(name) = email::account_named(email) else {
        attempt.refused("not an address", None);
        return Err(Refusal::Credentials);
    };
    admit_account(app, attempt)?;
    Ok(app.accounts.by_name(&name).await?)
}

/// Returns the account if the password is right.
async fn confirmed(
    app: &App,
    attempt: &Attempt,
    account: Option<Account>,
    password: &str,
) -> Result<Account, Refusal> {
    let hash = account.as_ref().map(|account| account.hash.as_str());
    let is_right = app.passwords.is(password, hash).await?;
    match account {
        Some(account) if is_right => Ok(account),
        account => {
            let reason = if account.is_some() { "wrong password" } else { "no such account" };
            attempt.refused(reason, account.as_ref().map(|account| account.id.as_str()));
            Err(Refusal::Credentials)
        }
    }
}

/// Replaces a hash that this server would not make today, such as one of bcrypt. A failure is
/// logged and does not fail the login: the next login tries again.
async fn modernised(app: &App, account: Account, password: &str) -> Account {
    let replaced = async {
        let Some(hash) = app.passwords.replacement(password, &account.hash).await? else {
            return Ok(None);
        };
        let is_replaced = app.accounts.replace_hash(&account, &hash).await?;
        Ok::<_, Refusal>(is_replaced.then_some(hash))
    };
    match replaced.await {
        Ok(Some(hash)) => {
            tracing::info!(subject = account.id, "the hash of a password was replaced");
            Account { hash, ..account }
        }
        Ok(None) => account,
        Err(error) => {
            let error = with_sources(&error);
            tracing::warn!(subject = account.id, error, "the hash of a password was not replaced");
            account
        }
    }
}

/// Why the account of a login could not be checked again.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    #[error(transparent)]
    Password(#[from] PasswordError),
}

/// Returns the profile of the account if its password is still the one that was checked. When the
/// hash has changed, the password is compared again: another login may have replaced a bcrypt hash.
async fn still_is(
    app: &App,
    checked: &Account,
    password: &str,
    session: &Session,
) -> Result<Option<Profile>, Unknown> {
    let Some(account) = app.accounts.by_id(&session.subject).await? else { return Ok(None) };
    let is_same =
        account.hash == checked.hash || app.passwords.is(password, Some(&account.hash)).await?;
    Ok(is_same.then(|| account.into()))
}
