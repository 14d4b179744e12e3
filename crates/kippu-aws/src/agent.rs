//! Secrets Manager by an agent on this machine, over HTTP: the Secrets Manager Agent, or the Lambda
//! extension.
//!
//! A redirect is refused, and so is an answer that is larger than a secret. The proxy settings of
//! the environment are ignored.

use std::{
    env, fmt, fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use kippu::{KeySet, KeySource, KeySourceError, NumericDate};
use serde::Deserialize;
use ureq::Agent;
use zeroize::Zeroizing;

use crate::{
    error::{SecretsManagerError, bounded},
    keys::{Answer, Memory, Reading},
    options::source_options,
    version::{Label, Version},
};

/// The keys in a secret of AWS Secrets Manager, read through the [Secrets Manager Agent] or the
/// [AWS Parameters and Secrets Lambda Extension] on this machine. The source uses plain HTTP on
/// localhost, without the SDK and without credentials in this process.
///
/// The labels, the forms of a secret and its `kid` are those of
/// [`SecretsManager`](crate::rotation).
///
/// ```no_run
/// use std::time::Duration;
///
/// use kippu::ReloadedKeys;
/// use kippu_aws::SecretsManagerAgent;
///
/// let source = SecretsManagerAgent::new("api/access-key", Duration::from_secs(900));
/// let keys = ReloadedKeys::load(source)?;
/// # Ok::<(), kippu::KeySourceError>(())
/// ```
///
/// # The token
///
/// Each request has the header `X-Aws-Parameters-Secrets-Token`. Its value is the first of the
/// environment variables `AWS_TOKEN`, `AWS_SESSION_TOKEN` and `AWS_CONTAINER_AUTHORIZATION_TOKEN`,
/// in the order of the agent. If none is set, it is the content of `/var/run/awssmatoken`, which
/// the agent's install script writes. [`token_file`](Self::token_file) names another file. A file
/// is read at each load, because the agent makes a new token when it starts.
///
/// # The cache
///
/// By default the agent and the extension cache each label for 300 seconds (`ttl_seconds`,
/// `SECRETS_MANAGER_TTL`). A rotation has to wait longer than that before it promotes a version, or
/// use [`refresh_now`](Self::refresh_now).
///
/// # What was tested
///
/// The source follows the documents of AWS, and is tested against a server that does so, too. It
/// was tried with the Secrets Manager Agent 2.1.0 in front of moto. It was not tried with AWS
/// itself, or with the Lambda extension.
///
/// [Secrets Manager Agent]: https://docs.aws.amazon.com/secretsmanager/latest/userguide/secrets-manager-agent.html
/// [AWS Parameters and Secrets Lambda Extension]: https://docs.aws.amazon.com/secretsmanager/latest/userguide/retrieving-secrets_lambda.html
pub struct SecretsManagerAgent {
    reading: Reading,
    port: u16,
    token_file: Option<PathBuf>,
    refreshes: bool,
    http: Agent,
    memory: Mutex<Memory>,
}

source_options!(SecretsManagerAgent);

impl SecretsManagerAgent {
    /// The default port of the agent and the extension.
    pub const PORT: u16 = 2773;

    /// The file into which the agent's install script writes the token.
    const TOKEN_FILE: &'static str = "/var/run/awssmatoken";

    /// In the order in which the agent reads them.
    const TOKEN_VARIABLES: [&'static str; 3] =
        ["AWS_TOKEN", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"];

    /// Returns a source of the keys in the secret with this name or ARN. `token_lifetime` is that
    /// of the tokens that the keys sign. The `AWSPREVIOUS` version verifies for this lifetime plus
    /// ten minutes, after this source has first seen it as the previous one.
    pub fn new(secret_id: impl Into<String>, token_lifetime: Duration) -> Self {
        // A proxy of the environment is meant for other hosts, and a redirect would receive the
        // token.
        let config = Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent("kippu-aws")
            .build();
        Self {
            reading: Reading::new(secret_id.into(), token_lifetime),
            port: Self::PORT,
            token_file: None,
            refreshes: false,
            http: config.into(),
            memory: Mutex::default(),
        }
    }

    /// Sets the agent's port on localhost: its `http_port`, or
    /// `PARAMETERS_SECRETS_EXTENSION_HTTP_PORT`.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Reads the token from this file instead of the environment.
    #[must_use]
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token_file = Some(path.into());
        self
    }

    /// Asks the Secrets Manager Agent not to answer from its cache (`refreshNow`), so that each
    /// load is three requests to AWS. The documents of the Lambda extension have no such parameter.
    #[must_use]
    pub fn refresh_now(mut self) -> Self {
        self.refreshes = true;
        self
    }

    fn read(
        &self,
        label: Label,
        token: &str,
        deadline: Instant,
    ) -> Result<Option<Version>, SecretsManagerError> {
        let Reading { secret, deadline: limit, .. } = &self.reading;
        let timed_out =
            || SecretsManagerError::TimedOut { secret: secret.clone(), deadline: *limit };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(timed_out());
        }
        let failed = |error: ureq::Error| match error {
            ureq::Error::Timeout(_) => timed_out(),
            error => SecretsManagerError::Unreachable {
                secret: secret.clone(),
                reason: bounded(&format!("{error}; is the agent running on port {}", self.port)),
            },
        };
        let url = format!("http://localhost:{}/secretsmanager/get", self.port);
        let request = self
            .http
            .get(url)
            .query("secretId", secret)
            .query("versionStage", label.name())
            .query_pairs(self.refreshes.then_some(("refreshNow", "true")))
            .header("X-Aws-Parameters-Secrets-Token", token)
            .config()
            .timeout_global(Some(left))
            .build();
        let mut response = request.call().map_err(failed)?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(LIMIT).read_to_vec().map_err(failed)?;
        let body = Zeroizing::new(body);
        if status == 200 {
            return version(secret, &body).map(Some);
        }
        refused(secret, status, &body).map_or(Ok(None), Err)
    }

    fn token(&self) -> Result<Zeroizing<String>, SecretsManagerError> {
        let variable = |name| env::var(name).ok();
        let from_environment = || Self::TOKEN_VARIABLES.into_iter().find_map(variable);
        token(self.token_file.clone(), from_environment, Self::TOKEN_FILE)
    }
}

/// A secret has up to 64 KiB. Base64 or the escapes of JSON make it longer.
const LIMIT: u64 = 512 * 1024;

impl KeySource for SecretsManagerAgent {
    fn load(&self) -> Result<KeySet, KeySourceError> {
        let Self { reading, memory, .. } = self;
        let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = Instant::now() + reading.deadline;
        let token = self.token()?;
        let answer = Answer::ask(&reading.secret, |label| self.read(label, &token, deadline))?;
        let roles =
            memory.note(&reading.secret, answer, reading.token_lifetime, NumericDate::now())?;
        reading.key_set(&roles)
    }
}

impl fmt::Debug for SecretsManagerAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretsManagerAgent")
            .field("reading", &self.reading)
            .field("port", &self.port)
            .field("token_file", &self.token_file)
            .finish_non_exhaustive()
    }
}

/// Returns the token of the caller's file, or of a variable, or of the install script's file. A
/// variable may also name a file.
fn token(
    named: Option<PathBuf>,
    from_environment: impl FnOnce() -> Option<String>,
    installed: &str,
) -> Result<Zeroizing<String>, SecretsManagerError> {
    let path = match named {
        Some(path) => path,
        None => match from_environment().map(Zeroizing::new) {
            Some(value) => match value.strip_prefix("file://") {
                Some(path) => path.into(),
                None => return Ok(value),
            },
            None => installed.into(),
        },
    };
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Zeroizing::new(Zeroizing::new(text).trim().to_owned())),
        Err(error) => Err(SecretsManagerError::AgentTokenFile { path, error }),
    }
}

/// The answer of `GetSecretValue`, which the agent and the extension pass on.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SecretValue {
    version_id: Option<String>,
    secret_string: Option<String>,
    secret_binary: Option<String>,
}

fn version(secret: &str, body: &[u8]) -> Result<Version, SecretsManagerError> {
    let lacks = |missing| SecretsManagerError::Incomplete { secret: secret.to_owned(), missing };
    // The errors of serde quote their input.
    let value: SecretValue = serde_json::from_slice(body)
        .map_err(|_| lacks("JSON object, as GetSecretValue returns it"))?;
    let content = match (value.secret_string, value.secret_binary) {
        (Some(text), _) => text.into_bytes(),
        (None, Some(text)) => {
            STANDARD.decode(&*Zeroizing::new(text)).map_err(|_| lacks("SecretBinary in base64"))?
        }
        (None, None) => return Err(lacks("SecretString or SecretBinary")),
    };
    let id = value.version_id.ok_or_else(|| lacks("VersionId"))?;
    Ok(Version { id, content: content.into() })
}

/// A refusal of AWS, which the agent passes on, or one of the agent itself.
#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "__type")]
    code: String,
    #[serde(alias = "Message")]
    message: Option<String>,
}

/// Converts a refusal, or returns `None` if the secret has no version with the label.
fn refused(secret: &str, status: u16, body: &[u8]) -> Option<SecretsManagerError> {
    if let Ok(Refusal { code, message }) = serde_json::from_slice(body) {
        let code = code.rsplit('#').next().unwrap_or_default();
        return SecretsManagerError::of_code(secret, code, message.as_deref());
    }
    // The documents of the extension do not define a refusal. The code of AWS in any other form of
    // answer is taken to mean the same.
    if body.windows(NOT_FOUND.len()).any(|window| window == NOT_FOUND) {
        return None;
    }
    let secret = secret.to_owned();
    let code = format!("HTTP status {status} of the agent");
    Some(match status {
        401 | 403 => SecretsManagerError::AgentToken { secret },
        429 => SecretsManagerError::Throttled { secret, code },
        _ => SecretsManagerError::Service { secret, code },
    })
}

const NOT_FOUND: &[u8] = b"ResourceNotFoundException";
