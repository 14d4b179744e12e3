//! What a careful team asks of a crate before it takes it in: no unsafe code, nothing that runs when it is built, a
//! reason for each dependency, and no stranger in its workflows.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Sources that may have such code, each with its reason, and the manifests that for them say `deny` in the place of
/// `forbid`.
const EXCEPTIONS: [(&str, &str); 0] = [];

/// In two parts, since this file is looked at too.
const KEYWORD: &str = concat!("un", "safe");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The files of the repository, from its root, that are not made by a build.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if entry.file_type().unwrap().is_dir() {
            let is_made = ["target", "corpus", "artifacts", "coverage", "node_modules"]
                .iter()
                .any(|made| name == *made);
            if !is_made && name != ".git" {
                files(&entry.path(), found);
            }
        } else {
            found.push(entry.path().strip_prefix(root()).unwrap().to_owned());
        }
    }
}

fn files_that_end_with(end: &str) -> Vec<String> {
    let mut found = Vec::new();
    files(root(), &mut found);
    let names = found.into_iter().map(|path| path.to_str().unwrap().to_owned());
    names.filter(|name| name.ends_with(end)).collect()
}

/// The lines of a section of a manifest, as `[lints.rust]`.
fn section<'m>(manifest: &'m str, title: &str) -> Vec<&'m str> {
    let lines = manifest.lines().skip_while(|line| *line != title).skip(1);
    lines.take_while(|line| !line.starts_with('[')).collect()
}

/// Whether a source text has the keyword in its code; a line that ends in a comment has none.
fn has_unsafe_code(text: &str) -> bool {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    text.lines().any(|line| {
        let code = line.split("//").next().unwrap_or_default();
        code.split(|character| !is_word(character)).any(|word| word == KEYWORD)
    })
}

/// Each package forbids it, in its library, tests, examples and benches: a file cannot allow what its package forbids.
#[test]
fn no_code_of_ours_is_unsafe() {
    let is_excepted = |file: &str| EXCEPTIONS.iter().any(|(excepted, _)| *excepted == file);
    let manifests = files_that_end_with("Cargo.toml");
    assert!(manifests.len() >= 3, "{manifests:?}");
    for file in manifests {
        let lints = read(&file);
        let level = if is_excepted(&file) { "deny" } else { "forbid" };
        let wanted = format!(r#"unsafe_code = "{level}""#);
        assert!(section(&lints, "[lints.rust]").contains(&&*wanted), "{file} lacks {wanted}");
    }
    assert!(read("src/lib.rs").contains("\n#![forbid(unsafe_code)]\n"));
    let sources = files_that_end_with(".rs");
    assert!(sources.len() > 100, "{}", sources.len());
    for file in sources {
        assert_eq!(has_unsafe_code(&read(&file)), is_excepted(&file), "{file}");
    }
}

/// No build script and no macro of ours: what is built is what stands there.
#[test]
fn nothing_runs_when_it_is_built() {
    let manifest = read("Cargo.toml");
    for line in manifest.lines() {
        let name = line.split('=').next().unwrap().trim();
        assert!(!["build", "proc-macro", "links"].contains(&name), "{line}");
    }
    assert!(section(&manifest, "[build-dependencies]").is_empty());
    assert_eq!(files_that_end_with("build.rs"), [""; 0]);
}

/// The names that a section of a manifest gives a value to.
fn names(manifest: &str, title: &str) -> BTreeSet<String> {
    let lines = section(manifest, title);
    let named = lines.iter().filter_map(|line| line.split_once(" = "));
    named.map(|(name, _)| name.to_owned()).filter(|name| !name.starts_with('#')).collect()
}

/// The names in the first column of the table under a heading, each with something to say.
fn justified(text: &str, heading: &str) -> BTreeSet<String> {
    let lines = text.lines().skip_while(|line| *line != heading).skip(1);
    let rows =
        lines.take_while(|line| !line.starts_with('#')).filter(|line| line.starts_with("| `"));
    let named = rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert!(cells.len() > 1 && cells.iter().all(|cell| cell.len() > 2), "{row}");
        cells[0].trim_matches('`').to_owned()
    });
    named.collect()
}

#[test]
fn each_dependency_is_justified() {
    let (manifest, text) = (read("Cargo.toml"), read("docs/dependencies.md"));
    for (title, heading) in [
        ("[dependencies]", "## What users build"),
        ("[dev-dependencies]", "## What tests, examples and benches build"),
    ] {
        let wanted = names(&manifest, title);
        assert!(wanted.len() > 10, "{title}: {wanted:?}");
        assert_eq!(justified(&text, heading), wanted, "{heading}");
    }
    // In no other form, which would go unseen.
    let titles =
        manifest.lines().filter(|line| line.starts_with('[') && line.contains("dependencies"));
    assert_eq!(titles.collect::<Vec<_>>(), ["[dependencies]", "[dev-dependencies]"]);
}

/// What runs for this repository elsewhere is fixed too, and may write nothing.
#[test]
fn workflows_run_what_was_looked_at_and_read_only() {
    let workflows = files_that_end_with(".yml");
    let workflows: Vec<_> =
        workflows.iter().filter(|file| file.starts_with(".github/workflows/")).collect();
    assert!(workflows.len() >= 3, "{workflows:?}");
    for file in workflows {
        let text = read(file);
        assert!(text.contains("\npermissions:\n  contents: read\n"), "{file}");
        assert_eq!(text.matches("permissions:").count(), 1, "{file} asks for more");
        for line in text.lines().filter(|line| line.contains("uses:")) {
            assert!(is_fixed(line), "{file}: {line}");
        }
    }
}

/// Whether an action is named by a whole commit, with its release beside it.
fn is_fixed(line: &str) -> bool {
    let reference = line.split_once('@').and_then(|(_, reference)| reference.split_once(" # v"));
    reference.is_some_and(|(commit, release)| {
        let is_commit = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_commit && !release.is_empty()
    })
}

#[test]
fn what_is_wrong_is_found() {
    assert!(has_unsafe_code(&format!("fn a() {{\n    {KEYWORD} {{ b() }}\n}}")));
    assert!(has_unsafe_code(&format!("#[{KEYWORD}(no_mangle)]")));
    assert!(!has_unsafe_code(&format!("// {KEYWORD}\nfn {KEYWORD}_options() {{}} // {KEYWORD}")));
    let commit = "0123456789abcdef".repeat(3);
    assert!(is_fixed(&format!("- uses: a/b@{} # v1.2", &commit[..40])));
    for reference in ["v1", "v1 # v1", &commit[..39], &commit[..40]] {
        assert!(!is_fixed(&format!("- uses: a/b@{reference}")), "{reference}");
    }
    let manifest = "[a]\nb = 1\n# c = 2\n\n[d]\ne = 3\n";
    assert_eq!(section(manifest, "[d]"), ["e = 3"]);
    assert_eq!(names(manifest, "[a]"), BTreeSet::from(["b".to_owned()]));
    let table = "## A\n| x | y |\n|---|---|\n| `b` | why |\n## B\n| `c` | why |\n";
    assert_eq!(justified(table, "## A"), BTreeSet::from(["b".to_owned()]));
}
