//! The command line: what clap makes of it, and the words of the help, the completions and the man
//! page.

use std::{path::PathBuf, time::Duration};

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use clap_complete::Shell;
use kippu::Algorithm;

/// Explains, verifies and makes JSON Web Tokens (JWTs) that are signed with HMAC.
///
/// A JSON Web Token is a signed text that a server gives to its clients, for example after a login,
/// and that they show with each request. It has three parts with dots between them: a header, the
/// claims (a JSON object such as {"sub":"alice","exp":1800000000}) and a signature.
///
/// kippu is for tokens that are signed and verified with the same secret key: HS256, HS384 and
/// HS512 of RFC 7518. It is strict: a token is accepted only if it has an expiry, is within its
/// time, and is as you expect it to be.
#[derive(Parser)]
#[command(name = "kippu", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Examples, to be run one after the other:
  kippu keygen --out demo.key
  echo '{\"iss\":\"https://auth.example\",\"sub\":\"alice\"}' | kippu sign --key-file demo.key --expires-in 15m >demo.jwt
  kippu explain --key-file demo.key --issuer https://auth.example demo.jwt

Tokens and claims are read from a file or from the standard input, keys from a file or an environment variable: other users
of the machine see the command line, and the shell keeps it in its history.

Exit status:
  0  the token is accepted; or the command has done what it was to do
  1  the token is refused; the reason is printed
  2  wrong use; or a file, a key or claims that cannot be read, used or written";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Shows every part of a token, every check of it, and what to do about those that fail.
    ///
    /// The exit status is 0 if the token is accepted, 1 if it is refused. A header and claims whose
    /// signature is wrong are shown as UNVERIFIED: anyone can have written them.
    Explain(Check),

    /// Prints the claims of a token that is accepted, or says why it is refused.
    ///
    /// The exit status is 0 if the token is accepted, 1 if it is refused.
    Verify(Check),

    /// Signs claims, a JSON object, and prints the token.
    ///
    /// The payload of the token is the JSON text as it was given, with the members that an option
    /// adds at its end.
    Sign(Sign),

    /// Makes a secret key, and prints it as a JWK (RFC 7517) or writes it into a new file.
    Keygen(Keygen),

    /// Prints a script that completes commands and options in a shell.
    ///
    /// For bash: kippu completions bash >~/.local/share/bash-completion/completions/kippu
    Completions {
        /// The shell.
        shell: Shell,
    },

    /// Prints the manual page of kippu or of one of its commands.
    ///
    /// To read one: kippu man verify | man -l -
    Man {
        /// The command whose page is printed.
        command: Option<String>,
    },
}

/// The options of `explain` and `verify`.
#[derive(Args)]
pub(crate) struct Check {
    /// The file that holds the token; the standard input, if there is none.
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// The token itself. Other users of the machine can see it in the list of processes, and the
    /// shell keeps it in its history.
    #[arg(long, conflicts_with = "file")]
    pub(crate) token: Option<String>,

    /// Print JSON, in one line.
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) key: KeyOptions,

    /// Try each key of a JWK Set for a token that does not name its key by a kid.
    #[arg(long, help_heading = KEY)]
    pub(crate) try_all_keys: bool,

    #[command(flatten)]
    pub(crate) expected: Expected,
}

/// The expectations of a token.
#[derive(Args)]
#[command(next_help_heading = "Expectations of the token")]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(crate) struct Expected {
    /// The issuer (iss) is NAME. Repeated: one of several.
    #[arg(long, value_name = "NAME")]
    pub(crate) issuer: Vec<String>,

    /// The audience (aud) names NAME. Repeated: one of several. A token that names an audience is
    /// refused without this option.
    #[arg(long, value_name = "NAME")]
    pub(crate) audience: Vec<String>,

    /// Any audience is accepted.
    #[arg(long, conflicts_with = "audience")]
    pub(crate) any_audience: bool,

    /// The subject (sub) is NAME. Repeated: one of several.
    #[arg(long, value_name = "NAME")]
    pub(crate) subject: Vec<String>,

    /// The type in the header (typ) is TYPE, for example at+jwt. Repeated: one of several.
    #[arg(long, value_name = "TYPE")]
    pub(crate) typ: Vec<String>,

    /// The claim CLAIM is there, whatever its value. May be repeated.
    #[arg(long, value_name = "CLAIM")]
    pub(crate) require: Vec<String>,

    /// A token without an expiry (exp) is accepted.
    #[arg(long)]
    pub(crate) expiry_optional: bool,

    /// The token was issued (iat) no longer ago than TIME, for example 12h.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) max_age: Option<Duration>,

    /// The clocks of issuer and recipient may differ by TIME, up to 10m. [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) leeway: Option<Duration>,

    /// The time is not now but SECONDS after the start of 1970: for tokens of the past.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) at: Option<i64>,

    /// The token has up to BYTES bytes, at most 1048576. [default: 16384]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) max_length: Option<usize>,

    /// A registered claim that is null counts as one that is missing, for issuers that write null.
    #[arg(long)]
    pub(crate) null_means_absent: bool,

    /// The subject (sub) may be a number, for issuers that write one.
    #[arg(long, conflicts_with = "subject")]
    pub(crate) numeric_subject: bool,
}

#[derive(Args)]
pub(crate) struct Sign {
    /// The file that holds the claims; the standard input, if there is none.
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Add the claims iat (now) and exp (TIME later, for example 15m) to the claims.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) expires_in: Option<Duration>,

    /// The type in the header, for example at+jwt.
    #[arg(long, value_name = "TYPE", default_value = "JWT")]
    pub(crate) typ: String,

    /// Print JSON: {"token":"…"}.
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) key: KeyOptions,

    /// The kid of the key that signs: selects one key of a JWK Set, and names a key that has no
    /// kid.
    #[arg(long, value_name = "ID", help_heading = KEY)]
    pub(crate) kid: Option<String>,
}

const KEY: &str = "Key";

/// Where the key is, and how it is read.
#[derive(Args)]
#[command(next_help_heading = KEY)]
pub(crate) struct KeyOptions {
    #[command(flatten)]
    pub(crate) place: KeyPlace,

    /// How the secret is written.
    #[arg(long, value_name = "FORMAT", default_value = "jwk", hide_default_value = true)]
    pub(crate) key_format: KeyFormat,

    /// The algorithm of a key that does not name its own: a JWK without alg, or any other format.
    #[arg(long, value_parser = algorithm())]
    pub(crate) alg: Option<Algorithm>,

    /// Skip the keys of a JWK Set that are not for HMAC signatures, for example RSA keys.
    #[arg(long)]
    pub(crate) skip_other_keys: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct KeyPlace {
    /// The file that holds the key. `kippu keygen` makes one.
    #[arg(long, value_name = "PATH")]
    pub(crate) key_file: Option<PathBuf>,

    /// The NAME of the environment variable that holds the key, not its value.
    #[arg(long, value_name = "NAME")]
    pub(crate) key_env: Option<String>,
}

/// The form of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyFormat {
    /// A JWK or a JWK Set (RFC 7517), as `kippu keygen` writes it. This is the default.
    Jwk,
    /// Hexadecimal digits, as `openssl rand -hex 32` prints them.
    Hex,
    /// Base64, as `openssl rand -base64 32` prints it.
    Base64,
    /// Base64url, the alphabet for URLs, without padding or with it.
    Base64url,
    /// One line of text whose characters are the secret.
    Text,
    /// Bytes, as `openssl rand 32` writes them.
    Raw,
}

#[derive(Args)]
pub(crate) struct Keygen {
    /// The algorithm that the key is for.
    #[arg(long, default_value = "HS256", value_parser = algorithm())]
    pub(crate) alg: Algorithm,

    /// The key's id. It is public: each token that the key signs names it in its header.
    #[arg(long, value_name = "ID")]
    pub(crate) kid: Option<String>,

    /// A new file for the key, which only you can read. A file that exists is not replaced.
    #[arg(long, value_name = "PATH")]
    pub(crate) out: Option<PathBuf>,
}

fn algorithm() -> impl TypedValueParser<Value = Algorithm> {
    PossibleValuesParser::new(Algorithm::ALL.iter().map(|algorithm| algorithm.as_str()))
        .try_map(|name| name.parse::<Algorithm>())
}

/// `15m`. The unit is required, because programs differ about what a bare number is.
fn duration(text: &str) -> Result<Duration, &'static str> {
    let read = || {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(seconds)
    };
    read().map(Duration::from_secs).ok_or("a number and its unit are expected: 30s, 15m, 12h or 7d")
}

fn seconds(text: &str) -> Result<i64, &'static str> {
    text.parse().map_err(|_| "a number of seconds is expected")
}

fn bytes(text: &str) -> Result<usize, &'static str> {
    text.parse().map_err(|_| "a number of bytes is expected")
}
