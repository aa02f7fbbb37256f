//! The images of one reference for several platforms.

use layer_layout::Platform;

use super::pull::Registry;
use crate::source::error::{DocumentError, Error, Result};
use crate::source::image::{Image, KnownManifest};
use crate::source::manifest::Parsed;
use crate::source::platforms::{Images, Platforms, Remark, of_config};

impl Registry {
    pub(in crate::source) async fn resolve_all(
        &self,
        wanted: &Platforms,
        known: &[KnownManifest],
    ) -> Result<Images> {
        let (first, parsed) = self.first().await?;
        let mut found = Images { images: Vec::new(), remarks: Vec::new() };
        let mut others = Vec::new();
        match parsed {
            Parsed::Manifest(manifest) => {
                let image = self.of_manifest(None, None, first, manifest);
                self.add(image, wanted, &mut found, &mut others).await?;
            }
            Parsed::Index(entries) => {
                let (selected, remarks) = wanted.select(&self.image, &entries);
                found.remarks = remarks;
                others.extend(entries.iter().filter_map(|entry| entry.platform.clone()));
                for entry in selected {
                    let (document, manifest) = match self.of_entry(entry, known).await {
                        // An entry that does not say what it is for may be anything.
                        Err(Error::Document { reason, .. })
                            if entry.platform.is_none()
                                && matches!(*reason, DocumentError::Artifact(_)) =>
                        {
                            found.remarks.push(Remark::NotAnImage(entry.digest));
                            continue;
                        }
                        read => read?,
                    };
                    let platform = entry.platform.clone();
                    let image = self.of_manifest(Some(first.clone()), platform, document, manifest);
                    self.add(image, wanted, &mut found, &mut others).await?;
                }
            }
        }
        if found.images.is_empty() {
            return Err(wanted.refusal(&self.image, others));
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
            let earlier =
                found.images.iter().find(|earlier| earlier.platform.as_ref() == Some(&platform));
            if let Some(earlier) = earlier {
                found.remarks.push(Remark::Duplicate {
                    platform,
                    taken: earlier.manifest.digest,
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
