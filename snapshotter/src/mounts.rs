//! What containerd is told to mount. Pure: everything that matters comes in as a value.
//!
//! The mounts have the form of those of containerd's built-in overlayfs snapshotter, because its clients (the
//! differ, BuildKit) rely on it: a bind mount where there is nothing to overlay, otherwise an overlay. In addition:
//!
//! - A chain ends at the first layer that has a merged root file system, or whose root is opaque.
//! - A directory that occurs twice is mounted once, at its topmost position: the kernel refuses the same
//!   directory twice (ELOOP), and the upper occurrence hides everything that the lower one would show.
//! - An overlay of repository directories alone gets an empty local directory on top: the CVMFS client
//!   reports a name limit of 0, which the overlay would take over and then refuse every name.
//! - All lower directories are short names below one directory, so that containerd can shorten them to fit
//!   the kernel's limit of one page; what is in a repository is reached through symbolic links there.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::directories::Directories;
use crate::error::{Error, Result};
use crate::idmap::IdMapping;
use crate::kernel::Kernel;
use crate::snapshot::{Layer, Remote, SnapshotId, SnapshotKind};

/// One mount, as mount(8) would take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// `bind` or `overlay`.
    pub mount_type: &'static str,
    /// The directory to bind, or the word `overlay`.
    pub source: String,
    /// The mount options.
    pub options: Vec<String>,
}

/// One lower directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lower<'a> {
    /// The snapshot that it belongs to.
    pub id: SnapshotId,
    /// Whether it is the merged root file system of the chain up to this snapshot.
    pub merged: bool,
    /// Set if it is a link into a repository.
    pub remote: Option<&'a Remote>,
}

/// The lower directories, topmost first, of a snapshot above this chain, whose nearest parent comes first.
pub fn lowers(chain: &[Layer]) -> Vec<Lower<'_>> {
    let mut lowers = Vec::new();
    let mut seen = HashSet::new();
    for layer in chain {
        let remote = layer.remote.as_ref();
        let merged = remote.is_some_and(|remote| remote.rootfs.is_some());
        let target = remote
            .map(|r| (&r.repository, if merged { r.rootfs.as_ref() } else { Some(&r.layer) }));
        // Two local layers are never the same directory.
        if target.is_none_or(|target| seen.insert(target)) {
            lowers.push(Lower { id: layer.id, merged, remote });
        }
        if merged || layer.root.opaque {
            break;
        }
    }
    lowers
}

/// The mounts of an active snapshot or a view with this chain of layers below it.
///
/// # Errors
/// [`Error::FailedPrecondition`] if ids are to be mapped and cannot be.
pub fn mounts(
    directories: &Directories,
    kernel: Kernel,
    id: SnapshotId,
    kind: SnapshotKind,
    chain: &[Layer],
    mapping: Option<&IdMapping>,
) -> Result<Vec<Mount>> {
    let lowers = lowers(chain);
    let active = kind == SnapshotKind::Active;
    // A single layer is bound as it is; one that is left over of several may hold whiteouts for those.
    let bare = match lowers.as_slice() {
        [] => Some(directories.fs(id)),
        [lower] if !active && (lower.merged || chain.len() == 1) => Some(path(directories, lower)),
        _ => None,
    };
    if mapping.is_some() {
        check_mapping(kernel, &lowers, !active && bare.is_some())?;
    }
    let mut options: Vec<String> = mapping.map(IdMapping::options).into_iter().flatten().collect();
    if let Some(bare) = bare {
        options.push(if active { "rw" } else { "ro" }.to_owned());
        options.push("rbind".to_owned());
        return Ok(vec![Mount { mount_type: "bind", source: text(&bare), options }]);
    }
    if kernel.index {
        options.push("index=off".to_owned());
    }
    if kernel.userxattr {
        options.push("userxattr".to_owned());
    }
    let mut paths: Vec<String> = lowers.iter().map(|l| text(&path(directories, l))).collect();
    if active {
        options.push(format!("workdir={}", text(&directories.work(id))));
        options.push(format!("upperdir={}", text(&directories.fs(id))));
    } else if lowers.len() == 1 || lowers.iter().all(|lower| lower.remote.is_some()) {
        paths.insert(0, text(&directories.fs(id)));
    }
    options.push(format!("lowerdir={}", paths.join(":")));
    Ok(vec![Mount { mount_type: "overlay", source: "overlay".to_owned(), options }])
}

fn path(directories: &Directories, lower: &Lower<'_>) -> PathBuf {
    if lower.merged { directories.rootfs(lower.id) } else { directories.fs(lower.id) }
}

/// The daemon's root directory is UTF-8, because it comes from a TOML file, so nothing is lost.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Refuses what would be mapped wrongly: containerd maps the common parent of all lower directories, so that the
/// target of a symbolic link stays unmapped, and silently leaves the mapping out of a read-only bind mount.
fn check_mapping(kernel: Kernel, lowers: &[Lower<'_>], bound_read_only: bool) -> Result<()> {
    let refuse = |reason: &str| {
        Err(Error::FailedPrecondition(format!(
            "this snapshot cannot be mapped into a user namespace: {reason}. Run the container without \
             one (`hostUsers: true`), or take the capability `remap-ids` from the proxy plugin's \
             configuration in containerd"
        )))
    };
    if !kernel.mapped_layers {
        return refuse("the kernel's overlayfs cannot use id-mapped directories (Linux 5.19 can)");
    }
    if let Some(remote) = lowers.iter().find_map(|lower| lower.remote) {
        return refuse(&format!("its layers are in the repository {}", remote.repository));
    }
    if bound_read_only {
        return refuse("it is a read-only view of a single layer");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
