//! The registries themselves, as the expansion asks them.

use super::expand::{Created, Question, Tags};
use super::image::Platforms;
use crate::source::{self, Error, Failure, Options};

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
        let created = source::created(&question.reference, &self.options(question)?).await;
        match created {
            Ok(time) => Ok(Created::claimed(time)),
            Err(error) => match no_image(&error) {
                Some(reason) => Ok(Created::NoImage(reason)),
                None => Err(error),
            },
        }
    }
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
