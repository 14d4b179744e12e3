//! The command `kippu`: a token, claims or nothing in; an explanation, claims, a token or a key
//! out.
//!
//! `kippu --help` explains its use. It exits with 0 when a token is accepted, 1 when it is refused,
//! and 2 when the command could not decide. A secret on the command line is refused, and text of a
//! token reaches the terminal without control characters.

mod text;

mod failure;

mod json;

mod arguments;
mod misplaced;

mod advice;
mod streams;

mod keygen;
mod keys;
mod report;
mod sign;
mod usage;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::CommandFactory;
use kippu::{InvalidOption, NumericDate, Validation};
use serde_json::value::RawValue;

use crate::{
    arguments::{Arguments, Check, Command, Expected},
    failure::Failure,
    report::{Report, members},
    text::Paint,
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = failure.message() {
                // If this cannot be written, the exit status still shows the failure.
                let _ = io::stderr().write_all(message.as_bytes());
            }
            ExitCode::from(failure.status())
        }
    }
}

fn run() -> Result<(), Failure> {
    match usage::parse(std::env::args_os().collect())? {
        None => Ok(()),
        Some(Command::Explain(options)) => explain(&options),
        Some(Command::Verify(options)) => verify(&options),
        Some(Command::Sign(options)) => sign::sign(&options),
        Some(Command::Keygen(options)) => keygen::keygen(&options),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "kippu", &mut script);
            streams::print(&String::from_utf8_lossy(&script))
        }
        Some(Command::Man { command }) => usage::manual(command.as_deref()),
    }
}

fn explain(options: &Check) -> Result<(), Failure> {
    let checked = Checked::new(options)?;
    let explanation = kippu::explain(&checked.token, &checked.keys, &checked.validation);
    let report = Report::new(&checked.token, &explanation, checked.now);
    streams::print(&if options.json {
        report.to_json() + "\n"
    } else {
        report.to_text(Paint::for_stdout())
    })?;
    if explanation.is_accepted() { Ok(()) } else { Err(Failure::Explained) }
}

fn verify(options: &Check) -> Result<(), Failure> {
    let checked = Checked::new(options)?;
    let verified = kippu::verify(&checked.token, &checked.keys, &checked.validation);
    let refused = |error: kippu::DecodeError| {
        let advice = advice::on_token(&error, &checked.token);
        Failure::Refused(format!("refused: {error}\n{advice}"))
    };
    let verified = verified.map_err(refused)?;
    let claims = verified.claims::<&RawValue>().map_err(refused)?.get();
    streams::print(&if options.json {
        json::line(claims) + "\n"
    } else {
        members(claims, "", checked.now)
    })
}

/// The token and the keys of `explain` and `verify`, and the expectations.
struct Checked {
    token: String,
    keys: kippu::KeySet,
    validation: Validation,
    /// The clock is read once, for the checks and for the text about them.
    now: NumericDate,
}

impl Checked {
    fn new(options: &Check) -> Result<Self, Failure> {
        let now = options.expected.at.map_or_else(NumericDate::now, NumericDate::from_seconds);
        let validation = validation(&options.expected)
            .map_err(|error| Failure::broken(advice::on_option(&error)))?
            .at(now);
        let keys = keys::verifying(&options.key, options.try_all_keys)?;
        let token = match &options.token {
            Some(token) => streams::without_line_ends(token).to_owned(),
            None => streams::token(options.file.as_deref())?,
        };
        Ok(Self { token, keys, validation, now })
    }
}

fn validation(expected: &Expected) -> Result<Validation, InvalidOption> {
    let mut validation = Validation::new();
    if expected.any_audience {
        validation = validation.any_audience()?;
    }
    if expected.null_means_absent {
        validation = validation.null_means_absent()?;
    }
    if expected.numeric_subject {
        validation = validation.numeric_subject()?;
    }
    if let Some(leeway) = expected.leeway {
        validation = validation.leeway(leeway)?;
    }
    if let Some(bytes) = expected.max_length {
        validation = validation.max_token_len(bytes)?;
    }
    if let Some(max_age) = expected.max_age {
        validation = validation.max_age(max_age);
    }
    validation = expected.issuer.iter().fold(validation, Validation::issuer);
    validation = expected.audience.iter().fold(validation, Validation::audience);
    validation = expected.subject.iter().fold(validation, Validation::subject);
    validation = expected.typ.iter().fold(validation, Validation::typ);
    validation = expected.require.iter().fold(validation, Validation::require);
    // Called last, so that it contradicts `--require exp` whatever the order of the options.
    if expected.expiry_optional { validation.expiry_optional() } else { Ok(validation) }
}
