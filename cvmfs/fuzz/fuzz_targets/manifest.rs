//! Any bytes as `.cvmfspublished`: read or refused, and what is read is written so that it is read again.
#![no_main]

use cvmfs_repository::manifest::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    match Manifest::parse(file) {
        Ok(signed) => {
            let manifest = signed.unverified();
            let again = format!("{}--\n\n", manifest.text());
            let again = Manifest::parse(again.as_bytes()).expect("our own text is read");
            assert_eq!(again.unverified(), manifest);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
