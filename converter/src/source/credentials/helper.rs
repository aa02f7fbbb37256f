//! Credential helpers: programs `docker-credential-<name>` that keep logins outside of files.
//!
//! Protocol (`docker/docker-credential-helpers`): the program is called with `get` and reads the registry
//! from standard input. It writes a JSON object with `Username` and `Secret` to standard output, or, if it
//! has no login, writes a known sentence and exits with a non-zero status.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::error::Error;

/// A helper that waits for input on a terminal would otherwise block a publisher forever.
const DEADLINE: Duration = Duration::from_secs(30);

/// What helpers write if they have no login for a registry.
const NOT_FOUND: &str = "credentials not found";

/// A login as a helper writes it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Answer {
    pub(super) username: String,
    pub(super) secret: String,
}

/// Why a helper gave no answer.
pub(super) enum HelperFailure {
    /// There is no such program.
    NotInstalled(Error),
    /// It did not follow the protocol.
    Failed(Error),
}

/// Asks a helper for the login to `registry`. `program` is `docker-credential-<name>` or a path; the auth
/// file at `path` names it. `None` if the helper has no login.
pub(super) async fn get(
    program: &str,
    path: &Path,
    registry: &str,
) -> Result<Option<Answer>, HelperFailure> {
    let error = |reason: String| Error::Helper {
        program: program.to_owned(),
        path: path.to_owned(),
        registry: registry.to_owned(),
        reason,
    };
    let failed = |reason: String| HelperFailure::Failed(error(reason));
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|cause| match cause.kind() {
            ErrorKind::NotFound => {
                HelperFailure::NotInstalled(error("it is not installed".to_owned()))
            }
            _ => failed(cause.to_string()),
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that needs no input may have closed it already.
        let _closed_early = stdin.write_all(registry.as_bytes()).await;
    }
    let output = tokio::time::timeout(DEADLINE, child.wait_with_output())
        .await
        .map_err(|_| failed(format!("no answer within {} seconds", DEADLINE.as_secs())))?
        .map_err(|cause| failed(cause.to_string()))?;
    if output.status.success() {
        // The parser's message could quote the secret.
        let answer: Answer = serde_json::from_slice(&output.stdout)
            .map_err(|_| failed("its answer is not the JSON of a login".to_owned()))?;
        return Ok(Some(answer).filter(|answer| !answer.secret.is_empty()));
    }
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if said.contains(NOT_FOUND) {
        return Ok(None);
    }
    let said = said.lines().next().unwrap_or_default();
    Err(failed(format!("{}: {said}", output.status)))
}
