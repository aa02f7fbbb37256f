//! What the expansion has to know from registries.

use std::future::Future;

use jiff::Timestamp;
use layer_layout::RegistryReference;

use crate::source;
use crate::wish::image::Platforms;

/// A question to a registry.
#[derive(Debug, Clone)]
pub struct Question {
    /// The repository (with any tag), or the image.
    pub reference: RegistryReference,
    /// The platforms that are wished for.
    pub platforms: Platforms,
    /// The name of the credentials to ask with, if the list has one.
    pub credentials: Option<String>,
}

/// What a registry says about the age of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// It was made then.
    At(Timestamp),
    /// It does not say, or says what cannot be: images that are built reproducibly claim to be from 1970 or 1980.
    Unknown,
    /// There is no image of this name: the tag is listed, but is that of something else, or leads nowhere.
    NoImage(String),
}

impl Created {
    /// When there were no container images yet. Docker was first shown in March of that year.
    const FIRST: &str = "2013-01-01T00:00:00Z";

    /// What a time in an image's configuration says.
    pub fn claimed(time: Option<Timestamp>) -> Self {
        let first: Timestamp = Self::FIRST.parse().expect("the time is well-formed");
        match time {
            Some(time) if time >= first => Self::At(time),
            _ => Self::Unknown,
        }
    }
}

/// A registry, as far as the expansion needs one.
pub trait Tags: Send + Sync + 'static {
    /// All tags of a repository.
    ///
    /// # Errors
    /// If the registry did not give all of them. An error never counts as no tags.
    fn list_tags(
        &self,
        question: &Question,
    ) -> impl Future<Output = source::Result<Vec<String>>> + Send;

    /// When an image was made. Of an image for several platforms one is asked about.
    ///
    /// # Errors
    /// If the registry did not answer.
    fn created(&self, question: &Question) -> impl Future<Output = source::Result<Created>> + Send;
}
