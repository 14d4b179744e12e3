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
const ROOMS: [&str; 23] = [
    "debug",
    "base64url",
    "hex",
    "numeric_date",
    "excerpt",
    "algorithm",
    "hmac",
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
    "web",
    "coming_from_jsonwebtoken",
    "lib",
];

/// The same within `session`; there `session` is what session.rs itself has.
const SESSION_ROOMS: [&str; 16] = [
    "id",
    "time",
    "record",
    "rotation",
    "store",
    "access",
    "refresh_token",
    "event",
    "response",
    "error",
    "login",
    "session",
    "builder",
    "logout",
    "purge",
    "conformance",
];

/// The same within `web`.
const WEB_ROOMS: [&str; 11] = [
    "origin",
    "cookie",
    "rejection",
    "answer",
    "bearer",
    "csrf",
    "form",
    "web",
    "layer",
    "extract",
    "routes",
];

/// A source text without comments, and without what it only passes on.
fn code(text: &str) -> String {
    let mut is_passed_on = false;
    let lines = text.lines().filter(|line| {
        is_passed_on |= line.starts_with("pub use ");
        let is_code = !is_passed_on && !line.trim_start().starts_with("//");
        is_passed_on &= !line.ends_with(';');
        is_code
    });
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The rooms that code imports from, by `parent::room` or in the braces of `parent::{…}`; by a name that begins
/// with a capital, from the parent itself.
fn imports(code: &str, parent: &str) -> Vec<String> {
    let name = |text: &str| {
        text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
    };
    let mut rooms = Vec::new();
    for path in code.split(parent).skip(1) {
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

/// The files of src with their paths in it.
fn sources() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&src, &mut files);
    let read = |file: &std::path::PathBuf| {
        let within = file.strip_prefix(&src).unwrap().with_extension("");
        (within.to_str().unwrap().to_owned(), code(&fs::read_to_string(file).unwrap()))
    };
    files.iter().map(read).collect()
}

/// That each of these rooms, and what it imports, are in the list, and in its order. Counts the imports.
fn follows(rooms: &[&str], room: &str, imports: &[String]) -> usize {
    let rank = |room: &str| rooms.iter().position(|known| *known == room);
    let own = rank(room).unwrap_or_else(|| panic!("{room} is not in the list"));
    for import in imports {
        let other = rank(import).unwrap_or_else(|| panic!("{room} imports {import}"));
        assert!(other <= own, "{room} imports {import}, which is below it");
    }
    imports.len()
}

#[test]
fn a_room_imports_only_from_rooms_above_it() {
    let files = sources();
    assert!(files.len() >= ROOMS.len());
    let seen = files.iter().map(|(path, code)| {
        let room = path.split('/').next().unwrap();
        follows(&ROOMS, room, &imports(code, "crate::"))
    });
    assert!(seen.sum::<usize>() > 40);
}

/// The same within a folder. Counts the imports.
fn within(folder: &str, rooms: &[&str]) -> usize {
    let seen = sources().into_iter().filter_map(|(path, code)| {
        let within = path.strip_prefix(folder)?;
        let (room, mut found) = match within.strip_prefix('/').map(|within| within.split_once('/'))
        {
            None => (folder, imports(&code, "self::")),
            // Texts, which import nothing.
            Some(None) if ["/guide", "/servers"].contains(&within) => return None,
            Some(None) => (&within[1..], imports(&code, "super::")),
            Some(Some((room, _))) => (room, Vec::new()),
        };
        found.append(&mut imports(&code, &format!("{folder}::")));
        for name in &mut found {
            if name.starts_with(char::is_uppercase) {
                folder.clone_into(name);
            }
        }
        // All that a test has from its own file.
        found.retain(|name| !name.is_empty());
        Some(follows(rooms, room, &found))
    });
    seen.sum()
}

#[test]
fn within_the_session_too() {
    assert!(within("session", &SESSION_ROOMS) > 60);
}

#[test]
fn within_the_web_too() {
    assert!(within("web", &WEB_ROOMS) > 15);
}

/// The map in CONTRIBUTING.md is this one.
#[test]
fn the_map_shows_every_room_in_its_place() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("CONTRIBUTING.md");
    let text = fs::read_to_string(path).unwrap();
    let map = text.lines().skip_while(|line| *line != "## The rooms").skip(1);
    let rows =
        map.take_while(|line| !line.starts_with('#')).filter_map(|line| line.strip_prefix("| `"));
    let shown: Vec<&str> = rows.map(|row| row.split('`').next().unwrap()).collect();
    assert_eq!(shown, ROOMS);
}

#[test]
fn imports_are_found() {
    let text = "use crate::{\n    a::B,\n    c::{d::E, f},\n    g,\n};\n// crate::no\nfn x(_: crate::h::I) {}\n\
                pub use crate::{\n    no,\n};\nuse super::{I, j};";
    assert_eq!(imports(&code(text), "crate::"), ["a", "c", "g", "h"]);
    assert_eq!(imports(&code(text), "super::"), ["I", "j"]);
}
