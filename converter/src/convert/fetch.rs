//! Layers on their way from the source into a transaction.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use layer_layout::{RepositoryPath, path};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::target::Layer;
use crate::error::LayerError;
use crate::layer::{LayerReader, Limits};
use crate::progress::LayerProgress;
use crate::repository::{LayerWriter, OpenEnds, SharedTransaction};
use crate::source::{BlobReader, Source};
use crate::{Error, Result};

/// A layer, and where it is to be unpacked.
#[derive(Debug)]
pub(super) struct Unpacking {
    pub(super) layer: Layer,
    pub(super) path: RepositoryPath,
}

impl Unpacking {
    /// At the path where every image finds the layer.
    pub(super) fn for_all_images(layer: Layer) -> Self {
        Self { path: path::layerfs(&layer.digest()), layer }
    }
}

/// A layer to fetch.
pub(super) struct Job {
    /// The image as its user named it.
    pub(super) image: String,
    pub(super) unpacking: Unpacking,
    pub(super) progress: LayerProgress,
    pub(super) limits: Limits,
}

/// A layer that is unpacked and verified.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// Size of the uncompressed tar in bytes.
    pub(super) unpacked_bytes: u64,
    pub(super) open_ends: OpenEnds,
}

/// Fetches, verifies and unpacks layers; the source limits how many at a time. After the first failure
/// the others are stopped, and this returns when all have. The result is by path.
pub(super) async fn all(
    source: &Arc<Source>,
    transaction: &SharedTransaction,
    jobs: Vec<Job>,
    cancel: &CancellationToken,
) -> Result<BTreeMap<RepositoryPath, Unpacked>> {
    let stop = cancel.child_token();
    let mut tasks = JoinSet::new();
    for job in jobs {
        let (source, transaction, stop) =
            (Arc::clone(source), Arc::clone(transaction), stop.clone());
        tasks.spawn(async move { one(&source, transaction, job, stop).await });
    }
    let mut unpacked = BTreeMap::new();
    let mut failure = None;
    while let Some(result) = tasks.join_next().await {
        match result.map_err(Error::from).flatten() {
            Ok((path, layer)) => {
                unpacked.insert(path, layer);
            }
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
        None => Ok(unpacked),
    }
}

/// Fetches, verifies and unpacks one layer.
async fn one(
    source: &Source,
    transaction: SharedTransaction,
    job: Job,
    stop: CancellationToken,
) -> Result<(RepositoryPath, Unpacked)> {
    let Job { image, unpacking: Unpacking { layer, path }, progress, limits } = job;
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
        let writer = transaction.layer_writer(&destination)?;
        unpack(blob, writer, &layer, limits)
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
    progress.done(unpacked.unpacked_bytes);
    Ok((path, unpacked))
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
    Ok(Unpacked { unpacked_bytes: summary.unpacked_bytes, open_ends: writer.finish()? })
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
