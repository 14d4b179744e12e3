//! Keys of the command: a JWK or a JWK Set in, from a file or the environment; a new JWK out.

use std::{io::Write, path::Path};

use kippu::{DecodeError, Explanation, Jwk, JwkError, JwkSet, Key, KeySet, Validation};
use zeroize::Zeroizing;

use crate::{
    Failure,
    arguments::{KeyFrom, Options},
    broken,
    json::Json,
};

/// What the key file held.
pub(crate) enum AnyKeys {
    One(Key),
    Several(KeySet),
}

impl AnyKeys {
    pub(crate) fn explain(&self, token: &str, validation: &Validation) -> Explanation {
        match self {
            Self::One(key) => kippu::explain(token, key, validation),
            Self::Several(keys) => kippu::explain(token, keys, validation),
        }
    }

    pub(crate) fn decode(&self, token: &str, validation: &Validation) -> Result<Json, DecodeError> {
        match self {
            Self::One(key) => kippu::decode(token, key, validation),
            Self::Several(keys) => kippu::decode(token, keys, validation),
        }
    }

    pub(crate) fn signing_key(&self) -> &Key {
        match self {
            Self::One(key) => key,
            Self::Several(keys) => keys.signing_key().expect("the first key of the set signs"),
        }
    }
}

/// The keys that the options name. Of a set, the first one signs.
pub(crate) fn read(options: &Options) -> Result<AnyKeys, Failure> {
    let text = match &options.key {
        None => {
            return Err(Failure::Broken(
                "say where the key is, by --key-file or --key-env; jwt keygen makes one".into(),
            ));
        }
        Some(KeyFrom::File(path)) => read_file(path).map_err(broken(
            "the file that --key-file names cannot be read (a secret itself does not belong there)",
        ))?,
        Some(KeyFrom::Environment(name)) => std::env::var(name).map_err(|_| {
            Failure::Broken(
                "the environment variable that --key-env names is not set, or no text; \
                 it wants the name of one, not its value"
                    .into(),
            )
        })?,
    };
    parse(&Zeroizing::new(text)).map_err(|reason| {
        Failure::Broken(format!("no key: {reason}; a JWK is wanted, as jwt keygen prints it"))
    })
}

/// The text of a key file. One that everyone can read is read all the same: its harm is done, and a tool that looks
/// at tokens is not the server that should refuse it.
fn read_file(path: &Path) -> std::io::Result<String> {
    let text = std::fs::read_to_string(path)?;
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(path)?) & 0o004 != 0 {
        eprintln!(
            "jwt: everyone on this machine can read this key: run chmod 600 on its file, and change the key"
        );
    }
    Ok(text)
}

fn parse(text: &str) -> Result<AnyKeys, String> {
    let set = match JwkSet::from_json(text) {
        Err(JwkError::Missing { parameter: "keys" }) => {
            let key = Jwk::from_json(text).and_then(|jwk| Ok(Key::from_jwk(&jwk)?));
            return key.map(AnyKeys::One).map_err(|error| error.to_string());
        }
        set => set.map_err(|error| error.to_string())?,
    };
    let mut keys =
        set.keys().iter().map(|jwk| Key::from_jwk(jwk).map_err(|error| error.to_string()));
    let first = keys.next().ok_or("the JWK Set is empty")??;
    let set = KeySet::new(first);
    keys.try_fold(set, |set, key| set.accept(key?).map_err(|error| error.to_string()))
        .map(AnyKeys::Several)
}

/// Makes a key, into a file or onto the standard output.
pub(crate) fn generate(options: &Options) -> Result<(), Failure> {
    let jwk =
        Jwk::generate(options.algorithm).map_err(|error| Failure::Broken(error.to_string()))?;
    let jwk = options.kid.iter().fold(jwk, Jwk::with_kid);
    let json = jwk.expose_json();
    let Some(path) = &options.out else {
        if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
            eprintln!(
                "jwt: this is a secret, and the terminal may keep it: --out PATH writes it to a file"
            );
        }
        crate::print(&json)?;
        return crate::print("\n");
    };
    let written = create(path).and_then(|mut file| {
        file.write_all(json.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()
    });
    written.map_err(broken(
        "the file that --out names cannot be made (one that exists is not replaced)",
    ))
}

/// A file that was not there, for its owner alone from the first moment on.
fn create(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
