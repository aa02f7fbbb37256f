//! The thin image: a manifest whose layers nodes find in the repository.

use layer_layout::{RegistryReference, thin};

use super::resolve::Resolved;
use crate::{Result, report, source};

/// A thin image to push.
#[derive(Debug, Clone)]
pub struct ThinRequest {
    /// Where to.
    pub reference: RegistryReference,
    /// Which form.
    pub form: ThinForm,
}

/// The forms of a thin image, see [`layer_layout::thin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThinForm {
    /// For nodes with the snapshotter: the original's configuration and a placeholder for each layer.
    Snapshotter,
    /// DUCC's: one layer that lists all.
    GraphDriver,
}

/// Pushes the thin image of a published image; `repository` is what the repository is called on the nodes.
///
/// # Errors
/// If it cannot be made, or the registry does not take it.
pub async fn push_thin(
    request: &ThinRequest,
    image: &Resolved,
    repository: &str,
    options: &source::Options,
) -> Result<report::Thin> {
    let target = image.first();
    let original = thin::Original {
        origin: &target.image.reference,
        manifest: &target.image.manifest.bytes,
        media_type: &target.image.manifest.media_type,
        config: &target.config_bytes,
        repository,
    };
    let thin = match request.form {
        ThinForm::Snapshotter => thin::snapshotter_image(&original)?,
        ThinForm::GraphDriver => thin::graphdriver_image(&original)?,
    };
    let pushed = source::push_thin(&request.reference, &thin, options).await?;
    tracing::info!(image = %request.reference, digest = %pushed.digest,
        "{}", if pushed.pushed { "thin image pushed" } else { "thin image is up to date" });
    Ok(report::Thin {
        reference: request.reference.to_string(),
        digest: pushed.digest,
        pushed: pushed.pushed,
    })
}
