//! Apptainer on an unpacked root file system.

use std::path::Path;

use anyhow::Result;

use crate::node::Node;
use crate::process::{Output, run};
use crate::tools;

/// How Apptainer gets its rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As root.
    Root,
    /// In a user namespace, as for ordinary users.
    UserNamespace,
}

/// `apptainer VERB IMAGE ARGS…`, where the verb is `exec` or `run`, without the host's directories.
pub fn apptainer(
    node: &Node,
    mode: Mode,
    verb: &str,
    image: &Path,
    args: &[&str],
) -> Result<Output> {
    let program = tools::runtime("apptainer")?.join("usr/bin/apptainer");
    let home = node.make_dir("apptainer")?;
    let mut command = node.command(program)?;
    command.arg(verb);
    if mode == Mode::UserNamespace {
        command.arg("--userns");
    }
    command.args(["--contain", "--cleanenv", "--no-home", "--pwd", "/"]).arg(image).args(args);
    command
        .env("HOME", &home)
        .env("APPTAINER_CONFIGDIR", home.join("config"))
        .env("APPTAINER_CACHEDIR", home.join("cache"));
    run(&mut command)
}
