//! Whatever a text is, it is read as one strict JSON object, or refused, just as a slow reader has it: as a payload, as a header, as a JWK.
//! A payload that is read is written again as serde_json writes it.
#![no_main]

use kippu_fuzz::documents::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    run(data);
});
