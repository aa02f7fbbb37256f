//! The daemon's end of a reader process.

use std::io;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};

use super::question::{Answer, Question};
use super::reader;

/// The running program, even if an upgrade has replaced its file.
const SELF: &str = "/proc/self/exe";

/// A running reader process. It ends when its standard input is closed, and so also when the daemon dies.
#[derive(Debug)]
pub(super) struct Child {
    process: tokio::process::Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Child {
    /// Starts a reader for the repository at `root`. It touches nothing before its first question.
    pub(super) fn start(root: &Path) -> io::Result<Self> {
        let mut process = Command::new(SELF)
            .arg(reader::COMMAND)
            .arg(root)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A process that is stuck would keep open what others read to its end.
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let missing = || io::Error::other("the reader process has no pipes");
        let questions = process.stdin.take().ok_or_else(missing)?;
        let answers = BufReader::new(process.stdout.take().ok_or_else(missing)?);
        Ok(Self { process, questions, answers })
    }

    /// Asks one question.
    pub(super) async fn ask(&mut self, question: &Question) -> io::Result<Answer> {
        let mut line = serde_json::to_vec(question)?;
        line.push(b'\n');
        self.questions.write_all(&line).await?;
        let mut answer = String::new();
        if self.answers.read_line(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&answer)?)
    }

    /// Kills the process and returns when it is gone, which a hung file system can delay.
    pub(super) async fn end(mut self) {
        // Fails only if the process is gone already.
        let _ = self.process.kill().await;
    }
}
