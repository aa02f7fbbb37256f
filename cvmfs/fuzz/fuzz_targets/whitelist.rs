//! Any bytes as `.cvmfswhitelist`: read or refused, and what is read is written so that it is read again.
#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use cvmfs_repository::whitelist::Whitelist;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    match Whitelist::parse(file) {
        Ok(signed) => {
            let whitelist = signed.unverified();
            let expires = whitelist.expires();
            // Those of the year 9999 last beyond what the clock can say.
            let last = UNIX_EPOCH + Duration::from_secs(253_402_000_000);
            assert!(expires > last || whitelist.has_expired(expires));
            let mut again = whitelist.text(UNIX_EPOCH).expect("1970 has four digits");
            again.extend_from_slice(b"--\n\n");
            let again = Whitelist::parse(&again).expect("our own text is read");
            assert_eq!(again.unverified(), whitelist);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
