//! Images for several platforms: one directory for each below `.multiarch`.
//!
//! ```text
//! .multiarch/<arch>[:<variant>]/<public name>             relative symlink to .flat/…, as the public link of one platform
//! .multiarch/<alias>                                      symlink to a directory beside it: `x86_64` to `amd64`, …
//! .metadata/.multiarch/<arch>[:<variant>]/<public name>/  the metadata of that platform
//! <public name>                                           symlink through `.multiarch/$(CVMFS_ARCH:-<arch>)/…`
//! ```
//!
//! Rule: DUCC (2025 and later). A CernVM-FS client puts the answer of `uname -m` in the place of `$(CVMFS_ARCH…)`, so
//! the aliases are what makes the public link work. On the publisher's own mount, and in a plain directory, nothing
//! expands such a link.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::{METADATA, RepositoryPath};
use crate::{Error, Platform, PublicName, Result};

pub(super) const MULTIARCH: &str = ".multiarch";

/// What a client replaces by its own architecture; `<default>` follows, and a closing parenthesis.
const VARIABLE: &str = "$(CVMFS_ARCH:-";

/// The only operating system whose images have a directory: its name is in no path.
const SYSTEM: &str = "linux";

/// Names under which a directory is found as well, and the directories, the first that exists is taken. DUCC's, and
/// the other answers of `uname -m` that are not the name of a directory. A name that is a directory itself is none.
const ALIASES: [(&str, &[&str]); 11] = [
    ("x86_64", &["amd64"]),
    ("x86-64", &["amd64"]),
    ("aarch64", &["arm64", "arm64:v8"]),
    ("arm64", &["arm64:v8"]),
    ("arm", &["arm:v7"]),
    ("armhf", &["arm", "arm:v7"]),
    ("armv7l", &["arm:v7", "arm"]),
    ("armel", &["arm:v6"]),
    ("armv6l", &["arm:v6"]),
    ("i386", &["386"]),
    ("i686", &["386"]),
];

/// `<arch>[:<variant>]`, the name of a directory below `.multiarch`: an architecture in Go's spelling and a variant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Architecture {
    name: String,
    variant: Option<String>,
}

impl Architecture {
    /// The directory for images of a platform; `None` if the platform has none, because it is not Linux or its names
    /// cannot be those of a directory.
    ///
    /// Each platform has one directory, whether or not an image says the variant that is meant without one: `arm64` is
    /// `arm64:v8`, `arm` is `arm:v7`, and `amd64` stands for `amd64:v1`, as [`Platform::accepts`] has it.
    pub fn of(platform: &Platform) -> Option<Self> {
        let variant = match (platform.architecture(), platform.variant()) {
            ("arm64", None) => Some("v8"),
            ("arm", None) => Some("v7"),
            ("amd64", Some("v1")) => None,
            (_, variant) => variant,
        };
        let of_linux = platform.os() == SYSTEM;
        let named = is_name(platform.architecture()) && variant.is_none_or(is_name);
        (of_linux && named).then(|| Self {
            name: platform.architecture().to_owned(),
            variant: variant.map(str::to_owned),
        })
    }

    /// The directory without a variant that is for the same platform, if this one has a variant: `arm64` of `arm64:v8`.
    /// DUCC keeps images there whose index tells no variant, and where it exists clients look there first.
    pub fn without_variant(&self) -> Option<Self> {
        let bare = Self { name: self.name.clone(), variant: None };
        let is_same = self.variant.is_some() && Self::of(&bare.platform()).as_ref() == Some(self);
        is_same.then_some(bare)
    }

    /// The platform whose images are there.
    pub fn platform(&self) -> Platform {
        Platform::new(SYSTEM, &self.name, self.variant.as_deref())
    }

    /// `.multiarch/<arch>[:<variant>]`.
    pub fn directory(&self) -> RepositoryPath {
        architectures().below(&self.to_string())
    }

    /// What the public link says that leads each client to its own platform, and others to this one.
    ///
    /// The default is the architecture without the variant. [`aliases`] make that name lead somewhere.
    pub fn public_link_target(&self, name: &PublicName) -> String {
        let up = "../".repeat(name.to_string().matches('/').count());
        format!("{up}{MULTIARCH}/{VARIABLE}{})/{name}", self.name)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.variant {
            Some(variant) => write!(f, "{}:{variant}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl FromStr for Architecture {
    type Err = Error;

    /// Parses the name of a directory. It is taken as it is, also if [`Self::of`] would not make it.
    fn from_str(text: &str) -> Result<Self> {
        let (name, variant) = match text.split_once(':') {
            Some((name, variant)) => (name, Some(variant)),
            None => (text, None),
        };
        if !is_name(name) || !variant.is_none_or(is_name) {
            let reason = "expected an architecture, or an architecture, a colon and a variant";
            return Err(Error::syntax("architecture", text, 0, reason));
        }
        Ok(Self { name: name.to_owned(), variant: variant.map(str::to_owned) })
    }
}

fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    text.chars().all(fits) && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// `.multiarch`: the images of all platforms.
pub fn architectures() -> RepositoryPath {
    RepositoryPath(MULTIARCH.to_owned())
}

/// `.metadata/.multiarch`: the metadata of these images.
pub fn architectures_metadata() -> RepositoryPath {
    RepositoryPath(format!("{METADATA}/{MULTIARCH}"))
}

/// Whether a public link leads each client to its own platform.
pub fn is_through_architectures(target: &str) -> bool {
    target.split('/').any(|name| name == MULTIARCH)
}

/// Whether [`aliases`] may make a link of this name beside the directories.
pub fn is_alias(name: &str) -> bool {
    ALIASES.iter().any(|(alias, _)| *alias == name)
}

/// The links beside these directories that make the other names of an architecture work, each with its target.
pub fn aliases(directories: &BTreeSet<Architecture>) -> Vec<(RepositoryPath, String)> {
    let names: BTreeSet<String> = directories.iter().map(ToString::to_string).collect();
    let alias = |&(alias, targets): &(&str, &[&str])| {
        let target = targets.iter().find(|&&target| names.contains(target))?;
        let free = !names.contains(alias);
        free.then(|| (architectures().below(alias), (*target).to_owned()))
    };
    ALIASES.iter().filter_map(alias).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(platform: &str) -> Option<String> {
        let platform: Platform = platform.parse().unwrap();
        Architecture::of(&platform).map(|architecture| architecture.to_string())
    }

    #[test]
    fn a_platform_has_one_directory() {
        for (platform, directory) in [
            ("linux/amd64", Some("amd64")),
            ("linux/amd64/v1", Some("amd64")),
            ("linux/amd64/v3", Some("amd64:v3")),
            ("linux/arm64", Some("arm64:v8")),
            ("linux/arm64/v8", Some("arm64:v8")),
            ("linux/arm/v6", Some("arm:v6")),
            ("linux/arm", Some("arm:v7")),
            ("linux/386", Some("386")),
            ("linux/riscv64", Some("riscv64")),
            ("windows/amd64", None),
            ("linux/..", None),
        ] {
            assert_eq!(of(platform).as_deref(), directory, "{platform}");
        }
    }

    #[test]
    fn a_variant_that_need_not_be_said_can_be_left_out() {
        for (directory, bare) in [
            ("arm64:v8", Some("arm64")),
            ("arm:v7", Some("arm")),
            ("arm:v6", None),
            ("amd64:v3", None),
            ("amd64", None),
            ("arm64", None),
        ] {
            let directory: Architecture = directory.parse().unwrap();
            let found = directory.without_variant().map(|bare| bare.to_string());
            assert_eq!(found.as_deref(), bare, "{directory}");
        }
    }

    #[test]
    fn directories_of_others_are_understood() {
        for (text, platform) in
            [("arm64", "linux/arm64"), ("arm64:v8", "linux/arm64/v8"), ("s390x", "linux/s390x")]
        {
            let architecture: Architecture = text.parse().unwrap();
            assert_eq!(architecture.to_string(), text);
            assert_eq!(architecture.platform().to_string(), platform);
        }
        for text in ["", ":v8", "arm64:", "a/b", "..", ".hidden", "arm:v7:x"] {
            assert!(text.parse::<Architecture>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn every_name_of_an_architecture_leads_somewhere() {
        let links = |names: &[&str]| -> Vec<String> {
            let directories = names.iter().map(|name| name.parse().unwrap()).collect();
            let links = aliases(&directories);
            links.iter().map(|(path, target)| format!("{path} {target}")).collect()
        };
        let cases: [(&[&str], &[&str]); 5] = [
            (&[], &[]),
            (&["amd64"], &[".multiarch/x86_64 amd64", ".multiarch/x86-64 amd64"]),
            (&["arm64:v8"], &[".multiarch/aarch64 arm64:v8", ".multiarch/arm64 arm64:v8"]),
            (&["arm64", "arm64:v8"], &[".multiarch/aarch64 arm64"]),
            (
                &["386", "arm:v6", "arm:v7"],
                &[
                    ".multiarch/arm arm:v7",
                    ".multiarch/armhf arm:v7",
                    ".multiarch/armv7l arm:v7",
                    ".multiarch/armel arm:v6",
                    ".multiarch/armv6l arm:v6",
                    ".multiarch/i386 386",
                    ".multiarch/i686 386",
                ],
            ),
        ];
        for (names, expected) in cases {
            assert_eq!(links(names), expected, "{names:?}");
        }
    }

    #[test]
    fn the_public_link_is_ducc_s() {
        let name: PublicName = "registry.hub.docker.com/library/debian:12".parse().unwrap();
        let architecture: Architecture = "arm64:v8".parse().unwrap();
        let target = architecture.public_link_target(&name);
        let expected =
            "../../.multiarch/$(CVMFS_ARCH:-arm64)/registry.hub.docker.com/library/debian:12";
        assert_eq!(target, expected);
        assert!(is_through_architectures(&target));
        assert!(!is_through_architectures("../../.flat/ab/abcd"));
    }
}
