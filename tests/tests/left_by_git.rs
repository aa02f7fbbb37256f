//! What a run that was killed has fetched of a wish list's repository is removed by the next one, and nothing that is used.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use e2e::process::{Daemon, run};
use e2e::rounds::Publisher;
use e2e::target::Target;
use e2e::{Context, Result, ensure, tools};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A repository with an empty list, and a `git` that stops before it fetches if a file `stop` is there.
struct Scene {
    target: Target,
    work: TempDir,
}

impl Scene {
    fn new() -> Result<Self> {
        let scene = Self { target: Target::directory()?, work: TempDir::new_in("/dev/shm")? };
        for directory in ["tmp", "bin", "lists"] {
            fs::create_dir(scene.path(directory))?;
        }
        let git = scene.path("bin/git");
        let script = format!(
            "#!/bin/sh\ncase \" $* \" in *' fetch '*)\n\
             if [ -e {stop} ]; then echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 600; fi;; esac\n\
             exec {git} \"$@\"\n",
            stop = scene.path("stop").display(),
            pid = scene.path("pid").display(),
            git = tools::host("git")?.display(),
        );
        fs::write(&git, script)?;
        fs::set_permissions(&git, fs::Permissions::from_mode(0o755))?;
        scene.git(&["init", "--quiet", "--initial-branch=main", "."])?;
        scene.commit("first")?;
        Ok(scene)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    fn git(&self, arguments: &[&str]) -> Result<()> {
        let mut git = Command::new(tools::host("git")?);
        git.arg("-C").arg(self.path("lists"));
        git.args(["-c", "user.name=t", "-c", "user.email=t@example.org"]);
        run(git.args(["-c", "commit.gpgsign=false"]).args(arguments)).map(drop)
    }

    fn commit(&self, what: &str) -> Result<()> {
        let list =
            format!("# {what}\nversion: 1\ncvmfs_repo: {:?}\ninput: []\n", self.target.locator());
        fs::write(self.path("lists/list.yaml"), list)?;
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--message", what])
    }

    fn publisher(&self) -> Result<Publisher> {
        let mut path = self.path("bin").into_os_string();
        path.push(":");
        path.push(tools::search_path());
        let publisher = self.target.publisher(self.work.path());
        Ok(publisher.env("PATH", path).env("DUCC_TMP_DIR", self.path("tmp")))
    }

    fn list(&self) -> String {
        format!("git+file://{}//list.yaml@main", self.path("lists").display())
    }

    fn left(&self) -> Result<Vec<PathBuf>> {
        fs::read_dir(self.path("tmp"))?.map(|entry| Ok(entry?.path())).collect()
    }

    fn ensure_nothing_is_left(&self) -> Result<()> {
        let round = self.publisher()?.convert_lists(&[&self.list()], &[])?;
        ensure!(round.status.success(), "{}", round.both());
        ensure!(self.left()?.is_empty(), "{:?}", self.left()?);
        Ok(())
    }

    /// A run that has made a directory for the list and waits for git.
    fn fetching(&self) -> Result<Daemon> {
        fs::write(self.path("stop"), "")?;
        let mut command = self.publisher()?.ducc()?;
        command.arg("convert").arg(self.list()).arg("--skip-thin-image");
        let mut ducc = Daemon::spawn("ducc", &command, &self.path("log"))?;
        ducc.wait_until("fetching", || self.path("pid").exists())?;
        fs::remove_file(self.path("stop"))?;
        Ok(ducc)
    }

    /// Ends git, which nobody waits for any more.
    fn end_git(&self) -> Result<()> {
        let pid = fs::read_to_string(self.path("pid"))?.trim().parse()?;
        fs::remove_file(self.path("pid"))?;
        kill_process(Pid::from_raw(pid).context("a process")?, Signal::KILL)?;
        Ok(())
    }
}

#[test]
fn a_killed_run_leaves_it_to_the_next() -> Result<()> {
    let scene = Scene::new()?;
    let mut killed = scene.fetching()?;
    // Another run leaves alone what is used.
    scene.publisher()?.convert_lists(&[&scene.list()], &[])?;
    ensure!(scene.left()?.len() == 1, "{:?}", scene.left()?);
    killed.signal(Signal::KILL)?;
    killed.wait()?;
    scene.end_git()?;
    let left = scene.left()?;
    let [scratch] = &left[..] else { e2e::bail!("{left:?}") };
    ensure!(scratch.join("repository").is_dir(), "nothing was fetched into {left:?}");
    scene.ensure_nothing_is_left()?;

    // Killed a little earlier, and the list has not changed since.
    let name = scratch.file_name().context("a name")?.to_string_lossy().into_owned();
    let hidden = scene.path("tmp").join(format!(".{name}"));
    for lock in [false, true] {
        fs::create_dir(&hidden)?;
        if lock {
            fs::write(hidden.join("lock"), "")?;
        }
        scene.ensure_nothing_is_left()?;
    }
    Ok(())
}

/// Without a signal handler of its own a child would be left, too.
#[test]
fn an_interrupted_run_leaves_nothing() -> Result<()> {
    let scene = Scene::new()?;
    let mut ducc = scene.fetching()?;
    ducc.signal(Signal::TERM)?;
    ensure!(ducc.wait()?.code() == Some(143), "{}", ducc.log_tail());
    ensure!(scene.left()?.is_empty(), "{:?}", scene.left()?);
    Ok(())
}
