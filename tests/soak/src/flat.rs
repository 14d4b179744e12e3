//! Whether a size stays what it is: the median of the last quarter of a run beside that of the
//! second.

/// The growth that is allowed: so much for each hundred, and so many bytes more, for what goes up
/// and down.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    pub percent: u64,
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    pub second: u64,
    pub last: u64,
    pub is_flat: bool,
}

/// None of fewer than four samples.
pub fn growth(samples: &[u64], bound: Bound) -> Option<Growth> {
    let quarter = samples.len() / 4;
    if quarter == 0 {
        return None;
    }
    let second = median(&samples[quarter..2 * quarter]);
    let last = median(&samples[samples.len() - quarter..]);
    let limit = second + second * bound.percent / 100 + bound.bytes;
    Some(Growth { second, last, is_flat: last <= limit })
}

fn median(samples: &[u64]) -> u64 {
    let mut samples = samples.to_vec();
    samples.sort_unstable();
    samples[samples.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Bound = Bound { percent: 10, bytes: 5 };

    #[test]
    fn what_grows_is_found() {
        let growing: Vec<u64> = (0..400).map(|n| 100 + n).collect();
        assert!(!growth(&growing, BOUND).unwrap().is_flat);
        // A single peak is not growth, and neither is the beginning.
        let mut flat = vec![10; 100];
        flat.resize(398, 100);
        flat.push(5000);
        assert_eq!(growth(&flat, BOUND), Some(Growth { second: 100, last: 100, is_flat: true }));
        let step = |last| growth(&[0, 0, 100, 100, 0, 0, last, last], BOUND).unwrap().is_flat;
        assert!(step(115) && !step(116));
        assert_eq!(growth(&[1, 2, 3], BOUND), None);
    }
}
