//! Prints a report as tables in Markdown.

use crate::{
    ALGORITHMS, OPERATIONS,
    fixture::USUAL,
    report::{Case, First, Part, Report, Row},
    work::Operation,
};

pub(crate) fn print(report: &Report) {
    machine(report);
    println!("## HS256, a token of 304 bytes, {USUAL} bytes of claims\n");
    for operation in
        OPERATIONS.into_iter().chain([Operation::DecodeVaried, Operation::DecodeForeign])
    {
        println!("### {}\n", operation.title());
        everyone(report.case(operation, "HS256", USUAL));
    }
    println!("### The parts of a call, each by itself\n");
    parts(report);
    println!("## Algorithms and sizes\n\nNanoseconds, and how many times as long as kippu.\n");
    for operation in OPERATIONS {
        for algorithm in ALGORITHMS.map(|algorithm| algorithm.to_string()) {
            println!("### {}, {algorithm}\n", operation.title());
            sizes(&report.of(operation, &algorithm).collect::<Vec<_>>());
        }
    }
    println!("## The first decode of a process, HS256, {USUAL} bytes of claims\n");
    first(report);
    println!("## base64url into slices\n");
    base64url(report);
    println!("## One thread and two, HS256, {USUAL} bytes of claims\n");
    threads(report);
    println!("## Allocations of one call, HS256, {USUAL} bytes of claims\n");
    allocations(report);
}

fn machine(Report { machine, crates, .. }: &Report) {
    println!("{}", machine.sentence());
    println!("Crates: {}", crates.join(", "));
    if !cfg!(feature = "josekit") {
        println!("josekit is left out; with OpenSSL's headers there: --features josekit");
    }
    println!();
}

fn everyone(case: &Case) {
    let borrowed = case.rows.iter().any(|row| row.times_kippu_borrowed.is_some());
    print!("| | ns | times the limit | times kippu |");
    println!("{}", if borrowed { " times kippu, borrowed |" } else { "" });
    println!("|---|---:|---:|---:|{}", if borrowed { "---:|" } else { "" });
    for Row { name, nanoseconds, times_limit, times_kippu, times_kippu_borrowed } in &case.rows {
        print!("| {name} | {nanoseconds:.0} | {times_limit:.2} | {times_kippu:.2} |");
        println!(
            "{}",
            times_kippu_borrowed.map_or(String::new(), |ratio| format!(" {ratio:.2} |"))
        );
    }
    println!();
    if let Some(noise) = case.noise {
        println!("Noise: kippu over itself is {noise:.2}.\n");
    }
}

fn parts(report: &Report) {
    println!("| | ns | times the limit |\n|---|---:|---:|");
    for Part { name, nanoseconds, times_limit } in &report.parts {
        println!("| {name} | {nanoseconds:.0} | {times_limit:.2} |");
    }
    println!();
}

/// The candidates are the rows, the sizes are the columns.
fn sizes(cases: &[&Case]) {
    let columns = |text: &dyn Fn(&Case) -> String| -> String {
        cases.iter().map(|case| text(case)).collect()
    };
    println!("| bytes of claims |{}", columns(&|case| format!(" {} |", case.claims_bytes)));
    println!("|---|{}", columns(&|_| "---:|".into()));
    for Row { name, .. } in &cases.first().expect("sizes").rows {
        let cell = |case: &Case| {
            let row = case.row(name).expect("the same in each case");
            format!(" {:.0} ({:.2}) |", row.nanoseconds, row.times_kippu)
        };
        println!("| {name} |{}", columns(&cell));
    }
    println!();
}

fn first(report: &Report) {
    println!("| | ns | in the fastest |\n|---|---:|---:|");
    for First { name, nanoseconds, fastest } in &report.first {
        println!("| {name} | {nanoseconds:.0} | {fastest:.0} |");
    }
    println!();
}

fn base64url(report: &Report) {
    println!("Nanoseconds, and how many times as long as kippu the base64 crate takes.\n");
    println!("| symbols | decode, kippu | decode, base64 | | encode, kippu | encode, base64 | |");
    println!("|---:|---:|---:|---:|---:|---:|---:|");
    for codec in &report.base64url {
        print!("| {} |", codec.symbols);
        for ([ours, other], ratio) in [codec.decode, codec.encode].iter().zip(codec.ratios) {
            print!(" {ours:.0} | {other:.0} | {ratio:.2} |");
        }
        println!();
    }
    println!();
}

fn threads(report: &Report) {
    println!("| a second | | one thread | two threads | two over one |");
    println!("|---|---|---:|---:|---:|");
    for row in &report.threads {
        print!("| {} | {} | {:.0} | ", row.operation, row.name, row.one);
        println!("{:.0} | {:.2} |", row.two, row.two_over_one);
    }
    println!();
}

fn allocations(report: &Report) {
    println!("| | | allocations | bytes |");
    println!("|---|---|---:|---:|");
    for row in &report.allocations {
        println!("| {} | {} | {} | {} |", row.operation, row.name, row.count, row.bytes);
    }
    println!();
}
