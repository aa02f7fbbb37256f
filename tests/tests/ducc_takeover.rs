//! A repository that DUCC has filled is taken over as it is, checked, mended and kept in step, and its users see the same
//! as before but for what was wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;

use e2e::golden::{self, Golden};
use e2e::image::{Compression, Config, Entry, Image, Index, Layer, push};
use e2e::native::Native;
use e2e::rounds::Publisher;
use e2e::tree::{FileKind, Tree};
use e2e::tree_diff::{differences, ensure_same};
use e2e::{Context, Result, ensure};
use layer_layout::{ChainId, DiffId};
use serde_json::Value;

const FLAT: &str = ".flat/ce/ce2e11990887b4bd14d427345c617cfd59c7ff93ad1b3844afeddd7e89daae7f";
const LAYERS: [&str; 3] = [
    "e0ab91dac13245008ea71aea9d78238944a23dbe4e488c7a5b48f0b0a72b8b73",
    "442fae8c2669dce136171bf99c8db1ace0bfb12bcffe5d7746031bd854d1b4ea",
    "cb6f4cbac0069056ee9754f9077db16d3afbdde4497722287c61420d898edb24",
];
/// What marks the beginning of a catalog, a file to clients.
const MARKER: &[u8] = b".cvmfscatalog";

/// What DUCC has lost in the flat root, apart from the files for Apptainer. The sticky bit, set-id bits, a capability
/// and a hard link, as the image's layers have them.
const LOST: [&str; 5] = [
    r#"/bin/hl1: hard-link group: None / Some("bin/hl1")"#,
    r#"/bin/hl2: hard-link group: None / Some("bin/hl1")"#,
    "/bin/ping: xattrs: {} / {\"security.capability\": ",
    "/bin/su: mode: 755 / 4755",
    "/tmp: mode: 777 / 1777",
];

/// What is wrong with DUCC's image, as far as records and names tell it: kinds, and how the words begin.
fn known_by_records() -> Vec<(&'static str, String)> {
    let metadata = format!(".metadata/{}", golden::NAME);
    let [base, middle, top] = LAYERS.map(|layer| format!("layer sha256:{layer}"));
    let form = |layer: &String| ("ducc-form", format!("{layer} is in DUCC's form"));
    let literal =
        |layer: &String, names: &str| ("literal-whiteouts", format!("{layer} has {names}"));
    vec![
        ("missing", format!("{metadata}/config.json is missing")),
        ("manifest", format!("{metadata}/manifest.json is not what the registry has")),
        ("no-chains", "its chains are missing".to_owned()),
        form(&base),
        form(&middle),
        form(&top),
        literal(&middle, "3 names that should be whiteouts, such as /.wh.rmdir"),
        literal(&top, "1 names that should be whiteouts, such as /etc/.wh.later-gone"),
    ]
}

/// What the layers themselves tell in addition. In each the root has another time; then
/// - in the base the group of `etc/shadow`,
/// - in the middle the owner of `home/u` and of what is in it, the time of `home`, the capability of `bin/ping`, three
///   whiteouts that are files, and the two names and the directory that should bear them,
/// - in the top one whiteout in the same way.
///
/// Where files mark the beginning of catalogs there are so many more names in each.
fn known_by_data(markers: usize) -> Vec<(&'static str, String)> {
    let [base, middle, top] = LAYERS;
    let differ = |layer: &str, names: usize| {
        let tree = format!(".layers/{}/{layer}/layerfs", &layer[..2]);
        ("layer", format!("{tree} differs in {} names", names + markers))
    };
    vec![differ(base, 2), differ(middle, 11), differ(top, 3)]
}

/// The repository in one of its forms.
struct Place<'a> {
    publisher: Publisher,
    /// All of it.
    read: &'a dyn Fn() -> Result<Tree>,
    /// Number of its revision, if it has one.
    revision: &'a dyn Fn() -> Result<Option<u64>>,
    /// How many files of each layer mark the beginning of a catalog and are nothing else to us.
    markers: usize,
}

/// Everything below a directory of a repository, with hard links among that only.
fn below(tree: &Tree, directory: &str) -> Tree {
    let prefix = format!("{directory}/");
    let of = |path: &[u8]| path.strip_prefix(prefix.as_bytes()).map(<[u8]>::to_vec);
    let mut found: BTreeMap<_, _> =
        tree.0.iter().filter_map(|(path, facts)| Some((of(path)?, facts.clone()))).collect();
    let mut groups: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for (path, facts) in &found {
        if let Some(group) = &facts.linked {
            groups.entry(group.clone()).or_default().push(path.clone());
        }
    }
    for facts in found.values_mut() {
        let group = facts.linked.as_ref().and_then(|group| groups.get(group));
        facts.linked =
            group.filter(|group| group.len() > 1).and_then(|group| group.first()).cloned();
    }
    Tree(found)
}

/// What people use other than flat roots, layers and metadata: public names, DUCC's store for Podman, its chains, other
/// files. Directories get a new time when something is put into them.
fn surroundings(golden: &Golden, tree: &Tree) -> Result<Tree> {
    let diff_ids: Vec<DiffId> = (golden.image.layers.iter())
        .map(|layer| layer.diff_id.parse())
        .collect::<Result<_, _>>()?;
    let mut others: Vec<String> = [".flat/", ".layers/", ".metadata"].map(str::to_owned).into();
    for chain in ChainId::of_layers(&diff_ids) {
        let shard = format!(".chains/{}", &chain.hex()[..2]);
        ensure!(
            !tree.0.contains_key(format!("{shard}/.cvmfscatalog").as_bytes()),
            "DUCC has {shard}"
        );
        others.push(shard);
    }
    let mut tree = without_directory_times(tree);
    tree.0.retain(|path, _| !others.iter().any(|other| path.starts_with(other.as_bytes())));
    Ok(tree)
}

impl Place<'_> {
    fn verify(&self, options: &[&str]) -> Result<(bool, Value)> {
        let options = [&["--json"], options].concat();
        let output = self.publisher.on_repository("verify", &options)?;
        let report = serde_json::from_str(output.stdout.lines().last().context("no report")?);
        let report = report.with_context(|| output.both())?;
        Ok((output.status.success(), report))
    }

    /// What is wrong, in words, by kind.
    fn faults(&self, options: &[&str]) -> Result<BTreeSet<(String, String)>> {
        let (clean, report) = self.verify(options)?;
        ensure!(!clean, "nothing is wrong with what DUCC has made: {report}");
        ensure!(report["layers_to_fetch"] == 3 && report["images_to_publish"] == 1, "{report}");
        let faults = report["faults"].as_array().context("no faults")?;
        faults
            .iter()
            .map(|fault| {
                let text = |member: &str| fault[member].as_str().unwrap_or_default().to_owned();
                ensure!(text("image") == golden::NAME, "{fault}");
                Ok((text("kind"), text("text")))
            })
            .collect()
    }

    /// A round, in which nothing is to be done.
    fn nothing_to_do(&self, golden: &Golden, requests: usize) -> Result<()> {
        let (round, traffic) = golden.registry.watch(|| self.publisher.round(&[]))?;
        ensure!(round.status == Some(0), "{}", round.output.both());
        ensure!(round.count("unchanged") == 1 && round.count("converted") == 0, "{}", round.report);
        let layers = &golden.image.layers;
        let fetched = traffic
            .blobs()
            .into_iter()
            .any(|blob| layers.iter().any(|layer| layer.blob.digest == blob));
        ensure!(!fetched, "a layer was fetched: {:?}", traffic.blobs());
        ensure!(traffic.requests.len() <= requests, "{:?}", traffic.requests);
        Ok(())
    }

    fn taken_over(&self, golden: &Golden) -> Result<()> {
        self.publisher.wish([golden.source()])?;
        let before = (self.read)()?;

        // Taken over as it is: the manifest says the same, and DUCC has kept no configuration.
        self.nothing_to_do(golden, 3)?;
        let mut taken = (self.read)()?;
        taken.0.retain(|path, _| !path.starts_with(b".metadata/.wishes"));
        ensure_same(
            "before",
            &without_directory_times(&before),
            "taken over",
            &without_directory_times(&taken),
        )?;
        let revision = (self.revision)()?;
        self.nothing_to_do(golden, 1)?;
        ensure!((self.revision)()? == revision, "a revision without a change");

        // Exactly what DUCC has left out or lost is told: without fetching a layer, and, with all layers, name by name.
        ensure_told(&self.faults(&[])?, &known_by_records())?;
        let all = [known_by_records(), known_by_data(self.markers)].concat();
        ensure_told(&self.faults(&["--data"])?, &all)?;

        let (mended, report) = self.verify(&["--repair"])?;
        ensure!(mended && report["repaired"][0] == golden::NAME, "{report}");
        let (clean, report) = self.verify(&["--data"])?;
        ensure!(clean && report["faults"] == serde_json::json!([]), "{report}");

        let after = (self.read)()?;
        let (people_s, left) = (surroundings(golden, &before)?, surroundings(golden, &after)?);
        ensure_same("before", &people_s, "mended", &left)?;
        self.same_for_users(&below(&before, FLAT), &below(&after, FLAT))?;
        for (layer, digest) in golden.image.layers.iter().zip(LAYERS) {
            ensure!(layer.blob.hex() == digest, "the golden image has another layer");
            let layer = below(&after, &format!(".layers/{}/{digest}/layerfs", &digest[..2]));
            let literal = layer.0.keys().find(|path| path.windows(4).any(|part| part == b".wh."));
            ensure!(literal.is_none(), "{literal:?}");
        }

        // In step, and it stays so.
        let revision = (self.revision)()?;
        self.nothing_to_do(golden, 3)?;
        self.nothing_to_do(golden, 1)?;
        ensure!((self.revision)()? == revision, "a revision without a change");
        let last = (self.read)()?;
        ensure_same("mended", &after, "converted again", &last)?;
        let collected = self.publisher.on_repository("gc", &["--grace-period", "0"])?;
        ensure!(collected.status.success(), "{}", collected.both());
        self.same_for_users(&below(&before, FLAT), &below(&(self.read)()?, FLAT))
    }

    /// Everything is made again, as admins of DUCC are used to (`-g`, `-f`): users see what they saw, but for what DUCC has
    /// lost, and each further time nothing else. A derived image that shares the layers, and is not made again, stays right.
    fn made_again(&self, golden: &Golden) -> Result<()> {
        let derived = golden.source().replace(":v1", ":v2");
        let first = (self.read)()?;
        let mut before: Option<Tree> = None;
        // The layers that DUCC has made lack what roots consist of.
        for (option, wanted) in [("-g", 3), ("-g", 0), ("-f", 3), ("-f", 3)] {
            self.publisher.wish([golden.source()])?;
            ensure!(self.publisher.round(&[])?.status == Some(0), "for the books");
            let revision = (self.revision)()?;
            let again = || self.publisher.round(&[option]);
            let (round, traffic) = golden.registry.watch(again)?;
            ensure!(round.status == Some(0), "{option}: {}", round.output.both());
            ensure!(round.count("converted") == 1, "{option}: {}", round.report);
            let blobs = traffic.blobs();
            let layers = golden.image.layers.iter();
            let fetched = layers.filter(|layer| blobs.contains(&&*layer.blob.digest)).count();
            ensure!(fetched == wanted, "{option}: {fetched} layers were fetched");
            let revisions = (self.revision)()?.zip(revision).map(|(now, before)| now - before);
            // What is made again within the same second is the same, and needs none.
            ensure!(revisions.is_none_or(|number| number <= 1), "{option}: {revisions:?}");

            let after = (self.read)()?;
            self.same_for_users(&below(&first, FLAT), &below(&after, FLAT))?;
            if let Some(before) = before {
                ensure_same(option, &lasting(&before), "before", &lasting(&after))?;
            } else {
                let people_s = |tree| surroundings(golden, tree);
                ensure_same("before", &people_s(&first)?, "made again", &people_s(&after)?)?;
                self.publisher.wish([golden.source(), derived.clone()])?;
                let round = self.publisher.round(&[])?;
                ensure!(round.status == Some(0), "{}", round.output.both());
                ensure!(round.count("converted") == 1, "{}", round.report);
            }
            before = Some((self.read)()?);
            let (clean, report) = self.verify(&["--data"])?;
            ensure!(clean && report["compared"] == 2, "{option}: {report}");
        }
        let revision = (self.revision)()?;
        self.nothing_to_do(golden, 3)?;
        ensure!((self.revision)()? == revision, "a revision without a change");
        Ok(())
    }

    /// Compares the flat root of DUCC with the mended one.
    fn same_for_users(&self, before: &Tree, after: &Tree) -> Result<()> {
        let for_apptainer = |path: &[u8]| {
            path.starts_with(b".singularity.d") || path == MARKER || path.starts_with(b"dev")
        };
        let users = |tree: &Tree| {
            let mut tree = tree.clone();
            tree.0.retain(|path, _| !for_apptainer(path));
            tree
        };
        let differ = differences(&users(before), &users(after));
        // DUCC's own files and the directories that it has touched have the time of the conversion.
        let differ: Vec<_> =
            differ.into_iter().filter(|line| !line.contains(": mtime: ")).collect();
        let expected = |line: &String| LOST.iter().any(|lost| line.starts_with(lost));
        ensure!(
            differ.len() == LOST.len() && differ.iter().all(expected),
            "users see other differences than {LOST:#?}: {differ:#?}"
        );
        // The files for Apptainer have the same names, and some more.
        let names = |tree: &Tree| -> BTreeSet<Vec<u8>> {
            tree.0.keys().filter(|path| path.starts_with(b".singularity.d")).cloned().collect()
        };
        let missing: Vec<_> = names(before).difference(&names(after)).cloned().collect();
        ensure!(missing.is_empty(), "{missing:?}");
        Ok(())
    }
}

/// What stays if an image is made again: all but the books, the times of directories and of what is made for an image, and, in
/// a directory, which of the files with the same content are one: roots that are not made again keep theirs.
fn lasting(tree: &Tree) -> Tree {
    let mut tree = without_directory_times(tree);
    tree.0.retain(|path, _| {
        let path = String::from_utf8_lossy(path);
        !path.ends_with("/.metadata/layers.json")
            && !path.starts_with(".metadata/.wishes")
            && path != ".metadata/remove-schedule.json"
    });
    for (path, facts) in &mut tree.0 {
        facts.linked = None;
        let path = String::from_utf8_lossy(path);
        if path.contains("/.singularity.d/") || facts.kind == FileKind::Symlink {
            facts.mtime = (0, 0);
        }
    }
    tree
}

/// Compares faults with those expected: their kinds, and how they begin.
fn ensure_told(told: &BTreeSet<(String, String)>, expected: &[(&str, String)]) -> Result<()> {
    for (kind, text) in expected {
        let is_it = |told: &&(String, String)| told.0 == *kind && told.1.starts_with(text.as_str());
        ensure!(told.iter().any(|told| is_it(&told)), "{kind}: {text:?} is not told: {told:#?}");
    }
    ensure!(told.len() == expected.len(), "more is told than is wrong: {told:#?}");
    Ok(())
}

fn without_directory_times(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    for facts in tree.0.values_mut().filter(|facts| facts.kind == FileKind::Dir) {
        facts.mtime = (0, 0);
    }
    tree
}

fn publisher(golden: &Golden, locator: String) -> Publisher {
    Publisher::new(golden.dir(), locator)
        .env("CONTAINERS_REGISTRIES_CONF", golden.registries_conf())
}

/// Does something with DUCC's repository in its native form, which is sound afterwards.
fn natively(golden: &Golden, task: impl FnOnce(&Place<'_>) -> Result<()>) -> Result<()> {
    let native = golden::native()?;
    let publisher = publisher(golden, native.locator())
        .env("DUCC_KEYS", native.keys())
        .env("DUCC_CACHE", golden.dir().join("cache"));
    let read = || native.tree("");
    let revision = || native.revision().map(Some);
    task(&Place { publisher, read: &read, revision: &revision, markers: 0 })?;
    native.check()
}

#[test]
fn as_a_native_repository() -> Result<()> {
    let golden = Golden::new()?;
    natively(&golden, |place| place.taken_over(&golden))
}

#[test]
fn made_again_in_a_native_repository() -> Result<()> {
    let (golden, _) = with_derived()?;
    natively(&golden, |place| place.made_again(&golden))
}

#[test]
fn made_again_in_a_directory() -> Result<()> {
    let ((golden, _), directory) = (with_derived()?, golden::directory()?);
    let publisher = publisher(&golden, directory.path().display().to_string());
    let read = || Tree::read(directory.path());
    Place { publisher, read: &read, revision: &|| Ok(None), markers: 1 }.made_again(&golden)
}

/// With an image `v2` that has one layer more.
fn with_derived() -> Result<(Golden, Image)> {
    let golden = Golden::new()?;
    let own = [Entry::dir("opt"), Entry::file("opt/own", "own")];
    let own = Layer::build(golden.dir(), Compression::Gzip, &own)?;
    let derived = golden.image.derive(Config::with_cmd(["true"]), &[own])?;
    push(&golden.registry, "library/golden:v2", &derived)?;
    Ok((golden, derived))
}

#[test]
fn as_a_directory() -> Result<()> {
    let (golden, directory) = (Golden::new()?, golden::directory()?);
    let publisher = publisher(&golden, directory.path().display().to_string());
    let read = || Tree::read(directory.path());
    Place { publisher, read: &read, revision: &|| Ok(None), markers: 1 }.taken_over(&golden)
}

/// Newer DUCC keeps the metadata of what it has found in a list of images below `.multiarch`, and, with `--multi-arch`, a
/// link for each platform.
#[test]
fn as_newer_ducc_leaves_it() -> Result<()> {
    let (golden, directory) = (Golden::new()?, golden::directory()?);
    let list = Index::new(golden.image.format, vec![golden.image.clone()])?;
    push(&golden.registry, "library/golden:v1", &list)?;
    let metadata = directory.path().join(".metadata");
    let of_platform = metadata.join(".multiarch/amd64").join(golden::NAME);
    fs::create_dir_all(of_platform.parent().context("a directory above")?)?;
    fs::rename(metadata.join(golden::NAME), &of_platform)?;
    let publisher = publisher(&golden, directory.path().display().to_string());
    publisher.wish([golden.source()])?;
    for options in [&[][..], &["--multi-arch"]] {
        if options == ["--multi-arch"] {
            let link = directory.path().join(".multiarch/amd64").join(golden::NAME);
            fs::create_dir_all(link.parent().context("a directory above")?)?;
            symlink(format!("../../../../{FLAT}"), &link)?;
        }
        let (round, traffic) = golden.registry.watch(|| publisher.round(options))?;
        ensure!(round.status == Some(0), "{options:?}: {}", round.output.both());
        ensure!(round.count("unchanged") == 1, "{options:?}: {}", round.report);
        let layers = &golden.image.layers;
        let is_layer = |blob: &&str| layers.iter().any(|layer| layer.blob.digest == *blob);
        ensure!(!traffic.blobs().iter().any(is_layer), "{options:?}: {:?}", traffic.blobs());
    }
    Ok(())
}

/// A new image that shares layers with those of DUCC is right, and brings them into the form that it needs.
#[test]
fn a_new_image_on_layers_of_ducc() -> Result<()> {
    let ((golden, derived), native) = (with_derived()?, golden::native()?);
    let publisher = publisher(&golden, native.locator())
        .env("DUCC_KEYS", native.keys())
        .env("DUCC_CACHE", golden.dir().join("cache"))
        .env("DUCC_STATE", golden.dir().join("state"));
    publisher.wish([golden.source(), golden.source().replace(":v1", ":v2")])?;
    let before = native.tree(FLAT)?;
    let (round, traffic) = golden.registry.watch(|| publisher.round(&[]))?;
    ensure!(round.status == Some(0), "{}", round.output.both());
    ensure!(round.count("unchanged") == 1 && round.count("converted") == 1, "{}", round.report);
    let layers = derived.layers.iter().filter(|layer| {
        traffic.blobs().into_iter().filter(|blob| *blob == layer.blob.digest).count() == 1
    });
    ensure!(layers.count() == derived.layers.len(), "{:?}", traffic.blobs());
    ensure_same("before", &before, "beside a new image", &native.tree(FLAT)?)?;
    let new = native.tree("localhost:5015/library/golden:v2")?;
    ensure!(new.get("bin/su")?.mode == 0o4755 && new.get("home/u")?.uid == 1000, "{new:?}");
    ensure!(new.get("etc/later-gone").is_err() && new.get("opq/old1").is_err(), "{new:?}");
    // What the two share is in its final form; what is left is the old image's own.
    let verified = publisher.on_repository("verify", &["--repair"])?;
    ensure!(verified.status.success(), "{}", verified.both());
    Native::check(&native)
}
