//! Checks claims of the repository's documents about its files: the order of the modules in
//! CONTRIBUTING.md, the tests that docs/security-tests.md names, and the public dependencies in
//! docs/versions.md.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
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

/// Returns the crates whose items a listing of cargo-public-api names. It writes each path from its
/// crate on. A macro's private items are not for users.
fn crates_named(listing: &str) -> BTreeSet<&str> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    listing
        .split(|c| !is_path(c))
        .filter(|path| !path.contains("::__private"))
        .filter_map(|path| Some(path.split_once("::")?.0))
        .filter(|root| root.starts_with(|c: char| c.is_ascii_lowercase()))
        .collect()
}

#[test]
fn every_crate_in_the_public_api_is_a_public_dependency_of_the_versions_page() {
    let versions = read("docs/versions.md");
    let mut listings = Vec::new();
    files("docs/public-api", &mut listings);
    for listing in &listings {
        let package = listing.file_stem().unwrap().to_str().unwrap();
        let row = versions.lines().find(|line| line.starts_with(&format!("| `{package}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/versions.md has no row for {package}"));
        let words: Vec<_> = row
            .split(|c: char| !c.is_alphanumeric() && c != '-' && c != '_')
            .map(|word| word.replace('-', "_"))
            .collect();
        for named in crates_named(&read(listing)) {
            let is_named =
                ["alloc", "core", "std"].contains(&named) || words.iter().any(|word| word == named);
            assert!(is_named, "the API of {package} names {named}; docs/versions.md does not");
        }
    }
    assert_eq!(listings.len(), 7, "one listing for each published crate");
}

/// Returns the lines of prose in comments that are wider than 100 columns. A table, a link and an
/// example may be wider.
fn wide_comments(text: &str) -> Vec<usize> {
    let mut is_code = false;
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let Some(comment) = line.trim_start().strip_prefix("//") else { continue };
        let comment = comment.trim_start_matches(['/', '!']);
        is_code ^= comment.trim_start().starts_with("```");
        let may_be_wide = is_code || comment.starts_with("    ") || comment.starts_with(" |");
        if line.chars().count() > 100 && !may_be_wide && !comment.contains("]: ") {
            found.push(number);
        }
    }
    found
}

#[test]
fn no_comment_is_wider_than_100_columns() {
    let mut all = Vec::new();
    for folder in ["src", "tests", "crates", "examples", "benches", "fuzz"] {
        files(folder, &mut all);
    }
    all.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    for file in &all {
        let wide = wide_comments(&read(file));
        assert!(wide.is_empty(), "{}: wide comments in lines {wide:?}", file.display());
    }
    assert!(all.len() > 200, "only {} files were found", all.len());
    let long = "x".repeat(100);
    assert_eq!(
        wide_comments(&format!(
            "// {long}\n/// | {long} |\n//! ```\n//! {long}\n//! ```\n  //! {long}"
        )),
        [1, 6]
    );
}

#[test]
fn crates_of_a_listing_are_found() {
    let line = "pub fn a::B::c(&self, B::D, &e_f::g::H) -> pin::__private::I<j::K>";
    assert!(crates_named(line).into_iter().eq(["a", "e_f", "j"]));
}

#[test]
fn imports_are_found() {
    let text = "use crate::{\n    a::B,\n    c::{\n        d::E,\n    },\n    g,\n};\n// crate::no\nuse crate::{i::J, k};\nfn x(_: crate::h::I) {}\n";
    assert_eq!(imports(text), ["a", "c", "g", "i", "k", "h"]);
}
