//! Tars that GNU tar writes, compared with the files they were made of.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use ducc::layer::Kind;

use crate::{Item, items};

/// Files that need what the formats have beyond V7.
fn make_tree(root: &Path) {
    let long = root.join("d".repeat(120)).join("e".repeat(120));
    fs::create_dir_all(&long).unwrap();
    fs::write(long.join("f".repeat(200)), "long").unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("setuid"), "program").unwrap();
    fs::set_permissions(root.join("setuid"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(root.join("setuid"), root.join("same")).unwrap();
    symlink("t".repeat(300), root.join("symlink")).unwrap();
    fs::write(root.join("new\nline é"), "x").unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    // Far more stretches than fit into one header.
    for n in 0..100 {
        sparse.write_all_at(format!("data {n}").as_bytes(), n * 65_536).unwrap();
    }
    sparse.set_len(20 << 20).unwrap();
}

fn tar(root: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("tar")
        .args(arguments)
        .args(["--create", "--file=-", "--numeric-owner", "--directory"])
        .args([root.as_os_str(), ".".as_ref()])
        .output()
        .expect("GNU tar is needed for this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn check(root: &Path, item: &Item, nanoseconds: bool) {
    let relative = std::str::from_utf8(item.entry.path.as_bytes()).unwrap();
    let path = root.join(relative);
    let found = fs::symlink_metadata(&path).unwrap();
    let metadata = &item.entry.metadata;
    assert_eq!(metadata.mode, found.mode() & 0o7777, "{relative}");
    assert_eq!((metadata.uid, metadata.gid), (found.uid(), found.gid()), "{relative}");
    assert_eq!(metadata.mtime.seconds, found.mtime(), "{relative}");
    let expected = if nanoseconds { u32::try_from(found.mtime_nsec()).unwrap() } else { 0 };
    assert_eq!(metadata.mtime.nanoseconds, expected, "{relative}");
    match &item.entry.kind {
        Kind::Directory => assert!(found.is_dir()),
        Kind::File { size } => {
            assert_eq!(*size, found.len(), "{relative}");
            assert!(fs::read(&path).unwrap() == item.content, "{relative}: other content");
        }
        Kind::Symlink { target } => {
            let found = fs::read_link(&path).unwrap();
            assert_eq!(found.as_os_str().as_encoded_bytes(), target, "{relative}");
        }
        Kind::HardLink { target } => {
            let target = root.join(std::str::from_utf8(target.as_bytes()).unwrap());
            assert_eq!(fs::metadata(target).unwrap().ino(), found.ino(), "{relative}");
        }
        other => panic!("{relative}: {other:?}"),
    }
}

#[test]
fn every_format_of_gnu_tar() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    make_tree(root);
    let formats: [&[&str]; 6] = [
        &["--format=gnu"],
        &["--format=gnu", "--sparse"],
        &["--format=posix", "--sparse", "--sparse-version=0.0"],
        &["--format=posix", "--sparse", "--sparse-version=0.1"],
        &["--format=posix", "--sparse", "--sparse-version=1.0"],
        &["--format=posix", "--pax-option=comment=hello,globexthdr.name=g"],
    ];
    for arguments in formats {
        let items = items(tar(root, arguments)).unwrap();
        assert_eq!(items.len(), 10, "{arguments:?}");
        for item in &items {
            check(root, item, arguments[0] == "--format=posix");
        }
        let sparse = items.iter().find(|item| item.path() == "/sparse").unwrap();
        // How coarse holes are is the file system's affair; that there are some is not.
        let is_sparse = sparse.segments.len() >= 50;
        assert_eq!(is_sparse, arguments.contains(&"--sparse"), "{arguments:?}");
    }
}

#[test]
fn the_old_formats() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::create_dir_all(root.join("d".repeat(90)).join("e")).unwrap();
    fs::write(root.join("d".repeat(90)).join("e/f"), "content").unwrap();
    symlink("d", root.join("link")).unwrap();
    for format in ["--format=v7", "--format=ustar", "--format=oldgnu"] {
        let items = items(tar(root, &[format])).unwrap();
        assert_eq!(items.len(), 5, "{format}");
        for item in &items {
            check(root, item, false);
        }
    }
}
