//! What stands at paths of a repository, published or prepared: small files read, and names looked up and listed.

use std::os::fd::AsFd;

use layer_layout::RepositoryPath;
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::beneath::{Beneath, indirect, split};
use super::listing::Lister;
use super::moves::look;
use crate::repository::{Error, Published, Result};

/// Reads a small file; `None` if nothing is there.
pub(super) fn read(base: &Beneath, path: &RepositoryPath) -> Result<Option<Vec<u8>>> {
    base.read(path.as_str().as_bytes()).map_err(|cause| match Errno::from_io_error(&cause) {
        Some(errno) => indirect(base, path, "read")(errno),
        None => Error::system("read", base.shown(path.as_str().as_bytes()), cause),
    })
}

/// What stands at a path.
pub(super) fn lookup(base: &Beneath, path: &RepositoryPath) -> Result<Option<Published>> {
    let bytes = path.as_str().as_bytes();
    let failed = |error| indirect(base, path, "look at")(error);
    let Some(stat) = look(base, bytes).map_err(failed)? else { return Ok(None) };
    let (parent, name) = split(bytes);
    let parent = base.handle(parent).map_err(failed)?;
    published(&parent, name, FileType::from_raw_mode(stat.st_mode)).map(Some).map_err(failed)
}

/// What stands in a directory, or in the root if there is no path.
pub(super) fn list(
    base: &Beneath,
    directory: Option<&RepositoryPath>,
) -> Result<Vec<(String, Published)>> {
    let path = directory.map_or("", RepositoryPath::as_str).as_bytes();
    let directory = match base.directory(path) {
        Ok(directory) => directory,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
        Err(error) => return Err(base.failed("open", path)(error)),
    };
    let mut names = Vec::new();
    let listed = Lister::new().names(&directory, |name, file_type| {
        let Ok(text) = str::from_utf8(name) else { return Ok(()) };
        let file_type = match file_type {
            FileType::Unknown => {
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                FileType::from_raw_mode(rustix::fs::statat(&directory, name, flags)?.st_mode)
            }
            known => known,
        };
        match published(&directory, name, file_type) {
            Ok(published) => names.push((text.to_owned(), published)),
            // Removed in the meantime.
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    });
    listed.map_err(base.failed("read", path))?;
    Ok(names)
}

/// What `name` in `directory` is, which has this type.
fn published(
    directory: impl AsFd,
    name: &[u8],
    file_type: FileType,
) -> rustix::io::Result<Published> {
    Ok(match file_type {
        FileType::Directory => Published::Directory,
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
            Published::Symlink(target.to_string_lossy().into_owned())
        }
        _ => Published::Other,
    })
}
