//! One member of a tar: a header together with the preceding headers that describe it.
//!
//! The types, and what they mean in an image:
//!
//! | type | read as |
//! |---|---|
//! | `0`, NUL, `7` (contiguous) | a file; a directory if it has no content and its name ends with `/`, as in old tars |
//! | `S` in a GNU header | a sparse file |
//! | `1` | a hard link; its target is relative to the layer's root, as names are |
//! | `2`, `5`, `6` | a symlink, a directory, a fifo |
//! | `3`, `4` | a device; the character device 0:0 is a whiteout |
//! | others | an error, as in containerd |
//!
//! Types `1` to `6` have no content, whatever their size field says (Go's `archive/tar`).
//!
//! The character device 0:0 is how overlayfs stores a whiteout. containerd unpacks such a device as it is, so
//! the kernel hides the name in every container; [`Kind::Whiteout`] says the same, also to a reader of the
//! layer that does not use overlayfs.

use layer_layout::LayerPath;
use layer_layout::layer_path::PathError;
use layer_layout::overlay::WHITEOUT_DEVICE;

use super::entry::{Entry, Kind, Metadata, Timestamp};
use super::error::{EntryName, Error, LinkError, Result};
use super::header::Header;
use super::pax::Records;
use super::whiteout::{self, Meaning};

/// Permissions, setuid, setgid, sticky: all bits of a mode except the type.
const MODE_MASK: i64 = 0o7777;

/// Linux `limits.h`: the longest target of a symlink, PATH_MAX without the closing NUL.
const SYMLINK_MAX: usize = 4095;

/// Linux `dev_t`: 12 and 20 bits (`include/linux/kdev_t.h`).
const MAJOR_MAX: i64 = 0xfff;
const MINOR_MAX: i64 = 0xf_ffff;

/// A header and everything that belongs to it.
pub(super) struct Member {
    pub(super) header: Header,
    pub(super) records: Records,
    /// The name that applies, not cleaned.
    pub(super) name: Vec<u8>,
    /// The link target that applies, not cleaned.
    link: Vec<u8>,
    /// Size of the content in the stream, in bytes.
    pub(super) stored: u64,
}

impl Member {
    /// Combines what belongs together. The precedence is that of Go, the weakest first: header, PAX, GNU long
    /// name, name of a sparse file.
    pub(super) fn new(
        header: Header,
        records: Records,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Self> {
        let without_end = |name: Vec<u8>| -> Vec<u8> {
            let end = name.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
            name[..end].to_vec()
        };
        let sparse_name = records.sparse("name").filter(|name| !name.is_empty());
        let name = match (sparse_name, long_name, records.path()) {
            (Some(name), _, _) => name.to_vec(),
            (None, Some(name), _) => without_end(name),
            (None, None, Some(name)) => name.to_vec(),
            (None, None, None) => header.name.clone(),
        };
        let link = match (long_link, records.link_path()) {
            (Some(link), _) => without_end(link),
            (None, Some(link)) => link.to_vec(),
            (None, None) => header.link_name.clone(),
        };
        let stored = match header.flag {
            b'1'..=b'6' => 0,
            _ => records.size(&name)?.unwrap_or(header.size),
        };
        Ok(Self { header, records, name, link, stored })
    }

    /// Whether it is a regular file, or a directory with the type of one.
    pub(super) fn is_file(&self) -> bool {
        matches!(self.header.flag, b'0' | 0 | b'7')
    }

    /// The member as an entry; `None` if it is to be dropped. `size` is the file's size in bytes, holes
    /// included.
    pub(super) fn entry(&self, size: u64) -> Result<Option<Entry>> {
        let path = LayerPath::clean(&self.name)
            .map_err(|cause| Error::Path { entry: self.shown(), cause })?;
        let meaning = whiteout::meaning(&path)
            .map_err(|reason| Error::Whiteout { entry: self.shown(), reason })?;
        let (path, kind) = match meaning {
            Meaning::Bookkeeping => return Ok(None),
            Meaning::Whiteout(path) => (path, Kind::Whiteout),
            Meaning::Opaque(path) => (path, Kind::Opaque),
            Meaning::Name => {
                let kind = self.kind(&path, size)?;
                (path, kind)
            }
        };
        if path.is_root() && !matches!(kind, Kind::Directory | Kind::Opaque) {
            return Err(Error::Root { entry: self.shown() });
        }
        Ok(Some(Entry { path, kind, metadata: self.metadata()? }))
    }

    fn kind(&self, path: &LayerPath, size: u64) -> Result<Kind> {
        Ok(match self.header.flag {
            b'0' | 0 | b'7' if size == 0 && self.name.ends_with(b"/") => Kind::Directory,
            b'0' | 0 | b'7' | b'S' => Kind::File { size },
            b'1' => Kind::HardLink { target: self.hard_link_target(path)? },
            b'2' => Kind::Symlink { target: self.symlink_target()? },
            b'3' => match self.device()? {
                WHITEOUT_DEVICE => Kind::Whiteout,
                (major, minor) => Kind::CharacterDevice { major, minor },
            },
            b'4' => {
                let (major, minor) = self.device()?;
                Kind::BlockDevice { major, minor }
            }
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            _ => return Err(self.unknown_type()),
        })
    }

    fn hard_link_target(&self, path: &LayerPath) -> Result<LayerPath> {
        if self.link.is_empty() {
            return Err(self.bad_link(LinkError::Empty));
        }
        let target = LayerPath::clean(&self.link).map_err(|cause| self.bad_link(cause.into()))?;
        if target.is_root() {
            return Err(self.bad_link(LinkError::Root));
        }
        if target == *path {
            return Err(self.bad_link(LinkError::Itself));
        }
        if whiteout::meaning(&target) != Ok(Meaning::Name) {
            return Err(self.bad_link(LinkError::Whiteout));
        }
        Ok(target)
    }

    fn symlink_target(&self) -> Result<Vec<u8>> {
        if self.link.is_empty() {
            return Err(self.bad_link(LinkError::Empty));
        }
        if self.link.contains(&0) {
            return Err(self.bad_link(PathError::Nul.into()));
        }
        if self.link.len() > SYMLINK_MAX {
            return Err(self.bad_link(PathError::TooLong.into()));
        }
        Ok(self.link.clone())
    }

    fn device(&self) -> Result<(u32, u32)> {
        let reject = |value: String, reason| Error::Field {
            entry: self.shown(),
            field: "device number",
            value: EntryName::new(value.as_bytes()),
            reason,
        };
        let Some((major, minor)) = self.header.device else {
            return Err(reject(String::new(), "a header of the V7 format has none"));
        };
        let fits = |number: i64, max: i64| {
            if number > max { None } else { u32::try_from(number).ok() }
        };
        match (fits(major, MAJOR_MAX), fits(minor, MINOR_MAX)) {
            (Some(major), Some(minor)) => Ok((major, minor)),
            _ => Err(reject(format!("{major}:{minor}"), "Linux has no such device number")),
        }
    }

    fn metadata(&self) -> Result<Metadata> {
        let header = &self.header;
        let mode = u32::try_from(header.mode & MODE_MASK).expect("the mask leaves twelve bits");
        let mtime = self
            .records
            .mtime(&self.name)?
            .unwrap_or(Timestamp { seconds: header.mtime, nanoseconds: 0 });
        Ok(Metadata {
            mode,
            uid: owner(self.records.uid(&self.name)?.unwrap_or(header.uid)),
            gid: owner(self.records.gid(&self.name)?.unwrap_or(header.gid)),
            mtime: mtime.bounded(),
            xattrs: self.records.xattrs(&self.name)?,
        })
    }

    pub(super) fn unknown_type(&self) -> Error {
        Error::Type { entry: self.shown(), flag: self.header.flag }
    }

    fn bad_link(&self, reason: LinkError) -> Error {
        Error::Link { entry: self.shown(), target: EntryName::new(&self.link), reason }
    }

    fn shown(&self) -> EntryName {
        EntryName::new(&self.name)
    }
}

/// The owner that a file gets from a number of a tar: container engines hand any number to `chown` as root, which takes
/// its lower 32 bits and with -1 leaves the owner as it is.
fn owner(number: i64) -> u32 {
    let owner = u32::try_from(number & i64::from(u32::MAX)).expect("the mask leaves 32 bits");
    if owner == u32::MAX { 0 } else { owner }
}
