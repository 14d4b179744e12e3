//! kippu beside other JWT crates, in one process. Prints tables in Markdown.
//!
//!     cargo run --release --manifest-path benches/peers/Cargo.toml [-- --quick]
//!
//! `--quick` takes about a second: every result is asserted, and the numbers are worth nothing.

mod candidates;
mod codec;
#[path = "../../fixture.rs"]
mod fixture;
mod measure;

use std::{env, fs, process::ExitCode};

use kippu::Algorithm;

use crate::{
    candidates::{AGAIN, BORROWED, LIMIT, OWNED, Operation},
    fixture::{Tokens, USUAL},
    measure::{Effort, Measured, Scaling},
};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let effort = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Effort::FULL,
        ["--quick"] => Effort::QUICK,
        _ => {
            eprintln!("usage: kippu-peers [--quick]");
            return ExitCode::FAILURE;
        }
    };
    describe();

    let usual = Tokens::new(Algorithm::Hs256, USUAL);
    assert_eq!(usual.token.len(), 304);
    println!("## HS256, a token of 304 bytes, {USUAL} bytes of claims\n");
    for (title, operation) in [
        ("Decode", Operation::Decode),
        ("Decode, header of another crate", Operation::DecodeForeign),
        ("Refuse a wrong MAC", Operation::Refuse),
        ("Encode", Operation::Encode),
    ] {
        let measured = Measured::of(&candidates::all(&usual, operation), effort);
        println!("### {title}\n");
        table(&measured);
        if operation == Operation::Decode {
            println!("Noise: kippu over itself is {:.2}.\n", measured.ratio(AGAIN, OWNED));
        }
    }

    println!("## Other algorithms and sizes\n");
    let mut points = vec![];
    for algorithm in [Algorithm::Hs384, Algorithm::Hs512] {
        points.push((algorithm, USUAL));
    }
    for bytes in [64, 200, 2048, 8192] {
        points.push((Algorithm::Hs256, bytes));
    }
    for (title, operation) in [("Decode", Operation::Decode), ("Encode", Operation::Encode)] {
        println!("### {title}\n");
        sizes(&points, operation, effort);
    }

    println!("## base64url into slices\n");
    base64url(effort);

    println!("## One thread and two, HS256, {USUAL} bytes of claims\n");
    threads(&usual, effort);
    ExitCode::SUCCESS
}

/// Where and with what this is measured.
fn describe() {
    let cpu = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    println!("CPU: {} ({})", cpu.as_deref().unwrap_or("unknown"), env::consts::ARCH);
    #[cfg(target_arch = "x86_64")]
    println!("SHA extensions: {}", std::arch::is_x86_feature_detected!("sha"));
    let lock = include_str!("../Cargo.lock");
    for name in
        ["kippu", "jsonwebtoken", "aws-lc-rs", "jwt-compact", "jwt-simple", "sha2", "serde_json"]
    {
        // Peers bring older versions of some; the newest is the one that kippu uses.
        let newest = lock.rsplit_once(&format!("name = \"{name}\"\nversion = \""));
        let version = newest.and_then(|(_, rest)| Some(rest.split_once('"')?.0));
        println!("{name} {}", version.expect("a dependency"));
    }
    println!();
}

/// All candidates of one case.
fn table(measured: &Measured) {
    let borrowed = measured.names().contains(&BORROWED);
    print!("| | ns | times the limit | times kippu |");
    print!("{}", if borrowed { " times kippu, borrowed |\n" } else { "\n" });
    println!("|---|---:|---:|---:|{}", if borrowed { "---:|" } else { "" });
    for &name in measured.names().iter().filter(|&&name| name != AGAIN) {
        let ratio = |base| measured.ratio(name, base);
        print!("| {name} | {:.0} | ", measured.nanoseconds(name));
        print!("{:.2} | {:.2} |", ratio(LIMIT), ratio(OWNED));
        println!("{}", if borrowed { format!(" {:.2} |", ratio(BORROWED)) } else { String::new() });
    }
    println!();
}

/// The candidates across, the points down.
fn sizes(points: &[(Algorithm, usize)], operation: Operation, effort: Effort) {
    for (index, &(algorithm, bytes)) in points.iter().enumerate() {
        let tokens = Tokens::new(algorithm, bytes);
        let measured = Measured::of(&candidates::all(&tokens, operation), effort);
        let names: Vec<_> = measured.names().iter().filter(|&&name| name != AGAIN).collect();
        if index == 0 {
            println!("Nanoseconds, and how many times as long as kippu.\n");
            let columns = |text: &dyn Fn(&str) -> String| -> String {
                names.iter().map(|name| text(name)).collect()
            };
            println!("| |{}", columns(&|name| format!(" {name} |")));
            println!("|---|{}", columns(&|_| "---:|".into()));
        }
        print!("| {algorithm}, {bytes} bytes |");
        for name in names {
            print!(" {:.0} ({:.2}) |", measured.nanoseconds(name), measured.ratio(name, OWNED));
        }
        println!();
    }
    println!();
}

fn base64url(effort: Effort) {
    println!("Nanoseconds, and how many times as long as kippu the base64 crate takes.\n");
    println!("| symbols | decode, kippu | decode, base64 | | encode, kippu | encode, base64 | |");
    println!("|---:|---:|---:|---:|---:|---:|---:|");
    for symbols in [43, 223, 1024, 4096] {
        let length = kippu::base64url::decoded_len(symbols);
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
        let text = kippu::base64url::encode(&bytes);
        print!("| {} |", text.len());
        for candidates in [codec::decoders(&text), codec::encoders(&bytes)] {
            let measured = Measured::of(&candidates, effort);
            for name in [codec::KIPPU, codec::BASE64] {
                print!(" {:.0} |", measured.nanoseconds(name));
            }
            print!(" {:.2} |", measured.ratio(codec::BASE64, codec::KIPPU));
        }
        println!();
    }
    println!();
}

fn threads(tokens: &Tokens, effort: Effort) {
    println!("| decodes a second | one thread | two threads | two over one |");
    println!("|---|---:|---:|---:|");
    let candidates = candidates::all(tokens, Operation::Decode);
    for (candidate, scaling) in candidates.iter().zip(Scaling::of(&candidates, effort)) {
        if candidate.name != AGAIN {
            let Scaling { one, two, ratio } = scaling;
            println!("| {} | {one:.0} | {two:.0} | {ratio:.2} |", candidate.name);
        }
    }
    println!();
}
