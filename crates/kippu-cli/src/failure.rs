//! The end of a command that does not succeed: an exit status, and a text for the standard error.

use std::io;

use crate::text::printable;

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The token is refused, and the standard output has the reasons.
    Explained,
    /// The token is refused.
    Refused(String),
    /// The command was used wrongly, or something cannot be read, used or written.
    Broken(String),
}

impl Failure {
    pub(crate) fn broken(reason: impl Into<String>) -> Self {
        Self::Broken(reason.into())
    }

    /// Returns a function that converts an error of the operating system.
    pub(crate) fn io(problem: &str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Broken(format!("{problem}: {error}"))
    }

    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Explained | Self::Refused(_) => 1,
            Self::Broken(_) => 2,
        }
    }

    /// Returns the lines for the standard error, without control characters. All lines but the
    /// first are indented.
    pub(crate) fn message(&self) -> Option<String> {
        let (Self::Refused(reason) | Self::Broken(reason)) = self else { return None };
        let mut message = String::from("kippu:");
        for (number, line) in reason.lines().enumerate() {
            let indent = match (number, line) {
                (0, _) => " ",
                (_, "") => "",
                _ => "       ",
            };
            message.push_str(indent);
            message.push_str(&printable(line));
            message.push('\n');
        }
        Some(message)
    }
}
