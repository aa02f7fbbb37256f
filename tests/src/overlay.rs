//! The kernel's own overlayfs, the reference for what layers amount to.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

use crate::tools;

/// A mounted overlay, unmounted when dropped.
#[derive(Debug)]
pub struct Overlay {
    dir: TempDir,
}

impl Overlay {
    /// A read-only view of `lowers`, topmost first.
    ///
    /// A single directory gets an empty one below it, because the kernel refuses an overlay of one.
    pub fn view(lowers: &[&Path]) -> Result<Self> {
        tools::require_root()?;
        ensure!(!lowers.is_empty(), "an overlay of no directories");
        let dir = tempfile::Builder::new().prefix("e2e-o-").tempdir()?;
        let overlay = Self { dir };
        let base = overlay.dir.path();
        fs::create_dir(overlay.path())?;
        fs::create_dir(base.join("empty"))?;
        // Short names, because all mount options together must fit into one page.
        let mut names = Vec::new();
        for (number, lower) in lowers.iter().enumerate() {
            let name = base.join(number.to_string());
            symlink(lower, &name)?;
            names.push(name);
        }
        if lowers.len() == 1 {
            names.push(base.join("empty"));
        }
        let names: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
        let options = CString::new(format!("lowerdir={}", names.join(":")))?;
        mount("overlay", overlay.path(), "overlay", MountFlags::RDONLY, options.as_c_str())
            .with_context(|| format!("mounting an overlay of {} directories", lowers.len()))?;
        Ok(overlay)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("merged")
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // A process that still uses it keeps it alive, but it is out of the way.
        let _ = unmount(self.path(), UnmountFlags::DETACH);
    }
}
