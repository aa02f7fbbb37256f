//! What an image adds to a transaction, besides its layers. All of this may block.

use layer_layout::RepositoryPath;
use layer_layout::path::{self, LayerMetadata};
use layer_layout::record::LayerRecord;

use super::layer_stack::{LayerStack, record_path};
use super::target::{Layer, Target};
use super::workspace::Workspace;
use crate::repository::Published;
use crate::{Result, singularity};

impl Target {
    /// Makes the merged root.
    pub(super) fn merge(&self, work: &Workspace, lower: &[RepositoryPath]) -> Result<()> {
        let Some(top) = self.top_chain() else { return Ok(()) };
        let rootfs = path::chain_rootfs(&top);
        if !self.again.trees && !work.is_absent(&rootfs)? {
            return Ok(());
        }
        if self.again.trees {
            work.transaction.replace(&rootfs)?;
        }
        Ok(work.transaction.merge(&rootfs, lower)?)
    }

    /// Makes the flat root. Returns remarks for the report.
    pub(super) fn make_flat(&self, work: &Workspace) -> Result<Vec<String>> {
        let flat = path::flat(&self.config_digest());
        let again = self.again.trees || self.has_unfit_flat(&*work.repository)?;
        if !again && !work.is_absent(&flat)? {
            return Ok(Vec::new());
        }
        if again {
            work.transaction.replace(&flat)?;
        }
        let rootfs = self.top_chain().map(|top| path::chain_rootfs(&top));
        let mut tree = work.transaction.share(&flat, rootfs.as_ref())?;
        Ok(singularity::add_files(&mut *tree, &self.config)?)
    }

    /// Writes the records of layers that are new, and adds to `paths` all that is to be published before names.
    pub(super) fn write_records(
        &self,
        work: &Workspace,
        stack: &LayerStack,
        paths: &mut Vec<RepositoryPath>,
    ) -> Result<()> {
        for path in self.trees(stack) {
            if work.transaction.is_prepared(&path) {
                paths.push(path);
            } else {
                work.transaction.rely_on(&path)?;
            }
        }
        let mut files = Files { work, paths };
        for layer in self.distinct_layers() {
            write_layer_records(&mut files, layer)?;
        }
        Ok(())
    }

    /// Writes links and documents, and adds them to `paths`, the public link last.
    pub(super) fn write_names(
        &self,
        work: &Workspace,
        stack: &LayerStack,
        paths: &mut Vec<RepositoryPath>,
    ) -> Result<()> {
        let mut files = Files { work, paths };
        for (layer, place) in self.layers.iter().zip(stack.paths()) {
            let link = path::chain_layer(&layer.chain);
            files.link(&link, link.link_to(place))?;
        }
        for (path, bytes) in self.documents() {
            files.write(&path, bytes)?;
        }
        if self.flat {
            let (link, target) = self.public_link();
            files.link(&link, target)?;
        }
        Ok(())
    }

    /// The trees that the image consists of.
    pub(super) fn trees(&self, stack: &LayerStack) -> Vec<RepositoryPath> {
        let mut trees: Vec<_> = stack.paths().to_vec();
        trees.extend(self.distinct_layers().map(|layer| path::layerfs(&layer.digest())));
        trees.extend(self.top_chain().map(|top| path::chain_rootfs(&top)));
        trees.extend(self.flat.then(|| path::flat(&self.config_digest())));
        trees.sort();
        trees.dedup();
        trees
    }
}

/// Writes DUCC's records of a layer that is new: what it is.
fn write_layer_records(files: &mut Files<'_>, layer: &Layer) -> Result<()> {
    let digest = layer.digest();
    let (unpacked, parent) = {
        let layers = files.work.layers();
        let unpacked = layers.unpacked.get(&path::layerfs(&digest)).cloned();
        (unpacked, layers.records.get(&digest).cloned().flatten())
    };
    let Some(unpacked) = unpacked else { return Ok(()) };
    let now = jiff::Timestamp::now().to_string();
    let record = LayerRecord::new(digest, layer.diff_id, unpacked.bytes, now);
    let path = path::layer_metadata(&digest, LayerMetadata::Layers);
    files.write(&path, &record.to_json())?;
    match parent {
        Some(parent) => files.write(&record_path(digest), &parent.to_json()),
        // One that stood there for the layer that is replaced.
        None => files.remove(&record_path(digest)),
    }
}

/// Small files and links on their way into a repository. What is there already is left alone.
pub(super) struct Files<'a> {
    pub(super) work: &'a Workspace,
    pub(super) paths: &'a mut Vec<RepositoryPath>,
}

impl Files<'_> {
    fn write(&mut self, path: &RepositoryPath, content: &[u8]) -> Result<()> {
        if self.work.transaction.read(path)?.as_deref() != Some(content) {
            self.work.transaction.write_file(path, content)?;
        }
        self.paths.push(path.clone());
        Ok(())
    }

    pub(super) fn link(&mut self, path: &RepositoryPath, target: String) -> Result<()> {
        if self.work.transaction.lookup(path)? != Some(Published::Symlink(target.clone())) {
            self.work.transaction.symlink(path, &target)?;
        }
        self.paths.push(path.clone());
        Ok(())
    }

    fn remove(&mut self, path: &RepositoryPath) -> Result<()> {
        if self.work.transaction.lookup(path)?.is_some() {
            self.work.transaction.remove(path)?;
            self.paths.push(path.clone());
        }
        Ok(())
    }
}
