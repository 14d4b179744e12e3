//! The data that an application keeps with a session.

use alloc::boxed::Box;
use core::fmt;

use crate::debug::debug_by_message;

/// Data of the application that are stored with a session, up to 1 KiB: for example the methods of
/// authentication, or the tenant. kippu stores the bytes and never reads them.
///
/// A login sets them ([`Login::data`](super::Login::data)). Each refresh passes them to the
/// application ([`Session::data`](super::Session)), which may replace them
/// ([`Renewal::data`](super::Renewal::data)).
///
/// An attacker who can read the store can read the data, and one who can write it can change them.
/// Do not store a password in them. `Debug` shows only the length.
///
/// ```
/// use kippu::session::SessionData;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Methods { amr: Vec<String> }
///
/// let methods = Methods { amr: vec!["pwd".into(), "otp".into()] };
/// let data = SessionData::new(serde_json::to_vec(&methods)?)?;
/// let read: Methods = serde_json::from_slice(data.as_bytes())?;
/// assert_eq!(read.amr, ["pwd", "otp"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SessionData(Box<[u8]>);

/// The data are longer than [`SessionData::MAX_LEN`].
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{length} bytes of data for a session: at most {} are allowed", SessionData::MAX_LEN)]
pub struct DataTooLong {
    /// The length of the data, in bytes.
    pub length: usize,
}

debug_by_message!(DataTooLong);

impl SessionData {
    /// The maximum length in bytes: 1,024.
    pub const MAX_LEN: usize = 1024;

    /// Wraps the bytes.
    ///
    /// # Errors
    /// [`DataTooLong`] above [`MAX_LEN`](Self::MAX_LEN) bytes.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self, DataTooLong> {
        let bytes = bytes.into();
        match bytes.len() {
            length if length > Self::MAX_LEN => Err(DataTooLong { length }),
            _ => Ok(Self(bytes)),
        }
    }

    /// Returns the bytes. They are empty if the application has set none.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SessionData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionData({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, vec};

    use super::*;

    #[test]
    fn keeps_up_to_a_kibibyte_and_prints_none_of_it() {
        assert_eq!(SessionData::default().as_bytes(), b"");
        let longest = SessionData::new(vec![b'x'; 1024]).unwrap();
        assert_eq!(longest.as_bytes(), [b'x'; 1024]);
        assert_eq!(format!("{longest:?}"), "SessionData(1024 bytes)");
        let error = SessionData::new(vec![b'x'; 1025]).unwrap_err();
        assert_eq!(
            format!("{error}"),
            "1025 bytes of data for a session: at most 1024 are allowed"
        );
    }
}
