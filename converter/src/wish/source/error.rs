//! Why a list could not be read.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use http::StatusCode;

use crate::wish::fault::{Fault, Severity};

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It could not be read.
    #[error("cannot read the wish list {list}")]
    Unreadable {
        /// Where it is.
        list: String,
        /// What happened.
        #[source]
        cause: FetchError,
    },
    /// It was read, but it is not a wish list.
    #[error("the wish list {list} cannot be used: {}", texts(list, faults))]
    Broken {
        /// Where it is.
        list: String,
        /// What is wrong, in the order of the text.
        faults: Vec<Fault>,
    },
}

/// The faults that make a list unusable, one after the other.
fn texts(list: &str, faults: &[Fault]) -> String {
    let bad = faults.iter().filter(|fault| fault.severity == Severity::List);
    bad.map(|fault| format!("{list}:{fault}")).collect::<Vec<_>>().join("; ")
}

/// Why a text could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The file could not be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// It is too long for a list.
    #[error("it has more than {limit} bytes, the limit for a list")]
    TooLong {
        /// The limit in bytes.
        limit: u64,
    },
    /// It took too long.
    #[error("it did not arrive within {} seconds", after.as_secs_f32())]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// The connection failed.
    #[error("the connection failed")]
    Connection(#[source] reqwest::Error),
    /// The HTTP library refuses its settings.
    #[error("cannot set up the connection")]
    Client(#[source] reqwest::Error),
    /// The server did not answer with a list.
    #[error("the server answered {status}")]
    Status {
        /// Its answer.
        status: StatusCode,
        /// How long it asks us to wait.
        retry_after: Option<Duration>,
    },
    /// The server says that nothing changed, but nothing is there that could have stayed the same.
    #[error("the server answered 304 (Not Modified) without being asked whether anything was")]
    NotModified,
    /// `git` is not there or cannot be run.
    #[error("cannot run git, which reads lists from repositories; install it")]
    NoGit(#[source] std::io::Error),
    /// `git` reports a failure.
    #[error("`git {command}` failed ({status}): {message}")]
    Git {
        /// The subcommand.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of what it says.
        message: String,
    },
    /// The repository has no such branch or tag.
    #[error("the repository has no branch or tag {0:?}")]
    NoBranch(String),
    /// The repository has no default branch: it is empty.
    #[error("the repository is empty")]
    EmptyRepository,
    /// The repository does not have the file.
    #[error("commit {commit} of the repository has no file {path:?}")]
    NoFile {
        /// The commit.
        commit: String,
        /// The path in the repository.
        path: String,
    },
    /// What the path leads to is not a file.
    #[error("{path:?} in the repository is {what}, not a file")]
    NotAFile {
        /// The path in the repository.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// `git` says something that it should not.
    #[error("git gave an unexpected answer: {0}")]
    UnexpectedAnswer(String),
    /// The directory for temporary files cannot be used.
    #[error(transparent)]
    Scratch(cvmfs_repository::Error),
    /// The program is being shut down.
    #[error("interrupted")]
    Interrupted,
}

/// What git does over the network.
const REMOTE: [&str; 2] = ["ls-remote", "fetch"];

impl FetchError {
    /// Whether the same may succeed a little later. git does not say why it failed, so whatever it does over the network
    /// counts.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Connection(_) => true,
            Self::Status { status, .. } => {
                (status.is_server_error() && *status != StatusCode::NOT_IMPLEMENTED)
                    || matches!(
                        *status,
                        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
                    )
            }
            Self::Git { command, .. } => REMOTE.contains(&command.as_str()),
            _ => false,
        }
    }

    /// How long the server asks us to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
