//! Which images of an index are wanted. Pure.

use std::fmt;

use layer_layout::{Digest, Platform};
use serde::Deserialize;

use super::error::{DocumentError, Error, Part, Result};
use super::image::Image;
use super::manifest::{self, Choice, Index, IndexEntry};

/// The operating system whose images are taken only if they are asked for: their layers cannot be unpacked for
/// anybody here, and most may not be redistributed.
const NOT_UNASKED: &str = "windows";

/// The platforms that are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platforms {
    /// All that the image has, except Windows.
    All,
    /// These, as far as the image has them.
    Listed(Vec<Platform>),
}

/// The images behind one reference, for several platforms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// One image for each platform, in the order of the index or of the list, those last whose platform only their
    /// configuration tells. All have [`Image::platform`].
    pub images: Vec<Image>,
    /// What was left out and perhaps should not have been.
    pub remarks: Vec<Remark>,
}

/// Something about an index that its user may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// The index has several images for one platform. The first is taken.
    Duplicate {
        /// The platform.
        platform: Platform,
        /// The manifest that was taken.
        taken: Digest,
        /// The manifest that was left out.
        left_out: Digest,
    },
    /// There is no image for a platform that was asked for.
    Missing(Platform),
    /// An entry that says nothing about its platform is not an image.
    NotAnImage(Digest),
    /// An entry is broken: how.
    Unusable(String),
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate { platform, taken, left_out } => write!(
                f,
                "the index has several images for {platform}; {taken} is taken, {left_out} is not"
            ),
            Self::Missing(platform) => write!(f, "there is no image for {platform}"),
            Self::NotAnImage(digest) => write!(f, "{digest} in the index is not an image"),
            Self::Unusable(reason) => write!(f, "something in the index is left out: {reason}"),
        }
    }
}

impl Platforms {
    /// Whether an image for this platform is wanted.
    pub(super) fn accept(&self, platform: &Platform) -> bool {
        match self {
            Self::All => platform.os() != NOT_UNASKED,
            Self::Listed(wanted) => wanted.iter().any(|wanted| wanted.accepts(platform)),
        }
    }

    /// The error if an image is for none of the wanted platforms.
    pub(super) fn refusal(&self, image: &str, available: Vec<Platform>) -> Error {
        let image = image.to_owned();
        match self {
            Self::Listed(wanted) if !wanted.is_empty() => {
                Error::Platform { image, wanted: Box::new(wanted[0].clone()), available }
            }
            _ => {
                let reason = Box::new(DocumentError::NoImages);
                Error::Document { image, part: Part::Index, reason }
            }
        }
    }

    /// The wanted entries of an index. Entries without a platform come along if they may be needed: what they are for
    /// is known only when they have been read.
    pub(super) fn select<'a>(
        &self,
        entries: &'a [IndexEntry],
    ) -> (Vec<&'a IndexEntry>, Vec<Remark>) {
        let mut selected = Selected::default();
        match self {
            Self::All => {
                let wanted = |entry: &&IndexEntry| {
                    entry.platform.as_ref().is_none_or(|platform| self.accept(platform))
                };
                entries.iter().filter(wanted).for_each(|entry| selected.add(entry));
            }
            Self::Listed(wanted) => {
                for wanted in wanted {
                    match manifest::choose(entries, wanted) {
                        Choice::Entry(entry) => selected.add_again(entry),
                        Choice::OneOf(entries) => {
                            entries.into_iter().for_each(|entry| selected.add_again(entry));
                        }
                    }
                }
            }
        }
        (selected.entries, selected.remarks)
    }

    /// The listed platforms that none of these images is for.
    pub(super) fn missing<'a>(&'a self, found: &'a [Image]) -> impl Iterator<Item = Platform> + 'a {
        let listed = match self {
            Self::All => &[][..],
            Self::Listed(wanted) => wanted,
        };
        let is_there = |wanted: &Platform| {
            found.iter().any(|image| image.platform.as_ref().is_some_and(|it| wanted.accepts(it)))
        };
        listed.iter().filter(move |wanted| !is_there(wanted)).cloned()
    }

    /// What is wrong with entries of an index that may be wanted.
    pub(super) fn obstacles<'a>(
        &'a self,
        index: &'a Index,
    ) -> impl Iterator<Item = DocumentError> + 'a {
        index.obstacles(|platform| self.accept(platform))
    }
}

#[derive(Default)]
struct Selected<'a> {
    entries: Vec<&'a IndexEntry>,
    remarks: Vec<Remark>,
}

impl<'a> Selected<'a> {
    /// Adds an entry unless there is one for its platform.
    fn add(&mut self, entry: &'a IndexEntry) {
        let Some(platform) = &entry.platform else {
            return self.add_again(entry);
        };
        let mut earlier =
            self.entries.iter().filter_map(|entry| Some((entry.digest, entry.platform.as_ref()?)));
        match earlier.find(|(_, earlier)| is_same(earlier, platform)) {
            None => self.entries.push(entry),
            Some((taken, _)) if taken == entry.digest => {}
            Some((taken, _)) => self.remarks.push(Remark::Duplicate {
                platform: platform.clone(),
                taken,
                left_out: entry.digest,
            }),
        }
    }

    /// Adds an entry that may have been chosen before, for another way to write its platform.
    fn add_again(&mut self, entry: &'a IndexEntry) {
        if !self.entries.iter().any(|earlier| earlier.digest == entry.digest) {
            self.entries.push(entry);
        }
    }
}

/// Whether two platforms are one: `arm64` and `arm64/v8` are.
pub(super) fn is_same(a: &Platform, b: &Platform) -> bool {
    a.accepts(b) && b.accepts(a)
}

/// The platform that a configuration names.
pub(super) fn of_config(image: &str, config: &[u8]) -> Result<Platform> {
    #[derive(Deserialize)]
    struct Config {
        os: Option<String>,
        architecture: Option<String>,
        variant: Option<String>,
    }
    let refuse = |reason: DocumentError| Error::Document {
        image: image.to_owned(),
        part: Part::Config,
        reason: Box::new(reason),
    };
    let config: Config =
        serde_json::from_slice(config).map_err(|error| refuse(DocumentError::Json(error)))?;
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    match (filled(config.os), filled(config.architecture)) {
        (Some(os), Some(architecture)) => {
            Ok(Platform::new(&os, &architecture, config.variant.as_deref()))
        }
        _ => Err(refuse(DocumentError::NoPlatform)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        let whole = if text.starts_with("windows") { text } else { &format!("linux/{text}") };
        whole.parse().unwrap()
    }

    fn entry(number: u8, name: &str) -> IndexEntry {
        IndexEntry {
            digest: Digest::from_bytes([number; 32]),
            size: 1,
            media_type: String::new(),
            platform: (!name.is_empty()).then(|| platform(name)),
            ref_name: None,
        }
    }

    #[test]
    fn what_is_selected() {
        let list =
            |names: &[&str]| Platforms::Listed(names.iter().map(|name| platform(name)).collect());
        for (offered, wanted, selected, remarks) in [
            (&["amd64", "arm64/v8", "windows/amd64"][..], Platforms::All, &[0, 1][..], vec![]),
            (&["arm/v6", "arm/v7", "arm"], Platforms::All, &[0, 1], vec!["linux/arm;"]),
            (&["amd64", "amd64", "amd64/v3"], Platforms::All, &[0, 2], vec!["linux/amd64;"]),
            (&["arm64", "arm64/v8"], Platforms::All, &[0], vec!["linux/arm64/v8;"]),
            (&["windows/amd64"], Platforms::All, &[], vec![]),
            (&["windows/amd64", "amd64"], list(&["windows/amd64"]), &[0], vec![]),
            (&["amd64", "arm64/v8"], list(&["arm64", "aarch64", "amd64"]), &[1, 0], vec![]),
            (&["amd64", "arm64/v8"], list(&["ppc64le"]), &[], vec![]),
            (&["amd64", "", ""], list(&["amd64"]), &[0], vec![]),
            (&["amd64", "", ""], list(&["amd64", "arm64"]), &[0, 1, 2], vec![]),
            (&["amd64", ""], Platforms::All, &[0, 1], vec![]),
            (&[""], list(&["arm64"]), &[0], vec![]),
            (&[], Platforms::All, &[], vec![]),
        ] {
            let numbers = 0_u8..;
            let entries: Vec<_> =
                numbers.zip(offered).map(|(number, name)| entry(number, name)).collect();
            let (got, told) = wanted.select(&entries);
            let got: Vec<u8> = got.iter().map(|entry| entry.digest.as_bytes()[0]).collect();
            assert_eq!(got, selected, "{offered:?} {wanted:?}");
            assert_eq!(told.len(), remarks.len(), "{told:?}");
            for (remark, part) in told.iter().zip(remarks) {
                assert!(remark.to_string().contains(part), "{remark}");
            }
        }
    }

    #[test]
    fn platforms_of_configurations() {
        let of = |config: &str| of_config("image", config.as_bytes()).map(|it| it.to_string());
        let variant = r#"{"os":"linux","architecture":"arm","variant":"v7","rootfs":null}"#;
        assert_eq!(of(variant).unwrap(), "linux/arm/v7");
        assert_eq!(of(r#"{"os":"linux","architecture":"amd64"}"#).unwrap(), "linux/amd64");
        for config in ["{}", r#"{"os":"linux","architecture":""}"#, "[]", r#"{"os":1}"#] {
            assert!(of(config).is_err(), "{config}");
        }
    }
}
