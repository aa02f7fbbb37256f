//! How an image is named on the command line and in a wish list.
//!
//! The grammar is DUCC's, `[scheme://]registry[:port]/repository[:tag][@digest]`, with no default registry,
//! no `library/` and no `latest`, because the public path begins with the host name as it was written. What DUCC
//! accepts by accident (no tag and no digest, user info, queries, percent escapes, unknown schemes) is an error
//! here. Repository and tag follow the OCI distribution-spec ("Pulling manifests"), digests the OCI image-spec.
//! Local images are named almost as in `containers-transports(5)`: `oci:DIR[:TAG]`, `oci-archive:FILE[#TAG]`,
//! `docker-archive:FILE[#TAG]`. A colon cannot separate the tag of an archive, whose name may hold one.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::grammar::{Reference, check_tag, split_name};
use crate::{Digest, Error, PublicName, Result};

const WHAT: &str = "image reference";

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ImageReference {
    /// An image in a registry.
    Registry(RegistryReference),
    /// `oci:DIR[:TAG]`: an OCI image layout in a directory.
    OciLayout {
        /// The directory that holds `oci-layout` and `index.json`.
        directory: PathBuf,
        /// Selects one of several images by its annotation `org.opencontainers.image.ref.name`.
        tag: Option<String>,
    },
    /// `oci-archive:FILE[#TAG]`: an OCI image layout in a tar.
    OciArchive {
        /// The tar, which may be compressed.
        file: PathBuf,
        /// What follows the last `#`: selects one of several images, as for a layout. The name of a file may hold a
        /// `#`, too: whoever opens it looks which of both it is.
        image: Option<String>,
    },
    /// `docker-archive:FILE[#TAG]` or `docker-archive:FILE#@NUMBER`: what `docker save` writes.
    DockerArchive {
        /// The tar, which may be compressed.
        file: PathBuf,
        /// What follows the last `#`: selects one of several images by its tag, or by its number from 0 on in the
        /// archive's `manifest.json`. The name of a file may hold a `#`, too, as for [`Self::OciArchive`].
        image: Option<String>,
    },
}

/// The protocol that a registry is asked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain HTTP: the reference begins with `http://`.
    Http,
    /// HTTPS, the default.
    Https,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// `[scheme://]registry[:port]/repository[:tag][@digest]`, with a tag or a digest or both.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RegistryReference {
    scheme: Scheme,
    registry: String,
    repository: String,
    reference: Reference,
}

impl RegistryReference {
    /// The protocol; HTTPS if none was written.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Host name and port as written.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository, for instance `library/debian`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if one was written. It may hold `*`, see [`Self::is_wildcard`].
    pub fn tag(&self) -> Option<&str> {
        self.reference.tag()
    }

    /// The digest of the manifest or index, if one was written.
    pub fn digest(&self) -> Option<&Digest> {
        self.reference.digest()
    }

    /// What the registry is asked for: the digest, or the tag if there is no digest.
    pub fn fetch_reference(&self) -> String {
        self.reference.fetched_part()
    }

    /// Whether the tag is a pattern that matches many tags.
    pub fn is_wildcard(&self) -> bool {
        self.tag().is_some_and(|tag| tag.contains('*'))
    }

    /// The name under which the image is published; it ends with the tag, or with the digest if there is no tag.
    /// A wildcard, which matches many images, has none.
    pub fn public_name(&self) -> Option<PublicName> {
        (!self.is_wildcard())
            .then(|| PublicName::new(&self.registry, &self.repository, &self.reference))
    }
}

impl fmt::Display for RegistryReference {
    /// What DUCC calls the whole name: `scheme://registry/repository[:tag][@digest]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/{}", self.scheme, self.registry, self.repository)?;
        if let Some(tag) = self.tag() {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = self.digest() {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => reference.fmt(f),
            Self::OciLayout { directory, tag: None } => write!(f, "oci:{}", directory.display()),
            Self::OciLayout { directory, tag: Some(tag) } => {
                write!(f, "oci:{}:{tag}", directory.display())
            }
            Self::OciArchive { file, image } => archive(f, "oci-archive", file, image.as_deref()),
            Self::DockerArchive { file, image } => {
                archive(f, "docker-archive", file, image.as_deref())
            }
        }
    }
}

fn archive(
    f: &mut fmt::Formatter<'_>,
    transport: &str,
    file: &Path,
    image: Option<&str>,
) -> fmt::Result {
    write!(f, "{transport}:{}", file.display())?;
    image.map_or(Ok(()), |image| write!(f, "#{image}"))
}

impl FromStr for ImageReference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("docker-archive:") {
            let (path, image) = split_archive(text, path)?;
            return Ok(Self::DockerArchive { file: file(text, path)?, image });
        }
        if let Some(path) = text.strip_prefix("oci-archive:") {
            let (path, image) = split_archive(text, path)?;
            return Ok(Self::OciArchive { file: file(text, path)?, image });
        }
        let Some(path) = text.strip_prefix("oci:") else {
            return text.parse().map(Self::Registry);
        };
        match path.rsplit_once(':') {
            Some((directory, tag)) if !tag.contains('/') => {
                check_tag(WHAT, text, text.len() - tag.len(), tag, false)?;
                Ok(Self::OciLayout { directory: file(text, directory)?, tag: Some(tag.to_owned()) })
            }
            _ => Ok(Self::OciLayout { directory: file(text, path)?, tag: None }),
        }
    }
}

/// The file of an archive, and what chooses one of its images.
fn split_archive<'a>(text: &str, path: &'a str) -> Result<(&'a str, Option<String>)> {
    match path.rsplit_once('#') {
        None => Ok((path, None)),
        Some((_, "")) => {
            let reason = "expected the tag of an image after `#`";
            Err(Error::syntax(WHAT, text, text.len(), reason))
        }
        Some((file, image)) => Ok((file, Some(image.to_owned()))),
    }
}

fn file(text: &str, path: &str) -> Result<PathBuf> {
    if path.is_empty() {
        return Err(Error::syntax(WHAT, text, text.len(), "expected a path after the transport"));
    }
    Ok(PathBuf::from(path))
}

impl FromStr for RegistryReference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (scheme, offset) = match text.split_once("://") {
            None => (Scheme::Https, 0),
            Some(("https", _)) => (Scheme::Https, "https://".len()),
            Some(("http", _)) => (Scheme::Http, "http://".len()),
            Some((other, _)) => {
                let reason = format!("scheme {other:?} is neither https nor http");
                return Err(Error::syntax(WHAT, text, 0, reason));
            }
        };
        let (registry, repository, reference) = split_name(WHAT, text, offset)?;
        Ok(Self { scheme, registry, repository, reference })
    }
}

#[cfg(test)]
mod tests;
