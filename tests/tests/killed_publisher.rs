//! kill -9 of `ducc loop` and `ducc garbage-collection` at a hundred points: each time whatever is visible is whole, and in
//! the end there is what is wished for and nothing else, neither in the repository nor in the places for temporary files and
//! caches.

use std::collections::BTreeSet;
use std::fs::DirEntry;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::image::{Compression, Config, Entry, Format, Image, Layer, push};
use e2e::kill_points::{Ended, KillPoints};
use e2e::registry::Registry;
use e2e::rounds::{Publisher, repeatable_random};
use e2e::target::Target;
use e2e::tree::Tree;
use e2e::tree_diff::ensure_same;
use e2e::{Context, Result, ensure};
use tempfile::TempDir;

const POINTS: usize = 100;
/// On a bucket, where all takes longer: who is killed in its turn is waited for.
const POINTS_IN_BUCKET: usize = 25;
/// After how many kills the content of all files is compared with the registry.
const LOOKS: usize = 12;
const IMAGES: usize = 8;
/// So that removed images go at once.
const NOW: [&str; 2] = ["--grace-period", "0"];

struct World {
    random: fastrand::Rng,
    registry: Registry,
    shared: Layer,
    target: Target,
    publisher: Publisher,
    /// Which version of each image is in the registry.
    versions: [u64; IMAGES],
    wished: BTreeSet<usize>,
    work: TempDir,
}

fn name(n: usize) -> String {
    format!("org/tool{}:{n}", n % 3)
}

impl World {
    fn new(target: Target) -> Result<Self> {
        let work = TempDir::new_in("/dev/shm")?;
        let mut entries = vec![Entry::dir("./"), Entry::dir("usr")];
        entries.extend((0..10).map(|n| Entry::noise(format!("usr/{n}"), 3000, n)));
        let shared = Layer::build(work.path(), Compression::Gzip, &entries)?;
        std::fs::create_dir(work.path().join("tmp"))?;
        let publisher = target.publisher(work.path()).env("DUCC_TMP_DIR", work.path().join("tmp"));
        let world = Self {
            random: repeatable_random()?,
            registry: Registry::start_in_memory()?,
            shared,
            target,
            publisher,
            versions: [0; IMAGES],
            wished: (0..IMAGES).collect(),
            work,
        };
        for n in 0..IMAGES {
            world.push(n)?;
        }
        world.wish()?;
        Ok(world)
    }

    fn push(&self, n: usize) -> Result<()> {
        let version = self.versions[n];
        let mut own = vec![
            Entry::dir("own"),
            Entry::file("own/version", format!("{n}/{version}")),
            Entry::hard_link("own/again", "own/version"),
        ];
        own.extend((0..5).map(|at| Entry::noise(format!("own/{at}"), 500, at + 10 * version)));
        // What is removed differs from image to image.
        own.push(Entry::whiteout(format!("usr/{n}")));
        let layers =
            [self.shared.clone(), Layer::build(self.work.path(), Compression::Gzip, &own)?];
        let image = Image::new(Format::Oci, Config::with_cmd(["true"]), &layers)?;
        push(&self.registry, &name(n), &image)
    }

    fn wish(&self) -> Result<()> {
        self.publisher.wish(self.wished.iter().map(|&n| self.registry.source(&name(n))))
    }

    /// Some tags move, and a wish comes or goes. At least one image that is wished for is new.
    fn change(&mut self) -> Result<()> {
        let changed = self.random.usize(..IMAGES);
        if !self.wished.remove(&changed) {
            self.wished.insert(changed);
        }
        let wished: Vec<usize> = self.wished.iter().copied().collect();
        for _ in 0..2 {
            let n = wished.get(self.random.usize(..wished.len().max(1))).copied().unwrap_or(0);
            self.wished.insert(n);
            self.versions[n] += 1;
            self.push(n)?;
        }
        self.wish()
    }

    fn looping(&self) -> Result<Command> {
        self.publisher.looping(&["--jobs", "2", "--commit-images", "2"])
    }

    fn collecting(&self) -> Result<Command> {
        let mut command = self.publisher.ducc()?;
        command.arg("gc").arg(self.target.locator()).args(NOW);
        Ok(command)
    }

    /// Every file of every image, with what the registry has, or had.
    fn verify_data(&self) -> Result<()> {
        let output = self.publisher.on_repository("verify", &["--data", "--json"])?;
        ensure!(output.status.success(), "verify --data: {}", output.both());
        Ok(())
    }

    fn kill_and_check(mut self, points: usize) -> Result<()> {
        let dir = self.work.path().to_owned();
        let first = self.publisher.round(&[])?;
        ensure!(first.status == Some(0), "{}", first.output.both());
        self.change()?;
        let round_is_done = |log: &str| log.contains(" unchanged, ");
        let of_loop = KillPoints::count(&self.looping()?, &dir, round_is_done)?;
        let of_gc = KillPoints::count(&self.collecting()?, &dir, |_| false)?;
        let mut killed = 0;
        for attempt in 0..4 * points {
            if killed == points {
                break;
            }
            let (what, (ended, point)) = if attempt % 3 == 2 {
                let command = self.collecting()?;
                ("gc", of_gc.kill(&mut self.random, &command, &dir, |_| false)?)
            } else {
                self.change()?;
                let command = self.looping()?;
                ("loop", of_loop.kill(&mut self.random, &command, &dir, round_is_done)?)
            };
            killed += usize::from(ended == Ended::AtThePoint);
            let context = || format!("after {what} was killed {point}");
            self.publisher.verify().with_context(context)?;
            if attempt % LOOKS == LOOKS - 1 {
                self.verify_data().with_context(context)?;
            }
        }
        ensure!(killed == points, "only {killed} runs were killed");
        self.check_end()
    }

    /// A complete round and a collection leave what an undisturbed publisher makes of the same wishes.
    fn check_end(&self) -> Result<()> {
        let round = self.publisher.round(&[])?;
        ensure!(round.status == Some(0), "{}", round.output.both());
        for _ in 0..2 {
            let collected = self.publisher.on_repository("gc", &NOW)?;
            ensure!(collected.status.success(), "{}", collected.both());
        }
        ensure!(self.publisher.verify()? == self.wished.len(), "more images than are wished for");
        for &n in &self.wished {
            let version = self.target.read(&self.registry.reference(&name(n)), "own/version")?;
            ensure!(version == Some(format!("{n}/{}", self.versions[n])), "{n}: {version:?}");
        }
        let (undisturbed, dir) = (self.target.again()?, TempDir::new_in("/dev/shm")?);
        let publisher = undisturbed.publisher(dir.path());
        publisher.wish(self.wished.iter().map(|&n| self.registry.source(&name(n))))?;
        let round = publisher.round(&[])?;
        ensure!(round.status == Some(0), "{}", round.output.both());
        ensure_same(
            "undisturbed",
            &comparable(undisturbed.tree()?),
            "killed",
            &comparable(self.target.tree()?),
        )?;
        self.target.check()?;
        self.verify_data()?;
        let left = names(&self.work.path().join("tmp"))?;
        ensure!(left.is_empty(), "temporary files are left: {left:?}");
        for (what, place, of_undisturbed) in [
            ("repository", self.target.root(), undisturbed.root()),
            ("cache", self.work.path().join("cache"), dir.path().join("cache")),
            ("place for unfinished files", unfinished(&self.target), unfinished(&undisturbed)),
        ] {
            let (found, expected) = (names(&place)?, names(&of_undisturbed)?);
            ensure!(found == expected, "in the {what} are {found:?}, not {expected:?}");
        }
        Ok(())
    }
}

/// Where files of a native repository are before they have their names.
fn unfinished(target: &Target) -> PathBuf {
    target.root().join("data/txn")
}

/// What is in a directory; nothing if it is not there. The two files that SQLite has beside a database as long as it is open,
/// and now and then after that, count as the database.
fn names(directory: &Path) -> Result<BTreeSet<String>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries?,
    };
    let name = |entry: std::io::Result<DirEntry>| {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let database = ["-wal", "-shm"].iter().find_map(|suffix| name.strip_suffix(suffix));
        Ok(database.map_or(name.clone(), str::to_owned))
    };
    entries.map(name).collect()
}

/// Without the books, whose content tells of the past, without the directories that content is spread over, which a
/// native repository keeps, and without the times outside of the images' own trees.
fn comparable(mut tree: Tree) -> Tree {
    tree.0.retain(|path, _| {
        let text = String::from_utf8_lossy(path);
        let is_book = text.ends_with("/.metadata/layers.json")
            || text.ends_with("/.metadata/origin.json")
            || text.starts_with(".metadata/.wishes")
            || text == ".metadata/remove-schedule.json";
        let is_shard = [".layers/", ".chains/", ".flat/"]
            .iter()
            .any(|above| text.strip_prefix(above).is_some_and(|rest| !rest.contains('/')));
        !is_book && !is_shard
    });
    for (path, facts) in &mut tree.0 {
        let text = String::from_utf8_lossy(path);
        if !text.contains("/layerfs/") && !text.contains("/rootfs/") {
            facts.mtime = (0, 0);
        }
    }
    tree
}

#[test]
fn on_a_directory() -> Result<()> {
    World::new(Target::directory()?)?.kill_and_check(POINTS)
}

#[test]
fn on_a_native_repository() -> Result<()> {
    World::new(Target::native()?)?.kill_and_check(POINTS)
}

#[test]
fn on_a_bucket() -> Result<()> {
    World::new(Target::s3()?)?.kill_and_check(POINTS_IN_BUCKET)
}
