//! Giving up: a conversion ends soon, whatever its repository is stuck in, and publishes nothing behind the
//! user's back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ducc::convert::convert;
use ducc::report::{Report, Status};
use ducc::{Error, Result};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::image::{file, layer, request, settings};
use crate::stub::{Operation, Stub};

/// Below the 30 seconds of a single request to S3, and far below its retries.
const SOON: Duration = Duration::from_secs(10);
/// Without a transaction there is nothing to wait for.
const AT_ONCE: Duration = Duration::from_secs(2);

async fn run(stub: Stub, cancel: CancellationToken) -> (Result<()>, Report) {
    let layout = TempDir::new().unwrap();
    let layer = layer(|tar| file(tar, "f", "content"));
    let request = request(layout.path(), "r.io/t:1", &[&layer]);
    let mut report = Report::new("t".to_owned());
    let result = convert(&request, Arc::new(stub), &settings(), &cancel, &mut report).await;
    (result, report)
}

/// Cancels a conversion when `operation` hangs, and lets that go on when the conversion has returned.
async fn give_up(operation: Operation, within: Duration) -> (Error, Stub) {
    let (stub, reached, release) = Stub::hanging(operation);
    let cancel = CancellationToken::new();
    let conversion = tokio::spawn(run(stub.clone(), cancel.clone()));
    reached.await.unwrap();
    cancel.cancel();
    let ended = tokio::time::timeout(within, conversion).await;
    drop(release);
    let (result, report) = ended.expect("the conversion waits for what hangs").unwrap();
    assert_eq!(report.status, Status::Failed);
    (result.unwrap_err(), stub)
}

/// Waits for what goes on when the conversion has returned.
async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..500 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} never happens");
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_transaction() {
    let (error, _) = give_up(Operation::Read, AT_ONCE).await;
    assert!(matches!(error, Error::Cancelled), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_begins_too_late_is_undone() {
    let (error, stub) = give_up(Operation::Begin, AT_ONCE).await;
    assert!(matches!(error, Error::Cancelled), "{error}");
    eventually("undoing", || stub.outcome.undone.load(Ordering::SeqCst)).await;
}

async fn in_the_transaction(operation: Operation) {
    let (error, stub) = give_up(operation, SOON).await;
    assert!(matches!(error, Error::Cancelled), "{error}");
    eventually("undoing", || stub.outcome.undone.load(Ordering::SeqCst)).await;
    assert!(!stub.outcome.committed.load(Ordering::SeqCst), "published after all");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_layers_are_looked_up() {
    in_the_transaction(Operation::Lookup).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_layer_is_unpacked() {
    in_the_transaction(Operation::LayerWriter).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_image_is_put_together() {
    in_the_transaction(Operation::Merge).await;
}

/// What the storage does with a commit that it has received is not for us to say.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_commit_is_under_way() {
    let (error, stub) = give_up(Operation::Commit, SOON).await;
    assert!(matches!(error, Error::CancelledInCommit), "{error}");
    eventually("the commit", || stub.outcome.committed.load(Ordering::SeqCst)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_an_error_that_says_so() {
    for operation in [Operation::Read, Operation::LayerWriter, Operation::Merge] {
        let stub = Stub::panicking(operation, "the roof is on fire");
        let outcome = Arc::clone(&stub.outcome);
        let error = run(stub, CancellationToken::new()).await.0.unwrap_err();
        assert!(matches!(error, Error::Worker(_)), "{operation:?}: {error}");
        let text = error.to_string();
        assert!(text.contains("bug") && text.contains("panicked: the roof is on fire"), "{text}");
        let undone = outcome.undone.load(Ordering::SeqCst);
        assert_eq!(undone, operation != Operation::Read, "{operation:?}");
    }
}
