//! Writes the seeds that stand in the sources to `seeds/TARGET/NAME`: `cargo run --example seeds` in this folder.

use std::{fs, io, path::Path};

use kippu_fuzz::{key_sets, sessions, web};

fn main() -> io::Result<()> {
    for (target, seeds) in
        [("key_sets", key_sets::SEEDS), ("sessions", sessions::SEEDS), ("web", web::SEEDS)]
    {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
        fs::create_dir_all(&folder)?;
        for (name, seed) in seeds {
            fs::write(folder.join(name), seed)?;
        }
    }
    Ok(())
}
