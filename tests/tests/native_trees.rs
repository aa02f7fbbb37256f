//! What the converter publishes into a CernVM-FS repository equals, entry by entry, what it publishes into a
//! directory: layers in overlayfs form, merged roots, flat roots.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use e2e::cases::{base, nasty};
use e2e::debian::{self, Debian};
use e2e::ducc::{Convert, closed_dir};
use e2e::engine_cases::{builders, oddities, refused_by_engines};
use e2e::image::{Compression, Config, Entry, Format, Image, Layer, write_layout};
use e2e::native::Native;
use e2e::process::run;
use e2e::tree::Tree;
use e2e::tree_diff::ensure_same;
use e2e::{Context, Result, ensure};
use layer_layout::path::{self, ImageMetadata};
use layer_layout::{ChainId, ConfigDigest, DiffId};
use tempfile::TempDir;

const TAG: &str = "t";
const NAME: &str = "r.io/t:1";

/// Where a repository has the trees of an image.
struct TreePaths {
    /// `layer` of each chain, base first.
    layers: Vec<PathBuf>,
    rootfs: PathBuf,
    flat: PathBuf,
}

/// The trees of the image that the directory target has published under a public name.
fn tree_paths(repository: &Path, public: &str) -> Result<TreePaths> {
    let config =
        fs::read(repository.join(path::image_metadata(&public.parse()?, ImageMetadata::Config)))?;
    let id = ConfigDigest::from(layer_layout::Digest::of(&config));
    let config: serde_json::Value = serde_json::from_slice(&config)?;
    let diff_ids: Vec<DiffId> = serde_json::from_value(config["rootfs"]["diff_ids"].clone())?;
    let chains = ChainId::of_layers(&diff_ids);
    let layers = chains.iter().map(|chain| path::chain_layer(chain).as_ref().to_owned()).collect();
    let top = chains.last().context("no layers")?;
    let (rootfs, flat) = (path::chain_rootfs(top), path::flat(&id));
    Ok(TreePaths { layers, rootfs: rootfs.as_ref().to_owned(), flat: flat.as_ref().to_owned() })
}

/// The format has hard links within one directory only; links across directories become separate files that share
/// their content.
fn linked_within_directories(mut tree: Tree) -> Tree {
    let parent = |path: &[u8]| match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => path[..at].to_vec(),
        None => Vec::new(),
    };
    // The names of one inode in one directory.
    let mut groups: BTreeMap<_, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for (path, facts) in &tree.0 {
        if let Some(first) = &facts.linked {
            groups.entry((first.clone(), parent(path))).or_default().insert(path.clone());
        }
    }
    for paths in groups.into_values() {
        let first = paths.first().filter(|_| paths.len() > 1).cloned();
        for path in &paths {
            if let Some(facts) = tree.0.get_mut(path) {
                facts.linked.clone_from(&first);
            }
        }
    }
    tree
}

/// Without the times of what a flat root has in addition to the merged root: those are the times of the run.
fn without_times_of_additions(mut flat: Tree, merged: &Tree) -> Tree {
    for (path, facts) in &mut flat.0 {
        if !merged.0.contains_key(path) {
            facts.mtime = (0, 0);
        }
    }
    flat
}

fn ensure_equal(directory: &Path, native: &Native, public: &str) -> Result<()> {
    let paths = tree_paths(directory, public)?;
    let snapshot = native.snapshot()?;
    let read = |path: &Path| -> Result<(Tree, Tree)> {
        let in_directory = Tree::read(&fs::canonicalize(directory.join(path))?)?;
        let natively = e2e::native::tree(&snapshot, path)?;
        Ok((linked_within_directories(in_directory), natively))
    };
    for path in paths.layers.iter().chain([&paths.rootfs]) {
        let (in_directory, natively) = read(path)?;
        ensure_same("directory", &in_directory, "native", &natively)
            .with_context(|| path.display().to_string())?;
    }
    let (in_directory, natively) = read(&paths.flat)?;
    let merged = Tree::read(&directory.join(&paths.rootfs))?;
    ensure_same(
        "directory",
        &without_times_of_additions(in_directory, &merged).without_root(),
        "native",
        &without_times_of_additions(natively, &merged).without_root(),
    )
    .context("the flat root")
}

/// Publishes an image into both targets and compares.
fn compare(source: &str, native: &Native, public: &str) -> Result<()> {
    let directory = closed_dir()?;
    Convert::new(source, directory.path()).public_name(public).run()?;
    native.convert(source).public_name(public).run()?;
    ensure_equal(directory.path(), native, public)
}

#[test]
fn the_realistic_image() -> Result<()> {
    let debian = Debian::get()?;
    let native = Native::create()?;
    let source = format!("oci:{}:{}", debian.layout.display(), debian::TAG);
    let before = native.revision()?;
    compare(&source, &native, NAME)?;
    ensure!(native.revision()? == before + 1, "an image is one revision");
    native.check()?;

    // The second run neither fetches nor signs anything.
    native.convert(&source).public_name(NAME).run()?;
    ensure!(
        native.revision()? == before + 1,
        "there was nothing to do, but there is a new revision"
    );
    Ok(())
}

#[test]
fn nasty_layers() -> Result<()> {
    for (options, cases) in [
        (&["--hash", "sha1"][..], nasty()),
        (&["--hash", "shake128", "--compression", "none"], nasty().split_off(15)),
        (&["--hash", "rmd160"], nasty().split_off(15)),
    ] {
        let native = Native::create_with(options)?;
        for (at, case) in cases.into_iter().enumerate() {
            let dir = TempDir::new()?;
            let layers = case
                .layers
                .iter()
                .map(|entries| Layer::build(dir.path(), Compression::Gzip, entries))
                .collect::<Result<Vec<_>>>()?;
            let source = layout(&dir, &layers)?;
            compare(&source, &native, &format!("r.io/t:{at}"))
                .with_context(|| format!("{} ({options:?})", case.name))?;
        }
        native.check().with_context(|| format!("{options:?}"))?;
    }
    Ok(())
}

#[test]
fn layers_of_builders_and_old_programs() -> Result<()> {
    let native = Native::create()?;
    let cases = builders().into_iter().chain(oddities()).chain(refused_by_engines());
    for (at, case) in cases.enumerate() {
        let dir = TempDir::new()?;
        let build = |entries: &Vec<_>| Layer::build(dir.path(), Compression::Gzip, entries);
        let layers = case.layers.iter().map(build).collect::<Result<Vec<_>>>()?;
        let source = layout(&dir, &layers)?;
        compare(&source, &native, &format!("r.io/t:{at}")).context(case.name)?;
    }
    native.check()
}

fn layout(dir: &TempDir, layers: &[Layer]) -> Result<String> {
    let image = Image::new(Format::Oci, Config::with_cmd(["true"]), layers)?;
    let layout = dir.path().join("layout");
    write_layout(&layout, TAG, &image)?;
    Ok(format!("oci:{}:{TAG}", layout.display()))
}

/// A layer that does not describe everything it needs, above two different bases.
#[test]
fn layers_that_need_their_parents() -> Result<()> {
    let work = TempDir::new()?;
    let build = |entries: &[Entry]| Layer::build(work.path(), Compression::Gzip, entries);
    let bare = build(&[
        Entry::file("d/new", "n"),
        Entry::hard_link("d/linked", "f"),
        Entry::hard_link("d/beside", "d/a"),
        Entry::file("lib/x", "x"),
    ])?;
    let second = build(&[
        Entry::dir("./"),
        Entry::dir("d").mode(0o1777).owner(9, 9),
        Entry::file("d/a", "another a"),
        Entry::file("f", "another f").mode(0o444),
        Entry::dir("usr"),
        Entry::dir("usr/lib").mode(0o711),
        Entry::symlink("lib", "usr/lib"),
    ])?;
    let native = Native::create()?;
    let directory = closed_dir()?;
    for (at, base) in [build(&base())?, second].into_iter().enumerate() {
        let dir = TempDir::new()?;
        let source = layout(&dir, &[base, bare.clone()])?;
        let public = format!("r.io/t:{at}");
        Convert::new(&source, directory.path()).public_name(&public).run()?;
        native.convert(&source).public_name(&public).run()?;
        ensure_equal(directory.path(), &native, &public).with_context(|| public.clone())?;
    }
    native.check()
}

/// Ownership, devices and attributes are only recorded in catalogs, so it does not matter who publishes.
#[test]
fn an_ordinary_user_publishes_the_same() -> Result<()> {
    const NOBODY: u32 = 65534;
    let dir = TempDir::new()?;
    let case =
        nasty().into_iter().find(|case| case.name.contains("everything")).context("the case")?;
    let layers = case
        .layers
        .iter()
        .map(|entries| Layer::build(dir.path(), Compression::Gzip, entries))
        .collect::<Result<Vec<_>>>()?;
    let source = layout(&dir, &layers)?;
    let by_root = closed_dir()?;
    Convert::new(&source, by_root.path()).public_name(NAME).run()?;

    let native = Native::create()?;
    for path in [dir.path(), native.dir()] {
        run(std::process::Command::new("chown").args(["-R", "nobody"]).arg(path))?;
    }
    let output = run(native.convert(&source).public_name(NAME).command()?.uid(NOBODY).gid(NOBODY))?;
    ensure!(!output.stderr.contains("WARN"), "something was not kept: {}", output.stderr);
    ensure_equal(by_root.path(), &native, NAME)?;
    native.check()
}
