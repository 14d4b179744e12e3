//! Reads tokens and claims from a file or the standard input, up to a limit, and writes to the
//! standard output.

use std::{
    fs::File,
    io::{self, ErrorKind, IsTerminal, Read, StdinLock, Write},
    path::Path,
};

use kippu::Validation;

use crate::{failure::Failure, misplaced};

/// Reads the text of a token from a file or the standard input, without a byte order mark before it
/// and line ends after it.
pub(crate) fn token(file: Option<&Path>) -> Result<String, Failure> {
    if let Some(path) = file.map(|path| path.to_string_lossy()) {
        if misplaced::looks_like_a_token(&path) {
            return Err(Failure::broken(
                "this is a token, where the file of a token is expected. On the command line other users of the machine can see it, \
                 and the shell keeps it in its history: pass it on the standard input, or with --token all the same",
            ));
        }
    }
    let text = String::from_utf8(read(file, "the token")?).map_err(|_| {
        Failure::Refused("refused: the token is not UTF-8 text; PowerShell may write UTF-16".into())
    })?;
    Ok(without_line_ends(&text).to_owned())
}

/// Reads the text of a claims set from a file or the standard input, without a byte order mark.
pub(crate) fn claims(file: Option<&Path>) -> Result<String, Failure> {
    if file.is_some_and(|path| misplaced::looks_like_json(&path.to_string_lossy())) {
        return Err(Failure::broken(
            "claims come from a file, or from the standard input: echo '{…}' | kippu sign …",
        ));
    }
    let text = String::from_utf8(read(file, "the claims")?)
        .map_err(|_| Failure::broken("the claims are not UTF-8 text"))?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned())
}

pub(crate) fn without_line_ends(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text).trim_end_matches(['\r', '\n'])
}

fn read(file: Option<&Path>, what: &str) -> Result<Vec<u8>, Failure> {
    let bytes = match file {
        Some(path) if path != Path::new("-") => File::open(path).and_then(up_to_the_limit),
        _ => up_to_the_limit(stdin(what)),
    };
    bytes.map_err(Failure::io(&format!("{what} cannot be read")))
}

fn stdin(what: &str) -> StdinLock<'static> {
    let stdin = io::stdin().lock();
    // Without a word, a command that waits for input looks as if it hung.
    if stdin.is_terminal() {
        eprintln!("kippu: waiting for {what}; end with Ctrl-D");
    }
    stdin
}

/// Reads more bytes than the longest token has, so that a longer one is refused and not cut.
fn up_to_the_limit(source: impl Read) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(2 * Validation::HIGHEST_MAX_TOKEN_LEN).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    source.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Prints a text without control characters.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // The reader, for example `head`, has read enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(Failure::io("the output cannot be written")),
    }
}
