//! What the converter publishes equals what the kernel's overlayfs shows of its layers, and what umoci, an
//! unpacker by other hands, makes of the same image: entry by entry.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use e2e::debian::{self, Debian};
use e2e::ducc::Convert;
use e2e::image::{
    Compression, Config, Entry, Format, Image, Kind, Layer, Sparse, write_docker_archive,
    write_layout,
};
use e2e::overlay::Overlay;
use e2e::tree::{FileKind, Tree};
use e2e::tree_diff::ensure_same;
use e2e::{Context, Result, ensure, umoci};
use layer_layout::path::{self, ImageMetadata};
use layer_layout::{ChainId, DiffId};
use tempfile::TempDir;

const TAG: &str = "t";

/// A converted image.
struct Published {
    repository: TempDir,
    /// The layers' directories, base first.
    layers: Vec<PathBuf>,
    rootfs: PathBuf,
    flat: PathBuf,
}

fn publish(source: &str, name: Option<&str>) -> Result<Published> {
    let repository = TempDir::new()?;
    let mut convert = Convert::new(source, repository.path());
    if let Some(name) = name {
        convert = convert.public_name(name);
    }
    let report = convert.report()?;
    let public = report["public_path"].as_str().context("no public_path in the report")?;
    let flat = fs::canonicalize(repository.path().join(public))?;

    let config = path::image_metadata(&public.parse()?, ImageMetadata::Config);
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(repository.path().join(config))?)?;
    let diff_ids: Vec<DiffId> = serde_json::from_value(config["rootfs"]["diff_ids"].clone())?;
    let chains = ChainId::of_layers(&diff_ids);
    let layers = chains
        .iter()
        .map(|chain| Ok(fs::canonicalize(repository.path().join(path::chain_layer(chain)))?))
        .collect::<Result<_>>()?;
    let rootfs = repository.path().join(path::chain_rootfs(chains.last().context("no layers")?));
    Ok(Published { repository, layers, rootfs, flat })
}

impl Published {
    /// The merged root.
    fn merged(&self) -> Result<Tree> {
        Tree::read(&self.rootfs)
    }

    /// What the kernel shows of the layers.
    fn overlay(&self) -> Result<Tree> {
        // The kernel takes each directory once; the topmost place decides.
        let mut lowers: Vec<&Path> = Vec::new();
        for layer in self.layers.iter().rev() {
            if !lowers.contains(&layer.as_path()) {
                lowers.push(layer);
            }
        }
        let opaque_root = lowers.iter().position(|lower| is_opaque(lower));
        lowers.truncate(opaque_root.map_or(lowers.len(), |at| at + 1));
        let overlay = Overlay::view(&lowers)?;
        Ok(Tree::read(&overlay.path())?.without_overlay_xattrs())
    }

    /// The flat root equals the merged one but for what Apptainer needs.
    fn check_flat(&self, merged: &Tree) -> Result<()> {
        let mut flat = Tree::read(&self.flat)?;
        let added: BTreeSet<Vec<u8>> =
            flat.0.keys().filter(|path| !merged.0.contains_key(*path)).cloned().collect();
        for path in &added {
            let text = String::from_utf8_lossy(path);
            let top = text.split('/').next().unwrap_or_default();
            let expected = [
                ".singularity.d",
                ".run",
                ".exec",
                ".test",
                ".shell",
                "singularity",
                "environment",
                "dev",
                "proc",
                "root",
                "var",
                "tmp",
                "etc",
                "sys",
                "home",
            ];
            ensure!(expected.contains(&top), "the flat root has {text}, which nobody asked for");
            flat.0.remove(path);
        }
        ensure_same("merged", &merged.clone().without_root(), "flat", &flat.without_root())
    }
}

/// The kernel does not look at an opaque mark on the root of a lower directory.
fn is_opaque(layer: &Path) -> bool {
    matches!(xattr::get(layer, "trusted.overlay.opaque"), Ok(Some(value)) if value == b"y")
}

fn check(published: &Published, layout: &Path, tag: &str) -> Result<()> {
    let merged = published.merged()?;
    let whiteouts = merged.0.values().filter(|facts| facts.device == Some((0, 0))).count();
    ensure!(whiteouts == 0, "the merged root holds {whiteouts} whiteouts");
    ensure_same("merged", &merged, "overlayfs", &published.overlay()?)?;
    let bundle = TempDir::new()?;
    let begun = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let unpacked = umoci::unpack(layout, tag, &bundle.path().join("bundle"))?;
    let mut unpacked = Tree::read(&unpacked)?;
    without_own_times(&mut unpacked, &merged, i64::try_from(begun)?);
    ensure_same("merged", &merged, "umoci", &unpacked)?;
    published.check_flat(&merged)
}

/// A directory in which umoci has removed a name, or that it made because no layer has it, keeps the time of
/// that moment, which is not the image's. Those times, and no others, are taken as equal.
fn without_own_times(unpacked: &mut Tree, ours: &Tree, begun: i64) {
    for (path, facts) in &mut unpacked.0 {
        if let Some(ours) = ours.0.get(path)
            && facts.kind == FileKind::Dir
            && facts.mtime.0 >= begun
        {
            facts.mtime = ours.mtime;
        }
    }
}

#[test]
fn the_realistic_image() -> Result<()> {
    let debian = Debian::get()?;
    let published = publish(&format!("oci:{}:{}", debian.layout.display(), debian::TAG), None)?;
    check(&published, &debian.layout, debian::TAG)?;

    // Content is shared, not copied.
    let shared = fs::metadata(published.rootfs.join("usr/bin/dash"))?;
    let flat = fs::metadata(published.flat.join("usr/bin/dash"))?;
    ensure!(shared.ino() == flat.ino(), "the flat root has a copy");

    // The same image as `docker save` writes it gives the same trees.
    let dir = TempDir::new()?;
    let archive = dir.path().join("image.tar");
    write_docker_archive(&archive, "registry.example.org/numpy:1", &debian.image)?;
    let from_archive = publish(&format!("docker-archive:{}", archive.display()), None)?;
    let public = from_archive.repository.path().join("registry.example.org/numpy:1");
    ensure!(fs::symlink_metadata(&public)?.is_symlink(), "no public path {}", public.display());
    ensure_same("layout", &published.merged()?, "docker-archive", &from_archive.merged()?)
}

struct Case {
    name: &'static str,
    layers: Vec<Vec<Entry>>,
    /// A path that must be there, or, with `!` in front, must not.
    seen: &'static [&'static str],
    /// Whether umoci can unpack it.
    umoci: bool,
}

/// Directories that are not described get their attributes from nowhere; every case describes its own.
fn base() -> Vec<Entry> {
    vec![
        Entry::dir("./").mode(0o755).mtime(1_600_000_000, 0),
        Entry::dir("d").mode(0o2750).owner(1, 2).mtime(1_600_000_001, 5),
        Entry::file("d/a", "a").owner(3, 4).mtime(1_600_000_002, 123_456_789),
        Entry::dir("d/sub").mode(0o700),
        Entry::file("d/sub/deep", "deep").mode(0o4755),
        Entry::file("f", "f").mode(0o600),
        Entry::symlink("s", "d"),
        Entry::dir("gone"),
        Entry::file("gone/inside", "x"),
    ]
}

fn cases() -> Vec<Case> {
    let over = |name, upper: Vec<Entry>, seen| Case {
        name,
        layers: vec![base(), upper],
        seen,
        umoci: true,
    };
    let root = || Entry::dir("./").mtime(1_600_000_100, 7);
    vec![
        over("whiteout of a directory", vec![root(), Entry::whiteout("gone")], &["!gone", "d/a"]),
        over(
            "opaque over existing",
            vec![
                root(),
                Entry::dir("d").mode(0o711),
                Entry::opaque("d"),
                Entry::file("d/new", "n"),
            ],
            &["d/new", "!d/a", "!d/sub"],
        ),
        over(
            "opaque mark after the entries",
            vec![root(), Entry::dir("d"), Entry::file("d/new", "n"), Entry::opaque("d")],
            &["d/new", "!d/a"],
        ),
        over(
            "opaque mark before its directory",
            vec![
                root(),
                Entry::opaque("d"),
                Entry::dir("d").mode(0o1777),
                Entry::file("d/new", "n"),
            ],
            &["d/new", "!d/a"],
        ),
        over("file to directory", vec![root(), Entry::dir("f"), Entry::file("f/x", "x")], &["f/x"]),
        over("directory to file", vec![root(), Entry::file("d", "now a file")], &["d", "!d/a"]),
        over("directory to symlink", vec![root(), Entry::symlink("d", "gone")], &["d"]),
        over(
            "symlink to directory",
            vec![root(), Entry::dir("s"), Entry::file("s/own", "o")],
            &["s/own", "!s/a"],
        ),
        over(
            "whiteout, then the name again as a file",
            vec![root(), Entry::whiteout("f"), Entry::file("f", "again")],
            &["f"],
        ),
        over(
            "the name as a directory, then its whiteout",
            vec![root(), Entry::dir("d"), Entry::file("d/new", "n"), Entry::whiteout("d")],
            &["d/new", "!d/a"],
        ),
        over(
            "hard link to a lower file",
            vec![root(), Entry::dir("d"), Entry::hard_link("d/linked", "f")],
            &["d/linked", "f"],
        ),
        over(
            "whiteout of something absent",
            vec![root(), Entry::whiteout("never")],
            &["!never", "f"],
        ),
        over(
            "whiteout inside a merged directory",
            vec![root(), Entry::dir("d"), Entry::whiteout("d/sub")],
            &["d/a", "!d/sub"],
        ),
        over(
            "duplicate entries, the last wins",
            vec![
                root(),
                Entry::file("twice", "one").mode(0o600),
                Entry::file("twice", "two").mode(0o640),
                Entry::dir("kind"),
                Entry::file("kind/x", "x"),
                Entry::file("kind", "a file after all"),
                Entry::symlink("link", "f"),
                Entry::file("link", "no link"),
            ],
            &["twice", "kind", "!kind/x", "link", "f"],
        ),
        Case {
            name: "three layers: removed, and there again without its old content",
            layers: vec![
                base(),
                vec![root(), Entry::whiteout("d")],
                vec![root(), Entry::dir("d").mode(0o1777), Entry::file("d/z", "z")],
            ],
            seen: &["d/z", "!d/a"],
            umoci: true,
        },
        Case {
            name: "everything that an image can hold",
            layers: vec![
                base(),
                vec![
                    root(),
                    Entry::dir("dev"),
                    Entry::new("dev/null", Kind::CharDevice(1, 3)).mode(0o666),
                    Entry::new("dev/loop", Kind::BlockDevice(7, 0)).owner(0, 6),
                    Entry::new("pipe", Kind::Fifo).mode(0o620),
                    Entry::dir("tmp").mode(0o1777),
                    Entry::program("suid", "#!").mode(0o6755).owner(1000, 1000),
                    Entry::program("cap", "#!")
                        .xattr(
                            "security.capability",
                            &b"\x01\0\0\x02\n\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..],
                        )
                        .xattr("user.note", "a\nb=c")
                        .xattr("trusted.note", "t"),
                    Entry::file("old", "before 1970").mtime(-5, 250_000_000),
                    Entry::file(&b"not\xffutf8"[..], "x"),
                    Entry::file(
                        format!("{}/{}", "long".repeat(40), "name".repeat(50)).as_bytes(),
                        "x",
                    ),
                    Entry::hard_link("pipe2", "pipe"),
                    Entry::symlink("far", "../../../../etc/passwd"),
                    Entry::hard_link("far2", "far"),
                    Entry::new("sparse", sparse(Sparse::Pax)),
                    Entry::file("big-ids", "x").owner(3_000_000, 4_000_000),
                ],
            ],
            seen: &["dev/null", "cap", "far2", "sparse"],
            umoci: true,
        },
        Case {
            name: "GNU tar's old form of sparse files",
            layers: vec![base(), vec![root(), Entry::new("sparse-old", sparse(Sparse::OldGnu))]],
            seen: &["sparse-old"],
            umoci: false,
        },
    ]
}

fn sparse(form: Sparse) -> Kind {
    Kind::SparseFile {
        size: 1 << 20,
        data: vec![(4096, b"data".repeat(256)), (900_000, b"end".to_vec())],
        form,
    }
}

#[test]
fn nasty_layers() -> Result<()> {
    for case in cases() {
        for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
            let dir = TempDir::new()?;
            let layers = case
                .layers
                .iter()
                .map(|entries| Layer::build(dir.path(), compression, entries))
                .collect::<Result<Vec<_>>>()?;
            let image = Image::new(Format::Oci, Config::with_cmd(["true"]), &layers)?;
            let layout = dir.path().join("layout");
            write_layout(&layout, TAG, &image)?;
            let published = publish(&format!("oci:{}:{TAG}", layout.display()), Some("r.io/t:1"))
                .with_context(|| case.name.to_owned())?;
            // umoci knows no zstd; the tree is the same whatever the compression.
            match (case.umoci, compression) {
                (true, Compression::Gzip | Compression::None) => check(&published, &layout, TAG),
                (false, _) | (_, Compression::Zstd) => {
                    let merged = published.merged()?;
                    ensure_same("merged", &merged, "overlayfs", &published.overlay()?)
                }
            }
            .with_context(|| format!("{} ({compression:?})", case.name))?;
            let merged = published.merged()?;
            for path in case.seen {
                match path.strip_prefix('!') {
                    Some(path) => {
                        ensure!(merged.get(path).is_err(), "{}: {path} is seen", case.name);
                    }
                    None => ensure!(merged.get(path).is_ok(), "{}: {path} is not seen", case.name),
                }
            }
        }
    }
    Ok(())
}

/// A directory without an entry of its own has the attributes of the lower one; a layer can say less than it
/// needs, and be used above different bases.
#[test]
fn layers_that_need_their_parents() -> Result<()> {
    let dir = TempDir::new()?;
    let build = |entries: &[Entry]| Layer::build(dir.path(), Compression::Gzip, entries);
    let bare = build(&[
        Entry::file("d/new", "n"),
        Entry::hard_link("d/linked", "f"),
        Entry::file("lib/x", "x"),
    ])?;
    let first = build(&base())?;
    let second = build(&[
        Entry::dir("./"),
        Entry::dir("d").mode(0o1777).owner(9, 9),
        Entry::file("f", "another f").mode(0o444),
        Entry::dir("usr"),
        Entry::dir("usr/lib").mode(0o711),
        Entry::symlink("lib", "usr/lib"),
    ])?;
    let repository = TempDir::new()?;
    for (at, (base, mode, owner, content)) in
        [(&first, 0o2750, (1, 2), "f"), (&second, 0o1777, (9, 9), "another f")]
            .into_iter()
            .enumerate()
    {
        let image =
            Image::new(Format::Oci, Config::with_cmd(["true"]), &[base.clone(), bare.clone()])?;
        let layout = dir.path().join(format!("layout-{at}"));
        write_layout(&layout, TAG, &image)?;
        let name = format!("r.io/t:{at}");
        Convert::new(&format!("oci:{}:{TAG}", layout.display()), repository.path())
            .public_name(&name)
            .run()?;
        let flat = fs::canonicalize(repository.path().join(&name))?;
        let tree = Tree::read(&flat)?;
        let facts = tree.get("d")?;
        ensure!((facts.mode, (facts.uid, facts.gid)) == (mode, owner), "{name}: {facts:?}");
        ensure!(
            fs::read_to_string(flat.join("d/linked"))? == content,
            "{name}: linked to another file"
        );
        ensure!(tree.get("f")?.linked == Some(b"d/linked".to_vec()), "{name}: no hard link");
        // Above the second base, `lib` stays a link and the file lies where it leads.
        let (lib, file) =
            if at == 0 { (FileKind::Dir, "lib/x") } else { (FileKind::Symlink, "usr/lib/x") };
        ensure!(
            tree.get("lib")?.kind == lib && tree.get(file).is_ok(),
            "{name}: {:?}",
            tree.get("lib")
        );

        let bundle = TempDir::new()?;
        let unpacked = umoci::unpack(&layout, TAG, &bundle.path().join("bundle"))?;
        let known = |root: &Path| -> Result<Tree> {
            let mut tree = Tree::read(root)?.without_root();
            // What no layer describes, each unpacker dates as it likes.
            tree.0.retain(|path, _| path != b"lib" && !path.starts_with(b".singularity.d"));
            Ok(tree)
        };
        let hex = image.config.hex();
        ensure!(flat.ends_with(hex), "{} is not the flat root of {hex}", flat.display());
        let chains = ChainId::of_layers(&[base.diff_id.parse()?, bare.diff_id.parse()?]);
        let merged = known(&repository.path().join(path::chain_rootfs(&chains[1])))?;
        ensure_same("merged", &merged, "umoci", &known(&unpacked)?)?;
        let stack =
            [&chains[1], &chains[0]].map(|chain| repository.path().join(path::chain_layer(chain)));
        let overlay = Overlay::view(&stack.each_ref().map(PathBuf::as_path))?;
        ensure_same("merged", &merged, "overlayfs", &known(&overlay.path())?)?;
    }
    Ok(())
}
