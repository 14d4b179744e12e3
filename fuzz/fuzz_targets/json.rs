//! The strict scan accepts a subset of what serde_json accepts, with the same values. A slow reader
//! rejects the same texts for the same reason: as a payload, as a header, as a JWK. A payload that
//! was read is written again as serde_json writes it.
#![no_main]

use kippu_fuzz::documents::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    run(data);
});
