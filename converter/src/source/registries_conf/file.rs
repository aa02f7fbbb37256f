//! One file of `registries.conf`: TOML in, rules out.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::error::Error;

/// A `[[registry]]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// The file that it is in, for messages.
    pub(super) file: PathBuf,
    /// `host[:port][/path…]` or `*.domain`.
    pub(super) prefix: String,
    /// What to put in place of the prefix; `None` leaves it.
    pub(super) location: Option<String>,
    pub(super) insecure: bool,
    pub(super) blocked: bool,
    pub(super) mirrors: Vec<Mirror>,
}

/// A `[[registry.mirror]]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mirror {
    pub(super) location: String,
    pub(super) insecure: bool,
    pub(super) usage: Use,
}

/// Which images a mirror is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(super) enum Use {
    #[default]
    #[serde(rename = "all")]
    Always,
    /// For those that are named by digest, so that a stale mirror does not matter.
    #[serde(rename = "digest-only")]
    ForDigests,
    #[serde(rename = "tag-only")]
    ForTags,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    registry: Vec<Table>,
    /// Of version 1.
    registries: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[derive(Default)]
struct Table {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<MirrorTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorTable {
    location: String,
    #[serde(default)]
    insecure: bool,
    pull_from_mirror: Option<Use>,
}

/// Adds the rules in `text`. A rule replaces an earlier one with the same prefix.
pub(super) fn add(rules: &mut Vec<Rule>, path: &Path, text: &str) -> Result<(), Error> {
    let file: File = toml::from_str(text).map_err(|error| Error::Syntax {
        path: path.to_owned(),
        reason: error.to_string().trim_end().to_owned(),
    })?;
    if file.registries.is_some() {
        return Err(Error::Version1(path.to_owned()));
    }
    for table in file.registry {
        let rule = rule(path, table)?;
        rules.retain(|earlier| earlier.prefix != rule.prefix);
        rules.push(rule);
    }
    Ok(())
}

fn rule(path: &Path, table: Table) -> Result<Rule, Error> {
    let name = [&table.prefix, &table.location].into_iter().find(|name| !name.is_empty());
    let name = name.cloned().unwrap_or_default();
    let wrong = |reason| Err(Error::Rule { path: path.to_owned(), prefix: name.clone(), reason });
    if name.is_empty() {
        return wrong("has neither prefix nor location");
    }
    let mirrors = || table.mirror.iter().map(|mirror| &mirror.location);
    if mirrors().any(String::is_empty) {
        return wrong("has a mirror without location");
    }
    if [&table.prefix, &table.location].into_iter().chain(mirrors()).any(|it| it.contains("://")) {
        return wrong("has a scheme in a name; write the host alone, and insecure = true for HTTP");
    }
    let prefix = trimmed(&name);
    let wildcard = prefix.starts_with("*.");
    if prefix.contains('*') && (!wildcard || prefix[1..].contains('*')) {
        return wrong("has a * elsewhere than in *.domain");
    }
    if table.location.contains('*') || mirrors().any(|location| location.contains('*')) {
        return wrong("has a * in a location");
    }
    if table.mirror_by_digest_only
        && table.mirror.iter().any(|mirror| mirror.pull_from_mirror.is_some())
    {
        return wrong("has both mirror-by-digest-only and pull-from-mirror");
    }
    let by_default = if table.mirror_by_digest_only { Use::ForDigests } else { Use::Always };
    let mirrors = table.mirror.iter().map(|mirror| Mirror {
        location: trimmed(&mirror.location),
        insecure: mirror.insecure,
        usage: mirror.pull_from_mirror.unwrap_or(by_default),
    });
    Ok(Rule {
        file: path.to_owned(),
        mirrors: mirrors.collect(),
        location: Some(trimmed(&table.location)).filter(|location| !location.is_empty()),
        prefix,
        insecure: table.insecure,
        blocked: table.blocked,
    })
}

fn trimmed(name: &str) -> String {
    name.trim_end_matches('/').to_owned()
}

/// The files `*.conf` of a directory by name; none if there is no such directory.
pub(super) fn drop_ins(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let unread = |cause| Error::Read { path: directory.to_owned(), cause };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(unread(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(unread)?.path();
        if path.extension().is_some_and(|extension| extension == "conf") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
