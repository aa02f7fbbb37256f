//! Reading the files of published trees.

use std::fs::File;
use std::io::Read;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::beneath::{Beneath, split};
use super::listing::open_file;
use crate::repository::{Result, Stored};

/// Content is read in pieces of this size.
const BUFFER: usize = 256 * 1024;

/// Hands out the content of the file at a path beneath `root`.
pub(super) fn read(root: &Beneath, path: &[u8], each: &mut dyn FnMut(&[u8])) -> Result<Stored> {
    let (parent, name) = split(path);
    let opened = root.directory(parent).and_then(|directory| open_file(directory, name));
    let file = match opened {
        Ok(file) => file,
        // ELOOP is the answer for a symlink.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Stored::Absent),
        Err(error @ (Errno::ACCESS | Errno::PERM)) => {
            return Ok(Stored::Forbidden(error.to_string()));
        }
        Err(error @ Errno::IO) => return Ok(Stored::Damaged(error.to_string())),
        Err(error) => return Err(root.failed("open", path)(error)),
    };
    let stat = rustix::fs::fstat(&file).map_err(root.failed("look at", path))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(Stored::Absent);
    }
    let (mut file, mut buffer) = (File::from(file), vec![0; BUFFER]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Stored::Intact),
            Ok(count) => each(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Ok(Stored::Damaged(error.to_string())),
        }
    }
}
