//! The store in memory, from its own source file, with loom's locks and atomics in the place of the standard library's.

extern crate alloc;

pub mod memory;

pub(crate) mod session {
    pub(crate) mod id {
        pub(crate) use kippu::session::SessionId;
    }
    pub(crate) mod record {
        pub(crate) use kippu::session::{RevokeReason, Revoked, SessionRecord};
    }
    pub(crate) mod rotation {
        pub(crate) use kippu::session::rotation::{RotateOutcome, RotateRequest};
    }
    pub(crate) mod time {
        pub(crate) use kippu::session::UnixMillis;
    }
}
