//! What has to be moved where to publish something, after checking that nothing is in the way.
//!
//! Names are removed first, then what is prepared appears in the order in which it was first named, and trees that nothing
//! refers to any more go last. So at every moment everything that a name leads to is there.

use std::collections::HashSet;

use layer_layout::RepositoryPath;
use rustix::fs::{FileType, Mode, Stat};

use super::area::{Area, ItemKind};
use super::attributes::mode_of;
use super::beneath::{indirect, set_directory_mode, split};
use super::journal::Move;
use super::moves::look;
use crate::repository::ledger::{Selected, Selection};
use crate::repository::{Error, Occupant, Result};

/// What is to be done to publish a selection.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) moves: Vec<Move>,
    /// What is prepared and stays unpublished, because it is published already.
    pub(super) leftovers: Vec<RepositoryPath>,
}

impl Plan {
    /// The places of what is moved aside.
    pub(super) fn asides(&self) -> impl Iterator<Item = u64> {
        self.moves.iter().filter_map(|step| step.aside)
    }

    /// Lets the owner of prepared directories write, which moving them needs.
    pub(super) fn open_up(&self, area: &Area) -> Result<()> {
        self.set_modes(area, |mode| mode | 0o200)
    }

    /// Undoes [`Self::open_up`] if nothing was moved.
    pub(super) fn close(&self, area: &Area) -> Result<()> {
        self.set_modes(area, |mode| mode)
    }

    fn set_modes(&self, area: &Area, mode: impl Fn(u32) -> u32) -> Result<()> {
        for step in &self.moves {
            let Some(own) = step.mode else { continue };
            let path = step.path.as_bytes();
            let (parent, name) = split(path);
            let mode = Mode::from_raw_mode(mode(own));
            area.staging
                .handle(parent)
                .and_then(|parent| set_directory_mode(parent, name, mode))
                .map_err(area.staging.failed("set the mode of", path))?;
        }
        Ok(())
    }
}

/// Works out what has to be done.
pub(super) fn plan(area: &Area, selection: &Selection<ItemKind>) -> Result<Plan> {
    let mut planner = Planner {
        area,
        selection,
        plan: Plan::default(),
        whole: HashSet::new(),
        gone: HashSet::new(),
        last: Vec::new(),
    };
    for path in selection.outermost_removed() {
        planner.remove(path)?;
    }
    for item in &selection.items {
        planner.add(item)?;
    }
    let Planner { mut plan, last, .. } = planner;
    plan.moves.extend(last);
    Ok(plan)
}

struct Planner<'a> {
    area: &'a Area,
    selection: &'a Selection<ItemKind>,
    plan: Plan,
    /// Directories that move with all that is prepared in them.
    whole: HashSet<RepositoryPath>,
    /// What is moved aside before anything appears.
    gone: HashSet<RepositoryPath>,
    /// What comes after everything else.
    last: Vec<Move>,
}

fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

impl Planner<'_> {
    fn remove(&mut self, path: &RepositoryPath) -> Result<()> {
        let Some(stat) = self.look(path)? else { return Ok(()) };
        self.check_file_system(path, Some(&stat))?;
        if !self.selection.adds_below(path) {
            let disappearing = Move::disappearing(path, self.area.aside());
            match file_type(&stat) {
                FileType::Directory => self.last.push(disappearing),
                _ => self.plan.moves.push(disappearing),
            }
        } else if self.area.ledger().is_whole(path, self.selection) {
            self.replace(path)?;
            self.whole.insert(path.clone());
        } else {
            self.plan.moves.push(Move::disappearing(path, self.area.aside()));
            self.gone.insert(path.clone());
        }
        Ok(())
    }

    fn add(&mut self, item: &Selected<ItemKind>) -> Result<()> {
        let Selected { path, content: kind, replaces, .. } = item;
        if is_in(&self.whole, path) {
            return Ok(());
        }
        let unit = path.unit();
        if unit != *path {
            match self.published(&unit)?.as_ref().map(file_type) {
                Some(FileType::Directory) => {}
                Some(_) => return Err(Error::occupied(&unit, Occupant::NotADirectory)),
                None if self.area.ledger().is_whole(&unit, self.selection) => {
                    self.check_file_system(&unit, None)?;
                    self.appear(&unit)?;
                    self.whole.insert(unit);
                    return Ok(());
                }
                None => {}
            }
        }
        let published = self.published(path)?;
        if let (true, Some(stat)) = (*replaces, &published) {
            self.check_file_system(path, Some(stat))?;
            return match (kind, file_type(stat)) {
                (ItemKind::Small, there) if there != FileType::Directory => self.appear(path),
                _ => self.replace(path),
            };
        }
        match (kind, published.as_ref().map(file_type)) {
            // Its path contains a digest, so what is there is equivalent.
            (ItemKind::Tree, Some(FileType::Directory)) => {
                self.plan.leftovers.push(path.clone());
                return Ok(());
            }
            (ItemKind::Tree, Some(_)) => {
                return Err(Error::occupied(path, Occupant::NotADirectory));
            }
            (ItemKind::Small, Some(FileType::Directory)) => {
                return Err(Error::occupied(path, Occupant::Directory));
            }
            (ItemKind::Small, Some(_)) | (_, None) => {}
        }
        self.check_file_system(path, None)?;
        self.appear(path)
    }

    fn appear(&mut self, path: &RepositoryPath) -> Result<()> {
        let mode = self.closed_mode(&self.staged(path)?);
        self.plan.moves.push(Move::appearing(path, mode));
        Ok(())
    }

    fn replace(&mut self, path: &RepositoryPath) -> Result<()> {
        let staged = self.staged(path)?;
        let mode = self.closed_mode(&staged);
        let aside = self.area.aside();
        self.plan.moves.push(Move::replacing(path, mode, aside, staged.st_ino));
        Ok(())
    }

    /// The mode of a directory whose owner must be allowed to write while it is moved.
    fn closed_mode(&self, staged: &Stat) -> Option<u32> {
        let closed = file_type(staged) == FileType::Directory && staged.st_mode & 0o200 == 0;
        closed.then(|| mode_of(staged))
    }

    fn staged(&self, path: &RepositoryPath) -> Result<Stat> {
        let bytes = path.as_str().as_bytes();
        let staging = &self.area.staging;
        staging.stat(bytes).map_err(staging.failed("look at", bytes))
    }

    /// What is published at a path when what has to go first is gone.
    fn published(&self, path: &RepositoryPath) -> Result<Option<Stat>> {
        if is_in(&self.gone, path) { Ok(None) } else { self.look(path) }
    }

    fn look(&self, path: &RepositoryPath) -> Result<Option<Stat>> {
        let repository = &self.area.repository;
        look(repository, path.as_str().as_bytes()).map_err(indirect(repository, path, "look at"))
    }

    /// Checks that a rename can lead from the staging area to `path`, and back if something is there.
    fn check_file_system(&self, path: &RepositoryPath, there: Option<&Stat>) -> Result<()> {
        let staging = &self.area.staging;
        let here = rustix::fs::fstat(staging).map_err(staging.failed("look at", b""))?.st_dev;
        if there.is_some_and(|stat| stat.st_dev != here) {
            return Err(Error::OtherFileSystem { path: path.clone() });
        }
        let mut at = path.parent();
        while let Some(directory) = at {
            match self.look(&directory)? {
                Some(stat) if stat.st_dev == here => return Ok(()),
                Some(_) => return Err(Error::OtherFileSystem { path: directory }),
                None => at = directory.parent(),
            }
        }
        Ok(())
    }
}

/// Whether a path or one above it is among these.
fn is_in(paths: &HashSet<RepositoryPath>, path: &RepositoryPath) -> bool {
    !paths.is_empty()
        && std::iter::successors(Some(path.clone()), RepositoryPath::parent)
            .any(|above| paths.contains(&above))
}
