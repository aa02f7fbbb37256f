//! Where a list is read from, and the last good version of it.
//!
//! A list is read again in each round, by whatever means tell cheaply that it is the same as before. If it cannot be
//! read any more, or its new version cannot be used, the last good one counts; [`Reading::state`] says so.

mod error;
mod git;
mod http;
mod ignore_file;
mod location;
mod prune_config;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime};

use layer_layout::Digest;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use url::Url;

pub use error::{FetchError, ReadError};
pub use ignore_file::{IgnoreFileError, ignore_errors_file};
pub use location::LocationError;
pub use prune_config::{PruneConfigError, PruneSources, prune_config};

use self::location::Location;
use super::fault::Fault;
use super::list::{self, List, Parsed};
use super::yaml;
use crate::source::Retry;

/// A place from which a list is read: a file, `https://…`, or `git+URL//PATH[@BRANCH]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListSource {
    location: Location,
    id: Digest,
}

/// How to read.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long an attempt may take; no other begins after this time either. The default is a minute.
    pub timeout: Duration,
    /// How often to try to read a list over the network; at least 1. The default is 5.
    pub attempts: u32,
    /// The pause after the first failure; it doubles with each further one. The default is one second.
    pub first_pause: Duration,
    /// The longest list, in bytes. The default is what the parser takes, 4 MiB.
    pub size_limit: u64,
    /// An existing directory for temporary files. The default is that of the program.
    pub scratch: PathBuf,
    /// The git program. The default is `git`, found in `PATH`.
    pub git: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(60),
            attempts: 5,
            first_pause: Duration::from_secs(1),
            size_limit: yaml::TEXT_LIMIT as u64,
            scratch: tempfile::env::temp_dir(),
            git: "git".into(),
        }
    }
}

/// The last good version of a list, for the next [`ListSource::read`]. Who has lost it reads the list anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// [`ListSource::id`] of where it is from.
    pub id: Digest,
    /// The list.
    pub text: String,
    /// By what the server recognizes it.
    #[serde(flatten)]
    pub version: Version,
    /// When it was first read, in seconds since 1970.
    pub since: u64,
}

/// By what a version of a list is recognized.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Version {
    /// `ETag` of an HTTP answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// `Last-Modified` of an HTTP answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
    /// Commit in a git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// A list to go on with.
#[derive(Debug)]
pub struct Reading {
    /// The list: the newest version, or the last good one.
    pub list: List,
    /// What is wrong with it, though not so wrong that it cannot be used.
    pub faults: Vec<Fault>,
    /// What to give to the next [`ListSource::read`].
    pub kept: Kept,
    /// Which version it is.
    pub state: State,
}

/// Which version of a list was read.
#[derive(Debug)]
pub enum State {
    /// Another one than before, or the first.
    New,
    /// The same as before.
    Unchanged,
    /// An old one, because the newest cannot be used for this reason.
    Stale(ReadError),
}

/// What a place has to offer.
enum Fetched {
    /// What is known already.
    Unchanged,
    /// A text.
    New(Vec<u8>, Version),
}

impl ListSource {
    /// What tells this place from others, without telling anybody the secrets in its URL.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// Reads the list. `kept` is what an earlier call gave.
    ///
    /// # Errors
    /// If the list cannot be read or used, and no good version of it is kept.
    pub async fn read(&self, kept: Option<&Kept>, options: &Options) -> Result<Reading, ReadError> {
        let list = self.to_string();
        // What is kept of another place, or cannot be used by this version of the program, is of no use.
        let kept = kept.filter(|kept| kept.id == self.id);
        let kept = kept.and_then(|kept| Some((kept, usable(kept.text.as_bytes()).ok()?)));
        let version = kept.as_ref().map(|(kept, _)| &kept.version);
        let trouble = match self.fetch_patiently(version, options).await {
            Ok(Fetched::Unchanged) => match kept {
                Some((kept, parsed)) => return Ok(reading(parsed, kept.clone(), State::Unchanged)),
                None => ReadError::Unreadable { list, cause: FetchError::NotModified },
            },
            Ok(Fetched::New(bytes, version)) => match usable(&bytes) {
                Ok(parsed) => {
                    // It has been parsed, so it is UTF-8.
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let same = kept.map(|(kept, _)| kept).filter(|kept| kept.text == text);
                    let state = if same.is_some() { State::Unchanged } else { State::New };
                    let since = same.map_or_else(now, |kept| kept.since);
                    let kept = Kept { id: self.id, text, version, since };
                    return Ok(reading(parsed, kept, state));
                }
                Err(faults) => ReadError::Broken { list, faults },
            },
            Err(cause) => ReadError::Unreadable { list, cause },
        };
        match kept {
            Some((kept, parsed)) => Ok(reading(parsed, kept.clone(), State::Stale(trouble))),
            None => Err(trouble),
        }
    }

    /// Tries again what may pass, as registries are asked again.
    async fn fetch_patiently(
        &self,
        known: Option<&Version>,
        options: &Options,
    ) -> Result<Fetched, FetchError> {
        let retry = Retry {
            attempts: options.attempts.max(1),
            first: options.first_pause,
            longest: options.timeout,
        };
        let begun = Instant::now();
        for failures in 1.. {
            let fetching = self.fetch(known, options);
            let error = match tokio::time::timeout(options.timeout, fetching).await {
                Ok(Ok(fetched)) => return Ok(fetched),
                Ok(Err(error)) => error,
                Err(_) => FetchError::Timeout { after: options.timeout },
            };
            let pause = retry.pause(failures, error.retry_after());
            if failures >= retry.attempts
                || !error.may_pass()
                || begun.elapsed() + pause >= options.timeout
            {
                return Err(error);
            }
            tracing::info!(list = %self, "{error}; trying again");
            tokio::time::sleep(pause).await;
        }
        unreachable!("the loop ends with the last attempt")
    }

    async fn fetch(
        &self,
        known: Option<&Version>,
        options: &Options,
    ) -> Result<Fetched, FetchError> {
        match &self.location {
            Location::File(path) => file(path, options.size_limit).await,
            Location::Http(url) => http::fetch(url, known, options).await,
            Location::Git(file) => git::fetch(file, known, options).await,
        }
    }
}

/// The list, if it can be used, and the faults that it has all the same.
fn usable(bytes: &[u8]) -> Result<(List, Vec<Fault>), Vec<Fault>> {
    let Parsed { list, faults } = list::parse(bytes);
    match list {
        Some(list) => Ok((list, faults)),
        None => Err(faults),
    }
}

fn reading((list, faults): (List, Vec<Fault>), kept: Kept, state: State) -> Reading {
    Reading { list, faults, kept, state }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |duration| duration.as_secs())
}

async fn file(path: &Path, limit: u64) -> Result<Fetched, FetchError> {
    let failed = |cause| FetchError::File { path: path.to_owned(), cause };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).await.map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(FetchError::TooLong { limit });
    }
    Ok(Fetched::New(bytes, Version::default()))
}

impl FromStr for ListSource {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        Ok(Self { location: text.parse()?, id: Digest::of(text.as_bytes()) })
    }
}

impl std::fmt::Display for ListSource {
    /// As it was written, without the user, the password and the query of a URL.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.location.fmt(f)
    }
}

/// A URL without user, password, query and fragment, which may hold secrets; what is no URL as it is.
fn without_secrets(text: &str) -> String {
    let (prefix, url) = match text.strip_prefix("git+") {
        Some(rest) => ("git+", rest),
        None => ("", text),
    };
    let Ok(mut url) = url.parse::<Url>() else { return text.to_owned() };
    url.set_query(None);
    url.set_fragment(None);
    // Fails only for URLs that cannot have a user.
    let _no_user = url.set_username("").and_then(|()| url.set_password(None));
    format!("{prefix}{url}")
}

#[cfg(test)]
mod tests;
