//! Whatever is done to sessions, in whatever order, with whatever clock and over a store that fails
//! and loses data, each session ends up as the rules require.
#![no_main]

use kippu_fuzz::sessions::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    run(data);
});
