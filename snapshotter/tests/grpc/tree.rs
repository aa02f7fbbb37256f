//! Creates, changes and compares trees of files.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

/// One change to a tree. Paths are relative.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    File(&'static str, &'static str, u32),
    Dir(&'static str, u32),
    Remove(&'static str),
    Chown(&'static str, u32),
    Link(&'static str, &'static str),
    Rename(&'static str, &'static str),
}

pub fn write(path: &Path, content: &str, mode: u32) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

pub fn dir(path: &Path, mode: u32) {
    fs::create_dir(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

pub fn remove(path: &Path) {
    if fs::symlink_metadata(path).unwrap().is_dir() {
        fs::remove_dir_all(path).unwrap();
    } else {
        fs::remove_file(path).unwrap();
    }
}

pub fn apply(root: &Path, ops: &[Op]) {
    for op in ops {
        match *op {
            Op::File(path, content, mode) => write(&root.join(path), content, mode),
            Op::Dir(path, mode) => dir(&root.join(path), mode),
            Op::Remove(path) => remove(&root.join(path)),
            Op::Chown(path, id) => lchown(root.join(path), Some(id), Some(id)).unwrap(),
            Op::Link(from, to) => fs::hard_link(root.join(from), root.join(to)).unwrap(),
            Op::Rename(from, to) => fs::rename(root.join(from), root.join(to)).unwrap(),
        }
    }
}

/// What is compared for each name: mode with type, owner, group, content or link target.
#[derive(PartialEq, Eq, Debug)]
pub struct Entry {
    mode: u32,
    uid: u32,
    gid: u32,
    content: Vec<u8>,
}

/// Everything below `root`.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut entries = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_dir() {
                todo.push(path.clone());
                Vec::new()
            } else if metadata.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else if metadata.is_file() {
                fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            let (mode, uid, gid) = (metadata.mode(), metadata.uid(), metadata.gid());
            let name = path.strip_prefix(root).unwrap().to_owned();
            entries.insert(name, Entry { mode, uid, gid, content });
        }
    }
    entries
}
