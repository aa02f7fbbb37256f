//! A directory tree as a list of facts, so that two trees can be compared entry by entry.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Directory.
    Dir,
    /// Regular file.
    File,
    /// Symbolic link.
    Symlink,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
    /// Named pipe.
    Fifo,
    /// Unix socket.
    Socket,
}

/// What is compared for each entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes; `None` for a directory, whose size depends on the file system.
    pub size: Option<u64>,
    /// Modification time, seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// A device's major and minor number.
    pub device: Option<(u32, u32)>,
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// A symbolic link's target.
    pub target: Option<Vec<u8>>,
    /// If several entries share this inode, the first of their paths in byte order.
    pub linked: Option<Vec<u8>>,
    /// SHA-256 of a regular file's content, hex.
    pub content: Option<String>,
}

/// Every entry below a directory by its relative path, without a leading `./`; the root itself is the empty path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree(pub BTreeMap<Vec<u8>, Facts>);

impl Tree {
    /// Reads everything below `root` without following links.
    pub fn read(root: &Path) -> Result<Self> {
        let mut reader = Reader { root, entries: BTreeMap::new(), inodes: HashMap::new() };
        reader.enter(Vec::new())?;
        let Reader { mut entries, inodes, .. } = reader;
        for inode in inodes.into_values().filter(|inode| inode.paths.len() > 1) {
            let mut paths = inode.paths;
            paths.sort();
            for path in &paths {
                if let Some(facts) = entries.get_mut(path) {
                    facts.linked = paths.first().cloned();
                }
            }
        }
        Ok(Self(entries))
    }

    /// Without overlayfs's own attributes, which a mounted overlay does not show as they are in its layers.
    pub fn without_overlay_xattrs(mut self) -> Self {
        for facts in self.0.values_mut() {
            facts.xattrs.retain(|name, _| {
                !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay.")
            });
        }
        self
    }

    /// Without the root's own facts, for comparisons that leave them out.
    pub fn without_root(mut self) -> Self {
        self.0.remove(b"".as_slice());
        self
    }

    /// The facts of a path.
    pub fn get(&self, path: impl AsRef<[u8]>) -> Result<&Facts> {
        let path = path.as_ref();
        self.0
            .get(path)
            .with_context(|| format!("no {} in the tree", String::from_utf8_lossy(path)))
    }
}

struct Inode {
    paths: Vec<Vec<u8>>,
    content: Option<String>,
}

struct Reader<'a> {
    root: &'a Path,
    entries: BTreeMap<Vec<u8>, Facts>,
    inodes: HashMap<(u64, u64), Inode>,
}

impl Reader<'_> {
    fn enter(&mut self, path: Vec<u8>) -> Result<()> {
        let full = self.full(&path);
        let facts =
            self.facts(&path, &full).with_context(|| format!("looking at {}", full.display()))?;
        let is_dir = facts.kind == FileKind::Dir;
        self.entries.insert(path.clone(), facts);
        if is_dir {
            for entry in
                fs::read_dir(&full).with_context(|| format!("listing {}", full.display()))?
            {
                let name = entry?.file_name();
                let mut below = path.clone();
                if !below.is_empty() {
                    below.push(b'/');
                }
                below.extend(name.as_bytes());
                self.enter(below)?;
            }
        }
        Ok(())
    }

    fn full(&self, path: &[u8]) -> PathBuf {
        if path.is_empty() {
            self.root.to_path_buf()
        } else {
            self.root.join(OsStr::from_bytes(path))
        }
    }

    fn facts(&mut self, path: &[u8], full: &Path) -> Result<Facts> {
        let meta = fs::symlink_metadata(full)?;
        let kind = match meta.file_type() {
            kind if kind.is_dir() => FileKind::Dir,
            kind if kind.is_symlink() => FileKind::Symlink,
            kind if kind.is_char_device() => FileKind::CharDevice,
            kind if kind.is_block_device() => FileKind::BlockDevice,
            kind if kind.is_fifo() => FileKind::Fifo,
            kind if kind.is_socket() => FileKind::Socket,
            _ => FileKind::File,
        };
        let mut content = None;
        if kind != FileKind::Dir && meta.nlink() > 1 {
            let inode = self
                .inodes
                .entry((meta.dev(), meta.ino()))
                .or_insert_with(|| Inode { paths: Vec::new(), content: None });
            inode.paths.push(path.to_vec());
            content.clone_from(&inode.content);
        }
        if kind == FileKind::File && content.is_none() {
            content = Some(hash(full)?);
            if let Some(inode) = self.inodes.get_mut(&(meta.dev(), meta.ino())) {
                inode.content.clone_from(&content);
            }
        }
        let is_device = matches!(kind, FileKind::CharDevice | FileKind::BlockDevice);
        let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
        Ok(Facts {
            kind,
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
            size: (kind != FileKind::Dir).then_some(meta.len()),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            device: is_device.then_some((major, minor)),
            xattrs: xattrs(full)?,
            target: (kind == FileKind::Symlink)
                .then(|| fs::read_link(full))
                .transpose()?
                .map(target_bytes),
            linked: None,
            content,
        })
    }
}

fn target_bytes(target: PathBuf) -> Vec<u8> {
    target.into_os_string().into_vec()
}

fn hash(path: &Path) -> Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let length = file.read(&mut chunk)?;
        if length == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(&chunk[..length]);
    }
}

fn xattrs(path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut all = BTreeMap::new();
    for name in xattr::list(path)? {
        if let Some(value) = xattr::get(path, &name)? {
            all.insert(name.into_vec(), value);
        }
    }
    Ok(all)
}
