//! What a transaction has prepared, is going to remove, and relies on: path by path, whatever the target.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use layer_layout::RepositoryPath;

use super::{Error, Result};

/// The paths of one transaction. `C` is what a target notes on something prepared.
#[derive(Debug)]
pub(super) struct Ledger<C> {
    items: BTreeMap<RepositoryPath, Item<C>>,
    /// What is published at these paths goes away.
    removed: Paths,
    /// Prepared trees at these paths take the place of the published ones.
    replaced: Paths,
    /// Whether they were published when that was said, and not only in preparation.
    relied_on: BTreeMap<RepositoryPath, bool>,
    /// How many announcements there have been.
    next: u64,
}

#[derive(Debug)]
struct Item<C> {
    /// Paths appear in this order: that in which they were first named.
    order: u64,
    /// Distinguishes it from what is prepared at the same path later.
    version: u64,
    /// `None` until it is complete. What is incomplete is never published.
    content: Option<C>,
}

/// That something is being prepared at a path. It shows whether it still is when it is complete, or was withdrawn or begun
/// again meanwhile.
#[derive(Debug, Clone)]
pub(super) struct Announcement {
    path: RepositoryPath,
    version: u64,
}

/// What a transaction does about a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing<'a, C> {
    /// This is prepared exactly there.
    Prepared(&'a C),
    /// It lies in this, which is prepared at the path above it.
    Within(&'a RepositoryPath, &'a C),
    /// It is a directory because something is prepared below it.
    Implied,
    /// What is published there will be gone.
    Removed,
    /// Nothing: what is published there stays as it is.
    Untouched,
}

/// What is to be published together.
#[derive(Debug)]
pub(super) struct Selection<C> {
    /// What is prepared, in the order of appearance.
    pub(super) items: Vec<Selected<C>>,
    /// What is removed without anything else being put exactly there, sorted.
    pub(super) removed: Vec<RepositoryPath>,
    /// The paths of the items.
    names: Paths,
}

/// Something prepared that is to be published.
#[derive(Debug)]
pub(super) struct Selected<C> {
    pub(super) path: RepositoryPath,
    pub(super) content: C,
    /// Whether it takes the place of what is published exactly there, whatever that is.
    pub(super) replaces: bool,
    order: u64,
    version: u64,
}

impl<C> Default for Ledger<C> {
    fn default() -> Self {
        Self {
            items: BTreeMap::new(),
            removed: Paths::new(),
            replaced: Paths::new(),
            relied_on: BTreeMap::new(),
            next: 0,
        }
    }
}

/// A path and those above it, from the inside out.
fn upwards(path: &RepositoryPath) -> impl Iterator<Item = RepositoryPath> {
    std::iter::successors(Some(path.clone()), RepositoryPath::parent)
}

/// Those of the paths that are at `path` or below it.
fn at_and_below<'a, T>(
    map: &'a BTreeMap<RepositoryPath, T>,
    path: &RepositoryPath,
) -> impl Iterator<Item = &'a RepositoryPath> {
    // In the order of texts, other names can stand between a directory and what is in it.
    let prefix = format!("{path}/");
    let start = map.get_key_value(path).into_iter();
    let below = map.range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded));
    let below = below.take_while(move |(found, _)| found.as_str().starts_with(&prefix));
    start.chain(below).map(|(path, _)| path)
}

/// A set of paths.
type Paths = BTreeMap<RepositoryPath, ()>;

/// Forgets paths at `path` and below it.
fn forget<T>(paths: &mut BTreeMap<RepositoryPath, T>, path: &RepositoryPath) {
    for gone in at_and_below(paths, path).cloned().collect::<Vec<_>>() {
        paths.remove(&gone);
    }
}

impl<C> Ledger<C> {
    /// Announces that something will be prepared at a path, in place of anything prepared there before, whose place in
    /// the order it takes.
    pub(super) fn announce(&mut self, path: &RepositoryPath) -> Announcement {
        self.next += 1;
        let version = self.next;
        let order = self.items.get(path).map_or(version, |item| item.order);
        self.items.insert(path.clone(), Item { order, version, content: None });
        Announcement { path: path.clone(), version }
    }

    /// Reports that what was announced is complete.
    pub(super) fn complete(&mut self, announced: &Announcement, content: C) {
        if let Some(item) = self.items.get_mut(&announced.path)
            && item.version == announced.version
        {
            item.content = Some(content);
        }
    }

    /// Forgets what is prepared at a path and below it; gives the paths.
    pub(super) fn withdraw(&mut self, path: &RepositoryPath) -> Vec<RepositoryPath> {
        let gone: Vec<_> = at_and_below(&self.items, path).cloned().collect();
        for path in &gone {
            self.items.remove(path);
        }
        forget(&mut self.replaced, path);
        gone
    }

    /// Notes that what is published at a path goes away.
    pub(super) fn remove(&mut self, path: &RepositoryPath) {
        self.removed.insert(path.clone(), ());
        forget(&mut self.relied_on, path);
    }

    /// Notes that what is prepared at a path takes the place of what is published there.
    pub(super) fn replace(&mut self, path: &RepositoryPath) {
        self.replaced.insert(path.clone(), ());
    }

    /// Notes that something relies on what is published or in preparation at a path.
    pub(super) fn rely_on(&mut self, path: &RepositoryPath) {
        let published = matches!(self.standing(path), Standing::Removed | Standing::Untouched);
        self.relied_on.insert(path.clone(), published);
    }

    /// What is relied on and has to be published already, because it is not in preparation here; and whether it was
    /// published when that was said.
    pub(super) fn relied_on(&self) -> impl Iterator<Item = (&RepositoryPath, bool)> {
        let pending = |path: &RepositoryPath| {
            self.items.contains_key(path)
                || !matches!(self.standing(path), Standing::Removed | Standing::Untouched)
        };
        let relied_on = self.relied_on.iter().map(|(path, published)| (path, *published));
        relied_on.filter(move |(path, _)| !pending(path))
    }

    /// What is complete exactly at a path.
    pub(super) fn prepared(&self, path: &RepositoryPath) -> Option<&C> {
        self.items.get(path)?.content.as_ref()
    }

    /// Notes something else on what is prepared and was selected, if that is still the same.
    pub(super) fn amend(&mut self, selected: &Selected<C>, content: C) {
        if let Some(item) = self.items.get_mut(&selected.path)
            && item.version == selected.version
        {
            item.content = Some(content);
        }
    }

    /// Whether a selection has everything that is prepared or being prepared at a path and below it.
    pub(super) fn is_whole(&self, path: &RepositoryPath, selection: &Selection<C>) -> bool {
        at_and_below(&self.items, path).all(|path| selection.names.contains_key(path))
    }

    /// Whether what is published at a path does not count any more.
    pub(super) fn hides(&self, path: &RepositoryPath) -> bool {
        self.replaced.contains_key(path) || self.is_removed(path)
    }

    /// Whether what is prepared at a path takes the place of what is published there.
    pub(super) fn replaces(&self, path: &RepositoryPath) -> bool {
        self.replaced.contains_key(path)
    }

    fn is_removed(&self, path: &RepositoryPath) -> bool {
        upwards(path).any(|above| self.removed.contains_key(&above))
    }

    /// What the transaction does about a path.
    pub(super) fn standing(&self, path: &RepositoryPath) -> Standing<'_, C> {
        if let Some(content) = self.prepared(path) {
            return Standing::Prepared(content);
        }
        let mut above = path.parent();
        while let Some(directory) = above {
            if let Some((path, Item { content: Some(content), .. })) =
                self.items.get_key_value(&directory)
            {
                return Standing::Within(path, content);
            }
            above = directory.parent();
        }
        if at_and_below(&self.items, path).any(|below| self.prepared(below).is_some()) {
            Standing::Implied
        } else if self.is_removed(path) {
            Standing::Removed
        } else {
            Standing::Untouched
        }
    }

    /// Paths at which something is prepared that is no longer wanted.
    pub(super) fn prepared_where(
        &self,
        mut unwanted: impl FnMut(&RepositoryPath, &C) -> Result<bool>,
    ) -> Result<Vec<RepositoryPath>> {
        let mut found = Vec::new();
        for (path, item) in &self.items {
            if let Some(content) = &item.content
                && unwanted(path, content)?
            {
                found.push(path.clone());
            }
        }
        Ok(found)
    }

    /// All paths at which something is prepared or removed.
    fn paths(&self) -> Vec<RepositoryPath> {
        let complete = self.items.iter().filter(|(_, item)| item.content.is_some());
        complete.map(|(path, _)| path).chain(self.removed.keys()).cloned().collect()
    }

    /// Forgets what is to be removed and what is relied on.
    pub(super) fn forget_intentions(&mut self) {
        self.removed.clear();
        self.relied_on.clear();
    }
}

impl<C: Clone> Ledger<C> {
    /// What is prepared at these paths and removed from them. `is_published` tells whether one that is neither is there
    /// already, so that there is nothing to do about it.
    ///
    /// # Errors
    /// [`Error::NoTree`] if nothing is known of a path.
    pub(super) fn select(
        &self,
        paths: &[RepositoryPath],
        mut is_published: impl FnMut(&RepositoryPath) -> Result<bool>,
    ) -> Result<Selection<C>> {
        let mut selection =
            Selection { items: Vec::new(), removed: Vec::new(), names: Paths::new() };
        for path in paths.iter().collect::<BTreeSet<_>>() {
            match self.items.get(path) {
                Some(Item { order, version, content: Some(content) }) => {
                    selection.names.insert(path.clone(), ());
                    selection.items.push(Selected {
                        path: path.clone(),
                        content: content.clone(),
                        replaces: self.replaced.contains_key(path)
                            || self.removed.contains_key(path),
                        order: *order,
                        version: *version,
                    });
                }
                _ if self.removed.contains_key(path) => selection.removed.push(path.clone()),
                _ if is_published(path)? => {}
                _ => return Err(Error::NoTree(path.clone())),
            }
        }
        selection.items.sort_by_key(|item| item.order);
        Ok(selection)
    }

    /// Everything that is prepared or removed.
    pub(super) fn select_all(&self) -> Result<Selection<C>> {
        self.select(&self.paths(), |_| Ok(true))
    }

    /// Forgets what has been published.
    pub(super) fn published(&mut self, selection: &Selection<C>) {
        for Selected { path, version, .. } in &selection.items {
            self.removed.remove(path);
            self.replaced.remove(path);
            // Something else may be in preparation there already.
            if self.items.get(path).is_some_and(|item| item.version == *version) {
                self.items.remove(path);
            }
        }
        for path in &selection.removed {
            self.removed.remove(path);
        }
    }
}

impl<C> Selection<C> {
    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.removed.is_empty()
    }

    /// Whether something prepared is to appear below a path.
    pub(super) fn adds_below(&self, path: &RepositoryPath) -> bool {
        at_and_below(&self.names, path).next().is_some()
    }

    /// What is removed, without what lies below something else that is.
    pub(super) fn outermost_removed(&self) -> impl Iterator<Item = &RepositoryPath> {
        let covered =
            |path: &RepositoryPath| path.parent().is_some_and(|above| self.removes(&above));
        self.removed.iter().filter(move |path| !covered(path))
    }

    /// Whether a path, or one above it, is removed.
    pub(super) fn removes(&self, path: &RepositoryPath) -> bool {
        upwards(path).any(|above| self.removed.binary_search(&above).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RepositoryPath {
        RepositoryPath::parse(text).unwrap()
    }

    fn ledger(prepared: &[&str]) -> Ledger<String> {
        let mut ledger = Ledger::default();
        for &text in prepared {
            prepare(&mut ledger, text, text);
        }
        ledger
    }

    fn prepare(ledger: &mut Ledger<String>, at: &str, content: &str) {
        let announced = ledger.announce(&path(at));
        ledger.complete(&announced, content.to_owned());
    }

    #[test]
    fn prepared_counts_before_removed_and_removed_before_published() {
        let mut ledger = ledger(&[".layers/a/x/layerfs", "r.io/a:2"]);
        ledger.announce(&path("r.io/unfinished"));
        ledger.remove(&path("r.io/a:1"));
        ledger.remove(&path(".layers/a"));
        for (text, expected) in [
            (".layers/a/x/layerfs", "Prepared(\".layers/a/x/layerfs\")"),
            (
                ".layers/a/x/layerfs/etc/passwd",
                "Within(RepositoryPath(\".layers/a/x/layerfs\"), \".layers/a/x/layerfs\")",
            ),
            (".layers/a/x", "Implied"),
            (".layers", "Implied"),
            (".layers/a/x/layerfs-2", "Removed"),
            (".layers/a/y", "Removed"),
            ("r.io/a:1", "Removed"),
            ("r.io/a:2", "Prepared(\"r.io/a:2\")"),
            ("r.io/a", "Untouched"),
            ("r.io/unfinished", "Untouched"),
        ] {
            assert_eq!(format!("{:?}", ledger.standing(&path(text))), expected, "{text}");
        }
    }

    #[test]
    fn names_that_begin_alike_are_not_below_each_other() {
        let mut ledger = ledger(&["r/a", "r/a-b", "r/a.b", "r/a/b", "r/ab"]);
        assert_eq!(ledger.withdraw(&path("r/a")), [path("r/a"), path("r/a/b")]);
        let left = ledger.select_all().unwrap();
        assert!(!left.adds_below(&path("r/a")) && left.adds_below(&path("r/a-b")));
    }

    #[test]
    fn paths_keep_the_order_in_which_they_were_first_named() {
        let mut ledger = ledger(&["c", "a", "b"]);
        let announced = ledger.announce(&path("a"));
        assert_eq!(ledger.select_all().unwrap().items.len(), 2, "it is not complete");
        ledger.complete(&announced, "again".to_owned());
        let items = ledger.select_all().unwrap().items;
        let order: Vec<_> = items.iter().map(|item| item.path.as_str()).collect();
        assert_eq!(order, ["c", "a", "b"]);
    }

    #[test]
    fn what_is_published_is_forgotten_and_what_came_since_is_not() {
        let mut ledger = ledger(&["a", "b", "c"]);
        ledger.remove(&path("d"));
        ledger.replace(&path("a"));
        let published = |text: &RepositoryPath| Ok(text.as_str() == "there");
        let paths = ["a", "b", "d", "there"].map(path);
        let selection = ledger.select(&paths, published).unwrap();
        assert!(selection.items[0].replaces && !selection.items[1].replaces);
        assert_eq!(selection.removed, [path("d")]);
        prepare(&mut ledger, "b", "newer");
        ledger.published(&selection);
        let left = ledger.select_all().unwrap();
        let items: Vec<_> = left.items.iter().map(|item| item.content.as_str()).collect();
        assert_eq!(items, ["newer", "c"]);
        assert_eq!(left.removed, []);
        let error = ledger.select(&[path("elsewhere")], published).unwrap_err();
        assert!(matches!(error, Error::NoTree(_)), "{error:?}");
    }

    #[test]
    fn what_was_withdrawn_or_begun_again_is_not_completed_by_who_began_it() {
        let mut ledger = ledger(&[]);
        let first = ledger.announce(&path("a"));
        ledger.withdraw(&path("a"));
        ledger.complete(&first, "first".to_owned());
        assert_eq!(ledger.prepared(&path("a")), None);
        let second = ledger.announce(&path("a"));
        ledger.complete(&first, "first".to_owned());
        assert_eq!(ledger.prepared(&path("a")), None);
        ledger.complete(&second, "second".to_owned());
        assert_eq!(ledger.prepared(&path("a")).unwrap(), "second");
    }

    #[test]
    fn a_selection_is_whole_if_nothing_else_is_in_preparation_there() {
        let mut ledger = ledger(&["u/a", "u/b/c", "v/a"]);
        ledger.announce(&path("v/b"));
        let paths = ["u/a", "u/b/c", "v/a"].map(path);
        let selection = ledger.select(&paths, |_| Ok(false)).unwrap();
        assert!(ledger.is_whole(&path("u"), &selection));
        assert!(!ledger.is_whole(&path("v"), &selection));
        let selection = ledger.select(&paths[..1], |_| Ok(false)).unwrap();
        assert!(!ledger.is_whole(&path("u"), &selection));
    }

    #[test]
    fn of_what_is_removed_the_outermost_counts() {
        let mut ledger = ledger(&[]);
        for text in ["a/b/c", "a/b", "a/bc", "d"] {
            ledger.remove(&path(text));
        }
        let selection = ledger.select_all().unwrap();
        let outermost: Vec<_> = selection.outermost_removed().map(RepositoryPath::as_str).collect();
        assert_eq!(outermost, ["a/b", "a/bc", "d"]);
        assert!(selection.removes(&path("a/b/c/d")) && !selection.removes(&path("a")));
    }

    /// With a search through everything for each path this takes minutes.
    #[test]
    fn many_paths_take_no_longer_each_than_few() {
        let mut ledger = ledger(&[]);
        let paths: Vec<_> = (0..50_000).map(|at| path(&format!("u{}/p{at}", at / 10))).collect();
        for path in &paths {
            let announced = ledger.announce(path);
            ledger.complete(&announced, String::new());
            ledger.rely_on(path);
        }
        for some in paths.chunks(100) {
            let selection = ledger.select(some, |_| Ok(false)).unwrap();
            assert!(some.iter().all(|path| ledger.is_whole(&path.parent().unwrap(), &selection)));
            ledger.published(&selection);
            some.iter().for_each(|path| ledger.remove(path));
            let selection = ledger.select(some, |_| Ok(false)).unwrap();
            assert_eq!(selection.outermost_removed().count(), 100);
            ledger.published(&selection);
        }
        assert!(ledger.select_all().unwrap().is_empty());
        assert_eq!(ledger.relied_on().count(), 0);
    }

    #[test]
    fn what_is_removed_on_purpose_is_not_relied_on_any_more() {
        let mut ledger = ledger(&[]);
        for text in ["a/b", "a/bc", "c"] {
            ledger.rely_on(&path(text));
        }
        ledger.remove(&path("a/b"));
        let relied_on: Vec<_> = ledger.relied_on().collect();
        assert_eq!(relied_on, [(&path("a/bc"), true), (&path("c"), true)]);
    }

    #[test]
    fn what_is_relied_on_while_it_is_prepared_has_to_be_published_once_it_is_not() {
        let mut ledger = ledger(&["a/b", "c"]);
        for text in ["a", "a/b", "c"] {
            ledger.rely_on(&path(text));
        }
        assert_eq!(ledger.relied_on().count(), 0);
        ledger.withdraw(&path("a/b"));
        let relied_on: Vec<_> = ledger.relied_on().collect();
        assert_eq!(relied_on, [(&path("a"), false), (&path("a/b"), false)]);
    }
}
