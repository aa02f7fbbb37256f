//! Where finished catalogs go: to threads that make the databases, and from them to the storage.
//!
//! Jobs are taken in the order in which they came, several small ones at a time, and a catalog comes after those that
//! are nested in it. So when a thread waits for a nested catalog, that one is finished or another thread is making it; it
//! is never still in the queue.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::entry::{File, Links};
use crate::path::{PathHash, TreePath};
use crate::scratch::Scratch;
use crate::{Error, Result};

use super::build::{Head, Inserter, build};
use super::reference::{CatalogRef, NestedRef};
use super::row::pack_links;
use super::spool::Sorted;
use super::store::CatalogStore;

/// Threads that make catalogs. Clones share them; any number of trees can be written at a time.
#[derive(Clone)]
pub struct CatalogSink(Arc<Inner>);

struct Inner {
    scratch: Scratch,
    marker: File,
    /// `None` while this is dropped.
    jobs: Option<SyncSender<Vec<CatalogJob>>>,
    threads: Vec<JoinHandle<()>>,
}

/// A catalog that is to be made.
pub(super) struct CatalogJob {
    pub(super) mount: TreePath,
    /// Seconds since 1970.
    pub(super) modified: i64,
    pub(super) rows: Sorted,
    /// Hard links: directory and number of the group there, members.
    pub(super) groups: Vec<(PathHash, u32, u32)>,
    pub(super) nested: Vec<Pending>,
    pub(super) result: SyncSender<Result<CatalogRef>>,
}

/// A catalog that is being made.
pub(super) struct Pending {
    pub(super) mount: TreePath,
    pub(super) result: Receiver<Result<CatalogRef>>,
}

impl CatalogSink {
    /// Starts `threads` threads (at least one) that make catalogs and hand them to `store`.
    ///
    /// # Errors
    /// If the system refuses a thread, or the storage the empty file.
    pub fn new(store: Arc<dyn CatalogStore>, scratch: &Scratch, threads: usize) -> Result<Self> {
        let marker = store.empty_file()?;
        let (jobs, queue) = sync_channel::<Vec<CatalogJob>>(1);
        let queue = Arc::new(Mutex::new(queue));
        let mut inner =
            Inner { scratch: scratch.clone(), marker, jobs: Some(jobs), threads: Vec::new() };
        for _ in 0..threads.max(1) {
            let (store, queue, place) = (Arc::clone(&store), Arc::clone(&queue), scratch.clone());
            let work = move || {
                while let Some(jobs) = next(&queue) {
                    jobs.into_iter().for_each(|job| job.run(&*store, &place));
                }
            };
            let thread = std::thread::Builder::new().name("catalogs".to_owned()).spawn(work);
            inner.threads.push(thread.map_err(|cause| scratch.refused(cause))?);
        }
        Ok(Self(Arc::new(inner)))
    }

    /// Where temporary files lie.
    pub fn scratch(&self) -> &Scratch {
        &self.0.scratch
    }

    /// The empty file.
    pub fn marker(&self) -> &File {
        &self.0.marker
    }

    /// Hands catalogs to one of the threads; waits while all are busy.
    pub(super) fn submit(&self, jobs: Vec<CatalogJob>) -> Result<()> {
        let queue = self.0.jobs.as_ref().ok_or_else(stopped)?;
        queue.send(jobs).map_err(|_| stopped())
    }
}

fn next(queue: &Mutex<Receiver<Vec<CatalogJob>>>) -> Option<Vec<CatalogJob>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn stopped() -> Error {
    Error::Stopped("the threads that make catalogs have stopped".to_owned())
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // If the thread panicked, that was reported then, and whoever waited for its catalogs got an error.
            let _ = thread.join();
        }
    }
}

impl Pending {
    /// Waits until it is stored.
    pub(super) fn wait(self) -> Result<(TreePath, CatalogRef)> {
        let made = self.result.recv().map_err(|_| stopped())?;
        Ok((self.mount, made?))
    }
}

impl CatalogJob {
    fn run(mut self, store: &dyn CatalogStore, scratch: &Scratch) {
        let made = self.make(store, scratch);
        // Nobody is waiting if the tree was given up.
        let _ = self.result.send(made);
    }

    fn make(&mut self, store: &dyn CatalogStore, scratch: &Scratch) -> Result<CatalogRef> {
        let head = Head { mount: &self.mount, revision: 1, modified: self.modified };
        let nested = std::mem::take(&mut self.nested);
        let mut groups = Groups::new(std::mem::take(&mut self.groups));
        let rows = &self.rows;
        let fill = |inserter: &mut Inserter<'_>| {
            rows.for_each(&mut |mut columns, chunks| {
                columns.hardlinks =
                    groups.hardlinks(columns.parent, columns.links(), columns.hardlinks);
                inserter.add(&columns, chunks)
            })?;
            // As late as possible, so that threads wait for each other as little as possible.
            for pending in nested {
                let (path, CatalogRef { hash, size, counters }) = pending.wait()?;
                inserter.nest(NestedRef { path, hash, size }, &counters);
            }
            Ok(())
        };
        let (database, counters) = build(scratch, &head, rows.is_large(), fill)?;
        let size = database.size;
        let hash = database.store(store, scratch)?;
        Ok(CatalogRef { hash, size, counters })
    }
}

/// The hard links of a catalog. The groups of the entries have any numbers; in the catalog they are numbered from 1,
/// in the order of the rows.
struct Groups {
    members: HashMap<(PathHash, u32), (u32, Option<u32>)>,
    next: u32,
}

impl Groups {
    fn new(groups: Vec<(PathHash, u32, u32)>) -> Self {
        let members = groups
            .into_iter()
            .map(|(directory, group, members)| ((directory, group), (members, None)));
        Self { members: members.collect(), next: 1 }
    }

    /// The column of an entry; one that is in no group keeps its value.
    fn hardlinks(&mut self, directory: PathHash, links: Links, column: i64) -> i64 {
        match self.members.get_mut(&(directory, links.group)) {
            Some((count @ 2.., number)) => {
                let group = *number.get_or_insert_with(|| {
                    self.next += 1;
                    self.next - 1
                });
                pack_links(Links { group, count: *count })
            }
            _ if links.group == 0 => column,
            _ => pack_links(Links::ONE),
        }
    }
}
