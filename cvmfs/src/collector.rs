//! Garbage collection: removes objects that no retained revision refers to.
//!
//! It runs at the same time as publishers, on storages that have no locks. What keeps a publisher from referring to an
//! object that is being removed:
//! 1. Marking changes nothing. Then the state file says "sweeping", and only then the manifest is signed
//!    again, on condition that it is still the one that was marked. If a publisher was faster, this fails, and
//!    that publisher's revision is marked, too. A publisher that comes later fails on *its* condition, reads
//!    the state file, and finds another generation than when it began: what it found in the storage then
//!    may be gone, so it has to begin again ([`Error::Collected`]).
//! 2. A publisher that begins while objects are removed waits.
//! 3. What a running publisher has stored and nobody refers to yet is young; objects younger than the grace
//!    time are never removed.
//!
//! A collector that is killed leaves "sweeping" behind. In a directory one can tell by its lock that it is dead, in a
//! bucket by the age of its heartbeat. Everything that it removed was garbage, so nothing has to be repaired.

use std::collections::HashSet;
use std::fs::File;
use std::time::{Duration, Instant, SystemTime};

use crate::catalog::Mount;
use crate::entry::EntryKind;
use crate::generation::{CollectionState, is_dead, lock, read_state, write_state};
use crate::hash::{ContentHash, ObjectId, ObjectKind};
use crate::marks::Marks;
use crate::objects::Objects;
use crate::reflog::{RefKind, references};
use crate::repository::Repository;
use crate::snapshot::Snapshot;
use crate::storage::{Expected, Storage, Version};
use crate::unix_time::unix_seconds;
use crate::{Activity, CollectionStop, Error, Result};

/// A collector in a bucket shows a sign of life this often, …
const HEARTBEAT: Duration = Duration::from_secs(30);
/// … and stops by itself if it could not for this long. It counts as dead later; no request takes as long as the
/// difference.
const GIVE_UP: Duration = Duration::from_secs(5 * 60);
/// Much more time than writing an object takes.
const UNFINISHED: Duration = Duration::from_secs(3600);
/// Objects that are removed together, before the next sign of life: a few rounds of requests.
const REMOVED_AT_ONCE: usize = 128;

/// What to keep.
#[derive(Debug, Clone)]
pub struct Retention {
    /// Revisions before the newest that are kept whatever their age.
    pub revisions: u64,
    /// Revisions since this time are kept.
    pub since: Option<SystemTime>,
    /// Objects that were stored more recently are kept.
    pub grace: Duration,
}

/// What a garbage collection did, or would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Revisions that are kept.
    pub revisions: u64,
    /// Objects that are kept because a retained revision refers to them.
    pub referenced: u64,
    /// Objects that nothing refers to and that are kept because they are young.
    pub young: u64,
    /// Objects that were removed.
    pub removed: u64,
    /// Their stored size in bytes.
    pub bytes: u64,
}

/// Removes what no retained revision refers to. With `dry_run` it only tells what it would remove.
///
/// # Errors
/// If the repository is not garbage-collectable, another collection runs, or a catalog that is to be kept is
/// missing or damaged: then nothing is removed.
pub fn collect(
    repository: &Repository,
    objects: &Objects,
    retention: &Retention,
    dry_run: bool,
) -> Result<Collected> {
    let newest = repository.snapshot()?;
    if !newest.manifest().garbage_collectable {
        return Err(Error::NotCollectable(repository.fqrn().clone()));
    }
    let mut marking = Marking {
        repository,
        retention,
        marks: Marks::new(newest.scratch())?,
        seen: HashSet::new(),
        roots: HashSet::new(),
    };
    if dry_run {
        marking.revision(&newest)?;
        return sweep(repository, marking, retention, &mut |_| Ok(()));
    }

    let mut sweeper = Sweeper::begin(repository)?;
    let revised = repository.revise(objects, &mut |draft| {
        // Marks also what another publisher has added since the last attempt.
        marking.revision(draft.base)?;
        sweeper.announce()?;
        let roots = &marking.roots;
        draft.reflog.retain(|line| line.kind != RefKind::Catalog || roots.contains(&line.hash));
        Ok(true)
    });
    // The objects of the manifest that was just signed are young; but nothing may depend on a clock.
    let result = revised.and_then(|manifest| {
        for (hash, kind) in references(&manifest) {
            marking.marks.add(hash.object(kind.object()))?;
        }
        // What a killed publisher did not finish writing.
        if let Some(before) = SystemTime::now().checked_sub(retention.grace.max(UNFINISHED)) {
            repository.storage().remove_unfinished(before)?;
        }
        sweep(repository, marking, retention, &mut |paths| {
            sweeper.beat()?;
            repository.storage().delete(paths)
        })
    });
    sweeper.end()?;
    result
}

/// Finds what is to be kept.
struct Marking<'a> {
    repository: &'a Repository,
    retention: &'a Retention,
    marks: Marks,
    /// Catalogs whose rows have been marked.
    seen: HashSet<ContentHash>,
    /// Root catalogs of retained revisions.
    roots: HashSet<ContentHash>,
}

impl Marking<'_> {
    /// Marks a newest revision, its tags and the older revisions that are kept.
    fn revision(&mut self, newest: &Snapshot) -> Result<()> {
        let manifest = newest.manifest();
        for (hash, kind) in references(manifest) {
            self.marks.add(hash.object(kind.object()))?;
        }
        self.root(newest, manifest.root)?;
        for tag in self.repository.history(manifest)?.tags() {
            self.root(newest, tag.root)?;
        }
        let mut catalog = std::sync::Arc::clone(newest.root_catalog());
        let mut age = 0;
        while let Some(previous) = catalog.previous() {
            age += 1;
            // It may have been collected; then so have all before it.
            if !self.repository.storage().exists(previous.object(ObjectKind::Catalog))? {
                break;
            }
            catalog = newest.catalog(previous)?;
            let young = self
                .retention
                .since
                .is_some_and(|since| catalog.last_modified() >= unix_seconds(since));
            if age > self.retention.revisions && !young {
                break;
            }
            self.root(newest, previous)?;
        }
        Ok(())
    }

    fn root(&mut self, snapshot: &Snapshot, root: ContentHash) -> Result<()> {
        self.roots.insert(root);
        let mut waiting = vec![root];
        while let Some(hash) = waiting.pop() {
            if !self.seen.insert(hash) {
                continue;
            }
            self.marks.add(hash.object(ObjectKind::Catalog))?;
            let catalog = snapshot.catalog(hash)?;
            waiting.extend(catalog.nested()?.into_iter().map(|nested| nested.hash));
            let marks = &mut self.marks;
            catalog.for_each_row(&mut |row| {
                if row.mount != Mount::Nested
                    && let EntryKind::File(file) = &row.entry.kind
                {
                    for object in file.content.objects() {
                        marks.add(object)?;
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

fn sweep(
    repository: &Repository,
    mut marking: Marking<'_>,
    retention: &Retention,
    remove: &mut dyn FnMut(Vec<String>) -> Result<()>,
) -> Result<Collected> {
    let mut garbage = Vec::new();
    let mut collected = Collected { revisions: marking.roots.len() as u64, ..Collected::default() };
    let now = SystemTime::now();
    for shard in 0..=u8::MAX {
        let marked = marking.marks.shard(shard)?;
        collected.referenced += marked.len() as u64;
        repository.storage().list(shard, &mut |listed| {
            // Whatever else lies there is not ours to remove.
            let Some(object) = ObjectId::from_path(&listed.path) else { return Ok(()) };
            if marked.binary_search(&object).is_ok() {
                return Ok(());
            }
            // A time in the future counts as young.
            if now.duration_since(listed.modified).unwrap_or_default() < retention.grace {
                collected.young += 1;
                return Ok(());
            }
            collected.removed += 1;
            collected.bytes += listed.size;
            garbage.push(listed.path);
            match garbage.len() == REMOVED_AT_ONCE {
                true => remove(std::mem::take(&mut garbage)),
                false => Ok(()),
            }
        })?;
    }
    if !garbage.is_empty() {
        remove(garbage)?;
    }
    Ok(collected)
}

/// The right to remove objects: only one collector has it.
struct Sweeper<'a> {
    storage: &'a Storage,
    state: CollectionState,
    version: Option<Version>,
    last_beat: Instant,
    /// Held until the end.
    _lock: Option<File>,
}

impl<'a> Sweeper<'a> {
    fn begin(repository: &'a Repository) -> Result<Self> {
        let storage = repository.storage();
        let busy =
            || Error::Busy { fqrn: repository.fqrn().clone(), activity: Activity::Collection };
        let lock = match storage.local_directory() {
            Some(_) => Some(lock(storage)?.ok_or_else(busy)?),
            None => None,
        };
        let (mut state, version) = read_state(storage)?;
        if state.sweeping && lock.is_none() && !is_dead(storage, &state)? {
            return Err(busy());
        }
        state = CollectionState { generation: state.generation + 1, sweeping: false, ..state };
        Ok(Self { storage, state, version, last_beat: Instant::now(), _lock: lock })
    }

    /// Announces that objects are going to be removed.
    fn announce(&mut self) -> Result<()> {
        self.state.sweeping = true;
        self.write()
    }

    fn beat(&mut self) -> Result<()> {
        let since = self.last_beat.elapsed();
        if since < HEARTBEAT {
            return Ok(());
        }
        if since > GIVE_UP && self.storage.local_directory().is_none() {
            return Err(Error::CollectionStopped(CollectionStop::TooSlow));
        }
        self.write()
    }

    fn end(&mut self) -> Result<()> {
        if !self.state.sweeping {
            return Ok(());
        }
        self.state.sweeping = false;
        self.write()
    }

    fn write(&mut self) -> Result<()> {
        self.state.heartbeat = unix_seconds(SystemTime::now());
        let expected = self.version.take().map_or(Expected::Absent, Expected::Version);
        self.version = write_state(self.storage, &self.state, expected)?;
        if self.version.is_none() {
            return Err(Error::CollectionStopped(CollectionStop::TakenOver));
        }
        self.last_beat = Instant::now();
        Ok(())
    }
}
