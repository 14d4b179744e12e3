//! Makes a key: an algorithm in, a JWK in a new file or on the standard output out.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Write},
    path::Path,
};

use kippu::Jwk;

use crate::{arguments::Keygen, failure::Failure, streams};

pub(crate) fn keygen(options: &Keygen) -> Result<(), Failure> {
    let jwk = Jwk::generate(options.alg).map_err(|error| Failure::broken(error.to_string()))?;
    let jwk = options.kid.iter().fold(jwk, Jwk::with_kid);
    let json = jwk.expose_json();
    let Some(path) = &options.out else {
        if io::stdout().is_terminal() {
            eprintln!(
                "kippu: this is a secret, and the terminal may keep it: --out PATH writes it into a file"
            );
        }
        streams::print(&json)?;
        return streams::print("\n");
    };
    let written = create(path).and_then(|mut file| {
        file.write_all(json.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()
    });
    written.map_err(Failure::io(
        "the file that --out names cannot be made (one that exists is not replaced)",
    ))
}

/// Creates a file that does not exist yet, and that only its owner may open from the beginning.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
