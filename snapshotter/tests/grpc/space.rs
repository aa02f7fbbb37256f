//! Disk usage, how it is freed, and lists that do not fit into one message.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::conformance::layer;
use crate::daemon::Daemon;
use crate::mount::mounted;
use crate::tree::Op;

/// What `du` counts: blocks on disk, including the root, hard links once.
fn blocks(path: &std::path::Path) -> i64 {
    let output = Command::new("du").args(["-s", "--block-size=1"]).arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split('\t').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn usage() {
    let daemon = Daemon::plain().await;
    let client = &daemon.client;
    layer(&daemon, "base", "", &[Op::File("big", "x", 0o644)]).await;
    let before = daemon.directories();
    let mounts = client.prepare("a", "base", &[]).await.unwrap();
    let upper = daemon.new_directory(&before).join("fs");
    let empty = client.usage("a").await.unwrap();
    assert_eq!((empty.size, empty.inodes), (blocks(&upper), 1));
    {
        let mount = mounted(&mounts, &daemon.work("m"));
        fs::write(mount.join("data"), vec![1; 100_000]).unwrap();
        fs::hard_link(mount.join("data"), mount.join("same")).unwrap();
        fs::create_dir(mount.join("dir")).unwrap();
        symlink("/etc", mount.join("dir/link")).unwrap();
        fs::File::create(mount.join("sparse")).unwrap().set_len(1 << 30).unwrap();
    }
    let active = client.usage("a").await.unwrap();
    // root, data, dir, dir/link, sparse
    assert_eq!((active.size, active.inodes), (blocks(&upper), 5));
    assert!(active.size < 1_000_000);
    client.commit("c", "a", &[]).await.unwrap();
    assert_eq!(client.usage("c").await.unwrap(), active);
    // As measured at commit: later changes do not count.
    fs::write(upper.join("later"), "x").unwrap();
    assert_eq!(client.usage("c").await.unwrap(), active);
    client.view("v", "c").await.unwrap();
    let view = client.usage("v").await.unwrap();
    assert_eq!((view.size, view.inodes), (0, 0));
    // Only the layer itself, not its parent.
    client.prepare("b", "c", &[]).await.unwrap();
    assert_eq!(client.usage("b").await.unwrap().inodes, 1);
}

#[tokio::test]
async fn removal_frees_space_whatever_is_in_the_way() {
    let daemon = Daemon::plain().await;
    let client = &daemon.client;
    let outside = daemon.work("outside");
    fs::write(outside.join("precious"), "x").unwrap();
    let mounts = client.prepare("a", "", &[]).await.unwrap();
    {
        let mount = mounted(&mounts, &daemon.work("m"));
        symlink(&outside, mount.join("link")).unwrap();
        fs::create_dir(mount.join("locked")).unwrap();
        fs::write(mount.join("locked/file"), "x").unwrap();
        fs::set_permissions(
            mount.join("locked"),
            std::os::unix::fs::PermissionsExt::from_mode(0o000),
        )
        .unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            mount.join("whiteout"),
            rustix::fs::FileType::CharacterDevice,
            rustix::fs::Mode::empty(),
            0,
        )
        .unwrap();
        // Too deep for a path of PATH_MAX bytes.
        let mut depth = rustix::fs::open(
            mount.path(),
            rustix::fs::OFlags::DIRECTORY,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
        for _ in 0..1000 {
            rustix::fs::mkdirat(&depth, "deep-directory", rustix::fs::Mode::RWXU).unwrap();
            depth = rustix::fs::openat(
                &depth,
                "deep-directory",
                rustix::fs::OFlags::DIRECTORY,
                rustix::fs::Mode::empty(),
            )
            .unwrap();
        }
    }
    assert_eq!(client.usage("a").await.unwrap().inodes, 1005);
    client.commit("c", "a", &[]).await.unwrap();
    client.remove("c").await.unwrap();
    // Deleted in the background immediately; Cleanup waits for it.
    client.cleanup().await.unwrap();
    assert_eq!((daemon.directories().len(), daemon.trash()), (0, 0));
    assert!(outside.join("precious").exists());
}

#[tokio::test]
async fn nothing_is_deleted_through_a_forgotten_mount() {
    let daemon = Daemon::plain().await;
    let client = &daemon.client;
    let outside = daemon.work("outside");
    fs::write(outside.join("precious"), "x").unwrap();
    client.prepare("a", "", &[]).await.unwrap();
    let upper = daemon.new_directory(&[]).join("fs");
    let number = upper.parent().unwrap().file_name().unwrap().to_owned();
    fs::create_dir(upper.join("mnt")).unwrap();
    fs::write(upper.join("file"), "x").unwrap();
    rustix::mount::mount_bind(&outside, upper.join("mnt")).unwrap();
    // Garbage collection goes on, whatever happens to the files.
    client.remove("a").await.unwrap();
    client.cleanup().await.unwrap();
    assert!(outside.join("precious").exists());
    let left = daemon.root().join("trash").join(number).join("fs");
    assert!(!left.join("file").exists() && left.join("mnt/precious").exists());
    assert_ne!(daemon.logged(&["ERROR", "cannot delete a removed snapshot"]), 0);
    rustix::mount::unmount(left.join("mnt"), rustix::mount::UnmountFlags::DETACH).unwrap();
    client.cleanup().await.unwrap();
    assert_eq!(daemon.trash(), 0);
    assert!(outside.join("precious").exists());
}

#[tokio::test]
async fn cleanup_removes_what_has_no_record_and_nothing_else() {
    let daemon = Daemon::plain().await;
    let client = &daemon.client;
    layer(&daemon, "base", "", &[Op::File("file", "x", 0o644)]).await;
    client.prepare("a", "base", &[]).await.unwrap();
    let known = daemon.directories();
    let snapshots = daemon.root().join("snapshots");
    fs::create_dir_all(snapshots.join("4711/fs/x")).unwrap();
    fs::create_dir_all(snapshots.join("lost+found")).unwrap();
    client.cleanup().await.unwrap();
    client.cleanup().await.unwrap();
    let mut expected = known;
    expected.push("lost+found".to_owned());
    assert_eq!(daemon.directories(), expected);
    assert_eq!(daemon.trash(), 0);
}

#[tokio::test]
async fn background_deletion_needs_no_cleanup() {
    let daemon = Daemon::plain().await;
    daemon.client.prepare("a", "", &[]).await.unwrap();
    daemon.client.remove("a").await.unwrap();
    let started = Instant::now();
    while daemon.trash() > 0 {
        assert!(started.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn lists_come_in_blocks_of_a_hundred() {
    let daemon = Daemon::plain().await;
    for number in 0..250 {
        daemon.client.view(&format!("v{number:03}"), "").await.unwrap();
    }
    let messages = daemon.client.list_messages(&[]).await.unwrap();
    assert_eq!(messages.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 50]);
    let names: Vec<_> = messages.into_iter().flatten().map(|info| info.name).collect();
    assert_eq!(names, (0..250).map(|number| format!("v{number:03}")).collect::<Vec<_>>());
    let some = daemon.client.list_messages(&["name~=/^v1/"]).await.unwrap();
    assert_eq!(some.iter().map(Vec::len).collect::<Vec<_>>(), [100]);
}

#[tokio::test]
async fn owners_and_modes_of_directories() {
    let daemon = Daemon::plain().await;
    let client = &daemon.client;
    let mounts = client.prepare("p", "", &[]).await.unwrap();
    {
        let mount = mounted(&mounts, &daemon.work("m"));
        std::os::unix::fs::lchown(mount.path(), Some(7), Some(8)).unwrap();
    }
    client.commit("owned", "p", &[]).await.unwrap();
    for (key, writable) in [("a", true), ("v", false)] {
        let before = daemon.directories();
        if writable {
            client.prepare(key, "owned", &[]).await.unwrap();
        } else {
            client.view(key, "owned").await.unwrap();
        }
        let directory = daemon.new_directory(&before);
        let fs = fs::metadata(directory.join("fs")).unwrap();
        assert_eq!((fs.uid(), fs.gid(), fs.mode() & 0o7777), (7, 8, 0o755), "{key}");
        let work = fs::metadata(directory.join("work")).ok().map(|work| work.mode() & 0o7777);
        assert_eq!(work, writable.then_some(0o711), "{key}");
        assert_eq!(fs::metadata(directory).unwrap().mode() & 0o7777, 0o700);
    }
}
