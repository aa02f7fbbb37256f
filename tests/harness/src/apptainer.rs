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
    /// As a user (65534) who owns nothing.
    OtherUser,
}

/// Who [`Mode::OtherUser`] is.
const OTHER_USER: u32 = 65534;

/// `apptainer VERB IMAGE ARGS…`, where the verb is `exec` or `run`, without the host's directories and variables.
pub fn apptainer(
    node: &Node,
    mode: Mode,
    verb: &str,
    image: &Path,
    args: &[&str],
) -> Result<Output> {
    apptainer_with(node, mode, &[verb, "--cleanenv"], &[], image, args)
}

/// The same with a verb and options, and with variables of the host.
pub fn apptainer_with(
    node: &Node,
    mode: Mode,
    verb: &[&str],
    host: &[(&str, &str)],
    image: &Path,
    args: &[&str],
) -> Result<Output> {
    let program = tools::runtime("apptainer")?.join("usr/bin/apptainer");
    let home = node.make_dir(&format!("apptainer-{mode:?}"))?;
    let mut command = match mode {
        Mode::Root | Mode::UserNamespace => node.command(program)?,
        Mode::OtherUser => {
            std::os::unix::fs::chown(&home, Some(OTHER_USER), Some(OTHER_USER))?;
            let mut command = node.command(tools::host("setpriv")?)?;
            command
                .args([format!("--reuid={OTHER_USER}"), format!("--regid={OTHER_USER}")])
                .arg("--clear-groups")
                .arg(program);
            command
        }
    };
    command.args(verb);
    if mode == Mode::UserNamespace {
        command.arg("--userns");
    }
    command.args(["--contain", "--no-home", "--pwd", "/"]).arg(image).args(args);
    command
        .env("HOME", &home)
        .env("APPTAINER_CONFIGDIR", home.join("config"))
        .env("APPTAINER_CACHEDIR", home.join("cache"))
        .envs(host.iter().copied());
    run(&mut command)
}
