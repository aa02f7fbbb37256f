use std::fs::File;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::*;
use crate::manifest::Manifest;

/// As `cvmfs_server mkfs` writes it.
const STOCK: &str = r#"# Created by cvmfs_server.
CVMFS_CREATOR_VERSION=143
CVMFS_REPOSITORY_NAME=test.example.org
CVMFS_REPOSITORY_TYPE=stratum0
CVMFS_USER=somebody
CVMFS_UNION_DIR=/cvmfs/test.example.org
CVMFS_SPOOL_DIR=/var/spool/cvmfs/test.example.org
CVMFS_STRATUM0=http://localhost/cvmfs/test.example.org
CVMFS_UPSTREAM_STORAGE=local,/srv/cvmfs/test.example.org/data/txn,/srv/cvmfs/test.example.org
CVMFS_USE_FILE_CHUNKING=true
CVMFS_MIN_CHUNK_SIZE=4194304
CVMFS_AVG_CHUNK_SIZE=8388608
CVMFS_MAX_CHUNK_SIZE=16777216
CVMFS_UNION_FS_TYPE=overlayfs
CVMFS_HASH_ALGORITHM=shake128
CVMFS_COMPRESSION_ALGORITHM=default
CVMFS_EXTERNAL_DATA=false
CVMFS_AUTO_TAG=false
CVMFS_AUTO_TAG_TIMESPAN=""
CVMFS_GARBAGE_COLLECTION=true
CVMFS_AUTO_REPAIR_MOUNTPOINT=true
CVMFS_AUTO_GC=true
"#;

fn fqrn() -> Fqrn {
    "test.example.org".parse().unwrap()
}

fn stock() -> ServerConf {
    ServerConf {
        fqrn: fqrn(),
        upstream: "local,/srv/cvmfs/test.example.org/data/txn,/srv/cvmfs/test.example.org"
            .to_owned(),
        hash_algorithm: Algorithm::Shake128,
        compression: Compression::Zlib,
        chunking: Some(Chunking::default()),
        garbage_collection: true,
        user: "somebody".to_owned(),
        spool: "/var/spool/cvmfs/test.example.org".into(),
        keys: "/etc/cvmfs/keys".into(),
        ttl: None,
        include_xattrs: false,
        ignore_special_files: false,
        nanoseconds: false,
        auto_tags: AutoTags::default(),
    }
}

/// A directory with a spool directory and a storage, and a configuration that names them.
fn spool() -> (tempfile::TempDir, ServerConf) {
    let directory = tempfile::tempdir().unwrap();
    let storage = directory.path().join("storage");
    let upstream = format!("local,{0}/data/txn,{0}", storage.display());
    let spool = directory.path().join("spool");
    fs::create_dir(&storage).unwrap();
    fs::create_dir(&spool).unwrap();
    let conf = ServerConf { spool, upstream, ..stock() };
    (directory, conf)
}

#[test]
fn stock_configurations_are_understood() {
    let smaller = Chunking { minimum: 65_536, ..Chunking::default() };
    for (more, expected) in [
        ("", stock()),
        ("CVMFS_COMPRESSION_ALGORITHM=zlib", stock()),
        (
            "CVMFS_COMPRESSION_ALGORITHM=none\nCVMFS_HASH_ALGORITHM=rmd160",
            ServerConf {
                compression: Compression::None,
                hash_algorithm: Algorithm::Rmd160,
                ..stock()
            },
        ),
        ("CVMFS_HASH_ALGORITHM=", ServerConf { hash_algorithm: Algorithm::Sha1, ..stock() }),
        ("CVMFS_USE_FILE_CHUNKING=false", ServerConf { chunking: None, ..stock() }),
        ("CVMFS_MIN_CHUNK_SIZE=65536", ServerConf { chunking: Some(smaller), ..stock() }),
        ("CVMFS_GARBAGE_COLLECTION=false", ServerConf { garbage_collection: false, ..stock() }),
        ("CVMFS_KEYS_DIR='/keys of us'", ServerConf { keys: "/keys of us".into(), ..stock() }),
        (
            "CVMFS_REPOSITORY_TTL=61\nCVMFS_INCLUDE_XATTRS=true\nCVMFS_IGNORE_SPECIAL_FILES=true\n\
             CVMFS_ENABLE_MTIME_NS=true",
            ServerConf {
                ttl: Some(61),
                include_xattrs: true,
                ignore_special_files: true,
                nanoseconds: true,
                ..stock()
            },
        ),
        ("CVMFS_INCLUDE_XATTRS=yes", stock()),
        (
            "CVMFS_AUTO_TAG=true\nCVMFS_AUTO_TAG_TIMESPAN='2 weeks ago'",
            ServerConf {
                auto_tags: AutoTags { named: true, kept_since: Some("2 weeks ago".to_owned()) },
                ..stock()
            },
        ),
        ("CVMFS_AUTO_TAG=yes\nCVMFS_AUTOCATALOGS=\"$(date)\"", stock()),
    ] {
        let root = tempfile::tempdir().unwrap();
        assert!(!is_known(root.path(), &fqrn()));
        fs::create_dir(root.path().join("test.example.org")).unwrap();
        fs::write(file(root.path(), &fqrn()), format!("{STOCK}{more}\n")).unwrap();
        assert!(is_known(root.path(), &fqrn()));
        let conf = ServerConf::read(root.path(), &fqrn()).unwrap();
        assert_eq!(conf, expected, "{more}");
        assert_eq!(
            conf.storage().unwrap(),
            StorageUrl::Local("/srv/cvmfs/test.example.org".into())
        );
    }
}

#[test]
fn what_cannot_be_used_is_named() {
    for (more, reason) in [
        ("CVMFS_REPOSITORY_NAME=", "does not set CVMFS_REPOSITORY_NAME"),
        ("CVMFS_REPOSITORY_NAME=x.org", "it is that of x.org"),
        ("CVMFS_REPOSITORY_TYPE=stratum1", "publish on its stratum 0"),
        ("CVMFS_UPSTREAM_STORAGE=", "does not set CVMFS_UPSTREAM_STORAGE"),
        ("CVMFS_UPSTREAM_STORAGE=$STORAGE", "only a shell"),
        ("CVMFS_AUTO_TAG_TIMESPAN=\"$(date)\"", "only a shell"),
        ("CVMFS_HASH_ALGORITHM=md5", "\"md5\" is not known"),
        ("CVMFS_COMPRESSION_ALGORITHM=zstd", "\"zstd\" is not known"),
        ("CVMFS_MAX_CHUNK_SIZE=8388608", "not in order"),
        ("CVMFS_AVG_CHUNK_SIZE=8M", "\"8M\" and no number"),
    ] {
        let error = ServerConf::parse(&format!("{STOCK}{more}\n"), &fqrn()).unwrap_err();
        assert!(error.contains(reason), "{more}: {error}");
    }
    let error = ServerConf::read(Path::new("/nowhere"), &fqrn()).unwrap_err().to_string();
    assert!(error.contains("there is no /nowhere/test.example.org/server.conf"), "{error}");
}

#[test]
fn locks_are_taken_and_left_as_the_server_does() {
    let (_directory, conf) = spool();
    let names = ["in_transaction.lock", "is_collecting.lock", "is_publishing.lock"];
    let present = || names.map(|name| conf.spool.join(name).exists());
    // Files that were left over mean nothing, if they are those that are locked.
    fs::write(conf.spool.join("is_publishing.lock"), "").unwrap();
    for _ in 0..2 {
        let locks = conf.lock().unwrap();
        assert_eq!(present(), [true; 3]);
        for name in &names[1..] {
            let file = File::open(conf.spool.join(name)).unwrap();
            assert!(flock(&file, FlockOperation::NonBlockingLockExclusive).is_err(), "{name}");
        }
        let error = conf.lock_within(Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("there is a publish"), "{error}");
        assert_eq!(present(), [true; 3], "the locks of others are left alone");
        drop(locks);
        assert_eq!(present(), [false; 3]);
    }
}

#[test]
fn tools_at_work_are_respected() {
    for (name, reason, held) in [
        ("is_publishing.lock", "a publish or an abort", true),
        ("is_collecting.lock", "a garbage collection or a check", true),
        ("in_transaction.lock", "an open transaction", false),
    ] {
        let (_directory, conf) = spool();
        let path = conf.spool.join(name);
        let file = File::create(&path).unwrap();
        if held {
            flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        }
        let error = conf.lock_within(Duration::from_millis(150)).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("test.example.org"), "{error}");
        let left: Vec<_> =
            fs::read_dir(&conf.spool).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [name], "only the other's lock is left");
        fs::remove_file(&path).unwrap();
        conf.lock().unwrap();
    }
    let missing = ServerConf { spool: "/nowhere".into(), ..stock() };
    let error = missing.lock().unwrap_err().to_string();
    assert_eq!(error, "cannot lock /nowhere/is_publishing.lock");
}

#[test]
fn a_lock_that_is_let_go_soon_is_waited_for() {
    let (_directory, conf) = spool();
    let path = conf.spool.join("is_publishing.lock");
    let file = File::create(&path).unwrap();
    flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(250));
            // The removed file stays locked, as in a program that has inherited it.
            fs::remove_file(&path).unwrap();
        });
        conf.lock().unwrap();
    });
    assert!(begun.elapsed() >= Duration::from_millis(250));
    drop(file);
}

#[test]
fn the_lock_of_a_killed_publish_is_taken_over() {
    let (_directory, conf) = spool();
    let path = conf.spool.join("in_transaction.lock");
    let locks = conf.lock().unwrap();
    let left = fs::read(&path).unwrap();
    drop(locks);
    fs::write(&path, left).unwrap();
    conf.lock().unwrap();
    assert!(!path.exists());
}

#[test]
fn the_server_learns_of_a_publish() {
    let text = "C22cbdab1299d56d5ed74e834e4ef6d127d2280ab-shake128\nRd41d8cd98f00b204e9800998ecf8427e\nD240\nS1\n\
                Ntest.example.org\nYb5e95f2f2d74a28637b8560dd66bdd791f84c99d-shake128\n--\n\n";
    let manifest: Manifest = Manifest::parse(text.as_bytes()).unwrap().unverified().clone();
    let root = "CVMFS_ROOT_HASH=22cbdab1299d56d5ed74e834e4ef6d127d2280ab-shake128\n";
    let more = "CVMFS_OTHER=1\n";
    for (before, checked_out, after) in [
        (None, false, root.to_owned()),
        (Some(String::new()), false, root.to_owned()),
        (Some("CVMFS_ROOT_HASH=00\n".to_owned()), false, root.to_owned()),
        (Some(format!("{more}CVMFS_ROOT_HASH=00")), false, format!("{more}{root}")),
        (Some("CVMFS_ROOT_HASH=00\n".to_owned()), true, "CVMFS_ROOT_HASH=00\n".to_owned()),
    ] {
        let (_directory, conf) = spool();
        let file = |name: &str| conf.spool.join(name);
        if let Some(before) = &before {
            fs::write(file("client.local"), before).unwrap();
        }
        if checked_out {
            fs::write(file("checkout"), "tag hash branch\n").unwrap();
        }
        conf.after_publish(&manifest).unwrap();
        assert_eq!(fs::read_to_string(file("client.local")).unwrap(), after, "{before:?}");
        assert!(!file("reflog.chksum").exists(), "there is no reference log");
        let directory = conf.storage().unwrap();
        let StorageUrl::Local(directory) = directory else { panic!("{directory}") };
        fs::write(directory.join(".cvmfsreflog"), "log").unwrap();
        conf.after_publish(&manifest).unwrap();
        let checksum = fs::read_to_string(file("reflog.chksum")).unwrap();
        assert_eq!(checksum, Algorithm::Shake128.hash(b"log").to_string());
    }
    let (_directory, conf) = spool();
    let missing = ServerConf { spool: "/nowhere".into(), ..conf };
    let error = missing.after_publish(&manifest).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot tell the stock server of the new revision in /nowhere"),
        "{error}"
    );
}
