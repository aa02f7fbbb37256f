//! A file system that is soon full, or that cannot be written.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use tempfile::TempDir;

use crate::tools;

/// A file system in memory, unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    /// An empty one of so many KiB.
    pub fn new(kib: usize) -> Result<Self> {
        tools::require_root()?;
        let disk = Self { dir: tempfile::Builder::new().prefix("e2e-disk-").tempdir()? };
        let options = CString::new(format!("size={kib}k,mode=755"))?;
        mount("tmpfs", disk.path(), "tmpfs", MountFlags::empty(), options.as_c_str())
            .context("mounting a small file system")?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Gives it another size in KiB.
    pub fn resize(&self, kib: usize) -> Result<()> {
        let options = CString::new(format!("size={kib}k"))?;
        self.remount(MountFlags::empty(), &options)
    }

    /// Sets whether it can only be read.
    pub fn set_read_only(&self, read_only: bool) -> Result<()> {
        let flags = if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
        self.remount(flags, c"")
    }

    fn remount(&self, flags: MountFlags, options: &std::ffi::CStr) -> Result<()> {
        let path: &Path = self.dir.path();
        mount_remount(path, flags, options).context("mounting a file system in another way")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A process that still uses it keeps it alive, but it is out of the way.
        let _ = unmount(self.dir.path(), UnmountFlags::DETACH);
    }
}
