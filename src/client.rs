//! The login of a client: an access token that has expired in, the next tokens out. All tasks of
//! the client share one refresh, and the new tokens are saved before the old ones are forgotten.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::{error::Error, fmt, future::Future, time::Duration};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    debug::debug_by_message,
    session::{OAuthError, TokenResponse},
};

/// How often one refresh is tried. All tries begin within the grace that
/// [`Sessions`](crate::session::Sessions) have by default, 10 seconds, in which the server answers
/// a used refresh token with the same successor.
const TRIES: u32 = 3;
/// How long a try waits for its response.
const TRY: Duration = Duration::from_secs(3);
/// The pause after the first try. The second pause is twice as long.
const PAUSE: Duration = Duration::from_millis(300);

/// The HTTP client and the storage of a [`Client`].
pub trait Transport: Send + Sync + 'static {
    /// A response of the HTTP client.
    type Response;

    /// An error of the HTTP client or of the storage.
    type Error: Into<Box<dyn Error + Send + Sync>> + Send;

    /// Posts the form `grant_type=refresh_token&refresh_token=…` to the token endpoint (RFC 6749
    /// §6), and returns the status and the body of its response, whatever the status is.
    ///
    /// It is dropped after 3 seconds without a result, and tried again.
    ///
    /// # Errors
    /// There is no response, or not all of it. It is tried again.
    fn refresh(
        &self,
        refresh_token: &str,
    ) -> impl Future<Output = Result<(u16, Vec<u8>), Self::Error>> + Send;

    /// Stores the tokens in the place of the previous ones, so that a crash loses neither: for
    /// example, writes and syncs another file, and renames it. Tokens are used only after that.
    ///
    /// All tasks of the login wait meanwhile, without a limit: give the call a timeout.
    ///
    /// # Errors
    /// The tokens are not stored. The next refresh tries again, with these tokens.
    fn save(&self, tokens: &TokenResponse) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Returns the `WWW-Authenticate` field of a response with the status 401, and `None` for every
    /// other response.
    fn challenge(response: &Self::Response) -> Option<&str>;
}

/// A login of a client, which all of its tasks share. A clone is the same login.
///
/// See [the module](self).
pub struct Client<T>(Arc<Shared<T>>);

struct Shared<T> {
    transport: T,
    state: Mutex<State>,
}

struct State {
    tokens: TokenResponse,
    /// The successors of `tokens`, until they are saved.
    unsaved: Option<TokenResponse>,
    /// The result of the refresh in flight. It is closed when there is none.
    refresh: watch::Receiver<Option<Result<(), ClientError>>>,
}

impl<T: Transport> Client<T> {
    /// Returns a client with the tokens of a login, or with those that
    /// [`save`](Transport::save) has stored last.
    pub fn new(transport: T, tokens: TokenResponse) -> Self {
        let (_, refresh) = watch::channel(None);
        let state = Mutex::new(State { tokens, unsaved: None, refresh });
        Self(Arc::new(Shared { transport, state }))
    }

    /// Returns the current tokens, for example to send the refresh token to the logout.
    pub fn tokens(&self) -> TokenResponse {
        self.state().tokens.clone()
    }

    /// Sends a request with the access token. After a 401 with `invalid_token` (RFC 6750 §3.1) it
    /// sends the request once more: with the token of another task's refresh, if there is a newer
    /// one, and after a [refresh](Self::refresh) otherwise. A second 401 is returned.
    ///
    /// # Errors
    /// [`ClientError::Request`] with the error of `request`, and the errors of
    /// [`refresh`](Self::refresh).
    pub async fn call<F, R>(&self, mut request: F) -> Result<T::Response, ClientError>
    where
        F: FnMut(String) -> R,
        R: Future<Output = Result<T::Response, T::Error>>,
    {
        // The token that this request has sent. Another task may replace the current one meanwhile.
        let used = self.tokens().access_token;
        let response = request(used.clone()).await.map_err(ClientError::request)?;
        if !T::challenge(&response).is_some_and(is_invalid_token) {
            return Ok(response);
        }
        let newer = self.refresh(&used).await?;
        request(newer).await.map_err(ClientError::request)
    }

    /// Returns another access token than `used`: the current one, if that is another, or the one of
    /// a refresh. The refresh is shared by all tasks that wait for it, which get its error, too. It
    /// goes on when they are dropped.
    ///
    /// A response that is lost, a 5xx, and a 429 are tried three times, within 10 seconds.
    ///
    /// The refresh runs on the runtime of the task that begins it: that runtime has to keep
    /// running.
    ///
    /// # Errors
    /// [`ClientError::LoginRequired`], [`ClientError::Unavailable`], [`ClientError::Unexpected`]
    /// and [`ClientError::Save`]. The client keeps its tokens in all cases.
    ///
    /// # Panics
    /// Outside of a Tokio runtime with a timer.
    pub async fn refresh(&self, used: &str) -> Result<String, ClientError> {
        let mut refresh = {
            let mut state = self.state();
            if state.tokens.access_token != used {
                return Ok(state.tokens.access_token.clone());
            }
            // Closed: there is no refresh in flight.
            if state.refresh.has_changed().is_err() {
                let (result, receiver) = watch::channel(None);
                state.refresh = receiver;
                // In a separate task: a refresh that stops half-way would lose the successor.
                tokio::spawn(Self::clone(self).run(result));
            }
            state.refresh.clone()
        };
        let result = match refresh.wait_for(Option::is_some).await {
            Ok(result) => result.clone(),
            Err(_) => Some(Err(ClientError::unavailable("the refresh has panicked"))),
        };
        result.unwrap_or(Ok(()))?;
        Ok(self.tokens().access_token)
    }

    async fn run(self, sender: watch::Sender<Option<Result<(), ClientError>>>) {
        let saved = self.next().await;
        // All under one lock: a task that sees the new tokens does not wait for this result.
        let mut state = self.state();
        let result = saved.map(|next| {
            state.unsaved = None;
            state.tokens = next;
        });
        sender.send_replace(Some(result));
        // The next call sees a closed channel, and begins another refresh.
        drop(sender);
    }

    /// Gets the next tokens, and saves them.
    async fn next(&self) -> Result<TokenResponse, ClientError> {
        let (refresh_token, unsaved) = {
            let state = self.state();
            (state.tokens.refresh_token.clone(), state.unsaved.clone())
        };
        let next = match unsaved {
            Some(next) => next,
            None => self.exchange(&refresh_token).await?,
        };
        // Kept before they are saved: the token of the request is used up, and its successor must
        // not be lost.
        self.state().unsaved = Some(next.clone());
        let saved = self.0.transport.save(&next).await;
        saved.map_err(|error| ClientError::Save(shared(error)))?;
        Ok(next)
    }

    async fn exchange(&self, refresh_token: &str) -> Result<TokenResponse, ClientError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let response = timeout(TRY, self.0.transport.refresh(refresh_token)).await;
            let result = match response {
                Ok(Ok((status, body))) => read(status, &body),
                Ok(Err(error)) => Err(ClientError::Unavailable(shared(error))),
                Err(elapsed) => Err(ClientError::unavailable(elapsed)),
            };
            match result {
                // Safe to repeat: within the grace the used-up token gets the same successor (R2).
                Err(ClientError::Unavailable(_)) if tries < TRIES => sleep(PAUSE * tries).await,
                result => return result,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic changes the state.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The response of the token endpoint (RFC 6749 §5). `Unavailable` is tried again.
fn read(status: u16, body: &[u8]) -> Result<TokenResponse, ClientError> {
    match status {
        // The message of serde_json could show a token.
        200 => serde_json::from_slice(body)
            .map_err(|_| ClientError::unavailable("the body is not that of a token response")),
        // RFC 9110 §15.5.9 and RFC 6585 §4 let the client repeat such a request.
        408 | 429 | 500.. => {
            Err(ClientError::unavailable(alloc::format!("the status is {status}")))
        }
        _ => match serde_json::from_slice::<OAuthError>(body) {
            Ok(error) if error.error == "invalid_grant" => Err(ClientError::LoginRequired(error)),
            error => Err(ClientError::Unexpected { status, error: error.ok() }),
        },
    }
}

fn is_invalid_token(challenge: &str) -> bool {
    // RFC 9110 §11.2: a value is a token or a quoted string.
    challenge.replace('"', "").contains("error=invalid_token")
}

fn shared(error: impl Into<Box<dyn Error + Send + Sync>>) -> Arc<dyn Error + Send + Sync> {
    Arc::from(error.into())
}

impl<T> Clone for Client<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Client<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// Why a [`Client`] has no response. It is cheap to clone: all tasks that share a refresh get it.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The session has ended: the user has to log in again.
    #[error("the session has ended, log in again: {0}")]
    LoginRequired(OAuthError),
    /// The token endpoint did not answer, or is unavailable. The tokens stay: try again later.
    #[error("the token endpoint is unavailable")]
    Unavailable(#[source] Arc<dyn Error + Send + Sync>),
    /// The token endpoint answered with a status that no other try changes.
    #[error("the token endpoint answered with status {status}: check its URL and the request")]
    Unexpected {
        /// The status.
        status: u16,
        /// The error in the body, if it is one (RFC 6749 §5.2).
        #[source]
        error: Option<OAuthError>,
    },
    /// [`Transport::save`] failed. The client keeps the new tokens, and the next refresh saves
    /// them.
    #[error("the new tokens could not be saved")]
    Save(#[source] Arc<dyn Error + Send + Sync>),
    /// The request of [`Client::call`] failed.
    #[error("the request failed")]
    Request(#[source] Arc<dyn Error + Send + Sync>),
}

impl ClientError {
    fn request(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Request(shared(error))
    }

    fn unavailable(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable(shared(error))
    }
}

debug_by_message!(ClientError);
