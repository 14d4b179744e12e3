//! kippu beside other JWT crates, in one process. Prints tables in Markdown, and writes them as JSON
//! and as charts.
//!
//!     cargo run --release -p kippu-peers [--features josekit] [-- --quick] [--out=FOLDER]
//!
//! `--quick` takes a few seconds: every result is asserted, and the numbers are worth nothing. FOLDER
//! is `target/peers` in the checkout; the README shows what is in `docs/charts`.

fn main() -> std::process::ExitCode {
    kippu_peers::main()
}
