//! What a publisher can do with a CernVM-FS repository.

use std::sync::Arc;
use std::time::SystemTime;

use cvmfs_repository::entry::{Entry, EntryKind, Time};
use cvmfs_repository::publication::Edits;
use layer_layout::{RepositoryPath, path};

use super::area::{Area, ItemContent, Recipe, seconds};
use super::editor::Editor;
use super::staged;
use super::tree_path::tree_path;
use super::writer::Writer;
use crate::repository::{
    Completion, Error, LayerWriter, Occupant, OpenEnds, Result, Transaction, TreeEditor,
};

/// Mode of files that are published next to trees.
const FILE_MODE: u32 = 0o644;
/// Mode of symlinks.
const SYMLINK_MODE: u32 = 0o777;

/// A change of a repository that nobody sees yet.
pub(super) struct Change {
    area: Arc<Area>,
}

/// An entry that the publisher itself adds, with the current time.
fn own(kind: EntryKind, mode: u32) -> Entry {
    let now = Time { seconds: seconds(SystemTime::now()), nanoseconds: None };
    Entry { kind, ..Entry::directory(mode, now) }
}

impl Change {
    pub(super) fn new(area: Area) -> Self {
        Self { area: Arc::new(area) }
    }
}

impl Transaction for Change {
    fn layer_writer(&self, path: &RepositoryPath) -> Result<Box<dyn LayerWriter>> {
        self.area.announce(path, None);
        Ok(Box::new(Writer::new(Arc::clone(&self.area), path.clone())?))
    }

    fn complete_layer(
        &self,
        path: &RepositoryPath,
        open_ends: &OpenEnds,
        parents: &[RepositoryPath],
    ) -> Result<Completion> {
        let (inheritance, lower) = self.area.inherit(open_ends, parents)?;
        let Recipe::Staged(layer) = self.area.prepared(path)? else {
            return Err(Error::NoTree(path.clone()));
        };
        // If completing it fails, a partly completed layer must not be published.
        self.area.announce(path, None);
        self.area.tally.add(staged::complete(&layer, &inheritance, &lower)?);
        self.area.complete(path, Recipe::Staged(layer));
        Ok(inheritance.completion())
    }

    fn completion(&self, open_ends: &OpenEnds, parents: &[RepositoryPath]) -> Result<Completion> {
        Ok(self.area.inherit(open_ends, parents)?.0.completion())
    }

    fn merge(&self, path: &RepositoryPath, layers: &[RepositoryPath]) -> Result<()> {
        let merged = Recipe::Merged(self.area.trees(layers)?);
        self.area.complete(path, merged);
        Ok(())
    }

    fn share(&self, path: &RepositoryPath, source: &RepositoryPath) -> Result<Box<dyn TreeEditor>> {
        let source = Recipe::Merged(Arc::new([self.area.tree(source)?]));
        let area = Arc::clone(&self.area);
        let editor = Editor::new(area, path.clone(), self.area.open(&source)?)?;
        let added = Recipe::Staged(Arc::clone(editor.added()));
        self.area.complete(path, Recipe::Merged(Arc::new([added, source])));
        Ok(Box::new(editor))
    }

    fn write_file(&self, path: &RepositoryPath, content: &[u8]) -> Result<()> {
        let file = EntryKind::File(self.area.objects.store_file(content)?);
        self.area.announce(path, Some(ItemContent::Small(own(file, FILE_MODE))));
        Ok(())
    }

    fn symlink(&self, path: &RepositoryPath, target: &str) -> Result<()> {
        if self.area.published(path)?.is_some_and(|entry| entry.is_directory()) {
            return Err(Error::occupied(path, Occupant::Directory));
        }
        let link = EntryKind::Symlink(target.into());
        self.area.announce(path, Some(ItemContent::Small(own(link, SYMLINK_MODE))));
        Ok(())
    }

    fn shortfalls(&self) -> Vec<String> {
        self.area.tally.lines()
    }

    fn commit(self: Box<Self>) -> Result<()> {
        let area = &self.area;
        let due = area.due()?;
        if due.is_empty() {
            return Ok(());
        }
        let mut edits = Edits::default();
        for (path, tree) in area.write_trees(&due)? {
            edits.graft(&tree_path(&path), tree);
        }
        for (path, content) in due {
            for root in path::catalog_roots(&path) {
                edits.nest(&tree_path(&root));
            }
            if let ItemContent::Small(entry) = content {
                edits.put(&tree_path(&path), entry, area.published(&path)?.as_ref());
            }
        }
        let manifest = area.stratum0.repository.publish(&edits, &area.objects, &area.session)?;
        Ok(area.stratum0.tell_server(&manifest)?)
    }
}
