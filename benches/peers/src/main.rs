//! Compares kippu with other JWT crates, in one process. Prints tables in Markdown, and writes them
//! as JSON and as charts.
//!
//!     cargo run --release -p kippu-peers [--features josekit] [-- --quick] [--out=FOLDER]
//!
//! `--quick` takes a few seconds: it asserts every result, but its numbers are meaningless. FOLDER
//! is `target/peers` in the checkout by default. docs/figures.md and the README show
//! the charts of `docs/charts`.

fn main() -> std::process::ExitCode {
    kippu_peers::main()
}
