//! Any bytes as a manifest or an index.
#![no_main]

use ducc_fuzz::source::check_document;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|document: &[u8]| check_document(document));
