//! Where things are in the checkout.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The checkout's top directory.
pub(crate) fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().nth(2).context("the xtask is not two levels below the checkout")?;
    Ok(root.to_path_buf())
}

/// Where the container runtimes are unpacked; the tests find them through `RUNTIMES_DIR`.
pub(crate) fn runtimes() -> Result<PathBuf> {
    Ok(root()?.join("target/runtimes"))
}

/// A program that was built in `profile`, in the target directory that this program was built in, too.
pub(crate) fn program(profile: &str, name: &str) -> Result<PathBuf> {
    let own = env::current_exe().context("finding the xtask's own path")?;
    let target = own.ancestors().nth(2).context("the xtask is in no target directory")?;
    Ok(target.join(profile).join(name))
}
