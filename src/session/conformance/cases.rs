//! Cases with one store and one step after the other: the smallest session that shows each rule.

mod ended;
mod ending;
mod faults;
mod handles;
mod limits;
mod purging;
mod records;
mod rotating;
mod stalling;
mod subjects;
mod times;

use super::{Harness, report::Book, stage::Stage};

pub(super) async fn run<H: Harness>(harness: &H, stage: &Stage<H::Store>, book: &mut Book) {
    records::run(stage, book).await;
    rotating::run(stage, book).await;
    times::run(stage, book).await;
    ending::run(stage, book).await;
    ended::run(stage, book).await;
    limits::run(stage, book).await;
    subjects::run(stage, book).await;
    purging::run(stage, book).await;
    handles::run(harness, stage, book).await;
    faults::run(stage, book).await;
    stalling::run(harness, stage, book).await;
}
