//! Hostile and broken input: a clear error that names the culprit, a non-zero exit status, and a repository that
//! is byte for byte as before.

use std::fs;
use std::path::{Path, PathBuf};

use e2e::ducc::Convert;
use e2e::faulty_registry::{Fault, FaultyRegistry};
use e2e::image::{Compression, Config, Entry, Format, Image, Kind, Layer, push, write_layout};
use e2e::process::Output;
use e2e::registry::Registry;
use e2e::tree::Tree;
use e2e::tree_diff::ensure_same;
use e2e::{Context, Result, ensure};
use tempfile::TempDir;

/// A repository with an image in it, and other files beside it, none of which may change.
struct Fixture {
    dir: TempDir,
    before: Tree,
}

impl Fixture {
    fn new() -> Result<Self> {
        let dir = TempDir::new()?;
        let fixture = Self { dir, before: Tree::default() };
        fs::create_dir(fixture.repository())?;
        fs::create_dir(fixture.dir.path().join("outside"))?;
        fs::write(fixture.dir.path().join("outside/secret"), "secret")?;
        let work = TempDir::new()?;
        let good = Layer::build(
            work.path(),
            Compression::Gzip,
            &[Entry::dir("d"), Entry::file("d/f", "good")],
        )?;
        let image = Image::new(Format::Oci, Config::with_cmd(["true"]), &[good])?;
        let layout = work.path().join("layout");
        write_layout(&layout, "good", &image)?;
        Convert::new(&format!("oci:{}:good", layout.display()), &fixture.repository()).run()?;
        let before = fixture.read()?;
        Ok(Self { before, ..fixture })
    }

    fn repository(&self) -> PathBuf {
        self.dir.path().join("repository")
    }

    /// Everything in the repository and around it. Only the modification time of the repository's own directory
    /// is left out, because the publisher creates and removes its working directory there.
    fn read(&self) -> Result<Tree> {
        let mut tree = Tree::read(self.dir.path())?;
        if let Some(facts) = tree.0.get_mut(b"repository".as_slice()) {
            facts.mtime = (0, 0);
        }
        Ok(tree)
    }

    /// Checks that nothing at all has changed.
    fn check_untouched(&self) -> Result<()> {
        ensure_same("before", &self.before, "after", &self.read()?)
    }

    fn convert(&self, source: &str, flags: &[(&str, &str)]) -> Result<Output> {
        let mut convert = Convert::new(source, &self.repository()).public_name("r.io/bad:1");
        for (flag, value) in flags {
            convert = convert.option(flag, value);
        }
        convert.run_any()
    }

    /// Checks that converting fails, that the error contains all `words`, and that nothing changes.
    fn check_refused(&self, source: &str, flags: &[(&str, &str)], words: &[&str]) -> Result<()> {
        let output = self.convert(source, flags)?;
        ensure!(output.status.code() == Some(1), "status {}\n{}", output.status, output.both());
        for word in words {
            ensure!(
                output.stderr.contains(word),
                "the error does not mention {word:?}\n{}",
                output.both()
            );
        }
        ensure!(!output.both().contains("panicked"), "{}", output.both());
        self.check_untouched()
    }
}

fn layout_of(dir: &Path, layers: &[Layer]) -> Result<String> {
    let image = Image::new(Format::Oci, Config::with_cmd(["true"]), layers)?;
    let layout = dir.join(format!("layout-{}", image.config.hex()));
    write_layout(&layout, "bad", &image)?;
    Ok(format!("oci:{}:bad", layout.display()))
}

/// A name for the case, its entries, and what the error has to mention.
type Hostile = (&'static str, Vec<Entry>, &'static [&'static str]);

fn hostile() -> Vec<Hostile> {
    vec![
        ("dot-dot", vec![Entry::file("../outside/new", "x")], &["..", "outside/new"]),
        ("dot-dot inside", vec![Entry::file("a/../../outside/new", "x")], &["outside/new"]),
        (
            "through a symlink to itself",
            vec![Entry::symlink("link", "link"), Entry::file("link/new", "x")],
            &["link/new", "too many symlinks"],
        ),
        ("hard link to outside", vec![Entry::hard_link("passwd", "../../etc/passwd")], &["passwd"]),
        (
            "hard link through a symlink",
            vec![Entry::symlink("link", "/etc"), Entry::hard_link("passwd", "link/passwd")],
            &["/passwd", "no file is seen there"],
        ),
        ("hard link to nothing", vec![Entry::hard_link("a", "never")], &["never"]),
        (
            "hard link to itself",
            vec![Entry::file("a", "x"), Entry::hard_link("a", "a")],
            &["hard link to itself"],
        ),
        ("hard link to a directory", vec![Entry::dir("d"), Entry::hard_link("a", "d")], &["/a"]),
        (
            "a file where a directory is needed",
            vec![Entry::file("a", "x"), Entry::file("a/b", "x")],
            &["a/b"],
        ),
        ("NUL in a name", vec![Entry::file("a", "x").record("path", &b"a\0b"[..])], &["NUL"]),
        ("an unknown type", vec![Entry::new("odd", Kind::Other(b'Z', Vec::new()))], &["odd"]),
        ("a whiteout of nothing", vec![Entry::file(".wh.", "")], &[".wh."]),
        ("a whiteout of the parent", vec![Entry::file("a/.wh...", "")], &[".wh"]),
        ("a name that is too long", vec![Entry::file("n".repeat(256), "x")], &["too long"]),
        ("no header at all", vec![Entry::new("x", Kind::Raw(vec![0x55; 512]))], &["header"]),
    ]
}

#[test]
fn hostile_tars() -> Result<()> {
    let fixture = Fixture::new()?;
    for (name, entries, words) in hostile() {
        let work = TempDir::new()?;
        let layer = Layer::build(work.path(), Compression::Gzip, &entries)?;
        let digest = layer.blob.digest.clone();
        let source = layout_of(work.path(), &[layer])?;
        let mut words = words.to_vec();
        // A broken link to a lower layer is found later, and its error names the link.
        if !["hard link to nothing", "hard link through a symlink"].contains(&name) {
            words.push(&digest);
        }
        fixture.check_refused(&source, &[], &words).with_context(|| name.to_owned())?;
    }
    let escaped = Path::new("/etc/ducc-was-here");
    ensure!(!escaped.exists(), "{} was written", escaped.display());
    Ok(())
}

/// A leading slash means nothing in a layer, and its symlinks are followed in the layer: the files stay inside.
#[test]
fn names_stay_inside() -> Result<()> {
    let fixture = Fixture::new()?;
    let work = TempDir::new()?;
    let layer = Layer::build(
        work.path(),
        Compression::Gzip,
        &[
            Entry::file("/etc/ducc-was-here", "inside"),
            Entry::symlink("/abs", "/etc/ducc-was-here"),
            Entry::symlink("link", "/etc"),
            Entry::file("link/ducc-was-here-too", "inside"),
            Entry::symlink("up", "../../../../outside"),
            Entry::file("up/new", "inside"),
        ],
    )?;
    let output = fixture.convert(&layout_of(work.path(), &[layer])?, &[])?;
    ensure!(output.status.success(), "{}", output.both());
    for name in ["etc/ducc-was-here", "etc/ducc-was-here-too", "outside/new"] {
        let inside = fixture.repository().join("r.io/bad:1").join(name);
        ensure!(fs::read_to_string(inside)? == "inside");
        ensure!(!Path::new("/").join(name).exists(), "/{name} was written outside");
    }
    Ok(())
}

#[test]
fn bombs_and_limits() -> Result<()> {
    let fixture = Fixture::new()?;
    let work = TempDir::new()?;
    let zeros = Entry::new("zeros", Kind::File(e2e::image::Content::Zeros(64 << 20)));
    let holes = Kind::SparseFile {
        size: 1 << 50,
        data: vec![(0, b"x".to_vec())],
        form: e2e::image::Sparse::Pax,
    };
    let deep = Entry::file(vec!["d"; 100].join("/"), "x");
    let many: Vec<Entry> = (0..50).map(|number| Entry::file(format!("f{number}"), "")).collect();
    type Limits<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&str, Vec<Entry>, Limits<'_>, &[&str]); 5] = [
        (
            "a file of zeros",
            vec![zeros.clone()],
            &[("--max-file-size", "1000000")],
            &["zeros", "limit of 1000000"],
        ),
        (
            "a tar as a whole",
            vec![zeros],
            &[("--max-unpacked-size", "1000000")],
            &["limit of 1000000"],
        ),
        ("a sparse petabyte", vec![Entry::new("sparse", holes)], &[], &["sparse"]),
        ("too deep", vec![deep], &[("--max-path-depth", "20")], &["limit of 20"]),
        ("too many", many, &[("--max-entries", "49")], &["limit of 49"]),
    ];
    for (name, entries, flags, words) in cases {
        let layer = Layer::build(work.path(), Compression::Gzip, &entries)?;
        let source = layout_of(work.path(), &[layer])?;
        fixture.check_refused(&source, flags, words).with_context(|| name.to_owned())?;
    }
    Ok(())
}

fn sound_image(work: &Path) -> Result<Image> {
    let layers = [
        Layer::build(
            work,
            Compression::Gzip,
            &[Entry::dir("d"), Entry::noise("d/one", 300_000, 1)],
        )?,
        Layer::build(
            work,
            Compression::Gzip,
            &[Entry::dir("d"), Entry::noise("d/two", 200_000, 2)],
        )?,
    ];
    Image::new(Format::Oci, Config::with_cmd(["true"]), &layers)
}

#[test]
fn a_registry_that_fails() -> Result<()> {
    let fixture = Fixture::new()?;
    let work = TempDir::new()?;
    let image = sound_image(work.path())?;
    let quick = [("--attempts", "2"), ("--stall-timeout", "0.5")];
    let cases: [(Fault, &[&str]); 10] = [
        (Fault::Stall, &["layer", "sha256:"]),
        (Fault::Reset, &["layer", "sha256:"]),
        (Fault::Short, &["layer", "sha256:"]),
        (Fault::Flipped, &["layer", "sha256:"]),
        (Fault::Longer(1), &["layer", "sha256:"]),
        (Fault::Longer(1 << 20), &["layer", "sha256:"]),
        (Fault::Status(429, "Retry-After: 0"), &["429"]),
        (Fault::Status(500, "X-Fault: yes"), &["500"]),
        (
            Fault::Status(401, "WWW-Authenticate: Basic realm=\"r\""),
            &["access denied", "docker login"],
        ),
        (Fault::Manifest, &["sha256:"]),
    ];
    for (fault, words) in cases {
        let registry = FaultyRegistry::start(&image, fault.clone())?;
        fixture
            .check_refused(&registry.source(), &quick, words)
            .with_context(|| format!("{fault:?}"))?;
    }
    Ok(())
}

#[test]
fn a_registry_that_recovers() -> Result<()> {
    let work = TempDir::new()?;
    let image = sound_image(work.path())?;
    for fault in [
        Fault::None,
        Fault::StatusFor(2, 429, "Retry-After: 0"),
        Fault::StatusFor(2, 503, "X-Fault: yes"),
    ] {
        let fixture = Fixture::new()?;
        let registry = FaultyRegistry::start(&image, fault.clone())?;
        let output = fixture.convert(&registry.source(), &[])?;
        ensure!(output.status.success(), "{fault:?}: {}", output.both());
        let two = fs::metadata(fixture.repository().join("r.io/bad:1/d/two"))?;
        ensure!(two.len() == 200_000, "{fault:?}: {} bytes", two.len());
    }
    Ok(())
}

/// Damage in a real registry's store: digest and size are checked, whatever the server says.
#[test]
fn damaged_blobs() -> Result<()> {
    let fixture = Fixture::new()?;
    let work = TempDir::new()?;
    let image = sound_image(work.path())?;
    let digest = image.layers[1].blob.digest.clone();
    let whole = image.layers[1].blob.bytes()?;
    let mut flipped = whole.clone();
    flipped[1000] ^= 0x10;
    let longer = [whole.as_slice(), b"more"].concat();
    for (name, bytes) in
        [("truncated", &whole[..5000]), ("flipped", &flipped), ("longer", &longer), ("empty", &[])]
    {
        let registry = Registry::start()?;
        push(&registry, "bad/image:1", &image)?;
        fs::write(registry.blob_file(&digest)?, bytes)?;
        fixture
            .check_refused(
                &registry.source("bad/image:1"),
                &[("--attempts", "2")],
                &[&digest, "bad/image:1"],
            )
            .with_context(|| name.to_owned())?;
    }
    Ok(())
}

/// Images with false information about themselves.
#[test]
fn lying_documents() -> Result<()> {
    let fixture = Fixture::new()?;
    let work = TempDir::new()?;
    let sound = sound_image(work.path())?;
    let [first, second] = &sound.layers[..] else { unreachable!("two layers") };

    let mut wrong_diff_id = first.clone();
    wrong_diff_id.diff_id = second.diff_id.clone();
    let source = layout_of(work.path(), &[wrong_diff_id])?;
    let words = [first.blob.digest.as_str(), first.diff_id.as_str(), second.diff_id.as_str()];
    fixture.check_refused(&source, &[], &words).context("wrong DiffID")?;

    // The layer is now in the repository; nothing else may be published under its DiffID.
    let fixture = Fixture::new()?;
    let output = fixture.convert(&layout_of(work.path(), std::slice::from_ref(first))?, &[])?;
    ensure!(output.status.success(), "{}", output.both());
    let fixture = Fixture { before: fixture.read()?, ..fixture };
    fixture.check_refused(&source, &[], &words).context("wrong DiffID of a published layer")?;

    let fixture = Fixture::new()?;
    let mut layers = sound.layers.clone();
    layers[0].blob.size -= 1;
    let smaller = Image::new(Format::Oci, Config::with_cmd(["true"]), &layers)?;
    let registry = FaultyRegistry::start(&smaller, Fault::None)?;
    let size = format!("expected {}", layers[0].blob.size);
    let words = [first.blob.digest.as_str(), size.as_str()];
    fixture.check_refused(&registry.source(), &[("--attempts", "2")], &words).context("wrong size")
}
