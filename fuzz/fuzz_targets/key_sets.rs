//! Whatever a JWK or a JWK Set contains, and however a set of keys was changed, each token is
//! verified by the key that a list of keys has for it, or by none.
#![no_main]

use kippu_fuzz::key_sets::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    run(data);
});
