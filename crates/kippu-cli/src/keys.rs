//! The keys of the command: a file or an environment variable in, a [`KeySet`] that verifies or
//! signs out.
//!
//! Refused: a text in another form than the options say, a path or a token in the place of a key,
//! and for signing a set that leaves open which key signs, or a key that may not.

use std::{
    env,
    fs::File,
    io::{self, Read},
    path::Path,
};

use kippu::{Algorithm, Jwk, JwkError, JwkSet, Key, KeyError, KeySet, KeySetError};
use zeroize::Zeroizing;

use crate::{
    advice,
    arguments::{KeyFormat, KeyOptions, KeyPlace},
    failure::Failure,
    misplaced,
};

/// The keys that verify: all that there are, whether they may sign or not.
pub(crate) fn verifying(options: &KeyOptions, try_all: bool) -> Result<KeySet, Failure> {
    load(options, |found| {
        Ok(match found {
            Found::Secret(key) => KeySet::verify_only([key])?.try_all_without_kid(),
            // A token need not name the one key that there is.
            Found::Jwks(set) if try_all || set.keys().len() == 1 => {
                KeySet::verify_only_from_jwk_set(&set)?.try_all_without_kid()
            }
            Found::Jwks(set) => KeySet::verify_only_from_jwk_set(&set)?,
        })
    })
}

/// The keys of which one signs: the one that a server with these keys would sign with, or the one
/// that `kid` selects.
pub(crate) fn signing(options: &KeyOptions, kid: Option<&str>) -> Result<KeySet, Failure> {
    load(options, |found| {
        Ok(match (found, kid) {
            (Found::Secret(key), None) => KeySet::new(key),
            (Found::Secret(key), Some(kid)) => KeySet::new(key.with_kid(kid)),
            (Found::Jwks(set), kid) => match (set.keys(), kid) {
                // Its kid is optional.
                ([jwk], kid) if jwk.kid().is_none() && jwk.may_sign() => {
                    let key = Key::from_jwk(jwk)?;
                    KeySet::new(if let Some(kid) = kid { key.with_kid(kid) } else { key })
                }
                (_, None) => KeySet::from_jwk_set(&set)?,
                (_, Some(kid)) => KeySet::from_jwk_set(&set.with_signing_key(kid)?)?,
            },
        })
    })
}

fn load(
    options: &KeyOptions,
    to_set: impl FnOnce(Found) -> Result<KeySet, Unusable>,
) -> Result<KeySet, Failure> {
    let bytes = read(&options.place)?;
    parse(&bytes, options).and_then(to_set).map_err(|Unusable(reason)| {
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        let reason = misplaced::in_place_of_a_key(text).map_or(reason, String::from);
        Failure::Broken(format!("no key: {reason}"))
    })
}

fn read(place: &KeyPlace) -> Result<Zeroizing<Vec<u8>>, Failure> {
    match (&place.key_file, &place.key_env) {
        (Some(path), _) => read_file(path).map_err(Failure::io(
            "the file that --key-file names cannot be read (it takes a path, not a secret)",
        )),
        (None, Some(name)) => match env::var_os(name) {
            Some(value) => Ok(Zeroizing::new(value.into_encoded_bytes())),
            None => Err(Failure::broken(if misplaced::looks_like_a_path(name) {
                "--key-env takes the name of an environment variable, and this is a path: --key-file reads a file"
            } else {
                "the environment variable that --key-env names is not set (it takes the name of one, not its value)"
            })),
        },
        (None, None) => Err(Failure::broken("no key: pass --key-file PATH or --key-env NAME")),
    }
}

/// Reads a key file, even if every user can read it: a refusal would not undo the harm, and this
/// command is not the server that signs.
fn read_file(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    /// The limit of the library's `KeyFile`.
    const LIMIT: usize = 64 * 1024;
    let file = File::open(path)?;
    #[cfg(unix)]
    let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata()?);
    // With the room that `read_to_end` needs at the end: a buffer that grows leaves copies of the
    // secret.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LIMIT + 64));
    let one_more = u64::try_from(LIMIT + 1).unwrap_or(u64::MAX);
    // A secret that is cut is another secret.
    if file.take(one_more).read_to_end(&mut bytes)? > LIMIT {
        return Err(io::Error::other(format!("it has more than {LIMIT} bytes: is it a key?")));
    }
    #[cfg(unix)]
    if mode & 0o004 != 0 {
        eprintln!(
            "kippu: everyone on this machine can read this key: run chmod 600 on its file, and replace the key"
        );
    }
    Ok(bytes)
}

enum Found {
    /// A JWK Set, or one JWK.
    Jwks(JwkSet),
    /// A secret that names neither an algorithm nor a kid.
    Secret(Key),
}

/// Why a text contains no usable keys, with advice about the options of the command.
struct Unusable(String);

impl From<JwkError> for Unusable {
    fn from(error: JwkError) -> Self {
        Self(advice::on_keys(&error))
    }
}

impl From<KeyError> for Unusable {
    fn from(error: KeyError) -> Self {
        JwkError::from(error).into()
    }
}

impl From<KeySetError> for Unusable {
    fn from(error: KeySetError) -> Self {
        JwkError::from(error).into()
    }
}

fn parse(bytes: &[u8], options: &KeyOptions) -> Result<Found, Unusable> {
    let unusable = |reason: &str| Err(Unusable(reason.into()));
    if options.key_format == KeyFormat::Jwk {
        return jwks(line(bytes)?, options).map(Found::Jwks).map_err(Unusable::from);
    }
    let Some(alg) = options.alg else {
        return unusable(
            "a key in this format does not name its algorithm: set it with --alg, for example --alg HS256",
        );
    };
    if options.key_format == KeyFormat::Raw {
        return raw(alg, bytes).map(Found::Secret);
    }
    let line = line(bytes)?;
    Ok(Found::Secret(match options.key_format {
        KeyFormat::Hex => Key::from_hex(alg, line)?,
        KeyFormat::Base64 => Key::from_base64(alg, line)?,
        KeyFormat::Base64url => Key::from_base64url(alg, line)?,
        KeyFormat::Text | KeyFormat::Jwk | KeyFormat::Raw => text(alg, line)?,
    }))
}

fn jwks(text: &str, options: &KeyOptions) -> Result<JwkSet, JwkError> {
    let set = match options.alg {
        alg if options.skip_other_keys => JwkSet::from_json_skipping(text, alg),
        Some(alg) => JwkSet::from_json_for(text, alg),
        None => JwkSet::from_json(text),
    };
    match (set, options.alg) {
        (Err(JwkError::Missing { parameter: "keys" }), None) => {
            JwkSet::new([Jwk::from_json(text)?])
        }
        (Err(JwkError::Missing { parameter: "keys" }), Some(alg)) => {
            JwkSet::new([Jwk::from_json_for(text, alg)?])
        }
        (set, _) => set,
    }
}

/// Returns the text of a key like the library, without a byte order mark before it and a line end
/// after it.
fn line(bytes: &[u8]) -> Result<&str, Unusable> {
    let text = std::str::from_utf8(bytes).map_err(|_| {
        Unusable("it is not UTF-8 text; if it is bytes, --key-format raw takes them".into())
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let line = text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text);
    if line.trim().is_empty() { Err(Unusable("it is empty".into())) } else { Ok(line) }
}

/// Returns a key whose secret is the characters of a line, unless the line has another form.
fn text(alg: Algorithm, line: &str) -> Result<Key, Unusable> {
    let unusable = |reason: &str| Err(Unusable(reason.into()));
    if misplaced::is_quoted(line) {
        unusable("it has quotes around it: remove them")
    } else if line.contains(char::is_control) {
        unusable("it is not one line of text")
    } else if line.trim() != line {
        unusable("it begins or ends with white space: remove that")
    } else if line.starts_with('{') && line.ends_with('}') {
        unusable(
            "it is JSON: --key-format jwk reads a JWK; otherwise take the secret out of its member",
        )
    } else if let Some(reason) = misplaced::in_place_of_text(line) {
        unusable(reason)
    } else {
        Ok(Key::new(alg, line)?)
    }
}

/// Returns a key whose secret is these bytes, unless they are printed text.
fn raw(alg: Algorithm, bytes: &[u8]) -> Result<Key, Unusable> {
    if std::str::from_utf8(bytes).is_ok_and(|text| text.ends_with('\n')) {
        return Err(Unusable(
            "it is text with a line end: pass the --key-format in which it is written, text for the characters themselves".into(),
        ));
    }
    Ok(Key::new(alg, bytes)?)
}
