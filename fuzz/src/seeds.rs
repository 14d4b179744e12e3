//! The seeds of all targets, as files.

use crate::{documents, key_sets, sessions, web};

/// A seed.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Its path in the folder `seeds`.
    pub path: String,
    /// The input.
    pub content: Vec<u8>,
}

/// Returns all seeds.
pub fn all() -> Vec<Seed> {
    let texts = [
        ("json", documents::seeds::SEEDS),
        ("key_sets", key_sets::seeds::SEEDS),
        ("sessions", sessions::seeds::SEEDS),
        ("web", web::seeds::SEEDS),
    ];
    let mut seeds = Vec::new();
    for (target, texts) in texts {
        seeds.extend(texts.iter().map(|(name, text)| Seed {
            path: format!("{target}/{name}"),
            content: text.as_bytes().to_vec(),
        }));
    }
    let binary = documents::seeds::binary_seeds().into_iter();
    seeds.extend(binary.map(|(name, content)| Seed { path: format!("json/{name}"), content }));
    seeds
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn the_seed_files_match_the_sources() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
        let mut paths = BTreeSet::new();
        for Seed { path, content } in all() {
            let found = fs::read(folder.join(&path)).ok();
            assert!(found == Some(content), "{path}: run the example `seeds`");
            assert!(paths.insert(path.clone()), "two seeds have the path {path}");
        }
    }
}
