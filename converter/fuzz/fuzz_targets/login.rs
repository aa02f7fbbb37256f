//! Any bytes as what a registry answers when it wants a login, and as what its token server answers.
#![no_main]

use ducc_fuzz::source::{check_challenges, check_token};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check_challenges(bytes);
    check_token(bytes);
});
