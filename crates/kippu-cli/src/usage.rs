//! The arguments of the process in, a [`Command`] out. Prints help and the manual, and reports
//! wrong use. No message repeats the value of an argument, because the value may be a misplaced
//! secret.

use std::ffi::OsString;

use clap::{
    CommandFactory, Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};
use clap_mangen::Man;

use crate::{
    arguments::{Arguments, Command},
    failure::Failure,
    misplaced, streams,
};

/// Parses the arguments. Returns `None` after it has printed the help or the version that they ask
/// for.
pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Option<Command>, Failure> {
    misplaced::refuse_secrets(arguments.get(1..).unwrap_or_default())?;
    match Arguments::try_parse_from(arguments) {
        Ok(arguments) => Ok(Some(arguments.command)),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                streams::print(&error.to_string()).map(|()| None)
            }
            _ => Err(wrong_use(error)),
        },
    }
}

/// Returns clap's message about wrong use, without the values.
fn wrong_use(mut error: clap::Error) -> Failure {
    // clap's suggestions for an unknown argument repeat the argument.
    error.remove(ContextKind::Suggested);
    // For an unknown argument, `InvalidArg` is what the user typed. For any other it is the
    // argument's name in the help.
    let is_unknown = error.kind() == ErrorKind::UnknownArgument;
    for kind in [ContextKind::InvalidValue, ContextKind::InvalidSubcommand, ContextKind::InvalidArg]
    {
        let is_value = match error.get(kind) {
            Some(ContextValue::String(text)) if kind == ContextKind::InvalidArg => {
                is_unknown && !is_the_name_of_an_option(text)
            }
            Some(ContextValue::String(text)) => !text.is_empty(),
            _ => false,
        };
        if is_value {
            error.insert(kind, ContextValue::String("…".into()));
        }
    }
    let message = error.to_string();
    let message = message.strip_prefix("error: ").unwrap_or(&message).trim_end();
    if error.kind() == ErrorKind::MissingRequiredArgument && message.contains("--key-file") {
        Failure::Broken(format!("{message}\nA key is made with 'kippu keygen --out PATH'."))
    } else {
        Failure::broken(message)
    }
}

fn is_the_name_of_an_option(text: &str) -> bool {
    text.starts_with('-')
        && text.len() < 20
        && text.chars().all(|c| c.is_ascii_lowercase() || c == '-')
}

/// Prints the manual page of a command, or of `kippu` itself.
pub(crate) fn manual(command: Option<&str>) -> Result<(), Failure> {
    let mut root = Arguments::command().disable_help_subcommand(true);
    root.build();
    let page = match command {
        None => root,
        Some(name) => root.find_subcommand(name).cloned().ok_or_else(|| {
            Failure::broken("there is a page for each command, and one for kippu itself")
        })?,
    };
    let mut text = Vec::new();
    Man::new(page).render(&mut text).map_err(Failure::io("the manual cannot be written"))?;
    streams::print(&String::from_utf8_lossy(&text))
}
