//! Whatever a request is, it gets one answer, never the server's fault, and the one that a slow reading of its headers has for it.
#![no_main]

use kippu_fuzz::web::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    run(data);
});
