//! Giving up on SIGINT and SIGTERM.

use std::time::{Duration, Instant};

use ducc::removal::{self, Stop};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{EXIT_FAILED, EXIT_SIGNAL_BASE};

/// How long a commit that is under way is waited for after a signal. A group of images, or a batch that is removed,
/// takes longer than one image.
pub(crate) const COMMIT_PATIENCE: Duration = Duration::from_secs(60);

/// How long work that changes nothing is waited for after a signal: most ends sooner, and tells what it has done.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked at whether a change has ended.
const STEP: Duration = Duration::from_millis(50);

/// What ends a command before its time.
pub(crate) struct Interruption {
    cancel: CancellationToken,
    signal: JoinHandle<u8>,
}

impl Interruption {
    /// Begins to wait for a signal, which cancels `cancel`.
    pub(crate) fn cancels(cancel: CancellationToken) -> Self {
        Self { signal: tokio::spawn(cancel_on_signal(cancel.clone())), cancel }
    }

    /// The exit status if there was a signal.
    pub(crate) async fn status(self) -> Option<u8> {
        if !self.cancel.is_cancelled() {
            return None;
        }
        let number = self.signal.await;
        Some(number.map_or(EXIT_FAILED, |number| EXIT_SIGNAL_BASE + number))
    }
}

/// Waits for SIGINT or SIGTERM, asks the work to stop, and returns the signal's number. A second
/// signal ends the program at once; what it leaves behind, the next run removes.
async fn cancel_on_signal(cancel: CancellationToken) -> u8 {
    let first = next_signal().await;
    tracing::warn!("stopping and cleaning up; once more to stop at once");
    cancel.cancel();
    tokio::spawn(async {
        let second = next_signal().await;
        std::process::exit((EXIT_SIGNAL_BASE + second).into());
    });
    first
}

/// Runs blocking work that begins no change after `stop` was asked for. After a signal a change that is under way is
/// waited for; what else goes on then ends with the program, and the next run finishes or removes what it leaves.
///
/// # Errors
/// Those of the work, and that it did not end in time.
pub(crate) async fn blocking<T: Send + 'static>(
    cancel: &CancellationToken,
    stop: &Stop,
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let mut working = tokio::task::spawn_blocking(work);
    let out_of_patience = async {
        cancel.cancelled().await;
        stop.ask();
        let asked = Instant::now();
        while stop.is_changing() && asked.elapsed() < COMMIT_PATIENCE {
            tokio::time::sleep(STEP).await;
        }
        tokio::time::sleep(PATIENCE).await;
        stop.is_changing()
    };
    tokio::select! {
        result = &mut working => result?,
        is_changing = out_of_patience => match is_changing {
            true => anyhow::bail!(
                "interrupted while the repository was being changed: either all of the change appears or nothing; run \
                 the same command again to see which"
            ),
            false => Err(removal::Error::Interrupted.into()),
        },
    }
}

async fn next_signal() -> u8 {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals keep their usual effect and end the program.
        return std::future::pending().await;
    };
    let kind = tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
    };
    u8::try_from(kind.as_raw_value()).expect("the numbers of these signals are 2 and 15")
}
