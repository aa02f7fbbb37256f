//! In which order things go.
//!
//! A batch is one change of the repository. Before and after each, every image that has a name is complete: names go in
//! the same batch as the first thing they need, and what several images need goes with the last of them. The entry of an
//! image in the schedule goes with the last of its content, so that a run which is killed in between is continued by the
//! next one.

use std::collections::{BTreeSet, HashMap, HashSet};

use layer_layout::path::Unit;
use layer_layout::record::{RemoveSchedule, ScheduleEntry};
use layer_layout::{ImagePlace, RepositoryPath};

use super::plan::Doomed;

/// What is removed in one change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// The images whose names go.
    pub images: Vec<ImagePlace>,
    /// What goes, in this order: links, metadata, flat roots, chains, layers.
    pub paths: Vec<RepositoryPath>,
    /// The schedule afterwards, if it changes.
    pub schedule: Option<Vec<u8>>,
}

/// A batch while it is put together.
#[derive(Default)]
struct Open {
    images: Vec<ImagePlace>,
    names: Vec<RepositoryPath>,
    units: Vec<Unit>,
}

impl Open {
    fn size(&self) -> usize {
        self.names.len() + self.units.len()
    }

    fn close(&mut self, schedule: Option<Vec<u8>>) -> Batch {
        let Self { images, names, mut units } = std::mem::take(self);
        units.sort_unstable();
        let units = units.iter().map(Unit::path);
        Batch { images, paths: names.into_iter().chain(units).collect(), schedule }
    }
}

/// Divides what is to be removed into batches that end after `limit` paths, or a little later: the names of an image are
/// not separated from each other. `rest` goes last. `links` says which chain leads to what, `books` what the schedule
/// holds if nothing is removed.
pub(super) fn batches(
    doomed: Vec<Doomed>,
    rest: Vec<RepositoryPath>,
    links: &HashMap<Unit, Unit>,
    mut books: Books,
    limit: usize,
) -> Vec<Batch> {
    let mut units = divide(&doomed, links);
    let mut batches = Vec::new();
    let mut open = Open::default();
    for (at, Doomed { entry, image, names, .. }) in doomed.into_iter().enumerate() {
        open.images.extend(image);
        open.names.extend(names);
        for unit in units.remove(&at).unwrap_or_default() {
            open.units.push(unit);
            if open.size() >= limit {
                books.gone(&open.units);
                batches.push(open.close(books.written()));
            }
        }
        books.done(entry);
        if open.size() >= limit {
            books.gone(&open.units);
            batches.push(open.close(books.written()));
        }
    }
    open.names.extend(rest);
    books.gone(&open.units);
    if open.size() > 0 || !batches.is_empty() || books.has_ended() {
        let schedule = books.written();
        if open.size() > 0 || schedule.is_some() {
            batches.push(open.close(schedule));
        }
    }
    batches
}

/// Which units go with which of the doomed: each with the last that needs it, and not before the chains that lead to it.
/// The units of each are in the order in which they go.
fn divide(doomed: &[Doomed], links: &HashMap<Unit, Unit>) -> HashMap<usize, BTreeSet<Unit>> {
    let mut last: HashMap<Unit, usize> = HashMap::new();
    for (at, doomed) in doomed.iter().enumerate() {
        last.extend(doomed.units.iter().map(|&unit| (unit, at)));
    }
    loop {
        let too_early = |(&chain, &at): (&Unit, &usize)| {
            let target = *links.get(&chain)?;
            last.get(&target).is_some_and(|&before| before < at).then_some((target, at))
        };
        let late: Vec<_> = last.iter().filter_map(too_early).collect();
        if late.is_empty() {
            break;
        }
        for (target, at) in late {
            let goes = last.entry(target).or_default();
            *goes = at.max(*goes);
        }
    }
    let mut divided: HashMap<usize, BTreeSet<Unit>> = HashMap::new();
    for (unit, at) in last {
        divided.entry(at).or_default().insert(unit);
    }
    divided
}

/// The file of a schedule, without entries of which nothing is left.
pub(super) fn written(schedule: &RemoveSchedule) -> Vec<u8> {
    let entries = schedule.entries.iter().filter(|entry| says_anything(entry)).cloned().collect();
    RemoveSchedule { entries }.to_json()
}

fn says_anything(entry: &ScheduleEntry) -> bool {
    !matches!(entry, ScheduleEntry::Content(content) if content.units.is_empty())
}

/// The schedule as it becomes shorter.
pub(super) struct Books {
    entries: Vec<Option<ScheduleEntry>>,
    /// Whether there is something new since the file was written.
    changed: bool,
    /// Whether an entry has come to its end.
    ended: bool,
}

impl Books {
    /// `changed` says whether the file holds something else.
    pub(super) fn new(schedule: &RemoveSchedule, changed: bool) -> Self {
        let entries = schedule.entries.iter().cloned().map(Some).collect();
        Self { entries, changed, ended: false }
    }

    fn has_ended(&self) -> bool {
        self.ended
    }

    /// Units are gone.
    fn gone(&mut self, units: &[Unit]) {
        if units.is_empty() {
            return;
        }
        let gone: HashSet<&Unit> = units.iter().collect();
        for entry in self.entries.iter_mut().flatten() {
            if let ScheduleEntry::Content(content) = entry {
                let before = content.units.len();
                content.units.retain(|unit| !gone.contains(unit));
                self.changed |= content.units.len() != before;
            }
        }
    }

    /// All of an entry is gone.
    fn done(&mut self, entry: Option<usize>) {
        if let Some(entry) = entry.and_then(|at| self.entries.get_mut(at)) {
            let ended = entry.take().is_some();
            self.changed |= ended;
            self.ended |= ended;
        }
    }

    /// The file, if it has changed since the last time.
    fn written(&mut self) -> Option<Vec<u8>> {
        std::mem::take(&mut self.changed).then(|| {
            written(&RemoveSchedule { entries: self.entries.iter().flatten().cloned().collect() })
        })
    }
}
