//! The configuration file.
//!
//! TOML; every key is listed in `docs/snapshotter.md`. An unknown key is an error, so that a misspelled one is
//! noticed.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use serde::Deserialize;

/// The configuration file, unless the command line names another one.
pub const DEFAULT_FILE: &str = "/etc/cvmfs-snapshotter/config.toml";

/// Where CVMFS clients mount repositories.
const CVMFS: &str = "/cvmfs";

/// What is wrong with a configuration. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file.
    #[error(
        "there is no configuration file {0}\n\
         Write one, for instance:\n\n\
         [[repository]]\n\
         name = \"unpacked.example.org\"   # mounted at /cvmfs/unpacked.example.org\n\n\
         or name another one with --config. An empty file makes a plain overlay snapshotter."
    )]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error("cannot read the configuration file {0}: {1}")]
    Unreadable(PathBuf, #[source] io::Error),
    /// The file is not TOML, or has an unknown key or value.
    #[error("configuration file {0}: {1}")]
    Syntax(PathBuf, #[source] Box<toml::de::Error>),
    /// A value is out of its range, or contradicts another one.
    #[error("configuration file {0}: {1}")]
    Value(PathBuf, String),
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// The daemon's own directory: records, upper directories, links. On a local file system.
    pub root: PathBuf,
    /// The unix socket that containerd connects to.
    pub socket: PathBuf,
    /// How the log is written to standard error.
    pub log_format: LogFormat,
    /// How much is logged.
    pub log_level: LogLevel,
    /// How long a repository may take to answer one question, in milliseconds. Bounds every `Prepare`.
    pub repository_timeout_ms: u64,
    /// After how many seconds a repository that did not answer in time is tried again.
    pub repository_retry_s: u64,
    /// Where metrics and health are served over HTTP; nowhere if it is not set.
    pub status_address: Option<SocketAddr>,
    /// The repositories, in the order of preference.
    #[serde(rename = "repository")]
    pub repositories: Vec<ConfiguredRepository>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            root: "/var/lib/cvmfs-snapshotter".into(),
            socket: "/run/cvmfs-snapshotter/cvmfs-snapshotter.sock".into(),
            log_format: LogFormat::Text,
            log_level: LogLevel::Info,
            repository_timeout_ms: 2000,
            repository_retry_s: 10,
            status_address: None,
            repositories: Vec::new(),
        }
    }
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One line of text per event.
    Text,
    /// One JSON object per event.
    Json,
}

/// The least important events that are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// Something is broken.
    Error,
    /// Something needs attention.
    Warn,
    /// One line per decision.
    Info,
    /// One line per request.
    Debug,
    /// Everything.
    Trace,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// One repository that layers may come from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConfiguredRepository {
    /// Its fully qualified name, which thin images use.
    pub name: String,
    path: Option<PathBuf>,
}

impl ConfiguredRepository {
    /// A repository that is mounted at `path`.
    pub fn new(name: &str, path: &Path) -> Self {
        Self { name: name.to_owned(), path: Some(path.to_owned()) }
    }

    /// Where it is mounted: as configured, or `/cvmfs/<name>`.
    pub fn path(&self) -> PathBuf {
        self.path.clone().unwrap_or_else(|| Path::new(CVMFS).join(&self.name))
    }
}

impl Config {
    /// Reads `file`.
    ///
    /// # Errors
    /// If the file is missing, cannot be read or does not make sense.
    pub fn load(file: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Missing(file.to_owned()),
            _ => Error::Unreadable(file.to_owned(), error),
        })?;
        let config: Self =
            toml::from_str(&text).map_err(|e| Error::Syntax(file.to_owned(), Box::new(e)))?;
        config.check().map_err(|reason| Error::Value(file.to_owned(), reason))?;
        Ok(config)
    }

    /// The deadline of one question to a repository.
    pub fn repository_timeout(&self) -> Duration {
        Duration::from_millis(self.repository_timeout_ms)
    }

    /// The pause before a repository that did not answer is tried again.
    pub fn repository_retry(&self) -> Duration {
        Duration::from_secs(self.repository_retry_s)
    }

    fn check(&self) -> Result<(), String> {
        clean_path("root", &self.root)?;
        // containerd takes mount options apart at commas, and lower directories at colons.
        if self.root.to_string_lossy().contains([':', ',', '\\']) {
            return Err(format!("root {:?} must not contain `:`, `,` or `\\`", self.root));
        }
        clean_path("socket", &self.socket)?;
        if !(50..=10_000).contains(&self.repository_timeout_ms) {
            return Err(
                "repository-timeout-ms must be between 50 and 10000: containerd holds a lock \
                        while it waits for a Prepare"
                    .to_owned(),
            );
        }
        if self.repository_retry_s == 0 {
            return Err("repository-retry-s must be at least 1".to_owned());
        }
        let (mut names, mut paths) = (HashSet::new(), HashSet::new());
        for repository in &self.repositories {
            let name = &repository.name;
            if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
                return Err(format!(
                    "repository name {name:?}: expected a name like unpacked.example.org"
                ));
            }
            clean_path("path of a repository", &repository.path())?;
            if !names.insert(name) {
                return Err(format!("repository {name:?} is there twice"));
            }
            if !paths.insert(repository.path()) {
                return Err(format!("two repositories have the path {:?}", repository.path()));
            }
        }
        Ok(())
    }
}

fn clean_path(what: &str, path: &Path) -> Result<(), String> {
    let clean = path.is_absolute()
        && path != Path::new("/")
        && path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if clean {
        Ok(())
    } else {
        Err(format!("{what} {path:?}: expected an absolute path without `..`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        Config::load(file.path())
    }

    #[test]
    fn defaults_and_every_key() {
        assert_eq!(load("").unwrap(), Config::default());
        let config = load(
            r#"
            root = "/r"
            socket = "/s/s.sock"
            log-format = "json"
            log-level = "debug"
            repository-timeout-ms = 500
            repository-retry-s = 3
            status-address = "[::1]:9137"
            [[repository]]
            name = "a.org"
            [[repository]]
            name = "b.org"
            path = "/mnt/b"
            "#,
        )
        .unwrap();
        let expected = Config {
            root: "/r".into(),
            socket: "/s/s.sock".into(),
            log_format: LogFormat::Json,
            log_level: LogLevel::Debug,
            repository_timeout_ms: 500,
            repository_retry_s: 3,
            status_address: Some("[::1]:9137".parse().unwrap()),
            repositories: vec![
                ConfiguredRepository { name: "a.org".to_owned(), path: None },
                ConfiguredRepository::new("b.org", Path::new("/mnt/b")),
            ],
        };
        assert_eq!(config, expected);
        let paths: Vec<_> = config.repositories.iter().map(ConfiguredRepository::path).collect();
        assert_eq!(paths, [Path::new("/cvmfs/a.org"), Path::new("/mnt/b")]);
    }

    #[test]
    fn errors_name_the_key() {
        for (text, part) in [
            ("root = \"relative\"", "root \"relative\""),
            ("root = \"/\"", "root \"/\""),
            ("root = \"/a:b\"", "must not contain"),
            ("root = \"/a/../b\"", "without `..`"),
            ("socket = \"s\"", "socket \"s\""),
            ("rot = \"/r\"", "unknown field `rot`"),
            ("log-level = \"loud\"", "unknown variant `loud`"),
            ("log-format = 3", "log-format"),
            ("repository-timeout-ms = 0", "repository-timeout-ms"),
            ("repository-retry-s = 0", "repository-retry-s"),
            ("status-address = \":9137\"", "status-address"),
            ("[[repository]]", "missing field `name`"),
            ("[[repository]]\nname = \"a/b\"", "repository name \"a/b\""),
            ("[[repository]]\nname = \"a\"\npath = \"b\"", "path of a repository \"b\""),
            ("[[repository]]\nname = \"a\"\nurl = \"b\"", "unknown field `url`"),
            ("[[repository]]\nname = \"a\"\n[[repository]]\nname = \"a\"", "\"a\" is there twice"),
            (
                "[[repository]]\nname = \"a\"\n[[repository]]\nname = \"b\"\npath = \"/cvmfs/a\"",
                "two",
            ),
            ("=", "TOML parse error"),
        ] {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
        let error = Config::load(Path::new("/nonexistent/c.toml")).unwrap_err().to_string();
        assert!(
            error.contains("/nonexistent/c.toml") && error.contains("[[repository]]"),
            "{error}"
        );
    }
}
