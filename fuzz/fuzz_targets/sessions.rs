//! Whatever is done to sessions, in whatever order, by whatever clock and over a store that fails and forgets, becomes of them what the rules say.
#![no_main]

use kippu_fuzz::sessions::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    run(data);
});
