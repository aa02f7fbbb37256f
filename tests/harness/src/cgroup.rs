//! Control groups of test containers: each node has a name of its own for them, and they are removed with the node.
//!
//! The runtime removes a container's group when it deletes the container, but containers that end because their node
//! is torn down leave empty groups behind, in every hierarchy of a v1 or hybrid host.

use std::fs;
use std::path::Path;

/// Removes the control group `/name` and all groups below it from every hierarchy, as far as they are empty.
pub fn remove(name: &str) {
    let root = Path::new("/sys/fs/cgroup");
    remove_tree(&root.join(name));
    for hierarchy in fs::read_dir(root).into_iter().flatten().flatten() {
        remove_tree(&hierarchy.path().join(name));
    }
}

fn remove_tree(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    // A group that is still busy stays; it holds on to none of the test's files.
    let _ = fs::remove_dir(dir);
}
