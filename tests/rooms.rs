//! The order of the rooms: a source file imports only from files above it in this list, lib.rs excepted.
#![allow(
    clippy::indexing_slicing,
    clippy::items_after_statements,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{fs, path::Path};

/// From the ground up. A file in a folder belongs to the file of the folder's name.
const ROOMS: [&str; 20] = [
    "base64url",
    "hex",
    "numeric_date",
    "algorithm",
    "hmac",
    "excerpt",
    "json",
    "header",
    "key",
    "key_set",
    "jwk",
    "key_source",
    "claims",
    "validation",
    "error",
    "jws",
    "jwt",
    "explain",
    "session",
    "lib",
];

/// The rooms that a source text imports from, by `crate::room` or in the braces of `crate::{…}`.
fn imports(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let name = |text: &str| {
        text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
    };
    let mut rooms = Vec::new();
    for path in code.split("crate::").skip(1) {
        let Some(list) = path.strip_prefix('{') else {
            rooms.push(name(path));
            continue;
        };
        let mut depth = 0;
        let mut at_start = true;
        for (offset, character) in list.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => at_start = true,
                c if at_start && c.is_alphabetic() => {
                    rooms.push(name(&list[offset..]));
                    at_start = false;
                }
                _ => {}
            }
        }
    }
    rooms
}

fn source_files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source_files(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn a_room_imports_only_from_rooms_above_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&src, &mut files);
    assert!(files.len() >= ROOMS.len());
    let mut seen = 0;
    for file in files {
        let within = file.strip_prefix(&src).unwrap().with_extension("");
        let room = within.iter().next().unwrap().to_str().unwrap();
        let rank = |room: &str| ROOMS.iter().position(|known| *known == room);
        let own = rank(room).unwrap_or_else(|| panic!("{room} is not in the list"));
        for import in imports(&fs::read_to_string(&file).unwrap()) {
            seen += 1;
            let other = rank(&import).unwrap_or_else(|| panic!("{room} imports {import}"));
            assert!(other <= own, "{room} imports {import}, which is below it");
        }
    }
    assert!(seen > 40, "only {seen} imports found");
}

#[test]
fn imports_are_found() {
    let text = "use crate::{\n    a::B,\n    c::{d::E, f},\n    g,\n};\n// crate::no\nfn x(_: crate::h::I) {}";
    assert_eq!(imports(text), ["a", "c", "g", "h"]);
}
