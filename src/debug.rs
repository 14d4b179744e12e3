//! The `Debug` output of an error: its message, followed by the causes that the message leaves out.
//!
//! A `main` that returns an error prints it with `Debug`, and so does `unwrap`. A derived `Debug`
//! would show the names of variants and fields there, without the advice at the end of the message.

/// Implements `Debug` for errors by [`message`].
macro_rules! debug_by_message {
    ($($error:ty),+) => {$(
        impl core::fmt::Debug for $error {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                crate::debug::message(self, f)
            }
        }
    )+};
}

pub(crate) use debug_by_message;

use core::{error::Error, fmt};

/// Writes the message of an error, followed by those of its sources, separated by colons. An error
/// of this crate either prints a cause or returns it from `source`, never both, so no cause is
/// printed twice.
pub(crate) fn message(error: &dyn Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{error}")?;
    let mut source = error.source();
    while let Some(cause) = source {
        write!(f, ": {cause}")?;
        source = cause.source();
    }
    Ok(())
}
