//! Writes the seeds that stand in the sources to `seeds/TARGET/NAME`: `cargo run --example seeds` in this folder.

use std::{fs, io, path::Path};

use kippu_fuzz::{documents, key_sets, sessions, web};

fn main() -> io::Result<()> {
    for (target, seeds) in [
        ("json", documents::SEEDS),
        ("key_sets", key_sets::SEEDS),
        ("sessions", sessions::SEEDS),
        ("web", web::SEEDS),
    ] {
        for (name, seed) in seeds {
            write(target, name, seed.as_bytes())?;
        }
    }
    for (name, seed) in documents::binary_seeds() {
        write("json", &name, &seed)?;
    }
    Ok(())
}

fn write(target: &str, name: &str, seed: &[u8]) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), seed)
}
