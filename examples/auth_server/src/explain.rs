//! Why a token is refused: a token in, every check that kippu made of it out.
//!
//! For a page that teaches. On a real server this is for operators: a client that learns which
//! check failed learns nothing that helps it, and an attacker may.

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
use serde::Serialize;

use crate::{body::Body, refusal::Refusal};

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
    mut body: Body,
) -> Result<Response, Refusal> {
    let explanation = sessions.verifier().explain(&body.text("token")?);
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
    Ok(([(CACHE_CONTROL, "no-store")], Json(body)).into_response())
}
