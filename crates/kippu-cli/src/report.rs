//! The report of `kippu explain`, and the lines of a claims set: a token and its [`Explanation`]
//! in, text for people or JSON out.
//!
//! If the signature of a token is wrong, its header and its claims are marked as unverified.

use std::fmt::Write;

use kippu::{Explanation, NumericDate, Outcome, base64url};
use serde_json::{Value, json};

use crate::{
    advice,
    json::{self, Members},
    text::{Paint, human_time, printable},
};

pub(crate) struct Report<'t> {
    token: &'t str,
    explanation: &'t Explanation,
    now: NumericDate,
    header: Option<String>,
    claims: Option<String>,
}

impl<'t> Report<'t> {
    pub(crate) fn new(token: &'t str, explanation: &'t Explanation, now: NumericDate) -> Self {
        let mut segments = token.split('.').map(object);
        let (header, claims) = (segments.next().flatten(), segments.next().flatten());
        Self { token, explanation, now, header, claims }
    }

    fn parts(&self) -> [(&'static str, Option<&str>); 2] {
        [("header", self.header.as_deref()), ("claims", self.claims.as_deref())]
    }

    pub(crate) fn to_text(&self, paint: Paint) -> String {
        let mut text = String::new();
        let segments: Vec<_> =
            self.token.split('.').take(6).map(|segment| segment.len().to_string()).collect();
        let line = format!("{} bytes, {}", self.token.len(), segments.join(" . "));
        let _ = writeln!(text, "{}  {line}\n", paint.heading("token"));

        let unverified = if self.explanation.is_authentic() { "" } else { "UNVERIFIED  " };
        for (name, part) in self.parts() {
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
                    let reason = printable(&error.to_string());
                    let advice = advice::on_token(error, self.token);
                    writeln!(text, "  {}   {check}: {reason}", paint.bad("FAILED"))
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

    /// Returns one line of JSON.
    pub(crate) fn to_json(&self) -> String {
        let unverified = if self.explanation.is_authentic() { "" } else { "unverified_" };
        let checks = self.explanation.findings().iter().map(|finding| {
            let check = &finding.check;
            match &finding.outcome {
                Outcome::Passed => json!({ "check": check, "outcome": "passed" }),
                Outcome::Absent => json!({ "check": check, "outcome": "absent" }),
                Outcome::Failed(error) => {
                    let (reason, advice) = (error.to_string(), advice::on_token(error, self.token));
                    json!({ "check": check, "outcome": "failed", "reason": reason, "advice": advice })
                }
                _ => json!({ "check": check, "outcome": "not run" }),
            }
        });
        let checks: Value = checks.collect();
        let mut json = format!("{{\"accepted\":{}", self.explanation.is_accepted());
        for (name, part) in self.parts() {
            let _ = write!(json, ",\"{unverified}{name}\":{}", part.unwrap_or("null"));
        }
        let _ = write!(json, ",\"checks\":{checks}}}");
        json::line(&json)
    }
}

/// Returns the JSON object in a segment.
fn object(segment: &str) -> Option<String> {
    let text = String::from_utf8(base64url::decode(segment).ok()?).ok()?;
    Members::of(&text)?;
    Some(text)
}

/// Returns a line for each member of an object, with `mark` before it, and after a time its date.
pub(crate) fn members(object: &str, mark: &str, now: NumericDate) -> String {
    let mut lines = String::new();
    for (name, value) in Members::of(object).iter().flat_map(Members::iter) {
        let _ = write!(lines, "{mark}{}  {}", printable(name), json::line(value));
        if let Some(time) = time(name, value, now) {
            let _ = write!(lines, "  ({time})");
        }
        lines.push('\n');
    }
    lines
}

/// Returns the date of a claim that is a time.
fn time(claim: &str, value: &str, now: NumericDate) -> Option<String> {
    // The times of RFC 7519 §4.1 and of OpenID Connect.
    if !matches!(claim, "exp" | "nbf" | "iat" | "auth_time" | "updated_at") {
        return None;
    }
    human_time(serde_json::from_str(value).ok()?, now)
}
