//! A clock that a test sets. It counts milliseconds, as stores do.
#![allow(dead_code, reason = "a test sets it or advances it")]

use std::sync::atomic::{AtomicI64, Ordering};

use kippu::Clock;

#[derive(Debug)]
pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn at(millis: i64) -> &'static Self {
        Box::leak(Box::new(Self(AtomicI64::new(millis))))
    }

    pub fn set(&self, millis: i64) {
        self.0.store(millis, Ordering::SeqCst);
    }

    pub fn advance(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn unix_millis(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}
