//! Every request gets one answer, never a server error, and the same one that a slow reader of its
//! headers gives.
#![no_main]

use kippu_fuzz::web::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    run(data);
});
