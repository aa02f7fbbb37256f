//! What the converter publishes equals, entry by entry, what the kernel's overlayfs makes of its layers and what
//! umoci, an independent unpacker, makes of the same image.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use e2e::cases::{base, nasty};
use e2e::debian::{self, Debian};
use e2e::ducc::{Convert, closed_dir};
use e2e::image::{
    Compression, Config, Entry, Format, Image, Layer, write_docker_archive, write_layout,
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
    let repository = closed_dir()?;
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

    /// What the kernel makes of the layers.
    fn overlay(&self) -> Result<Tree> {
        // The kernel accepts each directory only once; the topmost occurrence counts.
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

    /// Checks that the flat root equals the merged one except for what Apptainer needs.
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
            ensure!(expected.contains(&top), "the flat root has {text}, which should not be there");
            flat.0.remove(path);
        }
        ensure_same("merged", &merged.clone().without_root(), "flat", &flat.without_root())
    }
}

/// Whether the layer's own root is opaque; on the root of a lower directory the kernel ignores that mark.
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

/// If umoci removes a name from a directory, or creates a directory because no layer has it, the directory's time is
/// that of the run, not the image's. Those times, and no others, are taken as equal.
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

    // The same image in the form that `docker save` writes gives the same trees.
    let dir = TempDir::new()?;
    let archive = dir.path().join("image.tar");
    write_docker_archive(&archive, "registry.example.org/numpy:1", &debian.image)?;
    let from_archive = publish(&format!("docker-archive:{}", archive.display()), None)?;
    let public = from_archive.repository.path().join("registry.example.org/numpy:1");
    ensure!(fs::symlink_metadata(&public)?.is_symlink(), "no public path {}", public.display());
    ensure_same("layout", &published.merged()?, "docker-archive", &from_archive.merged()?)
}

#[test]
fn nasty_layers() -> Result<()> {
    for case in nasty() {
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
            // umoci does not support zstd; the tree is the same whatever the compression.
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
                    None => ensure!(merged.get(path).is_ok(), "{}: {path} is missing", case.name),
                }
            }
        }
    }
    Ok(())
}

/// A directory without an entry of its own has the attributes of the lower one, and takes the place of a symlink; such a layer
/// does not describe everything it needs, and can be used above different bases.
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
    let repository = closed_dir()?;
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
        // Above the second base, it takes the place of a link, with the attributes of the directory that this led to.
        let lib = tree.get("lib")?;
        let mode = if at == 0 { 0o755 } else { 0o711 };
        ensure!((lib.kind, lib.mode) == (FileKind::Dir, mode), "{name}: {lib:?}");
        tree.get("lib/x")?;

        let bundle = TempDir::new()?;
        let unpacked = umoci::unpack(&layout, TAG, &bundle.path().join("bundle"))?;
        let known = |root: &Path| -> Result<Tree> {
            let mut tree = Tree::read(root)?.without_root();
            // Each unpacker gives its own times to what no layer describes, and umoci follows the link.
            let own = [b"lib".as_slice(), b"lib/x", b"usr/lib/x", b"usr/lib"];
            tree.0
                .retain(|path, _| !own.contains(&&**path) && !path.starts_with(b".singularity.d"));
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
