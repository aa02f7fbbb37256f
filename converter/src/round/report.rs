//! What a round did, for people and for programs (`--json`).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::state::Failure;

/// The report on one round over a repository's images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundReport {
    /// What the repository is called.
    pub repository: String,
    /// When the round began.
    pub begun: Timestamp,
    /// How long it took.
    pub seconds: f64,
    /// Images that are wished for, in this publisher's share of them.
    pub images: usize,
    /// Those that were in the repository as they are in their registries.
    pub unchanged: usize,
    /// Those that this round published.
    pub converted: Vec<ConvertedImage>,
    /// Those that could not be published.
    pub failed: Vec<FailedImage>,
    /// Those that failed in an earlier round and are tried again later.
    pub waiting: Vec<FailedImage>,
    /// Those that the round did not come to because it was interrupted.
    pub interrupted: usize,
    /// What a user should know although nothing failed.
    pub remarks: Vec<String>,
    /// What kept the round from doing all of its work, other than single images.
    pub errors: Vec<String>,
}

/// An image that a round has published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvertedImage {
    /// Its public name.
    pub name: String,
    /// Layers that were fetched for it.
    pub layers_fetched: usize,
    /// Bytes of layers that were fetched for it, retries included.
    pub bytes_in: u64,
    /// What a user should know although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub remarks: Vec<String>,
}

/// An image that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedImage {
    /// What is known of its failures.
    #[serde(flatten)]
    pub failure: Failure,
    /// Whether the wish list allows it to fail.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub may_fail: bool,
}

impl RoundReport {
    /// A report on a round that begins.
    pub fn new(repository: String, begun: Timestamp) -> Self {
        Self {
            repository,
            begun,
            seconds: 0.0,
            images: 0,
            unchanged: 0,
            converted: Vec::new(),
            failed: Vec::new(),
            waiting: Vec::new(),
            interrupted: 0,
            remarks: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Images that are not as they should be, and that may not fail.
    pub fn faults(&self) -> impl Iterator<Item = &FailedImage> {
        self.failed.iter().chain(&self.waiting).filter(|image| !image.may_fail)
    }

    /// Whether everything is as it should be.
    pub fn is_success(&self) -> bool {
        self.faults().next().is_none() && self.errors.is_empty() && self.interrupted == 0
    }
}
