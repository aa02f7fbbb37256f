//! The image builder: the same input gives the same digests, and other programs read what it writes as intended.

use std::path::Path;
use std::process::Command;

use e2e::image::{
    Compression, Config, Content, Entry, Format, Image, Kind, Layer, LayerBuilder, LongNames,
    Sparse, read_layout, write_docker_archive, write_layout,
};
use e2e::overlay::Overlay;
use e2e::process::run;
use e2e::tree::{FileKind, Tree};
use e2e::tree_diff::ensure_same;
use e2e::{Result, tools, umoci};
use tempfile::TempDir;

/// One entry of every kind that unpackers must support.
fn entries() -> Vec<Entry> {
    let long = format!("{}/{}", "directory".repeat(12), "file".repeat(30));
    vec![
        Entry::dir("d").mode(0o3775).owner(7, 8).mtime(1_600_000_000, 987_654_321),
        Entry::file("d/file", "content")
            .mode(0o4711)
            .owner(1000, 3_000_000)
            .xattr("user.x", b"\0\xff".to_vec()),
        Entry::hard_link("d/twin", "d/file")
            .mode(0o4711)
            .owner(1000, 3_000_000)
            .xattr("user.x", b"\0\xff".to_vec()),
        Entry::symlink("d/link", "../nowhere"),
        Entry::new("d/char", Kind::CharDevice(1, 5)).mode(0o666),
        Entry::new("d/block", Kind::BlockDevice(7, 9)),
        Entry::new("d/fifo", Kind::Fifo),
        Entry::file(b"d/\xff\xfe".to_vec(), "not UTF-8"),
        Entry::file("d/old", "before 1970").mtime(-3, 500_000_000),
        Entry::new("zeros", Kind::File(Content::Zeros(70_000))),
        Entry::dir(long.split_at(108).0),
        Entry::file(long.as_str(), "long"),
        Entry::symlink("long-link", "target/".repeat(30)),
    ]
}

fn sparse(form: Sparse) -> Entry {
    // More runs than fit into the header of the old form, so that it needs extension blocks.
    let data = (0..30_u8).map(|run| (u64::from(run) * 16_384 + 512, vec![run + 1; 1024])).collect();
    Entry::new("sparse", Kind::SparseFile { size: 600_000, data, form })
}

fn unpack(
    dir: &Path,
    compression: Compression,
    long_names: LongNames,
    entries: &[Entry],
) -> Result<Tree> {
    let mut builder = LayerBuilder::new(dir, compression, long_names)?;
    entries.iter().try_for_each(|entry| builder.append(entry))?;
    let blob = dir.join(builder.finish()?.blob.hex());
    let root = TempDir::new_in(dir)?;
    let mut tar = Command::new(tools::host("tar")?);
    tar.args([
        "--extract",
        "--numeric-owner",
        "--same-owner",
        "--same-permissions",
        "--xattrs",
        "--xattrs-include=*",
    ]);
    run(tar.arg("--file").arg(&blob).arg("--directory").arg(root.path()))?;
    Ok(Tree::read(root.path())?.without_root())
}

#[test]
fn gnu_tar_reads_every_form_alike() -> Result<()> {
    let dir = TempDir::new()?;
    let mut all = entries();
    all.push(sparse(Sparse::Pax));
    let wanted = unpack(dir.path(), Compression::None, LongNames::Pax, &all)?;
    let file = wanted.get("d/twin")?;
    assert_eq!((file.mode, file.uid, file.gid), (0o4711, 1000, 3_000_000));
    assert_eq!(file.linked.as_deref(), Some(b"d/file".as_slice()));
    assert_eq!(
        file.xattrs.get(b"user.x".as_slice()).map(Vec::as_slice),
        Some(b"\0\xff".as_slice())
    );
    assert_eq!(wanted.get("d")?.mtime, (1_600_000_000, 987_654_321));
    assert_eq!(wanted.get("d/old")?.mtime, (-3, 500_000_000));
    assert_eq!(wanted.get("d/char")?.device, Some((1, 5)));
    assert_eq!(wanted.get("sparse")?.size, Some(600_000));
    assert_eq!(wanted.get("d/fifo")?.kind, FileKind::Fifo);
    all.pop();
    all.push(sparse(Sparse::OldGnu));
    for (compression, long_names) in [
        (Compression::Gzip, LongNames::Pax),
        (Compression::Zstd, LongNames::Gnu),
        (Compression::None, LongNames::Gnu),
    ] {
        let tree = unpack(dir.path(), compression, long_names, &all)?;
        ensure_same("PAX", &wanted, &format!("{compression:?}, {long_names:?}"), &tree)?;
    }
    Ok(())
}

#[test]
fn the_same_entries_give_the_same_digests() -> Result<()> {
    let (one, two) = (TempDir::new()?, TempDir::new()?);
    for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
        let build = |dir: &TempDir| Layer::build(dir.path(), compression, &entries());
        let (one, two) = (build(&one)?, build(&two)?);
        assert_eq!(
            (one.blob.digest, one.diff_id),
            (two.blob.digest, two.diff_id),
            "{compression:?}"
        );
    }
    Ok(())
}

#[test]
fn layouts_and_archives_are_read_by_others() -> Result<()> {
    let dir = TempDir::new()?;
    let (lower, upper) = (
        vec![
            Entry::dir("gone"),
            Entry::file("gone/x", ""),
            Entry::dir("opaque"),
            Entry::file("opaque/old", ""),
        ],
        vec![
            Entry::whiteout("gone"),
            Entry::dir("opaque"),
            Entry::opaque("opaque"),
            Entry::file("opaque/new", ""),
        ],
    );
    let blobs = dir.path().join("blobs");
    let layers = [&lower, &upper].map(|entries| Layer::build(&blobs, Compression::Gzip, entries));
    let [lower, upper] = layers;
    let image = Image::new(Format::Oci, Config::with_cmd(["/cmd"]), &[lower?, upper?])?;
    let layout = dir.path().join("layout");
    write_layout(&layout, "tag", &image)?;
    let back = read_layout(&layout, "tag")?;
    assert_eq!(
        (back.manifest.digest, back.config.digest),
        (image.manifest.digest.clone(), image.config.digest.clone())
    );

    // umoci applies the whiteouts.
    let root = umoci::unpack(&layout, "tag", &dir.path().join("bundle"))?;
    let paths: Vec<Vec<u8>> = Tree::read(&root)?.without_root().0.into_keys().collect();
    assert_eq!(paths, [b"opaque".to_vec(), b"opaque/new".to_vec()]);

    // skopeo finds the same configuration in the archive.
    let archive = dir.path().join("archive.tar");
    write_docker_archive(&archive, "example.org/a:1", &image)?;
    let mut skopeo = Command::new(tools::host("skopeo")?);
    skopeo
        .args(["inspect", "--config", "--raw"])
        .arg(format!("docker-archive:{}", archive.display()));
    assert_eq!(run(&mut skopeo)?.stdout.as_bytes(), image.config.bytes()?);
    Ok(())
}

#[test]
fn the_kernel_merges_directories() -> Result<()> {
    let dir = TempDir::new()?;
    let (upper, lower) = (dir.path().join("upper"), dir.path().join("lower"));
    for (root, name) in [(&upper, "a"), (&lower, "b")] {
        std::fs::create_dir_all(root.join("d"))?;
        std::fs::write(root.join("d").join(name), "")?;
    }
    let view = Overlay::view(&[&upper, &lower])?;
    let merged: Vec<Vec<u8>> = Tree::read(&view.path())?.without_root().0.into_keys().collect();
    assert_eq!(merged, [b"d".to_vec(), b"d/a".to_vec(), b"d/b".to_vec()]);
    let single = Overlay::view(&[&lower])?;
    ensure_same("the directory", &Tree::read(&lower)?, "its view", &Tree::read(&single.path())?)
}
