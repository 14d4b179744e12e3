//! Secrets as memcheck sees them: their bits are undefined, and so is every value computed from
//! them. memcheck reports each branch and each address that depends on an undefined bit.

use std::{ffi::c_void, hint::black_box};

use crabgrind::memcheck::{set_vbits, vbits};

/// Makes all bits of `bytes` undefined. They keep their values.
pub fn hide(bytes: &mut [u8]) {
    hide_bits(bytes, u8::MAX);
}

/// Makes the bits of each byte undefined that are set in `mask`, and the others defined.
pub fn hide_bits(bytes: &mut [u8], mask: u8) {
    let masks = vec![mask; bytes.len()];
    set_vbits(address(bytes), masks.as_ptr(), bytes.len()).expect("valgrind runs this");
    black_box(bytes);
}

/// Makes `bytes` defined: from here on they are public. Each caller gives the reason.
pub fn reveal(bytes: &mut [u8]) {
    hide_bits(bytes, 0);
}

/// Returns whether `bytes` have an undefined bit.
pub fn is_hidden(bytes: &mut [u8]) -> bool {
    let mut found = vec![0_u8; bytes.len()];
    let bits = found.as_mut_ptr().cast_const();
    vbits(address(bytes), bits, bytes.len()).expect("valgrind runs this");
    black_box(&found).iter().any(|bits| *bits != 0)
}

fn address(bytes: &mut [u8]) -> *mut c_void {
    bytes.as_mut_ptr().cast()
}
