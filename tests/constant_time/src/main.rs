//! What kippu does with secrets: under valgrind, where `tests/memcheck.rs` reads what it prints, and by the clock.

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
                "\n10 and more is a difference, or a machine that was busy: run it again where nothing else runs."
            );
            ExitCode::FAILURE
        }
        _ => {
            eprintln!("usage: kippu-constant-time time | valgrind kippu-constant-time memcheck");
            ExitCode::FAILURE
        }
    }
}

/// The result of a future that waits for nothing, as those over a store in memory do.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("nothing of it has to be waited for"),
    }
}
