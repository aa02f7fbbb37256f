//! Repositories that the stock tools of CernVM-FS wrote, seen by this crate.
//!
//! The data is not part of this project. It is looked for in `GOLDEN_DIR`, else in `shared/golden` beside the
//! checkout; without it there is one test, which says so and is ignored.
//!
//! Each file here gives its tests by a function `tests`.

#![expect(clippy::unwrap_used, reason = "the data is that of the tests")]

mod catalogs;
mod check;
mod data;
mod trust;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let tests = match data::directory() {
        Ok(directory) => [catalogs::tests, check::tests, trust::tests]
            .iter()
            .flat_map(|tests| tests(&directory))
            .collect(),
        Err(absent) => vec![Trial::test(absent, || Ok(())).with_ignored_flag(true)],
    };
    libtest_mimic::run(&arguments, tests).exit();
}
