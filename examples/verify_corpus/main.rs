//! Runs a corpus of tokens: `cargo run --example verify_corpus -- tests/vectors/attacks.jsonl`.
//!
//! Prints each case whose verdict or reason differs from what the file expects, and ends with a
//! count.

mod corpus;

use std::{error::Error, io::BufRead, process::ExitCode};

use corpus::Case;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Some(path) = std::env::args().nth(1) else {
        return Err("say which file: verify_corpus FILE.jsonl".into());
    };
    let file =
        std::fs::File::open(&path).map_err(|error| format!("cannot read {path}: {error}"))?;

    let (mut passed, mut failed) = (0, 0);
    for (line, text) in std::io::BufReader::new(file).lines().enumerate() {
        if text.as_ref().is_ok_and(|text| text.trim().is_empty()) {
            continue;
        }
        let case = text.map_err(|error| error.to_string()).and_then(|text| {
            serde_json::from_str::<Case>(&text).map_err(|error| error.to_string())
        });
        let difference = match case {
            Ok(case) => case.difference().map(|difference| format!("{}: {difference}", case.name)),
            Err(error) => Some(format!("line {} is not a case: {error}", line + 1)),
        };
        match difference {
            None => passed += 1,
            Some(difference) => {
                failed += 1;
                println!("{difference}");
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    // A file without cases shows nothing.
    let shown = failed == 0 && passed > 0;
    Ok(if shown { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
