//! Several publishers that share a list, in one bucket: how much of their work is lost because another was faster.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use faulty_s3::{ACCESS_KEY, FaultyS3, SECRET_KEY};
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
/// How a publisher says that it puts a group on top of another's revision.
const AGAIN: &str = ": doing so";

pub(crate) fn run(out: Option<&Path>, images: u64) -> Result<()> {
    let dir = tempfile::tempdir_in(out.unwrap_or(Path::new(crate::native::MEMORY)))?;
    let registry = Registry::start()?;
    let names = small_images(&registry, dir.path(), images)?;
    let mut rows = Vec::new();
    let mut results: Vec<Work> = Vec::new();
    for publishers in [1, PUBLISHERS] {
        let work = publish(&dir.path().join(publishers.to_string()), publishers, &names)?;
        let Work { cost, revisions, attempts, again, objects, catalogs, bytes, .. } = &work;
        let one = results.first().unwrap_or(&work);
        rows.push(vec![
            publishers.to_string(),
            format!("{:.1}", cost.wall),
            format!("{:.1}", cost.cpu),
            format!("{revisions}"),
            format!("{attempts}"),
            format!("{again}"),
            format!("{objects}"),
            format!("{catalogs}"),
            format!("{:.1}", *bytes as f64 / 1e6),
            format!("{:.2}", cost.cpu / one.cost.cpu),
            format!("{:.2}", *bytes as f64 / one.bytes as f64),
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
        "objects stored",
        "of them catalogs",
        "MB stored",
        "CPU / one",
        "MB / one",
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
    /// How often a publisher found that another was faster.
    again: usize,
    objects: usize,
    catalogs: usize,
    /// Sum of all objects that were sent.
    bytes: u64,
}

fn publish(dir: &Path, publishers: usize, names: &[String]) -> Result<Work> {
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

    let (mut published, mut again) = (0, 0);
    for name in &shards {
        let report = publisher.report(name)?;
        published += report["converted"].as_array().map_or(0, Vec::len);
        again += publisher.log(name)?.matches(AGAIN).count();
    }
    ensure!(published == names.len(), "{published} of {} images were published", names.len());
    let puts: Vec<_> =
        server.requests().into_iter().filter(|request| request.method == "PUT").collect();
    let paths = || puts.iter().map(|request| request.uri.path());
    let objects = || puts.iter().filter(|request| request.uri.path().contains("/data/"));
    let length = |request: &http::request::Parts| {
        let length = request.headers.get(http::header::CONTENT_LENGTH)?;
        length.to_str().ok()?.parse::<u64>().ok()
    };
    Ok(Work {
        cost,
        revisions: revision(&std::fs::read(&manifest)?)? - before,
        attempts: paths().filter(|path| path.ends_with("/.cvmfspublished")).count(),
        again,
        objects: objects().count(),
        catalogs: objects().filter(|request| request.uri.path().ends_with('C')).count(),
        bytes: objects().filter_map(length).sum(),
    })
}
