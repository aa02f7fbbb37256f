//! The images of one reference for several platforms.

use layer_layout::Platform;

use super::pull::Registry;
use crate::source::error::{DocumentError, Error, Part, Result};
use crate::source::image::{Image, KnownManifest};
use crate::source::manifest::Parsed;
use crate::source::platforms::{Images, Platforms, Remark, is_same, of_config};

impl Registry {
    pub(in crate::source) async fn resolve_all(
        &self,
        wanted: &Platforms,
        known: &[KnownManifest],
    ) -> Result<Images> {
        let (first, parsed) = self.first().await?;
        let mut found = Images { images: Vec::new(), remarks: Vec::new() };
        let mut others = Vec::new();
        let mut obstacle = None;
        match parsed {
            Parsed::Manifest(manifest) => {
                let image = self.image(None, None, first, manifest).await?;
                self.add(image, wanted, &mut found, &mut others).await?;
            }
            Parsed::Index(index) => {
                let index = self.flatten(index, |platform| wanted.accept(platform)).await?;
                let (mut selected, remarks) = wanted.select(&index.entries);
                found.remarks = remarks;
                others.extend(index.platforms());
                // What says what it is for comes first.
                selected.sort_by_key(|entry| entry.platform.is_none());
                for entry in selected {
                    let added = match self.of_entry(&first, entry, known).await {
                        Ok(image) => self.add(image, wanted, &mut found, &mut others).await,
                        Err(error) => Err(error),
                    };
                    match added {
                        // An entry that does not say what it is for may be anything.
                        Err(Error::Document { reason, .. })
                            if entry.platform.is_none()
                                && matches!(*reason, DocumentError::Artifact(_)) =>
                        {
                            found.remarks.push(Remark::NotAnImage(entry.digest));
                        }
                        Err(error @ (Error::Document { .. } | Error::LayerType { .. }))
                            if entry.platform.is_none() =>
                        {
                            found.remarks.push(Remark::Unusable(error.to_string()));
                            obstacle.get_or_insert(error);
                        }
                        added => added?,
                    }
                }
                for reason in wanted.obstacles(&index) {
                    let error = Error::unfit(&self.image, Part::Index, reason);
                    found.remarks.push(Remark::Unusable(error.to_string()));
                    obstacle.get_or_insert(error);
                }
                found.remarks.extend(wanted.missing(&found.images).map(Remark::Missing));
            }
        }
        if found.images.is_empty() {
            return Err(obstacle.unwrap_or_else(|| wanted.refusal(&self.image, others)));
        }
        self.check_policy(&found.images).await?;
        Ok(found)
    }

    /// Adds an image if it is wanted, now that it can be asked what it is for; otherwise notes its platform.
    async fn add(
        &self,
        mut image: Image,
        wanted: &Platforms,
        found: &mut Images,
        others: &mut Vec<Platform>,
    ) -> Result<()> {
        if image.platform.is_none() {
            let config = self.config(&image.config).await?;
            let platform = of_config(&self.image, &config)?;
            if !wanted.accept(&platform) {
                others.push(platform);
                return Ok(());
            }
            let is_earlier = |earlier: &&Image| {
                earlier.platform.as_ref().is_some_and(|it| is_same(it, &platform))
            };
            if let Some(earlier) = found.images.iter().find(is_earlier) {
                found.remarks.push(Remark::Duplicate {
                    taken: earlier.manifest.digest,
                    platform,
                    left_out: image.manifest.digest,
                });
                return Ok(());
            }
            // The caller will want it, too.
            self.keep_config(image.config.digest, config);
            image.platform = Some(platform);
        }
        found.images.push(image);
        Ok(())
    }
}
