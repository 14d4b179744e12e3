//! Why a token is refused: a token in, every check that kippu made of it out.
//!
//! For a page that teaches. On a real server this is for operators: a client that is told which check failed learns
//! nothing that helps it, and an attacker may.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::header::CACHE_CONTROL,
    response::{IntoResponse, Response},
};
use kippu::{Key, Outcome, Validation, ValidationError};
use serde::{Deserialize, Serialize};

use crate::app::AUDIENCE;

/// What an access token has to be, as the sessions have it.
pub(crate) struct Explainer {
    key: Key,
    validation: Validation,
}

impl Explainer {
    pub(crate) fn new(issuer: &str, key: Key) -> Result<Self, ValidationError> {
        let validation = Validation::new().issuer(issuer).audience(AUDIENCE).typ("at+jwt");
        // RFC 9068 §2.2, and the session.
        let required = ["sub", "client_id", "iat", "jti", "sid"];
        let validation = required.into_iter().fold(validation, Validation::require);
        Ok(Self { key, validation: validation.leeway(std::time::Duration::ZERO)? })
    }
}

#[derive(Deserialize)]
pub(crate) struct Submitted {
    token: String,
}

#[derive(Serialize)]
struct Explained {
    accepted: bool,
    findings: Vec<Found>,
}

#[derive(Serialize)]
struct Found {
    check: &'static str,
    outcome: &'static str,
    reason: Option<String>,
}

pub(crate) async fn explain(
    State(explainer): State<Arc<Explainer>>,
    Json(submitted): Json<Submitted>,
) -> Response {
    let explanation = kippu::explain(&submitted.token, &explainer.key, &explainer.validation);
    let findings = explanation.findings().iter().map(|finding| {
        let (outcome, reason) = match &finding.outcome {
            Outcome::Passed => ("passed", None),
            Outcome::Failed(error) => ("failed", Some(error.to_string())),
            _ => ("not run", None),
        };
        Found { check: finding.check, outcome, reason }
    });
    let body = Explained { accepted: explanation.is_accepted(), findings: findings.collect() };
    ([(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}
