//! Layers on their way from the source into a transaction.

use std::io::Read;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use layer_layout::{LayerDigest, RepositoryPath};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::target::Layer;
use super::workspace::{Unpacked, Workspace};
use crate::error::LayerError;
use crate::layer::{LayerReader, Limits};
use crate::notification::{Ended, Event, Id, Notifications};
use crate::progress::LayerProgress;
use crate::repository::{LayerWriter, SharedTransaction};
use crate::source::{BlobReader, Source};
use crate::{Error, Result};

/// A layer, and where it is to be unpacked.
#[derive(Debug)]
pub(super) struct Unpacking {
    pub(super) layer: Layer,
    pub(super) path: RepositoryPath,
    /// Whether it takes the place of a published layer.
    pub(super) replaces: bool,
}

/// A layer to fetch.
pub(super) struct Job {
    /// The image as its user named it.
    pub(super) image: String,
    /// Its public name.
    pub(super) name: String,
    pub(super) unpacking: Unpacking,
    pub(super) progress: LayerProgress,
    pub(super) limits: Limits,
}

/// Fetches, verifies and unpacks layers; the source limits how many at a time. What another image of the batch fetches is
/// waited for instead. After the first failure the others are stopped, and this returns when all have. The result tells
/// which layers this image has fetched, with the sizes of their uncompressed tars.
pub(super) async fn all(
    source: &Arc<Source>,
    work: &Arc<Workspace>,
    jobs: Vec<Job>,
    cancel: &CancellationToken,
) -> Result<Vec<(LayerDigest, u64)>> {
    let stop = cancel.child_token();
    let mut tasks = JoinSet::new();
    for job in jobs {
        let (source, work, stop) = (Arc::clone(source), Arc::clone(work), stop.clone());
        tasks.spawn(async move { shared(&source, &work, job, stop).await });
    }
    let mut fetched = Vec::new();
    let mut failure = None;
    while let Some(result) = tasks.join_next().await {
        match result.map_err(Error::from).flatten() {
            Ok(layer) => fetched.extend(layer),
            Err(error) => {
                // Later failures come from being stopped.
                failure.get_or_insert(error);
                stop.cancel();
            }
        }
    }
    match failure {
        Some(_) if cancel.is_cancelled() => Err(Error::Cancelled),
        Some(error) => Err(error),
        None => Ok(fetched),
    }
}

/// Fetches a layer unless another image of the batch does.
async fn shared(
    source: &Source,
    work: &Arc<Workspace>,
    job: Job,
    stop: CancellationToken,
) -> Result<Option<(LayerDigest, u64)>> {
    let (path, layer) = (job.unpacking.path.clone(), job.unpacking.layer.digest());
    let mut fetched = None;
    let waiting = stop.clone();
    let fetching = AtomicBool::new(false);
    {
        let mut making = pin!(work.pool.once(&path, async || {
            fetching.store(true, Ordering::Relaxed);
            let told = Told::started(&work.notifications, job.name.clone(), layer);
            let unpacked = one(source, Arc::clone(&work.transaction), job, stop).await;
            told.ended(&unpacked);
            let unpacked = unpacked?;
            fetched = Some((layer, unpacked.bytes));
            work.layers().unpacked.insert(path.clone(), unpacked);
            Ok(())
        }));
        tokio::select! {
            made = &mut making => made?,
            () = waiting.cancelled() => {
                if !fetching.load(Ordering::Relaxed) {
                    return Err(Error::Cancelled);
                }
                // It stops by itself, and must not leave a thread behind that writes into the transaction.
                making.await?
            }
        };
    }
    Ok(fetched)
}

/// A layer whose beginning somebody was told of.
struct Told<'a> {
    notifications: &'a Notifications,
    image: String,
    layer: String,
    id: Id,
    begun: Instant,
}

impl<'a> Told<'a> {
    fn started(notifications: &'a Notifications, image: String, layer: LayerDigest) -> Self {
        let (layer, id) = (layer.hex(), Id::random());
        notifications.tell(&Event::LayerStarted { image: &image, layer: &layer, id: &id });
        Self { notifications, image, layer, id, begun: Instant::now() }
    }

    fn ended(self, unpacked: &Result<Unpacked>) {
        let error = unpacked.as_ref().err().map(ToString::to_string);
        self.notifications.tell(&Event::LayerEnded {
            image: &self.image,
            layer: &self.layer,
            id: &self.id,
            bytes: unpacked.as_ref().map_or(0, |unpacked| unpacked.bytes),
            ended: Ended { error: error.as_deref(), elapsed: self.begun.elapsed() },
        });
    }
}

/// Fetches, verifies and unpacks one layer.
async fn one(
    source: &Source,
    transaction: SharedTransaction,
    job: Job,
    stop: CancellationToken,
) -> Result<Unpacked> {
    let Job { image, name: _, unpacking: Unpacking { layer, path, replaces }, progress, limits } =
        job;
    let digest = layer.digest();
    let on_bytes = progress.clone();
    let blob = source.layer(&layer.blob, Arc::new(move |bytes| on_bytes.received(bytes)));
    let blob = match stop.run_until_cancelled(blob).await {
        None => return Err(Error::Cancelled),
        Some(blob) => match blob {
            Ok(blob) => blob,
            Err(error) => return Err(error.into()),
        },
    };
    let stopper = blob.stopper();
    let blob = Stoppable { blob, stop: stop.clone() };
    let destination = path.clone();
    let mut unpacking = tokio::task::spawn_blocking(move || {
        if replaces {
            transaction.replace(&destination)?;
        }
        let writer = transaction.layer_writer(&destination).map_err(LayerError::from);
        let unpacked = writer.and_then(|writer| unpack(blob, writer, &layer, limits));
        if unpacked.is_err()
            && let Err(error) = transaction.withdraw(&destination)
        {
            // It goes with the batch.
            tracing::warn!("{error}");
        }
        unpacked
    });
    let unpacked = tokio::select! {
        unpacked = &mut unpacking => unpacked?,
        () = stop.cancelled() => {
            // A read may be waiting for a peer that sends nothing.
            stopper.stop();
            unpacking.await?
        }
    };
    let unpacked = unpacked.map_err(|cause| Error::of_layer(&image, digest, cause))?;
    progress.done(unpacked.bytes);
    Ok(unpacked)
}

fn unpack(
    blob: impl Read + Send + 'static,
    mut writer: Box<dyn LayerWriter>,
    layer: &Layer,
    limits: Limits,
) -> Result<Unpacked, LayerError> {
    let mut reader = LayerReader::new(blob, limits)?;
    while let Some(entry) = reader.next_entry()? {
        writer.apply(&entry, &mut reader.content())?;
    }
    let summary = reader.finish()?;
    if summary.diff_id != layer.diff_id {
        return Err(LayerError::DiffId { expected: layer.diff_id, got: summary.diff_id });
    }
    Ok(Unpacked {
        diff_id: layer.diff_id,
        bytes: summary.unpacked_bytes,
        open_ends: writer.finish()?,
    })
}

/// A blob that ends with an error when nobody wants it any more.
struct Stoppable {
    blob: BlobReader,
    stop: CancellationToken,
}

impl Read for Stoppable {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.stop.is_cancelled() {
            return Err(std::io::Error::other("stopped"));
        }
        self.blob.read(buffer)
    }
}
