//! Writes the seeds that the sources contain to `seeds/TARGET/NAME`: run `cargo run --example
//! seeds` in this folder.

use std::{fs, io, path::Path};

use kippu_fuzz::seeds::{Seed, all};

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for Seed { path, content } in all() {
        let path = folder.join(path);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, content)?;
    }
    Ok(())
}
