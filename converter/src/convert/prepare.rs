//! Puts everything of an image into a transaction. All of this may block.

use layer_layout::path::{self, LayerMetadata};
use layer_layout::record::{LayerRecord, OriginRecord};

use super::layer_stack::LayerStack;
use super::workspace::Workspace;
use crate::repository::Published;
use crate::{Error, Result, singularity};

impl Workspace {
    /// Writes DUCC's records of the layers: for new ones what they are, for all of them that this image uses them.
    pub(super) fn write_layer_records(&self, stack: &LayerStack) -> Result<()> {
        for layer in self.target.distinct_layers() {
            let digest = layer.digest();
            if let Some(unpacked) = stack.unpacked(&digest) {
                let records = path::layer_metadata(&digest, LayerMetadata::Layers);
                let now = jiff::Timestamp::now().to_string();
                let record = LayerRecord::new(digest, layer.diff_id, unpacked.unpacked_bytes, now);
                self.transaction.write_file(&records, &record.to_json())?;
            }
            let origins = path::layer_metadata(&digest, LayerMetadata::Origin);
            let mut record = match self.repository.read(&origins)? {
                Some(json) => OriginRecord::parse(&json).map_err(|error| Error::Image {
                    image: self.target.image.reference.clone(),
                    reason: format!("{origins} in the repository is broken: {error}"),
                })?,
                None => OriginRecord::default(),
            };
            if record.add(self.target.config_digest()) {
                self.transaction.write_file(&origins, &record.to_json())?;
            }
        }
        Ok(())
    }

    /// The merged root.
    pub(super) fn merge(&self, stack: &LayerStack) -> Result<()> {
        let Some(top) = self.target.top_chain() else { return Ok(()) };
        let rootfs = path::chain_rootfs(&top);
        if self.is_absent(&rootfs)? {
            self.transaction.merge(&rootfs, stack.lower_directories())?;
        }
        Ok(())
    }

    /// The flat root, if one was asked for. Returns remarks for the report.
    pub(super) fn make_flat(&self) -> Result<Vec<String>> {
        let Some(top) = self.target.top_chain() else { return Ok(Vec::new()) };
        let flat = path::flat(&self.target.config_digest());
        if !self.target.flat || !self.is_absent(&flat)? {
            return Ok(Vec::new());
        }
        let mut tree = self.transaction.share(&flat, &path::chain_rootfs(&top))?;
        Ok(singularity::add_files(&mut *tree, &self.target.config)?)
    }

    /// The names under which all of it is found.
    pub(super) fn write_names(&self, stack: &LayerStack) -> Result<()> {
        for (layer, path) in self.target.layers.iter().zip(stack.paths()) {
            let link = path::chain_layer(&layer.chain);
            if self.is_absent(&link)? {
                self.transaction.symlink(&link, &link.link_to(path))?;
            }
        }
        for (path, bytes) in self.target.documents() {
            self.transaction.write_file(&path, bytes)?;
        }
        if self.target.flat {
            let (link, link_target) = self.target.public_link();
            if self.repository.lookup(&link)? != Some(Published::Symlink(link_target.clone())) {
                self.transaction.symlink(&link, &link_target)?;
            }
        }
        Ok(())
    }
}
