//! A list from a git repository, read with the `git` program.
//!
//! Two steps: `ls-remote` tells the commit of the branch, and only if that is another one than before, `fetch` brings that
//! one commit (without history) into a new directory, which is removed afterwards, or, if this process is killed, by the
//! next one. So there is no clone that could be damaged, locked or out of step with a branch that was pushed by force.
//!
//! A repository is not trusted: no hook of it runs, nothing is checked out, no submodule is looked at, no protocol other
//! than that of the URL is used, and git neither asks for a password nor runs on after the deadline. Credentials come from
//! where git has them: helpers, `~/.netrc`, ssh keys and agents.

use std::path::Path;
use std::process::{ExitStatus, Stdio};

use cvmfs_repository::scratch::Scratch;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use super::error::FetchError;
use super::location::GitFile;
use super::{Fetched, Options, Version};

/// The longest answer that is read from git, other than the list, in bytes.
const ANSWER_LIMIT: u64 = 1 << 20;

/// How much of an error is shown, in lines.
const ERROR_LINES: usize = 4;

/// The directory of what is fetched, beside the lock.
const REPOSITORY: &str = "repository";

/// What a repository calls its default branch.
const HEAD: &str = "HEAD";

pub(super) async fn fetch(
    file: &GitFile,
    known: Option<&Version>,
    options: &Options,
) -> Result<Fetched, FetchError> {
    // Also if nothing has to be fetched: a killed run may have been the last that had to.
    Scratch::sweep();
    let git = Git { file, options };
    let (name, commit) = git.remote_commit().await?;
    if known.is_some_and(|version| version.commit.as_deref() == Some(commit.as_str())) {
        return Ok(Fetched::Unchanged);
    }
    let scratch = Scratch::below(&options.scratch).map_err(FetchError::Scratch)?;
    let at = scratch.path();
    let repository = ["--quiet", "--bare", "--template=", REPOSITORY];
    git.run("init", at, &repository, ANSWER_LIMIT).await?;
    let at = &at.join(REPOSITORY);
    let url = file.url.as_str();
    let arguments =
        ["--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--", url, &name];
    git.run("fetch", at, &arguments, ANSWER_LIMIT).await?;
    // The branch may have moved since it was looked up.
    let fetched = ["--verify", "--end-of-options", "FETCH_HEAD^{commit}"];
    let commit = text(git.run("rev-parse", at, &fetched, ANSWER_LIMIT).await?)?.trim().to_owned();
    let entry = ["-l", "-z", "--full-tree", &commit, "--", &file.path];
    let entry = text(git.run("ls-tree", at, &entry, ANSWER_LIMIT).await?)?;
    let (object, size) = blob(&entry, file, &commit)?;
    if size > options.size_limit {
        return Err(FetchError::TooLong { limit: options.size_limit });
    }
    let bytes = git.run("cat-file", at, &["blob", object], size).await?;
    let version = Version { commit: Some(commit), ..Version::default() };
    Ok(Fetched::New(bytes, version))
}

struct Git<'a> {
    file: &'a GitFile,
    options: &'a Options,
}

impl Git<'_> {
    /// The full name of the branch or tag, and its commit.
    async fn remote_commit(&self) -> Result<(String, String), FetchError> {
        let (branch, tag, peeled);
        let mut arguments = vec!["--", self.file.url.as_str()];
        let names: [&str; 3] = match &self.file.branch {
            None => [HEAD, HEAD, HEAD],
            Some(name) => {
                (branch, tag) = (format!("refs/heads/{name}"), format!("refs/tags/{name}"));
                peeled = format!("{tag}^{{}}");
                [&branch, &peeled, &tag]
            }
        };
        arguments.extend(names);
        let answer = self.run("ls-remote", Path::new("/"), &arguments, ANSWER_LIMIT).await?;
        let answer = text(answer)?;
        // A branch comes before a tag of the same name, and what a tag points at before the tag.
        let found = names.iter().find_map(|name| {
            let line =
                answer.lines().find_map(|line| line.split_once('\t').filter(|it| it.1 == *name))?;
            Some((name.trim_end_matches("^{}").to_owned(), line.0.to_owned()))
        });
        found.ok_or_else(|| match &self.file.branch {
            Some(name) => FetchError::NoBranch(name.clone()),
            None => FetchError::EmptyRepository,
        })
    }

    /// Runs git and gives what it prints, which must not be more than `limit` bytes.
    async fn run(
        &self,
        command: &str,
        directory: &Path,
        arguments: &[&str],
        limit: u64,
    ) -> Result<Vec<u8>, FetchError> {
        let mut git = Command::new(&self.options.git);
        git.current_dir(directory)
            .args(["-c", "core.hooksPath=/dev/null"])
            .args(["-c", "core.fsmonitor=false"])
            .args(["-c", "gc.auto=0"])
            .args(["-c", "maintenance.auto=false"])
            .args(["-c", "credential.interactive=false"])
            // The one that is made here, whatever the administrator thinks of others.
            .args(["-c", "safe.bareRepository=all"])
            .arg(command)
            .args(arguments)
            .env("GIT_TERMINAL_PROMPT", "0")
            // Instead of a window that asks for a password.
            .env("GIT_ASKPASS", "false")
            .env("SSH_ASKPASS_REQUIRE", "never")
            .env("GIT_ALLOW_PROTOCOL", self.file.url.scheme())
            .env("GIT_LITERAL_PATHSPECS", "1")
            .env("GIT_CEILING_DIRECTORIES", self.options.scratch.as_os_str())
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // git talks to servers through children, and all of them have to end.
            .process_group(0);
        for variable in [
            "GIT_DIR",
            "GIT_WORK_TREE",
            "GIT_INDEX_FILE",
            "GIT_NAMESPACE",
            "GIT_OBJECT_DIRECTORY",
            "GIT_ALTERNATE_OBJECT_DIRECTORIES",
            "GIT_TRACE",
            "GIT_CURL_VERBOSE",
        ] {
            git.env_remove(variable);
        }
        if std::env::var_os("GIT_SSH_COMMAND").is_none() && std::env::var_os("GIT_SSH").is_none() {
            git.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
        }
        let mut group = Group::start(&mut git).map_err(FetchError::NoGit)?;
        let (stdout, stderr) = (group.child.stdout.take(), group.child.stderr.take());
        let (output, errors, status) =
            tokio::join!(read(stdout, limit), tail(stderr), group.wait());
        // Before the status: who gets no reader for a long answer fails.
        let output = output?;
        let status = status.map_err(FetchError::NoGit)?;
        if !status.success() {
            let message = self.message(&errors.unwrap_or_default());
            return Err(FetchError::Git { command: command.to_owned(), status, message });
        }
        Ok(output)
    }

    /// The last lines of an error, without the secrets in the URL.
    fn message(&self, errors: &[u8]) -> String {
        let text = String::from_utf8_lossy(errors);
        let lines: Vec<&str> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last = lines[lines.len().saturating_sub(ERROR_LINES)..].join(" / ");
        let url = self.file.url.as_str();
        last.replace(url, &super::without_secrets(url))
    }
}

/// What the answer of `ls-tree` says about the file: its object, and its size in bytes.
fn blob<'a>(entry: &'a str, file: &GitFile, commit: &str) -> Result<(&'a str, u64), FetchError> {
    let path = || file.path.clone();
    let entry = entry.trim_end_matches('\0');
    let Some((fields, _)) = entry.split_once('\t') else {
        return Err(FetchError::NoFile { commit: commit.to_owned(), path: path() });
    };
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    match fields[..] {
        ["120000", ..] => Err(FetchError::NotAFile { path: path(), what: "a symbolic link" }),
        [_, "tree", ..] => Err(FetchError::NotAFile { path: path(), what: "a directory" }),
        [_, "commit", ..] => Err(FetchError::NotAFile { path: path(), what: "a submodule" }),
        [_, "blob", object, size] => match size.parse() {
            Ok(size) => Ok((object, size)),
            Err(_) => Err(FetchError::UnexpectedAnswer(entry.to_owned())),
        },
        _ => Err(FetchError::UnexpectedAnswer(entry.to_owned())),
    }
}

fn text(bytes: Vec<u8>) -> Result<String, FetchError> {
    String::from_utf8(bytes).map_err(|_| FetchError::UnexpectedAnswer("not UTF-8".to_owned()))
}

/// All of a pipe; an error if it is more than `limit` bytes.
async fn read(pipe: Option<impl AsyncRead + Unpin>, limit: u64) -> Result<Vec<u8>, FetchError> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let read = (&mut pipe).take(limit + 1).read_to_end(&mut bytes).await;
        read.map_err(|error| FetchError::UnexpectedAnswer(error.to_string()))?;
        if bytes.len() as u64 > limit {
            // Nobody reads on, so git ends.
            return Err(FetchError::TooLong { limit });
        }
    }
    Ok(bytes)
}

/// The end of a pipe that may be of any length.
async fn tail(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    const KEPT: usize = 8 << 10;
    let mut kept = Vec::new();
    if let Some(mut pipe) = pipe {
        let mut buffer = [0; 4096];
        loop {
            let count = pipe.read(&mut buffer).await?;
            if count == 0 {
                break;
            }
            kept.extend_from_slice(&buffer[..count]);
            let surplus = kept.len().saturating_sub(KEPT);
            kept.drain(..surplus);
        }
    }
    Ok(kept)
}

/// A child and all of its children. They are killed if nobody waits for them any more: after the deadline, or when the
/// program stops.
struct Group {
    child: Child,
    running: Option<Pid>,
}

impl Group {
    fn start(command: &mut Command) -> std::io::Result<Self> {
        let child = command.kill_on_drop(true).spawn()?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        Ok(Self { child, running: pid.and_then(Pid::from_raw) })
    }

    async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        let status = self.child.wait().await;
        // Its number may be another's from now on.
        self.running = None;
        status
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.running {
            // It fails only if none of them is left.
            let _gone = kill_process_group(group, Signal::KILL);
        }
    }
}
