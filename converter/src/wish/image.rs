//! What somebody wants: one image.

use std::sync::Arc;

use layer_layout::{Platform, RegistryReference};

/// One image that somebody wants in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The image, never a pattern.
    pub reference: RegistryReference,
    /// For which platforms.
    pub platforms: Platforms,
    /// Whether to make a flat root and a public path.
    pub flat: bool,
    /// Where to push its thin image, if anywhere.
    pub thin: Option<RegistryReference>,
    /// The account for pushing (`user` of the list).
    pub user: Option<String>,
    /// The name of the credentials for the registry; without one they are found by the registry's name.
    pub credentials: Option<String>,
    /// Images with a higher one come first.
    pub priority: i32,
    /// Whether a failure of this image shall not fail the run (`ignoreErrors`).
    pub errors_are_ignored: bool,
    /// The list that it is from, as its user named it.
    pub list: Arc<str>,
    /// The line in that list.
    pub line: usize,
}

/// For which platforms an image is wished for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platforms {
    /// For that of the publisher, as DUCC without `--multi-arch`.
    HostOnly,
    /// For all that it has.
    All,
    /// For these, at least one, in this order.
    List(Vec<Platform>),
}

impl Platforms {
    /// What satisfies those who want `self` and those who want `other`.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::HostOnly, Self::HostOnly) => Self::HostOnly,
            (one, other) => {
                let mut platforms = one.listed();
                for platform in other.listed() {
                    if !platforms.contains(&platform) {
                        platforms.push(platform);
                    }
                }
                Self::List(platforms)
            }
        }
    }

    /// The platforms by name; of [`Self::All`], which needs none, there are none.
    fn listed(&self) -> Vec<Platform> {
        match self {
            Self::All => Vec::new(),
            Self::HostOnly => vec![Platform::host()],
            Self::List(platforms) => platforms.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unions() {
        let list = |texts: &[&str]| {
            Platforms::List(texts.iter().map(|text| text.parse().unwrap()).collect())
        };
        let host = Platform::host().to_string();
        for (one, other, union) in [
            (Platforms::HostOnly, Platforms::HostOnly, Platforms::HostOnly),
            (Platforms::HostOnly, Platforms::All, Platforms::All),
            (list(&["linux/arm/v7"]), Platforms::All, Platforms::All),
            (
                list(&["linux/arm/v7"]),
                list(&["linux/s390x"]),
                list(&["linux/arm/v7", "linux/s390x"]),
            ),
            (list(&["linux/s390x"]), list(&["linux/s390x"]), list(&["linux/s390x"])),
            (Platforms::HostOnly, list(&["linux/s390x"]), list(&[&host, "linux/s390x"])),
            (list(&[&host]), Platforms::HostOnly, list(&[&host])),
        ] {
            assert_eq!(one.union(&other), union);
        }
    }
}
