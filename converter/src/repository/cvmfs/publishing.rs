//! How prepared things become a revision.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use cvmfs_repository::catalog::{CatalogSink, NestedTree};
use cvmfs_repository::entry::{Content, Entry, EntryKind, File};
use cvmfs_repository::publication::Edits;
use cvmfs_repository::snapshot::Snapshot;
use layer_layout::{RepositoryPath, path};

use super::area::{Area, ItemContent, Small, Tree, seconds};
use super::deferred::Deferred;
use super::recipe::{Currency, Recipe};
use super::view::{self, Destination, Walk};
use crate::repository::ledger::{Ledger, Selected, Selection};
use crate::repository::{Error, Occupant, Result};

/// The most trees that are written at a time. Each needs some 20 MiB for the entries of a large directory.
const MAX_WRITERS: usize = 4;

/// Something selected that is not published yet, with what is there now.
struct Due<'a> {
    selected: &'a Selected<ItemContent>,
    there: Option<Entry>,
}

impl Area {
    /// Publishes what is selected, in one revision.
    pub(super) fn publish(
        &self,
        select: impl FnOnce(&Ledger<ItemContent>) -> Result<Selection<ItemContent>>,
    ) -> Result<()> {
        let _publishing = self.publishing();
        let base = self.base.get();
        let selection = select(&self.ledger())?;
        let due = self.due(&base, &selection)?;
        let files = self.store_files(&due);
        let mut edits = Edits::since(&base);
        self.remove(&base, &selection, &mut edits)?;
        self.put(&selection, due, &mut edits)?;
        if edits.is_empty() {
            self.ledger().published(&selection);
            return Ok(());
        }
        self.rely(&base, &mut edits)?;
        files.settle()?;
        let repository = &self.stratum0.repository;
        let manifest = repository.publish(&edits, &self.objects, &self.session)?;
        let newest = repository.published(manifest, &base)?;
        // In this order, so that who looks for something meanwhile finds it prepared or published, or both.
        self.base.advance(newest.clone());
        self.ledger().published(&selection);
        self.newest.advance(newest.clone());
        Ok(self.stratum0.tell_server(newest.manifest())?)
    }

    /// Writes the trees that are prepared at these paths, so that publishing them is over quickly.
    pub(super) fn store(&self, paths: &[RepositoryPath]) -> Result<()> {
        let selection = self.ledger().select(paths, |_| Ok(true))?;
        self.write_trees(&selection.items.iter().collect::<Vec<_>>()).map(drop)
    }

    /// Begins to store the small files that are due.
    fn store_files(&self, due: &[Due<'_>]) -> Deferred {
        let (files, mut known) = (Deferred::default(), HashSet::new());
        for Due { selected, .. } in due {
            if let ItemContent::Small(Small { entry, packed: Some(packed), .. }) = &selected.content
                && let EntryKind::File(File { content: Content::Whole(hash), .. }) = &entry.kind
                && known.insert(*hash)
            {
                files.store(&self.objects, packed);
            }
        }
        files
    }

    /// What is selected and has to be published, after checking that nothing is in the way.
    fn due<'a>(
        &self,
        base: &Snapshot,
        selection: &'a Selection<ItemContent>,
    ) -> Result<Vec<Due<'a>>> {
        let mut currency = Currency::of(base, &self.home);
        let mut due = Vec::new();
        let paths: Vec<_> = selection.items.iter().map(|item| self.home.path(&item.path)).collect();
        for (selected, there) in selection.items.iter().zip(base.lookup_all(&paths)?) {
            let path = &selected.path;
            self.check_above(base, selection, path)?;
            let there = match path.parent() {
                Some(above) if selection.removes(&above) => None,
                _ => there,
            };
            let is_directory = there.as_ref().map(Entry::is_directory);
            match (&selected.content, is_directory) {
                (_, Some(_)) if selected.replaces => {}
                (ItemContent::Tree(_), Some(true)) => continue,
                (ItemContent::Tree(_), Some(false)) => {
                    return Err(Error::occupied(path, Occupant::NotADirectory));
                }
                (ItemContent::Small(_), Some(true)) => {
                    return Err(Error::occupied(path, Occupant::Directory));
                }
                (ItemContent::Small(_), Some(false)) | (_, None) => {}
            }
            if let ItemContent::Tree(tree) = &selected.content
                && let Some(stale) = currency.stale(&tree.recipe)?
            {
                return Err(Error::Stale(stale));
            }
            due.push(Due { selected, there });
        }
        Ok(due)
    }

    /// Checks that only directories are above a path.
    fn check_above(
        &self,
        base: &Snapshot,
        selection: &Selection<ItemContent>,
        path: &RepositoryPath,
    ) -> Result<()> {
        let mut above = path.parent();
        while let Some(directory) = above {
            if selection.removes(&directory) {
                return Ok(());
            }
            match base.lookup(&self.home.path(&directory))? {
                Some(entry) if entry.is_directory() => return Ok(()),
                Some(_) if directory == path.unit() => {
                    return Err(Error::occupied(&directory, Occupant::NotADirectory));
                }
                Some(_) => return Err(self.indirect(path)),
                None => above = directory.parent(),
            }
        }
        Ok(())
    }

    /// Removes what is selected. Directories above that are empty then go, too, unless a catalog begins there.
    fn remove(
        &self,
        base: &Snapshot,
        selection: &Selection<ItemContent>,
        edits: &mut Edits,
    ) -> Result<()> {
        let (removed, paths): (Vec<_>, Vec<_>) =
            selection.outermost_removed().map(|path| (path, self.home.path(path))).unzip();
        for ((path, at), there) in removed.into_iter().zip(&paths).zip(base.lookup_all(&paths)?) {
            if there.is_none() {
                continue;
            }
            edits.remove(at);
            edits.rely_on(at);
            let mut above = path.parent();
            while let Some(directory) = above {
                edits.prune(&self.home.path(&directory));
                above = directory.parent();
            }
        }
        Ok(())
    }

    /// Puts what is due.
    fn put(
        &self,
        selection: &Selection<ItemContent>,
        due: Vec<Due<'_>>,
        edits: &mut Edits,
    ) -> Result<()> {
        let selected: Vec<_> = due.iter().map(|due| due.selected).collect();
        for (selected, tree) in self.write_trees(&selected)? {
            let (path, tree) = (self.home.path(&selected.path), (*tree).clone());
            match selected.replaces {
                true => edits.graft_instead(&path, tree),
                false => edits.graft(&path, tree),
            }
        }
        for Due { selected, there } in due {
            let Selected { path, content, replaces, .. } = selected;
            for root in path::catalog_roots(path) {
                edits.nest(&self.home.path(&root));
            }
            let at = self.home.path(path);
            if *replaces && there.is_some() && !selection.removes(path) {
                edits.rely_on(&at);
            }
            if let ItemContent::Small(Small { entry, .. }) = content {
                match replaces {
                    true => edits.put_instead(&at, entry.clone(), there.as_ref()),
                    false => edits.put(&at, entry.clone(), there.as_ref()),
                }
            }
        }
        Ok(())
    }

    /// Makes edits depend on what is relied on.
    fn rely(&self, base: &Snapshot, edits: &mut Edits) -> Result<()> {
        if self.exact.load(Ordering::Relaxed) {
            edits.require_unchanged();
        }
        for (path, was_published) in self.ledger().relied_on() {
            let at = self.home.path(path);
            // What was published when it was said to be relied on still was when the base was read.
            if !was_published && base.lookup(&at)?.is_none() {
                return Err(Error::Stale(path.clone()));
            }
            edits.rely_on(&at);
        }
        Ok(())
    }

    /// Writes the trees that have not been written, several at a time, and notes that. Gives all, in no particular order.
    fn write_trees<'a>(
        &self,
        selected: &[&'a Selected<ItemContent>],
    ) -> Result<Vec<(&'a Selected<ItemContent>, Arc<NestedTree>)>> {
        let (mut written, mut trees) = (Vec::new(), Vec::new());
        for &selected in selected {
            match &selected.content {
                ItemContent::Tree(Tree { written: Some(tree), .. }) => {
                    written.push((selected, Arc::clone(tree)));
                }
                ItemContent::Tree(Tree { recipe, .. }) => trees.push((selected, recipe)),
                ItemContent::Small(_) => {}
            }
        }
        if trees.is_empty() {
            return Ok(written);
        }
        let threads = self.objects.settings().threads.max(1);
        let sink = CatalogSink::new(Arc::new(self.objects.clone()), &self.scratch, threads)?;
        let walks = together(&trees);
        // One more than threads, since a tree yields catalogs only at the ends of its larger directories.
        let writers = (threads + 1).min(MAX_WRITERS).min(walks.len());
        let (modified, next) = (seconds(SystemTime::now()), AtomicUsize::new(0));
        let work = || -> Result<Vec<_>> {
            let mut written = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(walk) = walks.get(at) else { return Ok(written) };
                let trees = self.walk(walk, &sink, modified);
                if trees.is_err() {
                    // The others are of no use any more.
                    next.store(walks.len(), Ordering::Relaxed);
                }
                written.extend(trees?);
            }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..writers).map(|_| scope.spawn(work)).collect();
            for worker in workers {
                match worker.join() {
                    Ok(trees) => written.extend(trees?),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok(written)
        })
    }

    /// Writes the trees of a walk, and notes that.
    fn walk<'a>(
        &self,
        walk: &Together<'a>,
        sink: &CatalogSink,
        modified: i64,
    ) -> Result<Vec<(&'a Selected<ItemContent>, Arc<NestedTree>)>> {
        let destination = |selected: &Selected<ItemContent>| Destination {
            mount: self.home.path(&selected.path),
            sink: sink.clone(),
            split: self.split,
            modified,
        };
        let Together { tree: (tree, recipe), seen, above } = walk;
        let above_it = above.as_ref().map(|(selected, _, additions)| {
            Ok::<_, Error>((self.open(additions)?, destination(selected)))
        });
        let written = view::write(Walk {
            tree: self.open(recipe)?,
            destination: destination(tree),
            seen: seen.map(|(selected, _)| destination(selected)),
            above: above_it.transpose()?,
        })?;
        let seen = seen.map(|(selected, recipe)| (selected, recipe));
        let above = above.map(|(selected, recipe, _)| (selected, recipe));
        let all = [
            (Some((*tree, *recipe)), Some(written.tree)),
            (seen, written.seen),
            (above, written.above),
        ];
        let noted = all.into_iter().filter_map(|(of, tree)| {
            let ((selected, recipe), tree) = (of?, Arc::new(tree?));
            let noted = Tree { recipe: recipe.clone(), written: Some(Arc::clone(&tree)) };
            self.ledger().amend(selected, ItemContent::Tree(noted));
            Some((selected, tree))
        });
        Ok(noted.collect())
    }
}

/// A tree that is selected, with where it is.
type Planned<'a> = (&'a Selected<ItemContent>, &'a Recipe);

/// Trees that have most of their directories in common.
struct Together<'a> {
    tree: Planned<'a>,
    /// The merged root of this one tree.
    seen: Option<Planned<'a>>,
    /// What is seen when something lies on it, with what lies on it.
    above: Option<(&'a Selected<ItemContent>, &'a Recipe, &'a Recipe)>,
}

/// Puts those together that can be written in one walk.
fn together<'a>(trees: &[Planned<'a>]) -> Vec<Together<'a>> {
    let mut walks: Vec<Together<'a>> = Vec::new();
    let (mut roots, mut shared) = (Vec::new(), Vec::new());
    for &(selected, recipe) in trees {
        match recipe.layers() {
            Some([_]) => roots.push((selected, recipe)),
            Some([_, Recipe::Merged(_)]) => shared.push((selected, recipe)),
            _ => walks.push(Together { tree: (selected, recipe), seen: None, above: None }),
        }
    }
    for (selected, recipe) in roots {
        let is_of = |walk: &&mut Together<'_>| {
            walk.seen.is_none() && matches!(recipe.layers(), Some([layer]) if layer.is(walk.tree.1))
        };
        match walks.iter_mut().find(is_of) {
            Some(walk) => walk.seen = Some((selected, recipe)),
            None => walks.push(Together { tree: (selected, recipe), seen: None, above: None }),
        }
    }
    for (selected, recipe) in shared {
        let Some([additions, source]) = recipe.layers() else { continue };
        let is_of = |walk: &&mut Together<'_>| {
            let (_, root) = walk.seen.unwrap_or(walk.tree);
            walk.above.is_none() && matches!(source.layers(), Some([of]) if of.is(root))
        };
        match walks.iter_mut().find(is_of) {
            Some(walk) => walk.above = Some((selected, recipe, additions)),
            None => walks.push(Together { tree: (selected, recipe), seen: None, above: None }),
        }
    }
    walks
}

#[cfg(test)]
mod tests {
    use super::super::staged::{Attributes, Staged};
    use super::*;

    /// The walks for some trees, each walk with the paths of what it writes.
    fn walks(trees: &[(&str, &Recipe)]) -> Vec<String> {
        let mut ledger = Ledger::default();
        for (path, recipe) in trees {
            let announced = ledger.announce(&RepositoryPath::parse(path).unwrap());
            let tree = Tree { recipe: (*recipe).clone(), written: None };
            ledger.complete(&announced, ItemContent::Tree(tree));
        }
        let selection = ledger.select_all().unwrap();
        let planned: Vec<_> = selection
            .items
            .iter()
            .map(|selected| match &selected.content {
                ItemContent::Tree(tree) => (selected, &tree.recipe),
                ItemContent::Small(_) => panic!("{} is a tree", selected.path),
            })
            .collect();
        let mut walks: Vec<_> = together(&planned)
            .iter()
            .map(|Together { tree, seen, above }| {
                let seen = seen.map(|(selected, _)| selected);
                let above = above.map(|(selected, ..)| selected);
                let all = [Some(tree.0), seen, above].into_iter().flatten();
                all.map(|selected| selected.path.as_str()).collect::<Vec<_>>().join(" ")
            })
            .collect();
        walks.sort();
        walks
    }

    #[test]
    fn what_is_mostly_the_same_is_read_once() {
        let place = tempfile::tempdir().unwrap();
        let staged = |name: &str| {
            let tree = Staged::create(&place.path().join(name), &Attributes::implied());
            Recipe::Staged(Arc::new(tree.unwrap()))
        };
        let merged = |layers: &[&Recipe]| {
            Recipe::Merged(layers.iter().map(|&layer| layer.clone()).collect())
        };
        let (one, two, additions) = (&staged("1"), &staged("2"), &staged("additions"));
        let root = &merged(&[one]);
        let flat = &merged(&[additions, &merged(&[root])]);
        assert_eq!(walks(&[("l", one), ("r", root), ("f", flat)]), ["l r f"]);
        assert_eq!(walks(&[("r", root), ("f", flat)]), ["r f"]);
        assert_eq!(walks(&[("l", one), ("f", flat)]), ["f", "l"], "the root may be published");
        assert_eq!(walks(&[("r", root), ("m", two)]), ["m", "r"]);
        let tall = &merged(&[two, one]);
        let flat = &merged(&[additions, &merged(&[tall])]);
        let all = [("l", one), ("m", two), ("r", tall), ("f", flat)];
        assert_eq!(walks(&all), ["l", "m", "r f"]);
        // Another image with the same layers.
        let second = &merged(&[additions, &merged(&[tall])]);
        assert_eq!(walks(&[("r", tall), ("f", flat), ("g", second)]), ["g", "r f"]);
    }
}
