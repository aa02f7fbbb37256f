//! Writing a tree into catalogs.

use std::vec::IntoIter;

use cvmfs_repository::catalog::{CatalogSink, NestedTree, Split, TreeWriter};
use cvmfs_repository::path::TreePath;

use super::dir::Dir;
use super::read_directory::ReadDirectory;
use crate::repository::Result;

/// Where and how a tree is written.
pub(in super::super) struct Destination {
    pub(in super::super) mount: TreePath,
    pub(in super::super) sink: CatalogSink,
    pub(in super::super) split: Split,
    /// The time of the catalogs, in seconds since 1970.
    pub(in super::super) modified: i64,
}

/// Writes a tree, except for the name that the format reserves.
///
/// A directory's subdirectories are visited after all its names have been read, so of a directory with a
/// million names only the names of its subdirectories are in memory.
pub(in super::super) fn write(tree: Dir, destination: Destination) -> Result<NestedTree> {
    let Destination { mount, sink, split, modified } = destination;
    let mut writer = TreeWriter::new(sink, mount, tree.entry().clone(), split, modified)?;
    let mut way = vec![names(tree, &mut writer)?];
    while let Some((directory, below)) = way.last_mut() {
        let Some(name) = below.next() else {
            way.pop();
            if !way.is_empty() {
                writer.leave()?;
            }
            continue;
        };
        if let Some(entered) = directory.enter(&name)? {
            writer.enter(&name, entered.entry().clone())?;
            way.push(names(entered, &mut writer)?);
        }
    }
    Ok(writer.finish()?)
}

/// Writes everything in a directory but its subdirectories, and returns the names of these.
fn names(directory: Dir, writer: &mut TreeWriter) -> Result<(Dir, IntoIter<Vec<u8>>)> {
    let mut below = Vec::new();
    directory.for_each(&mut |child| {
        if child.entry.is_directory() {
            below.push(child.name);
            return Ok(());
        }
        Ok(writer.leaf(&child.name, child.entry)?)
    })?;
    Ok((directory, below.into_iter()))
}
