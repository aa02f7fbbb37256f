//! Units, cron jobs and listeners that were written for DUCC call it with the same lines as before.

use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::access_log::Request;
use e2e::cvmfs_ducc::CvmfsDucc;
use e2e::image::{Compression, Config, Entry, Format, Image, Layer, push};
use e2e::native::{FQRN, Native, read_in};
use e2e::process::{COMMAND_TIMEOUT, Daemon, run, run_any};
use e2e::registry::Registry;
use e2e::{Context, Result, ensure, tools};
use rustix::process::Signal;
use tempfile::TempDir;

const NAME: &str = "org/tool:1";

fn push_image(registry: &Registry, dir: &Path, name: &str) -> Result<()> {
    let layer = Layer::build(&dir.join("blobs"), Compression::Gzip, &[Entry::file("name", name)])?;
    push(registry, name, &Image::new(Format::Docker, Config::with_cmd(["true"]), &[layer])?)
}

/// A machine on which a stock server knows the repository by its name: `/etc` with the server's configuration, seen by
/// those programs only that are started here.
struct ReleaseManager {
    native: Native,
    etc: TempDir,
}

impl ReleaseManager {
    fn new() -> Result<Self> {
        let (native, etc) = (Native::create()?, TempDir::new_in("/dev/shm")?);
        let conf = etc.path().join("upper/cvmfs/repositories.d").join(FQRN);
        fs::create_dir_all(&conf)?;
        fs::create_dir(etc.path().join("work"))?;
        let (storage, spool) = (native.storage(), native.dir().join("spool"));
        fs::create_dir(&spool)?;
        let upstream = format!("local,{0}/data/txn,{0}", storage.display());
        let text = format!(
            "CVMFS_REPOSITORY_NAME={FQRN}\nCVMFS_REPOSITORY_TYPE=stratum0\nCVMFS_USER=root\n\
             CVMFS_UPSTREAM_STORAGE={upstream}\nCVMFS_SPOOL_DIR={}\nCVMFS_KEYS_DIR={}\nCVMFS_AUTO_TAG=true\n",
            spool.display(),
            native.keys().display()
        );
        fs::write(conf.join("server.conf"), text)?;
        Ok(Self { native, etc })
    }

    /// The command on that machine.
    fn command(&self, command: &Command) -> Result<Command> {
        let mut inside = Command::new(tools::host("unshare")?);
        let mount = "mount -t overlay -o lowerdir=/etc,upperdir=$0/upper,workdir=$0/work overlay /etc && exec \"$@\"";
        inside
            .args(["--mount", "/bin/sh", "-c", mount])
            .arg(self.etc.path())
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                inside.env(name, value);
            }
        }
        if let Some(dir) = command.get_current_dir() {
            inside.current_dir(dir);
        }
        Ok(inside)
    }
}

/// `cvmfs_ducc.service` with the environment that admins have put beside it. The recipe names a repository as the stock
/// server calls it.
#[test]
fn the_unit() -> Result<()> {
    let (registry, machine) = (Registry::start()?, ReleaseManager::new()?);
    let ducc = CvmfsDucc::install()?.env("DUCC_KEYS", machine.native.keys());
    push_image(&registry, ducc.dir(), NAME)?;
    let recipe = ducc.wish_list("recipe.yaml", FQRN, &[&registry.source(NAME)])?;
    let unit = ducc
        .env("RECIPE_FILE", &recipe)
        .env("DUCC_RECIPE_FILE", &recipe)
        .env("DUCC_OUTPUT_REGISTRY_PASS", "password");
    let line = machine.command(&unit.script("exec cvmfs_ducc loop $RECIPE_FILE"))?;
    let log = unit.dir().join("journal");
    let mut running = Daemon::spawn("cvmfs_ducc", &line, &log)?;
    // The recipe asks for thin images under DUCC's name; they come last.
    running.wait_until("published, with the thin image", || {
        let pushed = |request: &Request| {
            request.method == "PUT" && request.path == "/v2/org/tool_thin/manifests/1"
        };
        registry.requests().is_ok_and(|requests| requests.iter().any(pushed))
    })?;
    let public = registry.reference(NAME);
    let content = read_in(&machine.native.snapshot()?, &public, "name")?;
    ensure!(content.as_deref() == Some(NAME), "{content:?}");
    let tags = machine.native.repository("tag", &[])?.stdout;
    ensure!(tags.lines().any(|tag| tag.starts_with("generic-")), "{tags}");
    running.signal(Signal::TERM)?;
    let ended = running.wait()?;
    ensure!(ended.code() == Some(143), "{ended}: {}", running.log_tail());
    unit.run(0, &["download-manifest", &registry.source("org/tool_thin:1")])?;
    machine.native.check()
}

/// The script that DUCC comes with for cron: the list is in a git repository, and somebody is told when it has failed for
/// too long.
#[test]
fn the_cron_script() -> Result<()> {
    const SCRIPT: &str = r#"set -u
        rm -rf wishes && git clone --quiet "$LISTS" wishes || exit 9
        failures=0
        until cvmfs_ducc convert --skip-thin-image wishes/recipe.yaml > log 2>&1 && ! grep -q level=error log; do
            failures=$((failures + 1))
            if [ "$failures" -ge 3 ]; then tail -n 5 log > mail; exit 1; fi
        done"#;
    let (registry, ducc) = (Registry::start()?, CvmfsDucc::install()?);
    let repository = ducc.make_dir("unpacked.example.org")?;
    let lists = ducc.make_dir("lists")?;
    push_image(&registry, ducc.dir(), NAME)?;
    let commit = |images: &[&str]| -> Result<()> {
        ducc.wish_list("lists/recipe.yaml", &repository.display().to_string(), images)?;
        let git = |arguments: &[&str]| -> Result<()> {
            let mut git = Command::new(tools::host("git")?);
            git.arg("-C").arg(&lists).args(["-c", "user.name=t", "-c", "user.email=t@example.org"]);
            run(git.args(arguments)).map(drop)
        };
        if !lists.join(".git").exists() {
            git(&["init", "--quiet"])?;
        }
        git(&["add", "."])?;
        git(&["commit", "--quiet", "-m", "wishes"])
    };
    let source = registry.source(NAME);
    commit(&[&source])?;
    let mut script = ducc.script(SCRIPT);
    run(script.env("LISTS", &lists))?;
    ensure!(fs::read_to_string(repository.join(registry.reference(NAME)).join("name"))? == NAME);

    let absent = registry.source("org/tool:absent");
    commit(&[&source, &absent])?;
    let mut script = ducc.script(SCRIPT);
    let output = run_any(script.env("LISTS", &lists), COMMAND_TIMEOUT)?;
    ensure!(output.status.code() == Some(1), "{}", output.both());
    let mail = fs::read_to_string(ducc.dir().join("mail"))?;
    ensure!(mail.contains("org/tool:absent"), "{mail}");
    Ok(())
}

/// What admins and the tests of DUCC look for in logs.
#[test]
fn the_log() -> Result<()> {
    let (registry, ducc) = (Registry::start()?, CvmfsDucc::install()?);
    let repository = ducc.make_dir("unpacked.example.org")?.display().to_string();
    push_image(&registry, ducc.dir(), NAME)?;
    let log = |images: &[&str], status: i32| -> Result<String> {
        let list = ducc.wish_list("recipe.yaml", &repository, images)?;
        Ok(ducc.run(status, &["convert", "-i", &list])?.stderr)
    };
    let (source, absent) = (registry.source(NAME), registry.source("org/tool:absent"));
    let good = log(&[&source], 0)?;
    ensure!(!good.contains("level=error") && good.contains("level=info msg="), "{good}");
    let bad = log(&[&absent, &source], 3)?;
    let line = bad.lines().find(|line| line.contains("level=error")).context(bad.clone())?;
    ensure!(line.starts_with("time=\"20") && line.contains("org/tool:absent"), "{line}");
    let failed = ducc.run(1, &["convert-single-image", "-i", &absent, &repository])?;
    ensure!(failed.stderr.contains("level=error"), "{}", failed.both());
    let failed = ducc.run(102, &["convert", "-i", &ducc.path("nowhere.yaml")])?;
    ensure!(failed.stderr.contains("level=error"), "{}", failed.both());
    Ok(())
}

/// The listener behind a registry's webhook: it converts what was pushed, looks for errors in the notifications, and
/// removes what was deleted.
#[test]
fn the_webhook_listener() -> Result<()> {
    let (registry, ducc) = (Registry::start()?, CvmfsDucc::install()?);
    let repository = ducc.make_dir("unpacked.example.org")?;
    push_image(&registry, ducc.dir(), NAME)?;
    let convert = |image: &str| -> Result<bool> {
        let line = format!(
            "rm -f log; cvmfs_ducc convert-single-image -n log -p {image} {} --skip-thin-image --skip-podman; \
             ! grep -q '\"status\":\"error\"' log",
            repository.display()
        );
        let output = run_any(&mut ducc.script(&line), COMMAND_TIMEOUT)?;
        ensure!(ducc.dir().join("log").exists(), "{}", output.both());
        Ok(output.status.success())
    };
    ensure!(convert(&registry.source(NAME))?, "an image that is there");
    ensure!(!convert(&registry.source("org/tool:absent"))?, "an image that is not there");
    let public = repository.join(registry.reference(NAME));
    ensure!(fs::read_to_string(public.join("name"))? == NAME);
    // A deletion: the link and the metadata by hand, then what nothing refers to. Here that has a grace period from now
    // on, so it takes a second call.
    let metadata = repository.join(".metadata").join(registry.reference(NAME));
    fs::remove_file(&public)?;
    fs::remove_dir_all(&metadata)?;
    let gc = format!("cvmfs_ducc garbage-collection --grace-period 0 {}", repository.display());
    run(&mut ducc.script(&gc))?;
    run(&mut ducc.script(&gc))?;
    for root in [".flat", ".layers", ".chains"] {
        let left: usize = fs::read_dir(repository.join(root))?
            .map(|shard| Ok(fs::read_dir(shard?.path())?.count()))
            .sum::<Result<usize>>()?;
        ensure!(left == 0, "{root} holds {left}");
    }
    Ok(())
}
