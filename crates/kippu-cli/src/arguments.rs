//! The command line: arguments in, [`Options`] out; a secret among them is refused, and never repeated.
//!
//! No message repeats the value of an argument: it might be a secret that landed in the wrong place.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use kippu::{Algorithm, InvalidOption, NumericDate, Validation};
use lexopt::{Arg, Parser, ValueExt};

use crate::Failure;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Explain,
    Verify,
    Sign,
    Keygen,
}

/// Where the key is.
pub(crate) enum KeyFrom {
    File(PathBuf),
    Environment(OsString),
}

pub(crate) struct Options {
    pub(crate) command: Command,
    /// The token, or the file of the claims.
    pub(crate) operand: Option<OsString>,
    pub(crate) json: bool,
    pub(crate) key: Option<KeyFrom>,
    pub(crate) validation: Validation,
    pub(crate) now: Option<NumericDate>,
    pub(crate) expires_in: Option<Duration>,
    pub(crate) typ: Option<String>,
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<String>,
    pub(crate) out: Option<PathBuf>,
}

/// Whether an option is one by which other commands take a secret: `--secret`, `--hmac-key`, `--jwk`.
fn takes_a_secret(option: &str) -> bool {
    let words = ["secret", "password", "passphrase", "jwk"];
    option == "k" || option.ends_with("key") || words.iter().any(|word| option.contains(word))
}

impl Options {
    pub(crate) fn parse(mut arguments: Parser) -> Result<Self, Failure> {
        let mut options = Self {
            command: command(&mut arguments)?,
            operand: None,
            json: false,
            key: None,
            validation: Validation::new(),
            now: None,
            expires_in: None,
            typ: None,
            algorithm: Algorithm::Hs256,
            kid: None,
            out: None,
        };
        while let Some(argument) =
            arguments.next().map_err(|_| usage("an option that takes no value has one"))?
        {
            match argument {
                Arg::Long("help") | Arg::Short('h') => options.command = Command::Help,
                Arg::Short('k' | 'K' | 's' | 'S' | 'p' | 'P') => {
                    return Err(secret_on_the_command_line());
                }
                Arg::Short(name) => return Err(usage(&format!("there is no option -{name}"))),
                Arg::Long(name) => {
                    let name = name.to_owned();
                    options = options.with(&name, &mut arguments)?;
                }
                Arg::Value(value) => options.take_operand(value)?,
            }
        }
        Ok(options)
    }

    fn with(mut self, name: &str, arguments: &mut Parser) -> Result<Self, Failure> {
        use Command::{Explain, Keygen, Sign, Verify};

        let checks = matches!(self.command, Explain | Verify);
        let uses_key = checks || self.command == Sign;
        match name {
            "json" => self.json = true,
            "key-file" if uses_key => {
                let path = value(name, arguments)?;
                self.set_key(KeyFrom::File(path.into()))?;
            }
            "key-env" if uses_key => {
                let variable = value(name, arguments)?;
                self.set_key(KeyFrom::Environment(variable))?;
            }
            "issuer" if checks => self.validation = self.validation.issuer(text(name, arguments)?),
            "audience" if checks => {
                self.validation = self.validation.audience(text(name, arguments)?);
            }
            "subject" if checks => {
                self.validation = self.validation.subject(text(name, arguments)?);
            }
            "typ" if checks => self.validation = self.validation.typ(text(name, arguments)?),
            "require" if checks => {
                self.validation = self.validation.require(text(name, arguments)?);
            }
            "any-audience" if checks => {
                self.validation = self.validation.any_audience().map_err(contradiction)?;
            }
            "expiry-optional" if checks => {
                self.validation = self.validation.expiry_optional().map_err(contradiction)?;
            }
            "leeway" if checks => {
                let leeway = duration(name, arguments)?;
                self.validation = self.validation.leeway(leeway).map_err(contradiction)?;
            }
            "max-age" if checks => {
                self.validation = self.validation.max_age(duration(name, arguments)?);
            }
            "at" if checks => {
                let seconds = text(name, arguments)?.parse();
                let seconds = seconds.map_err(|_| usage("--at wants seconds since 1970"))?;
                self.now = Some(NumericDate::from_seconds(seconds));
            }
            "expires-in" if self.command == Sign => {
                self.expires_in = Some(duration(name, arguments)?);
            }
            "typ" if self.command == Sign => self.typ = Some(text(name, arguments)?),
            "alg" if self.command == Keygen => {
                let algorithm: Result<Algorithm, _> = text(name, arguments)?.parse();
                self.algorithm =
                    algorithm.map_err(|_| usage("--alg wants HS256, HS384 or HS512"))?;
            }
            "kid" if self.command == Keygen => self.kid = Some(text(name, arguments)?),
            "out" if self.command == Keygen => self.out = Some(value(name, arguments)?.into()),
            name if takes_a_secret(name) => return Err(secret_on_the_command_line()),
            name => return Err(usage(&format!("there is no option --{name} here"))),
        }
        Ok(self)
    }

    fn set_key(&mut self, key: KeyFrom) -> Result<(), Failure> {
        if self.key.replace(key).is_some() {
            return Err(usage(
                "one key is enough: --key-file or --key-env, once; for several, a JWK Set",
            ));
        }
        Ok(())
    }

    fn take_operand(&mut self, value: OsString) -> Result<(), Failure> {
        if looks_like_a_jwk(&value) {
            return Err(secret_on_the_command_line());
        }
        if self.command == Command::Sign && looks_like_json(&value) {
            return Err(usage("claims come from a file, or from the standard input"));
        }
        if self.command == Command::Keygen || self.operand.replace(value).is_some() {
            return Err(usage("there is an argument too many"));
        }
        Ok(())
    }
}

fn command(arguments: &mut Parser) -> Result<Command, Failure> {
    let name = match arguments.next() {
        Ok(Some(Arg::Value(name))) => name,
        Ok(None | Some(Arg::Long("help") | Arg::Short('h'))) => return Ok(Command::Help),
        Ok(Some(Arg::Long(name))) if takes_a_secret(name) => {
            return Err(secret_on_the_command_line());
        }
        _ => return Err(usage("say first what to do: explain, verify, sign or keygen")),
    };
    match name.to_str() {
        Some("help") => Ok(Command::Help),
        Some("explain") => Ok(Command::Explain),
        Some("verify") => Ok(Command::Verify),
        Some("sign") => Ok(Command::Sign),
        Some("keygen") => Ok(Command::Keygen),
        _ => Err(usage("it does explain, verify, sign and keygen")),
    }
}

fn value(name: &str, arguments: &mut Parser) -> Result<OsString, Failure> {
    let value = arguments.value().map_err(|_| usage(&format!("--{name} wants a value")))?;
    if looks_like_a_jwk(&value) {
        return Err(secret_on_the_command_line());
    }
    Ok(value)
}

fn text(name: &str, arguments: &mut Parser) -> Result<String, Failure> {
    value(name, arguments)?
        .string()
        .map_err(|_| usage(&format!("the value of --{name} is no UTF-8")))
}

/// `15m`: a unit is asked for, because programs differ about what a bare number is.
fn duration(name: &str, arguments: &mut Parser) -> Result<Duration, Failure> {
    let text = text(name, arguments)?;
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
    let wanted = || usage(&format!("--{name} wants a time with its unit: 30s, 15m, 12h or 7d"));
    read().map(Duration::from_secs).ok_or_else(wanted)
}

fn looks_like_json(value: &OsString) -> bool {
    value.to_string_lossy().trim_start().starts_with(['{', '['])
}

/// Members of a JWK or a JWK Set, which no claim is called by.
fn looks_like_a_jwk(value: &OsString) -> bool {
    let text = value.to_string_lossy();
    looks_like_json(value)
        && ["\"k\"", "\"kty\"", "\"keys\""].iter().any(|name| text.contains(name))
}

fn secret_on_the_command_line() -> Failure {
    Failure::Broken(
        "a secret on the command line is refused: every user of the machine can read it in the process list, \
         and the shell keeps it in its history.\n\
         Put it into a file that only you can read (jwt keygen --out PATH makes one) and pass --key-file PATH, \
         or into an environment variable and pass --key-env NAME. If this one is in use, replace it."
            .into(),
    )
}

fn usage(problem: &str) -> Failure {
    Failure::Broken(format!("{problem}; see jwt help"))
}

fn contradiction(error: InvalidOption) -> Failure {
    usage(&error.to_string())
}
