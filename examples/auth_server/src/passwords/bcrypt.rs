//! Verifies bcrypt hashes of accounts that were imported from another application. This server
//! makes no such hashes.

use std::{hint::black_box, ops::Range};

use bcrypt::{HashParts, Version};

/// The highest cost that is accepted. A hash of cost 14 takes about a second.
pub(crate) const MAX_COST: u32 = 14;
/// The lowest cost that bcrypt has.
const MIN_COST: u32 = 4;

/// Returns the cost of a hash that [`is_of`] can verify. `$2a$`, `$2b$` and `$2y$` are three names
/// of one function; `$2x$` is a flawed variant, and is not accepted.
pub(crate) fn cost(hash: &str) -> Option<u32> {
    let version = match hash.get(..4)? {
        "$2a$" => Version::TwoA,
        "$2b$" => Version::TwoB,
        "$2y$" => Version::TwoY,
        _ => return None,
    };
    let parts: HashParts = hash.parse().ok()?;
    let is_canonical = parts.format_for_version(version) == hash;
    let cost = parts.get_cost();
    (is_canonical && (MIN_COST..=MAX_COST).contains(&cost)).then_some(cost)
}

/// Returns whether the hash is that of this password. Only the first 72 bytes count, as in every
/// bcrypt.
pub(crate) fn is_of(password: &str, hash: &str) -> bool {
    bcrypt::verify(password, hash).unwrap_or(false)
}

/// Returns costs of hashes that take, together with a hash of cost `done`, the work of one hash of
/// cost `highest`.
///
/// A hash of cost n takes 2ⁿ rounds, and 2ⁿ + 2ⁿ + 2ⁿ⁺¹ + … up to cost m - 1 makes 2ᵐ.
pub(crate) fn rest(done: Option<u32>, highest: u32) -> Range<u32> {
    done.map_or(highest..highest + 1, |done| done..highest)
}

/// Does the work of a hash of this cost.
pub(crate) fn spend(password: &str, cost: u32) {
    let _ = black_box(bcrypt::hash_with_salt(password, cost, [0; 16]));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by libxcrypt 4.4.33.
    const HASHES: [(&str, u32, &str); 6] = [
        (
            "$2b$06$abcdefghijklmnopqrstuu10cNU3mXRamSUZYs8I8M/Szu..qXq5K",
            6,
            "correct horse battery staple",
        ),
        ("$2y$05$abcdefghijklmnopqrstuueyFCKVkKNC6mnGgeNtYpSs/nnA.zm26", 5, "hunter2!"),
        ("$2a$04$abcdefghijklmnopqrstuushF.VsOkYvMUGGnTv1bYTAnzhCzzEIi", 4, "Pässwörter"),
        ("$2b$06$abcdefghijklmnopqrstuuce7UoZJFLJ7G1XcxVFJIwnUBwzLK9Vy", 6, "Pässwörter"),
        (
            "$2a$04$abcdefghijklmnopqrstuuBzzIgyKkz7xMWYSzkIjUSnxEQFQ0WNe",
            4,
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ),
        ("$2y$07$BCryptRequires22Chrcte/VlQH0piJtjXl.0t1XkA8pw9dMXTpOq", 7, "rasmuslerdorf"),
    ];

    #[test]
    fn hashes_of_other_programs_are_verified() {
        for (hash, expected, password) in HASHES {
            assert_eq!(cost(hash), Some(expected), "{hash}");
            assert!(is_of(password, hash), "{hash}");
            for other in ["", "wrong", &format!(" {password}"), &password.to_uppercase()] {
                assert!(!is_of(other, hash), "{hash} {other:?}");
            }
        }
        // Only 72 bytes count.
        let (hash, _, password) = HASHES[4];
        assert!(is_of(&password[..72], hash) && !is_of(&password[..71], hash));
    }

    #[test]
    fn other_texts_are_not_hashes_of_it() {
        let hash = "$2b$06$abcdefghijklmnopqrstuu10cNU3mXRamSUZYs8I8M/Szu..qXq5K";
        for other in [
            "",
            "$2b$",
            "$2b$06$",
            "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$aGFzaA",
            "$2b$06$äbcdefghijklmnopqrstuu10cNU3mXRamSUZYs8I8M/Szu..qXq5",
            "$2b$+6$abcdefghijklmnopqrstuu10cNU3mXRamSUZYs8I8M/Szu..qXq5K",
            &hash[..59],
            &format!("{hash}x"),
            &hash.replace("$2b$", "$2x$"),
            &hash.replace("$2b$", "$2$"),
            &hash.replace("$06$", "$03$"),
            // Costs that would take seconds, and days.
            &hash.replace("$06$", "$15$"),
            &hash.replace("$06$", "$31$"),
            &hash.replace("$06$", "$99$"),
        ] {
            assert_eq!(cost(other), None, "{other}");
        }
    }
}
