//! Giving up in time, whatever a repository is stuck in.
//!
//! What a repository does may block for minutes, if its storage does not answer. So all of it happens on threads
//! that may block, in steps, and no step is begun after the user has given up.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{Error, Result};

/// How long a step that is under way is waited for when the user gives up. Most end sooner; one that waits for a
/// storage that does not answer goes on alone. If the program ends before, the next publisher removes what is left.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Waits for work as long as the user does.
#[derive(Debug, Clone)]
pub(super) struct Patience(CancellationToken);

impl Patience {
    /// The user gives up by cancelling `cancel`.
    pub(super) fn new(cancel: CancellationToken) -> Self {
        Self(cancel)
    }

    pub(super) fn token(&self) -> &CancellationToken {
        &self.0
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.0.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Waits for `work` unless the user gives up. Only for work that leaves nothing behind when dropped.
    pub(super) async fn until_cancelled<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        self.0.run_until_cancelled(work).await.ok_or(Error::Cancelled)
    }

    /// Waits for `work`, and as long as `patience` after the user has given up; `None` if it does not come to an end.
    pub(super) async fn with_patience<T>(
        &self,
        patience: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let at_an_end = async {
            self.0.cancelled().await;
            tokio::time::sleep(patience).await;
        };
        tokio::select! {
            result = work => Some(result),
            () = at_an_end => {
                tracing::warn!("not waiting for the repository any longer");
                None
            }
        }
    }

    /// One step of work that may block. It is not begun after the user has given up.
    pub(super) async fn step<T: Send + 'static>(
        &self,
        step: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.check()?;
        blocking(step).await
    }
}

/// Runs work on a thread that may block. It goes on when nobody waits for it any more.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}
