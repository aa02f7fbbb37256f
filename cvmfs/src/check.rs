//! Checks whether a repository is what the format says, from the signatures down to the objects.
//!
//! Nothing is changed, and a fault does not end the check: everything that can still be reached is checked.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::catalog::{self, Catalog, Counts, NestedRef, Row};
use crate::compression::Compression;
use crate::entry::{Content, EntryKind};
use crate::hash::{ContentHash, ObjectId, ObjectKind};
use crate::manifest::{self, Manifest};
use crate::marks::{ContentSize, Marks};
use crate::reflog::{self, Reflog, references};
use crate::repository::Repository;
use crate::snapshot::{Snapshot, read_object};
use crate::storage::Storage;
use crate::whitelist;
use crate::{Distrust, Error, Result};

/// How thorough to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Whether every object is read, its hash computed and its content's size compared.
    pub data: bool,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, catalog, object or path.
    pub what: String,
    /// What is wrong with it.
    pub reason: String,
    /// Why it is not trusted, if that is what is wrong.
    pub distrust: Option<Distrust>,
    /// Whether the next publication mends it and nobody needs it until then, so that the repository is sound.
    pub mends_itself: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.reason)
    }
}

/// What was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checked {
    /// The revision.
    pub revision: u64,
    /// Catalogs.
    pub catalogs: u64,
    /// Rows in them.
    pub entries: u64,
    /// Different objects that the revision refers to.
    pub objects: u64,
    /// Faults that do not mend themselves.
    pub faults: u64,
}

/// Checks the newest revision. `report` gets every fault as it is found.
///
/// # Errors
/// If the storage cannot be read, or there is no repository. Damage is a fault and no error.
pub fn check(
    repository: &Repository,
    depth: Depth,
    report: &mut dyn FnMut(Fault),
) -> Result<Checked> {
    let mut checked = Checked::default();
    let mut tell = |checked: &mut Checked, what: String, reason: String, distrust| {
        checked.faults += 1;
        report(Fault { what, reason, distrust, mends_itself: false });
    };
    let storage = repository.storage();
    let (file, _) = storage
        .read_file(manifest::NAME)?
        .ok_or_else(|| Error::NoSuchRepository(storage.name().to_owned()))?;
    let signed = match Manifest::parse(&file) {
        Ok(signed) => signed,
        Err(error) => {
            tell(&mut checked, manifest::NAME.to_owned(), chain(&error), None);
            return Ok(checked);
        }
    };
    if let Err(error) = repository.verify(&signed, SystemTime::now()) {
        let (what, distrust) = match &error {
            Error::Untrusted { what, reason } if *what == whitelist::what() => {
                (whitelist::NAME, Some(reason.clone()))
            }
            Error::Untrusted { reason, .. } => (manifest::NAME, Some(reason.clone())),
            _ => (manifest::NAME, None),
        };
        tell(&mut checked, what.to_owned(), fault_or(error)?, distrust);
    }
    checked.revision = signed.unverified().revision;
    let snapshot = match repository.unverified(signed.unverified().clone()) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            let what = format!("root catalog {}", signed.unverified().root);
            tell(&mut checked, what, fault_or(error)?, None);
            return Ok(checked);
        }
    };
    let mut walk = Walk {
        snapshot: &snapshot,
        storage,
        marks: Marks::new(snapshot.scratch())?,
        checked,
        report,
    };
    walk.manifest(repository)?;
    walk.root()?;
    walk.objects(depth)?;
    Ok(walk.checked)
}

/// The text of damage; other errors stay errors.
fn fault_or(error: Error) -> Result<String> {
    match error {
        Error::Corrupt { .. } | Error::Untrusted { .. } | Error::Missing { .. } => {
            Ok(chain(&error))
        }
        other => Err(other),
    }
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

struct Walk<'a> {
    snapshot: &'a Snapshot,
    storage: &'a Storage,
    /// What the revision refers to.
    marks: Marks,
    checked: Checked,
    report: &'a mut dyn FnMut(Fault),
}

impl Walk<'_> {
    fn tell(&mut self, what: impl fmt::Display, reason: impl fmt::Display) {
        self.checked.faults += 1;
        let (what, reason) = (what.to_string(), reason.to_string());
        (self.report)(Fault { what, reason, distrust: None, mends_itself: false });
    }

    /// The reference log of another revision: a publisher was killed between the two files, or the stock server has
    /// collected garbage. Clients do not read it, and collectors keep what the manifest names.
    fn stale_reflog(&mut self, hash: ContentHash, expected: ContentHash) {
        let reason = format!(
            "its hash is {hash}, the manifest's Y is {expected}: it is of another revision, and the next publication \
             completes it"
        );
        let what = reflog::NAME.to_owned();
        (self.report)(Fault { what, reason, distrust: None, mends_itself: true });
    }

    /// The manifest against what it names: root catalog, reference log, tags.
    fn manifest(&mut self, repository: &Repository) -> Result<()> {
        let manifest = self.snapshot.manifest();
        let root = self.snapshot.root_catalog();
        if let Some(size) = manifest.root_size
            && size != root.size()
        {
            let reason = format!("B is {size}, the root catalog has {} bytes", root.size());
            self.tell(manifest::NAME, reason);
        }
        if root.revision() != manifest.revision {
            let (said, has) = (manifest.revision, root.revision());
            self.tell(
                manifest::NAME,
                format!("S is {said}, the root catalog is of revision {has}"),
            );
        }
        for (hash, kind) in references(manifest) {
            self.marks.add(hash.object(kind.object()))?;
        }
        self.reflog(manifest)?;
        match repository.history(manifest) {
            Ok(history) if manifest.history.is_some() => {
                for reason in history.faults() {
                    self.tell("tag database", reason);
                }
            }
            Ok(_) => {}
            Err(error) => {
                let reason = fault_or(error)?;
                self.tell("tag database", reason);
            }
        }
        Ok(())
    }

    fn reflog(&mut self, manifest: &Manifest) -> Result<()> {
        let Some((bytes, _)) = self.storage.read_file(reflog::NAME)? else {
            if manifest.reflog.is_some() {
                self.tell(reflog::NAME, "it is missing, and the manifest names it (Y)");
            }
            return Ok(());
        };
        let reflog = match Reflog::open(&bytes) {
            Ok(reflog) => reflog,
            Err(error) => {
                let reason = fault_or(error)?;
                self.tell(reflog::NAME, reason);
                return Ok(());
            }
        };
        if let Some(expected) = manifest.reflog {
            let hash = expected.algorithm.hash(&bytes);
            if hash != expected {
                self.stale_reflog(hash, expected);
                return Ok(());
            }
        }
        for (hash, kind) in references(manifest) {
            if !reflog.contains(hash, kind) {
                self.tell(reflog::NAME, format!("it does not list {}", hash.object(kind.object())));
            }
        }
        Ok(())
    }

    /// All catalogs, from the root down.
    fn root(&mut self) -> Result<()> {
        let mut waiting = vec![Visit { place: None, depth: 0 }];
        // Subtree counters are known when all children have been seen.
        let mut sums: Vec<Sum> = Vec::new();
        while let Some(visit) = waiting.pop() {
            while sums.len() > visit.depth {
                self.close(&mut sums);
            }
            let parent = visit.place.as_ref().map(|(row, nested)| (row, nested));
            let Some(catalog) = self.open(parent.map(|(_, nested)| nested))? else { continue };
            let catalog = &catalog;
            self.checked.catalogs += 1;
            for fault in catalog::verify(catalog, parent)? {
                self.tell(format!("catalog {} at {}", catalog.hash(), catalog.mount()), fault);
            }
            self.rows(catalog)?;
            sums.push(Sum { catalog: Arc::clone(catalog), below: Counts::default() });
            for nested in catalog.nested()? {
                self.marks.add(nested.hash.object(ObjectKind::Catalog))?;
                match catalog.lookup(&nested.path)? {
                    Some(row) => {
                        waiting.push(Visit { place: Some((row, nested)), depth: visit.depth + 1 });
                    }
                    None => self.tell(shown(&nested), "its parent has no entry for the mountpoint"),
                }
            }
        }
        while !sums.is_empty() {
            self.close(&mut sums);
        }
        Ok(())
    }

    /// Compares the subtree counters of a catalog all of whose nested catalogs have been seen.
    fn close(&mut self, sums: &mut Vec<Sum>) {
        let Some(sum) = sums.pop() else { return };
        let counters = sum.catalog.counters();
        if counters.subtree != sum.below {
            self.tell(
                format!("catalog {} at {}", sum.catalog.hash(), sum.catalog.mount()),
                format!(
                    "its subtree counters are {}, those of its nested catalogs add up to {}",
                    counters.subtree, sum.below
                ),
            );
        }
        if let Some(parent) = sums.last_mut() {
            parent.below += counters.own;
            parent.below += sum.below;
        }
    }

    /// The catalog of a reference; `None` stands for the root's.
    fn open(&mut self, nested: Option<&NestedRef>) -> Result<Option<Arc<Catalog>>> {
        let Some(nested) = nested else {
            return Ok(Some(Arc::clone(self.snapshot.root_catalog())));
        };
        match self.snapshot.catalog(nested.hash) {
            Ok(catalog) => Ok(Some(catalog)),
            Err(error) => {
                let reason = fault_or(error)?;
                self.tell(shown(nested), reason);
                Ok(None)
            }
        }
    }

    fn rows(&mut self, catalog: &Catalog) -> Result<()> {
        let (marks, checked) = (&mut self.marks, &mut self.checked);
        catalog.for_each_row(&mut |row| {
            checked.entries += 1;
            if let EntryKind::File(file) = &row.entry.kind {
                for object in file.content.objects() {
                    let size = size_of(object.hash, &file.content, file.size);
                    marks.add_sized(object, ContentSize::new(size, file.compression))?;
                }
            }
            Ok(())
        })
    }

    /// The objects: whether each is there and can hold what the catalogs say, and with `data` whether it is intact.
    fn objects(&mut self, depth: Depth) -> Result<()> {
        let mut damaged: HashMap<ObjectId, String> = HashMap::new();
        for shard in 0..=u8::MAX {
            let marked = self.marks.sized_shard(shard)?;
            if marked.is_empty() {
                continue;
            }
            let mut stored = HashMap::new();
            self.storage.list(shard, &mut |listed| {
                stored
                    .extend(ObjectId::from_path(&listed.path).map(|object| (object, listed.size)));
                Ok(())
            })?;
            let mut last = None;
            for (object, sized) in marked {
                let is_new = last.replace(object) != Some(object);
                self.checked.objects += u64::from(is_new);
                match stored.get(&object) {
                    None => {
                        damaged.insert(object, "it is missing".to_owned());
                    }
                    Some(_) if depth.data && !is_new => {}
                    Some(_) if depth.data => {
                        if let Err(error) = self.storage.get(object) {
                            damaged.insert(object, fault_or(error)?);
                        }
                    }
                    Some(&size) if sized.is_some_and(|sized| !sized.allows(size)) => {
                        let reason = format!("its {size} bytes cannot hold the content");
                        damaged.insert(object, reason);
                    }
                    Some(_) => {}
                }
            }
        }
        if damaged.is_empty() && !depth.data {
            return Ok(());
        }
        self.name_paths(damaged, depth)
    }

    /// Goes through the catalogs a second time to name the paths of damaged objects, and to compare sizes.
    fn name_paths(&mut self, mut damaged: HashMap<ObjectId, String>, depth: Depth) -> Result<()> {
        let mut faults: Vec<(String, String)> = Vec::new();
        let mut sized: HashSet<ObjectId> = HashSet::new();
        for (hash, kind) in references(self.snapshot.manifest()) {
            let object = hash.object(kind.object());
            if let Some(reason) = damaged.remove(&object) {
                faults.push((format!("object {object}"), reason));
            }
        }
        let snapshot = self.snapshot;
        let mut waiting = vec![snapshot.root()?];
        while let Some(directory) = waiting.pop() {
            let mut subdirectories = Vec::new();
            directory.for_each(&mut |child| {
                let path = directory.path().join(&child.name);
                match &child.entry.kind {
                    EntryKind::Directory => subdirectories.push(child),
                    EntryKind::File(file) => {
                        for object in file.content.objects() {
                            if let Some(reason) = damaged.get(&object) {
                                faults
                                    .push((path.to_string(), format!("object {object}: {reason}")));
                            } else if depth.data && sized.insert(object) {
                                let size = size_of(object.hash, &file.content, file.size);
                                faults.extend(
                                    wrong_size(snapshot.storage(), object, file.compression, size)?
                                        .map(|reason| (path.to_string(), reason)),
                                );
                            }
                        }
                    }
                    _ => {}
                }
                Ok(())
            })?;
            for child in subdirectories {
                // A nested catalog that cannot be opened has been reported already.
                if let Ok(directory) = directory.open(&child) {
                    waiting.push(directory);
                }
            }
        }
        for (what, reason) in faults {
            self.tell(what, reason);
        }
        Ok(())
    }
}

/// The number of bytes that an object of a file should hold.
fn size_of(hash: ContentHash, content: &Content, whole: u64) -> u64 {
    match content {
        Content::Chunks(_, chunks) => {
            chunks.iter().find(|chunk| chunk.hash == hash).map_or(whole, |chunk| chunk.size)
        }
        _ => whole,
    }
}

fn wrong_size(
    storage: &Storage,
    object: ObjectId,
    compression: Compression,
    size: u64,
) -> Result<Option<String>> {
    match read_object(storage, object.hash, object.kind, compression, size) {
        Ok(_) => Ok(None),
        Err(error) => fault_or(error).map(Some),
    }
}

fn shown(nested: &NestedRef) -> String {
    format!("nested catalog {} at {}", nested.hash, nested.path)
}

/// A catalog to check.
struct Visit {
    /// The mountpoint's row and reference; `None` for the root.
    place: Option<(Row, NestedRef)>,
    depth: usize,
}

/// The counters of the nested catalogs below one, as far as they have been seen.
struct Sum {
    catalog: Arc<Catalog>,
    below: Counts,
}
