//! The name of a repository.

use std::fmt;
use std::str::FromStr;

/// A fully qualified repository name, for example `unpacked.example.org`: 1 to 60 ASCII letters, digits, `-`,
/// `_` and `.`, the first a letter or digit. That is what the stock server accepts, so a name is always safe
/// as the name of a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fqrn(String);

/// Longest name in bytes; stock clients refuse to mount longer ones.
const MAX_LENGTH: usize = 60;

impl Fqrn {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it contains a dot. The format does not require one, but the mount tools of stock clients append their
    /// default domain to a name without a dot, so that nobody could mount such a repository as usual.
    pub fn is_qualified(&self) -> bool {
        self.0.contains('.')
    }
}

impl FromStr for Fqrn {
    type Err = FqrnError;

    fn from_str(text: &str) -> Result<Self, FqrnError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        match text.as_bytes() {
            [first, rest @ ..]
                if first.is_ascii_alphanumeric()
                    && rest.len() < MAX_LENGTH
                    && rest.iter().copied().all(fits) =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => Err(FqrnError(text.chars().take(2 * MAX_LENGTH).collect())),
        }
    }
}

impl AsRef<str> for Fqrn {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fqrn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that cannot be the name of a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no repository name (at most 60 letters, digits, `-`, `_` and `.`, the first a letter or digit)"
)]
pub struct FqrnError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_stock_server() {
        let longest = "a".repeat(60);
        for (name, qualified) in
            [("test", false), ("test_1-dash.cern.ch", true), ("0.x", true), (&longest, false)]
        {
            let fqrn: Fqrn = name.parse().unwrap();
            assert_eq!((fqrn.as_str(), fqrn.is_qualified()), (name, qualified));
        }
        let longer = "a".repeat(61);
        for name in
            ["", "_test.cern.ch", ".", "..", "-a", "test@cern.ch", "a/b", "a b", "ü.de", &longer]
        {
            assert!(name.parse::<Fqrn>().is_err(), "{name:?}");
        }
    }
}
