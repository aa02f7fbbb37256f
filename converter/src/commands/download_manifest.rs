//! `ducc download-manifest`.

use anyhow::Context;
use ducc::source::{self, Image, Source};
use layer_layout::{ImageReference, RegistryReference};
use serde::Serialize;

use super::source_options::source_options;
use crate::cli::wish::DownloadManifest;
use crate::screen;

/// A manifest with the names that Go gives to members without names of their own.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest {
    schema_version: u8,
    media_type: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Descriptor {
    media_type: String,
    size: u64,
    digest: String,
}

impl From<Image> for Manifest {
    fn from(image: Image) -> Self {
        let config = Descriptor {
            media_type: image.config.media_type,
            size: image.config.size,
            digest: image.config.digest.to_string(),
        };
        let layers = image.layers.into_iter().map(|layer| Descriptor {
            media_type: layer.media_type,
            size: layer.size,
            digest: layer.digest.to_string(),
        });
        Self {
            // Others have been refused.
            schema_version: 2,
            media_type: image.manifest.media_type,
            config,
            layers: layers.collect(),
        }
    }
}

/// Prints the manifest of the first image.
pub(crate) async fn run(arguments: DownloadManifest) -> anyhow::Result<()> {
    let image = arguments.images.first().context("no image was named")?;
    let reference: RegistryReference = image.parse()?;
    let mut options = source_options(&arguments.download, arguments.platform)?;
    if !arguments.username.is_empty() {
        let password = source::credentials::push_password().context("--username")?;
        let (registry, user) = (reference.registry(), &arguments.username);
        options.credentials = options.credentials.with_login(registry, user, &password);
    }
    let source = Source::open(&ImageReference::Registry(reference), &options).await?;
    let manifest = Manifest::from(source.resolve(None).await?);
    screen::say(serde_json::to_string_pretty(&manifest)?);
    Ok(())
}
