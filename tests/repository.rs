//! Checks claims of the repository's documents about its files: the order of the modules in
//! CONTRIBUTING.md, and the tests that docs/security-tests.md names.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the files in a folder and below, relative to the root, without build output.
fn files(folder: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if !entry.file_type().unwrap().is_dir() {
            found.push(format!("{folder}/{name}").into());
        } else if name != "target" {
            files(&format!("{folder}/{name}"), found);
        }
    }
}

/// Returns the modules that a source text imports with `crate::module` or, as rustfmt writes it, in
/// the lines of `crate::{…}`.
fn imports(text: &str) -> Vec<&str> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut in_braces = false;
    let mut found = Vec::new();
    for line in code {
        let (_, path) = line.split_once("crate::").unwrap_or_default();
        let listed = line.strip_prefix("    ").filter(|_| in_braces).unwrap_or_default();
        let names = [path, listed].into_iter().chain(
            path.strip_prefix('{')
                .and_then(|list| list.split_once('}'))
                .map(|(list, _)| list)
                .into_iter()
                .flat_map(|list| list.split(", ")),
        );
        found.extend(
            names
                .filter_map(|name| name.split(|c| !is_name(c)).next())
                .filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase())),
        );
        in_braces = (in_braces || line.ends_with("use crate::{")) && line != "};";
    }
    found
}

/// CONTRIBUTING.md lists the modules from the lowest to the highest.
#[test]
fn a_module_imports_only_modules_listed_before_it() {
    let text = read("CONTRIBUTING.md");
    let map = text.split("## The modules").nth(1).unwrap().split("\n## ").next().unwrap();
    let rooms: Vec<&str> =
        map.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let rank = |name: &str| {
        let rank = rooms.iter().position(|room| *room == name);
        rank.unwrap_or_else(|| panic!("CONTRIBUTING.md does not list {name}"))
    };
    let mut sources = Vec::new();
    files("src", &mut sources);
    sources.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    let mut count = 0;
    for file in sources {
        let room = file.iter().nth(1).unwrap().to_str().unwrap().trim_end_matches(".rs");
        for import in imports(&read(&file)) {
            count += 1;
            assert!(
                rank(import) <= rank(room),
                "{} imports {import}, which CONTRIBUTING.md lists after {room}",
                file.display()
            );
        }
    }
    assert!(count > 40, "only {count} imports were found");
}

/// docs/security-tests.md names a test as `file.rs::name`, and a case of the attack corpus as
/// `attacks.jsonl::name`.
#[test]
fn every_test_of_the_security_page_exists() {
    let mut all = Vec::new();
    for folder in ["src", "tests", "crates", "examples"] {
        files(folder, &mut all);
    }
    let text = read("docs/security-tests.md");
    let quoted = text.split('`').skip(1).step_by(2);
    let named: Vec<_> = quoted.filter_map(|quoted| quoted.split_once("::")).collect();
    let mut count = 0;
    for (file, name) in named {
        let wanted = match Path::new(file).extension().and_then(|extension| extension.to_str()) {
            Some("rs") => format!("fn {name}("),
            Some("jsonl") => format!(r#""name": "{name}""#),
            _ => continue,
        };
        count += 1;
        let is_there = all.iter().any(|path| path.ends_with(file) && read(path).contains(&wanted));
        assert!(is_there, "docs/security-tests.md names {file}::{name}, which does not exist");
    }
    assert!(count > 100, "only {count} names were found");
}

#[test]
fn imports_are_found() {
    let text = "use crate::{\n    a::B,\n    c::{\n        d::E,\n    },\n    g,\n};\n// crate::no\nuse crate::{i::J, k};\nfn x(_: crate::h::I) {}\n";
    assert_eq!(imports(text), ["a", "c", "g", "i", "k", "h"]);
}
