//! Any bytes as a layer's blob.
#![no_main]

use ducc_fuzz::check;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|blob: &[u8]| check(blob));
