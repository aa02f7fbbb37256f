//! What is not needed any more: since when, and how it goes.
//!
//! An image that nobody wishes for any more, or whose tag has moved, waits in the schedule until its grace period is
//! over ([`unwanted`]). Then its names and all that nothing else refers to are removed, in batches that each leave a
//! repository in which every image is complete ([`plan`]).
//!
//! All of this is worked out from what is seen of a repository, without changing it; [`carry_out`](fn@carry_out) is the
//! thin layer that does it, and does it again if somebody else was faster.
//!
//! | file | what it is for |
//! |---|---|
//! | `wish` | what wish lists want, and wanted before |
//! | `unwanted` | what enters the schedule and leaves it |
//! | `plan` | what can go: whose time has come, and what still refers to it |
//! | `batch` | in which order it goes |
//! | `carry_out` | doing it |
//! | `stop` | ending before its time |

mod batch;
mod carry_out;
mod plan;
mod stop;
#[cfg(test)]
mod tests;
pub mod unwanted;
mod wish;

use layer_layout::RepositoryPath;

pub use self::batch::Batch;
pub use self::carry_out::{Removed, carry_out, keep_books, mend_aliases};
pub use self::plan::{Doomed, Options, Plan, Subject, plan};
pub use self::stop::Stop;
pub use self::wish::{ListWishes, Platforms, Unknown, Wanted};
use crate::attempts::Outpaced;
use crate::inventory::Broken;
use crate::repository;

/// The result of this room's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why nothing was removed, or not all that was to be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository could not be read or changed.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// Something that tells what is needed cannot be understood.
    #[error(
        "no content is removed while it is not known what is needed: {}; mend or remove that first (`ducc verify \
         --repair`, `ducc delete-image`)",
        listed(.0)
    )]
    Broken(Vec<Broken>),
    /// The record of a wish list cannot be understood.
    #[error("{path} is damaged; remove it, and the next round writes it again")]
    Record {
        /// The record.
        path: RepositoryPath,
        /// What is wrong with it.
        #[source]
        error: layer_layout::Error,
    },
    /// A wish list could not be read or resolved.
    #[error("it is not known which images are wished for, so none is unwanted")]
    WishesUnknown,
    /// The image is not in the repository.
    #[error("there is no image {0} in the repository")]
    NoSuchImage(String),
    /// The user gave up. What was removed by then is gone, and the rest is as it was.
    #[error("interrupted; run the same command again to go on")]
    Interrupted,
    /// Others have changed the repository each time just before this could be done.
    #[error(transparent)]
    Outpaced(#[from] Outpaced),
}

/// How many broken things are told in one error.
const TOLD: usize = 3;

fn listed(broken: &[Broken]) -> String {
    let mut text: Vec<String> = broken.iter().take(TOLD).map(ToString::to_string).collect();
    if broken.len() > TOLD {
        text.push(format!("and {} more", broken.len() - TOLD));
    }
    text.join("; ")
}
