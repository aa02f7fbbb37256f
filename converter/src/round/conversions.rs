//! The images of a round on their way into the repository: prepared several at a time, published in groups.
//!
//! All of them are prepared in one batch, so that what they share is made once. The batch ends, and another begins,
//! when a garbage collection has made worthless what is prepared or space is wanted, and now and then so that others who
//! wait for the repository's lock get their turn.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedRwLockReadGuard, RwLock, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::grouping::{Grouping, Whereabouts};
use super::slots::{Slot, Slots};
use crate::attempts::Attempts;
use crate::convert::{self, Batch, BatchSettings, BatchTurn, Prepared, Request, Resolved};
use crate::report::{Report, Status};
use crate::repository::Repository;
use crate::{Error, Result};

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
    slots: Slots,
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
            slots: Slots::new(settings.jobs.max(1)),
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

    /// Converts an image, and tells the report all that is known, also if it fails. `image` is what it is now, if that
    /// is known already, and `place` its place in the round.
    pub(super) async fn convert(
        &self,
        request: &Request,
        mut image: Option<Resolved>,
        place: usize,
        report: &mut Report,
    ) -> Result<Resolved> {
        let attempts = Attempts::default();
        loop {
            let waiting = Whereabout::new(&self.0, |whereabouts| &mut whereabouts.outside);
            let slot = self.0.slots.acquire(place).await;
            let Shared { repository, cancel, .. } = &*self.0;
            let image = match image.take() {
                Some(image) => image,
                None => convert::resolve(request, repository, cancel, report).await?,
            };
            if image.is_published() {
                report.status = Status::UpToDate;
                return Ok(image);
            }
            match self.publish(&image, &attempts, waiting, slot, report).await {
                Ok(()) => {
                    report.status = Status::Converted;
                    return Ok(image);
                }
                Err(error) if error.is_overtaken() => {
                    attempts.again()?;
                    tracing::info!("{error}: doing so");
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn publish(
        &self,
        image: &Resolved,
        attempts: &Attempts,
        waiting: Whereabout<'_>,
        slot: Slot,
        report: &mut Report,
    ) -> Result<()> {
        let current = self.enter().await?;
        let preparing = Whereabout::new(&self.0, |whereabouts| &mut whereabouts.inside);
        drop(waiting);
        let batch = current.batch.clone().expect("a batch that was entered has begun");
        let number = current.number;
        let prepared = match batch.prepare(image, attempts, report).await {
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
            let turn = await_turn(&held, &mut group, &mut queue).await;
            let number = group.len();
            match turn {
                Ok(turn) => publish(Some(turn), std::mem::take(&mut group)).await,
                Err(error) => fail(std::mem::take(&mut group), error),
            }
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

/// Stores what a group consists of and waits for its turn. What becomes ready meanwhile joins the group: the longer the
/// queue of publishers, the fewer and larger the revisions. An image that cannot be stored leaves the group.
async fn await_turn(
    shared: &Shared,
    group: &mut Vec<Ready>,
    queue: &mut mpsc::UnboundedReceiver<Ready>,
) -> Result<BatchTurn> {
    let Some(first) = group.first() else { return Err(Error::Cancelled) };
    let batch = first.batch.clone();
    store(shared, &batch, group).await?;
    let mut turn = pin!(batch.turn());
    loop {
        match turn_or_more(turn.as_mut(), queue).await {
            Next::Turn(turn) => return turn,
            Next::Joins(ready) => {
                let mut joining = vec![ready];
                let stored = store(shared, &batch, &mut joining).await;
                group.append(&mut joining);
                stored?;
            }
        }
    }
}

/// Stores images, and tells those that cannot be stored why: they are left out from then on.
///
/// # Errors
/// If none can be, because the batch ends or the user gives up.
async fn store(shared: &Shared, batch: &Batch, images: &mut Vec<Ready>) -> Result<()> {
    if images.len() > 1 {
        match batch.store(&prepared(images)).await {
            Err(error) if !error.concerns_batch() => tracing::debug!("one by one: {error}"),
            result => return result,
        }
    }
    let mut at = 0;
    while let Some(ready) = images.get(at) {
        match batch.store(std::slice::from_ref(&ready.prepared)).await {
            Ok(()) => at += 1,
            Err(error) if error.concerns_batch() => return Err(error),
            Err(error) => {
                // Nobody waits for an image whose conversion was given up.
                let _ = images.remove(at).published.send(Err(error));
                shared.counts(|whereabouts| whereabouts.ready -= 1);
            }
        }
    }
    Ok(())
}

/// What comes next for who waits for a turn.
#[derive(Debug, PartialEq, Eq)]
enum Next<R, T> {
    Turn(R),
    Joins(T),
}

/// Waits for a turn or for something to join. Who has the turn should not keep it from others for one more.
async fn turn_or_more<R, T>(
    turn: Pin<&mut impl Future<Output = R>>,
    queue: &mut mpsc::UnboundedReceiver<T>,
) -> Next<R, T> {
    tokio::select! {
        biased;
        turn = turn => Next::Turn(turn),
        Some(joins) = queue.recv() => Next::Joins(joins),
    }
}

fn prepared(group: &[Ready]) -> Vec<Prepared> {
    group.iter().map(|ready| ready.prepared.clone()).collect()
}

/// Tells the images of a group that they were not published.
fn fail(group: Vec<Ready>, error: Error) {
    let error = Arc::new(error);
    for ready in group {
        // Nobody waits for an image whose conversion was given up.
        let _ = ready.published.send(Err(Error::Group(Arc::clone(&error))));
    }
}

/// Publishes a group in a turn. If something in the way of one image keeps all from being published, the halves are tried,
/// each in a turn of its own.
async fn publish(mut turn: Option<BatchTurn>, mut group: Vec<Ready>) {
    while let Some(first) = group.first() {
        let turn = match turn.take() {
            Some(turn) => Ok(turn),
            None => first.batch.turn().await,
        };
        let published = match turn {
            Ok(turn) => turn.publish(prepared(&group)).await,
            Err(error) => Err(error),
        };
        match published {
            Ok(outcomes) => {
                for (ready, outcome) in group.drain(..).zip(outcomes) {
                    // Nobody waits for an image whose conversion was given up.
                    let _ = ready.published.send(outcome);
                }
            }
            Err(error) if group.len() > 1 && error.is_in_the_way() => {
                let rest = group.split_off(group.len() / 2);
                Box::pin(publish(None, group)).await;
                group = rest;
            }
            Err(error) => fail(std::mem::take(&mut group), error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_arrives_until_the_turn_comes_joins() {
        let (sender, mut queue) = mpsc::unbounded_channel();
        let (begin, turn) = oneshot::channel();
        (1..=3).for_each(|number| sender.send(number).unwrap());
        let mut turn = pin!(turn);
        assert_eq!(turn_or_more(turn.as_mut(), &mut queue).await, Next::Joins(1));
        assert_eq!(turn_or_more(turn.as_mut(), &mut queue).await, Next::Joins(2));
        begin.send("turn").unwrap();
        assert_eq!(turn_or_more(turn.as_mut(), &mut queue).await, Next::Turn(Ok("turn")));
        assert_eq!(queue.recv().await, Some(3), "it goes with the next group");
    }
}
