//! Where a list is: `PATH`, `https://…`, or `git+URL//PATH[@BRANCH]`, as DUCC writes it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

/// Where a list is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Location {
    File(PathBuf),
    Http(Url),
    Git(GitFile),
}

/// A file in a git repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GitFile {
    /// As `git` takes it.
    pub(super) url: Url,
    /// In the repository, without a slash in front.
    pub(super) path: String,
    /// A branch or tag; without one the repository's default branch.
    pub(super) branch: Option<String>,
}

/// Why a text does not say where a list is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no place for a wish list: {reason}; expected a file, https://HOST/PATH, or \
     git+https://HOST/REPOSITORY//PATH[@BRANCH] (also git+ssh and git+file)"
)]
pub struct LocationError {
    text: String,
    reason: String,
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let error = |reason: &str| LocationError {
            text: super::without_secrets(text),
            reason: reason.to_owned(),
        };
        let url = |text: &str| text.parse::<Url>().map_err(|cause| error(&cause.to_string()));
        if let Some(rest) = text.strip_prefix("git+") {
            return git_file(rest, url, error).map(Self::Git);
        }
        match text.split_once("://") {
            None if text.is_empty() => Err(error("it is empty")),
            None if text == "-" => {
                Err(error("standard input cannot be read again in the next round"))
            }
            None => Ok(Self::File(text.into())),
            Some(("file", path)) if path.starts_with('/') => Ok(Self::File(path.into())),
            Some(("https" | "http", _)) => Ok(Self::Http(url(text)?)),
            Some((scheme, _)) => Err(error(&format!("the scheme {scheme:?} is unknown"))),
        }
    }
}

fn git_file(
    rest: &str,
    url: impl Fn(&str) -> Result<Url, LocationError>,
    error: impl Fn(&str) -> LocationError,
) -> Result<GitFile, LocationError> {
    let Some((scheme, after)) = rest.split_once("://") else {
        return Err(error("expected a URL after git+"));
    };
    if !matches!(scheme, "https" | "http" | "ssh" | "file") {
        return Err(error(&format!("git is used over https, http, ssh and file, not {scheme:?}")));
    }
    // Two slashes end the repository. The path of a file:// URL begins with one.
    let Some((repository, file)) = after.split_once("//").filter(|(it, _)| !it.is_empty()) else {
        return Err(error("expected // and the path of the list after the repository"));
    };
    let (path, branch) = match file.rsplit_once('@') {
        None => (file, None),
        Some((path, branch)) => (path, Some(branch)),
    };
    if path.split('/').any(|component| matches!(component, "" | "." | "..")) {
        return Err(error("the path of the list in the repository is not a clean one"));
    }
    if branch.is_some_and(|branch| !is_branch(branch)) {
        return Err(error("what follows @ is not the name of a branch or tag"));
    }
    let url = url(&format!("{scheme}://{repository}"))?;
    Ok(GitFile { url, path: path.to_owned(), branch: branch.map(str::to_owned) })
}

/// Whether git would allow this name (`git-check-ref-format(1)`), and not take it for something else.
fn is_branch(name: &str) -> bool {
    let forbidden = |c: char| c.is_ascii_control() || " ~^:?*[\\".contains(c);
    let component =
        |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    !name.starts_with('-')
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.contains("@{")
        && name != "@"
        && !name.contains(forbidden)
        && name.split('/').all(component)
}

impl fmt::Display for Location {
    /// Without the user and the password of a URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Http(url) => f.write_str(&super::without_secrets(url.as_str())),
            Self::Git(GitFile { url, path, branch }) => {
                write!(f, "git+{}//{path}", super::without_secrets(url.as_str()))?;
                match branch {
                    Some(branch) => write!(f, "@{branch}"),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_files() {
        for (text, url, path, branch) in [
            ("git+https://h/r.git//a.yaml", "https://h/r.git", "a.yaml", None),
            ("git+https://h/r//d/a.yaml@main", "https://h/r", "d/a.yaml", Some("main")),
            ("git+https://h/r//a@b.yaml@x/y", "https://h/r", "a@b.yaml", Some("x/y")),
            ("git+ssh://git@h:22/r//a", "ssh://git@h:22/r", "a", None),
            ("git+file:///srv/r.git//a@v1.0", "file:///srv/r.git", "a", Some("v1.0")),
            ("git+http://u:p@h/r//a", "http://u:p@h/r", "a", None),
        ] {
            let expected = GitFile {
                url: url.parse().unwrap(),
                path: path.to_owned(),
                branch: branch.map(str::to_owned),
            };
            assert_eq!(text.parse::<Location>().unwrap(), Location::Git(expected), "{text}");
        }
    }

    #[test]
    fn other_places() {
        let file = |path: &str| Location::File(path.into());
        for (text, location) in [
            ("list.yaml", file("list.yaml")),
            ("/srv/list.yaml", file("/srv/list.yaml")),
            ("file:///srv/list.yaml", file("/srv/list.yaml")),
            ("https://h/l?ref=x", Location::Http("https://h/l?ref=x".parse().unwrap())),
        ] {
            assert_eq!(text.parse::<Location>().unwrap(), location, "{text}");
        }
    }

    #[test]
    fn what_is_no_place() {
        for (text, part) in [
            ("", "empty"),
            ("-", "standard input"),
            ("ftp://h/l", "\"ftp\""),
            ("https://", "empty host"),
            ("git+h/r//a", "expected a URL"),
            ("git+ext::sh -c x//a", "expected a URL"),
            ("git+ext://x//a", "not \"ext\""),
            ("git+https://h/r", "expected //"),
            ("git+https://h/r//", "clean"),
            ("git+https://h/r//../a", "clean"),
            ("git+https://h/r///a", "clean"),
            ("git+https://h/r//a@", "branch"),
            ("git+https://h/r//a@-x", "branch"),
            ("git+https://h/r//a@x..y", "branch"),
            ("git+https://h/r//a@x:y", "branch"),
        ] {
            let error = text.parse::<Location>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        for (text, shown) in [
            ("https://u:p@h/l?private_token=x", "https://h/l"),
            ("git+https://u:p@h/r//a@b", "git+https://h/r//a@b"),
            ("git+ssh://git@h/r//a", "git+ssh://h/r//a"),
        ] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), shown);
        }
        let error = "git+https://u:p@h/r".parse::<Location>().unwrap_err().to_string();
        assert!(!error.contains("u:p"), "{error}");
    }
}
