//! The three algorithms of this crate and their JOSE names (RFC 7518 §3.2). There are no others,
//! and `none` is not supported.

use core::{fmt, str::FromStr};

use serde_core::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::excerpt::UnknownName;

/// A signature algorithm of RFC 7518 §3.2: HMAC with a hash of the SHA-2 family.
///
/// A [`Key`](crate::Key) has exactly one algorithm, and accepts only tokens whose header names this
/// algorithm.
///
/// An algorithm is parsed from its JOSE name and printed as that name. Names are case-sensitive
/// (RFC 7515 §4.1.1).
///
/// ```
/// use kippu::Algorithm;
///
/// assert_eq!("HS256".parse(), Ok(Algorithm::Hs256));
/// assert_eq!(Algorithm::Hs256.to_string(), "HS256");
/// assert!("none".parse::<Algorithm>().is_err());
/// ```
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
    /// All algorithms, in the order of their strength.
    pub const ALL: &[Self] = &[Self::Hs256, Self::Hs384, Self::Hs512];

    /// Returns the value of the `alg` header parameter (RFC 7518 §3.1): `HS256`, `HS384` or
    /// `HS512`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
        }
    }

    /// Returns the length of the hash in bytes. It is the length of a signature and the minimum
    /// length of a secret (RFC 7518 §3.2).
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
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        // Exact: names are case-sensitive (RFC 7515 §4.1.1).
        let named = Self::ALL.iter().find(|algorithm| algorithm.as_str() == name);
        named.copied().ok_or_else(|| UnknownName::new(name, "HS256, HS384 and HS512"))
    }
}

impl Serialize for Algorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

// Not derived: a derived one also accepts `{"HS256":null}`.
impl<'de> Deserialize<'de> for Algorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl de::Visitor<'_> for NameVisitor {
            type Value = Algorithm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of an algorithm")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Algorithm, E> {
                name.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(NameVisitor)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn an_algorithm_is_read_from_its_name_alone() {
        for algorithm in Algorithm::ALL {
            let json = alloc::format!("\"{algorithm}\"");
            assert_eq!(algorithm.as_str().parse(), Ok(*algorithm));
            assert_eq!(serde_json::to_string(algorithm).unwrap(), json);
            assert_eq!(serde_json::from_str::<Algorithm>(&json).unwrap(), *algorithm);
        }
        for name in ["", "none", "hs256", "HS256 ", "RS256", "Hs256"] {
            let error = name.parse::<Algorithm>().unwrap_err().to_string();
            assert_eq!(error, alloc::format!("{name:?} is not one of HS256, HS384 and HS512"));
        }
        // A derived `Deserialize` would accept this.
        assert!(serde_json::from_str::<Algorithm>(r#"{"HS256":null}"#).is_err());
    }
}
