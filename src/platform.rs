//! Platforms of image indexes and configurations (OCI image-spec, `image-index.md`, "platform").

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// An operating system, an architecture (Go's names: `amd64`, `arm64`, …) and a variant of it (`v7`, `v8`).
///
/// Text form: `os/architecture[/variant]`, or an architecture alone, which means Linux. The names of `uname -m`,
/// `x86_64` and `aarch64`, are accepted for `amd64` and `arm64`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// A platform from the separate members of an index entry or a configuration.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let architecture = match architecture {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            "i386" | "i686" => "386",
            other => other,
        };
        let variant = variant.filter(|variant| !variant.is_empty());
        Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// The platform that this program was built for.
    pub fn host() -> Self {
        Self::new(std::env::consts::OS, std::env::consts::ARCH, None)
    }

    /// For instance `linux`.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// For instance `amd64`.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// For instance `v8`.
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// Whether an image for `offered` may be used where one for `self` is wanted: it has the same system and
    /// architecture and, if `self` names a variant, the same variant. A missing variant means the base variant of
    /// the architecture (`v8` of arm64, `v7` of arm, `v1` of amd64), as in containerd's `platforms` package.
    pub fn accepts(&self, offered: &Self) -> bool {
        self.os == offered.os
            && self.architecture == offered.architecture
            && (self.variant.is_none() || self.base_variant() == offered.base_variant())
    }

    /// Whether this is the base variant of its architecture. Of several images that [`Self::accepts`] allows, one
    /// for the base variant is to be preferred, because it runs everywhere.
    pub fn is_base_variant(&self) -> bool {
        Self { variant: None, ..self.clone() }.base_variant() == self.base_variant()
    }

    fn base_variant(&self) -> Option<&str> {
        match (self.architecture.as_str(), self.variant.as_deref()) {
            ("arm64", None) => Some("v8"),
            ("arm", None) => Some("v7"),
            ("amd64", None) => Some("v1"),
            (_, variant) => variant,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        const WHAT: &str = "platform";
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if let Some((at, c)) = text.char_indices().find(|&(_, c)| c != '/' && !allowed(c)) {
            return Err(Error::syntax(WHAT, text, at, format!("unexpected character {c:?}")));
        }
        let mut position = 0;
        for part in text.split('/') {
            if part.is_empty() {
                let reason = "expected os/architecture[/variant], for instance linux/arm64";
                return Err(Error::syntax(WHAT, text, position, reason));
            }
            position += part.len() + 1;
        }
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            [architecture] => Ok(Self::new("linux", architecture, None)),
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            [a, b, c, ..] => {
                let at = a.len() + b.len() + c.len() + 2;
                Err(Error::syntax(WHAT, text, at, "more than three parts"))
            }
            [] => Err(Error::syntax(WHAT, text, 0, "empty")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn text_form() {
        for (text, shown) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("arm64", "linux/arm64"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("windows/amd64", "windows/amd64"),
        ] {
            assert_eq!(platform(text).to_string(), shown);
        }
    }

    #[test]
    fn errors_show_where() {
        for (text, at) in [("", 0), ("linux/", 6), ("/amd64", 0), ("a/b/c/d", 5), ("linux/am d", 8)]
        {
            match text.parse::<Platform>() {
                Err(Error::Syntax { position, .. }) => assert_eq!(position, at, "{text:?}"),
                other => panic!("{text:?} gave {other:?}"),
            }
        }
    }

    #[test]
    fn what_accepts_what() {
        for (wanted, offered, accepted) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/amd64", "windows/amd64", false),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm64/v8", "linux/arm64", true),
            ("linux/arm", "linux/arm/v6", true),
            ("linux/arm/v7", "linux/arm/v6", false),
        ] {
            assert_eq!(
                platform(wanted).accepts(&platform(offered)),
                accepted,
                "{wanted} {offered}"
            );
        }
        assert!(platform("linux/arm/v7").is_base_variant());
        assert!(!platform("linux/arm/v6").is_base_variant());
    }
}
