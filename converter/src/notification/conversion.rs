//! The conversion of one image, as others are told of it.

use std::time::Instant;

use layer_layout::path;

use super::{Ended, Event, Id, Notifications};
use crate::report::Report;

/// An image that is being converted. Its listeners have been told so.
#[derive(Debug)]
pub struct Conversion<'a> {
    notifications: &'a Notifications,
    request: String,
    id: Id,
    begun: Instant,
}

impl<'a> Conversion<'a> {
    /// Tells that an image is about to be converted; `request` is the image as it was asked for.
    pub fn started(notifications: &'a Notifications, request: &str) -> Self {
        let (request, id) = (request.to_owned(), Id::random());
        notifications.tell(&Event::ImageStarted { request: &request, id: &id });
        Self { notifications, request, id, begun: Instant::now() }
    }

    /// Tells which layers the image has brought and where its flat root is. `name` is its public name.
    pub fn published(&self, name: &str, report: &Report) {
        for layer in report.layers.iter().filter(|layer| layer.fetched) {
            let layer = layer.digest.hex();
            self.notifications.tell(&Event::LayerPublished { image: name, layer: &layer });
        }
        if let (Some(public_path), Some(config)) = (&report.public_path, &report.config_digest) {
            let private_path = path::flat(config).to_string();
            self.notifications.tell(&Event::FlatPublished {
                request: &self.request,
                public_path,
                private_path: &private_path,
            });
        }
    }

    /// Tells that the conversion has ended, and why it has failed if it has.
    pub fn ended(self, error: Option<&str>) {
        let ended = Ended { error, elapsed: self.begun.elapsed() };
        let (request, id) = (&self.request, &self.id);
        self.notifications.tell(&Event::ImageEnded { request, id, ended });
    }
}
