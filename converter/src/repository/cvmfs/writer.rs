//! Unpacking a layer: its names go into a scratch database, its content on the way into the storage.

use std::path::PathBuf;
use std::sync::Arc;

use cvmfs_repository::catalog::MARKER;
use cvmfs_repository::objects::Upload;
use layer_layout::RepositoryPath;

use super::attributes::pack;
use super::change::{Core, Recipe};
use super::remarks::{Remark, Remarks, has_variable};
use super::staged::Layer;
use crate::layer::{Content, Entry, Kind, LayerPath};
use crate::repository::{Error, LayerWriter, OpenEnds, Result};

/// After so many files it is asked which are stored.
const COLLECT_AFTER: u32 = 256;

/// Unpacks one layer.
pub(super) struct Writer {
    core: Arc<Core>,
    path: RepositoryPath,
    database: PathBuf,
    layer: Layer,
    upload: Upload,
    /// Files that are on their way since the last look.
    sent: u32,
    has_empty_files: bool,
    remarks: Remarks,
}

impl Writer {
    pub(super) fn new(core: Arc<Core>, path: RepositoryPath) -> Result<Self> {
        let database = core.database();
        let layer = Layer::create(&database)?;
        let upload = core.objects.upload();
        let remarks = Remarks::default();
        Ok(Self { core, path, database, layer, upload, sent: 0, has_empty_files: false, remarks })
    }

    fn send(
        &mut self,
        path: &LayerPath,
        number: i64,
        size: u64,
        content: &mut Content<'_>,
    ) -> Result<()> {
        self.upload.file(number.cast_unsigned(), size, content).map_err(|error| match error {
            cvmfs_repository::Error::Content(cause) => Error::Content { path: path.clone(), cause },
            error => error.into(),
        })?;
        self.sent += 1;
        if self.sent == COLLECT_AFTER {
            self.sent = 0;
            for (number, file) in self.upload.finished() {
                self.layer.set_content(number.cast_signed(), &file)?;
            }
        }
        Ok(())
    }
}

impl LayerWriter for Writer {
    fn apply(&mut self, entry: &Entry, content: &mut Content<'_>) -> Result<()> {
        let attributes = pack(&entry.metadata, &entry.kind, &entry.path, &mut self.remarks);
        let number = self.layer.apply(entry, attributes)?;
        let name = entry.path.split().map(|(_, name)| name);
        if name == Some(MARKER) && !matches!(entry.kind, Kind::Whiteout | Kind::Opaque) {
            self.remarks.add(Remark::ReservedName, &entry.path);
        }
        match &entry.kind {
            Kind::File { size: 0 } => self.has_empty_files = true,
            Kind::Symlink { target } if has_variable(target) => {
                self.remarks.add(Remark::Variable, &entry.path);
            }
            _ => {}
        }
        match (number, &entry.kind) {
            (Some(number), &Kind::File { size }) => self.send(&entry.path, number, size, content),
            _ => Ok(()),
        }
    }

    fn finish(self: Box<Self>) -> Result<OpenEnds> {
        let Self { core, path, database, mut layer, upload, has_empty_files, remarks, .. } = *self;
        for (number, file) in upload.wait()? {
            layer.set_content(number.cast_signed(), &file)?;
        }
        if has_empty_files {
            layer.set_empty(&core.objects.store_file(b"")?)?;
        }
        let finished = layer.finish(&database)?;
        core.tally.add(remarks);
        core.complete(&path, Recipe::Staged(Arc::new(finished.tree)));
        Ok(finished.open_ends)
    }
}
