//! A set of session ids that one thread fills while others read it. A lookup takes no lock and
//! writes no memory.

use alloc::{boxed::Box, sync::Arc};
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::session::id::SessionId;

/// Ids in two generations. New ids go into the newer one; the older one is dropped as a whole.
#[derive(Debug)]
pub(super) struct IdSet {
    tables: ArcSwap<[Arc<Table>; 2]>,
    capacity: usize,
    /// The number of ids in the newer and in the older table. A thread that changes the set holds
    /// the lock.
    held: Mutex<[usize; 2]>,
}

/// The set has no room for an id.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl IdSet {
    /// Makes a set of at most `capacity` ids.
    pub(super) fn new(capacity: usize) -> Self {
        let tables = [Arc::new(Table::new(0)), Arc::new(Table::new(0))];
        Self { tables: ArcSwap::from_pointee(tables), capacity, held: Mutex::new([0; 2]) }
    }

    pub(super) fn contains(&self, id: &SessionId) -> bool {
        let tables = self.tables.load();
        tables.iter().any(|table| table.contains(Halves::of(id)))
    }

    /// Adds ids. Each stays for at least one whole generation.
    pub(super) fn extend(&self, ids: &[SessionId]) -> Result<(), Full> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let [mut newer, older] = ArcSwap::load_full(&self.tables).as_ref().clone();
        let [held, held_before] = &mut *held;
        for halves in ids.iter().map(Halves::of) {
            // An id that only the older table has is added again, because that table is dropped
            // first.
            if newer.contains(halves) {
                continue;
            }
            if *held + *held_before >= self.capacity {
                return Err(Full);
            }
            if *held >= newer.room() {
                // Readers keep the old table until they load again. The new one has all of its ids.
                newer = Arc::new(newer.grown(*held + 1));
                self.tables.store(Arc::new([newer.clone(), older.clone()]));
            }
            newer.insert(halves);
            *held += 1;
        }
        Ok(())
    }

    /// Drops the older generation and begins a new one.
    pub(super) fn turn(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let [newer, _] = ArcSwap::load_full(&self.tables).as_ref().clone();
        self.tables.store(Arc::new([Arc::new(Table::new(0)), newer]));
        let [newer_held, _] = *held;
        *held = [0, newer_held];
    }
}

/// An open hash table, at most half full. Ids are random, so that they need no hash function.
#[derive(Debug)]
struct Table {
    slots: Box<[Slot]>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Zero in an empty slot. It is written last and read first, so that a reader never sees a slot
    /// that is half written.
    random: AtomicU64,
    rest: AtomicU64,
}

/// An id as two numbers. The first is random and never zero.
#[derive(Clone, Copy)]
struct Halves {
    random: u64,
    rest: u64,
}

impl Halves {
    /// Splits an id. Two ids that differ only in their last 8 bytes, one with 0 there and the other
    /// with 1, become equal. The last 8 bytes are random, so that two such ids are practically
    /// never issued.
    fn of(id: &SessionId) -> Self {
        let id = id.as_bytes();
        let half =
            |bytes: Option<&[u8; 8]>| u64::from_be_bytes(*bytes.expect("16 bytes are twice 8"));
        Self { random: half(id.last_chunk()).max(1), rest: half(id.first_chunk()) }
    }
}

impl Table {
    /// Makes a table with room for at least `ids` ids.
    fn new(ids: usize) -> Self {
        // At least twice as many slots as ids, so that a search soon ends at an empty slot.
        let slots = (2 * ids).next_power_of_two().max(64);
        Self { slots: (0..slots).map(|_| Slot::default()).collect() }
    }

    fn room(&self) -> usize {
        self.slots.len() / 2
    }

    /// Returns the slots where an id can be, in the order of the search. An empty slot among them
    /// ends the search.
    fn places(&self, random: u64) -> impl Iterator<Item = &Slot> {
        // The number of slots is a power of two, so that a mask replaces the remainder.
        let mask = u64::try_from(self.slots.len()).unwrap_or(u64::MAX) - 1;
        let (before, from) = self.slots.split_at(usize::try_from(random & mask).unwrap_or(0));
        from.iter().chain(before)
    }

    fn contains(&self, id: Halves) -> bool {
        for slot in self.places(id.random) {
            match slot.random.load(Ordering::Acquire) {
                0 => return false,
                random if random == id.random && slot.rest.load(Ordering::Relaxed) == id.rest => {
                    return true;
                }
                _ => {}
            }
        }
        false
    }

    /// Adds an id that is not in the table. Only one thread at a time calls this.
    fn insert(&self, id: Halves) {
        let is_free = |slot: &&Slot| slot.random.load(Ordering::Relaxed) == 0;
        let slot =
            self.places(id.random).find(is_free).expect("at most half of the slots are taken");
        // `Release` pairs with `Acquire` in `contains`: a reader that sees `random` also sees
        // `rest`.
        slot.rest.store(id.rest, Ordering::Relaxed);
        slot.random.store(id.random, Ordering::Release);
    }

    /// Returns a table with the same ids and room for at least `ids` ids.
    fn grown(&self, ids: usize) -> Self {
        let grown = Self::new(ids);
        for slot in &self.slots {
            let random = slot.random.load(Ordering::Relaxed);
            if random != 0 {
                grown.insert(Halves { random, rest: slot.rest.load(Ordering::Relaxed) });
            }
        }
        grown
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use std::thread;

    use super::*;

    fn id(number: u64) -> SessionId {
        // The numbers are neighbours, so that the ids compete for the same slots.
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        bytes[15] = u8::try_from(number % 8).unwrap();
        SessionId::from_bytes(bytes)
    }

    fn ids(numbers: core::ops::Range<u64>) -> Vec<SessionId> {
        numbers.map(id).collect()
    }

    #[test]
    fn the_set_has_exactly_the_added_ids() {
        let set = IdSet::new(10_000);
        for (known, next) in [(0, 1), (1, 31), (31, 33), (33, 1000), (1000, 5000)] {
            assert_eq!(set.extend(&ids(known / 2..next)), Ok(()));
            assert!((0..next).all(|number| set.contains(&id(number))));
            assert!(!(next..next + 1000).any(|number| set.contains(&id(number))));
        }
    }

    #[test]
    fn an_id_is_dropped_with_the_second_turn() {
        let set = IdSet::new(100);
        set.extend(&ids(0..10)).unwrap();
        set.turn();
        set.extend(&ids(5..20)).unwrap();
        assert!((0..20).all(|number| set.contains(&id(number))));
        set.turn();
        let left: Vec<u64> = (0..20).filter(|number| set.contains(&id(*number))).collect();
        assert_eq!(left, (5..20).collect::<Vec<_>>());
        set.turn();
        assert!(!(0..20).any(|number| set.contains(&id(number))));
    }

    #[test]
    fn a_full_set_keeps_what_it_has() {
        let set = IdSet::new(10);
        set.extend(&ids(0..4)).unwrap();
        set.turn();
        set.extend(&ids(4..9)).unwrap();
        assert_eq!(set.extend(&ids(5..20)), Err(Full));
        assert_eq!((0..20).filter(|number| set.contains(&id(*number))).count(), 10);
        assert_eq!(set.extend(&ids(4..10)), Ok(()), "they are there");
        set.turn();
        assert_eq!(set.extend(&ids(10..14)), Ok(()), "the first four have made room");
    }

    /// The first numbers stay in the set, whatever is added, while other threads read.
    #[test]
    fn readers_miss_no_id_while_the_table_grows() {
        let set = IdSet::new(100_000);
        set.extend(&ids(0..20)).unwrap();
        thread::scope(|scope| {
            let reader = || {
                while !set.contains(&id(1999)) {
                    assert!((0..20).all(|number| set.contains(&id(number))));
                }
            };
            scope.spawn(reader);
            for number in (20..2000).step_by(10) {
                set.extend(&ids(number..number + 10)).unwrap();
            }
        });
    }
}
