//! When an image was made.

use jiff::Timestamp;
use layer_layout::RegistryReference;
use serde::Deserialize;

use super::error::{Error, Result};
use super::options::Options;
use super::platforms::Platforms;
use super::registry::Registry;

/// When the image was made, according to its configuration (OCI image-spec, `config.md`, "created"); `None` if
/// that does not say. Of an index, the image for [`Options::platform`] counts, or else its first one. The policy
/// does not matter here. Builds that are reproducible tend to give the same time, often 1970, for all images.
///
/// # Errors
/// If the image cannot be read.
pub async fn created(
    reference: &RegistryReference,
    options: &Options,
) -> Result<Option<Timestamp>> {
    let options = Options { policy: None, ..options.clone() };
    let registry = Registry::open(reference, &options)?;
    let image = match registry.resolve(None).await {
        Err(Error::Platform { available, .. }) if !available.is_empty() => {
            let any = Platforms::Listed(vec![available[0].clone()]);
            let mut found = registry.resolve_all(&any, &[]).await?;
            found.images.swap_remove(0)
        }
        other => other?,
    };
    let config = registry.config(&image.config).await?;
    Ok(of_config(&config))
}

fn of_config(config: &[u8]) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Config {
        created: Option<serde_json::Value>,
    }
    let config: Config = serde_json::from_slice(config).ok()?;
    config.created?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (config, expected) in [
            (r#"{"created":"2024-02-03T04:05:06.789Z"}"#, Some("2024-02-03T04:05:06.789Z")),
            (r#"{"created":"2024-02-03T06:05:06+02:00"}"#, Some("2024-02-03T04:05:06Z")),
            (r#"{"created":"0001-01-01T00:00:00Z"}"#, Some("0001-01-01T00:00:00Z")),
            (r#"{"created":"yesterday"}"#, None),
            (r#"{"created":5}"#, None),
            (r#"{"created":null}"#, None),
            ("{}", None),
        ] {
            let got = of_config(config.as_bytes()).map(|time| time.to_string());
            assert_eq!(got.as_deref(), expected, "{config}");
        }
    }
}
