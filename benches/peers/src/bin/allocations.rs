//! Counts the allocations of a call of each crate, as JSON for the program that prints the tables.
//!
//! A separate program, because its allocator counts, which would slow down the timed candidates.

fn main() {
    kippu_peers::print_allocations(|run| {
        let counted = allocation_counter::measure(run);
        (counted.count_total, counted.bytes_total)
    });
}
