//! What a publisher can do with a directory.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;

use layer_layout::RepositoryPath;
use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::area::{Area, CREATE, Item, ItemKind};
use super::attributes::mode_of;
use super::beneath::{Beneath, indirect, split};
use super::complete::complete;
use super::editor::Editor;
use super::journal::{self, Move};
use super::layer::Writer;
use super::lock;
use super::lower::Lower;
use super::merge::merge;
use super::remove::remove;
use crate::repository::parents::inheritance::inherit;
use crate::repository::{
    Completion, Error, LayerWriter, Occupant, OpenEnds, Result, Transaction, TreeEditor,
};

/// A change of a directory that nobody sees yet.
#[derive(Debug)]
pub(super) struct Change {
    area: Arc<Area>,
}

impl Change {
    pub(super) fn new(area: Area) -> Self {
        Self { area: Arc::new(area) }
    }

    fn trees(&self, paths: &[RepositoryPath]) -> Result<Vec<Arc<Beneath>>> {
        paths.iter().map(|path| self.area.tree(path)).collect()
    }

    /// What has to be moved where, after checking that nothing is in the way.
    pub(super) fn moves(&self) -> Result<Vec<Move>> {
        let Area { repository, staging, .. } = &*self.area;
        let mut moves = Vec::new();
        let mut units = HashSet::new();
        for Item { path, kind, .. } in self.area.complete_items() {
            let unit = path.unit();
            if units.contains(&unit) {
                continue;
            }
            let whole = match self.published(&unit)? {
                None => {
                    units.insert(unit.clone());
                    true
                }
                Some(FileType::Directory) => false,
                Some(_) if unit != path => {
                    return Err(Error::occupied(&unit, Occupant::NotADirectory));
                }
                Some(_) => false,
            };
            let target = if whole { unit } else { path };
            match (whole, kind, self.published(&target)?) {
                (true, ..) | (_, _, None) => {}
                // Its path contains a digest, so what is there is equivalent.
                (_, ItemKind::Tree, Some(FileType::Directory)) => continue,
                (_, ItemKind::Tree, Some(_)) => {
                    return Err(Error::occupied(&target, Occupant::NotADirectory));
                }
                (_, ItemKind::Small, Some(FileType::Directory)) => {
                    return Err(Error::occupied(&target, Occupant::Directory));
                }
                (_, ItemKind::Small, Some(_)) => {}
            }
            self.check_file_system(&target)?;
            let bytes = target.as_str().as_bytes();
            let stat = staging.stat(bytes).map_err(staging.failed("look at", bytes))?;
            let closed = FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                && stat.st_mode & 0o200 == 0;
            if closed {
                self.chmod(&target, mode_of(&stat) | 0o200)?;
            }
            moves.push(Move {
                path: target.as_str().to_owned(),
                mode: closed.then(|| mode_of(&stat)),
            });
        }
        rustix::fs::syncfs(repository).map_err(repository.failed("write back", b""))?;
        Ok(moves)
    }

    /// What is published at a path.
    fn published(&self, path: &RepositoryPath) -> Result<Option<FileType>> {
        let repository = &self.area.repository;
        match repository.stat(path.as_str().as_bytes()) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(indirect(repository, path, "look at")(error)),
        }
    }

    /// Checks that a rename from the staging area can reach `path`.
    fn check_file_system(&self, path: &RepositoryPath) -> Result<()> {
        let Area { repository, staging, .. } = &*self.area;
        let here = rustix::fs::fstat(staging).map_err(staging.failed("look at", b""))?.st_dev;
        let mut at = path.parent();
        while let Some(directory) = at {
            match repository.stat(directory.as_str().as_bytes()) {
                Ok(stat) if stat.st_dev == here => return Ok(()),
                Ok(_) => return Err(Error::OtherFileSystem { path: directory }),
                Err(Errno::NOENT) => at = directory.parent(),
                Err(error) => return Err(indirect(repository, path, "look at")(error)),
            }
        }
        Ok(())
    }

    fn chmod(&self, path: &RepositoryPath, mode: u32) -> Result<()> {
        let staging = &self.area.staging;
        let (parent, name) = split(path.as_str().as_bytes());
        staging
            .handle(parent)
            .and_then(|parent| {
                rustix::fs::chmodat(parent, name, Mode::from_raw_mode(mode), AtFlags::empty())
            })
            .map_err(staging.failed("set the mode of", path.as_str().as_bytes()))
    }

    /// Writes the journal. From now on the moves will be done, by this publisher or the next.
    pub(super) fn seal(&self, moves: &[Move]) -> Result<()> {
        let path = layer_layout::path::publisher_journal();
        journal::write(self.area.publisher(), moves).map_err(|cause| {
            Error::system("write", self.area.repository.shown(path.as_str().as_bytes()), cause)
        })?;
        self.area.seal();
        Ok(())
    }

    /// Does the moves in the journal.
    pub(super) fn perform(&self, moves: &[Move]) -> Result<()> {
        journal::work_off(&self.area.repository, &self.area.staging, moves)
    }
}

impl Transaction for Change {
    fn layer_writer(&self, path: &RepositoryPath) -> Result<Box<dyn LayerWriter>> {
        let tree = self.area.new_tree(path)?;
        Ok(Box::new(Writer::new(self.area.clone(), path.clone(), tree)))
    }

    fn complete_layer(
        &self,
        path: &RepositoryPath,
        open_ends: &OpenEnds,
        parents: &[RepositoryPath],
    ) -> Result<Completion> {
        let layers = self.trees(parents)?;
        let inheritance = inherit(open_ends, parents, &Lower { area: &self.area, trees: &layers })?;
        let tree = Arc::new(self.area.prepared_tree(path)?);
        complete(&self.area, &tree, &inheritance, &layers)?;
        Ok(inheritance.completion())
    }

    fn completion(&self, open_ends: &OpenEnds, parents: &[RepositoryPath]) -> Result<Completion> {
        let layers = self.trees(parents)?;
        Ok(inherit(open_ends, parents, &Lower { area: &self.area, trees: &layers })?.completion())
    }

    fn merge(&self, path: &RepositoryPath, layers: &[RepositoryPath]) -> Result<()> {
        let layers = self.trees(layers)?;
        let target = self.area.new_tree(path)?;
        merge(&self.area, &target, &layers)?;
        self.area.complete(path);
        Ok(())
    }

    fn share(&self, path: &RepositoryPath, source: &RepositoryPath) -> Result<Box<dyn TreeEditor>> {
        self.merge(path, std::slice::from_ref(source))?;
        let bytes = path.as_str().as_bytes();
        let tree = self.area.staging.beneath(bytes);
        let tree = tree.map_err(self.area.staging.failed("open", bytes))?;
        Ok(Box::new(Editor::new(self.area.clone(), tree)?))
    }

    fn write_file(&self, path: &RepositoryPath, content: &[u8]) -> Result<()> {
        self.area.announce(path, ItemKind::Small);
        let directory = self.area.place(path)?;
        let name = split(path.as_str().as_bytes()).1;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        let written = rustix::fs::openat(directory, name, CREATE, mode)
            .and_then(|fd| rustix::fs::fchmod(&fd, mode).map(|()| fd))
            .map_err(std::io::Error::from)
            .and_then(|fd| File::from(fd).write_all(content));
        written.map_err(|cause| {
            let shown = self.area.repository.shown(path.as_str().as_bytes());
            Error::system("write", shown, cause)
        })?;
        self.area.complete(path);
        Ok(())
    }

    fn symlink(&self, path: &RepositoryPath, target: &str) -> Result<()> {
        self.area.announce(path, ItemKind::Small);
        if self.published(path)? == Some(FileType::Directory) {
            return Err(Error::occupied(path, Occupant::Directory));
        }
        let bytes = path.as_str().as_bytes();
        rustix::fs::symlinkat(target, self.area.place(path)?, split(bytes).1)
            .map_err(self.area.repository.failed("make the link", bytes))?;
        self.area.complete(path);
        Ok(())
    }

    fn shortfalls(&self) -> Vec<String> {
        self.area.tally.lines()
    }

    fn commit(self: Box<Self>) -> Result<()> {
        let area = &self.area;
        area.close_opened()?;
        let moves = self.moves()?;
        if moves.is_empty() {
            return Ok(());
        }
        self.seal(&moves)?;
        self.perform(&moves)?;
        // The staging area first: a publisher that is killed in between leaves a journal whose moves are all
        // done.
        let staging = layer_layout::path::publisher_staging();
        remove(area.publisher().as_fd(), lock::name(&staging))
            .and_then(|()| journal::remove(area.publisher()))
            .map_err(area.repository.failed("remove", staging.as_str().as_bytes()))
    }
}
