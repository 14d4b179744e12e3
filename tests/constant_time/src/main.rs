//! Tests what kippu does with secrets: under valgrind, whose log `tests/memcheck.rs` reads, and by
//! the clock.

mod cases;
mod secret;
mod timing;
mod twins;

use std::{
    env,
    future::Future,
    pin::pin,
    process::ExitCode,
    task::{Context, Poll, Waker},
};

fn main() -> ExitCode {
    match env::args().nth(1).as_deref() {
        Some("memcheck") => {
            for case in cases::all() {
                let verdicts = case.verdicts.map_or("twin".to_owned(), |count| count.to_string());
                println!("{}\t{}\t{verdicts}", case.name, case.reports);
            }
            ExitCode::SUCCESS
        }
        Some("time") if timing::measure() => ExitCode::SUCCESS,
        Some("time") => {
            println!(
                "\n10 and more is a difference, or a busy machine: run it again on an idle one."
            );
            ExitCode::FAILURE
        }
        _ => {
            eprintln!("usage: kippu-constant-time time | valgrind kippu-constant-time memcheck");
            ExitCode::FAILURE
        }
    }
}

/// Returns the result of a future that never waits, as those over a store in memory do.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("a future over a store in memory never waits"),
    }
}
