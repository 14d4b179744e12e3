//! The page that says how the sessions are tested names what is there: each rule, each function of
//! the checker, and each promise word by word.

use std::{fs, path::Path};

const RULES: usize = 21;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).unwrap()
}

fn page() -> String {
    read("src/session/how_it_is_tested.md")
}

/// In one line, so that it does not matter where a line is broken.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The functions that are rules: those of a story alone.
fn functions(module: &str) -> Vec<String> {
    let source = read(&format!("tests/simulation/src/checker/{module}.rs"));
    let parts = source.split("fn ").skip(1);
    let rules = parts.filter_map(|part| part.split_once("(story: &Story<'_>) -> Vec<String>"));
    rules.map(|(name, _)| format!("`{module}::{name}`")).collect()
}

#[test]
fn the_page_names_each_rule_and_each_function_that_checks_one() {
    let page = page();
    let named: Vec<&str> = page.split(|char: char| !char.is_alphanumeric()).collect();
    for rule in 1..=RULES {
        assert!(named.contains(&&*format!("R{rule}")), "R{rule}");
    }
    let functions: Vec<_> =
        ["rules", "limit", "outages", "keys"].into_iter().flat_map(functions).collect();
    assert_eq!(functions.len(), kippu_simulation::checker::rules().count());
    for function in &functions {
        assert!(page.contains(&**function), "{function}");
    }
    let checkers = page.split('`').skip(1).step_by(2);
    let checkers = checkers.filter(|code| {
        code.split_once("::")
            .is_some_and(|(module, name)| !module.contains('.') && !name.contains("::"))
            && code.starts_with(|first: char| first.is_ascii_lowercase())
    });
    for code in checkers {
        assert!(functions.contains(&format!("`{code}`")), "{code} is not a rule");
    }
}

#[test]
fn the_page_quotes_each_promise_word_by_word() {
    let sources = ["README.md", "SECURITY.md", "docs/security-tests.md"];
    let (page, promises) = (page(), flat(&sources.map(read).concat()));
    let quoted: Vec<&str> =
        page.split('“').skip(1).filter_map(|rest| rest.split('”').next()).collect();
    assert!(quoted.len() > 20, "{}", quoted.len());
    for promise in quoted {
        assert!(promises.contains(&flat(promise)), "{promise}");
    }
    // Each sentence about logins in the README is there.
    let readme = read("README.md");
    let logins = readme.split("## Logins").nth(1).unwrap();
    let list = logins.split("\n- ").skip(1).take(4);
    for promise in list.flat_map(|point| {
        flat(point.split("\n\n").next().unwrap())
            .split_inclusive(". ")
            .map(str::to_owned)
            .collect::<Vec<_>>()
    }) {
        let begin: String = promise.chars().take(40).collect();
        let is_quoted = flat(&page).contains(&begin) || begin.starts_with("A refresh rotates");
        assert!(is_quoted, "{promise}");
    }
}
