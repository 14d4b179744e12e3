//! The help, the README, the completions and the manual: their examples work as pasted, and they
//! name what there is.

use super::kippu;

const COMMANDS: [&str; 6] = ["explain", "verify", "sign", "keygen", "completions", "man"];

/// Runs lines in a shell that finds `kippu`, in an empty folder, and ends at the first that fails.
#[cfg(unix)]
fn shell(test: &str, lines: &str) -> super::Ran {
    use std::{path::Path, process::Command};

    use super::{PROGRAM, folder, run};

    let bin = Path::new(PROGRAM).parent().unwrap().display();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    run(command.args(["-euc", lines]).env("PATH", path).current_dir(folder(test)), "")
}

#[cfg(unix)]
#[test]
fn the_examples_of_the_help_work_as_pasted() {
    let help = kippu(&["--help"], "").stdout;
    let examples = help.split_once("Examples").unwrap().1.split_once("\n\n").unwrap().0;
    let lines: Vec<_> = examples.lines().skip(1).collect();
    assert_eq!(lines.len(), 3);
    let ran = shell("help", &lines.join("\n"));
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout.ends_with("\naccepted\n"), "{}", ran.stdout);
}

#[cfg(unix)]
#[test]
fn the_examples_of_the_readme_work_as_pasted() {
    let readme = include_str!("../../README.md");
    assert!(readme.lines().count() <= 80);
    let blocks = readme.split("```").skip(1).step_by(2);
    let blocks: Vec<_> = blocks.filter_map(|block| block.strip_prefix("sh\n")).collect();
    let lines = blocks.concat();
    assert!(blocks.len() > 1 && lines.lines().count() > 5, "{lines}");
    let lines: Vec<_> = lines.lines().filter(|line| !line.starts_with("cargo install")).collect();
    let ran = shell("readme", &lines.join("\n"));
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    assert!(ran.stdout.contains("\naccepted\n"), "{}", ran.stdout);
}

/// The options of a command, from its help.
fn options(command: &str) -> Vec<String> {
    let help = kippu(&[command, "--help"], "").stdout;
    let lines = help.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
    lines.map(|line| format!("--{}", line.split(' ').next().unwrap())).collect()
}

#[test]
fn every_option_is_in_the_completions_and_in_the_manual() {
    assert!(options("verify").len() > 15);
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = kippu(&["completions", shell], "");
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
        for command in COMMANDS {
            for option in options(command) {
                // fish writes `-l option`.
                assert!(ran.stdout.contains(&option[2..]), "{shell}: {command} {option}");
            }
        }
    }
    let root = kippu(&["man"], "").stdout;
    for command in COMMANDS {
        assert!(root.contains(&format!("kippu\\-{command}(1)")), "{command}: {root}");
        let page = kippu(&["man", command], "").stdout;
        assert!(page.contains(&format!(".TH kippu-{command} 1")), "{page}");
        for option in options(command) {
            assert!(page.contains(&option.replace('-', "\\-")), "{command} {option}: {page}");
        }
    }
    assert!(root.contains("Exit status") && root.contains("kippu keygen"), "{root}");
}

#[cfg(unix)]
#[test]
fn the_completions_are_a_script_that_bash_accepts() {
    let ran = shell(
        "bash",
        "kippu completions bash >kippu.bash && bash -n kippu.bash && bash -c '. ./kippu.bash && complete -p kippu'",
    );
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout.contains("_kippu"), "{}", ran.stdout);
}
