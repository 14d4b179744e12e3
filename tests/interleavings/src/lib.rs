//! Compiles the source files of the stores that threads share, with loom's locks, atomics and
//! channels in the place of those of the standard library and tokio.

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
