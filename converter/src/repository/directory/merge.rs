//! Making one tree of several layers, without copying content.
//!
//! The overlay rule ([`crate::tree`]) decides what is seen where; here its results become directories and hard
//! links. Only one directory of the result is open at a time, together with those of the same path in the
//! layers. So the memory needed is that for one chain of directories and the names beside it, whatever the size
//! of the tree.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::area::{Area, refused};
use super::attributes::{self, Holder};
use super::beneath::{Beneath, join};
use super::copy::Linker;
use super::listing::Lister;
use super::lower::Lower;
use crate::repository::Result;
use crate::repository::layer_rules::implied;
use crate::repository::parents::lookup::root_sources;
use crate::tree::{Merged, seen, stack};

/// Fills the empty tree `target` with what is seen of `layers`, topmost first.
pub(super) fn merge(area: &Area, target: &Beneath, layers: &[Arc<Beneath>]) -> Result<()> {
    let mut merge = Merge {
        area,
        target,
        layers,
        lister: Lister::new(),
        linker: Linker::new(target, area.fresh),
        work: vec![(Vec::new(), root_sources(&Lower { area, trees: layers })?)],
        restrictive: Vec::new(),
    };
    while let Some((path, sources)) = merge.work.pop() {
        merge.directory(&path, &sources)?;
    }
    merge.finish()
}

struct Merge<'a> {
    area: &'a Area,
    target: &'a Beneath,
    layers: &'a [Arc<Beneath>],
    lister: Lister,
    linker: Linker<'a>,
    /// Directories that have yet to be made, with the layers that contribute, topmost first.
    work: Vec<(Vec<u8>, Vec<usize>)>,
    /// Directories with their modes, which would keep an ordinary user from filling the directories below.
    restrictive: Vec<(Vec<u8>, u32)>,
}

impl Merge<'_> {
    fn directory(&mut self, path: &[u8], sources: &[usize]) -> Result<()> {
        let mut open = Vec::with_capacity(sources.len());
        for &layer in sources {
            let tree = &self.layers[layer];
            let directory = self.area.directory(tree, path).map_err(tree.failed("open", path))?;
            open.push((layer, directory));
        }
        let mut listings = Vec::with_capacity(open.len());
        for (at, (layer, directory)) in open.iter().enumerate() {
            let tree = &self.layers[*layer];
            let covers = (at + 1 < open.len()).then_some((self.area, tree, path));
            let listing = self.lister.listing(directory, covers, at);
            listings.push(listing.map_err(tree.failed("read", path))?);
        }
        let target = self.target.directory(path).map_err(self.target.failed("open", path))?;
        let mut has_directories = false;
        for (name, merged) in seen(stack(listings)) {
            match merged {
                Merged::Whiteout => {}
                Merged::Leaf(at) => {
                    let from = (open[at].1.as_fd(), name.as_slice());
                    self.linker
                        .link(from, (target.as_fd(), &name), path)
                        .map_err(|refusal| refused(self.target, &join(path, &name))(refusal))?;
                }
                Merged::Directory { sources, .. } => {
                    has_directories = true;
                    rustix::fs::mkdirat(&target, name.as_slice(), Mode::RWXU)
                        .map_err(self.target.failed("make", &join(path, &name)))?;
                    let layers = sources.into_iter().map(|at| open[at].0).collect();
                    self.work.push((join(path, &name), layers));
                }
            }
        }
        match open.first() {
            Some(top) => self.dress(path, &target, top, has_directories),
            None => self.dress_empty(&target),
        }
    }

    /// Gives a directory that has all its names the attributes of its topmost source.
    fn dress(
        &mut self,
        path: &[u8],
        target: &OwnedFd,
        (layer, source): &(usize, OwnedFd),
        has_directories: bool,
    ) -> Result<()> {
        let tree = &self.layers[*layer];
        let read = || -> Result<_, Errno> {
            let stat = rustix::fs::fstat(source)?;
            attributes::read(Holder::Open(source.as_fd()), &stat)
        };
        let mut metadata = read().map_err(tree.failed("read the attributes of", path))?;
        if !self.area.fresh.is_privileged() {
            metadata.mode = self.area.original_mode(tree, path, metadata.mode);
            if has_directories && metadata.mode & 0o700 != 0o700 {
                self.restrictive.push((path.to_vec(), metadata.mode));
                metadata.mode |= 0o700;
            }
        }
        self.area
            .fresh
            .redress(Holder::Open(target.as_fd()), &metadata, &mut self.linker.missing)
            .map_err(refused(self.target, path))
    }

    /// The root of an image without layers.
    fn dress_empty(&mut self, target: &OwnedFd) -> Result<()> {
        self.area
            .fresh
            .redress(Holder::Open(target.as_fd()), &implied(), &mut self.linker.missing)
            .map_err(refused(self.target, b""))
    }

    fn finish(mut self) -> Result<()> {
        for (path, mode) in self.restrictive.drain(..).rev() {
            let directory =
                self.target.directory(&path).map_err(self.target.failed("open", &path))?;
            rustix::fs::fchmod(directory, Mode::from_raw_mode(mode))
                .map_err(self.target.failed("set the mode of", &path))?;
        }
        self.area.tally.add(self.linker.missing);
        Ok(())
    }
}
