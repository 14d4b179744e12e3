//! The three algorithms of this crate and their JOSE names (RFC 7518 §3.2). There is no other, and no `none`.

use core::fmt;

/// A signature algorithm of RFC 7518 §3.2: HMAC with a hash of the SHA-2 family.
///
/// A [`Key`](crate::Key) has exactly one. A token's header never chooses it; it has to agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// HMAC with SHA-256: secrets of 32 bytes or more, signatures of 32.
    Hs256,
    /// HMAC with SHA-384: secrets of 48 bytes or more, signatures of 48.
    Hs384,
    /// HMAC with SHA-512: secrets of 64 bytes or more, signatures of 64.
    Hs512,
}

impl Algorithm {
    /// All of them, by strength.
    pub const ALL: [Self; 3] = [Self::Hs256, Self::Hs384, Self::Hs512];

    /// The value of the `alg` header parameter (RFC 7518 §3.1): `HS256`, `HS384` or `HS512`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
        }
    }

    /// The algorithm of that exact name; names are case-sensitive (RFC 7515 §4.1.1).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The bytes of the hash, which are the bytes of a signature and the fewest that a secret may
    /// have (RFC 7518 §3.2).
    pub const fn hash_len(self) -> usize {
        match self {
            Self::Hs256 => 32,
            Self::Hs384 => 48,
            Self::Hs512 => 64,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
