//! Any bytes as a list of members.
#![no_main]

use ducc_fuzz::{check, members};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| check(&members::tar(bytes)));
