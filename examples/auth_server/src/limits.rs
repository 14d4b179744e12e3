//! Limits how often passwords may be tried from one address, and for one account. An attempt too
//! many is refused before any work is done for it.
//!
//! The address is the client's, as `proxies` finds it. The limit for an account lets a stranger
//! keep its owner from logging in for as long as they go on; without it, many addresses could guess
//! one password.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

pub(crate) struct Limits {
    addresses: Limit<IpAddr>,
    accounts: Limit<String>,
}

/// When to try again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooOften(pub(crate) Duration);

impl Limits {
    pub(crate) fn new() -> Self {
        Self {
            addresses: Limit::new(20, Duration::from_secs(3)),
            accounts: Limit::new(5, Duration::from_secs(12)),
        }
    }

    /// One more try from an address.
    pub(crate) fn admit_address(&self, address: IpAddr) -> Result<(), TooOften> {
        self.addresses.admit(network(address), Instant::now())
    }

    /// One more try for the account of a digest, whether there is such an account or not.
    pub(crate) fn admit_account(&self, digest: &str) -> Result<(), TooOften> {
        self.accounts.admit(digest.to_owned(), Instant::now())
    }
}

/// A whole IPv6 network of 64 bits is one customer's.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// So many at once for a key, and after them one every `interval`.
struct Limit<K> {
    burst: u32,
    interval: Duration,
    /// When each key will have its whole burst again.
    rested: Mutex<HashMap<K, Instant>>,
}

/// A few megabytes.
const MAX_KEYS: usize = 65_536;

impl<K: Eq + Hash> Limit<K> {
    fn new(burst: u32, interval: Duration) -> Self {
        Self { burst, interval, rested: Mutex::new(HashMap::new()) }
    }

    fn admit(&self, key: K, now: Instant) -> Result<(), TooOften> {
        let mut rested = self.rested.lock().unwrap_or_else(PoisonError::into_inner);
        if rested.len() >= MAX_KEYS && !rested.contains_key(&key) {
            rested.retain(|_, until| *until > now);
            if rested.len() >= MAX_KEYS {
                // An attacker who fills the table must not make it forget other clients.
                return Err(TooOften(self.interval));
            }
        }
        let until = rested.entry(key).or_insert(now);
        let tired = until.saturating_duration_since(now);
        let allowed = self.interval * self.burst.saturating_sub(1);
        if tired > allowed {
            return Err(TooOften(tired.saturating_sub(allowed)));
        }
        *until = (*until).max(now) + self.interval;
        Ok(())
    }
}

/// Limits how many of something an address has at the same time.
pub(crate) struct AtOnce {
    most: u32,
    taken: Mutex<HashMap<IpAddr, u32>>,
}

/// One of an address's places, which is free again when this is dropped.
pub(crate) struct Place {
    network: IpAddr,
    of: Arc<AtOnce>,
}

impl AtOnce {
    pub(crate) fn new(most: u32) -> Self {
        Self { most, taken: Mutex::default() }
    }

    /// Takes a place, if the address has one left.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let network = network(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(network).or_default();
        if *count == self.most {
            return None;
        }
        *count += 1;
        Some(Place { network, of: Arc::clone(self) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = taken.entry(self.network) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frees_a_place_that_is_dropped() {
        let places = Arc::new(AtOnce::new(2));
        let admit = |text: &str| places.admit(text.parse().expect("an address"));
        let first = admit("2001:db8:1:2::1").expect("the first");
        let _second = admit("2001:db8:1:2::2").expect("the second");
        assert!(admit("2001:db8:1:2::3").is_none());
        let other = admit("192.0.2.1").expect("another network");
        drop((first, other));
        assert!(admit("2001:db8:1:2::3").is_some());
        assert_eq!(
            places.taken.lock().expect("a lock").len(),
            1,
            "the other network was forgotten"
        );
    }

    #[test]
    fn a_burst_is_let_in_and_then_one_for_each_interval() {
        let limit = Limit::new(3, Duration::from_secs(10));
        let start = Instant::now();
        let admit = |key, seconds| limit.admit(key, start + Duration::from_secs(seconds));
        for _ in 0..3 {
            assert_eq!(admit("a", 0), Ok(()));
        }
        assert_eq!(admit("a", 0), Err(TooOften(Duration::from_secs(10))));
        assert_eq!(admit("a", 4), Err(TooOften(Duration::from_secs(6))));
        assert_eq!(admit("b", 4), Ok(()), "another key has its own burst");
        assert_eq!(admit("a", 10), Ok(()));
        assert!(admit("a", 10).is_err(), "what was refused is not owed");
        for _ in 0..3 {
            assert_eq!(admit("a", 40), Ok(()), "after a rest there is a whole burst again");
        }
        assert!(admit("a", 40).is_err());
    }

    #[test]
    fn who_fills_the_table_washes_nobody_out_of_it() {
        let limit = Limit::new(1, Duration::from_secs(10));
        let now = Instant::now();
        for key in 0..MAX_KEYS {
            assert_eq!(limit.admit(key, now), Ok(()));
        }
        assert!(limit.admit(0, now).is_err());
        assert!(limit.admit(MAX_KEYS, now).is_err());
        assert_eq!(limit.admit(MAX_KEYS, now + Duration::from_secs(10)), Ok(()));
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        let of = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::"), of("2001:db8:1:3::"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
