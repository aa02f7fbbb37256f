//! One revision of a repository, read through its catalogs.
//!
//! A directory is in the catalog of the deepest mountpoint on the way to it. Catalogs are fetched when they are needed,
//! and some of them are kept open.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::catalog::{Catalog, Counters, Mount, Row};
use crate::compression::{Compression, inflate};
use crate::crew::Crew;
use crate::entry::{Content, Entry, EntryKind, File};
use crate::hash::{ContentHash, ObjectId, ObjectKind};
use crate::manifest::Manifest;
use crate::path::TreePath;
use crate::recent::Recent;
use crate::reliance::Reliance;
use crate::scratch::Scratch;
use crate::storage::Storage;
use crate::{Error, Result};

/// Bytes that catalogs which are kept open may take together: about five hundred of those that hold the names of layers,
/// chains or images, or thirty of those that a large tree is split into.
const OPEN_CATALOGS: u64 = 64 << 20;
/// How many things are read at a time, if many are asked for: where the storage is far away, reading is waiting.
const READERS: usize = 16;

/// A revision whose manifest has been verified.
#[derive(Clone)]
pub struct Snapshot(Arc<Inner>);

struct Inner {
    manifest: Manifest,
    /// Shared with the revisions that were read after it.
    catalogs: Arc<Catalogs>,
    root: Arc<Catalog>,
}

/// Fetches catalogs, and keeps open those that were used last.
struct Catalogs {
    storage: Storage,
    scratch: Scratch,
    open: Mutex<Recent<ContentHash, Arc<Catalog>>>,
}

impl Catalogs {
    fn new(storage: Storage, scratch: Scratch) -> Self {
        Self { storage, scratch, open: Mutex::new(Recent::new(OPEN_CATALOGS)) }
    }

    fn open(&self) -> MutexGuard<'_, Recent<ContentHash, Arc<Catalog>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, hash: ContentHash) -> Result<Arc<Catalog>> {
        if let Some(catalog) = self.open().get(hash) {
            return Ok(catalog);
        }
        let catalog = self.load(hash)?;
        self.open().put(hash, Arc::clone(&catalog), catalog.footprint());
        Ok(catalog)
    }

    fn load(&self, hash: ContentHash) -> Result<Arc<Catalog>> {
        Catalog::load(&self.storage, hash, &self.scratch)
    }
}

/// A directory of a revision.
#[derive(Clone)]
pub struct Directory {
    snapshot: Snapshot,
    catalog: Arc<Catalog>,
    path: TreePath,
    entry: Entry,
}

/// A name in a directory. The groups of its hard links are unique within the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// The name, without a slash.
    pub name: Vec<u8>,
    /// What it is.
    pub entry: Entry,
    /// Whether it is the file `.cvmfscatalog` with which the format marks the beginning of a catalog.
    /// Clients show it, but it is no part of what was published.
    pub marker: bool,
    mount: Mount,
}

impl Snapshot {
    /// The revision of a manifest that the caller has verified.
    ///
    /// # Errors
    /// If its root catalog cannot be read, or is not the one that the manifest describes.
    pub(crate) fn new(manifest: Manifest, storage: Storage, scratch: Scratch) -> Result<Self> {
        Self::of(manifest, Arc::new(Catalogs::new(storage, scratch)))
    }

    /// The revision of a manifest of the same repository that the caller has verified. Catalogs that are the same are
    /// not fetched again.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub(crate) fn another(&self, manifest: Manifest) -> Result<Self> {
        Self::of(manifest, Arc::clone(&self.0.catalogs))
    }

    fn of(manifest: Manifest, catalogs: Arc<Catalogs>) -> Result<Self> {
        let root = catalogs.get(manifest.root)?;
        if !root.mount().is_root() {
            return Err(Error::Corrupt {
                what: format!("the root catalog {}", manifest.root),
                reason: format!("it belongs at {}", root.mount()),
            });
        }
        Ok(Self(Arc::new(Inner { manifest, catalogs, root })))
    }

    /// What was signed.
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// Where it is stored.
    pub fn storage(&self) -> &Storage {
        &self.0.catalogs.storage
    }

    /// The directory that temporary files of this revision's readers go to.
    pub(crate) fn scratch(&self) -> &Scratch {
        &self.0.catalogs.scratch
    }

    /// The catalog of a hash.
    pub(crate) fn catalog(&self, hash: ContentHash) -> Result<Arc<Catalog>> {
        self.0.catalogs.get(hash)
    }

    /// What a catalog says about its content. It is not kept open for that.
    pub(crate) fn counters_of(&self, hash: ContentHash) -> Result<Counters> {
        let catalogs = &self.0.catalogs;
        let open = catalogs.open().get(hash);
        let catalog = open.map_or_else(|| catalogs.load(hash), Ok)?;
        Ok(*catalog.counters())
    }

    /// The root catalog.
    pub(crate) fn root_catalog(&self) -> &Arc<Catalog> {
        &self.0.root
    }

    /// What there is in the root catalog, and below it.
    pub fn counters(&self) -> &Counters {
        self.0.root.counters()
    }

    /// The root directory.
    ///
    /// # Errors
    /// If the root catalog has no entry for it.
    pub fn root(&self) -> Result<Directory> {
        let catalog = Arc::clone(&self.0.root);
        let row = catalog.lookup(&TreePath::ROOT)?.ok_or_else(|| Error::Corrupt {
            what: format!("the root catalog {}", self.0.manifest.root),
            reason: "it has no root entry".to_owned(),
        })?;
        Ok(Directory { snapshot: self.clone(), catalog, path: TreePath::ROOT, entry: row.entry })
    }

    /// What is at a path; symlinks are not followed. `None` if there is nothing.
    ///
    /// # Errors
    /// If a catalog cannot be read.
    pub fn lookup(&self, path: &TreePath) -> Result<Option<Entry>> {
        let Some((parent, name)) = path.split() else { return Ok(Some(self.root()?.entry)) };
        match self.directory(&parent)? {
            Some(directory) => Ok(directory.child(name)?.map(|child| child.entry)),
            None => Ok(None),
        }
    }

    /// What is at each of these paths, as [`Self::lookup`] tells it. Several are looked up at a time; if the paths are
    /// sorted, each catalog is fetched once.
    ///
    /// # Errors
    /// If a catalog cannot be read.
    pub fn lookup_all(&self, paths: &[TreePath]) -> Result<Vec<Option<Entry>>> {
        // Neighbours usually are in the same catalog, which one thread fetches for all of them.
        let parts: Vec<_> = paths.chunks(paths.len().div_ceil(4 * READERS).max(1)).collect();
        let look_up = |paths: &&[TreePath]| -> Result<Vec<_>> {
            paths.iter().map(|path| self.lookup(path)).collect()
        };
        Ok(Crew::new(READERS).each(&parts, look_up)?.into_iter().flatten().collect())
    }

    /// The directory at a path; `None` if there is none.
    ///
    /// # Errors
    /// If a catalog cannot be read.
    pub fn directory(&self, path: &TreePath) -> Result<Option<Directory>> {
        let mut directory = self.root()?;
        for name in path.components() {
            directory = match directory.child(name)? {
                Some(child) if child.entry.is_directory() => directory.open(&child)?,
                _ => return Ok(None),
            };
        }
        Ok(Some(directory))
    }

    /// Whether a path is in another revision what it is in this one, or absent in both: a tree with a catalog of its own
    /// has the same catalog, anything else is of the same kind and has the same content. A directory without a
    /// catalog may hold other things.
    ///
    /// # Errors
    /// If a catalog cannot be read.
    pub fn has_the_same_at(&self, path: &TreePath, other: &Self) -> Result<bool> {
        let mut reliance = Reliance::new(self.clone());
        reliance.add(path);
        Ok(reliance.broken_in(other)?.is_none())
    }

    /// Bytes in the regular files at and below a path, in which every name of a file counts. Where a nested catalog
    /// begins, that catalog knows the sum. 0 if nothing is there.
    ///
    /// # Errors
    /// If a catalog cannot be read.
    pub fn bytes_below(&self, path: &TreePath) -> Result<u64> {
        let Some((parent, name)) = path.split() else {
            return Ok(self.counters().total().file_size);
        };
        let Some(parent) = self.directory(&parent)? else { return Ok(0) };
        let mut bytes = 0;
        let mut waiting = Vec::new();
        let mut add = |parent: &Directory, child: Child, waiting: &mut Vec<_>| {
            match &child.entry.kind {
                EntryKind::File(file) => bytes += file.size,
                EntryKind::Directory => waiting.push((child.mount, parent.open(&child)?)),
                _ => {}
            }
            Ok(())
        };
        if let Some(child) = parent.child(name)? {
            add(&parent, child, &mut waiting)?;
        }
        let mut nested = 0;
        while let Some((mount, directory)) = waiting.pop() {
            match mount {
                Mount::Nested => nested += directory.catalog.counters().total().file_size,
                _ => directory.for_each(&mut |child| add(&directory, child, &mut waiting))?,
            }
        }
        Ok(bytes + nested)
    }

    /// The content of a file, verified. For small files: all of it is held in memory.
    ///
    /// # Errors
    /// If an object is missing or damaged, or the file is external.
    pub fn read(&self, file: &File) -> Result<Vec<u8>> {
        let storage = self.storage();
        match &file.content {
            Content::Whole(hash) => {
                read_object(storage, *hash, ObjectKind::File, file.compression, file.size)
            }
            Content::Chunks(_, chunks) => {
                let mut content = Vec::new();
                for chunk in chunks {
                    content.extend(read_object(
                        storage,
                        chunk.hash,
                        ObjectKind::Chunk,
                        file.compression,
                        chunk.size,
                    )?);
                }
                Ok(content)
            }
            Content::External(_) => Err(Error::ExternalContent),
        }
    }
}

/// Reads an object that holds `size` bytes of content.
///
/// # Errors
/// If it is missing, damaged, or holds another number of bytes.
pub(crate) fn read_object(
    storage: &Storage,
    hash: ContentHash,
    kind: ObjectKind,
    compression: Compression,
    size: u64,
) -> Result<Vec<u8>> {
    let id = hash.object(kind);
    let stored = storage.get(id)?;
    let content = match compression {
        Compression::Zlib => inflate(&stored, size, &format!("object {id}"))?,
        Compression::None => stored.to_vec(),
    };
    if content.len() as u64 != size {
        return Err(Error::Corrupt {
            what: format!("object {id}"),
            reason: format!("it holds {} bytes and should hold {size}", content.len()),
        });
    }
    Ok(content)
}

/// Largest tag database or certificate that is read.
const DATABASE_LIMIT: u64 = 1 << 30;

/// Reads an object that is always compressed and small enough for memory.
///
/// # Errors
/// If it is missing or damaged.
pub(crate) fn read_database(storage: &Storage, id: ObjectId) -> Result<Vec<u8>> {
    inflate(&storage.get(id)?, DATABASE_LIMIT, &format!("object {id}"))
}

impl Directory {
    /// Where it is.
    pub fn path(&self) -> &TreePath {
        &self.path
    }

    /// Its own attributes.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The revision that it belongs to.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Hands out all names, in no particular order.
    ///
    /// # Errors
    /// If the catalog cannot be read, and those of `each`.
    pub fn for_each(&self, each: &mut dyn FnMut(Child) -> Result<()>) -> Result<()> {
        self.catalog.for_each_child(&self.path, &mut |row| each(self.named(row)))
    }

    /// One name; `None` if there is none.
    ///
    /// # Errors
    /// If the catalog cannot be read.
    pub fn child(&self, name: &[u8]) -> Result<Option<Child>> {
        Ok(self.catalog.lookup(&self.path.join(name))?.map(|row| self.named(row)))
    }

    fn named(&self, row: Row) -> Child {
        let marker = self.catalog.mount() == &self.path
            && row.name == crate::catalog::MARKER
            && matches!(row.entry.kind, EntryKind::File(_));
        Child { name: row.name, entry: row.entry, marker, mount: row.mount }
    }

    /// Opens a directory that [`Self::for_each`] or [`Self::child`] returned.
    ///
    /// # Errors
    /// If its catalog cannot be read, or there is none where one is mounted.
    pub fn open(&self, child: &Child) -> Result<Self> {
        let path = self.path.join(&child.name);
        let missing = |reason: &str| Error::Corrupt {
            what: format!("the catalog at {}", self.catalog.mount()),
            reason: format!("{path} {reason}"),
        };
        let catalog = match child.mount {
            Mount::Nested => {
                let nested = self
                    .catalog
                    .nested_at(&path)?
                    .ok_or_else(|| missing("is a mountpoint without a nested catalog"))?;
                self.snapshot.catalog(nested.hash)?
            }
            Mount::Bind => return Err(missing("is a bind mountpoint, which is not supported")),
            Mount::None | Mount::Root => Arc::clone(&self.catalog),
        };
        Ok(Self { snapshot: self.snapshot.clone(), catalog, path, entry: child.entry.clone() })
    }
}
