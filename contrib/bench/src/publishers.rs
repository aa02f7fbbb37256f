//! Several publishers that share a list, in one bucket: how much of their work is lost because another was faster.
//!
//! Lost is what was sent to the bucket and is part of no revision: objects that no revision refers to, and objects that
//! were sent although they were there. That eight small groups change more catalogs than one large one is no loss.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use cvmfs_repository::collector::{Collected, Retention, collect};
use cvmfs_repository::keys::Keys;
use cvmfs_repository::objects::{Objects, Settings};
use cvmfs_repository::storage::Storage;
use faulty_s3::{ACCESS_KEY, Fault, FaultyS3, SECRET_KEY};
use harness::{process, tools};

use crate::measure::{Cost, run as measure};
use crate::native_repository::{FQRN, revision};
use crate::publisher::Publisher;
use crate::registry::Registry;
use crate::removal::small_images;
use crate::table;

const PUBLISHERS: usize = 8;
/// The prefix of the repository in the bucket.
const PREFIX: &str = "images";
/// The file that says whose turn it is.
const TURN: &str = "/.ducc-turn";
/// How a publisher says that it puts a group on top of another's revision.
const ON_TOP: &str = "putting the group on top";

pub(crate) fn run(out: Option<&Path>, images: u64) -> Result<()> {
    let dir = harness::ducc::closed_dir_in(out.unwrap_or(Path::new(crate::native::MEMORY)))?;
    let registry = Registry::start()?;
    let names = small_images(&registry, dir.path(), images)?;
    let mut rows = Vec::new();
    let mut results: Vec<Work> = Vec::new();
    for (name, publishers, in_turns) in
        [("1", 1, true), ("8", PUBLISHERS, true), ("8 that cannot take turns", PUBLISHERS, false)]
    {
        let work = publish(&dir.path().join(name.replace(' ', "-")), publishers, in_turns, &names)?;
        let Work { cost, revisions, attempts, on_top, catalogs, sent, lost, .. } = &work;
        let one = results.first().unwrap_or(&work);
        rows.push(vec![
            name.to_owned(),
            format!("{:.1}", cost.wall),
            format!("{:.1}", cost.cpu),
            format!("{revisions}"),
            format!("{attempts}"),
            format!("{on_top}"),
            format!("{}", sent.objects),
            format!("{catalogs}"),
            format!("{:.1}", sent.bytes as f64 / 1e6),
            format!("{:.3}", lost.objects as f64 / sent.objects as f64),
            format!("{:.3}", lost.bytes as f64 / sent.bytes as f64),
            format!("{:.2}", cost.cpu / one.cost.cpu),
        ]);
        results.push(work);
    }
    let columns = [
        "publishers",
        "wall s",
        "CPU s",
        "revisions",
        "commits tried",
        "put on top",
        "objects sent",
        "of them catalogs",
        "MB sent",
        "objects lost / sent",
        "MB lost / sent",
        "CPU / one",
    ];
    table::print(&format!("{images} images into one bucket"), &columns, &rows);
    Ok(())
}

/// What publishing a list took.
struct Work {
    cost: Cost,
    revisions: u64,
    /// How often a manifest was to be replaced.
    attempts: usize,
    /// How often a group was put on top of another publisher's revision.
    on_top: usize,
    /// How many of the objects that were sent are catalogs.
    catalogs: usize,
    sent: Sum,
    lost: Sum,
}

/// Objects, and their stored bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    objects: u64,
    bytes: u64,
}

impl Sum {
    fn of(sizes: impl IntoIterator<Item = u64>) -> Self {
        let add = |sum: Self, size| Self { objects: sum.objects + 1, bytes: sum.bytes + size };
        sizes.into_iter().fold(Self::default(), add)
    }

    fn minus(self, less: Self) -> Self {
        let Self { objects, bytes } = self;
        Self {
            objects: objects.saturating_sub(less.objects),
            bytes: bytes.saturating_sub(less.bytes),
        }
    }
}

fn publish(dir: &Path, publishers: usize, in_turns: bool, names: &[String]) -> Result<Work> {
    std::fs::create_dir_all(dir)?;
    let server = FaultyS3::start_in(dir)?;
    let url = server.url(PREFIX, "");
    let access = |cache: &str| {
        format!("--keys {} --cache {}", dir.join("keys").display(), dir.join(cache).display())
    };
    let mut create = Command::new(tools::ducc()?);
    create.args(["repository", "create", FQRN, "--storage", &url]);
    create.args(access("cache").split(' '));
    create.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    process::run(&mut create)?;
    let manifest = server.directory(PREFIX).join(".cvmfspublished");
    let before = revision(&std::fs::read(&manifest)?)?;
    server.requests();
    if !in_turns {
        server.fail(|request| request.uri.path().ends_with(TURN).then_some(Fault::Status(403)));
    }

    let locator = format!("cvmfs+{url}");
    let publisher = Publisher::new(&dir.join("publisher"), &locator, "-v info")?;
    publisher.wish(names)?;
    let mut shell = format!(
        "export AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={SECRET_KEY}\nfailed=0\n"
    );
    let shards: Vec<String> = (0..publishers).map(|shard| format!("shard-{shard}")).collect();
    for (shard, name) in shards.iter().enumerate() {
        // Machines of their own have caches of their own.
        let options = format!("--shard {shard}/{publishers} {}", access(name));
        shell += &format!("{} &\n", publisher.round(name, &options)?);
    }
    shell += "for job in $(jobs -p); do wait $job || failed=1; done\n";
    shell += &format!("[ $failed = 0 ] || tail -n 4 {}/publisher/*.log >&2\n", dir.display());
    shell += "exit $failed\n";
    let cost = measure(&shell)?;

    let (mut published, mut on_top) = (0, 0);
    for name in &shards {
        let report = publisher.report(name)?;
        published += report["converted"].as_array().map_or(0, Vec::len);
        on_top += publisher.log(name)?.matches(ON_TOP).count();
    }
    ensure!(published == names.len(), "{published} of {} images were published", names.len());
    let puts: Vec<_> =
        server.requests().into_iter().filter(|request| request.method == "PUT").collect();
    let length = |request: &http::request::Parts| {
        let length = request.headers.get(http::header::CONTENT_LENGTH)?;
        length.to_str().ok()?.parse::<u64>().ok()
    };
    let objects: Vec<_> = puts
        .iter()
        .filter(|request| request.uri.path().contains("/data/"))
        .map(|request| (request.uri.path(), length(request).unwrap_or_default()))
        .collect();
    let sent = Sum::of(objects.iter().map(|(_, size)| *size));
    let different: BTreeMap<_, _> = objects.iter().copied().collect();
    let unused = unused(&server.directory(PREFIX), &dir.join("keys"))?;
    let unused = Sum { objects: unused.removed, bytes: unused.bytes };
    let used = Sum::of(different.into_values()).minus(unused);
    Ok(Work {
        cost,
        revisions: revision(&std::fs::read(&manifest)?)? - before,
        attempts: puts.iter().filter(|put| put.uri.path().ends_with("/.cvmfspublished")).count(),
        on_top,
        catalogs: objects.iter().filter(|(path, _)| path.ends_with('C')).count(),
        sent,
        lost: sent.minus(used),
    })
}

/// What no revision of a repository refers to. The server keeps a bucket as a directory.
fn unused(storage: &Path, keys: &Path) -> Result<Collected> {
    let (storage, fqrn) = (Storage::local(storage), FQRN.parse()?);
    let objects = Objects::new(storage.clone(), Settings::default(), None);
    let keys = Keys::load(keys, &fqrn)?;
    let repository = cvmfs_repository::Repository::open(storage, fqrn, keys);
    let everything = Retention { revisions: u64::MAX, since: None, grace: Duration::ZERO };
    Ok(collect(&repository, &objects, &everything, true)?)
}
