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
use kippu::{
    Outcome,
    session::{BoxStore, Sessions},
};
use serde::{Deserialize, Serialize};

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
    check: String,
    outcome: &'static str,
    reason: Option<String>,
}

pub(crate) async fn explain(
    State(sessions): State<Arc<Sessions<BoxStore>>>,
    Json(submitted): Json<Submitted>,
) -> Response {
    let explanation = sessions.verifier().explain(&submitted.token);
    let findings = explanation.findings().iter().map(|finding| {
        let (outcome, reason) = match &finding.outcome {
            Outcome::Passed => ("passed", None),
            Outcome::Absent => ("absent", None),
            Outcome::Failed(error) => ("failed", Some(error.to_string())),
            _ => ("not run", None),
        };
        Found { check: finding.check.to_string(), outcome, reason }
    });
    let body = Explained { accepted: explanation.is_accepted(), findings: findings.collect() };
    ([(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}
