//! Why Secrets Manager returns no keys, for the operator: the secret, the fault, and what to do.
//!
//! No error shows a secret, a token or a response. A message of the service is shown only if it
//! cannot repeat the request.

use std::{fmt, io, path::PathBuf, time::Duration};

use kippu::KeySourceError;

/// Why a secret in Secrets Manager could not be read.
///
/// [`KeySource::load`](kippu::KeySource::load) returns it within [`KeySourceError::Other`], from
/// which it can be downcast. A secret that was read and makes no keys is a [`KeySourceError`] of
/// another kind.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum SecretsManagerError {
    /// There is no such secret in this account and region, or no version of it has the label
    /// `AWSCURRENT`.
    #[error(
        "no version of the secret {secret:?} has the label AWSCURRENT, or there is no such secret. Check the name, the \
         region and the account; a secret without a value gets one by: aws secretsmanager put-secret-value"
    )]
    NotFound {
        /// The name or ARN.
        secret: String,
    },
    /// The permissions are not sufficient.
    #[error(
        "access to the secret {secret:?} is denied: {message}. Allow secretsmanager:GetSecretValue on its ARN, and \
         kms:Decrypt on its key if that is not aws/secretsmanager"
    )]
    AccessDenied {
        /// The name or ARN.
        secret: String,
        /// The message of the service, up to 300 characters.
        message: String,
    },
    /// The credentials or the signature made with them were refused.
    #[error(
        "the request for the secret {secret:?} was refused ({code}). Renew the credentials, compare the clock of this \
         machine, and allow them secretsmanager:GetSecretValue"
    )]
    Credentials {
        /// The name or ARN.
        secret: String,
        /// The code of the service, or the status if there is no code.
        code: String,
    },
    /// The secret is in a state in which it cannot be read, for example marked for deletion.
    #[error(
        "the secret {secret:?} cannot be read now: {message}. If it was deleted, bring it back by: aws secretsmanager \
         restore-secret"
    )]
    InvalidRequest {
        /// The name or ARN.
        secret: String,
        /// The message of the service, up to 300 characters.
        message: String,
    },
    /// Too many requests, after all retries.
    #[error(
        "too many requests to Secrets Manager ({code}), for the secret {secret:?}. Reload less often, or have the quota \
         of GetSecretValue raised"
    )]
    Throttled {
        /// The name or ARN.
        secret: String,
        /// The code of the service, or the status of the agent.
        code: String,
    },
    /// Any other refusal of the service or the agent.
    #[error(
        "Secrets Manager does not return the secret {secret:?}: {code}. The next reload asks again"
    )]
    Service {
        /// The name or ARN.
        secret: String,
        /// The code of the service, or the status of the agent.
        code: String,
    },
    /// No answer came within the deadline.
    #[error(
        "no answer about the secret {secret:?} within {deadline:?}. Check the network, the endpoint and the credentials' \
         provider; the next reload asks again"
    )]
    TimedOut {
        /// The name or ARN.
        secret: String,
        /// The deadline of one load.
        deadline: Duration,
    },
    /// The request could not be made, or the answer could not be read.
    #[error("Secrets Manager cannot be asked for the secret {secret:?}: {reason}")]
    Unreachable {
        /// The name or ARN.
        secret: String,
        /// The reason, up to 300 characters.
        reason: String,
    },
    /// The agent refuses the token.
    #[error(
        "the agent refuses the token for the secret {secret:?}: give it the agent's own by token_file, or by AWS_TOKEN or \
         AWS_SESSION_TOKEN in the environment of both"
    )]
    AgentToken {
        /// The name or ARN.
        secret: String,
    },
    /// The file with the agent's token could not be read.
    #[error(
        "the token of the agent cannot be read from {path:?}: {error}. The agent's install script lets the group \
         awssmatokenreader read it"
    )]
    AgentTokenFile {
        /// The path.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// The answer has no value, or no version.
    #[error("the answer about the secret {secret:?} has no {missing}")]
    Incomplete {
        /// The name or ARN.
        secret: String,
        /// The member of `GetSecretValue`'s response.
        missing: &'static str,
    },
    /// The value is not a JSON object with the field that the source names (`field`).
    #[error("{origin} {problem} {field:?}: store {{{field:?}:\"…\"}}, or leave field(…) out")]
    Field {
        /// The secret and its version.
        origin: String,
        /// The field.
        field: String,
        /// `is not a JSON object, which would have the field`, for example.
        problem: &'static str,
    },
    /// Secrets Manager has returned an older version as `AWSCURRENT` after a newer one.
    #[error(
        "the version {found} of the secret {secret:?} was answered as AWSCURRENT after the newer {known}: the answer is \
         stale, or the label was moved back by hand. It is believed if it lasts for {} minutes, and after a restart",
        .believed_after.as_secs() / 60
    )]
    Stale {
        /// The name or ARN.
        secret: String,
        /// The version that was answered.
        found: String,
        /// The version that was AWSCURRENT before.
        known: String,
        /// How long such answers are refused.
        believed_after: Duration,
    },
    /// Two versions have keys with one id and different secrets.
    #[error(
        "{origin} has a key with the kid {kid:?}, under which another version has another secret. Leave the kid out of \
         the secret: then each version's id is its kid"
    )]
    SameKid {
        /// The secret and its version.
        origin: String,
        /// The id.
        kid: String,
    },
}

impl fmt::Debug for SecretsManagerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<SecretsManagerError> for KeySourceError {
    fn from(error: SecretsManagerError) -> Self {
        Self::other(error)
    }
}

impl SecretsManagerError {
    /// The error that a code of the service means. `None` for the one that says that something is
    /// not there.
    pub(crate) fn of_code(secret: &str, code: &str, message: Option<&str>) -> Option<Self> {
        let secret = secret.to_owned();
        let message = || bounded(message.unwrap_or(code));
        Some(match code {
            "ResourceNotFoundException" => return None,
            "AccessDeniedException" | "DecryptionFailure" | "AccessDenied" => {
                Self::AccessDenied { secret, message: message() }
            }
            "InvalidRequestException" => Self::InvalidRequest { secret, message: message() },
            // Their messages repeat the headers of the request, which may have the token of a
            // session.
            "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "InvalidClientTokenId"
            | "IncompleteSignature"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "AuthFailure"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "RequestExpired" => Self::Credentials { secret, code: bounded(code) },
            "ThrottlingException"
            | "Throttling"
            | "TooManyRequestsException"
            | "LimitExceededException"
            | "RequestLimitExceeded" => Self::Throttled { secret, code: bounded(code) },
            _ => Self::Service { secret, code: bounded(code) },
        })
    }
}

/// Makes a text of the service fit for a log: up to 300 characters, without control characters.
pub(crate) fn bounded(text: &str) -> String {
    const LIMIT: usize = 300;
    let end = text.char_indices().nth(LIMIT).map_or(text.len(), |(end, _)| end);
    text.get(..end).unwrap_or_default().replace(char::is_control, " ").trim_end_matches('.').into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_service_is_bounded_and_printable() {
        assert_eq!(bounded("denied.\n\u{1b}[31m"), "denied.  [31m");
        assert_eq!(bounded(&"é".repeat(1000)), "é".repeat(300));
    }

    /// AWS repeats the canonical request, with `x-amz-security-token`.
    #[test]
    fn a_refused_signature_shows_no_header_of_the_request() {
        let message = "The Canonical String should have been 'x-amz-security-token:IQoJsecret'";
        for code in ["InvalidSignatureException", "SignatureDoesNotMatch", "ExpiredTokenException"]
        {
            let error = SecretsManagerError::of_code("keys", code, Some(message)).unwrap();
            assert!(matches!(error, SecretsManagerError::Credentials { .. }), "{error}");
            assert!(!format!("{error} {error:?}").contains("IQoJ"), "{error}");
        }
    }

    #[test]
    fn each_code_is_an_error_that_says_what_to_do() {
        for (code, words) in [
            ("AccessDeniedException", "secretsmanager:GetSecretValue"),
            ("DecryptionFailure", "kms:Decrypt"),
            ("UnrecognizedClientException", "Renew"),
            ("InvalidRequestException", "restore-secret"),
            ("ThrottlingException", "Reload less often"),
            ("InternalServiceError", "asks again"),
        ] {
            let error = SecretsManagerError::of_code("api/keys", code, Some("why")).unwrap();
            let text = error.to_string();
            assert!(text.contains(words) && text.contains("\"api/keys\""), "{text}");
        }
        assert!(SecretsManagerError::of_code("keys", "ResourceNotFoundException", None).is_none());
    }
}
