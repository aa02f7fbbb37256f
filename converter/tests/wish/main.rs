//! The commands about wish lists and names of images, as programs.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod names;
mod patterns;
mod registry;
mod settings;
mod wishlist;

use std::path::Path;
use std::process::Command;

/// What a run of `ducc` left.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `ducc` in a directory, without the settings of whoever runs the tests.
pub(crate) fn ducc(directory: &Path, arguments: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ducc"));
    command.current_dir(directory).args(arguments);
    for variable in ["DUCC_AUTH_REGISTRIES", "DUCC_OUTPUT_REGISTRY_PASS", "RUST_LOG"] {
        command.env_remove(variable);
    }
    command.env("DOCKER_CONFIG", directory).env("REGISTRY_AUTH_FILE", directory.join("none"));
    let output = command.output().unwrap();
    Run {
        status: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
