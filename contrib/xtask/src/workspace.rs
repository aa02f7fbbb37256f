//! Where things are in the checkout.

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
