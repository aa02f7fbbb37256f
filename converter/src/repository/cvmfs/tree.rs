//! Published trees, to compare them.

use cvmfs_repository::entry::{Content, Device, Entry, EntryKind};
use cvmfs_repository::link_target::without_variables;
use cvmfs_repository::path::TreePath;
use cvmfs_repository::snapshot::Snapshot;

use super::attributes::{class, metadata};
use super::staged::Attributes;
use crate::repository::{ContentId, Result, TreeDirectory, TreeEntry, TreeNode};
use crate::tree::Class;

/// Reads a directory; `None` if there is none.
pub(super) fn read(snapshot: &Snapshot, path: &TreePath) -> Result<Option<TreeDirectory>> {
    let Some(directory) = snapshot.directory(path)? else { return Ok(None) };
    let mut children = Vec::new();
    directory.for_each(&mut |child| {
        if !child.marker {
            children.push((child.name, child.entry));
        }
        Ok(())
    })?;
    let entries = children.into_iter().map(|(name, entry)| tree_entry(name, &entry));
    Ok(Some(TreeDirectory {
        opaque: class(directory.entry())? == Class::Directory { opaque: true },
        metadata: metadata(&Attributes::of(directory.entry()))?,
        entries: entries.collect::<Result<_>>()?,
    }))
}

fn tree_entry(name: Vec<u8>, entry: &Entry) -> Result<TreeEntry> {
    let node = match &entry.kind {
        EntryKind::Directory => TreeNode::Directory,
        EntryKind::File(file) => {
            TreeNode::File { size: file.size, content: ContentId::Objects(objects(&file.content)) }
        }
        EntryKind::Symlink(target) => TreeNode::Symlink(without_variables(target).into_owned()),
        EntryKind::Character(Device { major, minor }) => TreeNode::CharacterDevice(*major, *minor),
        EntryKind::Block(Device { major, minor }) => TreeNode::BlockDevice(*major, *minor),
        EntryKind::Fifo => TreeNode::Fifo,
        EntryKind::Socket => TreeNode::Socket,
    };
    let metadata = metadata(&Attributes::of(entry))?;
    Ok(TreeEntry { name, class: class(entry)?, node, metadata })
}

fn objects(content: &Content) -> String {
    match content {
        Content::Whole(hash) => hash.to_string(),
        Content::Chunks(_, chunks) => {
            chunks.iter().map(|chunk| chunk.hash.to_string()).collect::<Vec<_>>().join(" ")
        }
        Content::External(hash) => hash.map(|hash| hash.to_string()).unwrap_or_default(),
    }
}
