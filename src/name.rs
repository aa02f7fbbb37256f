//! The public name of an image inside a repository: the path that people type.
//!
//! Rule: DUCC's public path, `<registry>/<repository>:<tag>`, or `…:<digest>` for an image that was asked
//! for by digest only. The host name is as it was written.

use std::fmt;
use std::str::FromStr;

use crate::grammar::{Reference, split_name};
use crate::{Error, Result};

/// `<registry>[:port]/<repository>:<tag>` or `<registry>[:port]/<repository>:sha256:<hex>`.
///
/// It is always a clean relative path of two or more components, none of which begins with a dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicName {
    registry: String,
    repository: String,
    reference: String,
}

impl PublicName {
    pub(crate) fn new(registry: &str, repository: &str, reference: &Reference) -> Self {
        Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            reference: reference.public_part(),
        }
    }

    /// The name for an image that did not come from a registry but from an OCI layout or an archive. Its host name
    /// is `localhost`, as Podman has it for images without a registry. `stem` is turned into a valid repository by
    /// converting it to lower case and replacing what the grammar forbids.
    ///
    /// # Errors
    /// If `stem` has no letter or digit, or `tag` is not a tag.
    pub fn local(stem: &str, tag: &str) -> Result<Self> {
        let mut repository = String::new();
        for c in stem.to_lowercase().chars() {
            let fits = c.is_ascii_alphanumeric();
            if fits || !(repository.is_empty() || repository.ends_with('-')) {
                repository.push(if fits { c } else { '-' });
            }
        }
        format!("localhost/{}:{tag}", repository.trim_end_matches('-')).parse()
    }

    /// Host name and port of the registry.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository in the registry, for instance `library/debian`.
    pub fn repository(&self) -> &str {
        &self.repository
    }
}

impl fmt::Display for PublicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.registry, self.repository, self.reference)
    }
}

impl FromStr for PublicName {
    type Err = Error;

    /// Parses the text form, which carries no scheme.
    fn from_str(text: &str) -> Result<Self> {
        const WHAT: &str = "public name";
        let (registry, repository, reference) = split_name(WHAT, text, 0)?;
        if let Some(at) = text.find('*') {
            return Err(Error::syntax(WHAT, text, at, "a wildcard names no single image"));
        }
        Ok(Self::new(&registry, &repository, &reference))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_names() {
        for (stem, name) in [
            ("debian", "localhost/debian:1"),
            ("My Image_v2.tar", "localhost/my-image-v2-tar:1"),
            ("--a--", "localhost/a:1"),
        ] {
            assert_eq!(PublicName::local(stem, "1").unwrap().to_string(), name);
        }
        assert!(PublicName::local("***", "1").is_err());
        assert!(PublicName::local("a", "a b").is_err());
    }

    #[test]
    fn rejects_what_is_no_path() {
        for text in
            ["", "a", "a/b", "../b:1", "a/../b:1", ".flat/x:1", "a//b:1", "a/b:*", "https://a/b:1"]
        {
            assert!(text.parse::<PublicName>().is_err(), "{text:?}");
        }
    }
}
