//! Reads keys from Secrets Manager with the SDK. The requests run on a thread of the source; the
//! caller's thread waits for their answers.

use std::{
    error::Error,
    fmt,
    sync::{
        Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use aws_sdk_secretsmanager::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::get_secret_value::{GetSecretValueError, GetSecretValueOutput},
};
use kippu::{KeySet, KeySource, KeySourceError, NumericDate};
use tokio::runtime::{self, Runtime};

use crate::{
    error::{SecretsManagerError, bounded},
    keys::{Answer, Memory, Reading},
    options::source_options,
    version::{Label, Version},
};

/// The keys in a secret of AWS Secrets Manager, read with the SDK.
///
/// The version with the label `AWSCURRENT` signs. The version with `AWSPENDING` verifies, if there
/// is one. The version with `AWSPREVIOUS` verifies until its tokens have expired. The `VersionId`
/// is the `kid` of a secret that has none. [`rotation`](crate::rotation) describes a rotation with
/// these labels.
///
/// ```no_run
/// use std::time::Duration;
///
/// use aws_config::BehaviorVersion;
/// use kippu::{Algorithm, KeyFormat, ReloadedKeys};
/// use kippu_aws::{SecretsManager, aws_sdk_secretsmanager::Client};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
/// let client = Client::new(&config);
/// let access_tokens_live = Duration::from_secs(900);
/// let source = SecretsManager::new(client, "api/access-key", access_tokens_live)
///     .format(KeyFormat::Base64(Algorithm::Hs256)); // from `openssl rand -base64 32`
/// let keys = ReloadedKeys::load(source)?.watch(|reload| match reload {
///     Ok(keys) => println!("new keys: {:?}", keys.kids().collect::<Vec<_>>()),
///     Err(error) => eprintln!("the keys are still the old ones: {error}"),
/// })?;
/// # Ok(())
/// # }
/// ```
///
/// # Requests
///
/// A load sends three requests of `GetSecretValue`, one for each label. The SDK retries a request
/// as it is configured. By default it makes three attempts, with a random delay that grows, after a
/// throttled request, a timeout or a failure of the service. If all fail,
/// [`ReloadedKeys`](kippu::ReloadedKeys) keeps the last good keys, and loads again after its next
/// interval, which is shortened at random.
///
/// # Threads
///
/// [`KeySource::load`] blocks its caller, and the SDK runs on a tokio runtime. From its first load
/// until it is dropped, the source has a separate runtime with one thread. So it works in a
/// program without tokio, and within any runtime. The caller's runtime could not run the requests:
/// a load that blocks the only thread of that runtime would wait forever.
///
/// A load within an async function blocks the function's thread. Once, at the start of a server,
/// this is harmless. [`ReloadedKeys::watch`](kippu::ReloadedKeys::watch) reloads on a separate
/// thread.
///
/// The connections that the source makes close when it is dropped. A clone of the client that is
/// used elsewhere makes new ones.
pub struct SecretsManager {
    client: Client,
    reading: Reading,
    state: Mutex<State>,
}

source_options!(SecretsManager);

#[derive(Default)]
struct State {
    memory: Memory,
    runtime: Background,
}

impl SecretsManager {
    /// Returns a source of the keys in the secret with this name or ARN.
    ///
    /// The `AWSPREVIOUS` version verifies for `token_lifetime` and ten minutes, from the first load
    /// that sees it with this label. In the ten minutes every server learns of the change, and
    /// stops signing with this version. For access keys, `token_lifetime` is the lifetime of an
    /// access token; for refresh keys, it is how long a session lasts without a refresh.
    pub fn new(client: Client, secret_id: impl Into<String>, token_lifetime: Duration) -> Self {
        let reading = Reading::new(secret_id.into(), token_lifetime);
        Self { client, reading, state: Mutex::default() }
    }

    fn read(
        &self,
        label: Label,
        runtime: &Runtime,
        deadline: Instant,
    ) -> Result<Option<Version>, SecretsManagerError> {
        let secret = &self.reading.secret;
        let request =
            self.client.get_secret_value().secret_id(secret).version_stage(label.name()).send();
        match wait(runtime, request, deadline) {
            Ok(Ok(answer)) => version(secret, answer).map(Some),
            Ok(Err(error)) => self.refused(&error).map_or(Ok(None), Err),
            Err(RecvTimeoutError::Timeout) => Err(self.timed_out()),
            Err(RecvTimeoutError::Disconnected) => {
                Err(self.unreachable("the SDK panicked".to_owned()))
            }
        }
    }

    /// Returns the error of a failed request, or `None` if the secret has no version with the
    /// label. Decides by the service's code, and never shows a response, which may contain the
    /// secret.
    fn refused(&self, error: &SdkError<GetSecretValueError>) -> Option<SecretsManagerError> {
        let secret = &self.reading.secret;
        Some(match error {
            SdkError::ServiceError(refusal) if refusal.err().code().is_some() => {
                let refusal = refusal.err();
                return SecretsManagerError::of_code(secret, refusal.code()?, refusal.message());
            }
            SdkError::ServiceError(refusal) => match refusal.raw().status().as_u16() {
                200 => self.unreachable("its response could not be read".to_owned()),
                status => {
                    let (secret, code) = (secret.clone(), format!("HTTP status {status}"));
                    match status {
                        401 | 403 => SecretsManagerError::Credentials { secret, code },
                        _ => SecretsManagerError::Service { secret, code },
                    }
                }
            },
            SdkError::TimeoutError(_) => self.timed_out(),
            SdkError::DispatchFailure(failure) => self.unreachable(
                failure.as_connector_error().map_or_else(String::new, |error| causes(error)),
            ),
            SdkError::ConstructionFailure(_) => self.unreachable(causes(error)),
            _ => self.unreachable("its response could not be read".to_owned()),
        })
    }

    fn timed_out(&self) -> SecretsManagerError {
        let Reading { secret, deadline, .. } = &self.reading;
        SecretsManagerError::TimedOut { secret: secret.clone(), deadline: *deadline }
    }

    fn unreachable(&self, reason: String) -> SecretsManagerError {
        SecretsManagerError::Unreachable { secret: self.reading.secret.clone(), reason }
    }
}

impl KeySource for SecretsManager {
    fn load(&self) -> Result<KeySet, KeySourceError> {
        let Self { reading, state, .. } = self;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { memory, runtime } = &mut *state;
        let runtime = runtime.get()?;
        let deadline = Instant::now() + reading.deadline;
        let answer = Answer::ask(&reading.secret, |label| self.read(label, runtime, deadline))?;
        let roles =
            memory.note(&reading.secret, answer, reading.token_lifetime, NumericDate::now())?;
        reading.key_set(&roles)
    }
}

/// Shows no secret, and nothing of the client, whose configuration may contain credentials.
impl fmt::Debug for SecretsManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretsManager").field("reading", &self.reading).finish_non_exhaustive()
    }
}

fn version(secret: &str, answer: GetSecretValueOutput) -> Result<Version, SecretsManagerError> {
    let lacks = |missing| SecretsManagerError::Incomplete { secret: secret.to_owned(), missing };
    let GetSecretValueOutput { version_id, secret_string, secret_binary, .. } = answer;
    let content = match (secret_string, secret_binary) {
        (Some(text), _) => text.into_bytes(),
        (None, Some(bytes)) => bytes.into_inner(),
        (None, None) => return Err(lacks("SecretString or SecretBinary")),
    };
    let id = version_id.ok_or_else(|| lacks("VersionId"))?;
    Ok(Version { id, content: content.into() })
}

/// Returns the messages of an error and of its causes. Only the causes of an SDK error say, for
/// example, that no region is set, or that a connection was refused.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let message = cause.to_string();
        // Some errors repeat their cause.
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        source = cause.source();
    }
    bounded(&text)
}

/// Runs `work` on the runtime, and waits for its result until the deadline. Then it cancels `work`.
fn wait<T: Send + 'static>(
    runtime: &Runtime,
    work: impl Future<Output = T> + Send + 'static,
    deadline: Instant,
) -> Result<T, RecvTimeoutError> {
    let (send, answer) = mpsc::channel();
    let task = runtime.spawn(async move {
        let _ = send.send(work.await);
    });
    let answer = answer.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    task.abort();
    answer
}

/// The runtime of a source. A runtime that is dropped within another one panics, so this one is
/// shut down in the background.
#[derive(Default)]
struct Background(Option<Runtime>);

impl Background {
    fn get(&mut self) -> Result<&Runtime, KeySourceError> {
        let runtime = match self.0.take() {
            Some(runtime) => runtime,
            None => runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("kippu-aws")
                .enable_all()
                .build()
                .map_err(KeySourceError::Thread)?,
        };
        Ok(self.0.insert(runtime))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
