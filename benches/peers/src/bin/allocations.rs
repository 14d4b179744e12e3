//! What a call of each crate allocates, as JSON for the program that prints the tables.
//!
//! A program of its own: its allocator counts, which would slow those who are timed.

fn main() {
    kippu_peers::print_allocations(|run| {
        let counted = allocation_counter::measure(run);
        (counted.count_total, counted.bytes_total)
    });
}
