//! Real repositories, read with the real git.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use rustix::process::{Pid, test_kill_process};
use tempfile::TempDir;

use super::*;
use crate::scripts;

/// A repository with one commit in which `lists/a.yaml` is good.
struct Remote {
    directory: TempDir,
}

impl Remote {
    fn new() -> Self {
        let remote = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir_all(remote.tree().join("lists")).unwrap();
        remote.git(&["init", "--quiet", "--initial-branch=main", "."]);
        remote.commit("lists/a.yaml", GOOD);
        remote
    }

    fn tree(&self) -> PathBuf {
        self.directory.path().join("remote")
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .current_dir(self.tree())
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
            .args(["-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self, path: &str, content: &str) -> String {
        fs::write(self.tree().join(path), content).unwrap();
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", "change"]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn list(&self, path: &str) -> ListSource {
        source(&format!("git+file://{}//{path}", self.tree().display()))
    }

    fn options(&self) -> Options {
        let scratch = self.directory.path().join("scratch");
        fs::create_dir_all(&scratch).unwrap();
        Options { scratch, ..options() }
    }

    fn assert_scratch_is_empty(&self) {
        let left: Vec<_> = fs::read_dir(self.options().scratch).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn a_branch_is_followed_also_when_it_is_pushed_by_force() {
    let remote = Remote::new();
    let (list, options) = (remote.list("lists/a.yaml@main"), remote.options());
    let mut kept = None;
    assert_eq!(read(&list, &mut kept, &options).await, "new: r.io/a:1 with 0 faults");
    let first = remote.git(&["rev-parse", "HEAD"]);
    assert_eq!(kept.as_ref().unwrap().version.commit.as_deref(), Some(first.as_str()));
    assert_eq!(read(&list, &mut kept, &options).await, "unchanged: r.io/a:1 with 0 faults");

    remote.commit("lists/a.yaml", BETTER);
    assert_eq!(read(&list, &mut kept, &options).await, "new: r.io/a:2 with 1 faults");
    // History is replaced by another one.
    remote.git(&["checkout", "--quiet", "--orphan", "other"]);
    let forced = remote.commit("lists/a.yaml", GOOD);
    remote.git(&["branch", "--quiet", "--force", "main", &forced]);
    assert_eq!(read(&list, &mut kept, &options).await, "new: r.io/a:1 with 0 faults");
    // A commit that leaves the list as it is, is another commit with the same list.
    remote.git(&["checkout", "--quiet", "main"]);
    let later = remote.commit("README", "x");
    assert_eq!(read(&list, &mut kept, &options).await, "unchanged: r.io/a:1 with 0 faults");
    assert_eq!(kept.as_ref().unwrap().version.commit, Some(later));

    remote.commit("lists/a.yaml", BROKEN);
    let stale = read(&list, &mut kept, &options).await;
    assert!(
        stale.contains("//lists/a.yaml@main:3:1: unknown key")
            && stale.ends_with("r.io/a:1 with 0 faults")
    );
    fs::rename(remote.tree(), remote.directory.path().join("gone")).unwrap();
    let stale = read(&list, &mut kept, &options).await;
    assert!(stale.starts_with("stale (cannot read") && stale.contains("git ls-remote"), "{stale}");
    let error = read(&list, &mut None, &options).await;
    assert!(error.starts_with("error: cannot read the wish list git+file://"), "{error}");
    remote.assert_scratch_is_empty();
}

#[tokio::test]
async fn branches_tags_and_the_default() {
    let remote = Remote::new();
    remote.git(&["tag", "light"]);
    remote.git(&["tag", "-a", "-m", "x", "annotated"]);
    remote.git(&["checkout", "--quiet", "-b", "feature/x"]);
    remote.commit("lists/a.yaml", BETTER);
    remote.git(&["tag", "feature/y"]);
    for (branch, image) in [
        ("", "r.io/a:2"),
        ("@main", "r.io/a:1"),
        ("@feature/x", "r.io/a:2"),
        ("@light", "r.io/a:1"),
        ("@annotated", "r.io/a:1"),
        ("@feature/y", "r.io/a:2"),
    ] {
        let (list, mut kept) = (remote.list(&format!("lists/a.yaml{branch}")), None);
        let text = read(&list, &mut kept, &remote.options()).await;
        assert!(text.starts_with(&format!("new: {image}")), "{branch}: {text}");
        let text = read(&list, &mut kept, &remote.options()).await;
        assert!(text.starts_with("unchanged"), "{branch}: {text}");
    }
}

#[tokio::test]
async fn what_a_repository_does_not_have() {
    let remote = Remote::new();
    symlink("a.yaml", remote.tree().join("lists/link")).unwrap();
    remote.commit("long", &"#\n".repeat(1000));
    let small = Options { size_limit: 1000, ..remote.options() };
    for (path, part) in [
        ("none.yaml", "has no file \"none.yaml\""),
        ("lists", "a directory, not a file"),
        ("lists/link", "a symbolic link, not a file"),
        ("lists/*.yaml", "has no file \"lists/*.yaml\""),
        ("long", "more than 1000 bytes"),
        ("lists/a.yaml@none", "no branch or tag \"none\""),
    ] {
        let error = read(&remote.list(path), &mut None, &small).await;
        assert!(error.starts_with("error: ") && error.contains(part), "{path}: {error}");
    }
    let empty = tempfile::tempdir().unwrap();
    Command::new("git").args(["init", "--quiet"]).arg(empty.path()).status().unwrap();
    let list = source(&format!("git+file://{}//a", empty.path().display()));
    let error = read(&list, &mut None, &remote.options()).await;
    assert!(error.contains("the repository is empty"), "{error}");
    remote.assert_scratch_is_empty();
}

/// What a repository brings along is not run, and what the environment says about another repository does not count.
#[tokio::test]
async fn nothing_of_a_repository_is_run() {
    let remote = Remote::new();
    let touched = remote.directory.path().join("touched");
    for hook in ["post-checkout", "post-merge", "reference-transaction", "pre-auto-gc"] {
        let path = remote.tree().join(".git/hooks").join(hook);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\ntouch {}\n", touched.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let text = read(&remote.list("lists/a.yaml"), &mut None, &remote.options()).await;
    assert_eq!(text, "new: r.io/a:1 with 0 faults");
    assert!(!touched.exists());
}

#[tokio::test]
async fn a_git_that_does_not_end_is_killed_with_its_children() {
    let directory = tempfile::tempdir().unwrap();
    let (git, child) = (directory.path().join("git"), directory.path().join("child"));
    scripts::write(&git, &format!("sleep 600 & echo $! > {}; wait", child.display()));
    let options = Options { timeout: Duration::from_secs(1), git, ..options() };
    let error = read(&source("git+https://h/r//a"), &mut None, &options).await;
    assert!(error.contains("within 1 seconds"), "{error}");
    let pid: i32 = fs::read_to_string(child).unwrap().trim().parse().unwrap();
    for _ in 0..100 {
        if is_gone(pid) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the child {pid} is still there");
}

/// Whether a process has ended; one that nobody waited for has.
fn is_gone(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    test_kill_process(Pid::from_raw(pid).unwrap()).is_err() || stat.contains(") Z ")
}

#[tokio::test]
async fn without_git_the_message_says_so() {
    let options = Options { git: "/nonexistent/git".into(), ..options() };
    let error = read(&source("git+https://h/r//a"), &mut None, &options).await;
    assert!(error.contains("cannot run git"), "{error}");
}

#[tokio::test]
async fn a_server_that_fails_once_is_asked_again() {
    let remote = Remote::new();
    let (git, failed) =
        (remote.directory.path().join("git"), remote.directory.path().join("failed"));
    let script = format!(
        "if [ ! -e {0} ]; then touch {0}; echo 'fatal: unable to access' >&2; exit 128; fi\nexec git \"$@\"",
        failed.display()
    );
    scripts::write(&git, &script);
    let list = remote.list("lists/a.yaml");
    let hasty = Options { git, first_pause: Duration::from_millis(1), ..remote.options() };
    let error = read(&list, &mut None, &hasty).await;
    assert!(error.contains("unable to access"), "{error}");
    fs::remove_file(&failed).unwrap();
    let patient = Options { attempts: 2, ..hasty };
    assert_eq!(read(&list, &mut None, &patient).await, "new: r.io/a:1 with 0 faults");
}
