//! Giving up on SIGINT and SIGTERM.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::EXIT_SIGNAL_BASE;

/// Waits for SIGINT or SIGTERM, asks the work to stop, and returns the signal's number. A second
/// signal ends the program at once; what it leaves behind, the next run removes.
pub(crate) async fn cancel_on_signal(cancel: CancellationToken) -> u8 {
    let first = next_signal().await;
    tracing::warn!("stopping and cleaning up; once more to stop at once");
    cancel.cancel();
    tokio::spawn(async {
        let second = next_signal().await;
        std::process::exit((EXIT_SIGNAL_BASE + second).into());
    });
    first
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
