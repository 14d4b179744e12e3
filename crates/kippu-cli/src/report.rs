//! What `jwt explain` says: a token and its [`Explanation`] in, text for people or JSON out.
//!
//! Of a token whose signature does not hold, the header and the claims are shown under the word UNVERIFIED.

use std::fmt::Write;

use kippu::{Explanation, NumericDate, Outcome, base64url};
use serde_json::{Value, json};

use crate::{
    json::{self, Json},
    text::{Paint, human_time, printable},
};

pub(crate) struct Report<'t> {
    token: &'t str,
    explanation: &'t Explanation,
    now: NumericDate,
    header: Option<Json>,
    claims: Option<Json>,
}

impl<'t> Report<'t> {
    pub(crate) fn new(token: &'t str, explanation: &'t Explanation, now: NumericDate) -> Self {
        let mut segments = token.split('.').map(object);
        let (header, claims) = (segments.next().flatten(), segments.next().flatten());
        Self { token, explanation, now, header, claims }
    }

    pub(crate) fn to_text(&self, paint: Paint) -> String {
        let mut text = String::new();
        let segments: Vec<_> =
            self.token.split('.').take(6).map(|segment| segment.len().to_string()).collect();
        let line = format!("{} bytes, {}", self.token.len(), segments.join(" . "));
        let _ = writeln!(text, "{}  {line}\n", paint.heading("token"));

        let unverified = if self.explanation.is_authentic() { "" } else { "UNVERIFIED  " };
        for (name, part) in [("header", &self.header), ("claims", &self.claims)] {
            let _ = write!(text, "{}", paint.heading(name));
            if !unverified.is_empty() {
                let warning = "  UNVERIFIED: anyone can have written this";
                let _ = write!(text, "{}", paint.bad(warning));
            }
            let members = match part {
                Some(part) => members(part, unverified, self.now),
                None => "not a JSON object in base64url\n".into(),
            };
            text.push('\n');
            for line in members.lines() {
                let _ = writeln!(text, "  {line}");
            }
            text.push('\n');
        }

        let _ = writeln!(text, "{}", paint.heading("checks"));
        for finding in self.explanation.findings() {
            let check = printable(&finding.check);
            let _ = match &finding.outcome {
                Outcome::Passed => writeln!(text, "  {}   {check}", paint.good("passed")),
                Outcome::Absent => {
                    writeln!(text, "  {}", paint.faint(&format!("absent   {check}")))
                }
                Outcome::Failed(error) => {
                    let error_line = printable(&error.to_string());
                    let advice = error.advice();
                    writeln!(text, "  {}   {check}: {error_line}", paint.bad("FAILED"))
                        .and_then(|()| writeln!(text, "           -> {advice}"))
                }
                _ => writeln!(text, "  {}", paint.faint(&format!("not run  {check}"))),
            };
        }

        let verdict = match self.explanation.failures().count() {
            0 if self.explanation.is_accepted() => paint.good("accepted"),
            1 => paint.bad("refused: 1 check failed"),
            failed => paint.bad(&format!("refused: {failed} checks failed")),
        };
        let _ = writeln!(text, "\n{verdict}");
        text
    }

    pub(crate) fn to_json(&self) -> Json {
        let unverified = if self.explanation.is_authentic() { "" } else { "unverified_" };
        let checks = self.explanation.findings().iter().map(|finding| {
            let check = &finding.check;
            Json::Other(match &finding.outcome {
                Outcome::Passed => json!({ "check": check, "outcome": "passed" }),
                Outcome::Absent => json!({ "check": check, "outcome": "absent" }),
                Outcome::Failed(error) => {
                    let (reason, advice) = (error.to_string(), error.advice());
                    json!({ "check": check, "outcome": "failed", "reason": reason, "advice": advice })
                }
                _ => json!({ "check": check, "outcome": "not run" }),
            })
        });
        let accepted = Json::Other(self.explanation.is_accepted().into());
        let mut members = vec![("accepted".into(), accepted)];
        for (name, part) in [("header", &self.header), ("claims", &self.claims)] {
            let part = part.clone().unwrap_or(Json::Other(Value::Null));
            members.push((format!("{unverified}{name}"), part));
        }
        members.push(("checks".into(), Json::Array(checks.collect())));
        Json::Object(members)
    }
}

/// The object that a segment holds.
fn object(segment: &str) -> Option<Json> {
    let json = serde_json::from_slice(&base64url::decode(segment).ok()?).ok()?;
    matches!(json, Json::Object(_)).then_some(json)
}

/// A line for each member, with `mark` before it and, for a time, what people call it.
pub(crate) fn members(object: &Json, mark: &str, now: NumericDate) -> String {
    let Json::Object(members) = object else { return String::new() };
    let mut lines = String::new();
    for (name, value) in members {
        let _ = write!(lines, "{mark}{}  {}", printable(name), json::text(value));
        if let Some(time) = time(name, value, now) {
            let _ = write!(lines, "  ({time})");
        }
        lines.push('\n');
    }
    lines
}

/// What people call the time that a claim holds.
fn time(claim: &str, value: &Json, now: NumericDate) -> Option<String> {
    let Json::Other(value @ Value::Number(_)) = value else { return None };
    if !matches!(claim, "exp" | "nbf" | "iat" | "auth_time" | "updated_at") {
        return None;
    }
    human_time(serde_json::from_value(value.clone()).ok()?, now)
}
