//! `cvmfs-snapshotter check`.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::conformance::layer;
use crate::daemon::Daemon;
use crate::hung::Hung;
use crate::repository::{Repository, pull, top};

fn check(daemon: &Daemon, more: &[&str]) -> (i32, String, String) {
    let program = env!("CARGO_BIN_EXE_cvmfs-snapshotter");
    let config = daemon.config().to_str().unwrap();
    let output =
        Command::new(program).args(["check", "--config", config]).args(more).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn what_cannot_be_mounted_is_told() {
    let (repository, other) = (Repository::new(), Repository::new());
    let (layers, chains) = repository.image(&["a", "b"]);
    let (_, others) = other.image(&["c"]);
    let mut daemon = Daemon::with(&[("r.org", repository.path()), ("s.org", other.path())]).await;
    layer(&daemon, "local", "", &[]).await;
    let pulled = pull(&daemon.client, "ns", &chains).await;
    let pulled_too = pull(&daemon.client, "ns", &others).await;
    let before = daemon.directories();
    daemon.client.prepare("con\u{1b}[2Jtainer", top(&pulled), &[]).await.unwrap();
    // Beside the daemon, and without it.
    for is_running in [true, false] {
        let sound = "5 snapshots, 3 of them in repositories: 0 cannot be mounted\n";
        assert_eq!(check(&daemon, &[]), (0, sound.to_owned(), String::new()));
        if is_running {
            daemon.kill();
        }
    }
    daemon.start().await;
    // A layer has been collected, a directory is lost, a repository hangs.
    let lost = repository.layerfs(&layers[1]);
    fs::remove_dir_all(&lost).unwrap();
    fs::remove_dir_all(daemon.new_directory(&before)).unwrap();
    let _hung = Hung::over(other.path());
    let started = Instant::now();
    let (status, text, _) = check(&daemon, &[]);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!((status, text.lines().count()), (1, 4), "{text}");
    let lost = lost.display().to_string();
    for parts in [
        &["con\\u001b[2Jtainer (", "missing or damaged"][..],
        &[&pulled[1].name, "r.org", &lost, "remove the image and pull it again"],
        &[&pulled_too[0].name, "s.org", "did not answer within"],
        &["5 snapshots, 3 of them in repositories: 3 cannot be mounted"],
    ] {
        let found = text.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found, "{parts:?} in {text}");
    }
    let (status, json, _) = check(&daemon, &["--json"]);
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((status, &report["snapshots"], &report["remote"]), (1, &5.into(), &3.into()));
    assert_eq!(report["broken"].as_array().unwrap().len(), 3);
    assert_eq!(report["broken"][0]["name"], "con\u{1b}[2Jtainer");
    assert!(report["broken"][0]["id"].is_i64() && report["broken"][0]["problem"].is_string());
    // What it tells to do helps.
    daemon.client.remove("con\u{1b}[2Jtainer").await.unwrap();
    daemon.client.remove(&pulled[1].name).await.unwrap();
    assert_eq!(check(&daemon, &[]).1.lines().count(), 2);
}

/// It makes nothing where there is nothing.
#[tokio::test]
async fn without_records_there_is_nothing_to_check() {
    let mut daemon = Daemon::plain().await;
    daemon.kill();
    let database = daemon.root().join("metadata.db");
    fs::remove_file(&database).unwrap();
    let (status, text, error) = check(&daemon, &[]);
    assert_eq!((status, text.as_str()), (2, ""));
    assert!(error.contains(database.to_str().unwrap()) && error.contains("no records"), "{error}");
    assert!(!database.exists());
}
