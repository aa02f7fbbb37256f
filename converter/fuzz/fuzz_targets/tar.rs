//! Any bytes as a tar whose headers have checksums that fit.
#![no_main]

use ducc_fuzz::{check, with_checksums};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|tar: &[u8]| check(&with_checksums(tar)));
