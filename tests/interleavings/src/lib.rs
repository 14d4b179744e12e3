//! What of the stores is shared between threads, from its own source files, with loom's locks, atomics and channels in the
//! place of the standard library's and tokio's.

extern crate alloc;

mod channels;
pub mod memory;
pub mod queue;

pub(crate) mod session {
    pub(crate) mod id {
        pub(crate) use kippu::session::SessionId;
    }
    pub(crate) mod record {
        pub(crate) use kippu::session::{RevokeReason, Revoked, SessionRecord};
    }
    pub(crate) mod rotation {
        pub(crate) use kippu::session::rotation::{Change, RotateOutcome, RotateRequest};
    }
    pub(crate) mod time {
        pub(crate) use kippu::session::UnixMillis;
    }
}
