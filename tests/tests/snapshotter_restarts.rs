//! The snapshotter may stop, be killed, or find its repository gone at any time: running containers keep running,
//! nothing is lost, and new containers start afterwards.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e::containerd::Version;
use e2e::cri::{Cri, Pod, Start};
use e2e::image::{Compression, Config, Entry, Format, Image, Layer, push};
use e2e::site::{Site, Worker};
use e2e::{Context, Result, busybox, ensure};
use rustix::process::Signal;

const PUBLISHED: &str = "restarts/published:1";
const LOCAL: &str = "restarts/local:1";

/// A site with one image in the repository and another only in the registry; each prints a file of its own.
fn site() -> Result<Site> {
    let site = Site::new()?;
    for (name, text) in [(PUBLISHED, "published\n"), (LOCAL, "local\n")] {
        let extra = [
            Entry::dir("etc"),
            Entry::file("etc/text", text),
            Entry::dir(format!("etc/{}", text.trim())),
        ];
        let mut entries = busybox::entries()?;
        // Different layers, so that the two images share nothing.
        entries.push(Entry::file("etc/image", text));
        let layers = [
            Layer::build(&site.blobs(), Compression::Gzip, &entries)?,
            Layer::build(&site.blobs(), Compression::Gzip, &extra)?,
        ];
        let image = Image::new(Format::Oci, Config::with_cmd(["cat", "/etc/text"]), &layers)?;
        if name == PUBLISHED {
            site.publish(name, &image)?;
        } else {
            push(&site.registry, name, &image)?;
        }
    }
    Ok(site)
}

/// A container that has written a file and sleeps.
struct Sleeper {
    name: String,
    container: String,
}

impl Sleeper {
    fn start(cri: &Cri, pod: &Pod, name: &str, image: &str) -> Result<Self> {
        let script = format!("echo {name} > /kept; echo more >> /etc/text; exec sleep 1000");
        let command = ["sh", "-c", script.as_str()];
        let (container, _) =
            cri.launch(pod, &Start { name, image, command: &command, ..Start::default() })?;
        let sleeper = Self { name: name.to_owned(), container };
        let deadline = Instant::now() + Duration::from_secs(20);
        while sleeper.check(cri, "").is_err() {
            ensure!(Instant::now() < deadline, "{name} has not written its file");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(sleeper)
    }

    /// Checks that it is running and has what it wrote on top of its image.
    fn check(&self, cri: &Cri, when: &str) -> Result<()> {
        let ended = cri.exec(&self.container, &["cat", "/kept", "/etc/image", "/etc/text"])?;
        let kept = ended.stdout.starts_with(&format!("{}\n", self.name))
            && ended.stdout.ends_with("more\n");
        ensure!(ended.code == 0 && kept, "{} {when}: {ended:?}", self.name);
        Ok(())
    }
}

#[test]
fn containers_outlive_every_end_of_the_snapshotter_and_of_the_repository() -> Result<()> {
    let site = site()?;
    for version in Version::all()? {
        outlive(&site, site.worker(version)?).with_context(|| format!("containerd {version}"))?;
    }
    Ok(())
}

fn outlive(site: &Site, mut worker: Worker) -> Result<()> {
    let cri = Cri::of(&worker.containerd)?.with_retries(20);
    let (published, local) = (site.registry.reference(PUBLISHED), site.registry.reference(LOCAL));
    cri.pull(&published, None)?;
    cri.pull(&local, None)?;
    let pod = cri.run_pod("long")?;
    let sleepers = [
        Sleeper::start(&cri, &pod, "remote-sleeper", &published)?,
        Sleeper::start(&cri, &pod, "local-sleeper", &local)?,
    ];
    let still_there =
        |when: &str| sleepers.iter().try_for_each(|sleeper| sleeper.check(&cri, when));
    for (number, signal) in [Signal::TERM, Signal::INT, Signal::KILL].into_iter().enumerate() {
        let status = worker.snapshotter.end(signal)?.context("the snapshotter was not running")?;
        ensure!(
            signal == Signal::KILL || status.success(),
            "after {signal:?} it ended with {status}"
        );
        still_there(&format!("after {signal:?}"))?;
        worker.snapshotter.launch()?;
        still_there(&format!("after {signal:?} and a new start"))?;
        for (image, text) in [(&published, "published\n"), (&local, "local\n")] {
            let ended = cri.run(&format!("new-{number}-{}", text.trim()), image, &[])?;
            ensure!(ended.stdout == text, "a new container after {signal:?}: {ended:?}");
        }
    }

    // The repository disappears while the snapshotter is dead.
    let (here, away) = (site.repository(), site.repository().with_extension("away"));
    worker.snapshotter.end(Signal::KILL)?;
    fs::rename(&here, &away)?;
    worker.snapshotter.launch()?;
    let without_repository = || -> Result<()> {
        still_there("without the repository")?;
        let ended = cri.run("local-only", &local, &[])?;
        ensure!(ended.stdout == "local\n", "a local container without the repository: {ended:?}");
        let impatient = Cri::of(&worker.containerd)?;
        let pod = impatient.run_pod("unreachable")?;
        let start = Start { name: "unreachable", image: &published, ..Start::default() };
        let error =
            impatient.launch(&pod, &start).expect_err("a container without its layers").to_string();
        impatient.remove_pod(&pod)?;
        ensure!(
            error.contains("one.example.org"),
            "the error does not name the repository: {error}"
        );
        Ok(())
    };
    let outcome = without_repository();
    fs::rename(&away, &here)?;
    outcome?;
    let ended = cri.run("back-again", &published, &[])?;
    ensure!(ended.stdout == "published\n", "with the repository back: {ended:?}");
    still_there("with the repository back")?;
    cri.remove_pod(&pod)
}

#[test]
fn pods_start_while_the_snapshotter_is_killed_again_and_again() -> Result<()> {
    const PODS: usize = 12;
    let site = site()?;
    let mut worker = site.worker(Version::newest()?)?;
    let cri = Cri::of(&worker.containerd)?.with_retries(20);
    let images = [site.registry.reference(PUBLISHED), site.registry.reference(LOCAL)];
    let done = AtomicBool::new(false);
    let kills = thread::scope(|scope| -> Result<usize> {
        let pods = scope.spawn(|| -> Result<()> {
            let start = || -> Result<()> {
                for number in 0..PODS {
                    let image = &images[number % images.len()];
                    cri.pull(image, None)?;
                    let ended = cri.run(&format!("pod-{number}"), image, &[])?;
                    ensure!(
                        ["published\n", "local\n"][number % 2] == ended.stdout,
                        "pod {number}: {ended:?}"
                    );
                    cri.remove_image(image)?;
                }
                Ok(())
            };
            let outcome = start();
            done.store(true, Ordering::Relaxed);
            outcome
        });
        let mut kills = 0;
        while !done.load(Ordering::Relaxed) {
            // A different moment of a pod's life each time.
            thread::sleep(Duration::from_millis(150 + 37 * (kills % 11)));
            worker.snapshotter.restart(Signal::KILL)?;
            kills += 1;
        }
        pods.join().map_err(|_| e2e::Error::msg("the thread that starts pods panicked"))??;
        Ok(kills as usize)
    })?;
    ensure!(kills >= PODS / 2, "only {kills} kills while {PODS} pods ran");
    // containerd does not repeat a collection in which it could not reach the snapshotter, so the last one must not
    // come before it has found the snapshotter again.
    cri.pull(&images[1], None)?;
    let ended = cri.run("pod-after-the-kills", &images[1], &[])?;
    ensure!(ended.stdout == "local\n", "a pod after the kills: {ended:?}");
    cri.remove_all_pods()?;
    for image in [&images[0], &images[1], site.sandbox()] {
        cri.remove_image(image)?;
    }
    // containerd collects garbage whenever it likes.
    let deadline = Instant::now() + Duration::from_secs(30);
    while !worker.snapshotter.snapshot_dirs()?.is_empty() {
        let left = worker.containerd.snapshots("k8s.io")?;
        ensure!(
            Instant::now() < deadline,
            "leaked directories {:?}; containerd knows of {left:?}",
            worker.snapshotter.snapshot_dirs()?
        );
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
