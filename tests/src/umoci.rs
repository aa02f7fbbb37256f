//! umoci, an independent unpacker to compare ours with.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::process::run;
use crate::tools;

/// Unpacks the image `tag` of an OCI layout into the new directory `bundle`; returns its root file system.
pub fn unpack(layout: &Path, tag: &str, bundle: &Path) -> Result<PathBuf> {
    let mut command = Command::new(tools::host("umoci")?);
    command.arg("unpack").arg("--image").arg(format!("{}:{tag}", layout.display())).arg(bundle);
    run(&mut command)?;
    Ok(bundle.join("rootfs"))
}
