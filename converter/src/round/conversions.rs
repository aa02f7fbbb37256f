//! The images of a round on their way into the repository: prepared several at a time, published in groups.
//!
//! All of them are prepared in one batch, so that what they share is made once. The batch ends, and another begins,
//! when a garbage collection has made worthless what is prepared or space is wanted, and now and then so that others who
//! wait for the repository's lock get their turn.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{
    Notify, OwnedRwLockReadGuard, RwLock, Semaphore, SemaphorePermit, mpsc, oneshot,
};
use tokio_util::sync::CancellationToken;

use super::grouping::{Grouping, Whereabouts};
use crate::convert::{self, Batch, BatchSettings, Prepared, Request, Resolved};
use crate::report::{Report, Status};
use crate::repository::Repository;
use crate::{Error, Result};

/// How often an image is prepared when others are faster.
const ATTEMPTS: u32 = 20;

/// How long a batch takes in images. Who waits for the repository's lock waits about as long.
const TURN: Duration = Duration::from_secs(15 * 60);

/// How images are converted.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// How many images are prepared at a time.
    pub(super) jobs: usize,
    pub(super) grouping: Grouping,
    pub(super) batch: BatchSettings,
}

/// Converts images. Clones share the batch.
#[derive(Clone)]
pub(super) struct Conversions(Arc<Shared>);

struct Shared {
    repository: Arc<dyn Repository>,
    settings: Settings,
    cancel: CancellationToken,
    slots: Semaphore,
    /// Images hold it for reading while they depend on the batch.
    current: Arc<RwLock<Current>>,
    whereabouts: Mutex<Whereabouts>,
    /// Told when the whereabouts change.
    changed: Notify,
    ready: mpsc::UnboundedSender<Ready>,
}

/// The batch that images are prepared in.
#[derive(Default)]
struct Current {
    batch: Option<Batch>,
    begun: Option<Instant>,
    /// Counts the batches.
    number: u64,
}

/// An image that waits for its publication.
struct Ready {
    prepared: Prepared,
    batch: Batch,
    published: oneshot::Sender<Result<()>>,
}

impl Conversions {
    pub(super) fn new(
        repository: Arc<dyn Repository>,
        settings: Settings,
        cancel: CancellationToken,
    ) -> Self {
        let (ready, queue) = mpsc::unbounded_channel();
        let whereabouts = Whereabouts { more: true, ..Whereabouts::default() };
        let shared = Arc::new(Shared {
            repository,
            slots: Semaphore::new(settings.jobs.max(1)),
            settings,
            cancel,
            current: Arc::default(),
            whereabouts: Mutex::new(whereabouts),
            changed: Notify::new(),
            ready,
        });
        tokio::spawn(publish_in_groups(Arc::downgrade(&shared), queue));
        Self(shared)
    }

    /// Converts an image, and tells the report all that is known, also if it fails.
    pub(super) async fn convert(&self, request: &Request, report: &mut Report) -> Result<Resolved> {
        let mut attempts = ATTEMPTS;
        loop {
            let waiting = Whereabout::new(&self.0, |whereabouts| &mut whereabouts.outside);
            let slot = self.0.slots.acquire().await.expect("nobody closes the semaphore");
            let image =
                convert::resolve(request, &self.0.repository, &self.0.cancel, report).await?;
            if image.is_published() {
                report.status = Status::UpToDate;
                return Ok(image);
            }
            attempts -= 1;
            match self.publish(&image, waiting, slot, report).await {
                Ok(()) => {
                    report.status = Status::Converted;
                    return Ok(image);
                }
                Err(error) if error.is_overtaken() && attempts > 0 => {
                    tracing::info!("{error}: doing so");
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn publish(
        &self,
        image: &Resolved,
        waiting: Whereabout<'_>,
        slot: SemaphorePermit<'_>,
        report: &mut Report,
    ) -> Result<()> {
        let current = self.enter().await?;
        let preparing = Whereabout::new(&self.0, |whereabouts| &mut whereabouts.inside);
        drop(waiting);
        let batch = current.batch.clone().expect("a batch that was entered has begun");
        let number = current.number;
        let prepared = match batch.prepare(image, report).await {
            Ok(prepared) => prepared,
            Err(error) => {
                drop((slot, preparing, current));
                if error.ends_batch() {
                    self.end_batch(number).await;
                }
                return Err(error);
            }
        };
        report.remarks.extend(prepared.remarks().iter().cloned());
        let (published, outcome) = oneshot::channel();
        self.0.counts(|whereabouts| whereabouts.ready += 1);
        let sent = self.0.ready.send(Ready { prepared, batch, published });
        drop((slot, preparing));
        let outcome = match sent {
            Ok(()) => outcome.await.unwrap_or_else(|_| Err(Error::Cancelled)),
            Err(_) => Err(Error::Cancelled),
        };
        drop(current);
        if outcome.as_ref().is_err_and(Error::ends_batch) {
            self.end_batch(number).await;
        }
        outcome
    }

    /// Enters the batch, which begins if there is none, and begins again if it has taken in images for long enough.
    async fn enter(&self) -> Result<OwnedRwLockReadGuard<Current>> {
        loop {
            let current = Arc::clone(&self.0.current).read_owned().await;
            match current.begun {
                Some(begun) if begun.elapsed() < TURN => return Ok(current),
                Some(_) => {
                    let number = current.number;
                    drop(current);
                    self.end_batch(number).await;
                }
                None => {
                    drop(current);
                    self.begin_batch().await?;
                }
            }
        }
    }

    async fn begin_batch(&self) -> Result<()> {
        let Shared { repository, settings, cancel, .. } = &*self.0;
        let mut current = self.0.current.write().await;
        if current.batch.is_none() {
            let batch = Batch::begin(repository, settings.batch.clone(), cancel).await?;
            let number = current.number + 1;
            *current = Current { batch: Some(batch), begun: Some(Instant::now()), number };
        }
        Ok(())
    }

    /// Ends the batch of a number when all of its images have left it.
    async fn end_batch(&self, number: u64) {
        self.0.counts(|whereabouts| whereabouts.draining = true);
        let mut current = self.0.current.write().await;
        if current.number == number
            && let Some(batch) = current.batch.take()
        {
            current.begun = None;
            for shortfall in batch.shortfalls() {
                tracing::warn!("{shortfall}");
            }
            batch.end().await;
        }
        self.0.counts(|whereabouts| whereabouts.draining = false);
    }

    /// Says that no further images will come: what is ready need not wait for them.
    pub(super) fn no_more(&self) {
        self.0.counts(|whereabouts| whereabouts.more = false);
    }

    /// Ends the batch when all images have left it.
    pub(super) async fn end(self) {
        let number = self.0.current.read().await.number;
        self.end_batch(number).await;
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Whereabouts> {
        self.whereabouts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self, change: impl FnOnce(&mut Whereabouts)) {
        change(&mut self.held());
        self.changed.notify_one();
    }
}

/// Counts an image at one place as long as it lives.
struct Whereabout<'a> {
    shared: &'a Shared,
    at: fn(&mut Whereabouts) -> &mut usize,
}

impl<'a> Whereabout<'a> {
    fn new(shared: &'a Shared, at: fn(&mut Whereabouts) -> &mut usize) -> Self {
        shared.counts(|whereabouts| *at(whereabouts) += 1);
        Self { shared, at }
    }
}

impl Drop for Whereabout<'_> {
    fn drop(&mut self) {
        self.shared.counts(|whereabouts| *(self.at)(whereabouts) -= 1);
    }
}

/// Publishes what is ready, until nobody converts any more.
async fn publish_in_groups(shared: Weak<Shared>, mut queue: mpsc::UnboundedReceiver<Ready>) {
    let mut group: Vec<Ready> = Vec::new();
    let mut first = Instant::now();
    loop {
        let Some(held) = shared.upgrade() else { return };
        let interval = held.settings.grouping.interval;
        if group.is_empty() {
            drop(held);
            match queue.recv().await {
                Some(ready) => group.push(ready),
                None => return,
            }
            first = Instant::now();
            continue;
        }
        let waiting = first.elapsed();
        let whereabouts = *held.held();
        if held.settings.grouping.is_due(&whereabouts, waiting) {
            while let Ok(ready) = queue.try_recv() {
                group.push(ready);
            }
            let number = group.len();
            publish(std::mem::take(&mut group)).await;
            held.counts(|whereabouts| whereabouts.ready -= number);
            continue;
        }
        tokio::select! {
            ready = queue.recv() => group.extend(ready),
            () = held.changed.notified() => {}
            () = tokio::time::sleep(interval.saturating_sub(waiting)) => {}
        }
    }
}

/// Publishes a group. If something in the way of one image keeps all from being published, the halves are tried.
async fn publish(mut group: Vec<Ready>) {
    while let Some(first) = group.first() {
        let batch = first.batch.clone();
        let images = group.iter().map(|ready| ready.prepared.clone()).collect();
        match batch.publish(images).await {
            Ok(outcomes) => {
                for (ready, outcome) in group.drain(..).zip(outcomes) {
                    // Nobody waits for an image whose conversion was given up.
                    let _ = ready.published.send(outcome);
                }
            }
            Err(error) if group.len() > 1 && error.is_in_the_way() => {
                let rest = group.split_off(group.len() / 2);
                Box::pin(publish(group)).await;
                group = rest;
            }
            Err(error) => {
                let error = Arc::new(error);
                for ready in group.drain(..) {
                    let _ = ready.published.send(Err(Error::Group(Arc::clone(&error))));
                }
            }
        }
    }
}
