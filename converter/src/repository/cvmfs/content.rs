//! Reading the files of published trees, object by object.

use cvmfs_repository::Error as EngineError;
use cvmfs_repository::entry::{Content, EntryKind, File};
use cvmfs_repository::path::TreePath;
use cvmfs_repository::snapshot::Snapshot;

use crate::repository::{Result, Stored};

/// Hands out the content of the file at a path. One object at a time is in memory.
pub(super) fn read(
    snapshot: &Snapshot,
    path: &TreePath,
    each: &mut dyn FnMut(&[u8]),
) -> Result<Stored> {
    let Some(file) = file(snapshot, path)? else { return Ok(Stored::Absent) };
    for part in parts(file) {
        match snapshot.read(&part) {
            Ok(content) => each(&content),
            Err(error) if is_damage(&error) => return Ok(Stored::Damaged(error.to_string())),
            Err(error @ EngineError::ExternalContent) => {
                return Ok(Stored::Forbidden(error.to_string()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Stored::Intact)
}

/// Removes the objects of a file that do not have the hashes that they are named after.
pub(super) fn discard_damaged(snapshot: &Snapshot, path: &TreePath) -> Result<()> {
    let Some(file) = file(snapshot, path)? else { return Ok(()) };
    let storage = snapshot.storage();
    for part in parts(file) {
        for object in part.content.objects() {
            match storage.get(object) {
                Err(EngineError::Corrupt { .. }) => storage.delete(vec![object.path()])?,
                Ok(_) | Err(EngineError::Missing { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

fn file(snapshot: &Snapshot, path: &TreePath) -> Result<Option<File>> {
    Ok(snapshot.lookup(path)?.and_then(|entry| match entry.kind {
        EntryKind::File(file) => Some(file),
        _ => None,
    }))
}

/// A file as several that have one object each.
fn parts(file: File) -> Vec<File> {
    match file.content {
        Content::Chunks(whole, chunks) => {
            let part = |chunk: cvmfs_repository::entry::Chunk| File {
                size: chunk.size,
                compression: file.compression,
                content: Content::Chunks(whole, vec![chunk]),
            };
            chunks.into_iter().map(part).collect()
        }
        _ => vec![file],
    }
}

/// Whether this is about what is stored, and not about reaching it.
fn is_damage(error: &EngineError) -> bool {
    matches!(error, EngineError::Corrupt { .. } | EngineError::Missing { .. })
}
