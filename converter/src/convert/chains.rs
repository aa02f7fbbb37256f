//! The stack of an image's layers, each at the place where its content is right above the ones below it.
//!
//! See the head of [`layer_layout::path`], "Layers that need their parents".

use std::collections::BTreeMap;

use layer_layout::path::{self, LayerMetadata};
use layer_layout::record::ParentRecord;
use layer_layout::{ChainId, LayerDigest, RepositoryPath};

use super::fetch::Fetched;
use super::target::{Layer, Target};
use crate::repository::{OpenEnds, Published, Repository, Transaction};
use crate::{Error, Result};

/// Fetches and unpacks a layer once more, at another place.
pub(super) type UnpackAgain<'a> = &'a dyn Fn(&Layer, &RepositoryPath) -> Result<OpenEnds>;

/// Where the layers of an image stand.
pub(super) struct Stack {
    /// The place of each layer, base first.
    pub(super) places: Vec<RepositoryPath>,
    /// The order of overlayfs's `lowerdir`, each directory once, at its topmost place.
    pub(super) topmost_first: Vec<RepositoryPath>,
}

/// Completes the layers that need it.
pub(super) fn settle(
    transaction: &dyn Transaction,
    repository: &dyn Repository,
    target: &Target,
    fetched: &BTreeMap<LayerDigest, Fetched>,
    unpack_again: UnpackAgain<'_>,
) -> Result<Stack> {
    let image = &target.image.reference;
    let records = BTreeMap::new();
    let mut settlement = Settlement { transaction, repository, image, unpack_again, records };
    let mut parents: Vec<RepositoryPath> = Vec::new();
    let mut places = Vec::new();
    let mut below = None;
    for layer in &target.layers {
        let place = settlement.place(layer, fetched.get(&layer.digest()), below, &parents)?;
        // The same directory twice in a stack shows what its topmost place alone shows.
        parents.retain(|parent| *parent != place);
        parents.insert(0, place.clone());
        places.push(place);
        below = Some(layer.chain);
    }
    Ok(Stack { places, topmost_first: parents })
}

struct Settlement<'a> {
    transaction: &'a dyn Transaction,
    repository: &'a dyn Repository,
    image: &'a str,
    unpack_again: UnpackAgain<'a>,
    /// Layers of this run whose place in `.layers` is settled.
    records: BTreeMap<LayerDigest, Option<ParentRecord>>,
}

impl Settlement<'_> {
    /// Where `layer` stands above `parents` (topmost first), whose chain is `below`.
    fn place(
        &mut self,
        layer: &Layer,
        fetched: Option<&Fetched>,
        below: Option<ChainId>,
        parents: &[RepositoryPath],
    ) -> Result<RepositoryPath> {
        let digest = layer.digest();
        let shared = path::layerfs(&digest);
        let record = match (self.records.get(&digest), fetched) {
            (Some(record), _) => record.clone(),
            (None, Some(fetched)) => {
                let record = self.complete(digest, &fetched.open_ends, below, parents)?;
                self.records.insert(digest, record);
                return Ok(shared);
            }
            (None, None) => self.published_record(digest)?,
        };
        let Some(record) = record else { return Ok(shared) };
        if record.parent == below
            || self.transaction.completion(&record.open_ends, parents)? == record.completion
        {
            return Ok(shared);
        }
        let variant = path::chain_layerfs(&layer.chain);
        if self.repository.lookup(&variant)? != Some(Published::Directory) {
            let open_ends = (self.unpack_again)(layer, &variant)?;
            self.transaction.complete_layer(&variant, &open_ends, parents)?;
        }
        Ok(variant)
    }

    /// Completes a layer of this run, and writes down above what.
    fn complete(
        &self,
        digest: LayerDigest,
        open_ends: &OpenEnds,
        parent: Option<ChainId>,
        parents: &[RepositoryPath],
    ) -> Result<Option<ParentRecord>> {
        if open_ends.is_empty() {
            return Ok(None);
        }
        let shared = path::layerfs(&digest);
        let completion = self.transaction.complete_layer(&shared, open_ends, parents)?;
        let record = ParentRecord { parent, open_ends: open_ends.clone(), completion };
        self.transaction.write_file(&record_path(digest), &record.to_json())?;
        Ok(Some(record))
    }

    fn published_record(&self, digest: LayerDigest) -> Result<Option<ParentRecord>> {
        let path = record_path(digest);
        let Some(json) = self.repository.read(&path)? else { return Ok(None) };
        ParentRecord::parse(&json)
            .map(Some)
            .map_err(|error| self.wrong(format!("{path} in the repository is broken: {error}")))
    }

    fn wrong(&self, reason: String) -> Error {
        Error::Image { image: self.image.to_owned(), reason }
    }
}

fn record_path(digest: LayerDigest) -> RepositoryPath {
    path::layer_metadata(&digest, LayerMetadata::Parent)
}
