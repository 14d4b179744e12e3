//! A command around the crate: a token, claims or nothing in; an explanation, claims, a token or a key out.
//!
//! `cargo run -p kippu-cli -- help` tells its use. It exits with 0 when a token is accepted, 1 when it is refused,
//! and 2 when it could not come to that. A secret on the command line is refused, and what a token says reaches
//! the terminal without control characters.

mod arguments;
mod json;
mod keys;
mod report;
mod text;

use std::{
    io::{IsTerminal, Read, Write},
    process::ExitCode,
};

use kippu::{NumericDate, Validation, encode_with_typ};

use crate::{
    arguments::{Command, Options},
    json::Json,
    text::{Paint, printable},
};

const USAGE: &str = "\
jwt explain [TOKEN]   every part and every check of a token, and what to do about the failed ones
jwt verify [TOKEN]    the claims of a token that is accepted; otherwise why it is refused
jwt sign [FILE]       a token of the claims in FILE, a JSON object
jwt keygen            a new key, as a JWK

TOKEN and FILE come from the standard input where they are left out. Keep live tokens there:
what stands on the command line is seen in the process list, and kept in the shell's history.

the key, of which explain, verify and sign need one (a JWK or a JWK Set, as keygen prints it):
  --key-file PATH     from a file
  --key-env NAME      from an environment variable

what explain and verify expect:
  --issuer NAME       --audience NAME     --subject NAME      --typ TYPE
  --require CLAIM     --any-audience      --expiry-optional
  --leeway TIME       --max-age TIME      --at SECONDS        (now, for tokens of the past)

sign:    --expires-in TIME (sets iat and exp)    --typ TYPE
keygen:  --alg HS256|HS384|HS512    --kid ID    --out PATH (a new file that only you can read)
all:     --json

A TIME is a number and its unit: 30s, 15m, 12h, 7d.
Exit status: 0 accepted or done, 1 refused, 2 wrong use, or a file that cannot be read or written.
";

/// Why a command did not end well.
enum Failure {
    /// The token is refused, which has been said on the standard output already.
    Explained,
    /// The token is refused.
    Refused(String),
    /// Wrong use, or something that cannot be read or written.
    Broken(String),
}

fn broken(what: &str) -> impl FnOnce(std::io::Error) -> Failure {
    let what = what.to_owned();
    move |error| Failure::Broken(format!("{what}: {error}"))
}

fn main() -> ExitCode {
    let result = Options::parse(lexopt::Parser::from_env()).and_then(|options| run(&options));
    let (status, reason) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Explained) => return ExitCode::from(1),
        Err(Failure::Refused(reason)) => (1, reason),
        Err(Failure::Broken(reason)) => (2, reason),
    };
    // Where even this cannot be written, the exit status is all that is left to say.
    let lines: Vec<_> = reason.lines().map(printable).collect();
    let _ = writeln!(std::io::stderr(), "jwt: {}", lines.join("\n     "));
    ExitCode::from(status)
}

fn run(options: &Options) -> Result<(), Failure> {
    match options.command {
        Command::Help => print(USAGE),
        Command::Explain => explain(options),
        Command::Verify => verify(options),
        Command::Sign => sign(options),
        Command::Keygen => keys::generate(options),
    }
}

fn explain(options: &Options) -> Result<(), Failure> {
    let keys = keys::read(options)?;
    let token = token(options)?;
    // One reading for the checks and for what is told about the times.
    let now = options.now.unwrap_or_else(NumericDate::now);
    let explanation = keys.explain(&token, &options.validation.clone().at(now));
    let report = report::Report::new(&token, &explanation, now);
    print(&if options.json {
        json::line(&report.to_json())
    } else {
        report.to_text(Paint::for_stdout())
    })?;
    if explanation.is_accepted() { Ok(()) } else { Err(Failure::Explained) }
}

fn verify(options: &Options) -> Result<(), Failure> {
    let keys = keys::read(options)?;
    let token = token(options)?;
    let now = options.now.unwrap_or_else(NumericDate::now);
    let decoded = keys.decode(&token, &options.validation.clone().at(now));
    let claims = decoded
        .map_err(|error| Failure::Refused(format!("refused: {error}\n{}", error.advice())))?;
    print(&if options.json { json::line(&claims) } else { report::members(&claims, "", now) })
}

fn sign(options: &Options) -> Result<(), Failure> {
    let keys = keys::read(options)?;
    let text = match &options.operand {
        Some(path) => std::fs::read(path).map_err(broken("cannot read the claims"))?,
        None => read_stdin("the claims")?,
    };
    let mut claims: Json = serde_json::from_slice(&text)
        .map_err(|error| Failure::Broken(format!("the claims are no JSON: {error}")))?;
    if let (Some(lifetime), Json::Object(members)) = (options.expires_in, &mut claims) {
        let now = NumericDate::now();
        // Claims that have one of them already have it twice now, which is refused below.
        for (name, time) in [("iat", now), ("exp", now.saturating_add(lifetime))] {
            members.push((name.into(), Json::Other(time.seconds().into())));
        }
    }
    if claims.member("exp").is_none() {
        eprintln!("jwt: the claims have no exp, so recipients refuse the token: see --expires-in");
    }
    let typ = options.typ.as_deref().unwrap_or("JWT");
    let token = encode_with_typ(&claims, keys.signing_key(), typ)
        .map_err(|error| Failure::Broken(error.to_string()))?;
    print(&if options.json {
        json::line(&serde_json::json!({ "token": token }))
    } else {
        format!("{token}\n")
    })
}

fn token(options: &Options) -> Result<String, Failure> {
    let token = match &options.operand {
        Some(token) => token.clone().into_string().ok(),
        None => String::from_utf8(read_stdin("the token")?).ok(),
    };
    let token =
        token.ok_or_else(|| Failure::Refused("refused: the token is not even text".into()))?;
    // A line end is the shell's, not the token's.
    Ok(token.trim_end_matches(['\r', '\n']).to_owned())
}

fn read_stdin(what: &str) -> Result<Vec<u8>, Failure> {
    let stdin = std::io::stdin().lock();
    if stdin.is_terminal() {
        eprintln!("jwt: waiting for {what}; end with Ctrl-D");
    }
    // Whatever is cut off here was too long before.
    let limit = u64::try_from(2 * Validation::HIGHEST_MAX_TOKEN_LEN).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    stdin.take(limit).read_to_end(&mut bytes).map_err(broken(&format!("cannot read {what}")))?;
    Ok(bytes)
}

/// Prints what is fit to be printed already.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // Whoever reads it has read enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(broken("cannot write")),
    }
}
