//! Adding files to a tree that shares its content with others.
//!
//! The additions are a small tree of their own, which lies over the other like a layer when the result is
//! written. The tree's symlinks are followed as they will be in a container, with the tree's root as `/`.
//! Additions have the time of the root, so that the same image always gives the same tree.

use std::collections::VecDeque;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cvmfs_repository::entry::{Entry, EntryKind};
use cvmfs_repository::link_target::{literal, without_variables};
use layer_layout::RepositoryPath;
use rustix::io::Errno;

use super::area::Area;
use super::staged::{Attributes, Staged, Tree};
use super::view::{Dir, Merged, ReadDirectory};
use crate::repository::byte_path::{components, join, split};
use crate::repository::parents::lookup::MAX_SYMLINKS;
use crate::repository::{Error, OPEN_ROOT, Result, TreeEditor};

/// Adds to one tree.
pub(super) struct Editor {
    area: Arc<Area>,
    path: RepositoryPath,
    added: Arc<Staged>,
    tree: Tree,
    /// What is seen, with the additions so far.
    root: Dir,
}

/// What a path leads to.
enum Target {
    /// A directory, with the path to it resolved.
    Directory(Vec<Step>),
    Other,
    /// Nothing, for this reason.
    Nothing(Errno),
}

/// A directory on a path.
struct Step {
    path: Vec<u8>,
    directory: Dir,
}

/// A path as components below the root. What this program itself adds has no `..`.
fn clean(path: &Path) -> Vec<u8> {
    components(path.as_os_str().as_bytes()).collect::<Vec<_>>().join(&b'/')
}

impl Editor {
    /// Begins to add to `source`; the result will stand at `path`.
    pub(super) fn new(area: Arc<Area>, path: RepositoryPath, source: Dir) -> Result<Self> {
        let root = source.entry().clone();
        let added = Arc::new(Staged::create(&area.database(), &Attributes::of(&root))?);
        let trees = vec![Dir::Staged(added.watch()?), source];
        let tree = added.change()?;
        Ok(Self { area, path, added, tree, root: Dir::Merged(Merged::of(trees, root)?) })
    }

    /// The additions, to be laid over the source.
    pub(super) fn added(&self) -> &Arc<Staged> {
        &self.added
    }

    fn shown(&self, path: &[u8]) -> PathBuf {
        let name = std::ffi::OsStr::from_bytes(path);
        Path::new(&self.area.name).join(&self.path).join(name)
    }

    fn find(&self, path: &[u8]) -> Result<Target> {
        let root = || Step { path: Vec::new(), directory: self.root.clone() };
        let mut way = vec![root()];
        let mut names: VecDeque<Vec<u8>> = components(path).map(<[u8]>::to_vec).collect();
        let mut links = 0;
        while let Some(name) = names.pop_front() {
            if name == b".." {
                if way.len() > 1 {
                    way.pop();
                }
                continue;
            }
            let Some(at) = way.last() else { break };
            let Some(child) = at.directory.child(&name)? else {
                return Ok(Target::Nothing(Errno::NOENT));
            };
            match child.entry.kind {
                EntryKind::Directory => {
                    let Some(directory) = at.directory.enter(&name)? else {
                        return Ok(Target::Nothing(Errno::NOENT));
                    };
                    way.push(Step { path: join(&at.path, &name), directory });
                }
                EntryKind::Symlink(target) => {
                    let target = without_variables(&target);
                    links += 1;
                    if links > MAX_SYMLINKS {
                        return Ok(Target::Nothing(Errno::LOOP));
                    }
                    if target.first() == Some(&b'/') {
                        way = vec![root()];
                    }
                    for name in components(&target).rev() {
                        names.push_front(name.to_vec());
                    }
                }
                _ if names.is_empty() => return Ok(Target::Other),
                _ => return Ok(Target::Nothing(Errno::NOTDIR)),
            }
        }
        Ok(Target::Directory(way))
    }

    /// Whether `path` leads to anything. Symlinks in a circle do not.
    fn resolves(&self, path: &[u8]) -> Result<bool> {
        Ok(!matches!(self.find(path)?, Target::Nothing(_)))
    }

    /// The path of a name with the symlinks on the way resolved. Afterwards the additions have the directory.
    fn place(&mut self, path: &[u8]) -> Result<Vec<u8>> {
        let (parent, name) = split(path);
        let failed = |cause: Errno| Err(Error::system("change", self.shown(parent), cause));
        let way = match self.find(parent)? {
            Target::Directory(way) => way,
            Target::Other => return failed(Errno::NOTDIR),
            Target::Nothing(cause) => return failed(cause),
        };
        for Step { path, directory } in &way {
            if !self.tree.is_directory(path)? {
                self.tree.make_directory(path, Attributes::of(directory.entry()))?;
            }
        }
        Ok(join(way.last().map_or(b"", |step| &step.path), name))
    }

    /// Attributes of an addition.
    fn attributes(&self, mode: u32) -> Attributes {
        let Attributes { mtime, .. } = Attributes::of(self.root.entry());
        Attributes { mode, mtime, ..Attributes::default() }
    }

    fn put(&mut self, path: &[u8], entry: Entry) -> Result<()> {
        let place = self.place(path)?;
        self.tree.put(&[&place], entry)
    }
}

impl TreeEditor for Editor {
    fn ensure_directory(&mut self, path: &Path) -> Result<()> {
        let path = clean(path);
        let mut at = Vec::new();
        for name in components(&path) {
            at = join(&at, name);
            if self.resolves(&at)? {
                continue;
            }
            // A symlink that leads nowhere is replaced.
            let place = self.place(&at)?;
            let attributes = self.attributes(0o755);
            self.tree.make_directory(&place, attributes)?;
        }
        Ok(())
    }

    fn write_file(&mut self, path: &Path, mode: u32, content: &[u8]) -> Result<()> {
        let file = self.area.objects.store_file(content)?;
        let entry = self.attributes(mode).entry(EntryKind::File(file));
        self.put(&clean(path), entry)
    }

    fn ensure_file(&mut self, path: &Path, mode: u32) -> Result<()> {
        if self.resolves(&clean(path))? { Ok(()) } else { self.write_file(path, mode, b"") }
    }

    fn ensure_symlink(&mut self, path: &Path, target: &str) -> Result<()> {
        let path = clean(path);
        if self.resolves(&path)? {
            return Ok(());
        }
        let target = literal(target.as_bytes()).into_owned();
        let entry = self.attributes(0o777).entry(EntryKind::Symlink(target));
        self.put(&path, entry)
    }

    fn open_root(&mut self) -> Result<()> {
        let mut root = Attributes::of(self.root.entry());
        root.mode |= OPEN_ROOT;
        self.tree.dress(b"", &root)
    }
}
