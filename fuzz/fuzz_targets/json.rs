//! The strict scan accepts a subset of what serde_json accepts, with the same values; and what it refuses, a slow reader refuses for
//! the same reason: as a payload, as a header, as a JWK. A payload that is read is written again as serde_json writes it.
#![no_main]

use kippu_fuzz::documents::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    run(data);
});
