//! Repositories that are missing, hang, come back, or have lost something.

use std::fs;
use std::time::{Duration, Instant};

use layer_layout::label::TARGET;
use layer_layout::{ChainId, Digest};
use rustix::process::Signal;
use tonic::Code;

use crate::client::code;
use crate::daemon::Daemon;
use crate::hung::Hung;
use crate::mount::mounted;
use crate::repository::{Repository, pull, remotes, top};

fn some_chain(name: &str) -> ChainId {
    Digest::of(name.as_bytes()).into()
}

/// Asserts that the error tells people what they need to know.
fn assert_helpful(status: &tonic::Status, parts: &[&str]) {
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().ends_with(": unavailable"), "{status}");
    for part in parts {
        assert!(status.message().contains(part), "{part} in {status}");
    }
}

#[tokio::test]
async fn a_repository_that_is_not_there_means_a_download() {
    let repository = Repository::new();
    let (_, chains) = repository.image(&["a", "b"]);
    let mount_point = Repository::new();
    let daemon = Daemon::with(&[
        ("missing.org", &repository.path().join("nosuch")),
        ("unmounted.org", mount_point.path()),
    ])
    .await;
    assert_eq!(remotes(&pull(&daemon.client, "ns", &chains).await), [false; 2]);
    assert_eq!(daemon.logged(&["\"outcome\":\"unavailable\"", "missing.org", "is it mounted?"]), 2);
    // It is used as soon as it is there, without a restart.
    fs::rename(repository.path(), mount_point.path()).unwrap();
    assert_eq!(remotes(&pull(&daemon.client, "other", &[chains[0]]).await), [true]);
    fs::rename(mount_point.path(), repository.path()).unwrap();
    fs::create_dir(mount_point.path()).unwrap();
}

#[tokio::test]
async fn a_repository_or_layer_that_vanishes() {
    let repository = Repository::new();
    let (layers, chains) = repository.image(&["a", "b"]);
    let daemon = Daemon::with(&[("r.org", repository.path())]).await;
    let client = &daemon.client;
    let pulled = pull(client, "ns", &chains).await;
    let mounts = client.prepare("container", top(&pulled), &[]).await.unwrap();
    client.view("view", &pulled[0].name).await.unwrap();
    let running = mounted(&mounts, &daemon.work("running"));
    fs::write(running.join("own"), "x").unwrap();

    let state = (client.list(&[]).await.unwrap(), daemon.directories());
    let path = repository.path().display().to_string();
    let (lost_layer, away) =
        (repository.layerfs(&layers[0]), repository.path().with_extension("away"));
    for lost in [lost_layer.as_path(), repository.path()] {
        fs::rename(lost, &away).unwrap();
        for key in ["container", "view"] {
            let status = client.mounts(key).await.unwrap_err();
            assert_helpful(&status, &["r.org", &path, "cvmfs_config probe"]);
            if lost == lost_layer {
                assert_helpful(&status, &[&lost.display().to_string(), "pull it again"]);
            }
        }
        assert_eq!(code(client.prepare("new", top(&pulled), &[]).await), Code::Unavailable);
        assert_eq!(code(client.view("new", top(&pulled)).await), Code::Unavailable);
        // Everything else works, and the failed calls have left nothing behind.
        client.stat("container").await.unwrap();
        client.usage("container").await.unwrap();
        client.cleanup().await.unwrap();
        assert_eq!((client.list(&[]).await.unwrap(), daemon.directories()), state);
        fs::rename(&away, lost).unwrap();
        assert_eq!(client.mounts("container").await.unwrap(), mounts);
    }
    assert!(running.join("own").exists() && running.join("a").exists());
    fs::rename(repository.path(), &away).unwrap();
    for key in ["container", "view", top(&pulled), &pulled[0].name] {
        client.remove(key).await.unwrap();
    }
    client.cleanup().await.unwrap();
    assert_eq!(daemon.directories().len(), 0);
    assert!(away.join(lost_layer.strip_prefix(repository.path()).unwrap()).join("a").exists());
    fs::rename(&away, repository.path()).unwrap();
}

/// The reader processes end up in an uninterruptible sleep; this must not affect the daemon.
#[tokio::test]
async fn a_repository_that_hangs() {
    let (hanging, healthy) = (Repository::new(), Repository::new());
    let (_, chains) = hanging.image(&["a", "b"]);
    let (_, others) = healthy.image(&["c", "d", "e"]);
    let mut daemon =
        Daemon::with(&[("hanging.org", hanging.path()), ("healthy.org", healthy.path())]).await;
    let pulled = pull(&daemon.client, "ns", &chains).await;
    daemon.client.prepare("container", top(&pulled), &[]).await.unwrap();

    let hung = Hung::over(hanging.path());
    // The time-out is 1 s. The first request has to wait for it, later ones do not.
    let started = Instant::now();
    let answer = pull(&daemon.client, "ns", &others[..1]).await;
    assert_eq!(remotes(&answer), [true], "another repository has it");
    let first = started.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&first), "{first:?}");
    let started = Instant::now();
    assert_eq!(remotes(&pull(&daemon.client, "ns", &others).await), [true; 3]);
    assert_eq!(remotes(&pull(&daemon.client, "ns", &[some_chain("x")]).await), [false]);
    let path = hanging.path().display().to_string();
    let status = daemon.client.mounts("container").await.unwrap_err();
    assert_helpful(&status, &["hanging.org", &path, "has not answered"]);
    daemon.client.stat("container").await.unwrap();
    daemon.client.usage("container").await.unwrap();
    daemon.client.usage(top(&pulled)).await.unwrap();
    // If each of these waited for the time-out, it would be five seconds.
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(daemon.logged(&["WARN", "hanging.org", "the repository does not answer"]), 1);

    // Killed and stopped while the repository hangs: no lock, socket or port is left behind.
    daemon.kill();
    let started = Instant::now();
    daemon.start().await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(code(daemon.client.mounts("container").await), Code::Unavailable);
    let (status, elapsed) = daemon.stop(Signal::TERM);
    assert!(status.success() && elapsed < Duration::from_secs(5), "{status} {elapsed:?}");
    daemon.start().await;
    assert_eq!(code(daemon.client.mounts("container").await), Code::Unavailable);
    daemon.client.prepare("local", "", &[]).await.unwrap();

    // When it is back, that is noticed within the retry time, without a restart.
    drop(hung);
    let started = Instant::now();
    while let Err(status) = daemon.client.mounts("container").await {
        assert_helpful(&status, &["hanging.org"]);
        assert!(started.elapsed() < Duration::from_secs(20), "{status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_ne!(daemon.logged(&["hanging.org", "answers again"]), 0);
    let (_, more) = hanging.image(&["f"]);
    assert_eq!(remotes(&pull(&daemon.client, "ns", &more).await), [true]);
}

#[tokio::test]
async fn several_repositories_that_hang_cost_one_time_out() {
    let repositories = [Repository::new(), Repository::new(), Repository::new()];
    let names = ["a", "b", "c"];
    // Of each chain, the first repository that has it is the one with the same number.
    let chains: Vec<_> = repositories
        .iter()
        .enumerate()
        .map(|(number, repository)| repository.image(&names[..=number]).1)
        .collect();
    let [one, two, three] = &repositories;
    let daemon = Daemon::with(&[
        ("one.org", one.path()),
        ("two.org", two.path()),
        ("three.org", three.path()),
    ])
    .await;
    let pulled = pull(&daemon.client, "ns", &chains[2]).await;
    assert_eq!(remotes(&pulled), [true; 3]);
    for name in ["one.org", "two.org", "three.org"] {
        let repository = format!("\"repository\":\"{name}\",\"path\"");
        assert_eq!(daemon.logged(&["\"outcome\":\"hit\"", &repository]), 1, "{name}");
    }
    daemon.client.prepare("container", top(&pulled), &[]).await.unwrap();
    let _hung = repositories.each_ref().map(|repository| Hung::over(repository.path()));
    let started = Instant::now();
    let status = daemon.client.mounts("container").await.unwrap_err();
    assert_helpful(&status, &["did not answer within"]);
    // The time-out is 1 s.
    assert!(started.elapsed() < Duration::from_millis(1900), "{:?}", started.elapsed());
}

/// A call whose client goes away is not left half done.
#[tokio::test]
async fn a_cancelled_prepare_is_finished() {
    let repository = Repository::new();
    let daemon = Daemon::with(&[("r.org", repository.path())]).await;
    daemon.client.list(&[]).await.unwrap();
    let _hung = Hung::over(repository.path());
    let target = some_chain("x").to_string();
    let labels = [(TARGET, target.as_str())];
    let asked = daemon.client.prepare("key", "", &labels);
    assert!(tokio::time::timeout(Duration::from_millis(200), asked).await.is_err());
    assert_eq!(code(daemon.client.stat("key").await), Code::NotFound);
    let started = Instant::now();
    while daemon.client.stat("key").await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    daemon.client.mounts("key").await.unwrap();
    daemon.client.cleanup().await.unwrap();
    assert_eq!(daemon.directories().len(), 1);
}

#[tokio::test]
async fn a_repository_that_moves_or_is_not_configured_any_more() {
    let repository = Repository::new();
    let (_, chains) = repository.image(&["a", "b"]);
    let merged = repository.merge(&chains[1], "merged");
    let mut daemon = Daemon::with(&[("r.org", repository.path())]).await;
    let pulled = pull(&daemon.client, "ns", &chains).await;
    daemon.client.prepare("container", top(&pulled), &[]).await.unwrap();
    daemon.configure(&[]);
    daemon.restart().await;
    assert_eq!(daemon.logged(&["WARN", "r.org", "not configured any more"]), 2);
    let status = daemon.client.mounts("container").await.unwrap_err();
    assert_helpful(&status, &["r.org", "not configured any more"]);
    let elsewhere = repository.path().with_extension("elsewhere");
    fs::rename(repository.path(), &elsewhere).unwrap();
    daemon.configure(&[("r.org", &elsewhere)]);
    daemon.restart().await;
    let mounts = daemon.client.mounts("container").await.unwrap();
    let mount = mounted(&mounts, &daemon.work("m"));
    assert!(mount.join("merged").exists());
    drop(mount);
    fs::rename(&elsewhere, repository.path()).unwrap();
    assert!(merged.exists());
}
