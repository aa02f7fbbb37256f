//! The registries themselves, as the expansion asks them.

use jiff::Timestamp;
use layer_layout::ImageReference;
use serde::Deserialize;

use super::expand::{Created, Question, Tags};
use super::image::Platforms;
use crate::source::{self, Error, Failure, Options, Source};

/// Registries over the network.
#[derive(Debug, Clone)]
pub struct RegistryTags {
    options: Options,
}

impl RegistryTags {
    /// Asks as `options` say.
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    /// The options for a question: with its credentials, for the first of its platforms.
    fn options(&self, question: &Question) -> source::Result<Options> {
        let mut options = self.options.clone();
        if let Some(name) = &question.credentials {
            options.credentials = options.credentials.named(name, question.reference.registry())?;
        }
        if let Platforms::List(platforms) = &question.platforms
            && let Some(first) = platforms.first()
        {
            options.platform = first.clone();
        }
        Ok(options)
    }
}

impl Tags for RegistryTags {
    async fn list_tags(&self, question: &Question) -> source::Result<Vec<String>> {
        source::list_tags(&question.reference, &self.options(question)?).await
    }

    async fn created(&self, question: &Question) -> source::Result<Created> {
        let mut options = self.options(question)?;
        let image = ImageReference::Registry(question.reference.clone());
        let mut created = config(&image, &options).await;
        // An image that has no such platform is as old as on another one.
        if let Err(Error::Platform { available, .. }) = &created
            && let Some(other) = available.first()
        {
            options.platform = other.clone();
            created = config(&image, &options).await;
        }
        match created {
            Ok(bytes) => Ok(Created::claimed(claimed(&bytes))),
            Err(error) => match no_image(&error) {
                Some(reason) => Ok(Created::NoImage(reason)),
                None => Err(error),
            },
        }
    }
}

/// The raw configuration of an image.
async fn config(image: &ImageReference, options: &Options) -> source::Result<bytes::Bytes> {
    let source = Source::open(image, options).await?;
    let resolved = source.resolve(None).await?;
    source.config(&resolved).await
}

/// The time in a configuration (OCI image-spec, `config.md`, "created"). Whatever is wrong with it, the image is none
/// the worse.
fn claimed(config: &[u8]) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Config {
        created: Option<String>,
    }
    let config: Config = serde_json::from_slice(config).ok()?;
    config.created?.parse().ok()
}

/// Why an error means that there is no image that could have an age; `None` if it means something else.
fn no_image(error: &Error) -> Option<String> {
    match error {
        Error::Document { reason, .. } => Some(reason.to_string()),
        Error::LayerType { .. } | Error::Platform { .. } => Some(error.to_string()),
        Error::Fetch { cause, .. } => match &**cause {
            Failure::Status { status, .. } if *status == http::StatusCode::NOT_FOUND => {
                Some("the registry does not have it".to_owned())
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_configurations() {
        for (config, time) in [
            (r#"{"created":"2024-02-29T12:00:00.5Z"}"#, Some("2024-02-29T12:00:00.5Z")),
            (r#"{"created":"2024-02-29T12:00:00+02:00"}"#, Some("2024-02-29T10:00:00Z")),
            (r#"{"created":null}"#, None),
            (r#"{"created":"yesterday"}"#, None),
            (r#"{"created":7}"#, None),
            ("{}", None),
            ("", None),
        ] {
            let expected = time.map(|time| time.parse().unwrap());
            assert_eq!(claimed(config.as_bytes()), expected, "{config}");
        }
    }
}
