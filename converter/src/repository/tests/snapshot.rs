//! A tree as plain values, to compare it entry by entry.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::layer::Xattrs;

/// Everything about one name.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::repository) struct Node {
    /// Type and permission bits.
    pub(in crate::repository) mode: u32,
    pub(in crate::repository) owner: (u32, u32),
    /// Of files only: a directory's size is the file system's affair.
    pub(in crate::repository) size: u64,
    pub(in crate::repository) mtime: (i64, i64),
    pub(in crate::repository) rdev: u64,
    pub(in crate::repository) xattrs: Xattrs,
    /// A file's content or a symlink's target.
    pub(in crate::repository) content: Vec<u8>,
    /// The first name of the same inode in this tree.
    pub(in crate::repository) group: String,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, owner, size, mtime, rdev, content, group, .. } = self;
        write!(f, "{mode:o} {owner:?} {size} {mtime:?} {rdev:x} {group} ")?;
        write!(f, "{}", content[..content.len().min(40)].escape_ascii())?;
        for (name, value) in &self.xattrs {
            write!(f, " {}={}", name.escape_ascii(), value.escape_ascii())?;
        }
        Ok(())
    }
}

/// A tree by path; the root is the empty path.
pub(in crate::repository) type Tree = BTreeMap<String, Node>;

/// Takes in a tree. Names that are listed and not there are left out: overlayfs shows a whiteout so that
/// has nothing to hide.
pub(in crate::repository) fn of(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut groups = BTreeMap::new();
    take(root, String::new(), &mut tree, &mut groups);
    tree
}

fn take(path: &Path, name: String, tree: &mut Tree, groups: &mut BTreeMap<(u64, u64), String>) {
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => panic!("{}: {error}", path.display()),
    };
    let kind = metadata.file_type();
    let content = if kind.is_file() {
        std::fs::read(path).unwrap()
    } else if kind.is_symlink() {
        std::fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec()
    } else {
        Vec::new()
    };
    let xattrs = xattr::list(path)
        .unwrap()
        .map(|name| (name.as_bytes().to_vec(), xattr::get(path, &name).unwrap().unwrap()))
        .collect();
    let group = if kind.is_dir() {
        name.clone()
    } else {
        groups.entry((metadata.dev(), metadata.ino())).or_insert_with(|| name.clone()).clone()
    };
    tree.insert(
        name.clone(),
        Node {
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            size: if kind.is_dir() { 0 } else { metadata.size() },
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            rdev: metadata.rdev(),
            xattrs,
            content,
            group,
        },
    );
    if kind.is_dir() {
        let mut children: Vec<_> =
            std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        children.sort();
        for child in children {
            let below = child.as_bytes().escape_ascii().to_string();
            let below = if name.is_empty() { below } else { format!("{name}/{below}") };
            take(&path.join(child), below, tree, groups);
        }
    }
}

/// Names that differ, with both sides, or nothing.
pub(in crate::repository) fn difference(left: &Tree, right: &Tree) -> Vec<String> {
    let names: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    names
        .into_iter()
        .filter(|name| left.get(*name) != right.get(*name))
        .map(|name| format!("/{name}:\n  {:?}\n  {:?}", left.get(name), right.get(name)))
        .collect()
}

/// The same tree with hard links of one directory only, which is all that some repositories know.
pub(in crate::repository) fn linked_within_directories(mut tree: Tree) -> Tree {
    let mut first = BTreeMap::new();
    for (name, node) in &mut tree {
        let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
        let group = (directory.to_owned(), node.group.clone());
        node.group = first.entry(group).or_insert_with(|| name.clone()).clone();
    }
    tree
}

/// Fails with all differences if there are any.
pub(in crate::repository) fn assert_same(left: &Tree, right: &Tree, what: &str) {
    let difference = difference(left, right);
    assert!(difference.is_empty(), "{what}:\n{}", difference.join("\n"));
}
