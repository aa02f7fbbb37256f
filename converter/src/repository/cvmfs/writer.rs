//! Unpacking a layer: its names go into a scratch database, its content on the way into the storage.

use std::sync::Arc;

use cvmfs_repository::catalog::MARKER;

use super::area::Area;
use super::recipe::Recipe;
use super::shortfall::Shortfall;
use super::staged::Layer;
use crate::layer::{Content, Entry, Kind};
use crate::repository::layer_rules::LayerRules;
use crate::repository::ledger::Announcement;
use crate::repository::{LayerWriter, OpenEnds, Result};

/// Unpacks one layer.
pub(super) struct Writer {
    area: Arc<Area>,
    announced: Announcement,
    rules: LayerRules<Layer>,
}

impl Writer {
    pub(super) fn new(area: Arc<Area>, announced: Announcement) -> Result<Self> {
        let layer = Layer::create(&area.database(), area.objects.upload())?;
        Ok(Self { area, announced, rules: LayerRules::new(layer) })
    }
}

impl LayerWriter for Writer {
    fn apply(&mut self, entry: &Entry, content: &mut Content<'_>) -> Result<()> {
        self.rules.apply(entry, content)?;
        let name = entry.path.split().map(|(_, name)| name);
        if name == Some(MARKER) && !matches!(entry.kind, Kind::Whiteout | Kind::Opaque) {
            self.rules.store().count(Shortfall::ReservedName, &entry.path);
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<OpenEnds> {
        let Self { area, announced, rules } = *self;
        let (layer, open_ends) = rules.finish()?;
        let (tree, shortfalls) = layer.finish(&area.objects)?;
        area.tally.add(shortfalls);
        area.complete(&announced, Recipe::Staged(Arc::new(tree)));
        Ok(open_ends)
    }
}
