//! The routes that every application with sessions needs, ready to be mounted: a form or cookies in, the answers of
//! RFC 6749 out. What they answer with is never cached.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::{
    convert::Infallible,
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use axum_core::response::Response;
use http::{
    HeaderValue, Method, Request, StatusCode,
    header::{ALLOW, CONTENT_TYPE, SET_COOKIE},
    request::Parts,
};
use http_body_util::{BodyExt, Limited};
use serde::Serialize;
use tower_service::Service;

use super::{
    Guard,
    answer::{Refusal, empty, json},
    cookie::{Cookies, SetCookies},
    rejection::Rejection,
};
use crate::session::{
    AccessToken, NoClaims, RefreshStore, Session, SessionError, SessionId, Sessions,
};

/// Routes of sessions, a [tower service](tower_service::Service) that is mounted with `nest_service`; the login stays the
/// application's.
///
/// | route | credential | answer |
/// |---|---|---|
/// | `POST /refresh` | a refresh token | the next tokens (RFC 6749 §5.1); with cookies `Set-Cookie`, and `expires_in` alone |
/// | `POST /logout` | a refresh token | 204, whatever became of its session before (RFC 7009 §2.2); with cookies, an access token does too |
/// | `POST /logout_others` | an access token of a live session | `{"ended": 2}`: all other sessions of the subject |
/// | `POST /logout_all` | an access token of a live session | `{"ended": 3}` |
/// | `GET /sessions` | an access token of a live session | `{"sessions": […]}`: `id`, `label`, `client`, times in seconds, and `current` |
/// | `DELETE /sessions/{id}` | an access token of a live session | 204, or 404 where the subject has none of this id to end |
///
/// A refresh token comes in a form (RFC 6749 §6: `grant_type=refresh_token&refresh_token=…`) or in its
/// [cookie](Cookies), not in both. A refresh that is refused clears no cookie: another tab may have logged in meanwhile.
///
/// Errors are those of RFC 6749 §5.2, and 503 with `Retry-After` while the store is away, upon which a client
/// keeps its token.
///
/// ```
/// use std::sync::Arc;
///
/// use axum::Router;
/// use kippu::session::{MemoryStore, NoClaims, Session, Sessions};
/// use kippu::web::{Cookies, Guard, SessionRoutes};
/// # use kippu::{Algorithm, Key};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sessions = Sessions::builder(MemoryStore::new(100_000))
/// #     .issuer("https://auth.example").audience("api").client("web")
/// #     .access_key(Key::generate(Algorithm::Hs256)?)
/// #     .refresh_key(Key::generate(Algorithm::Hs256)?.with_kid("2026-11"))
/// #     .build()?;
/// let sessions = Arc::new(sessions);
/// let guard = Guard::new(Arc::clone(sessions.verifier())).cookies(Cookies::new("/auth")?);
/// let authorize = async |_: Session| Ok::<_, std::io::Error>(Some(NoClaims {}));
/// let app: Router = Router::new().nest_service("/auth", SessionRoutes::new(sessions, guard, authorize));
/// # let _ = app;
/// # Ok(())
/// # }
/// ```
pub struct SessionRoutes<S, A> {
    inner: Arc<Inner<S, A>>,
}

struct Inner<S, A> {
    sessions: Arc<Sessions<S>>,
    guard: Guard,
    authorize: A,
}

/// A form with a refresh token has a few hundred bytes.
const MAX_FORM_LEN: usize = 8 * 1024;

impl<S, A> SessionRoutes<S, A> {
    /// Routes over these sessions. `guard` says where tokens stand, `authorize` what a user may still do: see
    /// [`Sessions::refresh`].
    pub fn new(sessions: Arc<Sessions<S>>, guard: Guard, authorize: A) -> Self {
        Self { inner: Arc::new(Inner { sessions, guard, authorize }) }
    }
}

impl<S, A> Clone for SessionRoutes<S, A> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<S, A> fmt::Debug for SessionRoutes<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionRoutes").field("guard", &self.inner.guard).finish_non_exhaustive()
    }
}

impl<S, A, F, C, E, B> Service<Request<B>> for SessionRoutes<S, A>
where
    S: RefreshStore + 'static,
    A: Fn(Session) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Option<C>, E>> + Send,
    C: Serialize + Send,
    E: Into<Box<dyn Error + Send + Sync>>,
    B: BodyExt + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            Ok(inner.answer(&parts, body).await.unwrap_or_else(Refusal::into_http))
        })
    }
}

impl<S, A, F, C, E> Inner<S, A>
where
    S: RefreshStore + 'static,
    A: Fn(Session) -> F,
    F: Future<Output = Result<Option<C>, E>> + Send,
    C: Serialize + Send,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    async fn answer<B>(&self, request: &Parts, body: B) -> Result<Response, Refusal>
    where
        B: BodyExt + Send,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let path = request.uri.path();
        let path = path.strip_prefix('/').unwrap_or(path);
        let (route, id) =
            path.split_once('/').map_or((path, None), |(route, id)| (route, Some(id)));
        let allowed = match (route, id) {
            ("refresh" | "logout" | "logout_others" | "logout_all", None) => Method::POST,
            ("sessions", None) => Method::GET,
            ("sessions", Some(_)) => Method::DELETE,
            _ => return Ok(empty(StatusCode::NOT_FOUND)),
        };
        let is_head = request.method == Method::HEAD && allowed == Method::GET;
        if request.method != allowed && !is_head {
            let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
            let allowed = HeaderValue::try_from(allowed.as_str()).expect("a name of letters");
            response.headers_mut().insert(ALLOW, allowed);
            return Ok(response);
        }
        match (route, id) {
            ("refresh", _) => self.refresh(request, &read(request, body).await?).await,
            ("logout", _) => self.logout(request, &read(request, body).await?).await,
            ("logout_others", _) => {
                let (token, _) = self.live(request).await?;
                let ended = self.sessions.logout_others(&token.subject, &token.session_id).await?;
                Ok(json(StatusCode::OK, &Ended { ended }))
            }
            ("logout_all", _) => {
                let (token, cookies) = self.live(request).await?;
                let ended = self.sessions.logout_all(&token.subject).await?;
                Ok(cleared(json(StatusCode::OK, &Ended { ended }), cookies))
            }
            (_, None) => self.list(request).await,
            (_, Some(id)) => self.end(request, id).await,
        }
    }

    async fn refresh(&self, request: &Parts, form: &Form) -> Result<Response, Refusal> {
        let Some(presented) = self.presented(request, form)? else {
            self.warn_of_path(request);
            return Err(Refusal::NoRefreshToken);
        };
        if let Presented::InForm(_) = presented {
            match form.grant_type.as_deref() {
                Some("refresh_token") => {}
                Some(_) => return Err(Refusal::GrantType),
                None => return Err(Refusal::MalformedForm),
            }
        }
        let tokens = self.sessions.refresh(presented.token(), &self.authorize).await?;
        Ok(match (presented, self.cookies()) {
            (Presented::InCookie(_), Some(cookies)) => {
                let set = cookies.renew(&tokens, &request.headers).map_err(Rejection::from)?;
                let body = Renewed { expires_in: tokens.expires_in.as_secs() };
                with(json(StatusCode::OK, &body), set)
            }
            _ => json(StatusCode::OK, &tokens),
        })
    }

    async fn logout(&self, request: &Parts, form: &Form) -> Result<Response, Refusal> {
        let response = empty(StatusCode::NO_CONTENT);
        match (self.presented(request, form)?, self.cookies()) {
            (Some(presented), cookies) => {
                match self.sessions.logout(presented.token()).await {
                    // There is nothing left to end.
                    Ok(()) | Err(SessionError::InvalidToken) => {}
                    Err(error) => return Err(error.into()),
                }
                let is_in_cookie = matches!(presented, Presented::InCookie(_));
                Ok(cleared(response, cookies.filter(|_| is_in_cookie)))
            }
            (None, None) => Err(Refusal::NoRefreshToken),
            // The refresh cookie is gone, or did not arrive: what the access token names is ended.
            (None, cookies) => {
                self.guard.check_origin(request)?;
                self.warn_of_path(request);
                match self.guard.authenticate::<NoClaims>(request) {
                    Ok(token) => {
                        self.sessions.logout_session(&token.subject, &token.session_id).await?;
                    }
                    Err(Rejection::MissingToken | Rejection::InvalidToken(_)) => {}
                    Err(rejection) => return Err(rejection.into()),
                }
                Ok(cleared(response, cookies))
            }
        }
    }

    /// A browser that is logged in sends its refresh cookie here, or was told another path.
    fn warn_of_path(&self, request: &Parts) {
        if self.cookies().is_some_and(|cookies| cookies.are_in(&request.headers)) {
            tracing::warn!(
                target: "kippu::web",
                "a browser with cookies sent no refresh cookie: is Cookies::new given the path at \
                 which it sees the session routes?"
            );
        }
    }

    async fn list(&self, request: &Parts) -> Result<Response, Refusal> {
        let (token, _) = self.live(request).await?;
        let sessions = self.sessions.list(&token.subject).await?;
        let sessions = sessions.iter().map(|session| Listed::new(session, &token.session_id));
        Ok(json(StatusCode::OK, &List { sessions: sessions.collect() }))
    }

    async fn end(&self, request: &Parts, id: &str) -> Result<Response, Refusal> {
        let (token, cookies) = self.live(request).await?;
        let Ok(id) = id.parse::<SessionId>() else { return Ok(empty(StatusCode::NOT_FOUND)) };
        if !self.sessions.logout_session(&token.subject, &id).await? {
            return Ok(empty(StatusCode::NOT_FOUND));
        }
        let response = empty(StatusCode::NO_CONTENT);
        Ok(cleared(response, cookies.filter(|_| id == token.session_id)))
    }

    fn cookies(&self) -> Option<&Cookies> {
        self.guard.0.cookies.as_ref()
    }

    /// The refresh token of a request, if it has one; of a browser's cookies only where it was meant.
    fn presented<'r>(
        &self,
        request: &'r Parts,
        form: &'r Form,
    ) -> Result<Option<Presented<'r>>, Rejection> {
        let in_cookie = match self.cookies() {
            Some(cookies) => cookies.refresh(&request.headers)?,
            None => None,
        };
        match (in_cookie, &form.refresh_token) {
            (Some(_), Some(_)) => Err(Rejection::TwoTokens),
            (None, Some(token)) => Ok(Some(Presented::InForm(token))),
            (Some(token), None) => {
                self.guard.check_origin(request)?;
                Ok(Some(Presented::InCookie(token)))
            }
            (None, None) => Ok(None),
        }
    }

    /// The access token of a session that has not ended, and the cookies, if it stands in one.
    async fn live(
        &self,
        request: &Parts,
    ) -> Result<(AccessToken<NoClaims>, Option<&Cookies>), Rejection> {
        let verify = |token: &str| self.guard.0.verifier.verify::<NoClaims>(token);
        let (token, cookies) = self.guard.authenticate_by(request, verify)?;
        self.sessions.check_live(&token.session_id, &token.subject).await?;
        Ok((token, cookies))
    }
}

/// The response, which takes the cookies out of the browser that had them.
fn cleared(response: Response, cookies: Option<&Cookies>) -> Response {
    match cookies {
        Some(cookies) => with(response, cookies.clear()),
        None => response,
    }
}

enum Presented<'r> {
    InForm(&'r str),
    InCookie(&'r str),
}

impl<'r> Presented<'r> {
    fn token(&self) -> &'r str {
        let (Self::InForm(token) | Self::InCookie(token)) = self;
        token
    }
}

/// What is read of a form.
#[derive(Default)]
struct Form {
    grant_type: Option<String>,
    refresh_token: Option<String>,
}

/// A form, or the empty one of a body of another type.
async fn read<B>(request: &Parts, body: B) -> Result<Form, Refusal>
where
    B: BodyExt + Send,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let content_type = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|text| text.split(';').next()).unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Ok(Form::default());
    }
    let body = Limited::new(body, MAX_FORM_LEN).collect().await;
    let bytes = body.map_err(|_| Refusal::MalformedForm)?.to_bytes();
    let mut form = Form::default();
    // What has no value is as if it were not there (RFC 6749 §3.2).
    for (name, value) in form_urlencoded::parse(&bytes).filter(|(_, value)| !value.is_empty()) {
        let field = match &*name {
            "grant_type" => &mut form.grant_type,
            "refresh_token" => &mut form.refresh_token,
            // What is not known is ignored.
            _ => continue,
        };
        // No parameter comes twice (RFC 6749 §3.2).
        if field.replace(value.into_owned()).is_some() {
            return Err(Refusal::MalformedForm);
        }
    }
    Ok(form)
}

fn with(mut response: Response, cookies: SetCookies) -> Response {
    for value in cookies.into_values() {
        response.headers_mut().append(SET_COOKIE, value);
    }
    response
}

/// Of tokens that stand in cookies, what a page has to know.
#[derive(Serialize)]
struct Renewed {
    expires_in: u64,
}

#[derive(Serialize)]
struct Ended {
    ended: u64,
}

#[derive(Serialize)]
struct List<'s> {
    sessions: Vec<Listed<'s>>,
}

#[derive(Serialize)]
struct Listed<'s> {
    id: SessionId,
    client: &'s str,
    label: Option<&'s str>,
    created_at: i64,
    last_used_at: i64,
    expires_at: i64,
    current: bool,
}

impl<'s> Listed<'s> {
    fn new(session: &'s Session, current: &SessionId) -> Self {
        Self {
            id: session.id,
            client: &session.client,
            label: session.label.as_deref(),
            created_at: session.created_at.seconds(),
            last_used_at: session.last_used_at.seconds(),
            expires_at: session.expires_at.seconds(),
            current: session.id == *current,
        }
    }
}
