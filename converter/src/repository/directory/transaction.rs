//! What a publisher can do with a directory.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use layer_layout::RepositoryPath;
use rustix::fs::Mode;

use super::area::{Area, CREATE, ItemKind};
use super::beneath::{Beneath, split};
use super::complete::complete;
use super::editor::Editor;
use super::journal;
use super::layer::Writer;
use super::lower::Lower;
use super::merge::merge;
use super::moves::Places;
use super::names;
use super::plan::{Plan, plan};
use crate::repository::ducc_lock::DuccGuard;
use crate::repository::ledger::{Ledger, Selection, Standing};
use crate::repository::parents::inheritance::inherit;
use crate::repository::{
    Error, Inherited, LayerWriter, Occupant, OpenEnds, Published, Result, Transaction, TreeEditor,
};

/// A change of a directory that nobody sees yet.
#[derive(Debug)]
pub(super) struct Change {
    area: Arc<Area>,
    /// Given up when the repository's own lock has been.
    _beside: Option<DuccGuard>,
}

/// Where something will be found.
enum Place<'a> {
    /// Beneath this.
    In(&'a Beneath),
    /// It is a directory because something is prepared below it.
    Implied,
    Nowhere,
}

impl Change {
    pub(super) fn new(area: Area, beside: Option<DuccGuard>) -> Self {
        Self { area: Arc::new(area), _beside: beside }
    }

    fn trees(&self, paths: &[RepositoryPath]) -> Result<Vec<Arc<Beneath>>> {
        paths.iter().map(|path| self.area.tree(path)).collect()
    }

    /// What is published at a path.
    fn published(&self, path: &RepositoryPath) -> Result<Option<Published>> {
        names::lookup(&self.area.repository, path)
    }

    /// Where to look for what will be at a path.
    fn place(&self, path: &RepositoryPath) -> Place<'_> {
        match self.area.ledger().standing(path) {
            Standing::Prepared(_) | Standing::Within(..) => Place::In(&self.area.staging),
            Standing::Implied => Place::Implied,
            Standing::Removed => Place::Nowhere,
            Standing::Untouched => Place::In(&self.area.repository),
        }
    }

    /// What has to be moved where to publish everything.
    #[cfg(test)]
    pub(super) fn plan(&self) -> Result<Plan> {
        let selection = self.area.ledger().select_all()?;
        plan(&self.area, &selection)
    }

    /// Writes the journal. From now on the moves will be done, by this publisher or the next.
    pub(super) fn seal(&self, plan: &Plan) -> Result<()> {
        let Area { repository, .. } = &*self.area;
        rustix::fs::syncfs(repository).map_err(repository.failed("write back", b""))?;
        plan.open_up(&self.area)?;
        let path = layer_layout::path::publisher_journal();
        journal::write(self.area.publisher(), &plan.moves).map_err(|cause| {
            Error::system("write", repository.shown(path.as_str().as_bytes()), cause)
        })?;
        self.area.seal(true);
        Ok(())
    }

    /// What the moves of the journal begin and end with.
    pub(super) fn places(&self) -> Places<'_> {
        let Area { repository, staging, .. } = &*self.area;
        Places { repository, staging, publisher: self.area.publisher() }
    }

    /// Publishes what is selected. What is moved aside is deleted when others can go on.
    fn publish_selected(
        &self,
        select: impl FnOnce(&Ledger<ItemKind>) -> Result<Selection<ItemKind>>,
    ) -> Result<()> {
        let area = &self.area;
        let asides = {
            let _publishing = area.publishing();
            if area.is_sealed() {
                return Err(Error::Unfinished(area.repository.shown(b"")));
            }
            let selection = select(&area.ledger())?;
            if selection.is_empty() {
                return Ok(());
            }
            self.check_reliance()?;
            let plan = plan(area, &selection)?;
            if !plan.moves.is_empty() {
                if let Err(error) = self.seal(&plan) {
                    plan.close(area)?;
                    return Err(error);
                }
                self.places().work_off(&plan.moves)?;
                let path = layer_layout::path::publisher_journal();
                journal::remove(area.publisher())
                    .map_err(area.repository.failed("remove", path.as_str().as_bytes()))?;
                area.seal(false);
            }
            area.ledger().published(&selection);
            let mut asides: Vec<_> = plan.asides().collect();
            for path in &plan.leftovers {
                asides.extend(area.set_aside(path)?);
            }
            asides
        };
        area.delete(&asides);
        Ok(())
    }

    /// Checks that what others need that are about to be published is there.
    fn check_reliance(&self) -> Result<()> {
        let ledger = self.area.ledger();
        for (path, _) in ledger.relied_on() {
            if self.published(path)?.is_none() {
                return Err(Error::Stale(path.clone()));
            }
        }
        Ok(())
    }

    /// Drops what is prepared at a path and below it, and what `also` notes.
    fn drop_prepared(
        &self,
        path: &RepositoryPath,
        also: impl FnOnce(&mut Ledger<ItemKind>),
    ) -> Result<()> {
        let aside = {
            let _publishing = self.area.publishing();
            let mut ledger = self.area.ledger();
            let gone = ledger.withdraw(path);
            also(&mut ledger);
            if gone.is_empty() { None } else { self.area.set_aside(path)? }
        };
        self.area.delete(aside.as_slice());
        Ok(())
    }
}

impl Transaction for Change {
    fn layer_writer(&self, path: &RepositoryPath) -> Result<Box<dyn LayerWriter>> {
        let (announced, tree) = self.area.new_tree(path)?;
        Ok(Box::new(Writer::new(self.area.clone(), announced, tree)))
    }

    fn complete_layer(
        &self,
        path: &RepositoryPath,
        open_ends: &OpenEnds,
        parents: &[RepositoryPath],
    ) -> Result<Inherited> {
        let layers = self.trees(parents)?;
        let inheritance = inherit(open_ends, parents, &Lower { area: &self.area, trees: &layers })?;
        let tree = Arc::new(self.area.prepared_tree(path)?);
        // If completing it fails, a partly completed layer must not be published.
        let announced = self.area.announce(path);
        complete(&self.area, &tree, &inheritance, &layers)?;
        self.area.complete(&announced, ItemKind::Tree);
        Ok(inheritance.told())
    }

    fn completion(&self, open_ends: &OpenEnds, parents: &[RepositoryPath]) -> Result<Inherited> {
        let layers = self.trees(parents)?;
        Ok(inherit(open_ends, parents, &Lower { area: &self.area, trees: &layers })?.told())
    }

    fn merge(&self, path: &RepositoryPath, layers: &[RepositoryPath]) -> Result<()> {
        let layers = self.trees(layers)?;
        let (announced, target) = self.area.new_tree(path)?;
        merge(&self.area, &target, &layers)?;
        self.area.complete(&announced, ItemKind::Tree);
        Ok(())
    }

    fn share(
        &self,
        path: &RepositoryPath,
        source: Option<&RepositoryPath>,
    ) -> Result<Box<dyn TreeEditor>> {
        let sources: Vec<RepositoryPath> = source.into_iter().cloned().collect();
        self.merge(path, &sources)?;
        let tree = self.area.prepared_tree(path)?;
        Ok(Box::new(Editor::new(self.area.clone(), tree)?))
    }

    fn write_file(&self, path: &RepositoryPath, content: &[u8]) -> Result<()> {
        let _entering = self.area.entering();
        let announced = self.area.announce(path);
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
        self.area.complete(&announced, ItemKind::Small);
        Ok(())
    }

    fn symlink(&self, path: &RepositoryPath, target: &str) -> Result<()> {
        let _entering = self.area.entering();
        let hidden = self.area.ledger().hides(path);
        if !hidden && self.published(path)? == Some(Published::Directory) {
            return Err(Error::occupied(path, Occupant::Directory));
        }
        let announced = self.area.announce(path);
        let bytes = path.as_str().as_bytes();
        rustix::fs::symlinkat(target, self.area.place(path)?, split(bytes).1)
            .map_err(self.area.repository.failed("make the link", bytes))?;
        self.area.complete(&announced, ItemKind::Small);
        Ok(())
    }

    fn read(&self, path: &RepositoryPath) -> Result<Option<Vec<u8>>> {
        let _entering = self.area.entering();
        match self.place(path) {
            Place::In(base) => names::read(base, path),
            Place::Implied => Err(Error::occupied(path, Occupant::NotAFile)),
            Place::Nowhere => Ok(None),
        }
    }

    fn lookup(&self, path: &RepositoryPath) -> Result<Option<Published>> {
        let _entering = self.area.entering();
        match self.place(path) {
            Place::In(base) => names::lookup(base, path),
            Place::Implied => Ok(Some(Published::Directory)),
            Place::Nowhere => Ok(None),
        }
    }

    fn is_prepared(&self, path: &RepositoryPath) -> bool {
        self.area.ledger().prepared(path).is_some()
    }

    fn remove(&self, path: &RepositoryPath) -> Result<()> {
        self.drop_prepared(path, |ledger| ledger.remove(path))
    }

    fn replace(&self, path: &RepositoryPath) -> Result<()> {
        self.area.ledger().replace(path);
        Ok(())
    }

    fn withdraw(&self, path: &RepositoryPath) -> Result<()> {
        self.drop_prepared(path, |_| {})
    }

    fn rely_on(&self, path: &RepositoryPath) -> Result<()> {
        if Transaction::lookup(self, path)?.is_none() {
            return Err(Error::Stale(path.clone()));
        }
        self.area.ledger().rely_on(path);
        Ok(())
    }

    /// The lock keeps others away in any case.
    fn require_unchanged(&self) -> Result<()> {
        Ok(())
    }

    fn shortfalls(&self) -> Vec<String> {
        self.area.tally.lines()
    }

    fn publish(&self, paths: &[RepositoryPath]) -> Result<()> {
        let published = |path: &RepositoryPath| Ok(self.published(path)?.is_some());
        self.publish_selected(|ledger| ledger.select(paths, published))
    }

    fn rebase(&self) -> Result<()> {
        let small = |_: &RepositoryPath, kind: &ItemKind| Ok(*kind == ItemKind::Small);
        let asides: Result<Vec<_>> = {
            let _publishing = self.area.publishing();
            let mut ledger = self.area.ledger();
            ledger.forget_intentions();
            let small = ledger.prepared_where(small)?;
            small.iter().for_each(|path| drop(ledger.withdraw(path)));
            small.iter().filter_map(|path| self.area.set_aside(path).transpose()).collect()
        };
        self.area.delete(&asides?);
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<()> {
        self.area.close_opened()?;
        self.publish_selected(Ledger::select_all)
    }
}
