//! All of an image into a transaction, and the transaction into the repository.

use std::collections::BTreeMap;
use std::sync::Arc;

use layer_layout::path::{self, LayerMetadata};
use layer_layout::record::{LayerRecord, OriginRecord};
use layer_layout::{LayerDigest, RepositoryPath};

use super::chains::{self, UnpackAgain};
use super::fetch::Fetched;
use super::target::Target;
use crate::repository::{Published, Repository, SharedTransaction, Transaction};
use crate::{Error, Result, singularity};

/// Builds what is missing of the image from its layers, names last, and makes it visible. Returns remarks
/// for the report.
pub(super) fn publish(
    transaction: SharedTransaction,
    repository: &dyn Repository,
    target: &Target,
    fetched: &BTreeMap<LayerDigest, Fetched>,
    unpack_again: UnpackAgain<'_>,
) -> Result<Vec<String>> {
    write_layer_records(&**transaction, repository, target, fetched)?;
    let stack = chains::settle(&**transaction, repository, target, fetched, unpack_again)?;
    let absent = |path: &RepositoryPath| -> Result<bool> { Ok(repository.lookup(path)?.is_none()) };
    let mut remarks = Vec::new();

    if let Some(top) = target.top_chain() {
        let rootfs = path::chain_rootfs(&top);
        if absent(&rootfs)? {
            transaction.merge(&rootfs, &stack.topmost_first)?;
        }
        let flat = path::flat(&target.config_digest());
        if target.flat && absent(&flat)? {
            let mut tree = transaction.share(&flat, &rootfs)?;
            remarks = singularity::add_files(&mut *tree, &target.config)?;
        }
    }
    for (layer, place) in target.layers.iter().zip(&stack.places) {
        let link = path::chain_layer(&layer.chain);
        if absent(&link)? {
            transaction.symlink(&link, &link.link_to(place))?;
        }
    }
    for (path, bytes) in target.documents() {
        transaction.write_file(&path, bytes)?;
    }
    if target.flat {
        let (link, link_target) = target.public_link();
        if repository.lookup(&link)? != Some(Published::Symlink(link_target.clone())) {
            transaction.symlink(&link, &link_target)?;
        }
    }
    remarks.extend(transaction.shortfalls());
    let transaction = Arc::into_inner(transaction).ok_or_else(|| Error::Image {
        image: target.image.reference.clone(),
        reason: "internal error: a layer is still being unpacked".to_owned(),
    })?;
    transaction.commit()?;
    Ok(remarks)
}

/// DUCC's records of the layers: of new ones what they are, of all that this image uses them.
fn write_layer_records(
    transaction: &dyn Transaction,
    repository: &dyn Repository,
    target: &Target,
    fetched: &BTreeMap<LayerDigest, Fetched>,
) -> Result<()> {
    for layer in target.distinct_layers() {
        let digest = layer.digest();
        if let Some(fetched) = fetched.get(&digest) {
            let records = path::layer_metadata(&digest, LayerMetadata::Layers);
            let now = jiff::Timestamp::now().to_string();
            let record = LayerRecord::new(digest, layer.diff_id, fetched.unpacked_bytes, now);
            transaction.write_file(&records, &record.to_json())?;
        }
        let origins = path::layer_metadata(&digest, LayerMetadata::Origin);
        let mut record = match repository.read(&origins)? {
            Some(json) => OriginRecord::parse(&json).map_err(|error| Error::Image {
                image: target.image.reference.clone(),
                reason: format!("{origins} in the repository is broken: {error}"),
            })?,
            None => OriginRecord::default(),
        };
        if record.add(target.config_digest()) {
            transaction.write_file(&origins, &record.to_json())?;
        }
    }
    Ok(())
}
