//! Where the names of an image are.

use std::fmt;

use super::architecture::{MULTIARCH, architectures_metadata};
use super::{Architecture, ImageMetadata, METADATA, RepositoryPath};
use crate::PublicName;

/// The place of one image among all published ones: its public name, and its architecture if it stands below
/// `.multiarch`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImagePlace {
    /// The public name.
    pub name: PublicName,
    /// The directory of its platform; `None` for an image that was published for one platform only.
    pub architecture: Option<Architecture>,
}

impl ImagePlace {
    /// `.metadata/<public name>` or `.metadata/.multiarch/<arch>[:<variant>]/<public name>`.
    pub fn metadata_directory(&self) -> RepositoryPath {
        RepositoryPath(match &self.architecture {
            Some(architecture) => {
                format!("{}/{architecture}/{}", architectures_metadata(), self.name)
            }
            None => format!("{METADATA}/{}", self.name),
        })
    }

    /// A file in the metadata directory.
    pub fn metadata(&self, file: ImageMetadata) -> RepositoryPath {
        self.metadata_directory().below(file.name())
    }

    /// The link that leads to the flat root: `<public name>` or `.multiarch/<arch>[:<variant>]/<public name>`.
    pub fn link(&self) -> RepositoryPath {
        match &self.architecture {
            Some(architecture) => architecture.directory().below(&self.name.to_string()),
            None => RepositoryPath(self.name.to_string()),
        }
    }

    /// The image whose metadata directory this is; `None` if it is none, or one that only DUCC would make: of an image
    /// that has no tag, for instance.
    pub fn of_metadata_directory(path: &RepositoryPath) -> Option<Self> {
        let below = path.0.strip_prefix(METADATA)?.strip_prefix('/')?;
        Self::parse(below)
    }

    /// The image whose link this would be; `None` if no image has its link there.
    pub fn of_link(path: &RepositoryPath) -> Option<Self> {
        Self::parse(&path.0)
    }

    fn parse(text: &str) -> Option<Self> {
        let below = text.strip_prefix(MULTIARCH).and_then(|rest| rest.strip_prefix('/'));
        let (architecture, text) = match below.map(|rest| rest.split_once('/')) {
            None => (None, text),
            Some(Some((architecture, name))) => (Some(architecture.parse().ok()?), name),
            Some(None) => return None,
        };
        let name: PublicName = text.parse().ok()?;
        // What parses and is written in another way (a tag and a digest) is no path.
        (name.to_string() == text).then_some(Self { name, architecture })
    }
}

impl From<PublicName> for ImagePlace {
    fn from(name: PublicName) -> Self {
        Self { name, architecture: None }
    }
}

impl fmt::Display for ImagePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.architecture {
            Some(architecture) => write!(f, "{} ({architecture})", self.name),
            None => self.name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    fn path(text: &str) -> RepositoryPath {
        RepositoryPath(text.to_owned())
    }

    #[test]
    fn paths_lead_back_to_the_place() {
        let digest = Digest::of(b"").to_string();
        for (name, architecture, metadata, link) in [
            ("r.io:5000/a/b:1", None, ".metadata/r.io:5000/a/b:1", "r.io:5000/a/b:1"),
            (
                "r.io/a:1",
                Some("arm64:v8"),
                ".metadata/.multiarch/arm64:v8/r.io/a:1",
                ".multiarch/arm64:v8/r.io/a:1",
            ),
            (
                &format!("r.io/a:{digest}"),
                None,
                &format!(".metadata/r.io/a:{digest}"),
                &format!("r.io/a:{digest}"),
            ),
        ] {
            let place = ImagePlace {
                name: name.parse().unwrap(),
                architecture: architecture.map(|text| text.parse().unwrap()),
            };
            assert_eq!(place.metadata_directory().as_str(), metadata);
            assert_eq!(place.link().as_str(), link);
            assert_eq!(ImagePlace::of_metadata_directory(&path(metadata)), Some(place.clone()));
            assert_eq!(ImagePlace::of_link(&path(link)), Some(place));
        }
    }

    #[test]
    fn other_paths_are_no_place() {
        for text in [
            ".metadata/remove-schedule.json",
            ".metadata/r.io/untagged",
            ".metadata/.multiarch",
            ".metadata/.multiarch/amd64",
            ".metadata/.wishes/00.json",
            ".metadatax/r.io/a:1",
        ] {
            assert_eq!(ImagePlace::of_metadata_directory(&path(text)), None, "{text}");
        }
        let both = format!("r.io/a:1@{}", Digest::of(b""));
        for text in [".multiarch/x/r.io", ".multiarch/amd64", ".flat/ab/ab", "r.io/a", &both] {
            assert_eq!(ImagePlace::of_link(&path(text)), None, "{text}");
        }
    }
}
