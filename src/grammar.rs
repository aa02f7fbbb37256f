//! The grammar that image references and public names share: `registry[:port]/repository[:tag][@digest]`.

use crate::{Digest, Error, Result};

const TAG_LENGTH: usize = 128;

/// What comes after the repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Reference {
    Tag(String),
    Digest(Digest),
    Both { tag: String, digest: Digest },
}

impl Reference {
    pub(crate) fn tag(&self) -> Option<&str> {
        match self {
            Self::Tag(tag) | Self::Both { tag, .. } => Some(tag),
            Self::Digest(_) => None,
        }
    }

    pub(crate) fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Digest(digest) | Self::Both { digest, .. } => Some(digest),
            Self::Tag(_) => None,
        }
    }

    /// What a public name ends with: the tag, or the digest if there is no tag.
    pub(crate) fn public_part(&self) -> String {
        match self {
            Self::Tag(tag) | Self::Both { tag, .. } => tag.clone(),
            Self::Digest(digest) => digest.to_string(),
        }
    }

    /// What a registry is asked for: the digest, or the tag if there is no digest.
    pub(crate) fn fetched_part(&self) -> String {
        match self {
            Self::Digest(digest) | Self::Both { digest, .. } => digest.to_string(),
            Self::Tag(tag) => tag.clone(),
        }
    }
}

/// Splits and checks `registry[:port]/repository[:tag][@digest]`, which begins at `offset` in `text`.
pub(crate) fn split_name(
    what: &'static str,
    text: &str,
    offset: usize,
) -> Result<(String, String, Reference)> {
    let error = |at: usize, reason: String| Error::syntax(what, text, at, reason);
    let name = &text[offset..];
    let Some((registry, path)) = name.split_once('/') else {
        let reason = "expected registry/repository:tag; there is no default registry \
                      (for Docker Hub write registry.hub.docker.com/library/NAME:TAG)";
        return Err(error(offset, reason.to_owned()));
    };
    check_registry(what, text, offset, registry)?;

    let path_offset = offset + registry.len() + 1;
    let (path, digest) = match path.split_once('@') {
        None => (path, None),
        Some((path, digest)) => {
            let at = path_offset + path.len() + 1;
            let digest = digest.parse::<Digest>().map_err(|cause| match cause {
                Error::Syntax { position, reason, .. } => error(at + position, reason),
                other => other,
            })?;
            (path, Some(digest))
        }
    };
    let (repository, tag, digest) = match (path.split_once(':'), digest) {
        (None, digest) => (path, None, digest),
        (Some((repository, rest)), None) => match rest.parse::<Digest>() {
            // A public name has its digest after a colon, `repository:sha256:<hex>`.
            Ok(digest) => (repository, None, Some(digest)),
            Err(_) => (repository, Some(rest), None),
        },
        (Some((repository, tag)), digest) => (repository, Some(tag), digest),
    };
    check_repository(what, text, path_offset, repository)?;
    if let Some(tag) = tag {
        check_tag(what, text, path_offset + repository.len() + 1, tag, true)?;
    }
    let reference = match (tag.map(str::to_owned), digest) {
        (Some(tag), Some(digest)) => Reference::Both { tag, digest },
        (Some(tag), None) => Reference::Tag(tag),
        (None, Some(digest)) => Reference::Digest(digest),
        (None, None) => {
            let reason = "expected `:tag` or `@sha256:…`; there is no default tag";
            return Err(error(text.len(), reason.to_owned()));
        }
    };
    Ok((registry.to_owned(), repository.to_owned(), reference))
}

/// A host name or an address (IPv6 in brackets), and perhaps a port.
fn check_registry(what: &'static str, text: &str, offset: usize, registry: &str) -> Result<()> {
    let error = |at: usize, reason: &str| Err(Error::syntax(what, text, offset + at, reason));
    let (host, port) = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return error(1, "expected an IPv6 address in the brackets");
            }
            let port = match rest.strip_prefix(':') {
                None if rest.is_empty() => None,
                None => return error(address.len() + 2, "expected `:port` or `/`"),
                Some(port) => Some((address.len() + 3, port)),
            };
            (None, port)
        }
        None => match registry.split_once(':') {
            Some((host, port)) => (Some(host), Some((host.len() + 1, port))),
            None => (Some(registry), None),
        },
    };
    if let Some(host) = host {
        let edge = |c: char| c.is_ascii_alphanumeric();
        if !host.starts_with(edge) || !host.ends_with(edge) {
            let at = if host.starts_with(edge) { host.len() - 1 } else { 0 };
            return error(at, "expected a host name that begins and ends with a letter or digit");
        }
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if let Some((at, c)) = host.char_indices().find(|&(_, c)| !inner(c)) {
            return error(at, &format!("character {c:?} is not allowed in a host name"));
        }
        if let Some(at) = host.find("..") {
            return error(at, "empty part in the host name");
        }
    }
    match port {
        Some((at, port))
            if !port.bytes().all(|b| b.is_ascii_digit()) || port.parse::<u16>().is_err() =>
        {
            let reason = "expected a port number; a reference needs its registry in front \
                          (for Docker Hub registry.hub.docker.com/library/NAME:TAG)";
            error(at, reason)
        }
        _ => Ok(()),
    }
}

/// OCI distribution-spec: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`.
fn check_repository(what: &'static str, text: &str, offset: usize, repository: &str) -> Result<()> {
    let error = |at: usize, reason: String| Err(Error::syntax(what, text, offset + at, reason));
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut start = 0;
    for component in repository.split('/') {
        let bytes = component.as_bytes();
        let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
            return error(start, "empty component in the repository".to_owned());
        };
        if let Some((at, c)) = component
            .char_indices()
            .find(|&(_, c)| !(c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c)))
        {
            let hint = if c.is_ascii_uppercase() { " (repositories are lower-case)" } else { "" };
            return error(
                start + at,
                format!("character {c:?} is not allowed in a repository{hint}"),
            );
        }
        if !alphanumeric(first) || !alphanumeric(last) {
            let at = if alphanumeric(first) { bytes.len() - 1 } else { 0 };
            let reason = "a component begins and ends with a lower-case letter or digit";
            return error(start + at, reason.to_owned());
        }
        let separators = component.split(|c: char| c.is_ascii_alphanumeric());
        if separators
            .into_iter()
            .any(|s| !matches!(s, "" | "." | "_" | "__") && s.contains(['.', '_']))
        {
            return error(start, "separators are `.`, `_`, `__` or dashes".to_owned());
        }
        start += component.len() + 1;
    }
    Ok(())
}

/// OCI distribution-spec: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`; with `wildcards`, `*` stands for any run of
/// characters, as in DUCC's wish lists.
pub(crate) fn check_tag(
    what: &'static str,
    text: &str,
    offset: usize,
    tag: &str,
    wildcards: bool,
) -> Result<()> {
    let error = |at: usize, reason: String| Err(Error::syntax(what, text, offset + at, reason));
    if tag.is_empty() {
        return error(0, "empty tag".to_owned());
    }
    if tag.len() > TAG_LENGTH {
        return error(TAG_LENGTH, format!("a tag has at most {TAG_LENGTH} characters"));
    }
    for (at, c) in tag.char_indices() {
        let fits = c.is_ascii_alphanumeric()
            || c == '_'
            || (at > 0 && matches!(c, '.' | '-'))
            || (wildcards && c == '*');
        if !fits {
            return error(at, format!("character {c:?} is not allowed here in a tag"));
        }
    }
    Ok(())
}
