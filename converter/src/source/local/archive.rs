//! A tar whose members are read in place.
//!
//! One pass over the headers finds the name, offset and size of each member; contents are read with `pread`,
//! by several threads at once. Links lead only to other members of the archive; `docker save` used to write
//! them between identical layers.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tar::EntryType;

use super::compressed::Compression;
use super::section::Section;
use crate::source::error::{Error, Result};

/// An image has some three members per layer; more than this are an attack on our memory.
const MAX_MEMBERS: usize = 100_000;

/// How many links may have to be followed to a member.
const MAX_LINKS: usize = 16;

/// The size of a tar's header (POSIX pax, "ustar Interchange Format"), in bytes.
const BLOCK: usize = 512;

/// Where a header has its checksum.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// An open tar with its table of contents.
#[derive(Debug)]
pub(super) struct Archive {
    path: PathBuf,
    file: Arc<File>,
    members: HashMap<String, Member>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Member {
    File {
        offset: u64,
        size: u64,
    },
    /// The name of another member.
    Link(String),
    /// A member without content, or whose content is not in one piece.
    Other,
}

impl Archive {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed = |cause| Error::File { path: path.to_owned(), cause };
        let file = File::open(path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            let reason = "not a regular file; an archive is read at several places at once, so save it first";
            return Err(failed(io::Error::other(reason)));
        }
        let mut begin = [0; BLOCK];
        let read = read_at_most(&file, &mut begin).map_err(failed)?;
        let file = match Compression::of(&begin[..read]) {
            None => file,
            Some(compression) => {
                let unpacked = compression.unpack(&file).map_err(failed)?;
                begin = [0; BLOCK];
                read_at_most(&unpacked, &mut begin).map_err(failed)?;
                unpacked
            }
        };
        let is_empty = file.metadata().map_err(failed)?.len() == 0;
        if is_empty || !is_header(&begin) {
            let what = if is_empty { "it is empty, and " } else { "" };
            return Err(failed(io::Error::other(format!("{what}not a tar archive"))));
        }
        let members = members(&file).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file: Arc::new(file), members })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The content of a member; `None` if there is no such file.
    pub(super) fn find(&self, name: &str) -> Result<Option<Section>> {
        let mut next = clean(name);
        for _ in 0..MAX_LINKS {
            match next.as_ref().and_then(|name| self.members.get(name)) {
                Some(Member::File { offset, size }) => {
                    let file = Arc::clone(&self.file);
                    let reader = Box::new(Window { file, offset: *offset, left: *size });
                    return Ok(Some(Section { reader, size: *size }));
                }
                Some(Member::Link(target)) => next = Some(target.clone()),
                Some(Member::Other) | None => return Ok(None),
            }
        }
        let cause = io::Error::other(format!("{name}: too many links"));
        Err(Error::File { path: self.path.clone(), cause })
    }
}

/// Whether a tar can begin like this: with a header whose checksum fits, or with its end.
fn is_header(block: &[u8; BLOCK]) -> bool {
    let (before, after) = (&block[..CHECKSUM.start], &block[CHECKSUM.end..]);
    let sum: u32 = before.iter().chain(&[b' '; 8]).chain(after).copied().map(u32::from).sum();
    let header = tar::Header::from_byte_slice(block);
    header.cksum().is_ok_and(|checksum| checksum == sum) || block.iter().all(|&byte| byte == 0)
}

/// The table of contents. If several members have one name the last counts, as when unpacking.
fn members(file: &File) -> io::Result<HashMap<String, Member>> {
    let mut members = HashMap::new();
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek()? {
        // The parser's message would quote what it found.
        let entry = entry.map_err(|error| match error.raw_os_error() {
            Some(_) => error,
            None => {
                let reason = format!("the tar archive is damaged after {} members", members.len());
                io::Error::new(error.kind(), reason)
            }
        })?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let Some(name) = clean(&name) else { continue };
        let target = entry.link_name_bytes();
        let target = target.map(|target| String::from_utf8_lossy(&target).into_owned());
        let member = match (entry.header().entry_type(), target) {
            (EntryType::Regular | EntryType::Continuous, _) => {
                Member::File { offset: entry.raw_file_position(), size: entry.size() }
            }
            (EntryType::Link, Some(target)) => clean(&target).map_or(Member::Other, Member::Link),
            (EntryType::Symlink, Some(target)) if !target.starts_with('/') => {
                let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
                clean(&format!("{directory}/{target}")).map_or(Member::Other, Member::Link)
            }
            _ => Member::Other,
        };
        members.insert(name, member);
        if members.len() > MAX_MEMBERS {
            return Err(io::Error::other(format!("more than {MAX_MEMBERS} members")));
        }
    }
    Ok(members)
}

/// A name without `.`, `..` and redundant slashes; `None` if it leads out of the archive.
fn clean(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn read_at_most(file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], read as u64)? {
            0 => break,
            count => read += count,
        }
    }
    Ok(read)
}

/// A part of a file.
struct Window {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..length], self.offset)?;
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_archive() {
        for (name, cleaned) in [
            ("a/b", Some("a/b")),
            ("./a//b/", Some("a/b")),
            ("/a", Some("a")),
            ("a/../b", Some("b")),
            ("a/./../../b", None),
            ("..", None),
            ("", Some("")),
        ] {
            assert_eq!(clean(name).as_deref(), cleaned, "{name:?}");
        }
    }
}
