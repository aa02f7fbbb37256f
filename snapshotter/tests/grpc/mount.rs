//! Mounts what the daemon returns, as containerd does.

use std::path::{Path, PathBuf};
use std::process::Command;

use cvmfs_snapshotter::proto::types::Mount;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

/// The length of options, in bytes, from which containerd shortens lower directories: a page less 512 (`core/mount`).
const LONG: usize = 4096 - 512;

/// A mount; unmounted when dropped.
pub struct Mounted(PathBuf);

impl Mounted {
    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

/// Mounts at `target`, which is created.
pub fn mounted(mounts: &[Mount], target: &Path) -> Mounted {
    try_mount(mounts, target).unwrap_or_else(|error| panic!("{mounts:?}: {error}"))
}

pub fn try_mount(mounts: &[Mount], target: &Path) -> Result<Mounted, String> {
    std::fs::create_dir_all(target).unwrap();
    let [one] = mounts else { panic!("expected one mount: {mounts:?}") };
    match one.r#type.as_str() {
        "bind" => bind(one, target),
        "overlay" => overlay(one, target),
        other => panic!("mount type {other}"),
    }?;
    Ok(Mounted(target.to_owned()))
}

fn bind(one: &Mount, target: &Path) -> Result<(), String> {
    let text = |error: rustix::io::Errno| error.to_string();
    assert!(one.options.contains(&"rbind".to_owned()), "{one:?}");
    mount(&one.source, target, "", MountFlags::BIND | MountFlags::REC, None).map_err(text)?;
    if one.options.contains(&"ro".to_owned()) {
        mount_remount(target, MountFlags::BIND | MountFlags::RDONLY, "").map_err(text)?;
    }
    Ok(())
}

/// Mounts an overlay; if the options are long, from the lower directories' common parent, with relative paths.
fn overlay(one: &Mount, target: &Path) -> Result<(), String> {
    let mut command = Command::new("mount");
    let mut options = one.options.clone();
    if options.iter().map(|option| option.len() + 1).sum::<usize>() >= LONG {
        let lower = options.iter_mut().find(|option| option.starts_with("lowerdir=")).unwrap();
        let paths: Vec<_> = lower["lowerdir=".len()..].split(':').map(Path::new).collect();
        let common = common_parent(&paths);
        let short: Vec<_> =
            paths.iter().map(|p| p.strip_prefix(&common).unwrap().to_str().unwrap()).collect();
        *lower = format!("lowerdir={}", short.join(":"));
        command.current_dir(common);
    }
    let options = options.join(",");
    assert!(options.len() < 4096, "the mount options are too long: {}", options.len());
    let output = command
        .args(["-i", "-t", "overlay", "overlay", "-o", &options])
        .arg(target)
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn common_parent(paths: &[&Path]) -> PathBuf {
    let mut common = paths[0].parent().unwrap();
    while !paths.iter().all(|path| path.starts_with(common)) {
        common = common.parent().unwrap();
    }
    assert_ne!(common, Path::new("/"));
    common.to_owned()
}

/// The lower directories of an overlay, topmost first.
pub fn lower_paths(mounts: &[Mount]) -> Vec<PathBuf> {
    let options = &mounts[0].options;
    let lower = options.iter().find_map(|option| option.strip_prefix("lowerdir="));
    lower
        .unwrap_or_default()
        .split(':')
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .collect()
}
